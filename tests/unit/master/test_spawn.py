"""Birth and death of real processes, and going to the background."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Callable

import pytest

from mmgr.master import spawn
from mmgr.master.background import Background
from mmgr.master.spawn import EXIT_FAULT, HANDLED, cause_of_death, fork, fork_each, reap, send_signal
from mmgr.wakeup import WakeUp


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """``fork`` freezes what the collector knows; the tests behind this one shall not feel it."""
    yield
    gc.unfreeze()


def death_of(pid: int) -> int:
    """The wait status of a child, once it is dead; it is reaped by ``reap``."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return dict(reap())[pid]


def told_by(life: Callable[[], object]) -> str:
    """What life() returns in a forked child."""
    read_fd, write_fd = os.pipe()

    def tell() -> None:
        os.write(write_fd, repr(life()).encode())

    pid = fork(tell)
    os.close(write_fd)
    with open(read_fd, "rb") as told:
        text = told.read().decode()
    death_of(pid)
    return text


def wait_for_signal() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.pause()


def test_a_life_that_returns_ends_with_0() -> None:
    assert cause_of_death(death_of(fork(lambda: None))) == "exit 0"


def test_a_life_that_raises_ends_with_70() -> None:
    def life() -> None:
        raise RuntimeError("on purpose")

    assert cause_of_death(death_of(fork(life))) == f"exit {EXIT_FAULT}"


def test_a_life_that_asks_to_exit_is_a_fault_too() -> None:
    def life() -> None:
        raise SystemExit(0)

    assert cause_of_death(death_of(fork(life))) == f"exit {EXIT_FAULT}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_a_death_by_a_signal_names_it(number: signal.Signals) -> None:
    pid = fork(wait_for_signal)
    send_signal(pid, number)
    assert cause_of_death(death_of(pid)) == f"signal {number.name}"


def test_a_signal_without_a_name_is_a_number() -> None:
    assert cause_of_death(33) == "signal 33"


def test_a_child_is_born_with_all_signals_blocked() -> None:
    blocked = told_by(lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    assert blocked == repr(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))


def test_a_child_is_born_with_the_default_handlers() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        told = told_by(lambda: signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == "True"


def test_a_child_does_not_write_to_its_parents_wake_up() -> None:
    wakeup = WakeUp()
    before = signal.set_wakeup_fd(-1)
    try:
        wakeup.listen([])
        told = told_by(lambda: signal.set_wakeup_fd(-1))
    finally:
        signal.set_wakeup_fd(before)
        wakeup.close()
    assert told == "-1"


def test_the_parents_own_signals_are_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    death_of(fork(lambda: None))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_all_the_dead_are_reaped_at_once() -> None:
    pids = {fork(lambda: None) for _ in range(3)}
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert {pid for pid, _ in reap()} >= pids


def test_the_living_are_not_reaped() -> None:
    pid = fork(wait_for_signal)
    assert pid not in dict(reap())
    send_signal(pid, signal.SIGKILL)
    death_of(pid)


def test_a_signal_to_one_that_is_gone_is_lost() -> None:
    pid = fork(lambda: None)
    death_of(pid)
    send_signal(pid, signal.SIGTERM)


# ---- many at once


def test_each_life_has_a_child_of_its_own() -> None:
    pids, _ = fork_each([lambda code=code: os._exit(code) for code in (3, 4, 5)])  # type: ignore[misc]
    assert [os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in pids] == [3, 4, 5]


def test_one_of_many_that_raises_ends_with_70() -> None:
    def life() -> None:
        raise RuntimeError("on purpose")

    (pid,), _ = fork_each([life])
    assert cause_of_death(death_of(pid)) == f"exit {EXIT_FAULT}"


def test_many_are_born_with_the_masters_signals_blocked() -> None:
    def life() -> None:
        os._exit(int(signal.pthread_sigmask(signal.SIG_BLOCK, []) >= set(HANDLED)))

    (pid,), _ = fork_each([life])
    assert os.WEXITSTATUS(death_of(pid)) == 1


def test_the_signals_of_who_forks_many_are_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    (pid,), _ = fork_each([lambda: None])
    death_of(pid)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_those_that_could_be_forked_are_told_of_with_what_kept_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.fork, [1]

    def scarce() -> int:
        if not left:
            raise BlockingIOError(11, "no more processes")
        left.pop()
        return real()

    monkeypatch.setattr(spawn.os, "fork", scarce)
    pids, error = fork_each([lambda: None] * 3)
    monkeypatch.undo()
    death_of(pids[0])
    assert (len(pids), type(error)) == (1, BlockingIOError)


# ---- background


def in_background(serve: Callable[[Background], None]) -> int:
    """The exit code of the process in the foreground, which is a child of this one, when its daemon does this."""

    def life() -> None:
        background = Background()
        code = background.detach()
        if code is None:
            serve(background)
        else:
            os._exit(code)

    return os.WEXITSTATUS(death_of(fork(life)))


def test_the_foreground_ends_well_once_the_daemon_serves() -> None:
    assert in_background(lambda background: background.serving()) == 0


def test_the_foreground_ends_with_the_code_of_a_daemon_that_failed() -> None:
    assert in_background(lambda background: os._exit(78)) == 78


def test_the_foreground_ends_with_1_if_the_daemon_is_killed() -> None:
    assert in_background(lambda background: os.kill(os.getpid(), signal.SIGKILL)) == 1


def told_by_daemon(look: Callable[[], object]) -> str:
    """What look() returns in a daemon that serves."""
    read_fd, write_fd = os.pipe()

    def serve(background: Background) -> None:
        background.serving()
        os.write(write_fd, repr(look()).encode())

    in_background(serve)
    os.close(write_fd)
    with open(read_fd, "rb") as told:
        return told.read().decode()


def test_a_daemon_that_serves_has_let_go_of_the_terminal() -> None:
    files = told_by_daemon(lambda: [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)])
    assert files == repr(["/dev/null"] * 3)


def test_a_daemon_has_a_session_of_its_own() -> None:
    assert told_by_daemon(lambda: os.getsid(0) == os.getpid()) == "True"
