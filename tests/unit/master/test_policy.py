"""What the master does next: tables of (slots, pool, now) -> actions, and a small simulation of a whole life."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.master.policy import Action, Drain, Kill, Pool, Spawn, decide, next_due
from mmgr.master.slots import Slot

NOW = 1000.0
TWO = Pool(n_workers=2, generation=1, drain_timeout_s=300.0)
LIMIT_S = 1.0


def free(index: int, not_before: float = 0.0) -> Slot:
    return Slot(index, not_before=not_before)


def worker(index: int, generation: int = 1, told_at: float = 0.0, is_killed: bool = False) -> Slot:
    return Slot(index, 100 + index, generation, NOW - 60.0, told_at, is_killed)


def ready(*slots: int, **changes: object) -> Pool:
    return replace(TWO, ready=slots, **changes)


TABLE: dict[str, tuple[list[Slot], Pool, list[Action]]] = {
    "nothing runs yet": ([free(0), free(1)], TWO, [Spawn(0), Spawn(1)]),
    "all is as wanted": ([worker(0), worker(1)], ready(0, 1), []),
    "one that starts counts": ([worker(0), worker(1)], ready(0), []),
    "one died": ([worker(0), free(1)], ready(0), [Spawn(1)]),
    "one died and waits for its next try": ([worker(0), free(1, NOW + 0.1)], ready(0), []),
    "the wait is over": ([worker(0), free(1, NOW)], ready(0), [Spawn(1)]),
    "another slot is free meanwhile": ([worker(0), free(1, NOW + 9), free(2)], ready(0), [Spawn(2)]),
    "more slots than workers": ([free(0), free(1), free(2)], TWO, [Spawn(0), Spawn(1)]),
    "a drained one is replaced": ([worker(0), worker(1, told_at=NOW - 1), free(2)], ready(0, 1), [Spawn(2)]),
    "a drained one in the only other slot": ([worker(0), worker(1, told_at=NOW - 1)], ready(0, 1), []),
    "reload begins": ([worker(0), worker(1), free(2), free(3)], ready(0, 1, generation=2), [Spawn(2), Spawn(3)]),
    "reload, the new are not ready": (
        [worker(0), worker(1), worker(2, 2), worker(3, 2)],
        ready(0, 1, generation=2),
        [],
    ),
    "reload, one of the new is ready": (
        [worker(0), worker(1), worker(2, 2), worker(3, 2)],
        ready(0, 1, 2, generation=2),
        [],
    ),
    "reload, all of the new are ready": (
        [worker(0), worker(1), worker(2, 2), worker(3, 2)],
        ready(0, 1, 2, 3, generation=2),
        [Drain(0), Drain(1)],
    ),
    "reload, a new one died again": (
        [worker(0), worker(1), worker(2, 2), free(3, NOW + 5)],
        ready(0, 1, 2, generation=2),
        [],
    ),
    "reload, an old one died": ([free(0), worker(1), worker(2, 2), worker(3, 2)], ready(1, 2, generation=2), []),
    "reload during a reload": (
        [worker(0), worker(1), worker(2, 2), worker(3, 2), free(4), free(5)],
        ready(0, 1, 2, 3, generation=3),
        [Spawn(4), Spawn(5)],
    ),
    "both older generations drain": (
        [worker(0), worker(1, 2), worker(2, 3), worker(3, 3)],
        ready(2, 3, generation=3),
        [Drain(0), Drain(1)],
    ),
    "reload to fewer workers": (
        [worker(0), worker(1), worker(2, 2)],
        ready(0, 1, 2, generation=2, n_workers=1),
        [Drain(0), Drain(1)],
    ),
    "fewer workers at once": ([worker(0), worker(1), worker(2)], ready(0, 1, 2), [Drain(2)]),
    "fewer workers, one that serves stays": (
        [worker(0), worker(1), worker(2)],
        ready(2, n_workers=1),
        [Drain(0), Drain(1)],
    ),
    "more workers": ([worker(0), worker(1), free(2)], ready(0, 1, n_workers=3), [Spawn(2)]),
    "stopping": ([worker(0), worker(1), free(2)], ready(0, 1, is_stopping=True), [Drain(0), Drain(1)]),
    "stopping, told already": ([worker(0, told_at=NOW - 1), free(1)], ready(0, is_stopping=True), []),
    "stopping, a death is no reason to spawn": ([free(0), free(1)], ready(is_stopping=True), []),
    "stopping in mid-reload": (
        [worker(0, told_at=NOW - 1), worker(1, 2)],
        ready(0, 1, generation=2, is_stopping=True),
        [Drain(1)],
    ),
    "drained too long": ([worker(0), worker(1), worker(2, told_at=NOW - 300)], ready(0, 1), [Kill(2)]),
    "drained nearly too long": ([worker(0), worker(1), worker(2, told_at=NOW - 299.9)], ready(0, 1), []),
    "killed once": ([worker(0), worker(1), worker(2, told_at=NOW - 900, is_killed=True)], ready(0, 1), []),
    "killed while stopping": (
        [worker(0, told_at=NOW - 300), worker(1, told_at=NOW - 1)],
        ready(is_stopping=True),
        [Kill(0)],
    ),
    "no patience at all": ([worker(0, told_at=NOW)], ready(is_stopping=True, drain_timeout_s=0.0), [Kill(0)]),
    "no workers wanted": ([worker(0), free(1)], ready(0, n_workers=0), [Drain(0)]),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_actions_that_are_due_are_those_of_the_table(name: str) -> None:
    slots, pool, actions = TABLE[name]
    assert decide(slots, pool, NOW) == actions


DUE: dict[str, tuple[list[Slot], Pool, float]] = {
    "nothing": ([worker(0), worker(1)], TWO, LIMIT_S),
    "a free slot that may be used already": ([free(0)], TWO, LIMIT_S),
    "a slot that waits": ([free(0, NOW + 0.25)], TWO, 0.25),
    "the first of two": ([free(0, NOW + 0.5), free(1, NOW + 0.25)], TWO, 0.25),
    "a wait beyond the limit": ([free(0, NOW + 60)], TWO, LIMIT_S),
    "the wait of a slot that is taken": ([replace(worker(0), not_before=NOW + 0.25)], TWO, LIMIT_S),
    "a draining worker's deadline": ([worker(0, told_at=NOW - 299.5)], TWO, 0.5),
    "a deadline that has passed": ([worker(0, told_at=NOW - 400)], TWO, 0.0),
    "a killed one": ([worker(0, told_at=NOW - 400, is_killed=True)], TWO, LIMIT_S),
}


@pytest.mark.parametrize("name", DUE)
def test_time_alone_wakes_the_loop_when_the_table_says(name: str) -> None:
    slots, pool, expected = DUE[name]
    assert next_due(slots, pool, NOW, LIMIT_S) == pytest.approx(expected)


def test_a_worker_that_drained_too_long_is_killed_at_the_moment_that_was_announced() -> None:
    slot = worker(0, told_at=NOW)
    wait_s = next_due([slot], replace(TWO, drain_timeout_s=0.5), NOW, LIMIT_S)
    assert decide([slot], replace(TWO, drain_timeout_s=0.5, n_workers=0), NOW + wait_s) == [Kill(0)]


# ---- a whole life


class Master:
    """Carries the actions out on slots, as ``mmgr.master.supervisor`` does, with workers that exist on paper only."""

    def __init__(self, n_workers: int) -> None:
        self.now = NOW
        self.slots: list[Slot] = []
        self.ready: set[int] = set()
        self.killed: list[int] = []
        self.pool = Pool(n_workers, 1, 5.0)
        self._last_pid = 0

    def act(self) -> None:
        """What the loop does at this moment, until nothing more is due."""
        for _ in range(4):
            served = self.serving()
            self._make_slots()
            actions = decide(self.slots, replace(self.pool, ready=frozenset(self.ready)), self.now)
            if not actions:
                break
            for action in actions:
                self._carry_out(action, self.slots[action.slot])
            assert not served or self.serving() or self.pool.is_stopping or not self.pool.n_workers
        else:
            pytest.fail(f"the same actions again and again: {actions}")
        assert len(self.current()) <= self.pool.n_workers

    def current(self) -> list[Slot]:
        return [one for one in self.slots if one.pid and one.generation == self.pool.generation and not one.told_at]

    def serving(self) -> list[Slot]:
        return [one for one in self.slots if one.pid and not one.told_at and one.index in self.ready]

    def alive(self) -> list[Slot]:
        return [one for one in self.slots if one.pid]

    def die(self, slot: Slot) -> None:
        self.ready.discard(slot.index)
        slot.free(self.now)

    def _make_slots(self) -> None:
        old = sum(1 for one in self.alive() if one.told_at or one.generation != self.pool.generation)
        self.slots += [Slot(index) for index in range(len(self.slots), self.pool.n_workers + old)]

    def _carry_out(self, action: Action, slot: Slot) -> None:
        if isinstance(action, Spawn):
            assert not slot.pid
            assert not self.pool.is_stopping
            self._last_pid += 1
            slot.take(self._last_pid, self.pool.generation, self.now)
            self.ready.discard(slot.index)
        elif isinstance(action, Drain):
            assert slot.pid
            slot.tell(self.now)
        else:
            assert slot.pid not in self.killed
            self.killed.append(slot.pid)
            slot.kill()


events = st.lists(
    st.one_of(
        st.tuples(st.just("die"), st.integers(0, 20)),
        st.tuples(st.just("ready"), st.integers(0, 20)),
        st.tuples(st.just("reload"), st.integers(1, 4)),
        st.tuples(st.just("resize"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 6.0, 70.0])),
    ),
    max_size=30,
)


def play(master: Master, life: list[tuple[str, float]]) -> None:
    """Let these things happen one after another, each seen by the loop."""
    master.act()
    for kind, value in life:
        alive = master.alive()
        if kind == "die" and alive:
            master.die(alive[int(value) % len(alive)])
        elif kind == "ready" and alive:
            master.ready.add(alive[int(value) % len(alive)].index)
        elif kind == "reload":
            master.pool = replace(master.pool, generation=master.pool.generation + 1, n_workers=int(value))
        elif kind == "resize":
            master.pool = replace(master.pool, n_workers=int(value))
        elif kind == "wait":
            master.now += value
        master.act()


def settle(master: Master) -> None:
    """Time goes by in which new workers get ready and killed ones are gone."""
    for _ in range(12):
        master.now += 30.0
        for slot in master.alive():
            if slot.is_killed:
                master.die(slot)
            elif not slot.told_at:
                master.ready.add(slot.index)
        master.act()


@settings(max_examples=100, deadline=None)
@given(n_workers=st.integers(1, 4), life=events)
def test_whatever_happens_no_rule_is_broken(n_workers: int, life: list[tuple[str, float]]) -> None:
    """The rules are the assertions of ``Master``: not too many workers, one that serves, no action again and again."""
    play(Master(n_workers), life)


@settings(max_examples=100, deadline=None)
@given(n_workers=st.integers(1, 4), life=events)
def test_in_the_end_exactly_the_workers_that_are_wanted_serve(n_workers: int, life: list[tuple[str, float]]) -> None:
    master = Master(n_workers)
    play(master, life)
    settle(master)
    assert len(master.serving()) == master.pool.n_workers
    assert all(slot.generation == master.pool.generation for slot in master.alive())


@settings(max_examples=60, deadline=None)
@given(n_workers=st.integers(1, 4), life=events)
def test_a_stopping_master_gets_rid_of_every_worker(n_workers: int, life: list[tuple[str, float]]) -> None:
    master = Master(n_workers)
    play(master, life)
    master.pool = replace(master.pool, is_stopping=True)
    master.act()
    settle(master)
    assert not master.alive()
