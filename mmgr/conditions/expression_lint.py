"""Whether an expression can never be true, where that is simple to see. PURE; ``ExpressionCondition.doubt`` says it.

Two kinds are seen among tests that are joined by and: a test together with its contrary, and numbers that are to be
below one limit and above another that is not less. Nothing is said of anything else, so silence proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmgr.conditions.expression_names import Kind, Many
from mmgr.conditions.expression_parser import Literal, Node
from mmgr.conditions.expression_tests import Test, as_number

_CONTRARY = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_INFINITE = float("inf")
Span = tuple[float, float]


def never_true(node: Node) -> str:
    """Why the tree can't be true whatever comes, in words; "" if nothing shows that."""
    if isinstance(node, Literal):
        return _disjoint([node])
    whys = [never_true(part) for part in node.parts]
    if not node.is_all:
        return "; ".join(whys) if all(whys) else ""
    literals = [part for part in node.parts if isinstance(part, Literal)]
    return next(filter(None, whys), "") or _contrary(literals) or _disjoint(literals)


def _contrary(literals: Iterable[Literal]) -> str:
    seen: dict[tuple[str, ...], bool] = {}
    for literal in literals:
        test = literal.test
        key = (test.subject.text, test.operator, test.positive, *(item.text for item in test.items))
        if seen.setdefault(key, literal.is_negated) is not literal.is_negated:
            return f"it asks for {test.subject.text} {test.positive} and for the contrary"
    return ""


def _disjoint(literals: Iterable[Literal]) -> str:
    spans: dict[str, Span] = {}
    for literal in literals:
        name, span = literal.test.subject.text, _span(literal.test, literal.is_negated)
        if span is not None:
            low, high = spans.get(name, (0, _INFINITE))
            spans[name] = low, high = max(low, span[0]), min(high, span[1])
            if low > high:
                return f"no {name} is in all of its limits"
    return ""


def _span(test: Test, is_negated: bool) -> Span | None:
    """The whole numbers that pass, both ends included; None for tests of anything else."""
    if test.subject.kind is not Kind.NUMBER or test.subject.many is not Many.ONE or len(test.items) != 1:
        return None
    operator = _CONTRARY.get(test.operator, "") if is_negated else test.operator
    limit = as_number(test.items[0])
    spans = {
        "<": (0, limit - 1),
        "<=": (0, limit),
        ">": (limit + 1, _INFINITE),
        ">=": (limit, _INFINITE),
        "==": (limit, limit),
        "in": (limit, limit),
    }
    return spans.get(operator)
