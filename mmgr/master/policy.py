"""What the master does next: slots, what is seen of their workers and the time in, actions out. PURE; tested as tables.

- Growth: when fewer than ``min_spare`` workers are idle, as many more start at once; when none is, as many as are busy,
  so that the pool doubles. Shrinking is slow: a fifth of what is above ``max_spare`` at a time.
- Recycling: one worker at a time, its replacement first, and it is never cut off in a session.
- Reload: workers of an older generation are told to end once the current one has enough that serve, so that somebody
  accepts at every moment. Those that still have sessions count against ``max_workers``, whatever their generation.
- Death: a slot whose workers die young waits longer and longer and keeps its place meanwhile, so that no other slot is
  tried instead; when many die in a short time, new ones come one by one.
- Hang: a worker that is silent beyond its own deadlines has to show its stacks, and is told to end, and is killed.

Sources: Apache's prefork MPM for spare workers, Postfix's master for throttling; design.md, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from mmgr.master.slots import PATIENT, Reason, Slot, Start
from mmgr.scoreboard import WorkerState

STARTS_MAX = 32
"""Workers that may be starting at the same time."""

SHRINK_EVERY_S = 1.0
SHRINK_PART = 5
SHRINK_AFTER_S = 5.0
"""No worker is let go so soon after one was started."""

RECYCLE_EVERY_S = 10.0
JITTER = 0.2
"""A worker is recycled at its limit or up to this part earlier, so that not all reach it together."""

BRAKE_WINDOW_S = 10.0
BRAKE_DEATHS = 5
BRAKE_EVERY_S = 1.0
"""When more than BRAKE_DEATHS workers, and more than half of the pool, died within the window: one start this often."""

STACKS_S = 1.0
"""From asking a silent worker for its stacks to telling it to end."""

HANG_END_S = 2.0
"""From telling it so to killing it."""


@dataclass(frozen=True)
class Spawn:
    """Start a worker of the current generation in this slot. start is what it is for, as far as the pool shows."""

    slot: int
    is_reserve: bool = False
    start: Start = field(default=Start.GROWTH, compare=False)


@dataclass(frozen=True)
class Drain:
    """Tell this slot's worker to finish its session and end."""

    slot: int
    reason: Reason = Reason.RELOAD


@dataclass(frozen=True)
class Kill:
    """End this slot's worker at once: it did not end in time."""

    slot: int


@dataclass(frozen=True)
class Dump:
    """This slot's worker is silent: have it write its stacks into the log."""

    slot: int


@dataclass(frozen=True)
class Clear:
    """This slot's worker was heard of again."""

    slot: int


Action = Union[Spawn, Drain, Kill, Dump, Clear]


@dataclass(frozen=True)
class Pool:
    """What is wanted. A fixed pool has min_workers = max_workers and no min_spare. A recycling limit of 0 is none."""

    generation: int
    min_workers: int
    max_workers: int
    min_spare: int = 0
    max_spare: int = 1000
    has_reserve: bool = False
    is_stopping: bool = False
    drain_timeout_s: float = 300.0
    hang_timeout_s: float = 30.0
    start_timeout_s: float = 60.0
    max_sessions: int = 0
    max_age_s: float = 0.0
    max_memory_bytes: int = 0
    stress_threshold: int = 0

    @property
    def stressed_from(self) -> int:
        """With how many busy workers there is stress: the threshold, by default three quarters of all there may be.

        A single session is no stress, however few workers there are.
        """
        return self.stress_threshold or max(2, -(-self.max_workers * 3 // 4))

    @property
    def floor(self) -> int:
        """How many workers have to serve before older ones may go."""
        return min(max(self.min_workers, self.min_spare), self.max_workers)


@dataclass(frozen=True)
class Seen:
    """What scoreboard and kernel say of a slot's worker. due is until when it may be silent by its own deadlines."""

    state: WorkerState
    sessions: int = 0
    beat: float = 0.0
    due: float = 0.0
    memory_bytes: int = 0
    is_stopped: bool = False


@dataclass(frozen=True)
class Past:
    """What happened lately. deaths are those that nobody ordered; resumed_at is when the master itself came late."""

    spawned_at: float = 0.0
    shrunk_at: float = 0.0
    resumed_at: float = 0.0
    deaths: tuple[float, ...] = ()


_NOT_SEEN = Seen(WorkerState.STARTING)


class _View:
    """The slots sorted into those that matter for one decision."""

    def __init__(self, slots: Sequence[Slot], seen: Mapping[int, Seen], pool: Pool, now: float) -> None:
        self.seen = {slot.index: seen.get(slot.index, _NOT_SEEN) for slot in slots if slot.pid}
        self.alive = [slot for slot in slots if slot.pid]
        self.current = [slot for slot in self.alive if not slot.is_reserve and _is_current(slot, pool)]
        held = {slot.index: slot for slot in slots if _is_waiting(slot, pool, now)}
        self.free = [slot for slot in slots if not slot.pid and slot.index not in held]
        self.waiting = sum(1 for slot in held.values() if not slot.is_reserve)
        self.has_reserve = any(slot.is_reserve for slot in held.values()) or any(
            slot.is_reserve and _is_current(slot, pool) for slot in self.alive
        )
        busy_elsewhere = sum(
            1
            for slot in self.alive
            if not slot.is_reserve and not _is_current(slot, pool) and self.state(slot) is WorkerState.BUSY
        )
        self.limit = max(pool.floor, pool.max_workers - busy_elsewhere)

    def state(self, slot: Slot) -> WorkerState:
        return self.seen[slot.index].state

    def are(self, slots: Sequence[Slot], *states: WorkerState) -> list[Slot]:
        return [slot for slot in slots if self.state(slot) in states]


def decide(slots: Sequence[Slot], seen: Mapping[int, Seen], pool: Pool, past: Past, now: float) -> list[Action]:
    """The actions that are due now; none if all is as wanted."""
    view = _View(slots, seen, pool, now)
    actions = _hangs(view, pool, past, now) + _overdue(view, pool, now)
    if pool.is_stopping:
        waiting = [slot for slot in view.alive if not slot.told_at or slot.reason in PATIENT]
        return actions + [Drain(slot.index, Reason.STOP) for slot in waiting]
    candidate = _candidate(view, pool, now)
    starts = _starts(view, pool, past, candidate, now)
    return actions + starts + _ends(view, pool, past, candidate, now)


def is_saturated(slots: Sequence[Slot], seen: Mapping[int, Seen], pool: Pool, now: float) -> bool:
    """Can no worker take a session, and none come that could?"""
    view = _View(slots, seen, pool, now)
    if view.are([slot for slot in view.alive if not slot.told_at], WorkerState.IDLE, WorkerState.STARTING):
        return False
    return not view.current or len(view.current) + view.waiting >= view.limit


def is_stressed(busy: int, was_stressed: bool, pool: Pool) -> bool:
    """Is there stress with so many busy workers? It is over once they are fewer than four fifths of what began it."""
    return busy >= (max(1, pool.stressed_from * 4 // 5) if was_stressed else pool.stressed_from)


def next_due(slots: Sequence[Slot], pool: Pool, now: float, limit_s: float) -> float:
    """Seconds until something may become due by time alone, at most limit_s."""
    moments = [slot.not_before for slot in slots if not slot.pid and slot.not_before > now]
    for slot in slots:
        if slot.pid and not slot.is_killed:
            if slot.reason is Reason.HANG:
                moments.append(slot.told_at + HANG_END_S)
            elif slot.told_at and slot.reason not in PATIENT:
                moments.append(slot.told_at + pool.drain_timeout_s)
            if slot.suspected_at and slot.reason is not Reason.HANG:
                moments.append(slot.suspected_at + STACKS_S)
    return max(0.0, min([moment - now for moment in moments] + [limit_s]))


def _is_current(slot: Slot, pool: Pool) -> bool:
    return slot.generation == pool.generation and not slot.told_at and not slot.suspected_at


def _is_waiting(slot: Slot, pool: Pool, now: float) -> bool:
    """Does the slot keep its place while it waits? A new generation does not suffer for an older one's deaths."""
    return not slot.pid and slot.not_before > now and slot.generation == pool.generation


# ---- growing


def _starts(view: _View, pool: Pool, past: Past, candidate: Slot | None, now: float) -> list[Action]:
    missing = min(_missing(view, pool, candidate), _allowed(view, past, now))
    workers = view.free[: max(0, missing)]
    start = Start.RELOAD if len(view.current) < pool.floor else Start.GROWTH
    if candidate is not None and _missing(view, pool, None) <= 0:
        start = Start.RECYCLE
    actions: list[Action] = [Spawn(slot.index, start=start) for slot in workers]
    reserves = view.free[len(workers) :][: int(pool.has_reserve and not view.has_reserve)]
    return actions + [Spawn(slot.index, is_reserve=True, start=Start.RESERVE) for slot in reserves]


def _missing(view: _View, pool: Pool, candidate: Slot | None) -> int:
    """How many workers to start: as if the one that is to be recycled were gone, which may be one beyond the limit."""
    settled = [slot for slot in view.current if slot is not candidate]
    idle = len(view.are(settled, WorkerState.IDLE))
    coming = len(view.are(settled, WorkerState.STARTING)) + view.waiting
    wanted = pool.min_spare
    if pool.min_spare and not idle:
        wanted = max(wanted, len(view.are(settled, WorkerState.BUSY)))
    missing = max(pool.min_workers - len(settled) - view.waiting, wanted - idle - coming)
    return min(missing, view.limit - len(settled) - view.waiting)


def _allowed(view: _View, past: Past, now: float) -> int:
    """How many may start at this moment."""
    deaths = sum(1 for died_at in past.deaths if now - died_at < BRAKE_WINDOW_S)
    if deaths > max(BRAKE_DEATHS, len(view.current) // 2):
        return int(now - past.spawned_at >= BRAKE_EVERY_S)
    return STARTS_MAX - len(view.are(view.current, WorkerState.STARTING))


# ---- ending


def _ends(view: _View, pool: Pool, past: Past, candidate: Slot | None, now: float) -> list[Action]:
    serving = view.are(view.current, WorkerState.IDLE, WorkerState.BUSY)
    actions: list[Action] = []
    if len(serving) >= pool.floor:
        old = [slot for slot in view.alive if slot.generation != pool.generation and not slot.told_at]
        actions = [Drain(slot.index, Reason.RELOAD) for slot in old]
    if candidate is not None and _is_replaced(view, pool, serving, candidate):
        return [*actions, Drain(candidate.index, Reason.RECYCLE)]
    surplus = sorted(view.current, key=lambda slot: slot not in serving)[pool.max_workers + (candidate is not None) :]
    if not surplus:
        surplus = _surplus_spare(view, pool, past, now)
    return actions + [Drain(slot.index, Reason.SURPLUS) for slot in surplus]


def _surplus_spare(view: _View, pool: Pool, past: Past, now: float) -> list[Slot]:
    """Idle workers above max_spare: a part of them at a time, those with the highest numbers first."""
    idle = view.are(view.current, WorkerState.IDLE)
    spare = min(len(idle) - pool.max_spare, len(view.current) - pool.floor)
    is_calm = now - past.spawned_at >= SHRINK_AFTER_S and now - past.shrunk_at >= SHRINK_EVERY_S
    return idle[-max(1, spare // SHRINK_PART) :] if spare > 0 and is_calm else []


def _candidate(view: _View, pool: Pool, now: float) -> Slot | None:
    """The next worker to be recycled, if it is time for one."""
    if any(slot.reason is Reason.RECYCLE and now - slot.told_at < RECYCLE_EVERY_S for slot in view.alive):
        return None
    for slot in view.are(view.current, WorkerState.IDLE, WorkerState.BUSY):
        seen, part = view.seen[slot.index], 1.0 - JITTER * slot.luck
        is_worn = pool.max_sessions and seen.sessions >= pool.max_sessions * part
        is_old = pool.max_age_s and now - slot.started >= pool.max_age_s * part
        is_fat = pool.max_memory_bytes and seen.memory_bytes >= pool.max_memory_bytes
        if is_worn or is_old or is_fat:
            return slot
    return None


def _is_replaced(view: _View, pool: Pool, serving: Sequence[Slot], candidate: Slot) -> bool:
    """Would all be well without it, counting only those that serve already?"""
    others = [slot for slot in serving if slot is not candidate]
    idle = len(view.are(others, WorkerState.IDLE))
    is_enough = len(others) >= pool.min_workers and idle >= pool.min_spare
    return is_enough or len(others) >= view.limit


# ---- force


def _overdue(view: _View, pool: Pool, now: float) -> list[Action]:
    """Workers that had their time to end. One that somebody else waits for has a limit, others have none."""
    return [
        Kill(slot.index)
        for slot in view.alive
        if slot.told_at
        and not slot.is_killed
        and slot.reason not in PATIENT
        and now - slot.told_at >= (HANG_END_S if slot.reason is Reason.HANG else pool.drain_timeout_s)
    ]


def _hangs(view: _View, pool: Pool, past: Past, now: float) -> list[Action]:
    """Silent workers, each one step further; a stopped process can't keep its own deadlines, so they do not count."""
    actions: list[Action] = []
    for slot in view.alive:
        if slot.is_killed or slot.reason is Reason.HANG:
            continue
        is_silent = now >= _silent_from(slot, view.seen[slot.index], pool, past)
        if is_silent and not slot.suspected_at:
            actions.append(Dump(slot.index))
        elif is_silent and now - slot.suspected_at >= STACKS_S:
            actions.append(Drain(slot.index, Reason.HANG))
        elif slot.suspected_at and not is_silent:
            actions.append(Clear(slot.index))
    return actions


def _silent_from(slot: Slot, seen: Seen, pool: Pool, past: Past) -> float:
    """From when on the worker counts as hung. If the master was late itself, so was everybody."""
    if seen.state is WorkerState.STARTING:
        return max(slot.started, past.resumed_at) + pool.start_timeout_s
    promised = seen.beat if seen.is_stopped else max(seen.beat, seen.due)
    return max(promised, past.resumed_at) + pool.hang_timeout_s
