"""The scoreboard: one mapping for the master and all that it forks."""

from __future__ import annotations

import os
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
