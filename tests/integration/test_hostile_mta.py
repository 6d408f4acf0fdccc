"""Whatever connects to the manager's socket: that session ends, one line says what it was, and the next one works."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import psutil
import pytest

from mmgr.peers.delivery import Status
from mmgr.peers.mail import Message
from mmgr.peers.mta import MtaPeer
from mmgr.protocol.commands import (
    Abort,
    Body,
    BodyEob,
    CommandMessage,
    Connect,
    Data,
    Eoh,
    Header,
    Helo,
    Macro,
    Mail,
    Quit,
    Rcpt,
    encode_command,
)
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import encode_frame
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Continue, TempFail
from tests.integration.rig import Rig, body, headers
from tests.support.processes import LabDirectory, connect_to, wait_for
from workers.mta import QUIET_S

OFFER = OptionNegotiation(6, 0x1FF, 0x1FFFFF)
PATIENCE_S = 20.0
VALID_SESSION: Sequence[CommandMessage] = (
    OFFER,
    Macro(Command.SMFIC_CONNECT, {b"v": b"Postfix 3.5.8", b"j": b"mx"}),
    Connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7"),
    Helo(b"mx.example.net"),
    Mail(b"<a@example.com>", (b"SIZE=1",)),
    Rcpt(b"<b@example.org>"),
    Macro(Command.SMFIC_DATA, {b"i": b"Q1"}),
    Data(),
    Header(b"Subject", b"hello"),
    Eoh(),
    Body(b"body\r\n"),
    BodyEob(),
    Abort(),
    Quit(),
)


@pytest.fixture(scope="module")
def lonely(lab: LabDirectory) -> Iterator[Rig]:
    """A manager with one worker and one child."""
    with Rig(lab.subdirectory("hostile"), ["c1"], n_workers=1) as rig:
        yield rig


@pytest.fixture
def rig(lonely: Rig) -> Rig:
    """Its worker remembers nothing, neither what children want nor what it has warned of."""
    lonely.behave()
    lonely.forget()
    return lonely


def frames(*messages: CommandMessage) -> bytes:
    return b"".join(map(encode_command, messages))


def raw(command: str, payload: bytes = b"") -> bytes:
    """A packet with any payload at all."""
    return encode_frame(ord(command), payload)


NEGOTIATED = frames(OFFER)
GREETED = frames(*VALID_SESSION[:4])
IN_MAIL = frames(*VALID_SESSION[:6])
IN_BODY = frames(*VALID_SESSION[:11])


def what_came_back(rig: Rig, data: bytes, closes: bool = False) -> bytes:
    """Everything that the manager says to data until it closes; closes: after data nothing more will come."""
    said = b""
    with connect_to(rig.manager.spec, PATIENCE_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have seen enough already
            connection.sendall(data)
            if closes:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # it closed while bytes of ours lay unread
            while True:
                piece = connection.recv(65536)
                if not piece:
                    break
                said += piece
    return said


def complaints(rig: Rig, offset: int) -> list[str]:
    """The warnings and errors in the log since offset, but for the master's remark that its only worker is busy."""
    lines = rig.manager.log_text()[offset:].splitlines()
    return [line for line in lines if " warning: " in line or " error: " in line if " all-workers-busy " not in line]


def complaints_about(rig: Rig, data: bytes, closes: bool = False) -> list[str]:
    """What the log has about a connection that says data, once the session is over."""
    offset = len(rig.manager.log_text())
    what_came_back(rig, data, closes)
    rig.deliver()
    return complaints(rig, offset)


GARBAGE = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: mx\r\n\r\n", "an HTTP request"),
    "HTTP POST": (b"POST /checkv2 HTTP/1.0\r\n\r\n", "an HTTP request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "an HTTP/2 request"),
    "TLS": (bytes.fromhex("160301020001000 1fc0303".replace(" ", "")) + bytes(64), "a TLS handshake"),
    "SMTP": (b"EHLO mx.example.net\r\n", "an SMTP dialogue"),
    "QUIT of SMTP": (b"QUIT\r\n", "an SMTP dialogue"),
    "SSH": (b"SSH-2.0-OpenSSH_8.0\r\n", "an SSH greeting"),
    "PROXY": (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "the PROXY protocol"),
    "PROXY 2": (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12), "the PROXY protocol, version 2"),
    "spamc": (b"PING SPAMC/1.2\r\n\r\n", "a spamc request"),
    "clamd": (b"zINSTREAM\0", "a clamd request"),
    "text": (b"hello there, how are you\r\n", "text"),
    "empty lines": (b"\r\n\r\n\r\n", "text"),
    "null bytes": (bytes(64), "null bytes"),
    "random bytes": (bytes(range(0x81, 0xFF)), "random bytes"),
    "oversize length": (b"\x7f\xff\xff\xffO", "random bytes"),
    "largest length": (b"\xff\xff\xff\xff" * 4, "random bytes"),
    "zero length": (b"\0\0\0\0O", "random bytes"),
    "a megabyte": (os.urandom(1).replace(b"\0", b"\1") * (1 << 20), ""),
}


@pytest.mark.parametrize(("data", "name"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_one_warning_that_says_what_it_looks_like(rig: Rig, data: bytes, name: str) -> None:
    (line,) = complaints_about(rig, data)
    assert "warning: mta-misbehaved " in line
    assert name in line


@pytest.mark.parametrize(("data", "name"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_not_answered(rig: Rig, data: bytes, name: str) -> None:
    assert what_came_back(rig, data) == b""


@pytest.mark.parametrize(("data", "name"), GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_the_middle_of_a_session_is_one_warning(rig: Rig, data: bytes, name: str) -> None:
    (line,) = complaints_about(rig, GREETED + data)
    assert "warning: mta-misbehaved " in line
    assert "client=mx.example.net[192.0.2.7]" in line


BROKEN = {
    "unknown command": NEGOTIATED + raw("Z"),
    "unknown command first": raw("x", b"y"),
    "short negotiation": raw("O", bytes(11)),
    "empty negotiation": raw("O"),
    "long negotiation": raw("O", bytes.fromhex("00000006000001ff001fffff") + b"\0\0\0"),
    "version 1": frames(OptionNegotiation(1, 0x0F, 0x3F)),
    "version 0": frames(OptionNegotiation(0, 0, 0)),
    "second negotiation": NEGOTIATED + NEGOTIATED,
    "second negotiation late": IN_MAIL + NEGOTIATED,
    "connect first": frames(VALID_SESSION[2]),
    "mail first": frames(VALID_SESSION[4]),
    "end of message first": frames(BodyEob()),
    "connect without anything": NEGOTIATED + raw("C"),
    "connect without family": NEGOTIATED + raw("C", b"mx\0"),
    "connect of no family": NEGOTIATED + raw("C", b"mx\0X\0\x19192.0.2.7\0"),
    "connect without port": NEGOTIATED + raw("C", b"mx\x004\0"),
    "connect without end": NEGOTIATED + raw("C", b"mx\x004\0\x19192.0.2.7"),
    "helo without end": NEGOTIATED + raw("H", b"mx"),
    "helo of two strings": NEGOTIATED + raw("H", b"mx\0mx\0"),
    "mail without anything": GREETED + raw("M"),
    "mail without end": GREETED + raw("M", b"<a@x>"),
    "rcpt without end": GREETED + raw("R", b"<a@x>\0SIZE=1"),
    "data with a payload": IN_MAIL + raw("T", b"x"),
    "header without value": IN_MAIL + raw("L", b"Subject\0"),
    "header without end": IN_MAIL + raw("L", b"Subject\0hello"),
    "header of three strings": IN_MAIL + raw("L", b"Subject\0hello\0there\0"),
    "empty body chunk": IN_BODY + raw("B"),
    "abort with a payload": IN_MAIL + raw("A", b"x"),
    "macros without a stage": NEGOTIATED + raw("D"),
    "macro without value": NEGOTIATED + raw("D", b"Cj\0"),
    "macro without end": NEGOTIATED + raw("D", b"Cj\0mx"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_command_is_one_warning(rig: Rig, data: bytes) -> None:
    lines = complaints_about(rig, data)
    assert [line.split(" warning: ")[1].split()[0] for line in lines] == ["mta-misbehaved"]


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_after_a_broken_command_the_same_worker_serves_the_next_session(rig: Rig, data: bytes) -> None:
    before = rig.manager.worker_pids()
    what_came_back(rig, data)
    assert rig.deliver()[0].status is Status.ACCEPT
    assert rig.manager.worker_pids() == before


def test_a_negotiation_is_answered_once_even_if_it_comes_twice(rig: Rig) -> None:
    with rig.connect() as mta:
        mta.negotiate()
        mta.send(OFFER)
        mta.expect_close(PATIENCE_S)


def descriptors_after(rig: Rig, count: int, data: bytes) -> int:
    """How many descriptors the idle worker has after connections that say data."""
    (worker,) = rig.manager.worker_pids()
    for _ in range(count):
        what_came_back(rig, data)
    rig.deliver()
    process = psutil.Process(worker)
    time.sleep(2 * QUIET_S)  # a title is not changed by what lasts for less
    wait_for(lambda: " idle, " in " ".join(process.cmdline()), "idle worker")
    return process.num_fds()


def test_a_second_negotiation_leaks_no_connection_to_a_child(rig: Rig) -> None:
    before = descriptors_after(rig, 3, NEGOTIATED + NEGOTIATED)
    assert descriptors_after(rig, 20, NEGOTIATED + NEGOTIATED) <= before


# Cut off


def ends_of_prefixes() -> list[int]:
    return list(range(1, len(frames(*VALID_SESSION))))


def test_a_session_cut_off_at_any_byte_leaves_the_worker_alone(rig: Rig) -> None:
    whole = frames(*VALID_SESSION)
    before = rig.manager.worker_pids()
    for end in ends_of_prefixes():
        what_came_back(rig, whole[:end], closes=True)
    assert rig.deliver()[0].status is Status.ACCEPT
    assert rig.manager.worker_pids() == before


def test_a_session_cut_off_at_any_byte_leaves_no_connection_to_a_child(rig: Rig) -> None:
    whole = frames(*VALID_SESSION)
    for end in ends_of_prefixes()[::7]:
        what_came_back(rig, whole[:end], closes=True)
    rig.wait_for_ends()
    assert {told.ended for told in rig["c1"].sessions} <= {"quit", "closed"}


def test_a_session_that_comes_in_one_piece_is_answered(rig: Rig) -> None:
    whole = frames(*VALID_SESSION)
    assert what_came_back(rig, whole).endswith(encode_frame(ord("c"), b""))
    assert (headers(rig.told("c1")), body(rig.told("c1"))) == ([(b"Subject", b"hello")], b"body\r\n")


def test_a_session_that_comes_byte_by_byte_is_answered(rig: Rig) -> None:
    with connect_to(rig.manager.spec, PATIENCE_S) as connection:
        for byte in frames(*VALID_SESSION):
            connection.sendall(bytes((byte,)))
        while connection.recv(65536):
            pass
    assert body(rig.told("c1")) == b"body\r\n"


def test_a_packet_cut_off_says_what_it_looks_like(rig: Rig) -> None:
    (line,) = complaints_about(rig, b"GET", closes=True)
    assert "closed in the middle of a packet" in line


def test_connections_that_are_closed_at_once_are_no_reason_to_complain(rig: Rig) -> None:
    offset = len(rig.manager.log_text())
    for _ in range(10):
        connect_to(rig.manager.spec).close()
    rig.deliver()
    assert complaints(rig, offset) == []


def test_an_mta_that_closes_without_quit_is_no_reason_to_complain(rig: Rig) -> None:
    assert complaints_about(rig, IN_BODY, closes=True) == []


def test_connections_that_say_nothing_leave_the_other_workers_free(trio: Rig) -> None:
    with connect_to(trio.manager.spec):
        assert [trio.deliver()[0].status for _ in range(5)] == [Status.ACCEPT] * 5


def test_two_hundred_bad_connections_in_a_row_do_no_harm(rig: Rig) -> None:
    before = rig.manager.worker_pids()
    data = [data for data, _ in GARBAGE.values() if len(data) < 1000] + list(BROKEN.values())
    for number in range(200):
        what_came_back(rig, data[number % len(data)])
    assert rig.deliver()[0].status is Status.ACCEPT
    assert rig.manager.worker_pids() == before


def test_bad_connections_that_repeat_themselves_do_not_fill_the_log(rig: Rig) -> None:
    offset = len(rig.manager.log_text())
    for _ in range(50):
        what_came_back(rig, b"GET / HTTP/1.1\r\n\r\n")
    rig.deliver()
    assert len(complaints(rig, offset)) == 1


def test_bad_connections_leak_no_descriptor(rig: Rig) -> None:
    garbage = IN_BODY + b"garbage, and a lot of it"
    before = descriptors_after(rig, 3, garbage)
    assert descriptors_after(rig, 30, garbage) <= before


def test_a_megabyte_of_body_without_an_end_costs_the_worker_nothing_in_the_long_run(rig: Rig) -> None:
    what_came_back(rig, IN_MAIL + raw("T") + raw("N") + raw("B", b"x" * 65535) * 40, closes=True)
    assert rig.deliver()[0].status is Status.ACCEPT


# Out of order: answered, or the MTA would hang


def in_order_until(mta: MtaPeer, stage: str) -> None:
    """Drive an MTA to a stage."""
    mta.negotiate()
    for name, step in (
        ("connect", lambda: mta.connect(b"mx.example.net")),
        ("helo", lambda: mta.helo(b"mx.example.net")),
        ("mail", lambda: mta.mail(b"<a@example.com>")),
        ("rcpt", lambda: mta.rcpt(b"<b@example.org>")),
        ("data", mta.data),
        ("header", lambda: mta.header(b"Subject", b"1")),
        ("body", lambda: mta.body(b"body\r\n")),
    ):
        if stage == "negotiate":
            return
        step()
        if name == stage:
            return


OUT_OF_ORDER = [
    ("negotiate", Mail(b"<a@x>")),
    ("negotiate", Rcpt(b"<a@x>")),
    ("negotiate", Data()),
    ("connect", Connect(b"again")),
    ("connect", Rcpt(b"<a@x>")),
    ("helo", Connect(b"again")),
    ("helo", Rcpt(b"<a@x>")),
    ("helo", Data()),
    ("mail", Data()),
    ("data", Rcpt(b"<a@x>")),
    ("data", Data()),
    ("header", Rcpt(b"<a@x>")),
    ("header", Connect(b"again")),
    ("body", Data()),
]


@pytest.mark.parametrize(("stage", "command"), OUT_OF_ORDER, ids=str)
def test_a_command_out_of_order_gets_a_temporary_failure(rig: Rig, stage: str, command: CommandMessage) -> None:
    with rig.connect() as mta:
        in_order_until(mta, stage)
        mta.send(command)
        assert isinstance(mta.read_reply(), TempFail)


@pytest.mark.parametrize(("stage", "command"), OUT_OF_ORDER, ids=str)
def test_a_command_out_of_order_leaves_the_session_fit_for_the_next_message(
    rig: Rig, stage: str, command: CommandMessage
) -> None:
    with rig.connect() as mta:
        in_order_until(mta, stage)
        mta.send(command)
        mta.read_reply()
        mta.abort()
        if stage == "negotiate":
            mta.connect(b"mx.example.net")
        mta.helo(b"mx.example.net")
        mta.mail(b"<new@example.com>")
        mta.rcpt(b"<b@example.org>")
        mta.data()
        mta.header(b"Subject", b"new")
        mta.eoh()
        assert isinstance(mta.end_of_message(), Continue)
        mta.quit()
    assert headers(rig.told("c1")) == [(b"Subject", b"new")]


def test_an_end_of_message_right_after_the_recipients_is_answered(rig: Rig) -> None:
    with rig.connect() as mta:
        in_order_until(mta, "rcpt")
        assert isinstance(mta.end_of_message(), Continue)


def test_an_end_of_message_where_there_is_no_message_is_answered(rig: Rig) -> None:
    with rig.connect() as mta:
        in_order_until(mta, "helo")
        assert isinstance(mta.end_of_message(), TempFail)


def test_headers_after_the_body_do_not_get_a_message_accepted(rig: Rig) -> None:
    """They are no part of what the children have seen."""
    with rig.connect() as mta:
        in_order_until(mta, "body")
        mta.send(Header(b"X-Late", b"1"))
        assert isinstance(mta.end_of_message(), TempFail)


def test_an_mta_that_leaves_replies_unread_gets_them_later(rig: Rig) -> None:
    with rig.connect(OptionNegotiation(6, 0x1FF, 0)) as mta:
        in_order_until(mta, "data")
        mta.send(*[Header(b"X", b"1")] * 5000)
        assert [type(mta.read_reply()) for _ in range(5000)] == [Continue] * 5000
        assert isinstance(mta.end_of_message(), Continue)


def test_an_mta_that_sends_the_next_message_before_the_reply_to_the_last_gets_both(rig: Rig) -> None:
    message = VALID_SESSION[4:12]
    with rig.connect() as mta:
        in_order_until(mta, "helo")
        mta.send(*message, *message)
        replies = [type(mta.read_reply()) for _ in range(8)]
    assert replies == [Continue] * 8


def test_a_session_whose_mta_stays_idle_ends_when_the_mta_goes(rig: Rig) -> None:
    with rig.greeted() as mta:
        mta.mail(b"<a@example.com>")
    assert rig.told("c1").ended == "quit"
    wait_for(lambda: "idle" in " ".join(psutil.Process(rig.manager.worker_pids()[0]).cmdline()), "idle worker")
    assert rig.deliver(Message())[0].status is Status.ACCEPT
