"""Children at work on one message: one after another, or those of one ``scan_group`` at the same time.

Each group gets the message as the groups before it left it. The first child in configured order that decides ends it
for all; children behind it in its group are cancelled.
"""

from __future__ import annotations

import itertools
import select
import time
from collections.abc import Callable, Iterator, Sequence

from workers.child import Child
from workers.dispatch import Decision
from workers.message import Message
from workers.verdict import is_deciding

TICK_S = 1.0
"""How often the MTA's patience is thought of while all children are silent."""


def judge(children: Sequence[Child], message: Message, patience: Callable[[], None]) -> Decision | None:
    """Give every child the message and apply what each makes of it; what decided, or None if all let it pass.

    Blocks. Raises SpoolError if the body can't be read back, and whatever patience raises.
    """
    for group in _groups(children):
        _work(group, message, patience)
        decision = _apply(group, message)
        if decision is not None:
            return decision
    return None


def _groups(children: Sequence[Child]) -> Iterator[list[Child]]:
    """Neighbours with the same scan_group belong together; a child without one is alone."""
    numbered = enumerate(children)
    for _, group in itertools.groupby(numbered, key=lambda one: one[1].settings.scan_group or one[0]):
        yield [child for _, child in group]


def _work(group: list[Child], message: Message, patience: Callable[[], None]) -> None:
    """Let all of a group work until none has anything left to wait for."""
    working = []
    try:
        for child in group:
            if child.begin_judgement(message):
                working.append(child)
            elif _has_decided(child):
                break
        waiting = _Waiting()
        while working:
            working = waiting.advance(working)
            _cancel_behind(group, working)
            working = [child for child in working if child.judgement is not None]
            patience()
    except BaseException:
        for child in working:
            child.cancel()
        raise


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

        Waits up to a tick, or the next deadline. A child that works alone and only has to answer is read from at once,
        as a read can wait by itself.
        """
        alone = working[0].judgement if len(working) == 1 else None
        if alone is not None and not alone.wants_to_send:
            wait_s = max(0.0, min(TICK_S, alone.deadline - time.monotonic()))
            return [child for child in working if child.advance(True, wait_s)]
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
