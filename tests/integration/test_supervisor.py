"""What the supervisor offers to others in its loop: descriptors of theirs, status, reloads with a result, an end.

The supervisor runs in a process of its own with workers that do nothing; the test talks to it through a socket that is
registered with the loop, as a control socket will be.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from errno import ECONNREFUSED, EMFILE, ENOMEM
from typing import Any, Callable

import pytest

from mmgr.assignment import Assignment
from mmgr.config.model import ChildSettings, Config, LogSettings, ManagerSettings, WorkerSettings
from mmgr.endpoint import Endpoint
from mmgr.errors import ConfigError, ConfigErrors
from mmgr.master.listeners import SocketRights, listen
from mmgr.master.overrides import Change, Override
from mmgr.master.supervisor import Duties, Supervisor
from mmgr.scoreboard import WorkerState
from mmgr.tally import stage_index, verdict_index
from tests.support.processes import LabDirectory, wait_for

DIES = "dies"
BROKEN = "broken"
OUT_OF = "out of "
BUSY = "busy"
"""The name of a child with which workers notice nothing, as in a session that lasts."""


def idle(assignment: Assignment) -> None:
    """A worker's life until TERM or the end of the master; its configuration may say that it dies."""
    if assignment.config.log.path == DIES:
        os._exit(9)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    assignment.scoreboard.set_state(assignment.slot, WorkerState.IDLE)
    assignment.scoreboard.beat(assignment.slot, 0.0, 1e12)
    assignment.scoreboard.add(assignment.slot, [(0, stage_index("mail"), verdict_index("reject"), 0.002)])
    assignment.tell_master()
    is_busy = any(child.name == BUSY for child in assignment.config.children)
    select.select([] if is_busy else [assignment.life_fd], [], [])


class Subject:
    """The process, and the test's end of its socket. mode is what the next reading of the configuration gives."""

    def __init__(self, config: Config) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(20.0)
        self._lines = self.ours.makefile("r")
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                self.ours.close()
                code = serve(config, theirs)
            finally:
                os._exit(code)
        theirs.close()

    def ask(self, what: str) -> Any:
        self.ours.sendall(f"{what}\n".encode())
        return json.loads(self._lines.readline())

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("status")
        return found

    def wait_for(self, is_right: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        seen: list[dict[str, Any]] = []

        def found() -> dict[str, Any] | None:
            seen[:] = [self.status()]
            return seen[0] if is_right(seen[0]) else None

        return wait_for(found, what, log=lambda: str(seen))

    def end(self) -> None:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.ours.close()


def serve(config: Config, control: socket.socket) -> int:
    """In the forked process: a supervisor, and a few words on a socket."""
    modes: list[str] = []
    adjust_later: list[int] = []
    during_read, during_write = os.pipe()

    def load() -> Config:
        mode = modes.pop() if modes else ""
        if adjust_later:
            os.write(during_write, b"%d" % adjust_later.pop())
        if mode == BROKEN:
            raise ConfigErrors([ConfigError("f", 7, "workers.n_workers", "is no number")])
        if mode.startswith(OUT_OF):
            number = int(mode[len(OUT_OF) :])
            raise OSError(number, os.strerror(number))
        return replace(config, log=replace(config.log, path=mode))

    def make(endpoint: Endpoint, _config: Config) -> Any:
        return listen(endpoint, SocketRights())

    listeners = [listen(endpoint, SocketRights()) for endpoint in config.manager.connection_spec]
    supervisor = Supervisor(config, listeners, Duties(load, make, idle, idle, lambda pool, backlog: None))

    def say(answer: object) -> None:
        control.sendall(json.dumps(answer).encode() + b"\n")

    def on_ready(_events: int) -> None:
        what, _, mode = control.recv(1000).decode().strip().partition(" ")
        if what == "status":
            say(supervisor.snapshot())
        elif what == "reload":
            modes[:] = [mode]
            supervisor.request_reload(lambda result: say(vars(result)))
        elif what == "milters":
            say(supervisor.milters())
        elif what == "change":
            name, _, word = mode.partition(" ")
            change = Change(name, Override(word) if word else None)
            supervisor.request_change(change, lambda result: say(vars(result)))
        elif what == "reload-and-adjust":
            adjust_later.append(int(mode))
            supervisor.request_reload(lambda result: say(vars(result)))
        elif what == "adjust":
            say(supervisor.adjust(int(mode)))
        else:
            supervisor.unregister(control.fileno())
            say("stopping")
            supervisor.stop()

    def adjust_during_reload(_events: int) -> None:
        supervisor.adjust(int(os.read(during_read, 10)))

    supervisor.register(control.fileno(), on_ready)
    supervisor.register(during_read, adjust_during_reload)
    return supervisor.run()


@pytest.fixture
def make(lab: LabDirectory) -> Iterator[Callable[..., Subject]]:
    made: list[Subject] = []

    def new(child: str = "", **workers: object) -> Subject:
        path = str(lab.subdirectory("supervisor") / "mm.sock")
        config = Config(
            log=LogSettings(use_syslog=False),
            manager=ManagerSettings(connection_spec=(Endpoint("unix", path=path),)),
            workers=WorkerSettings(**workers),  # type: ignore[arg-type]
            children=(ChildSettings(child, ()),) if child else (),
        )
        made.append(Subject(config))
        return made[-1]

    yield new
    for subject in made:
        subject.end()


def is_idle(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status["pool"]["idle"] == number and len(status["workers"]) == number


def test_the_status_lists_every_worker(make: Callable[..., Subject]) -> None:
    status = make(n_workers=3).wait_for(is_idle(3), "three workers")
    assert [(one["worker"], one["state"], one["generation"]) for one in status["workers"]] == [
        (number, "idle", 1) for number in (1, 2, 3)
    ]


def test_a_worker_does_not_keep_a_registered_descriptor(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    (worker, _) = subject.wait_for(is_idle(2), "two workers")["workers"]
    ours = os.fstat(subject.ours.fileno()).st_ino
    theirs = {os.readlink(f"/proc/{worker['pid']}/fd/{fd}") for fd in os.listdir(f"/proc/{worker['pid']}/fd")}
    masters = {os.readlink(f"/proc/{subject.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{subject.pid}/fd")}
    assert len({link for link in masters - theirs if link.startswith("socket:")}) == 1, f"{ours} {masters} {theirs}"


def test_a_reload_is_answered_once_new_workers_serve(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    subject.wait_for(is_idle(2), "two workers")
    assert subject.ask("reload") == {"is_done": True, "generation": 2, "errors": []}
    status = subject.wait_for(is_idle(2), "two workers again")
    assert {one["generation"] for one in status["workers"]} == {2}


def test_a_reload_that_is_refused_is_answered_with_every_reason(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    before = subject.wait_for(is_idle(2), "two workers")
    answer = subject.ask(f"reload {BROKEN}")
    assert (answer["is_done"], answer["generation"]) == (False, 1)
    assert answer["errors"] == ["f:7: workers.n_workers: is no number"]
    assert [one["pid"] for one in subject.status()["workers"]] == [one["pid"] for one in before["workers"]]


def test_a_generation_that_does_not_come_up_is_taken_back(
    make: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmgr.master.reloading.PATIENCE_S", 1.0)
    monkeypatch.setattr("mmgr.log.set_up", lambda settings: None)
    subject = make(n_workers=2)
    before = subject.wait_for(is_idle(2), "two workers")
    answer = subject.ask(f"reload {DIES}")
    assert (answer["is_done"], answer["generation"]) == (False, 1)
    assert "exit 9" in answer["errors"][0]
    after = subject.wait_for(is_idle(2), "two workers still")
    assert [one["pid"] for one in after["workers"]] == [one["pid"] for one in before["workers"]]
    assert subject.ask("reload") == {"is_done": True, "generation": 3, "errors": []}


def test_the_status_says_why_no_worker_comes_up(make: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "idle", lambda assignment: os._exit(9))
    status = make(n_workers=2).wait_for(lambda status: len(status["waiting_slots"]) == 2, "two waits")
    assert "exit 9" in status["last_death"]
    assert status["is_saturated"]


def test_what_workers_counted_is_told_by_milter_stage_and_verdict(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    subject.wait_for(is_idle(2), "two workers")
    (found,) = [one for one in subject.ask("milters") if one["milter"] == ""]
    cell = found["stages"]["mail"]["reject"]
    assert (cell["count"], cell["seconds"], sum(cell["buckets"])) == (2, 0.004, 2)


def test_a_change_makes_a_generation_and_keeps_the_pool(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2, child="a")
    subject.wait_for(is_idle(2), "two workers")
    assert subject.ask("adjust 1") == 1
    assert subject.ask("change a disable") == {"is_done": True, "generation": 2, "errors": []}
    status = subject.wait_for(is_idle(3), "three workers still")
    assert (status["overrides"], status["milters"]) == ({"a": "disable"}, [{"milter": "a", "state": "disabled"}])


def test_a_change_that_changes_nothing_makes_no_generation(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2, child="a")
    subject.wait_for(is_idle(2), "two workers")
    assert subject.ask("change a") == {"is_done": True, "generation": 1, "errors": []}


def test_a_change_whose_generation_does_not_come_up_is_taken_back(
    make: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmgr.master.reloading.PATIENCE_S", 1.0)
    live = idle

    def first_alone(assignment: Assignment) -> None:
        return live(assignment) if assignment.generation == 1 else os._exit(9)

    monkeypatch.setattr(sys.modules[__name__], "idle", first_alone)
    subject = make(n_workers=2, child="a")
    subject.wait_for(is_idle(2), "two workers")
    assert subject.ask("change a disable")["is_done"] is False
    assert subject.wait_for(is_idle(2), "two workers still")["overrides"] == {}


def test_too_many_that_wait_for_a_reload_are_refused(
    make: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmgr.master.reloading.WAITING_MAX", 0)
    subject = make(n_workers=2)
    subject.wait_for(is_idle(2), "two workers")
    assert subject.ask("reload")["errors"] == ["0 others wait for the reload that runs"]


def test_one_worker_more(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    assert subject.ask("adjust 1") == 1
    subject.wait_for(is_idle(3), "three workers")


def test_a_reload_takes_back_what_was_adjusted(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    assert subject.ask("adjust 2") == 2
    subject.wait_for(is_idle(4), "four workers")
    assert subject.ask("reload")["is_done"]
    assert subject.ask("adjust 0") == 0


def test_what_is_adjusted_during_a_reload_is_counted_as_the_pool_has_it(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    assert subject.ask("adjust 2") == 2
    subject.wait_for(is_idle(4), "four workers")
    subject.ask("reload-and-adjust 1")
    subject.wait_for(is_idle(3), "three workers")
    assert subject.ask("adjust 0") == 1


@pytest.mark.parametrize("problem", [EMFILE, ENOMEM])
def test_a_reload_for_which_the_system_has_nothing_left_is_refused(make: Callable[..., Subject], problem: int) -> None:
    subject = make(n_workers=2)
    subject.wait_for(is_idle(2), "two workers")
    (error,) = subject.ask(f"reload {OUT_OF}{problem}")["errors"]
    assert os.strerror(problem) in error
    subject.wait_for(is_idle(2), "two workers")


def test_a_worker_in_a_session_does_not_listen_on_when_the_master_is_killed(make: Callable[..., Subject]) -> None:
    subject = make(BUSY, n_workers=1)
    status = subject.wait_for(is_idle(1), "a worker")
    os.kill(subject.pid, signal.SIGKILL)
    (worker,) = status["workers"]
    try:
        wait_for(lambda: is_refused(status["listeners"][0]), "the end of its listener")
        os.kill(worker["pid"], 0)
    finally:
        os.kill(worker["pid"], signal.SIGKILL)


def is_refused(spec: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(spec.partition(":")[2]) == ECONNREFUSED


def test_a_stop_ends_all_with_0(make: Callable[..., Subject]) -> None:
    subject = make(n_workers=2)
    subject.wait_for(is_idle(2), "two workers")
    assert subject.ask("stop") == "stopping"
    assert os.WEXITSTATUS(os.waitpid(subject.pid, 0)[1]) == 0
