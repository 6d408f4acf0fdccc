"""What the master does next: slots and the time in, actions out. PURE, so that it is tested as a table.

A fixed pool: ``n_workers`` of the current generation. Workers of an older one are told to drain once the current one is
complete and ready, so that somebody accepts at every moment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Union

from mmgr.master.slots import Slot


@dataclass(frozen=True)
class Spawn:
    """Start a worker of the current generation in this slot."""

    slot: int


@dataclass(frozen=True)
class Drain:
    """Tell this slot's worker to finish its session and end."""

    slot: int


@dataclass(frozen=True)
class Kill:
    """End this slot's worker at once: it did not drain in time."""

    slot: int


Action = Union[Spawn, Drain, Kill]


@dataclass(frozen=True)
class Pool:
    """What is wanted. ready holds the slots whose workers serve; drain_timeout_s is how long one may take to end."""

    n_workers: int
    generation: int
    drain_timeout_s: float
    is_stopping: bool = False
    ready: Collection[int] = ()


def decide(slots: Sequence[Slot], pool: Pool, now: float) -> list[Action]:
    """The actions that are due now; none if all is as wanted."""
    alive = [slot for slot in slots if slot.pid]
    actions: list[Action] = [Kill(slot.index) for slot in alive if _is_overdue(slot, pool, now)]
    current = [slot for slot in alive if slot.generation == pool.generation and not slot.told_at]
    if pool.is_stopping:
        return actions + [Drain(slot.index) for slot in alive if not slot.told_at]
    missing = pool.n_workers - len(current)
    if missing > 0:
        free = [slot for slot in slots if not slot.pid and slot.not_before <= now]
        return actions + [Spawn(slot.index) for slot in free[:missing]]
    surplus = sorted(current, key=lambda slot: slot.index not in pool.ready)[pool.n_workers :]
    if all(slot.index in pool.ready for slot in current):
        surplus += [slot for slot in alive if slot.generation != pool.generation and not slot.told_at]
    return actions + [Drain(slot.index) for slot in surplus]


def next_due(slots: Sequence[Slot], pool: Pool, now: float, limit_s: float) -> float:
    """Seconds until something may become due by time alone, at most limit_s."""
    moments = [slot.not_before for slot in slots if not slot.pid and slot.not_before > now]
    moments += [
        slot.told_at + pool.drain_timeout_s for slot in slots if slot.pid and slot.told_at and not slot.is_killed
    ]
    return max(0.0, min([moment - now for moment in moments] + [limit_s]))


def _is_overdue(slot: Slot, pool: Pool, now: float) -> bool:
    return bool(slot.told_at) and not slot.is_killed and now - slot.told_at >= pool.drain_timeout_s
