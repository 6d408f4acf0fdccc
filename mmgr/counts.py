"""Plain counters of what seldom happens, by child and event: connections, failures, edits and so on. They only grow.

As in ``mmgr.tally``, which counts answers: memory that the master and its workers share, each counter written by the
worker of one slot alone, nothing locked, nothing ever cleared. The counters of one child and event stand side by side,
slot after slot, so that however many workers there are, what few of them count costs few pages.

Layout: one byte per (child, event) that says whether there is anything, then per child, event and slot a ``uint64``.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from itertools import product

from mmgr.tally import STAGES

Event = tuple[str, ...]
"""What is counted, its kind first: ``("connect", "timeout")``. All there are stand in ``EVENTS``."""

CONNECT, FAILURE, FALLBACK, RECIPIENT, EDIT = "connect", "failure", "fallback", "recipient", "edit"
CONNECTED: Event = (CONNECT, "connected")

FAILURE_KINDS = ("unavailable", "timeout", "protocol")
"""Not there or gone, no answer within a deadline, and an answer that the protocol does not allow."""

FAILURE_STAGES = ("negotiate", *STAGES)
STATUSES = ("accept", "reject", "temporary-failure", "discard")
REFUSALS = ("reject", "temporary-failure", "other")
EDIT_KINDS = (
    "add-header",
    "insert-header",
    "change-header",
    "add-recipient",
    "delete-recipient",
    "change-sender",
    "replace-body",
    "quarantine",
)

EVENTS: tuple[Event, ...] = (
    CONNECTED,
    *((CONNECT, kind) for kind in FAILURE_KINDS),
    *((FAILURE, stage, kind) for stage, kind in product(FAILURE_STAGES, FAILURE_KINDS)),
    *((FALLBACK, status) for status in STATUSES),
    *((RECIPIENT, verdict) for verdict in REFUSALS),
    *((EDIT, kind) for kind in EDIT_KINDS),
)
_INDEX = {event: index for index, event in enumerate(EVENTS)}
_LANE_BYTES = 8
_MAP_NORESERVE = 0x4000
"""Linux: what is never touched is not counted as used. Python names it from 3.12 on."""


def failure(stage: str, kind: str) -> Event:
    """The event of a failure at a stage; stages that are not told apart share one."""
    return (FAILURE, stage if stage in FAILURE_STAGES else STAGES[-1], kind)


def refused_recipient(verdict: str) -> Event:
    """The event of a recipient that a child refused, by the word that logs use."""
    return (RECIPIENT, verdict if verdict in REFUSALS else REFUSALS[-1])


class Counts:
    """The counters of so many slots and children. Made before the first fork; children go by the tallies' indexes."""

    def __init__(self, slots: int, children: int) -> None:
        self._slots = slots
        flags = children * len(EVENTS)
        self._first = -(-flags // _LANE_BYTES)
        size = (self._first + flags * slots) * _LANE_BYTES
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
        self._flags = flags
        self._lanes = memoryview(self._memory).cast("Q")

    def add(self, slot: int, child: int, events: Mapping[Event, int]) -> None:
        """It happened so often more. By the slot's worker alone; never blocks."""
        for event, number in events.items():
            place = child * len(EVENTS) + _INDEX[event]
            self._memory[place] = 1
            self._lanes[self._first + place * self._slots + slot] += number

    def totals(self, slots: int) -> dict[tuple[int, Event], int]:
        """By (index of a child, event), over the first so many slots; nothing for what never happened."""
        found: dict[tuple[int, Event], int] = {}
        flags = self._memory[: self._flags]
        place = flags.find(1)
        while place >= 0:
            child, event = divmod(place, len(EVENTS))
            first = self._first + place * self._slots
            found[child, EVENTS[event]] = sum(self._lanes[first : first + slots])
            place = flags.find(1, place + 1)
        return found
