"""Asking several children one envelope step: all at once, or one after another; the first to decide decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mmgr.config.model import EnvelopeDispatch
from mmgr.protocol.replies import Verdict
from workers.child import Child
from workers.plan import Step
from workers.verdict import is_deciding


class Decision(NamedTuple):
    """The verdict that decided a stage for all children, and the name of the child that gave it."""

    verdict: Verdict
    child: str


def ask(children: Iterable[Child], step: Step, dispatch: EnvelopeDispatch) -> Decision | None:
    """What decides the step, None if every child lets it pass. Blocks; never raises because of a child."""
    return _ASK[dispatch](list(children), step)


def ask_at_once(children: list[Child], step: Step) -> Decision | None:
    """Send to all, then collect from all: the MTA waits for the slowest child, not for the sum of them."""
    for child in children:
        child.send(step)
    said = [Decision(child.receive(step), child.name) for child in children]
    return next((decision for decision in said if is_deciding(decision.verdict)), None)


def ask_one_by_one(children: list[Child], step: Step) -> Decision | None:
    """As an MTA does it itself: a child behind one that refused never hears of the step."""
    for child in children:
        child.send(step)
        decision = Decision(child.receive(step), child.name)
        if is_deciding(decision.verdict):
            return decision
    return None


_ASK = {EnvelopeDispatch.PARALLEL: ask_at_once, EnvelopeDispatch.SEQUENTIAL: ask_one_by_one}
