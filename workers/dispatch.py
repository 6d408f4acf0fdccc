"""Asking several children one envelope step: all at once, or one after another; the first to decide decides."""

from __future__ import annotations

from collections.abc import Iterable

from mmgr.config.model import EnvelopeDispatch
from mmgr.protocol.replies import Verdict
from workers.child import Child
from workers.plan import Step
from workers.verdict import first_deciding, is_deciding


def ask(children: Iterable[Child], step: Step, dispatch: EnvelopeDispatch) -> Verdict | None:
    """The verdict that decides the step, None if every child lets it pass. Blocks; never raises because of a child."""
    return _ASK[dispatch](list(children), step)


def ask_at_once(children: list[Child], step: Step) -> Verdict | None:
    """Send to all, then collect from all: the MTA waits for the slowest child, not for the sum of them."""
    for child in children:
        child.send(step)
    return first_deciding([child.receive(step) for child in children])


def ask_one_by_one(children: list[Child], step: Step) -> Verdict | None:
    """As an MTA does it itself: a child behind one that refused never hears of the step."""
    for child in children:
        child.send(step)
        verdict = child.receive(step)
        if is_deciding(verdict):
            return verdict
    return None


_ASK = {EnvelopeDispatch.PARALLEL: ask_at_once, EnvelopeDispatch.SEQUENTIAL: ask_one_by_one}
