"""The pool of workers: it grows and shrinks with its load, heals, and never costs a session but a dead worker's own."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from mmgr.errors import PeerClosed
from mmgr.peers.delivery import Status
from mmgr.peers.mail import Message
from tests.integration.daemons import Makers, is_marked, session_named, title, worker_of
from tests.integration.rig import Rig
from tests.support.processes import OPTNEG, QUIT, connect_to, group_members, negotiates, wait_for

ELASTIC = {"min_spare": "4", "max_spare": "8", "max_workers": "220"}


def elastic(make: Makers, **keys: str) -> Rig:
    """A manager whose pool grows and shrinks."""
    return make.running(n_workers=0, sections={"workers": {**ELASTIC, **keys}})


def counts(rig: Rig) -> tuple[int, int]:
    """Busy and all workers, as the master's title says; -1 where it is just being written."""
    found = re.search(r", (\d+) busy of (\d+) workers", title(rig.manager.pid))
    return (int(found[1]), int(found[2])) if found else (-1, -1)


def wait_for_counts(rig: Rig, what: str, busy: range, workers: range, timeout_s: float = 20.0) -> None:
    def are_right() -> bool:
        found = counts(rig)
        return found[0] in busy and found[1] in workers

    wait_for(are_right, what, timeout_s, lambda: f"{counts(rig)}\n{rig.manager.log_tail()}")


@contextmanager
def open_sessions(rig: Rig, number: int) -> Iterator[list[socket.socket]]:
    """So many MTAs that have negotiated and say nothing more."""
    with ExitStack() as held:
        opened = []
        for _ in range(number):
            connection = held.enter_context(connect_to(rig.manager.spec, 20.0))
            connection.sendall(OPTNEG)
            opened.append(connection)
        for connection in opened:
            assert connection.recv(4, socket.MSG_WAITALL), "a negotiation was not answered"
        yield opened
        for connection in opened:
            with suppress(BrokenPipeError):  # the test has said so itself
                connection.sendall(QUIT)


# Size


def test_an_idle_pool_has_as_many_workers_as_are_to_be_spare(make: Makers) -> None:
    """One more at most, for the session that waited for the start."""
    wait_for_counts(elastic(make), "four workers", range(1), range(4, 6))


def test_the_pool_grows_to_200_busy_workers_and_back(make: Makers) -> None:
    rig = elastic(make)
    with open_sessions(rig, 200):
        wait_for_counts(rig, "200 busy workers", range(200, 201), range(204, 221))
        assert rig.is_well()
    wait_for_counts(rig, "a small pool", range(1), range(4, 9), 60.0)
    assert rig.is_well()
    assert "worker-killed" not in rig.manager.log_text()


def test_the_pool_never_grows_beyond_its_limit(make: Makers) -> None:
    rig = elastic(make, max_workers="6")
    with open_sessions(rig, 6):
        rig.manager.wait_for_log("warning: all-workers-busy workers=6 ")
        assert counts(rig) == (6, 6)
    assert rig.is_well()


def test_a_session_beyond_the_limit_waits_for_a_worker(make: Makers) -> None:
    rig = elastic(make, max_workers="4")
    with open_sessions(rig, 4) as opened, connect_to(rig.manager.spec, 20.0) as waiting:
        waiting.sendall(OPTNEG)
        opened[0].sendall(QUIT)
        assert waiting.recv(4, socket.MSG_WAITALL)


def test_ttin_and_ttou_change_a_fixed_pool_by_one(make: Makers) -> None:
    rig = make.running(n_workers=2)
    rig.manager.signal(signal.SIGTTIN)
    wait_for_counts(rig, "three workers", range(1), range(3, 4))
    rig.manager.signal(signal.SIGTTOU)
    wait_for_counts(rig, "two workers", range(1), range(2, 3))
    assert rig.is_well()


def test_ttou_leaves_one_worker(make: Makers) -> None:
    rig = make.running(n_workers=2)
    for _ in range(3):
        rig.manager.signal(signal.SIGTTOU)
        wait_for_counts(rig, "one worker", range(1), range(1, 2))
    assert rig.is_well()


# Recycling


def test_a_worker_that_served_enough_is_replaced_and_no_session_is_lost(make: Makers) -> None:
    rig = make.running(sections={"workers": {"max_sessions": "5"}})
    before = set(rig.manager.worker_pids())
    with session_named(rig, "long.example.net") as session:
        for _ in range(20):
            assert rig.is_well()
        rig.manager.wait_for_log("info: worker-recycled worker=")
        assert is_marked(session)
    wait_for(lambda: before - set(rig.manager.worker_pids()), "end of a worker")
    assert "worker-died" not in rig.manager.log_text()


# Death


def test_kill_9_of_a_busy_worker_costs_exactly_its_own_session(make: Makers) -> None:
    rig = make.running(n_workers=22)
    with ExitStack() as held:
        others = [held.enter_context(session_named(rig, f"mx{number}.example.net")) for number in range(20)]
        with session_named(rig, "doomed.example.net") as doomed:
            os.kill(worker_of(rig, "doomed.example.net"), signal.SIGKILL)
            with pytest.raises(PeerClosed):
                doomed.deliver(Message())
        assert all(is_marked(session) for session in others)


def test_kill_9_of_the_only_worker_is_healed_within_100_ms(make: Makers) -> None:
    """The best of three, as the machine has other things to do, too."""
    waits_s = []
    for _ in range(3):
        rig = make.running(n_workers=1)
        (pid,) = rig.manager.worker_pids()
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        assert negotiates(rig.manager.spec)
        waits_s.append(time.monotonic() - began)
        assert pid not in rig.manager.worker_pids()
    assert min(waits_s) < 0.1


def with_workers_that(make: Makers, deed: str, n_workers: int = 2) -> Rig:
    """A manager whose workers' life is this one statement."""
    rig = make.rig(n_workers=n_workers, sections={"workers": {"overload": "wait"}})
    command = rig.manager.command()
    program = f"""
import os, sys, time
import mmgr.cli.manager, workers.main
def life(assignment):
    {deed}
workers.main.run = life
sys.argv[0] = "milter-manager"
mmgr.cli.manager.main()
"""
    rig.manager.command = lambda: [command[0], "-c", program, *command[3:]]  # type: ignore[method-assign]
    rig["c1"].__enter__()
    rig.manager.spawn()
    return rig


def test_workers_that_always_die_at_boot_are_tried_with_growing_pauses(make: Makers) -> None:
    rig = with_workers_that(make, "os._exit(3)")
    try:
        rig.manager.wait_for_log(r'worker-died worker=\d cause="exit 3" .* next_in_s=2.0')
        assert rig.manager.log_text().count("worker-died") <= 2 * 5
        assert psutil.Process(rig.manager.pid).status() == psutil.STATUS_SLEEPING
        rig.manager.signal(signal.SIGTTIN)
        rig.manager.wait_for_log("pool-adjusted")
        assert rig.manager.stop() == 0
    finally:
        rig["c1"].stop()


def test_many_deaths_at_a_time_are_answered_one_by_one(make: Makers) -> None:
    rig = with_workers_that(make, "os._exit(3)", n_workers=30)
    try:
        rig.manager.wait_for_log(r"worker-died ", 30)
        time_s = 2.0
        count = rig.manager.log_text().count("worker-died")
        deadline = time.monotonic() + time_s
        wait_for(lambda: time.monotonic() > deadline, "two seconds")
        assert rig.manager.log_text().count("worker-died") - count <= time_s + 2
        assert rig.manager.stop() == 0
    finally:
        rig["c1"].stop()


# Hanging


def hasty(make: Makers, n_workers: int = 2) -> Rig:
    return make.running(n_workers=n_workers, sections={"workers": {"hang_timeout": "1"}})


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def test_a_stopped_idle_worker_is_found_and_replaced(make: Makers) -> None:
    rig = hasty(make)
    pid = rig.manager.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    rig.manager.wait_for_log("error: worker-hung worker=1 ")
    wait_for(lambda: is_gone(pid), "end of the stopped worker", log=rig.manager.log_tail)
    assert len(rig.manager.worker_pids()) == 2
    assert rig.is_well()


def test_a_stopped_busy_worker_is_found_and_costs_its_own_session_alone(make: Makers) -> None:
    rig = hasty(make, 3)
    with session_named(rig, "doomed.example.net"), session_named(rig, "other.example.net") as other:
        pid = worker_of(rig, "doomed.example.net")
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: is_gone(pid), "end of the stopped worker", log=rig.manager.log_tail)
        assert is_marked(other)
    assert rig.is_well()


def test_a_worker_that_waits_for_its_mta_is_not_taken_for_hung(make: Makers) -> None:
    rig = hasty(make)
    with session_named(rig, "slow.example.net") as session:
        deadline = time.monotonic() + 3.5
        wait_for(lambda: time.monotonic() > deadline, "three times the limit")
        assert is_marked(session)
    assert "worker-hung" not in rig.manager.log_text()


def test_the_stack_of_a_worker_that_runs_in_circles_is_logged_before_it_is_ended(make: Makers) -> None:
    rig = make.rig(n_workers=1, sections={"workers": {"hang_timeout": "1"}})
    command = rig.manager.command()
    text = """
import os, sys, time
import mmgr.cli.manager, workers.main, workers.pulse
master = os.getpid()
class Stuck(workers.pulse.Pulse):
    def idle(self, sessions):
        super().idle(sessions)
        self._board.beat(self._slot, time.monotonic())
        while os.getpid() != master:
            time.monotonic()
workers.main.Pulse = Stuck
sys.argv[0] = "milter-manager"
mmgr.cli.manager.main()
"""
    rig.manager.command = lambda: [command[0], "-c", text, *command[3:]]  # type: ignore[method-assign]
    rig.manager.spawn()
    rig.manager.wait_for_log(r'warning: worker-stack worker=1 line=.*in idle"')
    rig.manager.wait_for_log("error: worker-hung worker=1 ")
    rig.manager.wait_for_log("warning: worker-killed worker=1 reason=hung")
    assert rig.manager.stop() == 0


# Overload


def overloaded(make: Makers, overload: str) -> Rig:
    return make.running(n_workers=2, sections={"workers": {"overload": overload}})


@pytest.mark.parametrize(
    ("overload", "status"), [("accept", Status.ACCEPT), ("temporary-failure", Status.TEMPORARY_FAILURE)]
)
def test_when_all_are_busy_the_reserve_answers_as_configured(make: Makers, overload: str, status: Status) -> None:
    rig = overloaded(make, overload)
    with open_sessions(rig, 2):
        (outcome,) = rig.deliver()
        assert (outcome.status, outcome.edits) == (status, ())
        rig.manager.wait_for_log(f"warning: overload-answered verdict={overload} open=1")


def test_the_reserve_answers_many_at_a_time(make: Makers) -> None:
    rig = overloaded(make, "accept")
    with open_sessions(rig, 2), open_sessions(rig, 50):
        assert rig.deliver()[0].edits == ()


def test_as_soon_as_a_worker_is_idle_the_reserve_is_quiet(make: Makers) -> None:
    rig = overloaded(make, "accept")
    with open_sessions(rig, 2):
        assert rig.deliver()[0].edits == ()
    wait_for(lambda: rig.deliver()[0].edits != (), "a worker's answer", log=rig.manager.log_tail)
    assert all(rig.deliver()[0].edits for _ in range(10))


def test_a_killed_reserve_is_replaced(make: Makers) -> None:
    rig = overloaded(make, "accept")

    def reserves() -> list[int]:
        found = []
        for pid in rig.manager.worker_pids():
            with suppress(psutil.NoSuchProcess):
                found += [pid] if title(pid).startswith("milter-manager: reserve ") else []
        return found

    (before,) = wait_for(reserves, "a reserve", log=rig.manager.log_tail)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: reserves() and before not in reserves(), "another reserve", log=rig.manager.log_tail)
    with open_sessions(rig, 2):
        assert rig.deliver()[0].edits == ()


def test_a_manager_with_a_reserve_ends_and_leaves_nothing(make: Makers) -> None:
    rig = overloaded(make, "accept")
    assert rig.manager.stop() == 0
    assert not group_members(rig.manager.pid)
