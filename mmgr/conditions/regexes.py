"""Regular expressions of the configuration: which are refused, and how much of a value one looks at. PURE.

Python's engine tries one way to match after the other. Where one text can be repeated in two ways, as by ``(a+)+``, the
ways double with each character, and a name that a stranger chose keeps a worker busy for ever. ``is_exponential`` finds
that: it makes an automaton of the places where a character stands in the expression (V. M. Glushkov, 1961), and looks
for two ways through a repetition that read the same text and meet again (A. Weber and H. Seidl, "On the degree of
ambiguity of finite automata", 1991). ``patterns`` and ``expression_tests`` call it once, at load.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Callable, Union

SEEN_BYTES = 1024
"""What a regular expression sees of a name, an address or a macro; host names and addresses have at most 320."""

EXPANDED_MAX = 64
"""A repetition of at most so many characters is written out; a longer one counts as one without end."""

LOOKS_MAX = 500000
"""How many pairs of ways are looked at; an expression of a hundred characters has some thousands."""

SLOW = "may take for ever, as one text can be repeated in several ways"
SLOW_HINT = r"in a repetition of repetitions each has to end on something of its own: (?:[a-z]+\.)+, not (?:[a-z]+\.?)+"

_sre = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_ALL = (1 << 256) - 1
_CATEGORIES = {
    f"CATEGORY_{name}": sum(1 << byte for byte in range(256) if re.match(source, bytes((byte,))))
    for name, source in (
        ("DIGIT", rb"\d"),
        ("NOT_DIGIT", rb"\D"),
        ("SPACE", rb"\s"),
        ("NOT_SPACE", rb"\S"),
        ("WORD", rb"\w"),
        ("NOT_WORD", rb"\W"),
    )
}

Source = Union[str, bytes]
Ways = dict[int, int]
"""Of places, in how many ways each is come to."""


def finder(expression: re.Pattern[Any], limit: int) -> Callable[[Any], bool]:
    """Whether the expression finds anything in a value.

    Of a value that is longer than limit it sees the beginning. One that looks at the end of the value or beyond what it
    matches (``$``, ``\\b``, ``(?!``) would take the cut for the end, so it finds nothing there.
    """
    search = expression.search
    if looks_ahead(expression.pattern):
        return lambda value: len(value) <= limit and search(value) is not None
    return lambda value: search(value, 0, limit) is not None


def looks_ahead(source: Source) -> bool:
    """Whether it depends on more than what it matches: on the end of the text, or on what comes behind."""
    return any(
        (op.name == "AT" and not argument.name.startswith("AT_BEGINNING"))
        or (op.name in ("ASSERT", "ASSERT_NOT") and argument[0] > 0)
        for op, argument in _nodes(_tree(source))
    )


def is_exponential(source: Source) -> bool:
    """Whether the time to find that the expression does not match may double with each character.

    Upper and lower case count as the same. Of expressions that are too large to be looked at it is said too. Raises
    what ``re.compile`` raises.
    """
    tree = _tree(source)
    inner = [argument[1] for op, argument in _nodes(tree) if op.name in ("ASSERT", "ASSERT_NOT")]
    return any(_Automaton().is_ambiguous(each) for each in (tree, *inner))


def _tree(source: Source) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever compiles it has been warned
        return _sre.parse(source)


def _nodes(tree: Any) -> Iterable[tuple[Any, Any]]:
    """Every operation with its argument, however deep it stands."""
    for op, argument in tree:
        yield op, argument
        if op.name != "IN":
            for part in _parts(argument):
                yield from _nodes(part)


def _parts(argument: Any) -> Iterable[Any]:
    """The trees in an argument; a list of them is that of the alternatives of a branch."""
    if isinstance(argument, _sre.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for each in argument:
            yield from _parts(each)


@dataclass
class _Part:
    """A part of the expression: in how many ways it matches nothing, and the places that it begins and ends with."""

    empty: int = 1
    first: Ways = field(default_factory=dict)
    last: Ways = field(default_factory=dict)


class _TooLarge(Exception):
    """There is more to be looked at than can be."""


class _Automaton:
    """The places of an expression, what each matches, and which follow which."""

    def __init__(self) -> None:
        self._masks: list[int] = []
        self._follow: list[Ways] = []
        self._loops: list[range] = []
        self._looks = 0

    def is_ambiguous(self, tree: Any) -> bool:
        """Whether a repetition without end can repeat one text in two ways."""
        try:
            self._sequence(tree)
            return any(self._is_ambiguous_loop(loop) for loop in self._loops if not self._is_inside(loop))
        except _TooLarge:
            return True

    # ---- the places

    def _sequence(self, tree: Iterable[tuple[Any, Any]]) -> _Part:
        whole = _Part()
        for op, argument in tree:
            whole = self._joined(whole, self._part(op.name, argument))
        return whole

    def _part(self, name: str, argument: Any) -> _Part:
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._place(_mask(name, argument))
        if name == "BRANCH":
            return _either([self._sequence(each) for each in argument[1]])
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            return self._repeated(*argument)
        if name == "GROUPREF_EXISTS":
            return _either([self._sequence(each or ()) for each in argument[1:]])
        if name in ("SUBPATTERN", "ATOMIC_GROUP"):
            return self._sequence(argument[-1] if name == "SUBPATTERN" else argument)
        return _Part()  # an anchor, a look to one side, a reference: as if they were not there

    def _place(self, mask: int) -> _Part:
        place = len(self._masks)
        self._masks.append(mask)
        self._follow.append({})
        return _Part(0, {place: 1}, {place: 1})

    def _joined(self, left: _Part, right: _Part) -> _Part:
        self._link(left.last, right.first)
        first, last = dict(left.first), dict(right.last)
        _add(first, right.first, left.empty)
        _add(last, left.last, right.empty)
        return _Part(min(2, left.empty * right.empty), first, last)

    def _link(self, last: Ways, first: Ways) -> None:
        self._look(len(last) * len(first))
        for place, ways in last.items():
            _add(self._follow[place], first, ways)

    def _repeated(self, least: int, most: int, tree: Any) -> _Part:
        start = len(self._masks)
        body = self._sequence(tree)
        end = len(self._masks)
        if most == 0 or start == end:
            return _Part()
        if most == 1:
            return _optional(body) if least == 0 else body
        if most * (end - start) <= EXPANDED_MAX:
            return self._written_out(body, least, most, tree)
        self._link(body.last, body.first)
        self._loops.append(range(start, end))
        return _optional(body) if least == 0 else body

    def _written_out(self, body: _Part, least: int, most: int, tree: Any) -> _Part:
        """least copies one behind the other, and each further one inside of the one before."""
        copies = [body, *(self._sequence(tree) for _ in range(most - 1))]
        whole = _Part()
        for number in reversed(range(most)):
            whole = self._joined(copies[number], whole)
            whole = _optional(whole) if number >= least else whole
        return whole

    def _look(self, number: int = 1) -> None:
        self._looks += number
        if self._looks > LOOKS_MAX:
            raise _TooLarge

    # ---- two ways

    def _is_inside(self, loop: range) -> bool:
        """Is it a part of another loop, which is looked at whole?"""
        return any(loop != other and loop.start in other and loop.stop <= other.stop for other in self._loops)

    def _is_ambiguous_loop(self, loop: range) -> bool:
        """Every place of a loop leads to every other, so two ways that part and meet again can do so for ever."""
        inside = [[(at, ways) for at, ways in self._follow[place].items() if at in loop] for place in loop]
        after = dict(zip(loop, inside))
        if any(ways > 1 for place in loop for _, ways in after[place]):
            return True
        waiting = [(place, place) for place in loop]
        seen = set(waiting)
        while waiting:
            one, other = waiting.pop()
            for left, _ in after[one]:
                for right, _ in after[other]:
                    self._look()
                    pair = (min(left, right), max(left, right))
                    if not self._masks[left] & self._masks[right]:
                        continue
                    if left == right and one != other:
                        return True
                    if pair not in seen:
                        seen.add(pair)
                        waiting.append(pair)
        return False


def _add(ways: Ways, more: Ways, times: int) -> None:
    """Count further ways, as far as two."""
    for place, number in more.items() if times else ():
        ways[place] = min(2, ways.get(place, 0) + number * times)


def _optional(part: _Part) -> _Part:
    return _Part(min(2, part.empty + 1), part.first, part.last)


def _either(parts: Iterable[_Part]) -> _Part:
    whole = _Part(0)
    for part in parts:
        whole.empty = min(2, whole.empty + part.empty)
        _add(whole.first, part.first, 1)
        _add(whole.last, part.last, 1)
    return whole


def _mask(name: str, argument: Any) -> int:
    """The bytes that a place matches, as bits."""
    if name == "ANY":
        return _ALL
    if name in ("LITERAL", "NOT_LITERAL"):
        mask = _folded(1 << argument if argument < 256 else 0)
        return mask if name == "LITERAL" else _ALL & ~mask
    mask, is_negated = 0, False
    for op, value in argument:
        if op.name == "NEGATE":
            is_negated = True
        elif op.name == "CATEGORY":
            mask |= _CATEGORIES.get(value.name, _ALL)
        else:
            low, high = value if op.name == "RANGE" else (value, value)
            mask |= sum(1 << byte for byte in range(low, min(high, 255) + 1))
    return _ALL & ~_folded(mask) if is_negated else _folded(mask)


def _folded(mask: int) -> int:
    """With the small letters of all capitals, and the capitals of all small letters."""
    letters = (1 << 26) - 1
    both = (mask >> ord("A") | mask >> ord("a")) & letters
    return mask | both << ord("A") | both << ord("a")
