"""The workers of all generations: forked, watched, told, buried. ``policy`` decides, this carries out.

Called by the supervisor's loop, never blocks. What new workers are made of is a ``Blueprint``: a reload hands over
another one, and one that turns out to be no good is taken back by handing over the old one.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mmgr.assignment import Assignment, Preparation, WorkerEntry
from mmgr.config.model import Config
from mmgr.lessons import Lessons
from mmgr.log import RateLimit, quoted
from mmgr.master import policy, spawn
from mmgr.master.births import Births
from mmgr.master.listeners import Listener
from mmgr.master.overrides import Overrides
from mmgr.master.slots import Reason, Slot, Start
from mmgr.master.stacks import StackPipe
from mmgr.master.vitals import Vitals
from mmgr.scoreboard import Scoreboard, WorkerState

log = logging.getLogger(__name__)

SLOTS = 2048
"""Workers of all generations together, at most: twice the most that a pool can have, as a reload overlaps."""

LATE_S = 5.0
"""If the loop itself comes round so late, the machine stood still, and no worker is blamed for its silence."""

_SERVING = (WorkerState.IDLE, WorkerState.BUSY)


@dataclass(frozen=True)
class Blueprint:
    """What workers of one generation are made of. config is what counts: base, as the files have it, with overrides."""

    generation: int
    config: Config
    listeners: tuple[Listener, ...]
    pool: policy.Pool
    base: Config
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Entries:
    """Where the lives of processes begin, in the child. begin comes first and lets go of what is the master's.

    prepare is called in the master, before workers are forked.
    """

    worker: WorkerEntry
    reserve: WorkerEntry
    prepare: Preparation
    begin: Callable[[], None]
    tell_master: Callable[[], None]


@dataclass(frozen=True)
class _Due:
    """A process that is to be forked in this round."""

    slot: Slot
    assignment: Assignment
    is_reserve: bool
    start: Start


class Crew:
    """All workers and the reserve. ``blueprint`` is what new ones are made of."""

    def __init__(self, blueprint: Blueprint, entries: Entries, life_fd: int) -> None:
        self.blueprint = blueprint
        self.scoreboard = Scoreboard(SLOTS)
        self.scoreboard.tallies.names.extend(child.name for child in blueprint.config.children)
        self.scoreboard.breakers.extend(blueprint.config.children)
        self.slots: list[Slot] = []
        self._lessons = Lessons()
        self.stacks = StackPipe()
        self.vitals = Vitals()
        self.is_stopping = False
        self.drain_timeout_s = -1.0
        self.last_death = ""
        self.is_saturated = False
        self.births = Births()
        self._entries = entries
        self._life_fd = life_fd
        self._past = policy.Past()
        self._looked_at = 0.0
        self._seen: dict[int, policy.Seen] = {}
        self._warnings = RateLimit()
        self._due: list[_Due] = []

    @property
    def pool(self) -> policy.Pool:
        """What is wanted now."""
        pool = replace(self.blueprint.pool, is_stopping=self.is_stopping)
        return pool if self.drain_timeout_s < 0 else replace(pool, drain_timeout_s=self.drain_timeout_s)

    @property
    def alive(self) -> list[Slot]:
        """The slots that have a process, the reserve's included."""
        return [slot for slot in self.slots if slot.pid]

    @property
    def is_serving(self) -> bool:
        """Does a worker serve?"""
        states = self.scoreboard.states()
        return any(state in states for state in _SERVING)

    def is_settled(self) -> bool:
        """Have enough workers of this generation come up that those of all others were told to end?"""
        generation, alive = self.blueprint.generation, self.alive
        serving = [slot for slot in alive if slot.generation == generation and self._state(slot) in _SERVING]
        return bool(serving) and all(slot.generation == generation or slot.told_at for slot in alive)

    def draining(self) -> int:
        """How many workers were told to end and have not yet."""
        return sum(1 for slot in self.slots if slot.pid and slot.told_at)

    def adopt(self, blueprint: Blueprint) -> None:
        """New workers are made of this from now on; deaths of those that were made of another do not slow them down."""
        self.blueprint = blueprint
        self._past = replace(self._past, deaths=())

    # ---- each round

    def bury(self, pid: int, status: int, now: float) -> bool:
        """One of our processes ended; was it one of these?"""
        for slot in self.slots:
            if slot.pid == pid:
                self.scoreboard.breakers.bury(pid)
                self._bury(slot, status, now)
                return True
        return False

    def act(self, now: float) -> None:
        """Look at the workers and do what is due."""
        self.stacks.take()
        self._look(now)
        self._make_slots(now)
        pool = self.pool
        is_calm = not any(now - at < policy.BRAKE_WINDOW_S for at in self._past.deaths)
        self.births.look(is_calm and not any(not slot.pid and slot.not_before > now for slot in self.slots))
        for action in policy.decide(self.slots, self._seen, pool, self._past, now):
            _CARRY_OUT[type(action)](self, self.slots[action.slot], action, now)
        self._fork(now)
        self._tell_of_load(pool, now)

    def next_due(self, now: float, limit_s: float) -> float:
        """Seconds until something may be due by time alone."""
        return policy.next_due(self.slots, self.pool, now, limit_s)

    def _look(self, now: float) -> None:
        is_late = bool(self._looked_at) and now - self._looked_at > LATE_S
        self._past = replace(self._past, resumed_at=now if is_late else self._past.resumed_at)
        self._looked_at = now
        records, states, alive = self.scoreboard.records(), self.scoreboard.states(), self.alive
        limit = now - self.pool.hang_timeout_s
        silent = frozenset(slot.pid for slot in alive if records[slot.index].beat < limit)
        self.vitals.look([slot.pid for slot in alive], silent, now)
        self._seen = {}
        for slot in alive:
            record = records[slot.index]
            self._seen[slot.index] = policy.Seen(
                WorkerState(states[slot.index]),
                record.sessions,
                record.beat,
                record.due,
                self.vitals.memory_bytes(slot.pid),
                self.vitals.is_stuck(slot.pid),
            )

    def _make_slots(self, now: float) -> None:
        """Have as many slots free as may be taken in one round."""
        free = sum(1 for slot in self.slots if not slot.pid and slot.not_before <= now)
        wanted = min(SLOTS, len(self.slots) + max(0, policy.STARTS_MAX + 1 - free))
        self.slots += [Slot(index) for index in range(len(self.slots), wanted)]

    def _tell_of_load(self, pool: policy.Pool, now: float) -> None:
        """Say on the scoreboard when workers shall wake the master, and whether the reserve may answer."""
        board = self.scoreboard
        self.is_saturated = not self.is_stopping and policy.is_saturated(self.slots, self._seen, pool, now)
        is_overloaded = self.is_saturated and pool.has_reserve
        if is_overloaded and not board.is_overloaded:
            board.set_overloaded(True)
            self._signal_reserve()
        board.set_overloaded(is_overloaded)
        busy = board.count(WorkerState.BUSY)
        board.set_stressed(policy.is_stressed(busy, board.is_stressed, pool))
        wanted = max(pool.min_spare, int(pool.has_reserve))
        board.want_spare(0 if self.is_saturated else wanted)

    def _signal_reserve(self) -> None:
        for slot in self.alive:
            if slot.is_reserve and not slot.told_at:
                spawn.send_signal(slot.pid, signal.SIGHUP)

    # ---- actions

    def _spawn(self, slot: Slot, action: policy.Action, now: float) -> None:
        is_reserve = isinstance(action, policy.Spawn) and action.is_reserve
        blueprint, board = self.blueprint, self.scoreboard
        assignment = Assignment(
            slot.index,
            blueprint.generation,
            blueprint.config,
            tuple(listener.socket for listener in blueprint.listeners),
            board,
            self._life_fd,
            self._entries.tell_master,
            self.stacks.write_fd,
            self._lessons,
        )
        start = action.start if isinstance(action, policy.Spawn) else Start.GROWTH
        self._due.append(_Due(slot, assignment, is_reserve, start))

    def _fork(self, now: float) -> None:
        """Fork all processes of this round together, which saves memory (``spawn.fork_each``)."""
        due, self._due = self._due, []
        if not due:
            return
        board = self.scoreboard
        self._entries.prepare(due[0].assignment)
        for each in due:
            board.begin(each.slot.index, each.assignment.generation, now)
        pids, error = spawn.fork_each([functools.partial(self._begin, each) for each in due])
        for each, pid in zip(due, pids):
            board.set_pid(each.slot.index, pid)
            each.slot.take(pid, each.assignment.generation, now, each.is_reserve, random.random())
            self.births.count(each.start, each.assignment.generation)
            self._past = replace(self._past, spawned_at=now)
        for each in due[len(pids) :]:
            board.set_state(each.slot.index, WorkerState.FREE)
            each.slot.fail(each.assignment.generation, now)
        if error is not None:
            self._warn_of_fork(error)

    def _begin(self, due: _Due) -> None:
        """In the child. Python itself has given it other random numbers than its siblings have."""
        entries = self._entries
        entries.begin()
        os.close(self.stacks.read_fd)
        (entries.reserve if due.is_reserve else entries.worker)(due.assignment)

    def _warn_of_fork(self, error: OSError) -> None:
        repeated = self._warnings.allows("fork")
        if repeated is not None:
            name = errno.errorcode.get(error.errno or 0, "")
            log.error("fork-failed alive=%d error=%s%s", len(self.alive), quoted(f"{name} {error.strerror}"), repeated)

    def _drain(self, slot: Slot, action: policy.Action, now: float) -> None:
        reason = action.reason if isinstance(action, policy.Drain) else Reason.RELOAD
        if reason is Reason.SURPLUS:
            self._past = replace(self._past, shrunk_at=now)
        elif reason is Reason.RECYCLE:
            log.info("worker-recycled worker=%d sessions=%d age_s=%.0f", slot.number, *self._life_of(slot, now))
        elif reason is Reason.HANG:
            silent_s = now - self.scoreboard.record(slot.index).beat
            log.error("worker-hung worker=%d pid=%d silent_s=%.1f", slot.number, slot.pid, silent_s)
        slot.tell(now, reason)
        spawn.send_signal(slot.pid, signal.SIGTERM)

    def _kill(self, slot: Slot, action: policy.Action, now: float) -> None:
        reason = "hung" if slot.reason is Reason.HANG else quoted("did not drain in time")
        log.warning("worker-killed worker=%d reason=%s", slot.number, reason)
        slot.kill()
        spawn.send_signal(slot.pid, signal.SIGKILL)

    def _dump(self, slot: Slot, action: policy.Action, now: float) -> None:
        """USR2 is faulthandler's in a worker that serves; one that never got so far would die of it."""
        slot.suspect(now)
        self.births.expect(Start.HANG)
        if self._state(slot) is not WorkerState.STARTING:
            self.stacks.expect(slot.number)
            spawn.send_signal(slot.pid, signal.SIGUSR2)

    def _clear(self, slot: Slot, action: policy.Action, now: float) -> None:
        slot.clear()

    # ---- the dead

    def _bury(self, slot: Slot, status: int, now: float) -> None:
        cause, was_told = spawn.cause_of_death(status), bool(slot.told_at)
        if not was_told and not slot.suspected_at and not slot.is_reserve:
            self.births.expect(Start.DEATH)
        sessions, age_s = self._life_of(slot, now)
        slot.free(now)
        self.scoreboard.set_state(slot.index, WorkerState.FREE)
        self._seen.pop(slot.index, None)
        if was_told:
            log.debug("worker-ended worker=%d cause=%s", slot.number, quoted(cause))
            return
        deaths = tuple(at for at in self._past.deaths if now - at < policy.BRAKE_WINDOW_S)
        self._past = replace(self._past, deaths=(*deaths, now))
        self.last_death = f"worker {slot.number}: {cause} after {age_s:.1f} s"
        log.warning(
            "worker-died worker=%d cause=%s age_s=%.1f sessions=%d next_in_s=%.1f",
            slot.number,
            quoted(cause),
            age_s,
            sessions,
            slot.not_before - now,
        )

    def _life_of(self, slot: Slot, now: float) -> tuple[int, float]:
        return self.scoreboard.sessions(slot.index), now - slot.started

    def _state(self, slot: Slot) -> WorkerState:
        return self.scoreboard.state(slot.index)


_CARRY_OUT: dict[type, Callable[[Crew, Slot, policy.Action, float], None]] = {
    policy.Spawn: Crew._spawn,
    policy.Drain: Crew._drain,
    policy.Kill: Crew._kill,
    policy.Dump: Crew._dump,
    policy.Clear: Crew._clear,
}
