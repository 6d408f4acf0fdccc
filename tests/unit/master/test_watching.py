"""What the master learns of a worker beside its heartbeat: memory, stopped or spinning, and its stack."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import time
from collections.abc import Iterator
from typing import Callable

import pytest

from mmgr.master.stacks import LINES_MAX, StackPipe
from mmgr.master.vitals import MEMORY_EVERY_S, SPIN_WINDOW_S, Vitals, resident_bytes


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Forks processes that live as they are told and are gone after the test."""
    pids = []

    def born(life: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                life()
            finally:
                os._exit(0)
        pids.append(pid)
        return pid

    yield born
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def spin() -> None:
    while True:
        pass


def test_resident_memory_is_that_of_the_process() -> None:
    assert 5 * 10**6 < resident_bytes(os.getpid()) < 10**9


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert resident_bytes(2**22 + 1) == 0


def test_memory_is_looked_at_now_and_then() -> None:
    vitals, pid = Vitals(), os.getpid()
    vitals.look([pid], frozenset(), 100.0)
    assert vitals.memory_bytes(pid) == 0
    vitals.look([pid], frozenset(), 100.0 + MEMORY_EVERY_S)
    assert vitals.memory_bytes(pid) > 0


def test_a_process_that_is_gone_is_forgotten() -> None:
    vitals, pid = Vitals(), os.getpid()
    for now in (0.0, MEMORY_EVERY_S):
        vitals.look([pid], frozenset(), now)
    vitals.look([], frozenset(), MEMORY_EVERY_S)
    assert vitals.memory_bytes(pid) == 0


def test_a_stopped_process_is_stuck_until_it_goes_on(child: Callable[[Callable[[], object]], int]) -> None:
    vitals, pid = Vitals(), child(signal.pause)
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    vitals.look([pid], frozenset((pid,)), 1.0)
    assert vitals.is_stuck(pid)
    os.kill(pid, signal.SIGCONT)
    vitals.look([pid], frozenset(), 2.0)
    assert not vitals.is_stuck(pid)


def test_a_silent_process_that_waits_is_not_stuck(child: Callable[[Callable[[], object]], int]) -> None:
    vitals, pid = Vitals(), child(signal.pause)
    for now in (1.0, 1.0 + SPIN_WINDOW_S, 100.0):
        vitals.look([pid], frozenset((pid,)), now)
    assert not vitals.is_stuck(pid)


def test_a_silent_process_that_runs_in_circles_is_stuck(
    child: Callable[[Callable[[], object]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that has passed is the test's; what the process has used of it is not."""
    monkeypatch.setattr("mmgr.master.vitals.SPIN_WINDOW_S", 0.25)
    vitals, pid = Vitals(), child(spin)
    vitals.look([pid], frozenset((pid,)), 1.0)
    deadline = time.monotonic() + 20.0
    while not vitals.is_stuck(pid):
        assert time.monotonic() < deadline
        vitals.look([pid], frozenset((pid,)), 1.25)


def test_a_busy_process_that_is_not_silent_is_not_stuck(child: Callable[[Callable[[], object]], int]) -> None:
    vitals, pid = Vitals(), child(spin)
    for now in (1.0, 1.0 + SPIN_WINDOW_S):
        vitals.look([pid], frozenset(), now)
    assert not vitals.is_stuck(pid)


# ---- stacks


def test_a_stack_is_logged_line_by_line_under_the_workers_number(caplog: pytest.LogCaptureFixture) -> None:
    stacks = StackPipe()
    stacks.expect(7)
    faulthandler.dump_traceback(file=stacks.write_fd, all_threads=False)
    with caplog.at_level(logging.WARNING):
        stacks.take()
    assert len(caplog.messages) > 2
    assert all(message.startswith('worker-stack worker=7 line="') for message in caplog.messages)
    assert f"in {test_a_stack_is_logged_line_by_line_under_the_workers_number.__name__}" in "".join(caplog.messages)


def test_a_long_stack_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    stacks = StackPipe()
    stacks.expect(7)
    os.write(stacks.write_fd, b"x\n" * (LINES_MAX + 50))
    stacks.take()
    assert len(caplog.messages) == LINES_MAX


def test_lines_may_come_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    stacks = StackPipe()
    stacks.expect(7)
    for piece in (b"on", b"e\ntw", b"o\n"):
        os.write(stacks.write_fd, piece)
        stacks.take()
    assert [message[-5:] for message in caplog.messages] == ['"one"', '"two"']


def test_nothing_to_read_is_nothing_to_log(caplog: pytest.LogCaptureFixture) -> None:
    StackPipe().take()
    assert caplog.messages == []


def test_a_full_pipe_never_holds_up_its_writer() -> None:
    stacks = StackPipe()
    os.write(stacks.write_fd, b"x" * 10**6)
    with pytest.raises(BlockingIOError):
        os.write(stacks.write_fd, b"x")
