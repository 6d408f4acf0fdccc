"""What the service manager is told and when: a master with the test's own clock, and a real socket at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmgr.master.notify import Notifier
from mmgr.master.reporting import CONFIRM_S, EXTEND_AFTER_S, STATUS_EVERY_S, STOP_MARGIN_S, Phase, Reporter, status_text
from mmgr.master.results import ReloadResult
from mmgr.master.slots import Slot
from mmgr.scoreboard import Scoreboard, WorkerState
from tests.support.servicemanager import ServiceManager

WATCHDOG_S = 10.0
DRAIN_S = 60.0


class Master:
    """As much of a crew and a reloader as a reporter looks at, and a clock that only ``turn`` moves."""

    def __init__(self, manager: ServiceManager, watchdog_s: float) -> None:
        self.manager = manager
        self.now = 1000.0
        self.last_death = ""
        self.scoreboard = Scoreboard(4)
        self.slots: list[Slot] = []
        self.blueprint = SimpleNamespace(generation=1)
        self.pool = SimpleNamespace(drain_timeout_s=DRAIN_S)
        self.last_result: ReloadResult | None = None
        crew: Any = self
        reloader: Any = self
        self.reporter = Reporter(Notifier(manager.address, watchdog_s), crew, reloader)

    @property
    def alive(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.pid]

    @property
    def is_serving(self) -> bool:
        return bool(self.scoreboard.count(WorkerState.IDLE) or self.scoreboard.count(WorkerState.BUSY))

    def work(self, number: int, state: WorkerState = WorkerState.IDLE) -> None:
        """So many workers are in that state, and promise to be well for ever."""
        self.slots = [Slot(index) for index in range(number)]
        for slot in self.slots:
            slot.take(100 + slot.index, 1, self.now)
            self.scoreboard.begin(slot.index, 1, self.now)
            self.scoreboard.set_state(slot.index, state)
            self.scoreboard.beat(slot.index, self.now, 1e9)

    def be_silent(self) -> None:
        for slot in self.slots:
            self.scoreboard.beat(slot.index, self.now - 100.0)

    def turn(self, after_s: float = 0.0) -> None:
        """One round of the loop."""
        self.now += after_s
        self.reporter.act(self.now)
        assert self.manager.messages is not None  # as systemd does, it reads at once

    def turns(self, number: int, after_s: float = 1.0) -> None:
        for _ in range(number):
            self.turn(after_s)

    def told(self, *names: str) -> list[str]:
        return self.manager.told(*names)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path / "notify") as made:
        yield made


@pytest.fixture
def master(manager: ServiceManager) -> Master:
    """One whose first worker does not serve yet."""
    made = Master(manager, WATCHDOG_S)
    made.work(2, WorkerState.STARTING)
    return made


@pytest.fixture
def serving(master: Master) -> Master:
    master.work(2)
    master.turn()
    return master


PHASES = ("READY", "RELOADING", "STOPPING")


def test_it_is_not_ready_before_a_worker_serves(master: Master) -> None:
    master.turns(100)
    assert master.told(*PHASES, "WATCHDOG") == []


def test_before_that_the_status_says_why(master: Master) -> None:
    master.last_death = "worker 1: exit 9 after 0.1 s"
    master.turn()
    (status,) = master.told("STATUS")
    assert status.startswith("STATUS=not serving yet: no worker serves (2 starting); worker 1: exit 9 after 0.1 s;")


def test_it_is_ready_once_a_worker_serves(serving: Master) -> None:
    assert serving.told(*PHASES) == ["READY=1"]
    assert serving.told("STATUS")[-1] == "STATUS=0 busy of 2 workers, generation 1"


def test_a_reload_is_over_when_its_result_is_there(serving: Master) -> None:
    serving.reporter.reloading()
    serving.turns(50)
    assert serving.told(*PHASES) == ["READY=1", "RELOADING=1"]
    serving.reporter.reloaded()
    serving.turn()
    assert serving.told(*PHASES) == ["READY=1", "RELOADING=1", "READY=1"]


def test_a_reload_says_when_it_was_heard_of(serving: Master) -> None:
    before = time.monotonic_ns() // 1000
    serving.reporter.reloading()
    (said,) = serving.told("MONOTONIC_USEC")
    assert before <= int(said.partition("=")[2]) <= time.monotonic_ns() // 1000


def test_reloads_that_come_together_are_over_when_the_last_is(serving: Master) -> None:
    serving.reporter.reloading()
    serving.reporter.reloading()
    serving.reporter.reloaded()
    serving.turn()
    assert serving.told(*PHASES) == ["READY=1", "RELOADING=1", "RELOADING=1"]
    serving.reporter.reloaded()
    serving.turn()
    assert serving.told(*PHASES)[-1] == "READY=1"


def test_a_refused_reload_is_ready_again_and_says_why(serving: Master) -> None:
    serving.reporter.reloading()
    serving.last_result = ReloadResult(False, 1, ("f:7: workers.n_workers: is no number", "f:8: x"))
    serving.reporter.reloaded()
    serving.turn()
    told = serving.manager.wait_for(lambda told: "READY" in told, "READY", since=len(serving.manager.messages) - 2)
    assert told["STATUS"].startswith(
        "last reload refused: f:7: workers.n_workers: is no number (and 1 more); 0 busy of 2 workers"
    )


def test_a_reload_before_the_first_worker_serves_is_not_told(master: Master) -> None:
    master.reporter.reloading()
    master.turn()
    master.reporter.reloaded()
    master.work(2)
    master.turn()
    assert master.told(*PHASES) == ["READY=1"]


def test_a_stop_is_told_once(serving: Master) -> None:
    serving.reporter.stopping(serving.now)
    serving.turns(3)
    assert serving.told(*PHASES) == ["READY=1", "STOPPING=1"]


def test_a_stop_in_a_reload_is_not_ready_again(serving: Master) -> None:
    serving.reporter.reloading()
    serving.reporter.stopping(serving.now)
    serving.reporter.reloaded()
    serving.turns(3)
    assert serving.told(*PHASES) == ["READY=1", "RELOADING=1", "STOPPING=1"]


def test_a_quick_stop_asks_for_no_patience(serving: Master) -> None:
    serving.reporter.stopping(serving.now)
    serving.turns(int(EXTEND_AFTER_S) - 1)
    assert serving.told("EXTEND_TIMEOUT_USEC") == []


def test_a_slow_stop_asks_for_patience_again_and_again(serving: Master) -> None:
    serving.reporter.stopping(serving.now)
    serving.turns(30)
    assert serving.told("EXTEND_TIMEOUT_USEC") == ["EXTEND_TIMEOUT_USEC=30000000"] * 3


def test_a_stop_that_takes_longer_than_workers_may_drain_asks_for_no_more(serving: Master) -> None:
    serving.reporter.stopping(serving.now)
    serving.turns(int(DRAIN_S + STOP_MARGIN_S))
    asked = len(serving.told("EXTEND_TIMEOUT_USEC"))
    serving.turns(100)
    assert len(serving.told("EXTEND_TIMEOUT_USEC")) == asked


# ---- the watchdog


def test_a_sign_of_life_comes_at_half_of_the_time(serving: Master) -> None:
    serving.turns(50)
    assert len(serving.told("WATCHDOG")) == 1 + 50 / (WATCHDOG_S / 2)


def test_without_a_watchdog_there_is_none(manager: ServiceManager) -> None:
    master = Master(manager, 0.0)
    master.work(2)
    master.turns(50)
    assert master.told("WATCHDOG") == []


def test_there_is_none_while_nothing_is_served(serving: Master) -> None:
    serving.be_silent()
    before = len(serving.told("WATCHDOG"))
    serving.turns(50)
    assert len(serving.told("WATCHDOG")) == before


def test_it_comes_at_once_when_sessions_are_served_again(serving: Master) -> None:
    serving.be_silent()
    serving.turns(50)
    before = len(serving.told("WATCHDOG"))
    serving.work(2)
    serving.turn(1.0)
    assert len(serving.told("WATCHDOG")) == before + 1


def test_it_goes_on_while_all_are_busy(serving: Master) -> None:
    serving.work(2, WorkerState.BUSY)
    serving.turns(50)
    assert len(serving.told("WATCHDOG")) == 11


def test_it_goes_on_while_the_daemon_stops(serving: Master) -> None:
    serving.reporter.stopping(serving.now)
    serving.slots = []
    serving.turns(50)
    assert len(serving.told("WATCHDOG")) == 11


def test_the_loop_looks_around_often_enough_for_a_short_watchdog(manager: ServiceManager) -> None:
    assert Master(manager, 0.8).reporter.tick_s == 0.1


# ---- people


def test_a_problem_is_told_at_once(serving: Master) -> None:
    serving.be_silent()
    serving.turn(1.0)
    assert serving.told("STATUS")[-1].startswith("STATUS=NOT serving: no worker is well (2 silent); 0 busy")


def test_a_problem_is_logged_once_when_it_lasts(serving: Master, caplog: pytest.LogCaptureFixture) -> None:
    serving.be_silent()
    with caplog.at_level(logging.INFO):
        serving.turns(int(CONFIRM_S))
        assert caplog.messages == []
        serving.turns(20)
    assert caplog.messages == ['not-serving reason="no worker is well (2 silent)" watchdog_s=10']


def test_the_end_of_a_problem_is_logged(serving: Master, caplog: pytest.LogCaptureFixture) -> None:
    serving.be_silent()
    with caplog.at_level(logging.INFO):
        serving.turns(20)
        serving.work(2)
        serving.turn(1.0)
    assert caplog.messages[1:] == ["serving-again after_s=20.0"]


def test_numbers_that_change_all_the_time_are_told_now_and_then(serving: Master) -> None:
    before = len(serving.told("STATUS"))
    for _ in range(20):
        serving.scoreboard.set_state(0, WorkerState.BUSY)
        serving.turn(0.5)
        serving.scoreboard.set_state(0, WorkerState.IDLE)
        serving.turn(0.5)
    assert len(serving.told("STATUS")) - before <= 20 / STATUS_EVERY_S


def test_a_status_that_is_the_same_is_not_repeated(serving: Master) -> None:
    before = len(serving.told("STATUS"))
    serving.turns(50)
    assert len(serving.told("STATUS")) == before


REFUSED = ReloadResult(False, 2, ("f:7: no",))


@pytest.mark.parametrize(
    ("phase", "reason", "last", "text"),
    [
        (Phase.READY, "", None, "3 busy of 8 workers, generation 2"),
        (Phase.READY, "", ReloadResult(True, 2), "3 busy of 8 workers, generation 2"),
        (Phase.READY, "", REFUSED, "last reload refused: f:7: no; 3 busy of 8 workers, generation 2"),
        (Phase.READY, "why", None, "NOT serving: why; 3 busy of 8 workers, generation 2"),
        (
            Phase.READY,
            "why",
            REFUSED,
            "NOT serving: why; last reload refused: f:7: no; 3 busy of 8 workers, generation 2",
        ),
        (Phase.STARTING, "why", None, "not serving yet: why; 3 busy of 8 workers, generation 2"),
        (Phase.STOPPING, "why", REFUSED, "stopping, sessions left: 3"),
    ],
)
def test_the_status_has_the_trouble_first(phase: Phase, reason: str, last: ReloadResult | None, text: str) -> None:
    assert status_text(phase, 2, 3, 8, reason, last) == text
