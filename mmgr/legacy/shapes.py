"""What a statement looks like: a call or an assignment of literals, and nothing that has to be computed. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from mmgr.errors import MmgrError
from mmgr.legacy.nesting import Statement
from mmgr.legacy.tokens import (
    CONSTANT,
    DYNAMIC,
    KEYWORD,
    LABEL,
    LITERALS,
    MAX_NESTING,
    NAME,
    NEWLINE,
    NUMBER,
    OPERATOR,
    STRING,
    Token,
    Value,
)


class Untranslatable(MmgrError):
    """A statement, or a part of one, that has no equal here; the text says why."""


@dataclass(frozen=True)
class Block:
    """``do |names| ... end``; the statements are inside of those braces."""

    names: tuple[str, ...]
    statements: Sequence[Statement]


@dataclass(frozen=True)
class Shape:
    """``receiver.method = value``, ``receiver.method(arguments, options) do ... end`` or parts of that.

    operator is "=", "+=", "-=" or the like for an assignment, "" for a call.
    """

    receiver: tuple[str, ...]
    method: str
    operator: str = ""
    arguments: tuple[Value, ...] = ()
    options: dict[str, Value] = field(default_factory=dict)
    block: Block | None = None

    @property
    def path(self) -> str:
        """Receiver and method with dots between them."""
        return ".".join((*self.receiver, self.method))

    @property
    def value(self) -> Value:
        """What is assigned."""
        return self.arguments[0]

    @property
    def is_bare(self) -> bool:
        """Whether it has neither arguments nor a block, as a name has."""
        return not (self.operator or self.arguments or self.options or self.block)


_ASSIGNMENTS = ("=", "+=", "-=", "||=", "<<")
_OTHER_ASSIGNMENTS = ("*=", "/=", "%=", "&=", "|=", "^=", "&&=", "**=", "<<=", ">>=")
_MODIFIERS = {
    "if": "whether it counts depends on a Ruby condition",
    "unless": "whether it counts depends on a Ruby condition",
    "while": "it is a loop",
    "until": "it is a loop",
    "rescue": "what it does depends on an error",
    "and": "several things are joined",
    "or": "several things are joined",
}
_LEADERS = {
    "if": "what counts depends on a Ruby condition",
    "unless": "what counts depends on a Ruby condition",
    "case": "what counts depends on a Ruby condition",
    "while": "it is a loop",
    "until": "it is a loop",
    "for": "it is a loop",
    "def": "it defines a Ruby method",
    "class": "it defines Ruby code",
    "module": "it defines Ruby code",
    "begin": "what it does depends on an error",
    "BEGIN": "it is Ruby code that runs inside the daemon",
    "END": "it is Ruby code that runs inside the daemon",
}
_WORDS = {"true": True, "false": False, "nil": None}


def shape_of(statement: Statement, names: Mapping[str, Value] = MappingProxyType({})) -> Shape:
    """The shape of a statement. Raises Untranslatable where it has another one or something in it is computed.

    names are those of a loop, which stand for a value.
    """
    return _Cursor(statement, names).shape()


def literal(statement: Statement) -> Value:
    """The value of a statement that is nothing but a literal. Raises Untranslatable."""
    cursor = _Cursor(statement, {})
    value = cursor.value()
    cursor.expect_end()
    return value


class _Cursor:
    """A place in a statement that moves forward."""

    def __init__(self, statement: Statement, bound: Mapping[str, Value]) -> None:
        self.statement = statement
        self.bound = bound
        self.place = statement.first

    def shape(self) -> Shape:
        """All of it."""
        first = self.peek()
        if first is not None and first.kind == KEYWORD and first.text in _LEADERS:
            raise Untranslatable(_LEADERS[first.text])
        names = self.names()
        shape = self.assignment(names) or self.call(names)
        self.expect_end()
        return shape

    def assignment(self, names: list[str]) -> Shape | None:
        """What is assigned; None if it is a call."""
        operator = self.take_operator(*_ASSIGNMENTS)
        return Shape(tuple(names[:-1]), names[-1], operator, (self.assigned(),)) if operator else None

    def names(self) -> list[str]:
        """``a.b.c``, the parts of it."""
        found = [self.name()]
        while self.take_operator(".", "&.", "::"):
            self.skip_lines()
            found.append(self.name())
        return found

    def name(self) -> str:
        token = self.peek()
        if token is None or token.kind not in (NAME, CONSTANT) or token.text[0] in "@$":
            raise Untranslatable(_computed(token))
        self.place += 1
        return token.text

    def assigned(self) -> Value:
        """What stands behind the equals sign; several values between commas are an array."""
        self.skip_lines()
        values = [self.value()]
        while self.take_operator(","):
            self.skip_lines()
            values.append(self.value())
        return values if len(values) > 1 else values[0]

    def call(self, names: list[str]) -> Shape:
        """A call with its arguments and its block."""
        arguments: list[Value] = []
        options: dict[str, Value] = {}
        token = self.peek()
        if token is not None and token.text == "(" and not token.is_spaced:
            self.in_brackets(")", lambda: self.argument(arguments, options))
        elif token is not None and _begins_argument(token):
            self.arguments_without_brackets(arguments, options)
        return Shape(tuple(names[:-1]), names[-1], "", tuple(arguments), options, self.block())

    def arguments_without_brackets(self, arguments: list[Value], options: dict[str, Value]) -> None:
        self.argument(arguments, options)
        while self.take_operator(","):
            self.skip_lines()
            self.argument(arguments, options)

    def argument(self, arguments: list[Value], options: dict[str, Value]) -> None:
        """One argument, or one ``name: value`` or ``:name => value``."""
        token = self.peek()
        if token is not None and token.kind == LABEL:
            self.place += 1
            self.skip_lines()
            options[str(token.value)] = self.value()
            return
        if token is not None and token.text == "{":
            self.in_brackets("}", lambda: self.argument(arguments, options))
            return
        value = self.value()
        if self.take_operator("=>"):
            self.skip_lines()
            options[str(value)] = self.value()
        else:
            arguments.append(value)

    def block(self) -> Block | None:
        """``do |names| ... end`` or ``{ |names| ... }``."""
        token = self.peek()
        if token is None or not (token.text == "do" or (token.kind == OPERATOR and token.text == "{")):
            return None
        end = self.statement.partners[self.place]
        self.place += 1
        names: list[str] = []
        self.skip_lines()
        if self.take_operator("|"):
            names.append(self.name())
            while self.take_operator(","):
                names.append(self.name())
            if not self.take_operator("|"):
                raise Untranslatable("its block has arguments that are computed")
        else:
            self.take_operator("||")
        inner = self.statement.inner(self.place, end)
        self.place = end + 1
        return Block(tuple(names), inner)

    def value(self, depth: int = 0) -> Value:
        """One literal; strings that stand side by side are one."""
        token = self.peek()
        if depth > MAX_NESTING:
            raise Untranslatable("its arrays stand too deep inside each other")
        if token is None:
            raise Untranslatable("a value is missing")
        if token.kind == OPERATOR and token.text == "[":
            values: list[Value] = []
            self.in_brackets("]", lambda: values.append(self.value(depth + 1)))
            return values
        if token.kind == OPERATOR and token.text in "+-":
            self.place += 1
            number = self.value(depth + 1)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise Untranslatable("it is computed")
            return -number if token.text == "-" else number
        if token.kind == KEYWORD and token.text in _WORDS:
            self.place += 1
            return _WORDS[token.text]
        if token.kind == NAME and token.text in self.bound:
            self.place += 1
            return self.bound[token.text]
        if token.kind not in LITERALS or token.kind == DYNAMIC:
            raise Untranslatable(_computed(token))
        return self.plain(token)

    def plain(self, token: Token) -> Value:
        """A literal of one word, or strings side by side."""
        self.place += 1
        value = token.value
        following = self.peek()
        while token.kind == STRING and following is not None and following.kind in (STRING, DYNAMIC):
            if following.kind == DYNAMIC:
                raise Untranslatable(_computed(following))
            value = f"{value}{following.value}"
            self.place += 1
            following = self.peek()
        if token.kind == NUMBER and following is not None and following.text == ".":
            raise Untranslatable("a Ruby method is called on its value")
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise Untranslatable("it holds bytes that are not UTF-8 text")
        return value

    def in_brackets(self, closing: str, item: Callable[[], None]) -> None:
        """Items between brackets, with commas between them; one may stand behind the last."""
        self.place += 1
        self.skip_lines()
        while not self.take_operator(closing):
            item()
            self.skip_lines()
            if not self.take_operator(","):
                if self.take_operator(closing):
                    return
                raise Untranslatable(_computed(self.peek()))
            self.skip_lines()

    def peek(self) -> Token | None:
        """The word at this place; None at the end."""
        return self.statement.source.tokens[self.place] if self.place < self.statement.behind else None

    def take_operator(self, *texts: str) -> str:
        """The operator that stands here, if it is one of these; else ""."""
        token = self.peek()
        if token is not None and token.kind == OPERATOR and token.text in texts:
            self.place += 1
            return token.text
        return ""

    def skip_lines(self) -> None:
        """Pass over line ends."""
        token = self.peek()
        while token is not None and token.kind == NEWLINE:
            self.place += 1
            token = self.peek()

    def expect_end(self) -> None:
        """Raise Untranslatable if anything is left."""
        token = self.peek()
        if token is not None:
            raise Untranslatable(_computed(token))


def _begins_argument(token: Token) -> bool:
    """Whether a word behind a method's name is its argument."""
    if token.kind == KEYWORD:
        return token.text in _WORDS
    return token.kind != OPERATOR or token.text not in ("{", ";")


def _computed(token: Token | None) -> str:
    """Why a word can't stand where it does."""
    if token is None:
        return "something is missing"
    if token.kind == KEYWORD and token.text in _MODIFIERS:
        return _MODIFIERS[token.text]
    if token.kind == DYNAMIC:
        return "a text in it is computed"
    if token.kind == OPERATOR and token.text in _OTHER_ASSIGNMENTS:
        return "it is computed"
    if token.kind == OPERATOR and token.text in (".", "&.", "::"):
        return "a Ruby method is called on its value"
    if token.kind in (NAME, CONSTANT) and token.text[0] not in "@$":
        return f"the Ruby name {token.text[:60]} in it is computed"
    if token.kind == KEYWORD:
        return f"the Ruby word {token.text} in it is not known here"
    return "it is computed"
