"""What the test tools print, compared with the incumbent's text."""

from __future__ import annotations

import pytest

from mmgr.cli.test_client_output import block
from mmgr.cli.test_server_output import described, header_lines, result, resulting_message
from mmgr.cli.writing import on_one_line, printable
from mmgr.peers.apply import apply_edits
from mmgr.peers.delivery import Outcome, Status
from mmgr.peers.mail import Message
from mmgr.peers.milter import Event
from mmgr.protocol.commands import Body, BodyEob, CommandMessage, Connect, Data, Header, Helo, Mail, Rcpt, Unknown
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import (
    AddHeader,
    AddRcpt,
    ChgFrom,
    ChgHeader,
    Continue,
    DelRcpt,
    Edit,
    InsHeader,
    ReplBody,
    ReplyCode,
    TempFail,
    Verdict,
)


def outcome(status: Status, verdict: Verdict, *edits: Edit, quarantine: bytes | None = None) -> Outcome:
    before = Message()
    after = apply_edits(before, edits, False)
    return Outcome(status, "end-of-message", verdict, (), edits, quarantine, before, after, 0.128)


def test_a_result_is_two_lines_and_an_empty_one() -> None:
    text = result(outcome(Status.ACCEPT, Continue()), 0.128, False)
    assert text == b"status: accept\nelapsed-time: 0.128000 seconds\n\n"


def test_a_quarantine_has_its_reason_on_a_third_line() -> None:
    text = result(outcome(Status.QUARANTINE, Continue(), quarantine=b"held\n\x1b[1m"), 1, False)
    assert text == b"status: quarantine\nelapsed-time: 1.000000 seconds\nQuarantine reason: <held\\x0a\\x1b[1m>\n\n"


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (TempFail(), b"temporary-failure"),
        (ReplyCode(b"451 4.7.1 try later"), b"temporary-failure [451]<4.7.1>(try later)"),
        (ReplyCode(b"451 try later"), b"temporary-failure [451](try later)"),
        (ReplyCode(b"451 "), b"temporary-failure [451]()"),
        (ReplyCode(b"451-4.7.1 one\r\n451 4.7.1 two"), b"temporary-failure [451]<4.7.1>(one / two)"),
        (ReplyCode(b"451 4.7.1 \xff\x07"), b"temporary-failure [451]<4.7.1>(\xff\\x07)"),
    ],
)
def test_a_reply_code_is_code_extended_code_and_message(verdict: Verdict, text: bytes) -> None:
    assert described(Status.TEMPORARY_FAILURE, verdict) == text


EDITS = (
    ChgFrom(b"newfrom@py.example"),
    DelRcpt(b"<receiver@example.org>"),
    AddRcpt(b"added@py.example"),
    InsHeader(0, b"X-First", b"ins"),
    ChgHeader(1, b"From", b"changed@py.example"),
    ChgHeader(1, b"To", b""),
    AddHeader(b"X-Cmilter", b"c1"),
    AddHeader(b"X-Py", b"one\n two"),
    ReplBody(b"new body\r\n"),
)

REFERENCE = b"""\
Envelope:------------------------------
- MAIL FROM:<sender@example.com>
+ MAIL FROM:<newfrom@py.example>
- RCPT TO:<receiver@example.org>
+ RCPT TO:<added@py.example>
Header:--------------------------------
+ X-First: ins
+ From: changed@py.example
+ X-Cmilter: c1
+ X-Py: one
+  two
- From: <sender@example.com>
- To: <receiver@example.org>
Body:----------------------------------
new body

"""


def test_the_resulting_message_is_printed_like_the_incumbents() -> None:
    assert resulting_message(outcome(Status.ACCEPT, Continue(), *EDITS), False) == REFERENCE


def test_colours_are_green_and_red() -> None:
    text = resulting_message(outcome(Status.ACCEPT, Continue(), *EDITS), True)
    assert b"\x1b[01;32m+ X-First: ins\x1b[00m\n" in text
    assert b"\x1b[01;31m- To: <receiver@example.org>\x1b[00m\n" in text


def test_a_deletion_stands_behind_what_came_in_its_place() -> None:
    before = ((b"A", b" 1"), (b"Subject", b" old"), (b"B", b" 2"))
    after = ((b"A", b" 1"), (b"Subject", b" new"), (b"B", b" 2"))
    lines = [b"".join(line) for line in header_lines(before, after)]
    assert lines == [b"  A: 1", b"+ Subject: new", b"- Subject: old", b"  B: 2"]


def test_what_a_peer_sent_can_not_steer_a_terminal() -> None:
    assert printable(b"a\r\nb\tc\x1b\x00\xff\r") == b"a\nb\tc\\x1b\\x00\xff\\x0d"
    assert on_one_line(b"a\n\tb") == b"a\\x0a\\x09b"


NEGOTIATION = b"negotiate: version=<6>, action=<add-headers|set-symbol-list>, step=<no-connect|no-unknown>\n"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Connect(b"mx", ord("4"), 50443, b"192.0.2.1"), b"connect: host=<mx>, address=<inet:50443@[192.0.2.1]>\n"),
        (Connect(b"mx", ord("6"), 1, b"::1"), b"connect: host=<mx>, address=<inet6:1@[::1]>\n"),
        (Connect(b"mx", ord("L"), 0, b"/s"), b"connect: host=<mx>, address=<unix:/s>\n"),
        (Connect(b"mx"), b"connect: host=<mx>, address=<unknown>\n"),
        (Helo(b"delian"), b"helo: <delian>\n"),
        (Mail(b"<a@b>"), b"envelope-from: <<a@b>>\n"),
        (Mail(b"<a@b>", (b"SIZE=1", b"X")), b"envelope-from: <<a@b>>, parameters=<SIZE=1 X>\n"),
        (Rcpt(b"<a@b>"), b"envelope-recipient: <<a@b>>\n"),
        (Unknown(b"HELP"), b"unknown: <HELP>\n"),
        (Data(), b"data\n"),
        (Header(b"Subject", b"one\n two"), b"header: <Subject: one\n two>\n"),
        (Body(b"x\r\n"), b"body: <x\n>\n"),
        (BodyEob(), b"end-of-message\n"),
        (OptionNegotiation(6, 0x101, 0x101), NEGOTIATION),
        (OptionNegotiation(6, 0, 0x40000000), b"negotiate: version=<6>, action=<none>, step=<0x40000000>\n"),
    ],
)
def test_events_are_printed_like_the_incumbents(message: CommandMessage, text: bytes) -> None:
    assert block(Event(message, {})) == text


def test_macros_follow_their_event() -> None:
    event = Event(Data(), {b"i": b"Q1", b"mail_addr": b"a\nb"})
    assert block(event) == b"data\nmacros:\n  i=Q1\n  mail_addr=a\\x0ab\n"
