"""What the statements of several UCL files mean together: which value counts, which files are drawn in. PURE.

``rspamd`` hands in the first file and a function that reads another. Values have priorities: of two with the same key
that of the higher priority counts, and equal ones are both kept, as libucl does (``ucl_parser.c``).
Compared with ``rspamadm configdump`` of rspamd 3.4:

* an included file has the priority of its ``.include``, 0 by default;
* ``duplicate=merge`` reads an object into the one that is there, and a list behind the one that is there;
* without it, equal priorities make a list of both, be they objects or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Callable, Union

from mmgr.detect.base import Found
from mmgr.detect.milters.ucl import Assignment, Body, Macro, Scalar, Sequence, Statement, Value

MAX_INCLUDES = 16
"""How deep files may include each other (libucl's UCL_MAX_RECURSION)."""

MAX_LEVELS = 48
"""How deep objects and included files may be nested together. What is deeper is left out."""

_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z0-9_]+)\}|\$([A-Za-z0-9_]+)")
_TRUE = ("yes", "true", "on", "1")
_FALSE = ("no", "false", "off", "0")
_NUMBER = re.compile(r"(-?[0-9]{1,15})(?:\.[0-9]+)?[A-Za-z]*")
_INCLUDES = ("include", "includes", "try_include")


@dataclass
class Node:
    """An object: for each key its values in their order, and the priority of them all."""

    values: dict[str, list[Item]] = field(default_factory=dict)
    priorities: dict[str, int] = field(default_factory=dict)

    def items(self, key: str) -> list[Item]:
        """All values of a key; none where it is not there."""
        return self.values.get(key, [])

    def nodes(self, key: str) -> list[Node]:
        """Those values of a key that are objects."""
        return [item for item in self.items(key) if isinstance(item, Node)]

    def scalar(self, key: str) -> Found[str] | None:
        """The first value of a key that is neither object nor list."""
        return next((item for item in self.items(key) if isinstance(item, Found)), None)

    def scalars(self, key: str) -> list[Found[str]]:
        """All values of a key that are no objects, lists taken apart."""
        return list(_flat(self.items(key)))


Item = Union["Node", "list[object]", "Found[str]"]

Include = Callable[[Macro, str], "Iterable[Statement]"]
"""Gives the statements of the files that a macro means; the text is its target with variables put in."""


@dataclass(frozen=True)
class _Place:
    """Where statements are read: below which top-level key, and how values that are there already are treated."""

    key: str = ""
    priority: int = 0
    is_merged: bool = False
    is_rewritten: bool = False
    depth: int = 0

    def deeper(self) -> _Place:
        """The same one level down."""
        return replace(self, depth=self.depth + 1)


class Evaluation:
    """Reads statements into a Node. Only ``section`` is followed: includes inside of other keys are not read."""

    def __init__(self, section: str, variables: Mapping[str, str], include: Include) -> None:
        self._section = section
        self._variables = variables
        self._include = include
        self.root = Node()

    def read(self, statements: Iterable[Statement]) -> Node:
        """The whole; may be called once."""
        self._statements(statements, self.root, _Place())
        return self.root

    def _statements(self, statements: Iterable[Statement], node: Node, place: _Place) -> None:
        for statement in statements:
            if isinstance(statement, Assignment):
                self._assignment(statement, node, place)
            elif statement.name in _INCLUDES and place.key in ("", self._section) and place.depth < MAX_INCLUDES:
                inner = _with_parameters(place, statement.parameters)
                target = self._with_variables(statement.target)
                self._statements(self._include(statement, target), node, inner)

    def _assignment(self, statement: Assignment, node: Node, place: _Place) -> None:
        key, *names = statement.keys
        if not place.key and key != self._section:
            return
        inner = place if place.key else replace(place, key=key)
        value: Value = statement.value
        for name in reversed(names):
            value = Body((Assignment((name,), value, statement.where),), statement.where)
        self._insert(node, key, value, inner)

    def _insert(self, node: Node, key: str, value: Value, place: _Place) -> None:
        """Put a value beside or instead of those that are there, or leave it."""
        there = node.values.get(key)
        if there and place.is_merged and self._is_merged(there[0], value, place):
            return
        priority = node.priorities.get(key, 0)
        if there and not place.is_rewritten and place.priority < priority:
            return
        if not there or place.is_rewritten or place.priority > priority or _is_container(there[0], place):
            there = node.values[key] = []
            node.priorities[key] = place.priority
        there.append(self._item(value, place))

    def _is_merged(self, there: Item, value: Value, place: _Place) -> bool:
        """Read the value into the one that is there; False where the two are of different kinds."""
        if isinstance(there, Node) and isinstance(value, Body):
            if place.depth < MAX_LEVELS:
                self._statements(value.statements, there, place.deeper())
            return True
        if isinstance(there, list) and isinstance(value, Sequence):
            there += [self._item(item, place) for item in value.items]
            return True
        return False

    def _item(self, value: Value, place: _Place) -> Item:
        if isinstance(value, Scalar):
            return Found(value.text if value.is_literal else self._with_variables(value.text), value.where)
        if isinstance(value, Sequence):
            return [self._item(item, place) for item in value.items]
        node = Node()
        if place.depth < MAX_LEVELS:
            self._statements(value.statements, node, place.deeper())
        return node

    def _with_variables(self, text: str) -> str:
        return _VARIABLE.sub(self._variable, text) if "$" in text else text

    def _variable(self, match: re.Match[str]) -> str:
        """``$$`` is a dollar; a name that nobody knows stays as it is written."""
        if match[0] == "$$":
            return "$"
        return self._variables.get(match[1] or match[2], match[0])


def is_true(found: Found[str] | None, otherwise: bool = False) -> bool:
    """What a boolean says; otherwise where it is absent or neither yes nor no."""
    word = found.value.lower() if found else ""
    return True if word in _TRUE else False if word in _FALSE else otherwise


def whole_number(found: Found[str] | None) -> int | None:
    """The number in front of a unit or a fraction, None where there is none."""
    match = _NUMBER.fullmatch(found.value) if found else None
    return int(match[1]) if match else None


def _with_parameters(place: _Place, parameters: Mapping[str, str]) -> _Place:
    """The place of an included file, by the parameters of its macro."""
    number = parameters.get("priority", "")
    priority = int(number[:2]) if number[:2].isdecimal() and number.isascii() else 0
    duplicate = parameters.get("duplicate", "")
    return _Place(place.key, priority, duplicate == "merge", duplicate == "rewrite", place.depth + 1)


def _is_container(there: Item, place: _Place) -> bool:
    """With duplicate=merge, what is no object or list takes the place of one."""
    return place.is_merged and not isinstance(there, Found)


def _flat(items: Iterable[object]) -> Iterator[Found[str]]:
    for item in items:
        if isinstance(item, Found):
            yield item
        elif isinstance(item, list):
            yield from _flat(item)
