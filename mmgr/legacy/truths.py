"""What a stopper says, in our language of conditions: tests of a name with a literal, and how they are joined. PURE."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from mmgr.legacy import regexps
from mmgr.legacy.shapes import Untranslatable
from mmgr.legacy.tokens import Regexp


@dataclass(frozen=True)
class Test:
    """One test in our language."""

    text: str


@dataclass(frozen=True)
class Not:
    """That a test fails."""

    test: Test


@dataclass(frozen=True)
class Junction:
    """Several of which all have to be true, or one."""

    is_all: bool
    parts: tuple[Truth, ...]


Truth = Union[bool, Test, Not, Junction]
"""What a stopper says."""

MAX_CHARACTERS = 8000
"""A line of our files may have 8192."""


def is_truth(truth: Truth) -> bool:
    """Whether it is the same for all mail."""
    return isinstance(truth, bool)


def negation(truth: Truth) -> Truth:
    """The opposite."""
    if isinstance(truth, bool):
        return not truth
    if isinstance(truth, Test):
        return Not(truth)
    if isinstance(truth, Not):
        return truth.test
    return Junction(not truth.is_all, tuple(map(negation, truth.parts)))


def junction(is_all: bool, parts: Sequence[Truth]) -> Truth:
    """All of some, or one of them; what does not matter is left out."""
    flat: dict[Truth, None] = {}
    for part in parts:
        inner = part.parts if isinstance(part, Junction) and part.is_all is is_all else (part,)
        flat.update(dict.fromkeys(inner))
    if (not is_all) in flat:
        return not is_all
    flat.pop(is_all, None)
    if any(negation(part) in flat for part in flat):
        return not is_all
    if not flat:
        return is_all
    return next(iter(flat)) if len(flat) == 1 else Junction(is_all, tuple(flat))


def written(truth: Truth) -> str:
    """The expression. Raises Untranslatable when it gets too long."""
    text = _written(truth, False)
    if len(text) > MAX_CHARACTERS:
        raise Untranslatable("as an expression it would be too long")
    return text


def _written(truth: Truth, in_parentheses: bool) -> str:
    if isinstance(truth, Junction):
        text = (" and " if truth.is_all else " or ").join(_written(part, True) for part in truth.parts)
        return f"({text})" if in_parentheses else text
    if isinstance(truth, Not):
        return f"not {truth.test.text}"
    assert isinstance(truth, Test)
    return truth.text


# ---- what is compared

_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]*[A-Za-z0-9_])?")
_MAILBOX = re.compile(rf"{_PLAIN.pattern}@{_PLAIN.pattern}")
_ADDRESS_NAMES = ("sender", "recipient")
_EDGE = re.compile(r"[A-Za-z0-9@_-]|\\[.@-]")


def equals(subject: str, text: str) -> Test:
    """The subject is this text. Raises Untranslatable."""
    if subject == "client_address":
        return _is_address(text)
    if not text.isascii() or not text.isprintable():
        raise Untranslatable("it compares with text beyond ASCII")
    if subject in _ADDRESS_NAMES:
        if text == "<>":
            return Test(f"{subject} == <>")
        if not (text.startswith("<") and text.endswith(">")):
            raise Untranslatable(f"addresses were given with angle brackets, so that {text[:60]!r} never matched")
        text = text[1:-1]
        if _MAILBOX.fullmatch(text):
            return Test(f'{subject} == "{text}"')
    elif _PLAIN.fullmatch(text) and not text.replace(".", "").isdigit():
        return Test(f'{subject} == "{text}"')
    return Test(f"{subject} matches {regexps.exactly(text)}")


def _is_address(text: str) -> Test:
    try:
        return Test(f"client_address == {ipaddress.ip_address(text)}")
    except ValueError as error:
        raise Untranslatable(f"{text[:60]!r} is no address") from error


def matches(subject: str, regexp: Regexp) -> Test:
    """The expression is found in the subject. Raises Untranslatable."""
    if subject == "client_address":
        raise Untranslatable("it looks at an address as text")
    if subject in _ADDRESS_NAMES:
        regexp = Regexp(_without_brackets(regexp.source), regexp.flags)
    pattern = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", regexps.searched(regexp))
    return Test(f"{subject} matches /{pattern}/")


def _without_brackets(source: str) -> str:
    r"""An expression about ``<address>`` as one about the address.

    It has to be certain that none of its parts but ``<`` at the start and ``>`` at the end can stand for a bracket.
    """
    start, end = "", ""
    inner = source
    for opening in (r"\A<", "^<"):
        if inner.startswith(opening):
            start, inner = r"\A", inner[len(opening) :]
    for closing in (r">\z", r">\Z", ">$"):
        if inner.endswith(closing):
            end, inner = r"\z", inner[: -len(closing)]
    edges = re.findall(r"\\.|.", inner, re.S)
    is_safe_start = bool(start) or (edges and _EDGE.fullmatch(edges[0]))
    is_safe_end = bool(end) or (edges and _EDGE.fullmatch(edges[-1]))
    is_safe_inside = "<" not in inner.replace("(?<", "") and ">" not in inner and "|" not in inner
    if not edges or not (is_safe_start and is_safe_end and is_safe_inside):
        raise Untranslatable("addresses were given with angle brackets, and the expression may depend on them")
    return start + inner + end
