"""The variables that a start script and its settings files end up with, as far as that shows without running them.

Assignments are followed in order; tests on files, and on variables that are known, decide which branch of an ``if``
counts; ``. FILE`` is read. Functions, loops, cases and everything that a program would have to answer are passed over:
a branch behind such a question counts neither way. ``sysv`` and ``bsd`` call this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Optional

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.shellwords import Token, tokens, value
from mmgr.detect.tree import Absent, Tree, Unreadable

MAX_FILES = 16
"""How many files one script may read, itself included."""

MAX_VALUE = 65536
"""Characters of the longest value of a variable; one that doubles itself in each line must come to an end."""

_LIBRARIES = ("functions", "init-functions", "rc.subr", "network.subr")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_DECLARING = ("export", "readonly", "local", "typeset", "declare")

_NOWHERE = Where("")

Truth = Optional[bool]
"""None is a question that only running the script would answer."""


@dataclass
class Frame:
    """One open construct. is_read says whether its lines count, was_taken whether an earlier branch of an if did."""

    kind: str
    end: str
    is_read: bool
    was_taken: Truth = False


@dataclass
class Shell:
    """Runs scripts on one set of variables. problems is what could not be read, files what was."""

    tree: Tree
    variables: dict[str, Found[str]] = field(default_factory=dict)
    builtins: dict[str, Callable[[Sequence[str]], Truth]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    where: Where = _NOWHERE

    def read(self, path: str) -> bool:
        """Run a file; whether it could be read. One that is not there is no problem."""
        if len(self.files) >= MAX_FILES:
            return False
        try:
            lines = self.tree.lines(path)
        except Absent:
            return False
        except Unreadable as error:
            self.problems.append(Problem("", Where(error.path), error.problem, error.hint))
            return False
        self.files.append(path)
        _Run(self).all(list(tokens(lines)))
        return True

    def text(self, name: str) -> str:
        """The value of a variable, "" where it has none or none that is known."""
        found = self.variables.get(name)
        return found.value if found is not None else ""

    def lookup(self, name: str) -> str | None:
        """The value of a variable, "" if it is not set, None if it can't be known."""
        return None if name in self.unknown else self.text(name)

    def assign(self, name: str, text: str | None) -> None:
        """Give a variable a value as of the line that is run; None, or too long: it can't be known."""
        if text is None or len(text) > MAX_VALUE:
            self.variables.pop(name, None)
            self.unknown.add(name)
        else:
            self.variables[name] = Found(text, self.where)
            self.unknown.discard(name)

    def value(self, word: str) -> str | None:
        """What a word stands for now."""
        return value(word, self.lookup, self.assign)

    def simple(self, words: Sequence[str]) -> Truth:
        """Run one simple command; how it ended."""
        if words[0] == "!":
            return _opposite(self.simple(words[1:])) if words[1:] else None
        given = words[1:] if words[0] in _DECLARING else words
        if all(_ASSIGNMENT.fullmatch(word) for word in given):
            return self._assignments(given)
        if words[0] in ("[", "test"):
            return self._test(words)
        if words[0] in (".", "source"):
            return self._dot(words[1:])
        if words[0] == ":":
            for word in words[1:]:
                self.value(word)
            return True
        if words[0] in self.builtins:
            values = [self.value(word) for word in words[1:]]
            return self.builtins[words[0]]([text for text in values if text is not None])
        return {"true": True, "false": False}.get(words[0])

    def _assignments(self, words: Sequence[str]) -> Truth:
        for word in words:
            name, _, text = word.partition("=")
            self.assign(name, self.value(text))
        return True

    def _dot(self, words: Sequence[str]) -> Truth:
        path = self.value(words[0]) if words else None
        if not path or path.rpartition("/")[2] in _LIBRARIES:
            return None
        return self.read(path)

    def _test(self, words: Sequence[str]) -> Truth:
        inner = words[1:-1] if words[0] == "[" else words[1:]
        if "-a" in inner or "-o" in inner:
            operator = "-o" if "-o" in inner else "-a"
            at = list(inner).index(operator)
            return _both(operator, self._test(["test", *inner[:at]]), self._test(["test", *inner[at + 1 :]]))
        if inner[:1] == ["!"]:
            return _opposite(self._test(["test", *inner[1:]]))
        values = [self.value(word) for word in inner]
        if None in values:
            return None
        return self._decided([text for text in values if text is not None])

    def _decided(self, values: list[str]) -> Truth:
        if len(values) == 1:
            return bool(values[0])
        if len(values) == 3 and values[1] in ("=", "==", "!="):
            return (values[0] == values[2]) == (values[1] != "!=")
        if len(values) != 2:
            return None
        operator, text = values
        if operator in ("-n", "-z"):
            return bool(text) == (operator == "-n")
        if operator in ("-f", "-r", "-x", "-s"):
            return self.tree.is_file(text)
        return self.tree.exists(text) if operator in ("-e", "-d") else None


class _Run:
    """One file on its way through: the open constructs, and the commands of the line."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.frames: list[Frame] = []
        self.words: list[str] = []
        self.status: Truth = True
        self.connector = ";"
        self.awaits_body = False

    @property
    def is_read(self) -> bool:
        return all(frame.is_read for frame in self.frames)

    def all(self, given: list[Token]) -> None:
        for at, token in enumerate(given):
            self.shell.where = token.where
            if token.is_operator:
                self._operator(token.text, given[at - 1 : at] + given[at + 1 : at + 2])
            elif token.text == "{" and self.words[:1] == ["function"]:
                self.words = []
                self._keyword("{")
            elif self.words or not self._keyword(token.text):
                self.words.append(token.text)
        self._end(";")

    def _operator(self, text: str, around: list[Token]) -> None:
        if self.frames and self.frames[-1].kind == "case":
            self.words = []
        elif text == "(" and len(around) == 2 and around[1].text == ")":
            self.words, self.awaits_body = [], True
        elif text == "(":
            self.frames.append(Frame("subshell", ")", is_read=False))
        elif text == ")":
            self._close(")")
            self.words = []
        else:
            self._end(";" if text in ("\n", ";;", "&") else text)

    def _end(self, connector: str) -> None:
        """A command is complete: run it if the one in front lets it, then note what follows."""
        words, self.words = self.words, []
        if words:
            self.status = self._status(words)
            self.connector = connector
        elif connector != ";":
            self.connector = connector

    def _status(self, words: list[str]) -> Truth:
        if not self.is_read:
            return None
        if self.connector == "|":
            return None
        wanted = {"&&": True, "||": False}.get(self.connector)
        if wanted is not None and self.status is not wanted:
            return self.status
        return self.shell.simple(words)

    def _keyword(self, text: str) -> bool:
        """Whether a word in the place of a command is one of the language, and what it does."""
        if self.frames and self.frames[-1].kind == "case":
            return self._close("esac") if text == "esac" else False
        if text in ("{", "("):
            self.frames.append(Frame("group", "}", is_read=not self.awaits_body))
            self.awaits_body = False
        elif text in ("for", "while", "until", "select"):
            self.frames.append(Frame("loop", "done", is_read=False))
        elif text == "case":
            self.frames.append(Frame("case", "esac", is_read=False))
        elif text == "function":
            self.awaits_body = True
            return False
        elif text in ("if", "then", "elif", "else"):
            self._branch(text)
        elif text in ("fi", "done", "}"):
            return self._close(text)
        else:
            return text == "do"
        self.connector = ";"
        return True

    def _branch(self, text: str) -> None:
        if text == "if":
            self.frames.append(Frame("if", "fi", is_read=True))
            return
        frame = next((each for each in reversed(self.frames) if each.kind == "if"), None)
        if frame is None or frame is not self.frames[-1]:
            return
        if text == "then":
            frame.is_read = frame.is_read and self.status is True
            frame.was_taken = self.status if frame.was_taken is False else frame.was_taken
        else:
            frame.is_read = frame.was_taken is False

    def _close(self, end: str) -> bool:
        """End the innermost construct if this is its end."""
        if self.frames and self.frames[-1].end == end:
            self.frames.pop()
            self.connector = ";"
            self.status = None
        return True


def _opposite(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _both(operator: str, one: Truth, other: Truth) -> Truth:
    """``-a`` and ``-o`` with a third value: what is decided by one side alone is decided."""
    decisive = operator == "-o"
    if decisive in (one, other):
        return decisive
    return None if None in (one, other) else not decisive
