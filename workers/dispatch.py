"""Asking several children one envelope step: all at once, or one after another; the first to decide decides."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, NamedTuple, Optional

from mmgr.config.model import EnvelopeDispatch
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import Verdict
from workers.child import Child
from workers.link import CONTINUE_FRAME
from workers.plan import Step
from workers.verdict import ACCEPT, CONTINUE, is_deciding

_MAIL = int(Command.SMFIC_MAIL)
_OPENING = frozenset((_MAIL, int(Command.SMFIC_RCPT)))


class Decision(NamedTuple):
    """The verdict that decided a stage for all children, and the name of the child that gave it."""

    verdict: Verdict
    child: str


Ask = Callable[[Sequence[Child], Step], Optional[Decision]]


def ask(children: Iterable[Child], step: Step, dispatch: EnvelopeDispatch) -> Decision | None:
    """What decides the step, None if every child lets it pass. Blocks; never raises because of a child."""
    return WAYS[dispatch](list(children), step)


def ask_at_once(children: Sequence[Child], step: Step) -> Decision | None:
    """Send to all, then collect from all: the MTA waits for the slowest child, not for the sum of them."""
    command, data = step.command, step.joined
    if command == _MAIL:
        for child in children:
            child.begin_message()
    for child in children:
        if command in child.usual and step.is_plain and child.write_at_once(data):
            child.awaited = step
            if command in _OPENING:
                child.note_sent(command)
        else:
            child.send(step)
    return collect(children, step)


def collect(children: Sequence[Child], step: Step, untold: Sequence[Child] = ()) -> Decision | None:
    """What they say to a step that all but the untold were sent."""
    for child in untold:
        child.send(step)
    command = step.command
    decision = None
    before = time.monotonic()
    for child in children:
        if child.awaited is not None and command in child.usual and child.hears(CONTINUE_FRAME):
            child.awaited = None
            now = time.monotonic()
            child.waited_s += now - before
            before = now
            continue
        verdict = child.receive(step, before)
        before = time.monotonic()
        if decision is None and is_deciding(verdict):
            decision = Decision(verdict, child.name)
    return decision


def ask_one_by_one(children: Sequence[Child], step: Step) -> Decision | None:
    """As an MTA does it itself: a child behind one that refused never hears of the step."""
    for child in children:
        child.send(step)
        decision = Decision(child.receive(step), child.name)
        if is_deciding(decision.verdict):
            return decision
    return None


def let_pass(children: Sequence[Child], is_early: bool, has_verdict: bool) -> Verdict:
    """Continue while some child is left, accept once every child has let the mail go.

    Before MAIL (is_early) a failed child or a verdict that stands must not make the MTA leave us out for the session;
    later a failed one must not as long as its fallback waits for its conditions.
    """
    for child in children:
        if child.is_asked or child.may_refuse_later:
            return CONTINUE
    if is_early and (has_verdict or any(child.failure for child in children)):
        return CONTINUE
    return ACCEPT


WAYS: Mapping[EnvelopeDispatch, Ask] = {
    EnvelopeDispatch.PARALLEL: ask_at_once,
    EnvelopeDispatch.SEQUENTIAL: ask_one_by_one,
}
