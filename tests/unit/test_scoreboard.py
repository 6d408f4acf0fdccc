"""The scoreboard: one mapping for the master and all that it forks."""

from __future__ import annotations

import os
import signal
from typing import Callable

import pytest

from mmgr.scoreboard import Scoreboard, WorkerState


def in_child(deed: Callable[[], object]) -> None:
    """Do something in a forked process."""
    pid = os.fork()
    if pid == 0:
        try:
            deed()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("capacity", [1, 7, 8, 9, 2048])
def test_a_new_one_is_all_free(capacity: int) -> None:
    assert Scoreboard(capacity).count(WorkerState.FREE) == capacity


@pytest.mark.parametrize("state", WorkerState)
def test_a_state_is_what_was_set_last(state: WorkerState) -> None:
    board = Scoreboard(3)
    board.set_state(1, WorkerState.BUSY)
    board.set_state(1, state)
    assert [board.state(slot) for slot in range(3)] == [WorkerState.FREE, state, WorkerState.FREE]


def test_slots_are_counted_by_state() -> None:
    board = Scoreboard(10)
    for slot in (0, 4, 9):
        board.set_state(slot, WorkerState.BUSY)
    board.set_state(5, WorkerState.IDLE)
    assert {state: board.count(state) for state in WorkerState} == {
        WorkerState.FREE: 6,
        WorkerState.STARTING: 0,
        WorkerState.IDLE: 1,
        WorkerState.BUSY: 3,
        WorkerState.DRAINING: 0,
        WorkerState.RESERVE: 0,
    }


@pytest.mark.parametrize("capacity", [1, 7, 8, 9, 2048])
def test_sessions_of_every_slot_are_kept_apart_and_from_the_states(capacity: int) -> None:
    board = Scoreboard(capacity)
    for slot in range(capacity):
        board.set_sessions(slot, 2**64 - 1 - slot)
    assert [board.sessions(slot) for slot in range(capacity)] == [2**64 - 1 - slot for slot in range(capacity)]
    assert board.count(WorkerState.FREE) == capacity


def test_what_a_forked_process_writes_is_seen_here() -> None:
    board = Scoreboard(4)
    in_child(lambda: (board.set_state(2, WorkerState.IDLE), board.set_sessions(2, 17)))
    assert (board.state(2), board.sessions(2)) == (WorkerState.IDLE, 17)


def test_what_one_forked_process_writes_is_seen_in_another() -> None:
    board = Scoreboard(2)
    in_child(lambda: board.set_sessions(0, 3))
    in_child(lambda: board.set_sessions(1, board.sessions(0) + 1))
    assert board.sessions(1) == 4


def test_two_boards_share_nothing() -> None:
    one, other = Scoreboard(1), Scoreboard(1)
    one.set_state(0, WorkerState.BUSY)
    assert other.state(0) == WorkerState.FREE


# ---- a slot and its workers


def test_a_beat_says_how_long_the_worker_may_be_silent() -> None:
    board = Scoreboard(2)
    board.beat(1, 100.0, within_s=25.0)
    assert (board.record(1).beat, board.record(1).due) == (100.0, 125.0)


def test_a_beat_without_a_limit_is_due_again_at_once() -> None:
    board = Scoreboard(1)
    board.beat(0, 100.0, within_s=25.0)
    board.beat(0, 101.0)
    assert (board.record(0).beat, board.record(0).due) == (101.0, 101.0)


def test_a_slot_that_is_taken_starts_with_its_owner_and_without_sessions() -> None:
    board = Scoreboard(3)
    board.set_sessions(2, 5)
    board.set_stage(2, 77)
    board.begin(2, generation=4, now=50.0)
    board.set_pid(2, 1234)
    record = board.record(2)
    assert (record.pid, record.generation, record.started, record.beat, record.sessions) == (1234, 4, 50.0, 50.0, 0)
    assert (board.state(2), board.stage(2)) == (WorkerState.STARTING, 0)


def test_accepted_and_negotiated_are_of_the_slot_alone() -> None:
    board = Scoreboard(2)
    board.begin_session(0, 7.0, 7.0)
    board.set_negotiated(0, 8.0)
    assert [(one.accepted, one.negotiated) for one in map(board.record, (0, 1))] == [(7.0, 8.0), (0.0, 0.0)]


def test_only_slots_that_were_ever_used_are_listed() -> None:
    board = Scoreboard(100)
    board.begin(4, 1, 1.0)
    board.begin(2, 1, 1.0)
    assert (board.slots_used, len(board.records()), len(board.states())) == (5, 5, 5)


def test_the_sum_of_sessions_keeps_those_of_workers_that_are_gone() -> None:
    board = Scoreboard(2)
    for sessions in (3, 4):
        board.begin(0, 1, 1.0)
        in_child(lambda sessions=sessions: board.set_sessions(0, sessions))
    board.begin(1, 1, 1.0)
    board.set_sessions(1, 10)
    assert (board.sessions_total(), board.sessions(0)) == (17, 4)


def test_what_the_master_wants_is_seen_by_a_worker() -> None:
    board = Scoreboard(1)
    board.want_spare(4)
    board.set_overloaded(True)
    in_child(lambda: board.set_sessions(0, board.spare_wanted * 10 + board.is_overloaded))
    assert board.sessions(0) == 41


def test_the_parts_of_a_slot_do_not_overlap() -> None:
    board = Scoreboard(2)
    board.begin(1, 9, 3.0)
    board.set_pid(1, 2**31 - 1)
    board.set_sessions(1, 2**64 - 1)
    board.begin_session(1, 6.0, 6.5)
    board.beat(1, 4.0, 1.0)
    board.set_negotiated(1, 7.0)
    board.set_stage(1, 255)
    assert board.record(1) == (2**64 - 1, 0, 4.0, 5.0, 6.0, 7.0, 3.0, 2**31 - 1, 9)
    assert (board.state(1), board.state(0), board.stage(0)) == (WorkerState.BUSY, WorkerState.FREE, 0)


def test_a_session_that_ends_leaves_an_idle_slot_that_counts_it() -> None:
    board = Scoreboard(2)
    board.begin(1, 9, 3.0)
    board.begin_session(1, 6.0, 6.5)
    board.set_stage(1, 255)
    board.end_session(1, 17, 8.0, 9.0)
    record = board.record(1)
    assert (record.sessions, record.beat, record.due, record.accepted) == (17, 8.0, 9.0, 6.0)
    assert (board.state(1), board.stage(1)) == (WorkerState.IDLE, 0)


def test_a_reader_never_sees_half_of_a_write() -> None:
    """In another process, as zeroes in place of a number last for less than a switch between threads."""
    board = Scoreboard(2)
    board.begin(0, 1, 1.0)
    board.set_sessions(0, 5)
    board.beat(0, 1.0, 6.0)
    pid = os.fork()
    if pid == 0:
        sessions = 5
        while True:
            sessions += 1
            board.begin_session(0, float(sessions), sessions + 6.0)
            board.end_session(0, sessions, float(sessions), sessions + 6.0)
            board.beat(0, float(sessions), 6.0)
    try:
        seen, total = set(), 0
        for _ in range(200_000):
            record = board.record(0)
            seen |= {name for name in ("beat", "due", "sessions") if not getattr(record, name)}
            assert board.sessions_total() >= total
            total = board.sessions_total()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert (seen, total > 5) == (set(), True)
