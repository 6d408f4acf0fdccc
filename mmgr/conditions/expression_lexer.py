"""The words of an expression: text in, tokens with line and column out, or the first fault. PURE.

``expression_parser`` calls it. The grammar that the tokens make up stands in ``expression``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_TEXT_BYTES = 16384
"""The longest expression; one with a thousand networks has about as much."""

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<string>"[^"\n]*"|'[^'\n]*'|<>)
    | (?P<regex>/(?:\\.|[^/\\\n])+/)
    | (?P<mark>[=!<>]=|[<>(),])
    | (?P<word>[A-Za-z0-9_.@:{\[](?:[A-Za-z0-9_.@:{}\[\]+-]|/(?=[0-9]))*)
    """,
    re.VERBOSE,
)
_HINTS = {
    "=": "to compare write ==, for a regular expression matches",
    "!": "write not, or != between a name and a value",
    "&": "write and",
    "|": "write or",
    "~": "write matches",
    "*": "there are no wildcards: .example.com stands for all below it, matches /.../ for anything else",
    "-": "numbers are 0 or more, and text that begins with '-' stands in quotes",
    ";": "one expression is all there may be; join tests with and, or",
    "#": "there are no comments inside of an expression",
}


class ExpressionError(ValueError):
    """A fault in an expression: what is wrong, what to write instead (may be empty), and where, both from 1."""

    def __init__(self, problem: str, hint: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(problem, hint, line, column)
        self.problem = problem
        self.hint = hint
        self.line = line
        self.column = column

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"line {self.line}, column {self.column}: {self.problem}{hint}"


class Token(NamedTuple):
    """One token. kind is word, string, regex, mark or end; text is without quotes and slashes."""

    kind: str
    text: str
    line: int
    column: int

    def fault(self, problem: str, hint: str = "") -> ExpressionError:
        """An error that points here."""
        return ExpressionError(problem, hint, self.line, self.column)

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end"
        return shown(self.text) if self.kind != "regex" else f"/{self.text[:60]}/"


def shown(text: str) -> str:
    """A part of the text for a message: quoted, escaped, cut."""
    return ascii(text) if len(text) <= 60 else ascii(text[:57] + "...")


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "") -> str:
    """A hint that names what a mistyped word was probably meant to be."""
    close = difflib.get_close_matches(word[:40].lower(), list(choices), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else otherwise


def tokens(text: str) -> list[Token]:
    """All tokens of an expression, with one of kind end behind them. Raises ExpressionError."""
    _check_text(text)
    found = []
    position, line, line_start = 0, 1, 0
    while position < len(text):
        column = position - line_start + 1
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unknown(text, position, line, column)
        position = match.end()
        kind, token = match.lastgroup or "", match.group()
        if kind != "space":
            found.append(Token(kind, token[1:-1] if kind in ("string", "regex") else token, line, column))
        elif "\n" in token:
            line += token.count("\n")
            line_start = match.start() + token.rindex("\n") + 1
    return [*found, Token("end", "", line, position - line_start + 1)]


def _check_text(text: str) -> None:
    """Raise if the text is no text, or more than can be meant."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        before = text[: error.start]
        line, column = before.count("\n") + 1, error.start - before.rfind("\n")
        raise ExpressionError("is not text in UTF-8", "", line, column) from None
    if size > MAX_TEXT_BYTES:
        hint = "make several conditions of it; a milter may have any number, and all have to apply"
        raise ExpressionError(f"has {size} bytes, and at most {MAX_TEXT_BYTES} are allowed", hint)


def _unknown(text: str, position: int, line: int, column: int) -> ExpressionError:
    """What can be said of a character that begins no token."""
    character = text[position]
    if character in "\"'":
        hint = "a string ends on its line, with the quote that it began with"
        return ExpressionError("the string is not closed", hint, line, column)
    if character == "/":
        hint = "write it between two slashes, with \\/ for a slash in it"
        return ExpressionError("the regular expression is not closed, or is empty", hint, line, column)
    hint = _HINTS.get(character, "text with anything but letters, digits and . _ @ : + - stands in quotes")
    return ExpressionError(f"{shown(character)} has no meaning here", hint, line, column)
