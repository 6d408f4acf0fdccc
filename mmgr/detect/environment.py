"""The environment of a unit: Environment=, then EnvironmentFile=, as systemd.exec(5) has it. ``systemd`` calls this."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.commandline import Unbalanced, words
from mmgr.detect.tree import Absent, Tree, Unreadable
from mmgr.detect.unitfile import Assignment, environment_file

MAX_FILES = 64
"""How many files a unit may read, and how many one pattern may stand for."""

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAGIC = re.compile(r"[*?\[]")


class Environment:
    """The variables that a unit's processes get, each with the line that set it. problems is what could not be read."""

    def __init__(self, tree: Tree, with_specifiers: Callable[[str], str]) -> None:
        self.tree = tree
        self.with_specifiers = with_specifiers
        self.variables: dict[str, Found[str]] = {}
        self.problems: list[Problem] = []

    def read(self, settings: Iterable[Assignment]) -> None:
        """Take the assignments of section [Service] in order. Files win over Environment= wherever they stand."""
        files: list[Found[str]] = []
        unset: list[str] = []
        for setting in settings:
            text = setting.value.value
            if setting.key == "Environment":
                self._assign(setting.value)
            elif setting.key == "EnvironmentFile":
                _append_or_clear(files, [setting.value] if text else [])
            elif setting.key == "UnsetEnvironment":
                _append_or_clear(unset, text.split())
        for file in files[-MAX_FILES:]:
            self._read_named(file)
        for name in unset:
            self._unset(name)

    def _assign(self, value: Found[str]) -> None:
        if not value.value:
            self.variables.clear()
            return
        try:
            pairs = words(value.value)
        except Unbalanced as error:
            self.problems.append(Problem("", value.where, f"Environment= is ignored: {error}", "close the quote"))
            return
        for pair in pairs:
            name, equals, text = self.with_specifiers(pair).partition("=")
            if equals and _NAME.fullmatch(name):
                self.variables[name] = Found(text, value.where)

    def _unset(self, name: str) -> None:
        """Remove a variable: all of that name, or with ``NAME=value`` only with that value."""
        name, equals, value = name.partition("=")
        if name in self.variables and (not equals or self.variables[name].value == value):
            del self.variables[name]

    def _read_named(self, file: Found[str]) -> None:
        pattern = self.with_specifiers(file.value)
        is_optional = pattern.startswith("-")
        pattern = pattern[1:] if is_optional else pattern
        paths = _matching(self.tree, pattern)
        if not paths and not is_optional:
            text = f"{pattern} is missing, and systemd does not start the unit without it"
            self.problems.append(Problem("", file.where, text, "make the file, or write a '-' in front of its path"))
        for path in paths:
            self._read(path)

    def _read(self, path: str) -> None:
        try:
            found = environment_file(self.tree.lines(path))
        except Unreadable as error:
            self.problems.append(Problem("", Where(error.path), error.problem, error.hint))
            return
        for name, value in found.items():
            if _is_broken(name + value.value):
                text = f"{name} is not UTF-8, and systemd ignores the whole file"
                self.problems.append(Problem("", value.where, text, "write the file in UTF-8"))
                return
        self.variables.update({name: value for name, value in found.items() if _NAME.fullmatch(name)})


def _append_or_clear(given: list[T], values: list[T]) -> None:
    """An empty assignment takes back all that came before."""
    if values:
        given += values
    else:
        given.clear()


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _matching(tree: Tree, pattern: str) -> list[str]:
    """The files that a path stands for; [] where there is none."""
    if not pattern.startswith("/"):
        return []
    paths = ["/"]
    for part in pattern.split("/"):
        if part:
            paths = [path for parent in paths for path in _children(tree, parent, part)][:MAX_FILES]
    return [path for path in paths if tree.exists(path)]


def _children(tree: Tree, parent: str, part: str) -> list[str]:
    base = parent.rstrip("/")
    if not _MAGIC.search(part):
        return [f"{base}/{part}"]
    try:
        names = tree.names(parent)
    except Absent:
        return []
    except Unreadable:  # said of the file that the unit misses then
        return []
    hidden = part.startswith(".")
    return [f"{base}/{name}" for name in names if fnmatch.fnmatchcase(name, part) and hidden == name.startswith(".")]
