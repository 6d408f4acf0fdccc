"""Conditions that are written as one expression in the configuration. PURE; the loader calls ``compile_expression``.

The language, which docs/expressions.md tells to administrators:

    expression = conjunction { "or" conjunction }
    conjunction = part { "and" part }
    part       = { "not" } ( "(" expression ")" | test )
    test       = name                                           not empty; of authenticated and tls: yes
               | name ( "==" | "!=" ) value
               | name ( "<" | "<=" | ">" | ">=" ) value         numbers, times of day, versions of TLS
               | name [ "not" ] "in" ( list | "(" list ")" )
               | name [ "not" ] "matches" pattern
    name       = a word of the table NAMES in expression_names
               | ( "header" | "macro" ) ( argument | "(" argument ")" )
               | ( "any" | "all" ) ( "recipient" | "recipients" )
    list       = value { "," value }
    argument   = word | string
    value      = word | string
    pattern    = "/" characters "/" | string
    string     = '"' characters '"' | "'" characters "'" | "<>"       no escapes; <> is the empty string
    word       = letters, digits and . _ @ : { } [ ] + -, and "/" ahead of a digit (192.0.2.0/24)

Upper and lower case are the same everywhere. White space and line ends may stand between all tokens.

An expression is judged at each stage that brings a value that it reads. What is not known yet counts as whatever lets
the milter take part, so a milter is stopped as soon as nothing that is still to come can change that. This is Kleene's
logic of three values. As ``not`` has been moved into the tests (``expression_parser``), an unknown test, negated or
not, is simply taken for true, and the functions that are called for every mail have two values only.

A test of ``recipient`` is judged at RCPT for the recipient in question. From then on the expression is true of a
message if it is true for one of its recipients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.expression_lexer import ExpressionError
from mmgr.conditions.expression_lint import never_true
from mmgr.conditions.expression_parser import Junction, Literal, Node, joined, literals, parsed
from mmgr.conditions.expression_tests import Check, Why
from mmgr.conditions.facts import Facts

__all__ = ["ExpressionCondition", "ExpressionError", "compile_expression"]

MAX_DESCRIPTION_CHARACTERS = 200


class _Claim(NamedTuple):
    """What has to be true at one stage: does gives the answer, and if it is no, why gives the reason."""

    does: Check
    why: Why


class ExpressionCondition(Condition):
    """An expression of the configuration; text is as it was written, doubt says why it can never be true, or ""."""

    def __init__(self, name: str, text: str, tree: Node, description: str = "") -> None:
        self.name = name
        self.text = text
        self.description = description or _as_description(text)
        subjects = [literal.test.subject for literal in literals(tree)]
        self.stages = frozenset(stage for subject in subjects for stage in subject.stages)
        self.reads = _by_stage([read for subject in subjects for read in subject.reads])
        self.doubt = never_true(tree)
        self._proof = _proof(_known(tree, Stage.CONTENT))
        self._claims = tuple(_claims(tree, stage) for stage in Stage)

    def judge(self, stage: Stage, facts: Facts) -> str:
        """The tests that are false and decide it, as a sentence; "" as long as the expression may become true."""
        for does, why in self._claims[stage]:
            if not does(facts, facts.recipient):
                return why(facts, facts.recipient)
        return ""

    def explain(self, facts: Facts) -> str:
        """The tests that are true and decide it, as a sentence; of several recipients the first that it is true for."""
        return self._proof(facts, facts.recipient) or self.description


def compile_expression(name: str, text: str, description: str = "") -> ExpressionCondition:
    """The condition that an expression makes. Raises ExpressionError with the first fault; never anything else."""
    return ExpressionCondition(name, text, parsed(text), description)


def _as_description(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_DESCRIPTION_CHARACTERS else line[: MAX_DESCRIPTION_CHARACTERS - 3] + "..."


def _by_stage(reads: list[tuple[Stage, bytes]]) -> Mapping[Stage, tuple[bytes, ...]]:
    unique = dict.fromkeys(reads)
    return {stage: tuple(name for at, name in unique if at is stage) for stage in sorted({at for at, _ in unique})}


# ---- stages


def _claims(tree: Node, stage: Stage) -> tuple[_Claim, ...]:
    """What has to be true at a stage; several where they are joined by and, so that none is asked for twice."""
    known = _known(tree, stage)
    if known is None:
        return ()
    if stage > Stage.RCPT and known.is_per_recipient:
        return (_Claim(_of_all_recipients(known), _explained_to_all(known)),)
    parts = known.parts if isinstance(known, Junction) and known.is_all else (known,)
    return tuple(_Claim(_compiled(part), _explained(part)) for part in parts)


def _known(node: Node, stage: Stage, has_recipient: bool = True) -> Node | None:
    """What can be false of a tree at a stage, None for nothing: tests that are not known may all turn out true."""
    if isinstance(node, Literal):
        subject = node.test.subject
        is_known = subject.known <= stage <= subject.until and (has_recipient or not subject.is_per_recipient)
        return node if is_known else None
    parts = [_known(part, stage, has_recipient) for part in node.parts]
    known = [part for part in parts if part is not None]
    if not known or (len(known) < len(parts) and not node.is_all):
        return None
    return joined(node.is_all, known)


def _compiled(node: Node) -> Check:
    """The tree as one function."""
    if isinstance(node, Junction):
        return _together(node.is_all, tuple(map(_compiled, node.parts)))
    check = node.test.check
    return (lambda facts, recipient: not check(facts, recipient)) if node.is_negated else check


def _together(is_all: bool, checks: tuple[Check, ...]) -> Check:
    """All of some functions, or any. A loop each: ``all`` and ``any`` of a generator take twice as long."""

    def all_of(facts: Facts, recipient: bytes) -> bool:
        for check in checks:  # noqa: SIM110
            if not check(facts, recipient):
                return False
        return True

    def any_of(facts: Facts, recipient: bytes) -> bool:
        for check in checks:  # noqa: SIM110
            if check(facts, recipient):
                return True
        return False

    return checks[0] if len(checks) == 1 else all_of if is_all else any_of


# ---- recipients


def _of_all_recipients(node: Node) -> Check:
    """Whether there is a recipient for whom the tree is true.

    What does not depend on the recipient is looked at once, not once for each of a thousand.
    """
    if not node.is_per_recipient:
        return _compiled(node)
    if isinstance(node, Junction):
        if not node.is_all:
            return _together(False, tuple(map(_of_all_recipients, node.parts)))
        common = [part for part in node.parts if not part.is_per_recipient]
        own = [part for part in node.parts if part.is_per_recipient]
        if common:
            return _together(True, (*map(_compiled, common), _of_all_recipients(joined(True, own))))
    return _of_one_recipient(node)


def _of_one_recipient(node: Node) -> Check:
    does = _compiled(node)
    rest = _known(node, Stage.CONTENT, has_recipient=False)
    without = None if rest is None else _compiled(rest)

    def of_one(facts: Facts, recipient: bytes) -> bool:
        if not facts.recipients:
            return without is None or without(facts, recipient)
        return any(does(facts, each) for each in facts.recipients)

    return of_one


# ---- words


def _explained(node: Node) -> Why:
    """What says of a tree that is false which test made it so: the first one, or all of which one had to be true."""
    if isinstance(node, Literal):
        return node.test.words(node.is_negated)
    parts = [(_compiled(part), _explained(part)) for part in node.parts]

    def first_of(facts: Facts, recipient: bytes) -> str:
        for does, why in parts[:-1]:
            if not does(facts, recipient):
                return why(facts, recipient)
        return parts[-1][1](facts, recipient)  # without a look: the clock may have gone on since the answer was no

    def each_of(facts: Facts, recipient: bytes) -> str:
        return " and ".join([why(facts, recipient) for _, why in parts])

    return first_of if node.is_all else each_of


def _proof(node: Node | None) -> Why:
    """What says of a tree that is true which tests made it so: all, or the first one of which one was enough."""
    if node is None:
        return lambda facts, recipient: ""
    does, why = _compiled(node), _proven(node)

    def proof(facts: Facts, recipient: bytes) -> str:
        found = next((each for each in facts.recipients if does(facts, each)), recipient)
        return why(facts, found) if does(facts, found) else ""

    return proof


def _proven(node: Node) -> Why:
    if isinstance(node, Literal):
        return node.test.words(not node.is_negated)
    parts = [(_compiled(part), _proven(part)) for part in node.parts]

    def each_of(facts: Facts, recipient: bytes) -> str:
        return " and ".join([why(facts, recipient) for _, why in parts])

    def first_of(facts: Facts, recipient: bytes) -> str:
        return next((why(facts, recipient) for does, why in parts if does(facts, recipient)), "")

    return each_of if node.is_all else first_of


def _explained_to_all(node: Node) -> Why:
    """The same of a tree that is false for every recipient of a message: what the first one's is."""
    why = _explained(node)
    rest = _known(node, Stage.CONTENT, has_recipient=False)
    without = why if rest is None else _explained(rest)

    def of_all(facts: Facts, recipient: bytes) -> str:
        if not facts.recipients:
            return without(facts, recipient)
        count = len(facts.recipients) - 1
        others = f", and it is no better for {count} more recipients" if count else ""
        return why(facts, facts.recipients[0]) + others

    return of_all
