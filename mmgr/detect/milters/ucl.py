"""The grammar of UCL, the language of rspamd's configuration, as far as one worker's section needs it. PURE.

Text in, statements out; what they mean together, and which files they draw in, is for ``ucl_tree``. Source: the
description and the parser of libucl (README.md, ucl_parser.c); results compared with ``rspamadm configdump`` of rspamd
3.4. A fault ends a statement, the next line is read again; libucl itself gives up at the first one.

    bind_socket = "localhost:11332";                     Assignment(("bind_socket",), Scalar("localhost:11332"))
    worker "rspamd_proxy" { count = 1 }                  Assignment(("worker", "rspamd_proxy"), Body(...))
    .include(try=true; priority=10) "$CONFDIR/x.inc"     Macro("include", {"try": "true", "priority": "10"}, ...)
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

from mmgr.detect.base import Found, Where

MAX_DEPTH = 32
"""How deep objects and lists may be nested; rspamd's own files need 6."""

MAX_FAULTS = 10
"""After how many faults reading stops: the file is something else than UCL."""

MAX_PARAMETERS = 1000
"""How much is read between the parentheses of a macro, in characters."""

_SPACE = re.compile(r"[\s\x00]+")
_BLANK = re.compile(r"[ \t]*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_KEY = re.compile(r'"((?:\\.|[^"\\\n])*)"|\'([^\'\n]*)\'|([^\s=:{}\[\];,#"\']+)')
_STRING = re.compile(r'"((?:\\.|[^"\\\n])*)"|\'((?:\\.|[^\'\\\n])*)\'')
_HEREDOC = re.compile(r"<<([A-Z]+)\n")
_BARE = re.compile(r"(?:[^\n\r;,#{}\[\]\\/]|\\.|/(?!\*)|\{[^{}\[\]\n;]*\}|\[[^{}\[\]\n;]*\])*")
_MACRO = re.compile(r"\.([A-Za-z_]+)[ \t]*(?:\(([^()\n]*)\))?[ \t]*")
_TARGET = re.compile(r"[^\n;]*")
_PARAMETER = re.compile(r"([A-Za-z_]+)[ \t]*[=:][ \t]*(?:\"([^\"]*)\"|([^;,\"]*))")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


@dataclass(frozen=True)
class Scalar:
    """A value that is neither object nor list, as text. Variables are not put in where is_literal (single quotes)."""

    text: str
    where: Where
    is_literal: bool = False


@dataclass(frozen=True)
class Sequence:
    """A list between brackets; objects in it are bodies."""

    items: tuple[Value, ...]
    where: Where


@dataclass(frozen=True)
class Body:
    """What stands between braces."""

    statements: tuple[Statement, ...]
    where: Where


@dataclass(frozen=True)
class Assignment:
    """A key, the names of the section behind it, and the value."""

    keys: tuple[str, ...]
    value: Value
    where: Where


@dataclass(frozen=True)
class Macro:
    """``.name(parameters) target``."""

    name: str
    parameters: Mapping[str, str]
    target: str
    where: Where


Value = Union[Scalar, Sequence, Body]
Statement = Union[Assignment, Macro]


@dataclass(frozen=True)
class Document:
    """One file: its statements, and what is wrong in it."""

    statements: tuple[Statement, ...]
    faults: tuple[Found[str], ...] = ()


class _Fault(Exception):
    """What is wrong here; is_end: nothing behind it can be read either."""

    def __init__(self, text: str, is_end: bool = False) -> None:
        super().__init__(text)
        self.is_end = is_end


def read_ucl(text: str, path: str) -> Document:
    """The statements of a text; path is for the places. Raises nothing, takes time linear in the text."""
    parser = _Parser(text, path)
    statements: list[Statement] = []
    while not parser.is_at_end():
        statements += parser.statements(depth=0)
        parser.pass_over_brace()
    return Document(tuple(statements), tuple(parser.faults))


@dataclass
class _Parser:
    text: str
    path: str
    at: int = 0
    faults: list[Found[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._line_ends = [match.start() for match in re.finditer("\n", self.text)]

    def is_at_end(self) -> bool:
        return self.at >= len(self.text)

    def where(self) -> Where:
        return Where(self.path, bisect.bisect_left(self._line_ends, self.at) + 1)

    def statements(self, depth: int) -> list[Statement]:
        """Statements up to the closing brace, which is left, or to the end; a fault loses the rest of its line."""
        read: list[Statement] = []
        while True:
            try:
                self._pass_over(";,")
                if self.is_at_end() or self._peek() == "}":
                    return read
                read.append(self._macro() if self._peek() == "." else self._assignment(depth))
            except _Fault as fault:
                self._note(str(fault))
                self.at = len(self.text) if fault.is_end else self._line_end()

    def pass_over_brace(self) -> None:
        """A closing brace that nothing has opened."""
        if self._peek() == "}":
            self.at += 1
            self._note("a '}' that closes nothing")

    def _note(self, text: str) -> None:
        self.faults.append(Found(text, self.where()))
        if len(self.faults) >= MAX_FAULTS:
            self.at = len(self.text)

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _line_end(self) -> int:
        end = bisect.bisect_left(self._line_ends, self.at)
        return self._line_ends[end] if end < len(self._line_ends) else len(self.text)

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def _pass_over(self, also: str = "") -> None:
        """White space, comments, and these characters."""
        while not self.is_at_end():
            if self._match(_SPACE):
                continue
            if self.text.startswith("/*", self.at):
                self._comment()
            elif self._peek() == "#":
                self.at = self._line_end()
            elif also and self._peek() in also:
                self.at += 1
            else:
                return

    def _comment(self) -> None:
        """``/* a /* b */ c */``: comments are nested."""
        depth, at = 0, self.at
        while True:
            mark = _COMMENT_MARK.search(self.text, at)
            if mark is None:
                raise _Fault("a comment is not closed", is_end=True)
            depth, at = depth + (1 if mark[0] == "/*" else -1), mark.end()
            if depth == 0:
                self.at = at
                return

    def _macro(self) -> Macro:
        where, match = self.where(), self._match(_MACRO)
        if match is None:
            raise _Fault("a '.' that begins no macro")
        given = (match[2] or "")[:MAX_PARAMETERS]
        parameters = {name: quoted or bare.strip() for name, quoted, bare in _PARAMETER.findall(given)}
        if self._peek() == "{":
            self.at = self._line_end()
            return Macro(match[1], parameters, "", where)
        target = self._string() or self._target()
        return Macro(match[1], parameters, target.text, where)

    def _target(self) -> Scalar:
        """The target of a macro without quotes: a path may hold ``/*``."""
        where, match = self.where(), self._match(_TARGET)
        return Scalar(match[0].strip() if match else "", where)

    def _assignment(self, depth: int) -> Assignment:
        where, keys = self.where(), [self._key()]
        self._pass_over()
        if self._peek() in ("=", ":"):
            self.at += 1
            self._pass_over()
        else:
            keys += self._section_names()
        return Assignment(tuple(keys), self._value(depth), where)

    def _key(self) -> str:
        match = self._match(_KEY)
        if match is None:
            raise _Fault(f"{self._peek()!r} begins no key")
        quoted, single, bare = match.groups()
        return _unescaped(quoted) if quoted is not None else (single or bare or "")

    def _section_names(self) -> list[str]:
        """The names between a key and its ``{`` on the same line; none where no brace comes: that is a value."""
        start, names = self.at, []
        while self._peek() not in ("{", ""):
            match = self._match(_KEY)
            if match is None:
                break
            names.append(_unescaped(match[1]) if match[1] is not None else (match[2] or match[3] or ""))
            if len(names) > MAX_DEPTH:
                break
            self._match(_BLANK)
        if self._peek() == "{":
            return names
        self.at = start
        return []

    def _value(self, depth: int) -> Value:
        character = self._peek()
        if character in ("{", "[") and depth >= MAX_DEPTH:
            raise _Fault(f"more than {MAX_DEPTH} levels", is_end=True)
        if character == "{":
            return self._body(depth)
        if character == "[":
            return self._sequence(depth)
        value = self._heredoc() or self._string()
        if value is not None:
            return value
        value = self._bare()
        if not value.text:
            raise _Fault("a value is missing")
        return value

    def _body(self, depth: int) -> Body:
        where = self.where()
        self.at += 1
        read = self.statements(depth + 1)
        if self.is_at_end() and len(self.faults) < MAX_FAULTS:
            self.faults.append(Found("a '{' is not closed", where))
        self.at += 1
        return Body(tuple(read), where)

    def _sequence(self, depth: int) -> Sequence:
        where = self.where()
        items: list[Value] = []
        self.at += 1
        while True:
            self._pass_over(",;")
            if self.is_at_end():
                raise _Fault("a '[' is not closed")
            if self._peek() == "]":
                self.at += 1
                return Sequence(tuple(items), where)
            items.append(self._value(depth + 1))

    def _heredoc(self) -> Scalar | None:
        """``<<EOD``, lines, and a line with the same mark."""
        where, match = self.where(), self._match(_HEREDOC)
        if match is None:
            return None
        start, mark = self.at, "\n" + match[1]
        at = self.text.find(mark, start - 1)
        while at >= 0:
            end = at + len(mark)
            if not self.text[end : end + 1].isalnum():
                self.at = end
                return Scalar(self.text[start:at].rstrip("\r"), where)
            at = self.text.find(mark, end)
        raise _Fault(f"<<{match[1]} is not closed", is_end=True)

    def _string(self) -> Scalar | None:
        where, match = self.where(), self._match(_STRING)
        if match is None:
            return None
        double, single = match.groups()
        return Scalar(_unescaped(double), where) if double is not None else Scalar(single, where, is_literal=True)

    def _bare(self) -> Scalar:
        """Text without quotes, white space inside included; ends with the line, ';', ',', '#' or a bracket."""
        where, match = self.where(), self._match(_BARE)
        return Scalar(_unescaped(match[0].strip()) if match else "", where)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escape, text) if "\\" in text else text


def _escape(match: re.Match[str]) -> str:
    name = match[1]
    return chr(int(name[1:], 16)) if len(name) == 5 else _ESCAPES.get(name, name)
