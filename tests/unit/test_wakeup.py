"""Signals and nudges as bytes on a descriptor."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from mmgr.wakeup import NUDGE, WakeUp

HEARD = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def wakeup() -> Iterator[WakeUp]:
    """One that hears two signals; afterwards this process is as it was."""
    before = {number: signal.getsignal(number) for number in HEARD}
    fd = signal.set_wakeup_fd(-1)
    made = WakeUp()
    made.listen(HEARD)
    yield made
    signal.set_wakeup_fd(fd)
    for number, handler in before.items():
        signal.signal(number, handler)
    made.close()


def is_awake(wakeup: WakeUp) -> bool:
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    return bool(poll.poll(0))


def test_nothing_came_at_first(wakeup: WakeUp) -> None:
    assert not is_awake(wakeup)
    assert wakeup.take() == []


@pytest.mark.parametrize("number", HEARD)
def test_a_signal_wakes_and_is_named(wakeup: WakeUp, number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    assert is_awake(wakeup)
    assert wakeup.take() == [number]


def test_a_nudge_wakes(wakeup: WakeUp) -> None:
    wakeup.nudge()
    assert wakeup.take() == [NUDGE]


def test_what_came_is_given_oldest_first_and_once(wakeup: WakeUp) -> None:
    for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)
        wakeup.nudge()
    assert wakeup.take() == [signal.SIGUSR2, NUDGE, signal.SIGUSR1]


def test_what_was_taken_is_gone(wakeup: WakeUp) -> None:
    wakeup.nudge()
    wakeup.take()
    assert not is_awake(wakeup)


def test_a_forked_process_can_nudge(wakeup: WakeUp) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            wakeup.nudge()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert wakeup.take() == [NUDGE]


def test_a_full_pipe_neither_blocks_nor_loses_the_wake_up(wakeup: WakeUp) -> None:
    for _ in range(70_000):
        wakeup.nudge()
    assert is_awake(wakeup)


def test_a_signal_finds_a_full_pipe_without_complaint(wakeup: WakeUp, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(70_000):
        wakeup.nudge()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert capfd.readouterr().err == ""


def test_both_ends_are_closed_at_exec_and_at_close() -> None:
    before = set(os.listdir("/proc/self/fd"))
    made = WakeUp()
    assert not os.get_inheritable(made.fileno())
    made.close()
    assert set(os.listdir("/proc/self/fd")) == before
