"""The grammar of milter-greylist's configuration, as far as it says where it listens and how long it holds on. PURE.

Source: conf_lex.l and conf_yacc.y of milter-greylist 4. A statement is a line; a backslash outside quotes and comments
joins the next line to it. A string stands in double quotes on one line, ``\\"`` is a quote in it. Regular expressions
stand between slashes and may hold what else would begin a string or a comment. Keywords have no case and may end in
a colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmgr.detect.base import Found
from mmgr.detect.tree import Line

MAX_TOKENS = 10000
"""How many words of one statement are looked at."""

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f\v]+) | (?P<comment>\#.*) | (?P<next>\\.*)
    | "(?P<string>(?:\\"|[^"])*)" | (?P<open>".*)
    | (?P<regex>/(?:\\/|[^/])+/) | (?P<brace>[{}]) | (?P<word>[^\s"{}\\\#][^\s"{}\\]*)
    """,
    re.VERBOSE | re.DOTALL,
)
_DURATION = re.compile(r"([0-9]{1,9})([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ACCESS_LISTS = ("acl", "racl", "dacl")


@dataclass(frozen=True)
class Token:
    """One word or string of a statement; is_quoted tells ``"socket"`` from the keyword."""

    text: Found[str]
    is_quoted: bool = False

    @property
    def keyword(self) -> str:
        """In small letters and without the colon; "" for a string."""
        return "" if self.is_quoted else self.text.value.lower().rstrip(":")


@dataclass(frozen=True)
class Greylist:
    """What the file says: the last socket with its mode, the last user ("NAME" or "NAME:GROUP"), the longest tarpit."""

    socket: Found[str] | None = None
    mode: Found[str] | None = None
    user: Found[str] | None = None
    tarpit_s: Found[float] | None = None


def read_greylist(lines: Iterable[Line]) -> Greylist:
    """What the lines of a ``greylist.conf`` say. A statement that is not understood is passed over."""
    socket = mode = user = tarpit = None
    for statement in statements(lines):
        keyword = statement[0].keyword
        if keyword == "socket" and len(statement) > 1:
            socket = statement[1].text
            mode = statement[2].text if len(statement) > 2 else None
        elif keyword == "user" and len(statement) > 1:
            user = statement[1].text
        elif keyword in _ACCESS_LISTS:
            held = _tarpit(statement)
            tarpit = held if held and (tarpit is None or held.value > tarpit.value) else tarpit
    return Greylist(socket, mode, user, tarpit)


def statements(lines: Iterable[Line]) -> Iterator[list[Token]]:
    """The statements of a file, without comments; none is empty."""
    statement: list[Token] = []
    for line in lines:
        is_continued = False
        for match in _TOKEN.finditer(line.text):
            if match["next"] is not None:
                is_continued = True
            elif len(statement) < MAX_TOKENS:
                statement += _tokens(match, line)
        if statement and not is_continued:
            yield statement
            statement = []
    if statement:
        yield statement


def _tokens(match: re.Match[str], line: Line) -> Iterator[Token]:
    """The token of a match: none for white space and comments, a string for a quote that is not closed."""
    if match["string"] is not None:
        yield Token(Found(match["string"].replace('\\"', '"'), line.where), is_quoted=True)
    elif match["open"] is not None:
        yield Token(Found(match["open"][1:], line.where), is_quoted=True)
    elif match["space"] is None and match["comment"] is None:
        yield Token(Found(match[0], line.where))


def _tarpit(statement: list[Token]) -> Found[float] | None:
    for token, value in zip(statement, statement[1:]):
        if token.keyword == "tarpit":
            duration = _DURATION.fullmatch(value.text.value)
            if duration:
                return Found(float(int(duration[1]) * _SECONDS[duration[2]]), value.text.where)
    return None
