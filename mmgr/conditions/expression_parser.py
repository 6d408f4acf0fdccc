"""An expression's text becomes a tree of tests joined by and, or; ``not`` has been moved into the tests. PURE.

Recursive descent over the tokens of ``expression_lexer``; the grammar stands in ``expression``, which calls ``parsed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Union

from mmgr.conditions.expression_lexer import Token, did_you_mean, shown, tokens
from mmgr.conditions.expression_names import (
    HEADER_NAME,
    MACRO_NAME,
    NAMES,
    QUANTIFIED,
    WITH_ARGUMENT,
    Many,
    Subject,
    header,
    macro,
    recipients,
)
from mmgr.conditions.expression_tests import ORDERS, Test, compared, is_set
from mmgr.protocol.macros import bare

MAX_DEPTH = 100
"""How deep parentheses may stand in each other."""

_JOINTS = ("and", "or")
_KEYWORDS = (*_JOINTS, "not", "in", "matches")
_WORDS = ("in", "matches", "not")
_WORD_HINTS = {
    "is": "write ==, or in for a list",
    "contains": "write matches",
    "like": "write matches",
    "equals": "write ==",
    "=": "write ==",
}


@dataclass(frozen=True)
class Literal:
    """One test, or that it fails."""

    test: Test
    is_negated: bool = False

    @property
    def is_per_recipient(self) -> bool:
        """Whether the outcome may be another one for each recipient."""
        return self.test.subject.is_per_recipient


@dataclass(frozen=True)
class Junction:
    """Two parts or more, all of which have to be true, or any."""

    is_all: bool
    parts: tuple[Node, ...]

    @property
    def is_per_recipient(self) -> bool:
        """Whether the outcome may be another one for each recipient."""
        return any(part.is_per_recipient for part in self.parts)


Node = Union[Literal, Junction]


def literals(node: Node) -> Iterator[Literal]:
    """All tests of a tree, from left to right."""
    if isinstance(node, Literal):
        yield node
    else:
        for part in node.parts:
            yield from literals(part)


def joined(is_all: bool, parts: Iterable[Node]) -> Node:
    """The parts as one node; parts that are joined in the same way become parts of it."""
    flat: list[Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, Junction) and part.is_all is is_all else [part]
    return flat[0] if len(flat) == 1 else Junction(is_all, tuple(flat))


def parsed(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError with the first fault."""
    return _Parser(tokens(text)).whole()


def _negated(node: Node) -> Node:
    if isinstance(node, Literal):
        return Literal(node.test, not node.is_negated)
    return Junction(not node.is_all, tuple(map(_negated, node.parts)))


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._position = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._next
        if token.kind != "end":
            self._position += 1
        return token

    def _takes(self, *words: str) -> str:
        """The keyword or mark that comes next, if it is one of these, and has been taken; else ""."""
        token = self._next
        text = token.text.lower()
        if token.kind not in ("word", "mark") or text not in words:
            return ""
        self._take()
        return text

    # ---- structure

    def whole(self) -> Node:
        """All of the text."""
        if self._next.kind == "end":
            raise self._next.fault("the expression is empty", "for example client_address in 192.0.2.0/24")
        node = self._any()
        if self._next.kind != "end":
            raise self._misplaced(self._next)
        return node

    def _any(self) -> Node:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return joined(False, parts)

    def _all(self) -> Node:
        parts = [self._part()]
        while self._takes("and"):
            parts.append(self._part())
        return joined(True, parts)

    def _part(self) -> Node:
        is_negated = False
        while self._takes("not"):
            is_negated = not is_negated
        node = self._group() if self._next.text == "(" and self._next.kind == "mark" else self._test()
        return _negated(node) if is_negated else node

    def _group(self) -> Node:
        opening = self._take()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise opening.fault(f"parentheses stand more than {MAX_DEPTH} deep in each other")
        node = self._any()
        if not self._takes(")"):
            if self._next.kind == "end":
                raise opening.fault("this parenthesis is not closed")
            raise self._misplaced(self._next)
        self._depth -= 1
        return node

    def _misplaced(self, token: Token) -> Exception:
        """What to say of a token where an expression could have ended."""
        if token.text == ")" and token.kind == "mark":
            return token.fault("this parenthesis was never opened")
        if token.text == "," and token.kind == "mark":
            return token.fault("a list can't stand here", "to compare with several values write in")
        if token.text in ORDERS or token.text in ("==", "!="):
            return token.fault("one comparison can't follow another", "join two comparisons with and")
        hint = _WORD_HINTS.get(token.text.lower(), "")
        hint = hint or did_you_mean(token.text, _KEYWORDS, "join two tests with and, or")
        return token.fault(f"{token} can't stand here", hint)

    # ---- one test

    def _test(self) -> Node:
        token = self._next
        subject = self._subject()
        is_quantified = token.text.lower() in QUANTIFIED
        is_negated = bool(self._takes("not"))
        operator = self._takes("in", "matches") if is_negated else self._operator()
        if is_negated and not operator:
            raise self._next.fault(f"{self._next} can't follow not", "write not in, or not matches")
        if not operator:
            return Literal(is_set(subject, token))
        if operator == "!=":
            is_negated, operator = True, "=="
        items = self._list() if operator == "in" else [self._item()]
        test = compared(subject, operator, items, is_negated and is_quantified)
        return Literal(test, is_negated and not is_quantified)

    def _operator(self) -> str:
        return self._takes("==", "!=", *ORDERS, "in", "matches")

    def _subject(self) -> Subject:
        token = self._take()
        word = token.text.lower()
        if token.kind != "word" or word in _KEYWORDS:
            hint = f"a test begins with a name, such as {', '.join(list(NAMES)[:3])}"
            raise token.fault(f"{token} stands where a test should", hint)
        if word in WITH_ARGUMENT:
            return self._with_argument(word)
        if word in QUANTIFIED:
            return self._quantified(word)
        if word in NAMES:
            return NAMES[word]
        if word == "recipients":
            raise token.fault("of recipients there are several", "write any recipient, all recipients, or recipient")
        names = [*NAMES, *WITH_ARGUMENT, *QUANTIFIED]
        if token.text[0] == "{":
            raise token.fault(f"{shown(token.text)} is no name", f"a macro is written macro {token.text[:40]}")
        raise token.fault(f"there is no name {shown(token.text)}", did_you_mean(word, names, f"there are {_listed()}"))

    def _quantified(self, word: str) -> Subject:
        if not self._takes("recipient", "recipients"):
            raise self._next.fault(f"{self._next} can't follow {word}", f"write {word} recipient")
        return recipients(Many(f"{word} of them"))

    def _with_argument(self, word: str) -> Subject:
        """A header or a macro, whose name may stand in quotes and in parentheses."""
        has_parenthesis = bool(self._takes("("))
        token = self._take()
        if token.kind not in ("word", "string"):
            example = "header Subject" if word == "header" else "macro {auth_type}"
            raise token.fault(f"the name of the {word} is missing", f"for example {example}")
        name = token.text
        if word == "header":
            name = name[:-1] if name[-1:] == ":" else name
            fits = HEADER_NAME.fullmatch(name)
        else:
            name = bare(name.encode("utf-8")).decode("utf-8")
            fits = MACRO_NAME.fullmatch(name)
        if not fits:
            raise token.fault(f"{shown(token.text)} can't be the name of a {word}")
        if has_parenthesis and not self._takes(")"):
            raise self._next.fault(f"{self._next} stands where ')' should")
        return header(name) if word == "header" else macro(name)

    # ---- values

    def _list(self) -> list[Token]:
        has_parenthesis = bool(self._takes("("))
        items = [self._item()]
        while self._takes(","):
            items.append(self._item())
        if has_parenthesis and not self._takes(")"):
            raise self._next.fault(f"{self._next} stands where ',' or ')' should", "the list is not closed")
        return items

    def _item(self) -> Token:
        token = self._take()
        if token.kind not in ("word", "string", "regex") or (token.kind == "word" and token.text in _KEYWORDS):
            hint = "put it in quotes if it is meant as text" if token.kind == "word" else ""
            raise token.fault(f"{token} stands where a value should", hint)
        return token


def _listed() -> str:
    return ", ".join([*NAMES, *WITH_ARGUMENT])
