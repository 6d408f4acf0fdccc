"""Every line that is logged at info and above stands in docs/log-catalogue.md, and nothing else does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sources import OURS, ROOT, Rule, Source, plant, sources

CATALOGUE = "docs/log-catalogue.md"
LEVELS = frozenset(("info", "warning", "error", "exception", "critical"))
EVENT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(?= |$)")
ROW = re.compile(r"^\|\s*`([^`]+)`\s*\|", re.MULTILINE)


def log_calls(source: Source) -> Iterator[ast.Call]:
    """All calls of the module's logger, which is named ``log``, at info and above, and those of ``quick_info``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "quick_info":
            yield node
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log"
        ):
            yield node


def event(call: ast.Call) -> str:
    """The event that a call logs; "" if its text is no literal that begins with one."""
    text = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    found = EVENT.match(text) if isinstance(text, str) else None
    return found.group() if found else ""


def events(root: Path) -> dict[str, str]:
    """Each event of the code, and where it is logged."""
    calls = [(source, call) for source in sources(root, *OURS) for call in log_calls(source)]
    return {event(call): source.at(call, "") for source, call in calls if event(call)}


def documented(root: Path) -> set[str]:
    """The events in the first column of the catalogue's tables."""
    return set(ROW.findall((root / CATALOGUE).read_text("utf-8")))


def log_lines_begin_without_an_event(root: Path) -> list[str]:
    calls = [(source, call) for source in sources(root, *OURS) for call in log_calls(source)]
    return [source.at(call, ast.unparse(call)[:60]) for source, call in calls if not event(call)]


def loggers_have_another_name(root: Path) -> list[str]:
    """A logger that is not called ``log`` would slip through the other rules."""
    found = []
    for source in sources(root, *OURS):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assign) and "logging.getLogger(__name__)" in ast.unparse(node.value):
                names = map(ast.unparse, node.targets)
                found += [source.at(node, name) for name in names if name != "log"]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in {f"logging.{level}" for level in LEVELS}:
                found.append(source.at(node, ast.unparse(node.func)))
    return found


def events_are_not_documented(root: Path) -> list[str]:
    known = documented(root)
    return [f"{place}{name} is not in {CATALOGUE}" for name, place in events(root).items() if name not in known]


def documented_events_do_not_exist(root: Path) -> list[str]:
    return [f"{CATALOGUE}: nothing logs {name}" for name in sorted(documented(root) - set(events(root)))]


RULES = [log_lines_begin_without_an_event, loggers_have_another_name]
CATALOGUE_RULES = [events_are_not_documented, documented_events_do_not_exist]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nowhere(rule: Rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("rule", CATALOGUE_RULES, ids=lambda rule: rule.__name__)
def test_in_the_catalogue_nowhere(rule: Rule) -> None:
    if not (ROOT / CATALOGUE).exists():
        pytest.skip(f"there is no {CATALOGUE} yet")
    assert rule(ROOT) == []


# ---- each rule can fail

TABLE = "| event | level | fields |\n| --- | --- | --- |\n| `child-failed` | warning | `child=` |\n"
PLANTED = {
    "log_lines_begin_without_an_event": {
        "mmgr/a.py": 'log.info("Child failed: %s", child)',
        "mmgr/b.py": "log.warning(text)",
        "mmgr/c.py": 'log.error(f"child-failed child={child}")',
        "workers/d.py": 'log.exception("child_failed")',
        "workers/e.py": 'log.critical("child-failed: why")',
        "workers/f.py": "log.info()",
    },
    "loggers_have_another_name": {
        "mmgr/a.py": "logger = logging.getLogger(__name__)",
        "workers/b.py": 'logging.warning("child-failed")',
        "workers/c.py": "class C:\n    def __init__(self): self.log = logging.getLogger(__name__)",
    },
    "events_are_not_documented": {"mmgr/a.py": 'log.info("child-opened child=%s", child)'},
    "documented_events_do_not_exist": {CATALOGUE: TABLE},
}
ALLOWED = {
    CATALOGUE: "# Log\n\nSome `words` | and bars.\n\n" + TABLE + "| `ready` | info | |\n",
    "mmgr/a.py": 'log = logging.getLogger(__name__)\nlog.info("ready")\nlog.debug("anything at all: %s", x)',
    "workers/b.py": 'def f():\n    log.warning("child-failed child=%s "\n        "error=%s", a, b)\nelse_.info("x y")',
}


@pytest.mark.parametrize("rule", [*RULES, *CATALOGUE_RULES], ids=lambda rule: rule.__name__)
def test_the_rule_finds_each_planted_fault(rule: Rule, tmp_path: Path) -> None:
    planted = PLANTED[rule.__name__]
    found = rule(plant(tmp_path, {CATALOGUE: "", **planted}))
    assert sorted(line.split(":")[0] for line in found) == sorted(planted)


@pytest.mark.parametrize("rule", [*RULES, *CATALOGUE_RULES], ids=lambda rule: rule.__name__)
def test_the_rule_finds_nothing_in_a_house_in_order(rule: Rule, tmp_path: Path) -> None:
    assert rule(plant(tmp_path, ALLOWED)) == []
