"""Whole lives of a pool: whatever happens no rule is broken, and a day's load is served by about as many as it needs.

The master here carries the actions out on slots, as the supervisor does, with workers that exist on paper only.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.master.policy import Action, Clear, Drain, Dump, Kill, Past, Pool, Seen, Spawn, decide
from mmgr.master.slots import Reason, Slot
from mmgr.scoreboard import WorkerState

NOW = 1000.0
FREE_SLOTS = 34


@dataclass
class Master:
    """The supervisor's part: keeps slots and what happened, and does as it is told. Its assertions are the rules."""

    pool: Pool
    now: float = NOW
    slots: list[Slot] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    past: Past = field(default_factory=Past)
    started: list[tuple[float, int]] = field(default_factory=list)
    cut_off: list[int] = field(default_factory=list)
    _last_pid: int = 0

    def act(self) -> None:
        """What the loop does at this moment, until nothing more is due."""
        for _ in range(8):
            served = self.serving()
            self._make_slots()
            actions = decide(self.slots, self.seen, self.pool, self.past, self.now)
            if not actions:
                assert len(self.current()) <= self.pool.max_workers + 1
                return
            for action in actions:
                self._carry_out(action, self.slots[action.slot])
            assert not served or self.serving() or self.pool.is_stopping or is_hanging(actions)
        pytest.fail(f"the same actions again and again: {actions}")

    def current(self) -> list[Slot]:
        mine = [one for one in self.alive() if one.generation == self.pool.generation]
        return [one for one in mine if not one.told_at and not one.suspected_at]

    def serving(self) -> list[Slot]:
        states = (WorkerState.IDLE, WorkerState.BUSY)
        return [one for one in self.alive() if not one.told_at and self.seen[one.index].state in states]

    def alive(self) -> list[Slot]:
        return [one for one in self.slots if one.pid]

    def are(self, state: WorkerState) -> list[Slot]:
        return [one for one in self.alive() if self.seen[one.index].state is state]

    def become(self, slot: Slot, state: WorkerState) -> None:
        seen = self.seen[slot.index]
        served = seen.sessions + (seen.state is WorkerState.BUSY and state is WorkerState.IDLE)
        self.seen[slot.index] = replace(seen, state=state, sessions=served, beat=self.now, due=self.now + 1e9)

    def die(self, slot: Slot) -> None:
        if not slot.told_at:
            self.past = replace(self.past, deaths=(*self.past.deaths[-50:], self.now))
        slot.free(self.now)
        del self.seen[slot.index]

    def _make_slots(self) -> None:
        free = sum(1 for one in self.slots if not one.pid and one.not_before <= self.now)
        self.slots += [Slot(len(self.slots) + index) for index in range(FREE_SLOTS - free)]

    def _carry_out(self, action: Action, slot: Slot) -> None:
        if isinstance(action, Spawn):
            assert not slot.pid
            assert not self.pool.is_stopping
            self._last_pid += 1
            slot.take(self._last_pid, self.pool.generation, self.now, luck=self._last_pid % 10 / 10)
            self.seen[slot.index] = Seen(WorkerState.STARTING, beat=self.now, due=self.now)
            self.past = replace(self.past, spawned_at=self.now)
            self.started.append((self.now, slot.index))
        elif isinstance(action, Drain):
            assert slot.pid
            slot.tell(self.now, action.reason)
            if action.reason is Reason.SURPLUS:
                self.past = replace(self.past, shrunk_at=self.now)
        elif isinstance(action, Kill):
            assert not slot.is_killed
            self.cut_off.append(slot.pid)
            slot.kill()
        else:
            assert isinstance(action, (Dump, Clear))
            slot.suspect(self.now) if isinstance(action, Dump) else slot.clear()


def is_hanging(actions: list[Action]) -> bool:
    """Was one told to end that does not serve any more whatever its state says?"""
    return any(isinstance(action, Drain) and action.reason is Reason.HANG for action in actions)


# ---- anything may happen

POOLS = st.one_of(
    st.integers(1, 4).map(lambda n: Pool(1, n, n, drain_timeout_s=5.0)),
    st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 6)).map(
        lambda n: Pool(1, 0, n[0] + n[1] + n[2], n[0], n[0] + n[1], drain_timeout_s=5.0, max_sessions=3)
    ),
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["die", "ready", "busy", "idle", "hang"]), st.integers(0, 20)),
        st.tuples(st.just("reload"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 6.0, 70.0])),
    ),
    max_size=40,
)


def play(master: Master, life: list[tuple[str, float]]) -> None:
    """Let these things happen one after another, each seen by the loop."""
    changes = {
        "ready": (WorkerState.STARTING, WorkerState.IDLE),
        "busy": (WorkerState.IDLE, WorkerState.BUSY),
        "idle": (WorkerState.BUSY, WorkerState.IDLE),
    }
    master.act()
    for kind, value in life:
        alive = master.alive()
        if kind in changes:
            before, after = changes[kind]
            for slot in master.are(before)[: int(value)]:
                master.become(slot, after)
        elif kind == "die" and alive:
            master.die(alive[int(value) % len(alive)])
        elif kind == "hang" and alive:
            index = alive[int(value) % len(alive)].index
            master.seen[index] = replace(master.seen[index], due=0.0)
        elif kind == "reload":
            master.pool = replace(master.pool, generation=master.pool.generation + 1)
        elif kind == "wait":
            master.now += value
        master.act()


def settle(master: Master) -> None:
    """Time goes by in which sessions end, new workers get ready, and those that were told or killed are gone."""
    for _ in range(150):
        master.now += 2.0
        for slot in master.alive():
            if slot.is_killed or (slot.told_at and slot.reason is not Reason.HANG):
                master.die(slot)
            elif master.seen[slot.index].due:
                master.become(slot, WorkerState.IDLE)
        master.act()


@settings(max_examples=150, deadline=None)
@given(pool=POOLS, life=EVENTS)
def test_whatever_happens_no_rule_is_broken(pool: Pool, life: list[tuple[str, float]]) -> None:
    """The rules are the assertions of ``Master``: not too many workers, one that serves, no action again and again."""
    play(Master(pool), life)


@settings(max_examples=100, deadline=None)
@given(pool=POOLS, life=EVENTS)
def test_in_the_end_as_many_workers_as_are_wanted_serve(pool: Pool, life: list[tuple[str, float]]) -> None:
    master = Master(pool)
    play(master, life)
    master.pool = replace(master.pool, max_sessions=0)
    settle(master)
    assert all(slot.generation == master.pool.generation for slot in master.alive())
    assert pool.floor <= len(master.serving()) <= max(pool.floor, min(pool.max_spare, pool.max_workers))


@settings(max_examples=60, deadline=None)
@given(pool=POOLS, life=EVENTS)
def test_a_stopping_master_gets_rid_of_every_worker(pool: Pool, life: list[tuple[str, float]]) -> None:
    master = Master(pool)
    play(master, life)
    master.pool = replace(master.pool, is_stopping=True)
    master.act()
    settle(master)
    assert not master.alive()


def test_a_worker_that_always_dies_at_boot_is_tried_less_and_less_often() -> None:
    master = Master(Pool(1, 0, 100, min_spare=4, max_spare=10))
    for _ in range(6000):
        master.act()
        for slot in master.alive():
            master.die(slot)
        master.now += 0.1
    tries = [sum(1 for at, _ in master.started if start <= at - NOW < start + 60) for start in range(0, 600, 60)]
    assert tries[0] <= 40
    assert max(tries[3:]) <= 8


def test_once_the_fault_is_mended_a_new_generation_starts_at_once() -> None:
    master = Master(Pool(1, 4, 4))
    for _ in range(100):
        master.act()
        for slot in master.alive():
            master.die(slot)
        master.now += 1.0
    master.pool = replace(master.pool, generation=2)
    master.past = Past()
    master.act()
    assert len(master.alive()) == 4


# ---- a day's load

START_S = 0.02
"""How long a worker takes from its fork to serving."""

HOUR_S = 30.0
"""A short day: what matters to the pool happens within seconds."""


class Day:
    """Poisson arrivals, busy by day and quiet by night, served by a pool; each waits in the queue until one is idle."""

    def __init__(self, pool: Pool, seed: int, death_every: int = 0) -> None:
        self.random = random.Random(seed)
        self.master = Master(pool)
        self.waits: list[float] = []
        self.sizes: list[tuple[float, int, int]] = []
        self.lost = 0
        self._queue: list[float] = []
        self._busy: dict[int, int] = {}
        self._death_every = death_every
        self._play(24 * HOUR_S)

    def rate(self, at_s: float) -> float:
        """Sessions per second: 0.2 at night, 8 at noon."""
        return 0.2 + 7.8 * max(0.0, math.sin((at_s / HOUR_S - 6.0) / 12.0 * math.pi))

    def _play(self, length_s: float) -> None:
        events: list[tuple[float, str, int]] = [(NOW + tick, "tick", 0) for tick in range(int(length_s))]
        at = 0.0
        while at < length_s:  # thinning: the rate never exceeds 8
            at += self.random.expovariate(8.0)
            if self.random.random() < self.rate(at) / 8.0:
                events.append((NOW + at, "arrival", 0))
        heapq.heapify(events)
        while events:
            self.master.now, kind, pid = heapq.heappop(events)
            if kind == "arrival":
                self._queue.append(self.master.now)
            elif kind == "end":
                self._end(pid)
            elif (
                kind == "tick"
                and self._death_every
                and self.master.alive()
                and self.random.random() < 1.0 / self._death_every
            ):
                self._kill()
            self._serve(events, kind)

    def _serve(self, events: list[tuple[float, str, int]], kind: str) -> None:
        """The kernel's part, then the loop's: woken by a tick, a death, a ready worker, too few idle ones."""
        master = self.master
        for slot in master.alive():
            is_up = master.now - slot.started >= START_S
            if is_up and master.seen[slot.index].state is WorkerState.STARTING:
                master.become(slot, WorkerState.IDLE)
            if slot.told_at and master.seen[slot.index].state is not WorkerState.BUSY:
                master.die(slot)
        idle = [slot for slot in master.are(WorkerState.IDLE) if not slot.told_at]
        for slot, arrived in zip(idle, list(self._queue)):
            self._queue.remove(arrived)
            self.waits.append(master.now - arrived)
            master.become(slot, WorkerState.BUSY)
            heapq.heappush(events, (master.now + self.random.expovariate(1 / 5.0), "end", slot.pid))
        if kind != "end" and (kind != "arrival" or len(idle) - 1 < master.pool.min_spare):
            before = len(master.started)
            master.act()
            if len(master.started) > before:
                heapq.heappush(events, (master.now + START_S, "ready", 0))
        busy = len(master.are(WorkerState.BUSY))
        self.sizes.append((master.now - NOW, len(master.current()), busy))

    def _end(self, pid: int) -> None:
        for slot in self.master.alive():
            if slot.pid == pid:
                self.master.become(slot, WorkerState.IDLE)

    def _kill(self) -> None:
        slot = self.random.choice(self.master.alive())
        self.lost += self.master.seen[slot.index].state is WorkerState.BUSY
        self.master.die(slot)

    def at(self, hour: float) -> list[tuple[int, int]]:
        """Workers and busy ones within an hour."""
        return [(size, busy) for at, size, busy in self.sizes if hour <= at / HOUR_S < hour + 1]


DAYTIME = Pool(1, 0, 110, min_spare=4, max_spare=12)


@pytest.fixture(scope="module")
def day() -> Day:
    return Day(DAYTIME, seed=1)


def test_nobody_waits_longer_than_it_takes_to_start_a_worker(day: Day) -> None:
    assert max(day.waits) <= START_S + 1e-6


def test_nearly_nobody_waits_at_all(day: Day) -> None:
    assert sum(1 for wait in day.waits if wait > 0.0) < 0.02 * len(day.waits)


def test_at_noon_the_pool_is_not_much_larger_than_its_load(day: Day) -> None:
    assert max(size for size, _ in day.at(12)) <= 2 * max(busy for _, busy in day.at(12)) + DAYTIME.max_spare


def test_at_night_the_pool_is_small_again(day: Day) -> None:
    assert max(size for size, _ in day.at(23)) <= max(busy for _, busy in day.at(23)) + DAYTIME.max_spare


def test_the_pool_does_not_swing(day: Day) -> None:
    """A day of nearly 2,000 sessions takes a few hundred workers, and not one each."""
    assert len(day.master.started) < 0.15 * len(day.waits)


def test_no_session_is_cut_off(day: Day) -> None:
    assert day.master.cut_off == []


def test_recycling_costs_no_session_and_nobody_waits_for_it() -> None:
    day = Day(replace(DAYTIME, max_sessions=50, max_age_s=120.0), seed=2)
    assert day.master.cut_off == []
    assert max(day.waits) <= START_S + 1e-6


def test_deaths_all_day_long_cost_their_own_sessions_alone() -> None:
    day = Day(DAYTIME, seed=3, death_every=10)
    assert day.lost > 0
    assert max(day.waits) <= 1.0


def test_a_pool_that_is_too_small_is_used_to_its_limit_and_never_beyond() -> None:
    day = Day(replace(DAYTIME, max_workers=20), seed=4)
    assert max(size for _, size, _ in day.sizes) == 20
    assert len(day.waits) > 1000
