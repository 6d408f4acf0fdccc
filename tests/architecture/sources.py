"""The sources of a tree as syntax trees, for rules about the house. A rule gives its findings as ``FILE:LINE: text``.

A rule takes the root of a tree, so that a test can plant a tree which breaks it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[2]
OURS = ("mmgr", "workers")
"""The packages that are shipped."""

Rule = Callable[[Path], "list[str]"]
"""Takes the root of a tree, gives what is wrong in it."""

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, its module name, its text and its syntax tree."""

    path: str
    module: str
    is_package: bool
    text: str
    tree: ast.Module

    def at(self, node: ast.AST, text: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {text}"


@dataclass(frozen=True)
class Import:
    """One imported name in full: ``from mmgr.protocol import framing`` gives ``mmgr.protocol.framing``."""

    node: ast.AST
    name: str


def sources(root: Path, *folders: str) -> list[Source]:
    """All Python files below the folders that exist, in the order of their paths."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return [_source(root, path) for path in paths if "__pycache__" not in path.parts]


@cache
def _source(root: Path, path: Path) -> Source:
    relative = path.relative_to(root)
    parts = relative.with_suffix("").parts
    is_package = parts[-1] == "__init__"
    text = path.read_text("utf-8")
    module = ".".join(parts[:-1] if is_package else parts)
    return Source(str(relative), module, is_package, text, ast.parse(text, str(relative)))


def imports(source: Source) -> Iterator[Import]:
    """Every import of a file, wherever it stands, those by name at run time included."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (Import(node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(source, node)
            yield from (Import(node, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("importlib.import_module", "import_module", "__import__"):
            yield from (Import(node, str(each.value)) for each in node.args[:1] if isinstance(each, ast.Constant))


def _origin(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    kept = len(parts) - node.level + source.is_package
    return ".".join([*parts[:kept], *filter(None, [node.module])])


def called(node: ast.Call) -> str:
    """What a call calls, as it is written: ``print``, ``sys.exit``; "" for anything but plain names."""
    return dotted(node.func)


def dotted(node: ast.expr) -> str:
    """A name with dots as it is written; "" for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def is_in(name: str, rooms: Iterable[str]) -> bool:
    """Is a dotted name one of the rooms or inside of one?"""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """A small tree to break a rule with."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
