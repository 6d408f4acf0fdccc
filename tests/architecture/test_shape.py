"""How long things are, that they say what they are for, and what modules may be called."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sources import OURS, ROOT, Definition, Function, Rule, Source, plant, sources

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50
REASON = "length:"
"""A longer function says why it is, behind this word in its docstring."""


def standard_library() -> frozenset[str]:
    """The names of its modules; Python 3.9 does not list them itself."""
    names = getattr(sys, "stdlib_module_names", None)
    if names is None:
        files = Path(os.__file__).parent.iterdir()
        names = {file.stem for file in files if file.suffix == ".py" or (file / "__init__.py").exists()}
        names |= set(sys.builtin_module_names)
    return frozenset(names)


def modules_are_too_long(root: Path) -> list[str]:
    found = [(source, len(source.text.splitlines())) for source in sources(root, *OURS)]
    return [
        f"{source.path}: {lines} lines, more than {MODULE_LINES_MAX}"
        for source, lines in found
        if lines > MODULE_LINES_MAX
    ]


def functions_are_too_long_without_a_reason(root: Path) -> list[str]:
    found = []
    for source in sources(root, *OURS):
        for node in ast.walk(source.tree):
            if isinstance(node, Function) and REASON not in (ast.get_docstring(node) or ""):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    found.append(source.at(node, f"{node.name} has {lines} lines, more than {FUNCTION_LINES_MAX}"))
    return found


def something_public_has_no_docstring(root: Path) -> list[str]:
    found = []
    for source in sources(root, *OURS):
        if ast.get_docstring(source.tree) is None and source.text.strip():
            found.append(f"{source.path}:1: the module")
        found += [source.at(node, node.name) for node in public(source) if ast.get_docstring(node) is None]
    return found


def public(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The classes, functions and methods of a module whose names do not begin with an underscore."""
    bodies: list[list[ast.stmt]] = [source.tree.body]
    while bodies:
        for node in bodies.pop():
            if isinstance(node, Definition) and not node.name.startswith("_"):
                yield node
                if isinstance(node, ast.ClassDef):
                    bodies.append(node.body)


def modules_are_named_like_one_of_the_standard_library(root: Path) -> list[str]:
    taken = standard_library()
    found = [(source, source.module.rpartition(".")[2]) for source in sources(root, *OURS)]
    return [f"{source.path}: {name}" for source, name in found if name in taken and not name.startswith("_")]


RULES = [
    modules_are_too_long,
    functions_are_too_long_without_a_reason,
    something_public_has_no_docstring,
    modules_are_named_like_one_of_the_standard_library,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nowhere(rule: Rule) -> None:
    assert rule(ROOT) == []


# ---- each rule can fail

LONG = "def long():\n" + "    pass\n" * FUNCTION_LINES_MAX
PLANTED = {
    "modules_are_too_long": {"mmgr/a.py": "\n" * (MODULE_LINES_MAX + 1)},
    "functions_are_too_long_without_a_reason": {
        "mmgr/a.py": LONG,
        "workers/b.py": "class C:\n    async " + LONG.replace("\n", "\n    ").rstrip(),
    },
    "something_public_has_no_docstring": {
        "mmgr/a.py": "x = 1",
        "mmgr/b.py": '"""B."""\ndef public(): pass',
        "mmgr/c.py": '"""C."""\nclass Public: pass',
        "workers/d.py": '"""D."""\nclass Public:\n    """It."""\n    @property\n    def also(self): pass',
    },
    "modules_are_named_like_one_of_the_standard_library": {
        "mmgr/queue.py": "",
        "workers/signal/__init__.py": "",
    },
}
ALLOWED = {
    "mmgr/__init__.py": "",
    "mmgr/__main__.py": '"""Entry."""',
    "mmgr/a.py": '"""A."""\n' + "\n" * (MODULE_LINES_MAX - 2) + "x = 1",
    "mmgr/b.py": '"""B."""\n' + LONG.replace("():\n", f'():\n    """Long; {REASON} a table."""\n', 1),
    "mmgr/c.py": '"""C."""\ndef short():\n    """It."""\n' + "    pass\n" * (FUNCTION_LINES_MAX - 2),
    "workers/d.py": '"""D."""\ndef _private(): pass\nclass _Hidden:\n    def method(self): pass',
    "workers/e.py": '"""E."""\nclass E:\n    """It."""\n    def __init__(self): pass\n    def _own(self): pass',
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_each_planted_fault(rule: Rule, tmp_path: Path) -> None:
    found = rule(plant(tmp_path, PLANTED[rule.__name__]))
    assert sorted(line.split(":")[0] for line in found) == sorted(PLANTED[rule.__name__])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_nothing_in_a_house_in_order(rule: Rule, tmp_path: Path) -> None:
    assert rule(plant(tmp_path, ALLOWED)) == []
