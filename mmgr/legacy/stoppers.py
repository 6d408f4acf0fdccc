"""The blocks that stop a milter, as one expression that says when it takes part. PURE.

Only what compares the client, the greeting or an address of its own stage with literals is understood. A block that is
true stops the milter, so what is written is its negation; several blocks stop it each by itself. The language that is
written is that of ``mmgr.conditions.expression``, which has the last word on each expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmgr.conditions.expression import ExpressionError, compile_expression
from mmgr.legacy import comparisons, truths
from mmgr.legacy.nesting import Statement
from mmgr.legacy.shapes import Shape, Untranslatable
from mmgr.legacy.tokens import KEYWORD, MAX_NESTING, NEWLINE, OPERATOR, Token
from mmgr.legacy.truths import Truth, is_truth, junction, negation

STAGES: Mapping[str, tuple[str, ...]] = {
    "define_connect_stopper": ("", "client_name", "client_address"),
    "define_helo_stopper": ("", "helo"),
    "define_envelope_from_stopper": ("context of MAIL", "sender"),
    "define_envelope_recipient_stopper": ("", "recipient"),
}
"""What the names of a block stand for, in their order."""

MAX_BRANCHES = 100
"""How many ways a block may take; one that people wrote has five."""


def expression(name: str, stoppers: Sequence[Shape]) -> str:
    """When a milter takes part, as far as these blocks go. Raises Untranslatable."""
    parts: list[Truth] = []
    for stopper in stoppers:
        assert stopper.block
        names = dict(zip(stopper.block.names, STAGES[stopper.method]))
        if len(stopper.block.names) > len(STAGES[stopper.method]):
            raise Untranslatable("a block takes more than it is given")
        parts.append(negation(_Block(names).value(stopper.block.statements)))
    truth = junction(True, parts)
    if is_truth(truth):
        raise Untranslatable("it stops always, or never")
    text = truths.written(truth)
    try:
        compile_expression(name, text)
    except ExpressionError as error:
        raise Untranslatable(f"as an expression ({text[:80]}) it is refused: {error}") from error
    return text


@dataclass(frozen=True)
class _Part:
    """A keyword of an ``if`` or ``case`` and where what follows it begins and ends."""

    word: str
    first: int
    behind: int


class _Block:
    """One block; names says what its variables stand for."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.depth = 0
        self.branches = 0

    def value(self, statements: Sequence[Statement]) -> Truth:
        """What the block is in the end: its last statement, unless one before leaves it."""
        if not statements:
            return False
        self.count_branches(len(statements))
        first, rest = statements[0], statements[1:]
        if first.tokens[0].kind == KEYWORD and first.tokens[0].text == "next":
            value, condition = self.left_early(first)
            return value if condition is None else _choice(condition, value, self.value(rest))
        if rest:
            raise Untranslatable(f"line {first.line}: a block does more than compare")
        return self.statement(first)

    def count_branches(self, count: int) -> None:
        """Raise Untranslatable when the block has too many branches in all."""
        self.branches += count
        if self.branches > MAX_BRANCHES:
            raise Untranslatable(f"a block has more than {MAX_BRANCHES} branches")

    def left_early(self, statement: Statement) -> tuple[Truth, Truth | None]:
        """``next VALUE if CONDITION``."""
        tokens, first = statement.source.tokens, statement.first
        places = [i for i in range(first + 1, statement.behind) if _is_word(tokens[i], "if", "unless")]
        end = places[0] if places else statement.behind
        if len(places) > 1 or end == first + 1:
            raise Untranslatable(f"line {statement.line}: a block does more than compare")
        value = self.compared(statement.part(first + 1, end))
        if not places:
            return value, None
        condition = self.compared(statement.part(end + 1, statement.behind))
        return value, condition if tokens[end].text == "if" else negation(condition)

    def statement(self, statement: Statement) -> Truth:
        """One statement as a value."""
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Untranslatable("a block has too many things inside each other")
        word = statement.tokens[0].text if statement.tokens[0].kind == KEYWORD else ""
        last = statement.partners.get(statement.first) == statement.behind - 1
        if word in ("if", "unless", "case") and last:
            found = self.case(statement) if word == "case" else self.choice(statement, word)
        else:
            found = self.compared(statement)
        self.depth -= 1
        return found

    def compared(self, statement: Statement) -> Truth:
        return comparisons.read(statement, self.names)

    def choice(self, statement: Statement, word: str) -> Truth:
        """``if ... elsif ... else ... end`` and ``unless``."""
        parts = _parts(statement, ("elsif", "else"))
        self.count_branches(len(parts))
        found: Truth = False
        for part in reversed(parts):
            if part.word == "else":
                found = self.value(statement.inner(part.first, part.behind))
                continue
            condition, body = self.condition_and_body(statement, part)
            found = _choice(negation(condition) if word == "unless" and part is parts[0] else condition, body, found)
        return found

    def condition_and_body(self, statement: Statement, part: _Part) -> tuple[Truth, Truth]:
        """What stands behind ``if``, up to the line end or ``then``, and what counts if that is true."""
        end = _line_end(statement, part)
        return self.compared(statement.part(part.first, end)), self.value(statement.inner(end + 1, part.behind))

    def case(self, statement: Statement) -> Truth:
        """``case NAME``, ``when LITERALS``."""
        parts = _parts(statement, ("when", "else"))
        self.count_branches(len(parts))
        subject = statement.part(parts[0].first, parts[0].behind)
        words = [token for token in subject.tokens if token.kind != NEWLINE]
        if len(words) != 1 or words[0].text not in self.names:
            raise Untranslatable(f"line {statement.line}: it is not about something that is known here")
        found: Truth = False
        for part in reversed(parts[1:]):
            if part.word == "else":
                found = self.value(statement.inner(part.first, part.behind))
                continue
            end = _line_end(statement, part)
            condition = comparisons.is_one_of(statement.part(part.first, end), self.names[words[0].text])
            found = _choice(condition, self.value(statement.inner(end + 1, part.behind)), found)
        return found


def _choice(condition: Truth, then: Truth, otherwise: Truth) -> Truth:
    if then is True:
        return junction(False, [condition, otherwise])
    if then is False:
        return junction(True, [negation(condition), otherwise])
    return junction(False, [junction(True, [condition, then]), junction(True, [negation(condition), otherwise])])


def _is_word(token: Token, *words: str) -> bool:
    return token.kind == KEYWORD and token.text in words


def _parts(statement: Statement, words: tuple[str, ...]) -> list[_Part]:
    """The statement cut at these keywords where they belong to it."""
    tokens, index = statement.source.tokens, statement.first
    places = [index]
    index += 1
    while index < statement.behind - 1:
        if statement.partners.get(index, -1) > index:
            index = statement.partners[index]
        elif _is_word(tokens[index], *words):
            places.append(index)
        index += 1
    ends = [*places[1:], statement.behind - 1]
    return [_Part(tokens[place].text, place + 1, end) for place, end in zip(places, ends)]


def _line_end(statement: Statement, part: _Part) -> int:
    """Where the condition of a part ends; a comma or an operator leads on to the next line."""
    tokens, index = statement.source.tokens, part.first
    while index < part.behind:
        token = tokens[index]
        is_end = token.kind == NEWLINE and not (
            tokens[index - 1].kind == OPERATOR and tokens[index - 1].text not in ")]}"
        )
        if index > part.first and (is_end or _is_word(token, "then") or token.text == ";"):
            return index
        index = statement.partners[index] + 1 if statement.partners.get(index, -1) > index else index + 1
    raise Untranslatable(f"line {statement.line}: a block does more than compare")
