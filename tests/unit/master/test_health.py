"""Does the instance serve? A table of workers at one moment."""

from __future__ import annotations

import pytest

from mmgr.master.health import LATE_S, MTA_PATIENCE_S, UNANSWERED_MANY, UNANSWERED_S, problem
from mmgr.master.slots import Slot
from mmgr.scoreboard import Record, WorkerState
from workers.mta import FIRST_TIMEOUT_S, IDLE_TIMEOUT_S
from workers.session import NEGOTIATION_BUDGET_S

NOW = 10_000.0
LONG_AGO = NOW - UNANSWERED_S - 1.0

Worker = tuple[WorkerState, dict[str, float]]


def worker(state: WorkerState, **values: float) -> Worker:
    """One that was heard of just now, unless values say otherwise: times of its record, or marks of its slot."""
    return state, values


IDLE = worker(WorkerState.IDLE)
BUSY = worker(WorkerState.BUSY, accepted=NOW - 500.0, negotiated=NOW - 499.0)
STARTING = worker(WorkerState.STARTING)
SILENT = worker(WorkerState.IDLE, due=NOW - LATE_S - 1.0)
LATE = worker(WorkerState.IDLE, due=NOW - LATE_S + 0.5)
WAITS_FOR_MTA = worker(WorkerState.BUSY, beat=NOW - 5000.0, due=NOW - 5000.0 + IDLE_TIMEOUT_S)
SUSPECTED = worker(WorkerState.BUSY, suspected=NOW - 1.0)
TOLD = worker(WorkerState.BUSY, told=NOW - 1.0)
RESERVE = worker(WorkerState.RESERVE, reserve=1)
STUCK = worker(WorkerState.BUSY, accepted=LONG_AGO)
QUIET_MTA = worker(WorkerState.BUSY, accepted=LONG_AGO, beat=LONG_AGO + 1.0, due=LONG_AGO + 1.0 + IDLE_TIMEOUT_S)
JUST_ACCEPTED = worker(WorkerState.BUSY, accepted=NOW - 1.0)
ANSWERED_LATELY = worker(WorkerState.BUSY, accepted=NOW - 5.0, negotiated=NOW - 4.0)
ANSWERED_BEFORE = worker(WorkerState.IDLE, accepted=LONG_AGO - 5.0, negotiated=LONG_AGO - 4.0)


def found(workers: list[Worker]) -> str:
    slots, states, records = [], [], []
    for index, (state, given) in enumerate(workers):
        slot = Slot(index)
        slot.take(100 + index, 1, NOW - 9000.0, bool(given.get("reserve")))
        slot.told_at, slot.suspected_at = given.get("told", 0.0), given.get("suspected", 0.0)
        due, beat = given.get("due", NOW + 6.0), given.get("beat", NOW - 10.0)
        slots.append(slot)
        states.append(state)
        records.append(Record(0, 0, beat, due, given.get("accepted", 0), given.get("negotiated", 0), 0.0, slot.pid, 1))
    return problem(slots, states, records, NOW)


@pytest.mark.parametrize(
    "workers",
    [
        [IDLE],
        [BUSY],
        [BUSY, BUSY, BUSY],
        [SILENT, IDLE],
        [SILENT, BUSY],
        [LATE],
        [WAITS_FOR_MTA],
        [STARTING, BUSY],
        [TOLD, IDLE],
        [JUST_ACCEPTED],
        [JUST_ACCEPTED] * 10,
        [QUIET_MTA] * 5,
        [STUCK, IDLE],
        [STUCK] * (UNANSWERED_MANY - 1) + [IDLE],
        [STUCK, ANSWERED_LATELY],
        [STUCK] * 20 + [ANSWERED_LATELY],
    ],
)
def test_it_serves(workers: list[Worker]) -> None:
    assert found(workers) == ""


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        ([], "no worker serves (0 starting)"),
        ([STARTING, STARTING], "no worker serves (2 starting)"),
        ([TOLD, STARTING], "no worker serves (1 starting)"),
        ([RESERVE], "no worker serves (0 starting)"),
        ([SILENT, SILENT], "no worker is well (2 silent)"),
        ([SILENT, RESERVE], "no worker is well (1 silent)"),
        ([SUSPECTED, SILENT], "no worker is well (2 silent)"),
        ([STUCK], "no negotiation was answered for 60 s (1 waiting)"),
        ([STUCK, BUSY], "no negotiation was answered for 60 s (1 waiting)"),
        ([STUCK, SILENT], "no negotiation was answered for 60 s (1 waiting)"),
        (
            [STUCK] * UNANSWERED_MANY + [IDLE],
            "no negotiation was answered for 60 s (3 waiting)",
        ),
        ([STUCK] * UNANSWERED_MANY + [ANSWERED_BEFORE], "no negotiation was answered for 60 s (3 waiting)"),
    ],
)
def test_it_does_not_serve(workers: list[Worker], why: str) -> None:
    assert found(workers).startswith(why)


def test_nothing_that_an_mta_does_takes_a_worker_beyond_the_limit() -> None:
    assert IDLE_TIMEOUT_S >= MTA_PATIENCE_S
    assert FIRST_TIMEOUT_S + NEGOTIATION_BUDGET_S < UNANSWERED_S


def test_a_slot_without_a_worker_does_not_count() -> None:
    assert problem([Slot(0)], [WorkerState.IDLE], [Record(0, 0, NOW, NOW, 0, 0, 0, 0, 0)], NOW) != ""


def test_an_answer_of_a_worker_that_is_gone_counts() -> None:
    gone = Record(0, 0, NOW, NOW, NOW - 3.0, NOW - 2.0, 0.0, 0, 1)
    slot = Slot(1)
    slot.take(101, 1, NOW - 9000.0)
    stuck = Record(0, 0, NOW, NOW + 6.0, LONG_AGO, 0.0, 0.0, 101, 1)
    assert problem([Slot(0), slot], [WorkerState.FREE, WorkerState.BUSY], [gone, stuck], NOW) == ""
