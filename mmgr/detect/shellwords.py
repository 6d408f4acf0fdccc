"""The words and operators of a shell script, and what a word stands for once variables are put in. PURE.

Source: POSIX.1-2017, "Shell Command Language", 2.2, 2.3 and 2.6.2; as much of them as start scripts use. ``shell`` runs
what comes out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Optional

from mmgr.detect.base import Where
from mmgr.detect.tree import Line

MAX_WORD = 65536
"""Characters of the longest word; an open quote must not make one of the rest of the file."""

MAX_DEPTH = 8
"""How deep quotes within ``$(...)`` within quotes, and defaults within defaults, are followed."""

_OPERATOR = re.compile(r"&&|\|\||;;|[;&|()]")
_PLAIN = re.compile(r"[^\s;&|()'\"\\`$<>#]+")
_HERE = re.compile(r"<<(-?)\s*(\\?[\w.]+|'[^'\n]*'|\"[^\"\n]*\")")
_REDIRECTION = re.compile(r"\d*(?:>>|>\||[<>]&?)[ \t]*")
_SPACE = re.compile(r"[ \t\r]+")


@dataclass(frozen=True)
class Token:
    """A word as it is written, quotes and all, or an operator ("\\n" for the end of a line)."""

    text: str
    where: Where
    is_operator: bool = False


def tokens(lines: Iterable[Line]) -> Iterator[Token]:
    """All tokens of a script. Comments, redirections and here-documents are left out."""
    rows = list(lines)
    at = 0
    while at < len(rows):
        text, where, at = _whole(rows, at)
        yield from _of_line(text, where)
        yield Token("\n", where, is_operator=True)
        for dash, mark in _HERE.findall(_without_comment(text)):
            at = _behind_here_document(rows, at, mark.strip("\\'\""), bool(dash))


def _without_comment(text: str) -> str:
    return "" if text.lstrip().startswith("#") else text


def _behind_here_document(rows: list[Line], at: int, mark: str, is_indented: bool) -> int:
    for end in range(at, len(rows)):
        text = rows[end].text
        if (text.lstrip("\t") if is_indented else text) == mark:
            return end + 1
    return len(rows)


def _whole(rows: list[Line], at: int) -> tuple[str, Where, int]:
    """One line with those that a backslash or an open quote joins to it, and the number of the next one."""
    text, where = rows[at].text, rows[at].where
    parts, size = [], 0
    quote = ""
    while True:
        quote, is_joined = _state(text, quote)
        parts.append(text[:-1] if is_joined else text)
        size += len(text)
        at += 1
        if not (quote or is_joined) or at >= len(rows) or size > MAX_WORD:
            return "".join(parts), where, at
        if not is_joined:
            parts.append("\n")
        text = rows[at].text


def _state(text: str, quote: str) -> tuple[str, bool]:
    """Which quote is open at the end of a line, and whether a backslash joins the next one to it."""
    at, is_word = 0, bool(quote)
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'":
            if at == len(text) - 1:
                return quote, True
            at += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        elif character == "#" and not is_word:
            break
        is_word = character not in " \t;&|()"
        at += 1
    return quote, False


def _of_line(text: str, where: Where) -> Iterator[Token]:
    at = 0
    while at < len(text):
        if match := _SPACE.match(text, at):
            at = match.end()
        elif text[at] == "#":
            return
        elif match := _HERE.match(text, at) or _REDIRECTION.match(text, at):
            at = match.end() if "<<" in match.group() else _end_of_word(text, match.end())
        elif match := _OPERATOR.match(text, at):
            yield Token(match.group(), where, is_operator=True)
            at = match.end()
        else:
            end = max(_end_of_word(text, at), at + 1)
            yield Token(text[at:end], where)
            at = end


def _end_of_word(text: str, at: int) -> int:
    while at < len(text):
        if match := _PLAIN.match(text, at):
            at = match.end()
        elif text[at] in "'\"`":
            at = _end_of_quote(text, at)
        elif text[at] == "\\":
            at += 2
        elif text[at] == "$":
            at = _end_of_dollar(text, at)
        elif text[at] == "#":
            at += 1
        else:
            break
    return min(at, len(text))


def _end_of_quote(text: str, at: int, depth: int = 0) -> int:
    """Behind the quoted part that begins here, or the end of the text."""
    quote = text[at]
    at += 1
    while at < len(text) and text[at] != quote:
        if text[at] == "$" and quote == '"' and depth < MAX_DEPTH:
            at = _end_of_dollar(text, at, depth + 1)
        else:
            at += 2 if text[at] == "\\" and quote != "'" else 1
    return at + 1


def _end_of_dollar(text: str, at: int, depth: int = 0) -> int:
    """Behind ``$x``, ``${x...}`` or ``$(...)``; nested ones of the latter two are counted."""
    opening = text[at + 1 : at + 2]
    closing = {"{": "}", "(": ")"}.get(opening)
    if closing is None:
        return at + 1
    at, open_ones = at + 2, 1
    while at < len(text) and open_ones:
        if text[at] in "'\"":
            at = _end_of_quote(text, at, depth)
            continue
        open_ones += (text[at] == opening) - (text[at] == closing)
        at += 1
    return at


Lookup = Callable[[str], Optional[str]]
"""The value of a variable, "" for one that is not set, None for one whose value can't be known without running it."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITH_DEFAULT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?[-=+])(.*)", re.DOTALL)


def value(word: str, lookup: Lookup, assign: Callable[[str, str], None], depth: int = 0) -> str | None:
    """What a word stands for; None where only running it would tell. ``${x:=y}`` assigns."""
    read: list[str] = []
    at, is_quoted = 0, False
    while at < len(word):
        character = word[at]
        if character == "'" and not is_quoted:
            end = _end_of_quote(word, at)
            read.append(word[at + 1 : end - 1])
            at = end
        elif character == '"':
            is_quoted, at = not is_quoted, at + 1
        elif character == "\\":
            read.append(_after_backslash(word[at + 1 : at + 2], is_quoted))
            at += 2
        elif character == "$" and at + 1 < len(word):
            part, at = _variable(word, at, (lookup, assign), depth)
            if part is None:
                return None
            read.append(part)
        elif character == "`":
            return None
        else:
            read.append(character)
            at += 1
    return "".join(read)


def _after_backslash(character: str, is_quoted: bool) -> str:
    return character if not is_quoted or character in '$`"\\' else "\\" + character


def _variable(
    word: str, at: int, world: tuple[Lookup, Callable[[str, str], None]], depth: int
) -> tuple[str | None, int]:
    if name := _NAME.match(word, at + 1):
        return world[0](name.group()), name.end()
    if word[at + 1] != "{":
        return (None, at) if word[at + 1] in "(0123456789@*#?$!-" else ("$", at + 1)
    end = _end_of_dollar(word, at)
    inner = word[at + 2 : end - 1]
    if _NAME.fullmatch(inner):
        return world[0](inner), end
    form = _WITH_DEFAULT.fullmatch(inner)
    return (_defaulted(form, world, depth) if form and depth < MAX_DEPTH else None), end


def _defaulted(form: re.Match[str], world: tuple[Lookup, Callable[[str, str], None]], depth: int) -> str | None:
    """``${x:-y}``, ``${x:=y}``, ``${x:+y}``; without the colon the same: an empty x counts as unset here too."""
    name, operator, other = form.groups()
    present = world[0](name)
    if present is None:
        return None
    if operator.endswith("+"):
        return value(other, *world, depth + 1) if present else ""
    if present:
        return present
    given = value(other, *world, depth + 1)
    if given is not None and operator.endswith("="):
        world[1](name, given)
    return given
