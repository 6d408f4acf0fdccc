"""Everything runs on Python 3.9: its syntax, and the names that came later."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sources import OURS, ROOT, Function, Rule, Source, called, dotted, imports, plant, sources

EVERYWHERE = (*OURS, "tests", "benchmarks", "packaging")
OLDEST = (3, 9)

LATER_NAMES = """
    asyncio.Runner asyncio.TaskGroup asyncio.timeout contextlib.aclosing contextlib.chdir datetime.UTC
    dataclasses.KW_ONLY enum.EnumCheck enum.FlagBoundary enum.ReprEnum enum.StrEnum enum.verify
    inspect.get_annotations itertools.batched itertools.pairwise math.cbrt math.exp2 operator.call tomllib
    types.EllipsisType types.NoneType types.NotImplementedType types.UnionType typing.Concatenate typing.LiteralString
    typing.Never typing.NotRequired typing.ParamSpec typing.Required typing.Self typing.TypeAlias typing.TypeGuard
    typing.TypeVarTuple typing.Unpack typing.assert_never typing.assert_type typing.dataclass_transform typing.override
    typing.reveal_type
"""
LATER_BUILTINS = ("aiter", "anext", "BaseExceptionGroup", "ExceptionGroup", "EncodingWarning")
LATER_ARGUMENTS = {
    "dataclass": {"slots", "kw_only", "match_args", "weakref_slot"},
    "dataclasses.dataclass": {"slots", "kw_only", "match_args", "weakref_slot"},
    "field": {"kw_only"},
    "dataclasses.field": {"kw_only"},
    "zip": {"strict"},
}


def syntax_is_newer(root: Path) -> list[str]:
    """``match``, ``except*``, type parameters and the like."""
    found = []
    for path in sorted(path for folder in EVERYWHERE for path in (root / folder).rglob("*.py")):
        try:
            ast.parse(path.read_text("utf-8"), feature_version=OLDEST)
        except SyntaxError as error:
            found.append(f"{path.relative_to(root)}:{error.lineno}: {error.msg}")
    return found


def names_are_newer(root: Path) -> list[str]:
    found = []
    later = frozenset(LATER_NAMES.split())
    for source in sources(root, *EVERYWHERE):
        found += [source.at(each.node, each.name) for each in imports(source) if each.name in later]
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and dotted(node) in later:
                found.append(source.at(node, dotted(node)))
            elif isinstance(node, ast.Name) and node.id in LATER_BUILTINS:
                found.append(source.at(node, node.id))
    return found


def arguments_are_newer(root: Path) -> list[str]:
    return [
        source.at(node, f"{called(node)}({keyword.arg}=)")
        for source in sources(root, *EVERYWHERE)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in LATER_ARGUMENTS.get(called(node), ())
    ]


def types_are_joined_by_a_bar_at_run_time(root: Path) -> list[str]:
    """``X | None`` outside of an annotation, or in one that is evaluated."""
    return [
        source.at(node, ast.unparse(node))
        for source in sources(root, *EVERYWHERE)
        for node in evaluated(source)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and _has_none(node)
    ]


def evaluated(source: Source) -> Iterator[ast.AST]:
    """All nodes but those of annotations that are never evaluated, as ``from __future__ import annotations`` has it."""
    postponed = any(each.name == "__future__.annotations" for each in imports(source))
    nodes: list[ast.AST] = [source.tree]
    while nodes:
        node = nodes.pop()
        yield node
        skipped = _annotations(node) if postponed else []
        nodes += [child for child in ast.iter_child_nodes(node) if not any(child is other for other in skipped)]


def _annotations(node: ast.AST) -> list[ast.AST]:
    names = ("returns",) if isinstance(node, Function) else ("annotation",)
    return [child for child in (getattr(node, name, None) for name in names) if child is not None]


def _has_none(node: ast.BinOp) -> bool:
    return any(isinstance(side, ast.Constant) and side.value is None for side in (node.left, node.right))


RULES = [syntax_is_newer, names_are_newer, arguments_are_newer, types_are_joined_by_a_bar_at_run_time]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nowhere(rule: Rule) -> None:
    assert rule(ROOT) == []


# ---- each rule can fail

FUTURE = "from __future__ import annotations\n"
PLANTED = {
    "syntax_is_newer": {
        "mmgr/a.py": "match x:\n    case 1: pass",
        "workers/b.py": "try: pass\nexcept* ValueError: pass",
        "tests/c.py": "type X = int",
    },
    "names_are_newer": {
        "mmgr/a.py": "from enum import StrEnum",
        "mmgr/b.py": "import tomllib",
        "workers/c.py": "import asyncio\nasyncio.TaskGroup()",
        "workers/d.py": "raise ExceptionGroup('x', [])",
    },
    "arguments_are_newer": {
        "mmgr/a.py": "@dataclass(frozen=True, slots=True)\nclass A: pass",
        "mmgr/b.py": "import dataclasses\n@dataclasses.dataclass(kw_only=True)\nclass B: pass",
        "tests/c.py": "zip(a, b, strict=True)",
    },
    "types_are_joined_by_a_bar_at_run_time": {
        "mmgr/a.py": FUTURE + "Maybe = int | None",
        "mmgr/b.py": "def f(x: int | None): pass",
        "mmgr/c.py": FUTURE + "isinstance(x, int | None)",
    },
}
ALLOWED = {
    "mmgr/a.py": FUTURE + "x: int | None = None\ndef f(x: int | None) -> str | None: pass",
    "mmgr/b.py": FUTURE + "@dataclass(frozen=True)\nclass B:\n    x: int | None\n    y: int = field(default=1)",
    "mmgr/c.py": "flags = A.x | A.y\nfor a, b in zip(c, d): pass\nmatch = re.match(x)",
    "tests/d.py": "import enum\nx = enum.IntFlag\nimport asyncio\nasyncio.run(y)",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_each_planted_fault(rule: Rule, tmp_path: Path) -> None:
    found = rule(plant(tmp_path, PLANTED[rule.__name__]))
    assert sorted({line.split(":")[0] for line in found}) == sorted(PLANTED[rule.__name__])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_nothing_in_a_house_in_order(rule: Rule, tmp_path: Path) -> None:
    assert rule(plant(tmp_path, ALLOWED)) == []
