"""Comparisons of what a stopper is given with literals, read from Ruby. PURE; ``stoppers`` calls it for each."""

from __future__ import annotations

from collections.abc import Mapping

from mmgr.legacy.nesting import Statement
from mmgr.legacy.shapes import Untranslatable
from mmgr.legacy.tokens import (
    CONSTANT,
    KEYWORD,
    LITERALS,
    MAX_NESTING,
    NAME,
    NEWLINE,
    OPERATOR,
    REGEXP,
    STRING,
    WORDS,
    Regexp,
    Token,
)
from mmgr.legacy.truths import Test, Truth, equals, junction, matches, negation


def read(statement: Statement, names: Mapping[str, str]) -> Truth:
    """A comparison, or several that are joined. Raises Untranslatable for anything else."""
    reader = _Reader(statement, names)
    found = reader.low()
    reader.skip_lines()
    if reader.peek() is not None:
        raise reader.refuse()
    return found


def is_one_of(statement: Statement, subject: str) -> Truth:
    """What stands behind ``when``: literals with commas between them."""
    reader = _Reader(statement, {})
    tests = [reader.is_item(subject)]
    reader.skip_lines()
    while reader.take(","):
        tests.append(reader.is_item(subject))
        reader.skip_lines()
    if reader.peek() is not None:
        raise reader.refuse()
    return junction(False, tests)


class _Reader:
    """Recursive descent: ``or`` and ``and`` are weaker than ``||``, which is weaker than ``&&``."""

    def __init__(self, statement: Statement, names: Mapping[str, str]) -> None:
        self.statement = statement
        self.names = names
        self.place = statement.first
        self.depth = 0

    def low(self) -> Truth:
        """``not``, ``and``, ``or``: the last two bind alike, from left to right."""
        found = self.low_not()
        while True:
            if self.take_word("and"):
                found = junction(True, [found, self.low_not()])
            elif self.take_word("or"):
                found = junction(False, [found, self.low_not()])
            else:
                return found

    def low_not(self) -> Truth:
        self.deeper()
        found = negation(self.low_not()) if self.take_word("not") else self.any()
        self.depth -= 1
        return found

    def any(self) -> Truth:
        """``||``."""
        parts = [self.all()]
        while self.take("||"):
            parts.append(self.all())
        return junction(False, parts)

    def all(self) -> Truth:
        """``&&``."""
        parts = [self.part()]
        while self.take("&&"):
            parts.append(self.part())
        return junction(True, parts)

    def part(self) -> Truth:
        """One comparison, its opposite, or a group."""
        self.skip_lines()
        self.deeper()
        if self.take("!"):
            found = negation(self.part())
        elif self.take("("):
            found = self.low()
            self.skip_lines()
            if not self.take(")"):
                raise self.refuse()
        else:
            found = self.comparison()
        self.depth -= 1
        return found

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Untranslatable("a block has too many things inside each other")

    def comparison(self) -> Truth:
        """``name == literal`` and its kind, a question that a name is asked, or a literal."""
        token = self.peek()
        if token is None:
            raise self.refuse()
        if token.kind == KEYWORD and token.text in ("true", "false", "nil"):
            self.place += 1
            return token.text == "true"
        if token.kind == NAME:
            return self.about(self.subject())
        return self.literal_first()

    def subject(self) -> str:
        """What a name stands for; ``address.address`` is the address itself."""
        token = self.peek()
        if token is None or token.kind != NAME or not self.names.get(token.text):
            raise self.refuse()
        self.place += 1
        found = self.names[token.text]
        if found == "client_address":
            following = self.peek(1)
            if not self.take(".") or following is None or following.text != "address":
                raise Untranslatable("what it asks of an address has no equal here")
            self.place += 1
        return found

    def about(self, subject: str) -> Truth:
        """What is asked of a name."""
        if subject == "context of MAIL":
            return self.of_context()
        operator = self.take("==", "!=", "=~", "!~")
        if operator in ("==", "!="):
            found: Truth = equals(subject, self.string())
        elif operator:
            found = matches(subject, self.regexp())
        elif self.take("."):
            found = self.question(subject)
        else:
            raise Untranslatable("a name stands where a comparison should")
        return negation(found) if operator in ("!=", "!~") else found

    def of_context(self) -> Truth:
        """``context.authenticated?``; other things that a context tells have no equal."""
        following = self.peek(1)
        if not self.take(".") or following is None or following.text != "authenticated?":
            raise Untranslatable("what it asks of the context has no equal here")
        self.place += 1
        return Test("authenticated")

    def question(self, subject: str) -> Truth:
        """``include?``, ``start_with?``, ``end_with?``, ``match?`` and ``match`` with their literal."""
        token = self.peek()
        name = token.text if token is not None else ""
        self.place += 1
        if not self.take("("):
            raise Untranslatable(f"what {name[:40]} says has no equal here")
        if name in ("match", "match?"):
            found: Truth = matches(subject, self.regexp())
        elif name in ("include?", "start_with?", "end_with?"):
            found = self.part_of_text(subject, name)
        else:
            raise Untranslatable(f"what {name[:40]} says has no equal here")
        if not self.take(")"):
            raise self.refuse()
        return found

    def part_of_text(self, subject: str, name: str) -> Truth:
        tests = [self.one_part(subject, name)]
        while name != "include?" and self.take(","):
            tests.append(self.one_part(subject, name))
        return junction(False, tests)

    def one_part(self, subject: str, name: str) -> Test:
        text = self.string()
        source = "".join(c if c.isalnum() or c in "<>@_-" else f"\\{c}" for c in text)
        before, behind = (r"\A" if name == "start_with?" else ""), (r"\z" if name == "end_with?" else "")
        return matches(subject, Regexp(before + source + behind))

    def literal_first(self) -> Truth:
        """``/expression/ =~ name``, ``"text" == name``, ``["text", ...].include?(name)``."""
        token = self.peek()
        if token is not None and (token.kind == WORDS or token.text == "["):
            return self.list_first()
        value = self.literal()
        operator = self.take("=~", "!~", "===", "==", "!=")
        if not operator or (isinstance(value, str) and operator in ("=~", "!~")):
            raise self.refuse()
        subject = self.subject()
        if isinstance(value, Regexp) and operator in ("==", "!="):
            raise self.refuse()
        found = matches(subject, value) if isinstance(value, Regexp) else equals(subject, value)
        return negation(found) if operator in ("!~", "!=") else found

    def list_first(self) -> Truth:
        values = self.strings()
        following = self.peek(1)
        if not self.take(".") or following is None or following.text not in ("include?", "member?"):
            raise self.refuse()
        self.place += 1
        if not self.take("("):
            raise self.refuse()
        subject = self.subject()
        if not self.take(")"):
            raise self.refuse()
        return junction(False, [equals(subject, value) for value in values])

    def strings(self) -> list[str]:
        token = self.peek()
        if token is not None and token.kind == WORDS and isinstance(token.value, list):
            self.place += 1
            return [str(value) for value in token.value]
        self.take("[")
        found: list[str] = []
        self.skip_lines()
        while not self.take("]"):
            found.append(self.string())
            self.skip_lines()
            if not self.take(",") and not self.is_next("]"):
                raise self.refuse()
            self.skip_lines()
        return found

    def is_item(self, subject: str) -> Truth:
        """One literal behind ``when``."""
        self.skip_lines()
        if subject == "client_address" or subject == "context of MAIL":
            raise Untranslatable("what it asks of an address has no equal here")
        value = self.literal()
        return matches(subject, value) if isinstance(value, Regexp) else equals(subject, value)

    # ---- words

    def literal(self) -> str | Regexp:
        token = self.peek()
        if token is None or token.kind not in (STRING, REGEXP):
            raise self.refuse()
        self.place += 1
        following = self.peek()
        if following is not None and following.kind in LITERALS:
            raise self.refuse()
        assert isinstance(token.value, (str, Regexp))
        return token.value

    def string(self) -> str:
        self.skip_lines()
        value = self.literal()
        if not isinstance(value, str):
            raise self.refuse()
        return value

    def regexp(self) -> Regexp:
        self.skip_lines()
        value = self.literal()
        if not isinstance(value, Regexp):
            raise self.refuse()
        return value

    def peek(self, ahead: int = 0) -> Token | None:
        place = self.place + ahead
        return self.statement.source.tokens[place] if place < self.statement.behind else None

    def is_next(self, text: str) -> bool:
        token = self.peek()
        return token is not None and token.kind == OPERATOR and token.text == text

    def take(self, *texts: str) -> str:
        token = self.peek()
        if token is not None and token.kind == OPERATOR and token.text in texts:
            self.place += 1
            return token.text
        return ""

    def take_word(self, word: str) -> bool:
        token = self.peek()
        is_here = token is not None and token.kind == KEYWORD and token.text == word
        self.place += is_here
        return is_here

    def skip_lines(self) -> None:
        token = self.peek()
        while token is not None and token.kind == NEWLINE:
            self.place += 1
            token = self.peek()

    def refuse(self) -> Untranslatable:
        token = self.peek()
        if token is not None and token.kind in (NAME, CONSTANT):
            return Untranslatable(f"{token.text[:60]} is Ruby that has no equal here")
        return Untranslatable("a block does more than compare")
