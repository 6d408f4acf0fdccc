"""What workers were started for: whom they stand in for comes before what the pool reckons."""

from __future__ import annotations

from mmgr.master.births import Births
from mmgr.master.policy import Past, Pool, Seen, Spawn, decide
from mmgr.master.slots import Slot, Start
from mmgr.scoreboard import WorkerState


def counted(births: Births) -> dict[str, int]:
    return {start.value: number for start, number in births.counted.items() if number}


def test_every_reason_is_there_from_the_beginning() -> None:
    assert Births().counted == dict.fromkeys(Start, 0)


def test_the_first_generation_is_a_start_and_later_ones_are_reloads() -> None:
    births = Births()
    births.count(Start.RELOAD, 1)
    births.count(Start.RELOAD, 2)
    assert counted(births) == {"start": 1, "reload": 1}


def test_a_death_is_made_up_for_once() -> None:
    births = Births()
    births.expect(Start.DEATH)
    births.look(is_calm=False)
    births.count(Start.GROWTH, 1)
    births.count(Start.GROWTH, 1)
    assert counted(births) == {"death": 1, "growth": 1}


def test_a_hang_comes_before_a_death() -> None:
    births = Births()
    births.expect(Start.DEATH)
    births.expect(Start.HANG)
    births.count(Start.GROWTH, 1)
    assert counted(births) == {"hang": 1}


def test_the_reserve_makes_up_for_nobody() -> None:
    births = Births()
    births.expect(Start.DEATH)
    births.count(Start.RESERVE, 1)
    assert counted(births) == {"reserve": 1}


def test_a_death_that_needed_no_other_worker_is_forgotten_once_all_is_calm() -> None:
    births = Births()
    births.expect(Start.DEATH)
    births.look(is_calm=True)
    births.look(is_calm=True)
    births.count(Start.GROWTH, 1)
    assert counted(births) == {"growth": 1}


def test_a_death_is_not_forgotten_while_its_slot_waits() -> None:
    births = Births()
    births.expect(Start.DEATH)
    for _ in range(10):
        births.look(is_calm=False)
    births.count(Start.GROWTH, 1)
    assert counted(births) == {"death": 1}


# ---- the pool's reckoning


def starts(states: list[WorkerState], pool: Pool, sessions: int = 0) -> list[Start]:
    """What new workers are for beside workers in these states; four slots are free."""
    slots = [Slot(index) for index in range(len(states) + 4)]
    for slot, _ in zip(slots, states):
        slot.take(100 + slot.index, pool.generation, 0.0)
    seen = {index: Seen(state, sessions) for index, state in enumerate(states)}
    return [action.start for action in decide(slots, seen, pool, Past(), 1.0) if isinstance(action, Spawn)]


def test_workers_of_a_new_generation_are_for_the_reload() -> None:
    assert starts([], Pool(2, 2, 2)) == [Start.RELOAD, Start.RELOAD]


def test_workers_beyond_the_floor_are_growth() -> None:
    assert starts([WorkerState.BUSY, WorkerState.BUSY], Pool(1, 0, 8, min_spare=2)) == [Start.GROWTH, Start.GROWTH]


def test_the_stand_in_of_a_worn_worker_is_for_recycling() -> None:
    assert starts([WorkerState.IDLE], Pool(1, 1, 1, max_sessions=10), sessions=10) == [Start.RECYCLE]


def test_the_reserve_is_the_reserve() -> None:
    assert starts([WorkerState.IDLE], Pool(1, 1, 1, has_reserve=True)) == [Start.RESERVE]
