"""Ruby's words grouped into statements: which ``end`` belongs to which ``do``, and where a statement is over. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmgr.legacy.lexing import read
from mmgr.legacy.tokens import KEYWORD, LITERALS, NEWLINE, OPERATOR, RubyFault, Source, Token

_CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
_ALWAYS_OPEN = ("do", "class", "module", "begin", "case", "for", "def")
_OPEN_AT_THE_START = ("if", "unless", "while", "until")
_LOOPS = ("while", "until", "for")
_NOT_THE_START = ("end", "self", "true", "false", "nil", "return", "next", "break", "redo", "retry", "yield", "super")
_NOT_THE_END = ("and", "or", "not", "in", "defined?")
_LEADING = (".", "&.")


@dataclass(frozen=True)
class Statement:
    """Some tokens of a file that say one thing, and the place of each bracket's partner among the file's tokens."""

    source: Source = field(repr=False)
    partners: dict[int, int] = field(repr=False)
    first: int
    behind: int

    @property
    def tokens(self) -> Sequence[Token]:
        """The words, line ends inside included."""
        return self.source.tokens[self.first : self.behind]

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.source.tokens[self.first].line

    @property
    def text(self) -> str:
        """As it is written."""
        return self.source.text[self.source.tokens[self.first].start : self.source.tokens[self.behind - 1].end]

    @property
    def comment(self) -> str:
        """What the line above says, if that is a comment."""
        return self.source.comments.get(self.line - 1, "")

    def part(self, first: int, behind: int) -> Statement:
        """The same for fewer tokens, by their place among the file's; there has to be one."""
        return Statement(self.source, self.partners, first, behind)

    def inner(self, first: int, behind: int) -> list[Statement]:
        """The statements between two places of the file, such as those of a block."""
        return _split(self.source, self.partners, first, behind)


def statements(text: str) -> list[Statement]:
    """The statements of a file, outermost ones. Raises RubyFault where something is never closed."""
    source = read(text)
    return _split(source, _partners(source.tokens), 0, len(source.tokens))


def _partners(tokens: Sequence[Token]) -> dict[int, int]:
    """The index of what closes by the index of what opens, and the other way round."""
    found: dict[int, int] = {}
    opened: list[int] = []
    waiting_loops: set[int] = set()
    for index, token in enumerate(tokens):
        if _opens(tokens, index):
            if token.text == "do" and opened and opened[-1] in waiting_loops:
                waiting_loops.discard(opened[-1])
                continue
            if token.kind == KEYWORD and token.text in _LOOPS:
                waiting_loops.add(index)
            opened.append(index)
        elif token.kind == NEWLINE and opened:
            waiting_loops.discard(opened[-1])
        elif _closes(token):
            if not opened or _CLOSER_OF.get(tokens[opened[-1]].text, "end") != token.text:
                raise RubyFault(token.line, f"{token.text!r} closes nothing")
            found[opened[-1]] = index
            found[index] = opened.pop()
    if opened:
        token = tokens[opened[-1]]
        raise RubyFault(token.line, f"{token.text!r} is never closed")
    return found


def _closes(token: Token) -> bool:
    return (token.kind == OPERATOR and token.text in ")]}") or (token.kind == KEYWORD and token.text == "end")


def _opens(tokens: Sequence[Token], index: int) -> bool:
    token = tokens[index]
    if token.kind == OPERATOR:
        return token.text in _CLOSER_OF
    if token.kind != KEYWORD:
        return False
    if token.text in _OPEN_AT_THE_START:
        return index == 0 or _begins_behind(tokens[index - 1])
    return token.text in _ALWAYS_OPEN and not (token.text == "def" and _is_endless(tokens, index))


def _begins_behind(token: Token) -> bool:
    """Whether an ``if`` behind this word opens a block, rather than being a condition of what stands before it."""
    if token.kind == KEYWORD:
        return token.text not in _NOT_THE_START
    return token.kind == NEWLINE or (token.kind == OPERATOR and token.text not in (")", "]", "}"))


def _is_endless(tokens: Sequence[Token], index: int) -> bool:
    """Whether this is ``def name = value`` or ``def name(...) = value``, which has no end."""
    place = index + 2
    if place < len(tokens) and tokens[place].text == "(":
        depth = 0
        while place < len(tokens) and tokens[place].kind != NEWLINE:
            depth += {"(": 1, ")": -1}.get(tokens[place].text, 0)
            place += 1
            if not depth:
                break
    return place < len(tokens) and tokens[place].text == "=" and tokens[place].is_spaced


def _split(source: Source, partners: dict[int, int], first: int, behind: int) -> list[Statement]:
    """Cut at the line ends and semicolons that stand in no brackets and do not lead on to the next line."""
    found: list[Statement] = []
    start = index = first
    tokens = source.tokens
    while index < behind:
        token = tokens[index]
        if partners.get(index, -1) > index:
            index = partners[index]
        elif _ends_a_statement(tokens, index, start, behind):
            if index > start:
                found.append(Statement(source, partners, start, index))
            start = index + 1
        elif token.kind == NEWLINE and index == start:
            start = index + 1
        index += 1
    if behind > start:
        found.append(Statement(source, partners, start, behind))
    return found


def _ends_a_statement(tokens: Sequence[Token], index: int, start: int, behind: int) -> bool:
    token = tokens[index]
    if token.kind == OPERATOR and token.text == ";":
        return True
    if token.kind != NEWLINE or index == start:
        return False
    following = tokens[index + 1] if index + 1 < behind else None
    if following is not None and following.kind == OPERATOR and following.text in _LEADING:
        return False
    before = tokens[index - 1]
    if before.kind == KEYWORD:
        return before.text not in _NOT_THE_END
    return before.kind in LITERALS or before.kind != OPERATOR or before.text in (")", "]", "}", "|", "*", "?", "!")
