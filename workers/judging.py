"""Children at work on one message: one after another, or those of one ``scan_group`` at the same time.

Each group gets the message as the groups before it left it. The first child in configured order that decides ends it
for all; children behind it in its group are cancelled.
"""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from mmgr.config.model import FallbackStatus
from mmgr.protocol.replies import TempFail
from workers.child import Child
from workers.dispatch import Decision
from workers.message import Message
from workers.transaction import Transaction
from workers.verdict import is_deciding, joint_fallback

TICK_S = 1.0
"""How often the MTA's patience is thought of while all children are silent."""


def judge_transaction(
    children: Sequence[Child], transaction: Transaction, patience: Callable[[], None]
) -> Decision | None:
    """``judge`` its message, unless something happened to it on the way. Raises SpoolError too if that was the body."""
    if transaction.is_broken:
        return Decision(TempFail(), "")
    if transaction.spool_failure is not None:
        raise transaction.spool_failure
    return judge(children, transaction.message, patience)


def judge(children: Sequence[Child], message: Message, patience: Callable[[], None]) -> Decision | None:
    """Give every child the message and apply what each makes of it; what decided, or None if all let it pass.

    Blocks. Raises SpoolError if the body can't be read back, and whatever patience raises.
    """
    for group in _groups(children):
        if len(group) > 1:
            _work(group, message, patience)
        elif group[0].passes(message):
            message.headers.next_child()
            continue
        else:
            _work_alone(group[0], message, patience)
        decision = _apply(group, message)
        if decision is not None:
            return decision
    return None


def without_body(children: Iterable[Child], otherwise: FallbackStatus, has_edits: bool) -> FallbackStatus:
    """What counts where the body can't be given to anybody; edits that may be half made never pass."""
    asked = [child.settings for child in children if child.is_asked]
    return FallbackStatus.TEMPORARY_FAILURE if has_edits else joint_fallback(asked, otherwise)


def _groups(children: Sequence[Child]) -> Iterator[list[Child]]:
    """Neighbours with the same scan_group belong together; a child without one is alone."""
    if not any(child.settings.scan_group for child in children):
        yield from ([child] for child in children)
        return
    for name, group in itertools.groupby(children, key=lambda child: child.settings.scan_group):
        together = list(group)
        yield from [together] if name else ([child] for child in together)


def _work_alone(child: Child, message: Message, patience: Callable[[], None]) -> None:
    """Let a single child work."""
    try:
        is_working = child.judgement is not None or child.begin_judgement(message)
        while is_working and not (child.judgement and child.judgement.wants_to_send):
            is_working = child.work()
            patience()
        if is_working:
            _wait_for([child], [child], patience)
    except BaseException:
        child.cancel()
        raise


def _work(group: list[Child], message: Message, patience: Callable[[], None]) -> None:
    """Let all of a group work until none has anything left to wait for."""
    working = []
    try:
        for child in group:
            if child.begin_judgement(message):
                working.append(child)
            elif _has_decided(child):
                break
        _wait_for(group, working, patience)
    except BaseException:
        for child in working:
            child.cancel()
        raise


def _wait_for(group: list[Child], working: list[Child], patience: Callable[[], None]) -> None:
    """Until those of a group that are at work are done."""
    waiting = _Waiting()
    while working:
        working = waiting.advance(working)
        _cancel_behind(group, working)
        working = [child for child in working if child.judgement is not None]
        patience()


def _has_decided(child: Child) -> bool:
    return is_deciding(child.said)


def _cancel_behind(group: list[Child], working: list[Child]) -> None:
    """Once a child decided, those behind it work for nothing; those before it may still decide otherwise."""
    for position, child in enumerate(group):
        if child not in working and _has_decided(child):
            for later in group[position + 1 :]:
                if later in working:
                    later.cancel()
            return


def _apply(group: list[Child], message: Message) -> Decision | None:
    """Outcomes in configured order, up to the first that decides."""
    outcomes = [(child, child.outcome()) for child in group]
    for child, outcome in outcomes:
        if is_deciding(outcome.verdict):
            for _, other in outcomes:
                if other.new_body is not None:
                    other.new_body.close()
            return Decision(outcome.verdict, child.name)
    for child, outcome in outcomes:
        message.apply(outcome.edits, outcome.new_body, starts_group=child is group[-1])
    return None


class _Waiting:
    """Waits for the sockets of children at work; remembers what it registered, as one child mostly works alone."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._registered: dict[int, int] = {}

    def advance(self, working: list[Child]) -> list[Child]:
        """Wait until something can be done, do it, and give back those who are not done yet.

        Waits up to a tick, or the next deadline.
        """
        ready = self._until_ready(working)
        return [child for child in working if child.advance(child in ready)]

    def _until_ready(self, working: list[Child]) -> set[Child]:
        """The children whose sockets can be read (or have failed)."""
        wanted = {}
        deadline = time.monotonic() + TICK_S
        for child in working:
            judgement = child.judgement
            assert judgement is not None
            deadline = min(deadline, judgement.deadline)
            wanted[judgement.fileno()] = select.POLLIN | (select.POLLOUT if judgement.wants_to_send else 0)
        self._register(wanted)
        events = dict(self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000 + 1))
        readable = ~select.POLLOUT
        return {child for child in working if child.judgement and events.get(child.judgement.fileno(), 0) & readable}

    def _register(self, wanted: dict[int, int]) -> None:
        for descriptor in self._registered.keys() - wanted.keys():
            self._poll.unregister(descriptor)
        for descriptor, events in wanted.items():
            if self._registered.get(descriptor) != events:
                self._poll.register(descriptor, events)
        self._registered = wanted
