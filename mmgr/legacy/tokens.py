"""The words of a Ruby file as records: names, literals, operators and line ends. PURE; ``lexing`` makes them.

Literals whose value is fixed come with that value; those with ``#{...}`` in them, and command lines in backticks, are
DYNAMIC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Union

from mmgr.errors import MmgrError

MAX_NESTING = 50
"""How deep things may stand inside each other; what people write has 5 levels."""

NAME, KEYWORD, LABEL, CONSTANT = "name", "keyword", "label", "constant"
STRING, SYMBOL, NUMBER, REGEXP, WORDS, DYNAMIC = "string", "symbol", "number", "regexp", "words", "dynamic"
OPERATOR, NEWLINE = "operator", "newline"

LITERALS = (STRING, SYMBOL, NUMBER, REGEXP, WORDS, DYNAMIC)


class Symbol(str):
    """``:name``."""

    __slots__ = ()


@dataclass(frozen=True)
class Regexp:
    """``/source/flags``, as it is written."""

    source: str
    flags: str = ""


Value = Union[None, bool, int, float, str, Regexp, "list[Value]"]
"""What a literal may be; a Symbol is a str."""


class Token(NamedTuple):
    """One word. start and end are offsets in the source; is_spaced says whether white space stands before it."""

    kind: str
    text: str
    value: Value
    line: int
    start: int
    end: int
    is_spaced: bool


class RubyFault(MmgrError):
    """A file that is no Ruby, or none that can be read here: the line, and what is wrong there."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line = line
        self.problem = problem


@dataclass
class Source:
    """A file cut into words. comments are those that have a line of their own, by line."""

    text: str = field(repr=False)
    tokens: list[Token] = field(default_factory=list, repr=False)
    comments: dict[int, str] = field(default_factory=dict, repr=False)
