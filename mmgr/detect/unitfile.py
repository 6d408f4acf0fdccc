"""The text of unit files and of environment files, as systemd reads them. PURE: lines in, assignments out.

Sources: systemd.syntax(7), systemd.exec(5), systemd.service(5), and what systemd 239 to 252 do where these are silent.
``systemd`` puts the assignments of a unit and its drop-ins together; ``commandline`` takes values apart into words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmgr.detect.base import Found, Where
from mmgr.detect.tree import Line

COMMENTS = ("#", ";")

MAX_VALUE = 65536
"""Characters of the longest value; a longer one, which nobody wrote by hand, is passed over."""

_SPACE = " \t\r"
_ESCAPED_IN_DOUBLE_QUOTES = '"\\`$'


@dataclass(frozen=True)
class Assignment:
    """One ``Key=value`` of a unit file and its section; where is the line on which it begins."""

    section: str
    key: str
    value: Found[str]


def assignments(lines: Iterable[Line]) -> Iterator[Assignment]:
    """The assignments of one unit file in order. What is neither section nor assignment is passed over."""
    section = ""
    for line in _logical(lines):
        text = line.text.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
            continue
        key, equals, value = text.partition("=")
        if equals and key.strip() and len(value) <= MAX_VALUE:
            yield Assignment(section, key.strip(), Found(value.strip(), line.where))


def _logical(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines put together where a backslash at the end asks for it; comments in between do not break them."""
    begun: list[str] = []
    where = Where("")
    for line in lines:
        text = line.text.lstrip()
        if text.startswith(COMMENTS):
            continue
        where = where if begun else line.where
        if _is_continued(text):
            begun.append(text[:-1] + " ")
            continue
        yield Line("".join([*begun, text]), where)
        begun = []
    if begun:
        yield Line("".join(begun), where)


def _is_continued(text: str) -> bool:
    """Whether the last backslash is not itself escaped."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def environment_file(lines: Iterable[Line]) -> dict[str, Found[str]]:
    """The variables of an EnvironmentFile=; of a name that comes twice the later one.

    Quoted parts are joined, a backslash joins lines, nothing is expanded, and a quote in the middle of a bare word is
    itself: ``A='b c'"d"`` gives ``b cd``, ``A=b"c`` gives ``b"c``.
    """
    found: dict[str, Found[str]] = {}
    stream = _Stream(lines)
    while not stream.is_at_end:
        where = stream.where
        character = stream.take()
        if character in COMMENTS:
            _comment(stream)
        elif character not in _SPACE and character != "\n":
            key = _key(character, stream)
            value = _value(stream) if key is not None else ""
            if key is not None and len(value) <= MAX_VALUE:
                found[key] = Found(value, where)
    return found


class _Stream:
    """The characters of all lines, with the line that the next one stands on."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = tuple(lines)
        self.row = 0
        self.column = 0

    @property
    def is_at_end(self) -> bool:
        return self.row >= len(self.lines)

    @property
    def where(self) -> Where:
        return self.lines[self.row].where

    def take(self) -> str:
        """The next character, a line's end included; "" at the end of the file."""
        if self.is_at_end:
            return ""
        text = self.lines[self.row].text
        if self.column < len(text):
            self.column += 1
            return text[self.column - 1]
        self.row, self.column = self.row + 1, 0
        return "\n"


def _comment(stream: _Stream) -> None:
    """Until the end of the line; systemd lets a backslash carry a comment over to the next one."""
    while True:
        character = stream.take()
        if character == "\\":
            stream.take()
        elif character in ("", "\n"):
            return


def _key(first: str, stream: _Stream) -> str | None:
    """The name in front of "="; None where the line has none."""
    read = [first] if first != "=" else []
    while first != "=":
        character = stream.take()
        if character in ("", "\n"):
            return None
        if character == "=":
            break
        read.append(character)
    return "".join(read).rstrip(_SPACE)


def _value(stream: _Stream) -> str:
    read: list[str] = []
    while True:
        character = stream.take()
        if character in ("", "\n"):
            return "".join(read)
        if character == "'":
            _single_quoted(stream, read)
        elif character == '"':
            _double_quoted(stream, read)
        elif character not in _SPACE:
            return "".join([*read, _bare(character, stream)])


def _single_quoted(stream: _Stream, read: list[str]) -> None:
    while (character := stream.take()) not in ("", "'"):
        read.append(character)


def _double_quoted(stream: _Stream, read: list[str]) -> None:
    while (character := stream.take()) not in ("", '"'):
        if character != "\\":
            read.append(character)
            continue
        escaped = stream.take()
        if escaped in _ESCAPED_IN_DOUBLE_QUOTES:
            read.append(escaped)
        elif escaped != "\n":
            read += ["\\", escaped]


def _bare(first: str, stream: _Stream) -> str:
    """The rest of a line that began without quotes, without the white space behind it."""
    read, kept = [], 0
    character = first
    while character not in ("", "\n"):
        if character == "\\":
            character = stream.take()
            read += [character] if character not in ("", "\n") else []
            kept = len(read)
        else:
            read.append(character)
            kept = kept if character in _SPACE else len(read)
        character = stream.take()
    return "".join(read[:kept])
