"""Who may import whom, and which rooms may not touch the world."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .sources import OURS, ROOT, Import, Rule, Source, called, imports, is_in, plant, sources

PROTOCOL_MAY = ("__future__", "collections", "dataclasses", "enum", "functools", "re", "struct", "typing")
"""What the wire is made of. Nothing here can block, look at the clock or open a file."""

PURE = (
    "mmgr.protocol",
    "mmgr.conditions",
    "mmgr.config.checks",
    "mmgr.config.origin",
    "mmgr.config.text",
    "mmgr.detect.base",
    "mmgr.detect.milters.greylist_conf",
    "mmgr.detect.milters.key_value",
    "mmgr.detect.milters.options",
    "mmgr.detect.milters.ucl",
    "mmgr.detect.milters.ucl_tree",
    "mmgr.detect.specs",
    "mmgr.master.health",
    "mmgr.master.policy",
    "workers.message",
    "workers.negotiation",
    "workers.plan",
    "workers.verdict",
)
THE_WORLD = """
    asyncio datetime fcntl glob http io logging mmap multiprocessing os pathlib psutil random select selectors shutil
    signal socket socketserver ssl subprocess syslog tempfile threading time urllib
"""
"""Sockets, clocks, loggers, files, processes, chance: what a pure room is given instead of fetching it."""

KEPT_APART = (("workers", "mmgr.master"), ("mmgr.master", "workers"))


def imports_of(root: Path, room: str) -> list[tuple[Source, Import]]:
    return [(s, each) for s in sources(root, *OURS) if is_in(s.module, [room]) for each in imports(s)]


def protocol_imports_more_than_it_may(root: Path) -> list[str]:
    allowed = ("mmgr.protocol", *PROTOCOL_MAY)
    found = imports_of(root, "mmgr.protocol")
    return [s.at(each.node, f"imports {each.name}") for s, each in found if not is_in(each.name, allowed)]


def rooms_kept_apart_import_each_other(root: Path) -> list[str]:
    return [
        s.at(each.node, f"imports {each.name}")
        for room, other in KEPT_APART
        for s, each in imports_of(root, room)
        if is_in(each.name, [other])
    ]


def something_imports_the_command_line(root: Path) -> list[str]:
    return [
        s.at(each.node, f"imports {each.name}")
        for s in sources(root, *OURS)
        if not is_in(s.module, ["mmgr.cli"])
        for each in imports(s)
        if is_in(each.name, ["mmgr.cli"])
    ]


def pure_rooms_touch_the_world(root: Path) -> list[str]:
    found = []
    for source in sources(root, *OURS):
        if is_in(source.module, PURE):
            found += [
                source.at(each.node, f"imports {each.name}")
                for each in imports(source)
                if each.name.split(".")[0] in THE_WORLD.split()
            ]
            found += [
                source.at(node, f"calls {called(node)}")
                for node in ast.walk(source.tree)
                if isinstance(node, ast.Call) and called(node) in ("open", "input", "print")
            ]
    return found


def others_than_the_command_line_speak_to_the_terminal_or_exit(root: Path) -> list[str]:
    found = []
    for source in sources(root, *OURS):
        if is_in(source.module, ["mmgr.cli"]):
            continue
        found += [s.at(each.node, f"imports {each.name}") for s, each in _of(source) if is_in(each.name, ["argparse"])]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and called(node) in ("print", "input", "sys.exit", "exit", "quit"):
                found.append(source.at(node, f"calls {called(node)}"))
            elif isinstance(node, ast.Raise) and _is_system_exit(node.exc):
                found.append(source.at(node, "raises SystemExit"))
    return found


def _of(source: Source) -> list[tuple[Source, Import]]:
    return [(source, each) for each in imports(source)]


def _is_system_exit(raised: ast.expr | None) -> bool:
    name = raised.func if isinstance(raised, ast.Call) else raised
    return isinstance(name, ast.Name) and name.id == "SystemExit"


RULES = [
    protocol_imports_more_than_it_may,
    rooms_kept_apart_import_each_other,
    something_imports_the_command_line,
    pure_rooms_touch_the_world,
    others_than_the_command_line_speak_to_the_terminal_or_exit,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nowhere(rule: Rule) -> None:
    assert rule(ROOT) == []


def test_there_is_something_to_look_at() -> None:
    assert len(sources(ROOT, *OURS)) > 10


# ---- each rule can fail

PLANTED = {
    "protocol_imports_more_than_it_may": {
        "mmgr/protocol/a.py": "from mmgr.errors import MmgrError",
        "mmgr/protocol/b.py": "import socket",
        "mmgr/protocol/c.py": "def late():\n    from .. import stream",
        "mmgr/protocol/d.py": "import importlib\nimportlib.import_module('mmgr.stream')",
    },
    "rooms_kept_apart_import_each_other": {
        "workers/a.py": "import mmgr.master.policy",
        "workers/b.py": "from mmgr import master",
        "mmgr/master/c.py": "from workers.main import run",
        "mmgr/master/d.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import workers",
    },
    "something_imports_the_command_line": {
        "mmgr/a.py": "from mmgr.cli.manager import main",
        "mmgr/b.py": "from . import cli",
        "mmgr/master/c.py": "from ..cli import manager",
        "workers/d.py": "import mmgr.cli",
    },
    "pure_rooms_touch_the_world": {
        "mmgr/protocol/a.py": "import time",
        "mmgr/master/policy.py": "from os import path",
        "workers/verdict.py": "import logging.handlers",
        "mmgr/config/checks.py": "def read():\n    return open('x')",
        "mmgr/conditions/dns.py": "import socket",
    },
    "others_than_the_command_line_speak_to_the_terminal_or_exit": {
        "mmgr/a.py": "import argparse",
        "mmgr/b.py": "print('hello')",
        "workers/c.py": "import sys\nsys.exit(1)",
        "workers/d.py": "raise SystemExit(1)",
        "workers/e.py": "raise SystemExit",
    },
}
ALLOWED = {
    "mmgr/protocol/a.py": "import struct\nfrom collections.abc import Mapping\nfrom mmgr.protocol import b",
    "mmgr/protocol/b.py": "from . import a\nfrom .a import x",
    "mmgr/stream.py": "import socket, time, os\nfrom mmgr.errors import MmgrError",
    "mmgr/master/supervisor.py": "import os, signal\nfrom mmgr.master import policy",
    "mmgr/master/policy.py": "import dataclasses",
    "mmgr/cli/manager.py": "import argparse, sys\nfrom mmgr.master import x\nimport workers\nprint(1)\nsys.exit(1)",
    "mmgr/cli/other.py": "from mmgr.cli import manager\nfrom . import common",
    "mmgr/clients.py": "import time",
    "workers/main.py": "import os\nfrom mmgr import stream\nfrom workers import plan\nos._exit(0)",
    "workers/plan.py": "from mmgr.protocol import a",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_each_planted_fault(rule: Rule, tmp_path: Path) -> None:
    found = rule(plant(tmp_path, PLANTED[rule.__name__]))
    assert sorted({line.split(":")[0] for line in found}) == sorted(PLANTED[rule.__name__])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_nothing_in_a_house_in_order(rule: Rule, tmp_path: Path) -> None:
    assert rule(plant(tmp_path, ALLOWED)) == []


def test_a_relative_import_is_resolved_from_a_package_and_from_a_module(tmp_path: Path) -> None:
    plant(tmp_path, {"mmgr/x/__init__.py": "from . import y\nfrom .. import z", "mmgr/x/w.py": "from .v import u"})
    found = {each.name for source in sources(tmp_path, "mmgr") for each in imports(source)}
    assert found == {"mmgr.x.y", "mmgr.z", "mmgr.x.v.u"}
