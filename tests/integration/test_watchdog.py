"""What the watchdog makes of workers that accept: a master in a process of its own, with less patience than usual."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Callable

import pytest

from mmgr.assignment import Assignment, WorkerEntry
from mmgr.config.model import Config, LogSettings, ManagerSettings, WorkerSettings
from mmgr.endpoint import Endpoint
from mmgr.master import health, reporting
from mmgr.master.listeners import Listener, SocketRights, listen
from mmgr.master.notify import Notifier
from mmgr.master.supervisor import Duties, Supervisor
from mmgr.peers.mta import connect_peer
from mmgr.scoreboard import WorkerState
from tests.integration.rig import PATIENCE, POSTFIX
from tests.support.processes import LabDirectory, connect_to, wait_for
from tests.support.servicemanager import ServiceManager
from workers import main as worker

N_WORKERS = 3
WATCHDOG_S = 0.4
LIMIT_S = 0.8


def never_answers(assignment: Assignment) -> None:
    """A worker's life that takes one connection and then does nothing more, as if it hung."""
    board, slot = assignment.scoreboard, assignment.slot
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    board.beat(slot, time.monotonic(), 1000.0)
    board.set_state(slot, WorkerState.IDLE)
    assignment.tell_master()
    assignment.listeners[0].setblocking(True)
    with assignment.listeners[0].accept()[0]:
        board.begin_session(slot, time.monotonic(), time.monotonic() + 1000.0)
        time.sleep(1000.0)


class Master:
    """The process. Its log goes nowhere."""

    def __init__(self, lab: LabDirectory, life: WorkerEntry) -> None:
        directory = lab.subdirectory("watchdog")
        self.endpoint = Endpoint("unix", path=str(directory / "mm.sock"))
        self.systemd = ServiceManager(directory / "notify")
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                code = self._live(life)
            finally:
                os._exit(code)
        self.systemd.wait_for(lambda told: "READY" in told, "READY=1")

    def _live(self, life: WorkerEntry) -> int:
        config = Config(
            log=LogSettings(use_syslog=False, path=os.devnull),
            manager=ManagerSettings(connection_spec=(self.endpoint,)),
            workers=WorkerSettings(n_workers=N_WORKERS),
        )
        notifier = Notifier(self.systemd.address, WATCHDOG_S)
        duties = Duties(lambda: config, self._listen, life, life, lambda pool, backlog: None, notifier=notifier)
        return Supervisor(config, [self._listen(self.endpoint, config)], duties).run()

    @staticmethod
    def _listen(endpoint: Endpoint, _config: Config) -> Listener:
        return listen(endpoint, SocketRights())

    def wait_for_signs_of_life(self, number: int) -> None:
        """So many more."""
        before = len(self.systemd.told("WATCHDOG"))
        wait_for(lambda: len(self.systemd.told("WATCHDOG")) >= before + number, "signs of life", log=self.last_status)

    def last_status(self) -> str:
        return self.systemd.told("STATUS")[-1]

    def end(self) -> None:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGINT)
            os.kill(self.pid, signal.SIGINT)
            os.waitpid(self.pid, 0)
        self.systemd.__exit__()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(health, "UNANSWERED_S", LIMIT_S)
    monkeypatch.setattr(reporting, "STATUS_EVERY_S", 0.1)
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make(lab: LabDirectory, held: ExitStack) -> Callable[[WorkerEntry], Master]:
    def new(life: WorkerEntry) -> Master:
        made = Master(lab, life)
        held.callback(made.end)
        return made

    return new


def test_workers_that_accept_and_never_answer_end_the_signs_of_life(
    make: Callable[[WorkerEntry], Master], held: ExitStack
) -> None:
    master = make(never_answers)
    master.wait_for_signs_of_life(2)
    for _ in range(N_WORKERS):
        held.enter_context(connect_to(f"unix:{master.endpoint.path}"))
    wait_for(lambda: "no negotiation was answered" in master.last_status(), "a problem", log=master.last_status)
    assert "WATCHDOG" not in master.systemd.messages[-1]


@pytest.mark.parametrize("stage", ["connected", "negotiated", "greeted"])
def test_mtas_that_are_silent_do_not_end_the_signs_of_life(
    make: Callable[[WorkerEntry], Master], held: ExitStack, stage: str
) -> None:
    master = make(worker.run)
    for _ in range(N_WORKERS):
        mta = held.enter_context(connect_peer(master.endpoint, None, PATIENCE, POSTFIX))
        if stage != "connected":
            mta.negotiate()
        if stage == "greeted":
            mta.connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7")
            mta.helo(b"mx.example.net")
    master.wait_for_signs_of_life(int(5 * LIMIT_S / WATCHDOG_S))
    assert not [status for status in master.systemd.told("STATUS") if "NOT serving" in status]
