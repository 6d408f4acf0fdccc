"""Who answers on a socket: milters, other services, and peers that say nothing, too much or too little."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.doctor import probe as probing
from mmgr.doctor.banners import classify, excerpt
from mmgr.doctor.probe import Answer, probe
from mmgr.endpoint import Endpoint
from tests.support.processes import QUIT

REPLY = bytes.fromhex("0000000d4f000000060000000100000000")
Play = Callable[[socket.socket], None]


@contextmanager
def peer(path: Path, play: Play) -> Iterator[Endpoint]:
    """Takes one connection and plays its part in it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    play(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint("unix", path=str(path))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def asked(tmp_path: Path, play: Play, timeout_s: float = 10.0) -> Answer:
    with peer(tmp_path / "s", play) as endpoint:
        return probe(endpoint, timeout_s)


def until_closed(connection: socket.socket) -> bytes:
    """All that comes, for a peer that says nothing by itself."""
    data = b""
    with suppress(OSError):
        while more := connection.recv(4096):
            data += more
    return data


def saying(data: bytes) -> Play:
    def play(connection: socket.socket) -> None:
        connection.recv(17)
        connection.sendall(data)
        until_closed(connection)

    return play


def test_a_milter_is_known_by_its_negotiation(tmp_path: Path) -> None:
    answer = asked(tmp_path, saying(REPLY))
    assert answer.options is not None
    assert (answer.outcome, answer.options.version, answer.options.actions) == (probing.MILTER, 6, 1)


def test_a_milter_is_told_to_quit(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def play(connection: socket.socket) -> None:
        connection.recv(17)
        connection.sendall(REPLY)
        heard.append(until_closed(connection))

    asked(tmp_path, play)
    assert heard == [QUIT]


def test_a_milter_that_answers_byte_by_byte_is_one(tmp_path: Path) -> None:
    def play(connection: socket.socket) -> None:
        for byte in REPLY:
            connection.sendall(bytes((byte,)))
        until_closed(connection)

    assert asked(tmp_path, play).outcome == probing.MILTER


@pytest.mark.parametrize(
    ("banner", "what"),
    [
        (b"220 mx.example.net ESMTP Postfix\r\n", "an SMTP service"),
        (b"421 too busy\r\n", "an SMTP service"),
        (b"220 mx LMTP ready\r\n", "an LMTP service"),
        (b"HTTP/1.1 400 Bad request\r\nServer: rspamd/3.4\r\n", "an HTTP service, such as rspamd's other workers"),
        (b"UNKNOWN COMMAND\n", "clamd"),
        (b"SPAMD/1.0 76 Bad header line: (EX_PROTOCOL)\r\n", "spamd"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS service"),
        (b"SSH-2.0-OpenSSH_8.0\r\n", "an SSH service"),
        (b"action=dunno\n\n", "a policy service of Postfix"),
        (b"error: Unknown command\n", "MIMEDefang's multiplexor"),
        (b"* OK IMAP4rev1\r\n", "an IMAP service"),
        (b"-ERR unknown command\r\n", "Redis or a POP3 service"),
        (b"hello there\n", "a service whose answer looks like text"),
        (b"\xff\xfe\xfd\xfc\xfb", "a service whose answer looks like random bytes"),
    ],
)
def test_other_services_are_named(tmp_path: Path, banner: bytes, what: str) -> None:
    answer = asked(tmp_path, saying(banner))
    assert answer.foreign is not None
    assert (answer.outcome, answer.foreign.what) == (probing.FOREIGN, what)


def test_control_characters_of_a_banner_are_escaped(tmp_path: Path) -> None:
    assert asked(tmp_path, saying(b"220 \x1b[2Jmx\x07\r\n")).text == "220 \\x1b[2Jmx\\x07"


def test_an_endless_banner_is_read_no_further_than_a_line(tmp_path: Path) -> None:
    def play(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)

    answer = asked(tmp_path, play)
    assert (answer.outcome, answer.text) == (probing.FOREIGN, "x" * 60)


def test_a_peer_that_sends_a_byte_now_and_then_does_not_hold_us_beyond_the_timeout(tmp_path: Path) -> None:
    stopped = threading.Event()

    def play(connection: socket.socket) -> None:
        with suppress(OSError):
            while not stopped.wait(0.05):
                connection.sendall(b"\0")

    with peer(tmp_path / "s", play) as endpoint:
        answer = probe(endpoint, 0.4)
        stopped.set()
    assert answer.outcome in (probing.ODD, probing.FOREIGN)


def test_a_peer_that_closes_at_once_is_told_from_one_that_is_silent(tmp_path: Path) -> None:
    assert asked(tmp_path, lambda connection: None).outcome == probing.CLOSED


def test_a_silent_peer_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    answer = asked(tmp_path, lambda connection: until_closed(connection) and None, 0.2)
    assert (answer.outcome, answer.text) == (probing.SILENT, "no answer within 0.2 s")


@pytest.mark.parametrize(
    ("packet", "text"),
    [
        (bytes.fromhex("0000000163"), "answers the negotiation with 'c' where 'O' belongs"),
        (bytes.fromhex("000000054f00000006"), "negotiation: 4 bytes where three integers belong"),
        (REPLY.replace(b"\x06", b"\x09"), "answers with version 9, which does not exist or is too old"),
        (REPLY.replace(b"\x06", b"\x01"), "answers with version 1, which does not exist or is too old"),
    ],
)
def test_a_packet_that_is_no_negotiation_is_said_to_be_none(tmp_path: Path, packet: bytes, text: str) -> None:
    answer = asked(tmp_path, saying(packet))
    assert (answer.outcome, answer.text) == (probing.ODD, text)


def test_a_peer_that_closes_in_its_answer_is_odd(tmp_path: Path) -> None:
    def play(connection: socket.socket) -> None:
        connection.recv(17)
        connection.sendall(REPLY[:9])

    assert asked(tmp_path, play).text == "began to answer and closed the connection in the middle of a packet"


def test_the_process_that_listens_is_known(tmp_path: Path) -> None:

    assert asked(tmp_path, saying(REPLY)).peer_pid == os.getpid()


def test_a_socket_that_was_left_behind_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    answer = probe(Endpoint("unix", path=str(tmp_path / "s")), 5.0)
    assert (answer.outcome, answer.text) == (probing.REFUSED, "Connection refused")


@given(st.binary(min_size=1, max_size=600))
def test_whatever_a_peer_says_it_is_something_and_one_line(data: bytes) -> None:
    assert classify(data).what
    assert excerpt(data).isprintable()
