"""The daemon as processes: its end by signals, workers and masters that die."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from mmgr.errors import PeerClosed
from mmgr.peers.mail import Message
from mmgr.protocol.replies import AddHeader, Continue
from tests.integration.daemons import Makers, is_marked, kill_and_wait, refuses, session_named, worker_of
from tests.integration.rig import Rig
from tests.support.processes import group_members, wait_for

# TERM


def test_term_lets_an_open_session_finish_its_message(make: Makers) -> None:
    rig = make.running()
    with rig.greeted() as mta:
        mta.mail(b"<a@example.com>")
        mta.rcpt(b"<b@example.org>")
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
        mta.data()
        mta.header(b"Subject", b"1")
        mta.eoh()
        mta.body(b"body\r\n")
        assert isinstance(mta.end_of_message(), Continue)
        assert mta.edits == [AddHeader(b"X-c1", b"seen")]
    rig.manager.wait()


def test_term_refuses_new_connections_while_a_session_is_open(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net"):
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
        assert len(rig.manager.worker_pids()) >= 1
    rig.manager.wait()


def test_term_ends_with_0_and_leaves_nothing(make: Makers) -> None:
    rig = make.running()
    assert rig.manager.stop() == 0
    rig.manager.assert_nothing_left()


def test_term_ends_with_0_after_an_open_session_has_ended(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net"):
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
    assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


def test_a_session_that_does_not_end_is_cut_off_after_the_drain_timeout(make: Makers) -> None:
    rig = make.running(sections={"workers": {"drain_timeout": "0.2"}})
    with session_named(rig, "stays.example.net"):
        assert rig.manager.stop() == 0
    rig.manager.assert_nothing_left()
    assert "warning: worker-killed " in rig.manager.log_text()


def test_term_twice_is_like_term_once(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net") as session:
        rig.manager.signal(signal.SIGTERM)
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
        assert is_marked(session)
    assert rig.manager.wait() == 0


# INT and QUIT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_a_signal_of_the_terminal_to_the_whole_group_ends_all_and_leaves_nothing(make: Makers, number: int) -> None:
    rig = make.running()
    os.killpg(rig.manager.pid, number)
    assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


def test_int_does_not_wait_for_an_open_session(make: Makers) -> None:
    """The drain timeout is five minutes."""
    rig = make.running()
    with session_named(rig, "stays.example.net"):
        os.killpg(rig.manager.pid, signal.SIGINT)
        assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


def test_int_twice_has_no_patience_at_all(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "stays.example.net"):
        rig.manager.signal(signal.SIGINT)
        wait_for(lambda: refuses(rig), "end of listening")
        rig.manager.signal(signal.SIGINT)
        assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


# Workers that die


def test_a_killed_idle_worker_is_replaced(make: Makers) -> None:
    rig = make.running()
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert rig.is_well()


def test_a_killed_only_worker_is_replaced_and_serves(make: Makers) -> None:
    rig = make.running(n_workers=1)
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert rig.is_well()


def test_a_killed_busy_worker_is_replaced_and_serves(make: Makers) -> None:
    rig = make.running(n_workers=1)
    with session_named(rig, "doomed.example.net"):
        kill_and_wait(rig, worker_of(rig, "doomed.example.net"))
        assert rig.is_well()


def test_a_killed_worker_takes_its_own_session_with_it(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "doomed.example.net") as session:
        kill_and_wait(rig, worker_of(rig, "doomed.example.net"))
        with pytest.raises(PeerClosed):
            session.deliver(Message())


def test_a_killed_worker_leaves_other_sessions_alone(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "doomed.example.net"), session_named(rig, "other.example.net") as other:
        kill_and_wait(rig, worker_of(rig, "doomed.example.net"))
        assert is_marked(other)


def test_connections_that_wait_while_all_workers_are_dead_are_served(make: Makers) -> None:
    rig = make.running(n_workers=1)
    os.kill(rig.manager.worker_pids()[0], signal.SIGKILL)
    assert rig.is_well()


def test_a_worker_that_dies_again_and_again_is_started_again_with_patience(make: Makers) -> None:
    rig = make.running(n_workers=1)
    for _ in range(3):
        pid = wait_for(rig.manager.worker_pids, "a worker")[0]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: pid not in rig.manager.worker_pids(), "end of the worker")
    waits = re.findall(r"worker-died .* next_in_s=(\S+)", wait_for_deaths(rig, 3))
    assert [float(wait) for wait in waits] == sorted(float(wait) for wait in waits)
    assert float(waits[-1]) > 0.0


def wait_for_deaths(rig: Rig, count: int) -> str:
    rig.manager.wait_for_log(r"worker-died .* next_in_s=\S+\n", count)
    return rig.manager.log_text()


def test_while_one_worker_dies_again_and_again_the_others_serve(make: Makers) -> None:
    rig = make.running()
    for _ in range(3):
        os.kill(rig.manager.worker_pids()[-1], signal.SIGKILL)
        assert rig.is_well()


def test_the_death_of_a_worker_is_a_warning_that_says_what_it_died_of(make: Makers) -> None:
    rig = make.running()
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert rig.manager.wait_for_log(r'warning: worker-died worker=1 cause="signal SIGKILL" ')


# The master dies


def kill_master(rig: Rig) -> list[psutil.Process]:
    """Kill the master alone; its workers."""
    workers = [psutil.Process(pid) for pid in rig.manager.worker_pids()]
    rig.manager.signal(signal.SIGKILL)
    rig.manager.wait()
    return workers


def test_idle_workers_end_with_their_master(make: Makers) -> None:
    rig = make.running(n_workers=3)
    kill_master(rig)
    wait_for(lambda: not group_members(rig.manager.pid), "end of the workers")


def test_a_busy_worker_finishes_its_session_and_ends_with_its_master(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net") as session:
        kill_master(rig)
        assert is_marked(session)
    wait_for(lambda: not group_members(rig.manager.pid), "end of the workers")


def test_a_new_master_takes_the_socket_of_a_killed_one(make: Makers) -> None:
    rig = make.running()
    kill_master(rig)
    wait_for(lambda: not group_members(rig.manager.pid), "end of the workers")
    rig.manager.start()
    assert rig.is_well()


@pytest.mark.parametrize("n_workers", [1, 2], ids=["all workers busy", "an idle worker"])
def test_a_new_master_takes_the_socket_at_once_though_a_worker_of_the_killed_one_is_busy(
    make: Makers, n_workers: int
) -> None:
    rig = make.running(n_workers=n_workers)
    with session_named(rig, "old.example.net") as old:
        orphans = group_members(rig.manager.pid)
        kill_master(rig)
        with ended_afterwards(orphans):
            rig.manager.start()
            assert rig.is_well()
            assert is_marked(old)


@contextmanager
def ended_afterwards(processes: list[psutil.Process]) -> Iterator[None]:
    """Processes that a failing test must not leave behind."""
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
