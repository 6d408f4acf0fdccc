"""What a worker tells the master: state, stage, negotiation, and how long it may be silent."""

from __future__ import annotations

import socket
import time

import pytest

from mmgr.assignment import Assignment
from mmgr.config.model import ChildSettings, Config, WorkerSettings
from mmgr.protocol.constants import Command
from mmgr.scoreboard import Scoreboard, WorkerState
from workers.mta import IDLE_TIMEOUT_S
from workers.pulse import IDLE_GRACE_S, Pulse

LIMIT_S = 0.5 + 1.0 + 11 * 30.0
CHILD = ChildSettings(
    "a", (), connection_timeout_s=0.5, writing_timeout_s=1.0, reading_timeout_s=2.0, end_of_message_timeout_s=30.0
)


class Place:
    """A pulse on slot 1 of 4, its board, and how often the master was told."""

    def __init__(self, hang_timeout_s: float = 30.0) -> None:
        self.board = Scoreboard(4)
        self.told = 0
        self.titles: list[str] = []
        config = Config(workers=WorkerSettings(hang_timeout_s=hang_timeout_s), children=(CHILD,))
        listeners: tuple[socket.socket, ...] = ()
        self.pulse = Pulse(Assignment(1, 1, config, listeners, self.board, -1, self.tell), self.titles.append)

    def tell(self) -> None:
        self.told += 1

    @property
    def patience_s(self) -> float:
        """How long from now the worker may be silent."""
        return round(self.board.record(1).due - time.monotonic(), 1)


def test_an_idle_worker_is_heard_of_again_soon() -> None:
    place = Place()
    place.pulse.become(WorkerState.IDLE)
    assert (place.board.state(1), place.patience_s) == (WorkerState.IDLE, 5.0 + IDLE_GRACE_S)


def test_a_hasty_master_is_told_more_often() -> None:
    place = Place(hang_timeout_s=3.0)
    place.pulse.become(WorkerState.IDLE)
    assert place.patience_s == 1.0 + IDLE_GRACE_S


def test_a_worker_at_a_command_has_the_time_that_its_children_have() -> None:
    place = Place()
    place.pulse.begin_session()
    place.pulse.stage("mail", "")
    assert place.patience_s == pytest.approx(LIMIT_S, abs=0.2)


def test_a_worker_that_waits_for_its_mta_has_the_mtas_time() -> None:
    place = Place()
    place.pulse.stage("mail", "")
    place.pulse.show()
    assert place.patience_s == pytest.approx(IDLE_TIMEOUT_S, abs=0.2)


def test_a_worker_that_waits_for_a_child_has_the_childs_time() -> None:
    place = Place()
    place.pulse.stage("mail", "")
    place.pulse.waiting("a")
    assert place.patience_s == pytest.approx(LIMIT_S, abs=0.2)


def test_a_stage_that_lasts_is_on_the_board_and_goes_with_the_session() -> None:
    place = Place()
    place.pulse.stage("rcpt", "")
    place.pulse.show()
    assert place.board.stage(1) == Command.SMFIC_RCPT
    place.pulse.end_session(1)
    assert place.board.stage(1) == 0


def test_a_session_is_negotiated_once_it_says_so() -> None:
    place = Place()
    place.pulse.begin_session()
    place.pulse.stage("negotiate", "")
    record = place.board.record(1)
    assert record.accepted > record.negotiated == 0.0
    place.pulse.negotiated()
    record = place.board.record(1)
    assert record.negotiated >= record.accepted


def test_a_session_that_ends_after_its_negotiation_is_negotiated() -> None:
    place = Place()
    place.pulse.begin_session()
    place.pulse.stage("negotiate", "")
    place.pulse.end_session(1)
    assert place.board.record(1).negotiated > 0.0


@pytest.mark.parametrize(("idle", "wanted", "told"), [(0, 2, 1), (1, 2, 1), (2, 2, 0), (0, 0, 0)])
def test_the_master_is_told_when_too_few_others_are_idle(idle: int, wanted: int, told: int) -> None:
    place = Place()
    for slot in (0, 2)[:idle]:
        place.board.set_state(slot, WorkerState.IDLE)
    place.board.want_spare(wanted)
    place.pulse.begin_session()
    assert place.told == told
