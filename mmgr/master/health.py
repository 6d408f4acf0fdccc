"""Does the instance serve? Not whether processes are alive, but whether connections are accepted and answered. PURE.

For the watchdog and for people. What to do about single workers is for ``policy``.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmgr.master.slots import Slot
from mmgr.scoreboard import Record, WorkerState

LATE_S = 2.0
"""How late a worker may be with its sign of life, beyond what it promised, on a busy machine."""

UNANSWERED_S = 60.0
"""A negotiation that is not answered by then never will be: its MTA has 30 s to speak, and its children have 20 s."""

UNANSWERED_MANY = 3
"""So many of them are no single worker's trouble, even if others stand idle."""

MTA_PATIENCE_S = 7200.0
"""A worker that says that it may be silent for so long waits for its MTA, whose turn it is: it owes no answer."""

_SERVING = (WorkerState.IDLE, WorkerState.BUSY)


def problem(slots: Sequence[Slot], states: Sequence[int], records: Sequence[Record], now: float) -> str:
    """Why no session can be expected to be served, or "". slots, states and records go by the slot's index."""
    alive = [slot for slot in slots if slot.pid and not slot.is_reserve]
    serving = [slot for slot in alive if states[slot.index] in _SERVING and not slot.told_at]
    if not serving:
        starting = sum(1 for slot in alive if states[slot.index] == WorkerState.STARTING)
        return f"no worker serves ({starting} starting)"
    well = [slot for slot in serving if not slot.suspected_at and now <= _silent_until(records[slot.index])]
    if not well:
        return f"no worker is well ({len(serving)} silent)"
    unanswered = _unanswered(alive, states, records, now)
    is_any_idle = any(states[slot.index] == WorkerState.IDLE for slot in well)
    if unanswered and (len(unanswered) >= UNANSWERED_MANY or not is_any_idle):
        return f"no negotiation was answered for {UNANSWERED_S:g} s ({len(unanswered)} waiting)"
    return ""


def _silent_until(record: Record) -> float:
    return max(record.beat, record.due) + LATE_S


def _unanswered(alive: Sequence[Slot], states: Sequence[int], records: Sequence[Record], now: float) -> list[float]:
    """When connections were accepted that wait for their negotiation; none if a later one was answered meanwhile.

    Workers do not report each negotiation when it is answered, but that they wait for the MTA, and the next stage.
    """
    waiting = [
        record.accepted
        for record in (records[slot.index] for slot in alive if states[slot.index] == WorkerState.BUSY)
        if record.negotiated < record.accepted < now - UNANSWERED_S and record.due - record.beat < MTA_PATIENCE_S
    ]
    answered = max((record.negotiated for record in records), default=0.0)
    return waiting if waiting and answered < min(waiting) else []
