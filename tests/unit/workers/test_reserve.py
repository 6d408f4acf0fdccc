"""The reserve as a process of its own: what MTAs are told by it, and when it takes connections at all."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgr.assignment import Assignment
from mmgr.config.model import Config, Overload, WorkerSettings
from mmgr.endpoint import Endpoint
from mmgr.peers.mta import MtaPeer, connect_peer
from mmgr.protocol.constants import Command
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Accept, Continue, TempFail
from mmgr.scoreboard import Scoreboard, WorkerState
from mmgr.tally import OVERLOAD
from tests.support.processes import wait_for
from workers import reserve

BLUNT = OptionNegotiation(2, 0, 0)
"""An MTA that can leave nothing out."""

ONLY_MAIL = 0x37B
"""All bits that leave a command out, but that of MAIL."""


class Subject:
    """A reserve, its board and its socket."""

    def __init__(self, directory: Path, overload: Overload) -> None:
        self.endpoint = Endpoint("unix", path=str(directory / "mm.sock"))
        self.board = Scoreboard(4)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.endpoint.path)
        self._listener.listen(100)
        self._listener.setblocking(False)
        life, self.life = os.pipe()
        config = Config(workers=WorkerSettings(overload=overload))
        place = Assignment(2, 1, config, (self._listener,), self.board, life, lambda: None)
        self.board.begin(2, 1, 0.0)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.life)
            try:
                reserve.run(place)
            finally:
                os._exit(0)
        os.close(life)
        wait_for(lambda: self.board.state(2) is WorkerState.RESERVE, "a reserve")

    def overload(self, is_overloaded: bool = True) -> None:
        """What the master does when all are busy."""
        self.board.set_overloaded(is_overloaded)
        os.kill(self.pid, signal.SIGHUP)

    def connect(self, offered: OptionNegotiation | None = None) -> MtaPeer:
        return connect_peer(self.endpoint, offered)

    def counts(self) -> dict[tuple[str, str], int]:
        return {key[1:]: total.count for key, total in self.board.totals().items() if key[0] == OVERLOAD}

    def has_ended(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def end(self) -> None:
        self._listener.close()
        os.close(self.life)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return


@pytest.fixture
def accepting(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path, Overload.ACCEPT)
    yield subject
    subject.end()


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path, Overload.TEMPORARY_FAILURE)
    yield subject
    subject.end()


def is_answered(subject: Subject, wait_s: float) -> bool:
    """Is a negotiation answered within that time?"""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(subject.endpoint.path)
        connection.sendall(bytes.fromhex("0000000d4f00000006000001ff001fffff"))
        return bool(select.select([connection], [], [], wait_s)[0])


def test_nothing_but_mail_is_asked_for(accepting: Subject) -> None:
    accepting.overload()
    answer = accepting.connect().negotiate()
    assert [answer.wants(command) for command in (Command.SMFIC_MAIL, Command.SMFIC_CONNECT)] == [True, False]
    assert answer.steps & 0x37F == ONLY_MAIL


def test_a_message_is_accepted_unseen(accepting: Subject) -> None:
    accepting.overload()
    mta = accepting.connect()
    mta.negotiate()
    assert isinstance(mta.mail(b"<a@example.com>"), Accept)


def test_a_message_is_told_to_come_later(refusing: Subject) -> None:
    refusing.overload()
    mta = refusing.connect()
    mta.negotiate()
    assert isinstance(mta.mail(b"<a@example.com>"), TempFail)


def test_an_mta_that_sends_everything_gets_an_answer_to_everything(refusing: Subject) -> None:
    refusing.overload()
    mta = refusing.connect(BLUNT)
    mta.negotiate()
    assert isinstance(mta.connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7"), Continue)
    assert isinstance(mta.helo(b"mx.example.net"), Continue)
    assert isinstance(mta.mail(b"<a@example.com>"), TempFail)


def test_several_messages_of_several_sessions_are_all_counted(accepting: Subject) -> None:
    accepting.overload()
    mtas = [accepting.connect() for _ in range(3)]
    for mta in mtas:
        mta.negotiate()
    for mta in mtas:
        for _ in range(2):
            mta.mail(b"<a@example.com>")
    assert accepting.counts() == {("connect", "other"): 3, ("mail", "accept"): 6}


def test_nobody_is_answered_before_the_master_says_so(accepting: Subject) -> None:
    assert not is_answered(accepting, 0.3)


def test_nobody_is_answered_while_a_worker_is_idle(accepting: Subject) -> None:
    accepting.board.set_state(0, WorkerState.IDLE)
    accepting.overload()
    assert not is_answered(accepting, 0.3)


def test_who_waits_already_is_answered_when_the_last_worker_turns_busy(accepting: Subject) -> None:
    mta = accepting.connect()
    accepting.overload()
    mta.negotiate()


def test_nobody_is_answered_any_more_when_it_is_over(accepting: Subject) -> None:
    accepting.overload()
    assert is_answered(accepting, 10.0)
    accepting.overload(False)
    assert not is_answered(accepting, 0.3)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1Q", b"\0\0\0\5Mabc\0"])
def test_garbage_ends_its_own_connection_alone(accepting: Subject, garbage: bytes) -> None:
    accepting.overload()
    mta = accepting.connect()
    mta.negotiate()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(accepting.endpoint.path)
        connection.settimeout(10.0)
        connection.sendall(garbage)
        assert connection.recv(100) == b""
    assert isinstance(mta.mail(b"<a@example.com>"), Accept)


def test_it_ends_at_once_when_told_to(accepting: Subject) -> None:
    os.kill(accepting.pid, signal.SIGTERM)
    wait_for(accepting.has_ended, "end of the reserve")


def test_it_ends_after_its_last_connection(accepting: Subject) -> None:
    accepting.overload()
    mta = accepting.connect()
    mta.negotiate()
    os.kill(accepting.pid, signal.SIGTERM)
    assert isinstance(mta.mail(b"<a@example.com>"), Accept)
    assert not accepting.has_ended()
    mta.quit()
    wait_for(accepting.has_ended, "end of the reserve")


def test_it_ends_with_its_master(accepting: Subject) -> None:
    os.close(accepting.life)
    accepting.life = os.open(os.devnull, os.O_RDONLY)
    wait_for(accepting.has_ended, "end of the reserve")
