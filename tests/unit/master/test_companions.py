"""Companions as real processes: started, replaced, started again, ended."""

from __future__ import annotations

import logging
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from mmgr.master.companions import Companion, Companions
from mmgr.master.spawn import reap
from tests.support.processes import wait_for

NO_FD = -1


class House:
    """Companions that live until their TERM, and say who they are on their line."""

    def __init__(self) -> None:
        self.companions = Companions((), lambda keeps: NO_FD)
        self.lines: list[socket.socket] = []
        self.is_stopping = False
        self.ended: list[bytes] = []

    def companion(self, word: bytes, is_stubborn: bool = False) -> Companion:
        def live(_life_fd: int, line: socket.socket | None) -> None:
            if is_stubborn:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            assert line is not None
            line.sendall(word)
            select.select([], [], [])

        return Companion("one", live, self.lines.append, ended=lambda: self.ended.append(word))

    def put(self, companion: Companion | None) -> None:
        self.companions.put("one", companion, time.monotonic())

    def turn(self, ahead_s: float = 0.0) -> None:
        """One round of the master, so far in the future."""
        now = time.monotonic() + ahead_s
        for pid, status in reap():
            self.companions.bury(pid, status, self.is_stopping, now)
        self.companions.act(self.is_stopping, now)

    def said(self, number: int) -> bytes:
        """What the so manieth that was started says, once it runs."""
        wait_for(lambda: self.turn() or len(self.lines) > number, f"start {number}")
        self.lines[number].settimeout(20.0)
        return self.lines[number].recv(100)

    def end(self) -> None:
        self.is_stopping = True
        wait_for(lambda: self.turn(10.0) or not self.companions.is_any_alive, "their end")
        for line in self.lines:
            line.close()


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.end()


def test_one_that_is_put_there_is_started_once(house: House) -> None:
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    house.turn()
    assert len(house.lines) == 1


def test_another_one_takes_its_place_and_nobody_is_warned(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    with caplog.at_level(logging.WARNING):
        house.put(house.companion(b"b"))
        assert house.said(1) == b"b"
    assert caplog.messages == []


def test_one_that_does_not_go_is_killed(house: House) -> None:
    house.put(house.companion(b"a", is_stubborn=True))
    assert house.said(0) == b"a"
    house.put(None)
    wait_for(lambda: house.turn(10.0) or not house.companions.is_any_alive, "its end")


def test_in_the_place_of_none_nobody_is_started(house: House) -> None:
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    house.put(None)
    wait_for(lambda: house.turn() or not house.companions.is_any_alive, "its end")
    house.turn(1000.0)
    assert not house.companions.is_any_alive


def test_one_that_dies_is_started_again_with_a_warning(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    (slot,) = [post.slot for post in house.companions._posts.values()]
    with caplog.at_level(logging.WARNING):
        os.kill(slot.pid, signal.SIGKILL)
        assert house.said(1) == b"a"
    assert caplog.messages == ['companion-died name=one cause="signal SIGKILL"']


def test_without_descriptors_it_is_started_later_with_a_warning(house: House, caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    house.put(house.companion(b"a"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with caplog.at_level(logging.WARNING):
            house.turn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert caplog.messages == ['companion-died name=one cause="start: Too many open files"']
    assert house.said(0) == b"a"


def stopped(house: House) -> int:
    """The one that runs, stopped and once looked at."""
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    (slot,) = [post.slot for post in house.companions._posts.values()]
    os.kill(slot.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, slot.pid, os.WSTOPPED | os.WNOWAIT)
    house.turn(2.0)
    return slot.pid


def test_one_that_stays_stopped_is_replaced(house: House, caplog: pytest.LogCaptureFixture) -> None:
    stopped(house)
    with caplog.at_level(logging.WARNING):
        house.turn(40.0)
        assert house.said(1) == b"a"
    assert caplog.messages == ['companion-died name=one cause="stopped for too long"']


def test_one_that_is_stopped_for_a_moment_stays(house: House) -> None:
    pid = stopped(house)
    os.kill(pid, signal.SIGCONT)
    os.waitid(os.P_PID, pid, os.WCONTINUED)
    house.turn(40.0)
    house.turn(80.0)
    assert [post.slot.pid for post in house.companions._posts.values()] == [pid]


def test_its_line_ends_with_it(house: House) -> None:
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    house.put(None)
    wait_for(lambda: house.turn() or not house.companions.is_any_alive, "its end")
    assert house.lines[0].recv(1) == b""


def test_the_end_of_the_one_that_ran_is_told(house: House) -> None:
    house.put(house.companion(b"a"))
    assert house.said(0) == b"a"
    house.put(house.companion(b"b"))
    assert house.said(1) == b"b"
    assert house.ended == [b"a"]
