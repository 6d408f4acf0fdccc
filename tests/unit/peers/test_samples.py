"""The samples add their header, refuse what is marked, and end with their parent or by a signal."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmgr import __version__
from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed
from mmgr.peers.delivery import Outcome, Status, deliver
from mmgr.peers.mail import Message
from mmgr.peers.mta import connect_peer
from mmgr.peers.samples import MARKER, REJECTION, SAMPLE_HEADER, SAMPLES
from mmgr.peers.strict import offer
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import ReplyCode

ADD, REJECT = SAMPLES


@contextmanager
def running(sample: str, directory: Path) -> Iterator[tuple[Endpoint, int, int]]:
    """A sample in a process of its own: (endpoint, its process, the descriptor that keeps it alive)."""
    endpoint = Endpoint("unix", path=str(directory / "sample.sock"))
    life_fd, parent_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(parent_fd)
        try:
            SAMPLES[sample](endpoint, life_fd)
            os._exit(0)
        finally:
            os._exit(99)
    os.close(life_fd)
    try:
        wait_until_it_listens(endpoint)
        yield endpoint, pid, parent_fd
    finally:
        os.close(parent_fd)
        assert os.waitpid(pid, 0)[1] == 0
        assert not Path(endpoint.path).exists()


def wait_until_it_listens(endpoint: Endpoint) -> None:
    for _ in range(1000):
        try:
            connect_peer(endpoint).close()
            return
        except PeerClosed:
            threading.Event().wait(0.01)
    pytest.fail("the sample does not listen")


def sent(endpoint: Endpoint, *messages: Message, offered: OptionNegotiation | None = None) -> list[Outcome]:
    mta = connect_peer(endpoint, offered)
    found = deliver(mta, messages)
    assert mta.violations == []
    return found


def test_a_header_is_added_to_each_message(tmp_path: Path) -> None:
    with running(ADD, tmp_path) as (endpoint, _, _):
        outcomes = sent(endpoint, Message(), Message())
    values = [outcome.message.headers[-1] for outcome in outcomes]
    version = __version__.encode()
    assert values == [
        (SAMPLE_HEADER, b" " + version + b"; queue_id=i"),
        (SAMPLE_HEADER, b" " + version + b"; queue_id=i2"),
    ]


@pytest.mark.parametrize("version", [2, 3, 4, 6])
def test_marked_messages_are_refused_and_no_others(tmp_path: Path, version: int) -> None:
    with running(REJECT, tmp_path) as (endpoint, _, _):
        outcomes = sent(
            endpoint,
            Message(),
            Message(headers=((b"subject", b" hi " + MARKER + b"!"),)),
            Message(headers=((b"X-Other", b" " + MARKER),)),
            Message(chunks=(b"x" + MARKER[:7], MARKER[7:] + b"\r\n")),
            Message(chunks=(MARKER[:7], b"-", MARKER[7:])),
            Message(),
            offered=offer(version),
        )
    assert [outcome.verdict == ReplyCode(REJECTION) for outcome in outcomes] == [False, True, False, True, False, False]
    assert {outcome.status for outcome in outcomes} == {Status.ACCEPT, Status.REJECT}


@pytest.mark.parametrize("sample", SAMPLES)
def test_garbage_and_idle_connections_stop_nothing(tmp_path: Path, sample: str) -> None:
    with running(sample, tmp_path) as (endpoint, _, _):
        strangers = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for stranger in strangers:
            stranger.connect(endpoint.path)
        strangers[0].sendall(b"GET / HTTP/1.0\r\n\r\n")
        strangers[1].sendall(b"\0\0\0")
        assert sent(endpoint, Message())[0].status is Status.ACCEPT
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_signal_ends_it_in_the_middle_of_a_session(tmp_path: Path, sample: str, number: int) -> None:
    with running(sample, tmp_path) as (endpoint, pid, _):
        mta = connect_peer(endpoint)
        mta.negotiate()
        os.kill(pid, number)
        mta.expect_close(30.0)
        mta.close()
