"""Frames: lengths and their limits, what is no frame at all, and what it looks like."""

from __future__ import annotations

import pytest

from mmgr.protocol.constants import COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX, Command, Reply
from mmgr.protocol.errors import LocalProtocolError, RemoteProtocolError
from mmgr.protocol.framing import FrameBuffer, check_frame, encode_frame, encode_message, looks_like, split_frames

ABORT = b"\0\0\0\x01A"
QUIT = b"\0\0\0\x01Q"
LIMIT = 16


def prefix(length: int) -> bytes:
    return length.to_bytes(4, "big")


def test_a_frame_is_length_code_and_payload() -> None:
    assert encode_frame(Command.SMFIC_HELO, b"mx\0") == b"\0\0\0\x04Hmx\0"


def test_a_frame_without_a_payload_counts_its_code() -> None:
    assert encode_frame(Reply.SMFIR_CONTINUE) == b"\0\0\0\x01c"


# ---- FrameBuffer


def test_a_buffer_without_bytes_gives_nothing() -> None:
    assert FrameBuffer(LIMIT).feed(b"") == []


def test_several_frames_in_one_go_come_oldest_first() -> None:
    assert FrameBuffer(LIMIT).feed(ABORT + QUIT + ABORT[:3]) == [ABORT, QUIT]


def test_a_frame_as_long_as_the_limit_passes() -> None:
    frame = prefix(LIMIT) + b"B" + b"x" * (LIMIT - 1)
    assert FrameBuffer(LIMIT).feed(frame) == [frame]


@pytest.mark.parametrize("length", [0, LIMIT + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_length_below_one_or_above_the_limit_is_refused_without_waiting_for_the_rest(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"packet length {length} is not between 1 and {LIMIT}"):
        FrameBuffer(LIMIT).feed(prefix(length))


@pytest.mark.parametrize("length", [0, LIMIT + 1, 0xFFFFFFFF])
def test_a_length_that_is_not_whole_yet_is_awaited(length: int) -> None:
    assert FrameBuffer(LIMIT).feed(prefix(length)[:3]) == []


@pytest.mark.parametrize("limit", [COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX])
def test_the_real_limits_let_the_largest_negotiable_data_pass_and_nothing_much_longer(limit: int) -> None:
    largest = prefix(1048575 + 1)
    assert FrameBuffer(limit).feed(largest) == []
    with pytest.raises(RemoteProtocolError):
        FrameBuffer(limit).feed(prefix(limit + 1))


def test_frames_ahead_of_a_bad_length_are_given_and_then_the_error_comes() -> None:
    buffer = FrameBuffer(LIMIT)
    assert buffer.feed(ABORT + QUIT + prefix(0)) == [ABORT, QUIT]
    assert buffer.is_broken
    with pytest.raises(RemoteProtocolError):
        buffer.feed(b"")


def test_after_a_bad_length_nothing_is_taken_any_more() -> None:
    buffer = FrameBuffer(LIMIT)
    with pytest.raises(RemoteProtocolError):
        buffer.feed(prefix(0))
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            buffer.feed(ABORT)
    assert len(buffer) == 4


def test_a_buffer_in_good_order_is_not_broken() -> None:
    buffer = FrameBuffer(LIMIT)
    buffer.feed(ABORT + QUIT[:2])
    assert not buffer.is_broken


def test_the_error_names_what_the_bytes_look_like() -> None:
    with pytest.raises(RemoteProtocolError, match="this looks like an HTTP request"):
        FrameBuffer(LIMIT).feed(ABORT[:0] + b"GET /ping HTTP/1.0\r\n\r\n")


def test_the_error_names_what_stands_behind_the_last_whole_frame() -> None:
    buffer = FrameBuffer(LIMIT)
    buffer.feed(ABORT + b"220 mx.example.net ESMTP\r\n")
    with pytest.raises(RemoteProtocolError, match="the greeting of an SMTP service"):
        buffer.feed(b"")


# ---- split_frames and check_frame


def test_bytes_split_into_their_frames() -> None:
    assert split_frames(ABORT + QUIT, LIMIT) == [ABORT, QUIT]


def test_no_bytes_split_into_no_frames() -> None:
    assert split_frames(b"", LIMIT) == []


@pytest.mark.parametrize("rest", [b"\0", b"\0\0\0\x02A", b"\0\0\0\x01"])
def test_left_over_bytes_do_not_split(rest: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{len(rest)} bytes are left over"):
        split_frames(ABORT + rest, LIMIT)


def test_a_bad_length_behind_frames_does_not_split() -> None:
    with pytest.raises(RemoteProtocolError, match="packet length 0"):
        split_frames(ABORT + prefix(0), LIMIT)


@pytest.mark.parametrize("frame", [b"", b"\0\0\0\0", b"\0\0\0\x01", b"\0\0\0\x02A", ABORT + b"x", ABORT + QUIT])
def test_what_is_not_one_whole_frame_is_our_own_fault(frame: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        check_frame(frame)


def test_one_whole_frame_passes_the_check() -> None:
    check_frame(ABORT)


# ---- encode_message


@pytest.mark.parametrize("message", [None, b"", "text", 7, object])
def test_what_is_no_record_can_not_be_sent(message: object) -> None:
    with pytest.raises(LocalProtocolError, match="no such thing"):
        encode_message({}, message, "thing")


# ---- looks_like

FOREIGN = {
    b"GET /ping HTTP/1.0\r\n": "an HTTP request",
    b"POST /checkv2 HTTP/1.1\r\n": "an HTTP request",
    b"HEAD / HTTP/1.1\r\n": "an HTTP request",
    b"PUT /x HTTP/1.1\r\n": "an HTTP request",
    b"OPTIONS * HTTP/1.1\r\n": "an HTTP request",
    b"CONNECT mx:25 HTTP/1.1\r\n": "an HTTP request",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "an HTTP/2 request",
    b"HTTP/1.1 400 Bad Request\r\n": "an HTTP response",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc": "a TLS handshake",
    b"\x80\x2e\x01\x00\x02\x00\x15": "an old SSL handshake",
    b"EHLO client.example\r\n": "an SMTP dialogue",
    b"ehlo client.example\r\n": "an SMTP dialogue",
    b"HELO client.example\r\n": "an SMTP dialogue",
    b"LHLO client.example\r\n": "an LMTP dialogue",
    b"MAIL FROM:<a@b>\r\n": "an SMTP dialogue",
    b"QUIT\r\n": "an SMTP dialogue",
    b"220 mx.example.net ESMTP Postfix\r\n": "the greeting of an SMTP service",
    b"220-mx.example.net ESMTP Exim\r\n": "the greeting of an SMTP service",
    b"SSH-2.0-OpenSSH_9.2p1\r\n": "an SSH greeting",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 40025 25\r\n": "the PROXY protocol",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c": "the PROXY protocol, version 2",
    b"SPAMC ping\r\n": "a spamc request",
    b"PING SPAMC/1.5\r\n": "a spamc request",
    b"SPAMD/1.0 76 Bad header line\r\n": "an answer of spamd",
    b"zINSTREAM\0": "a clamd request",
    b"nPING\n": "a clamd request",
    b"UNKNOWN COMMAND\n": "an answer of clamd",
    b"* OK IMAP4rev1 ready\r\n": "an IMAP greeting",
    b"+OK POP3 ready\r\n": "a POP3 greeting",
    b'<?xml version="1.0"?>': "XML",
    b'{"action": "accept"}': "JSON",
    b"something else entirely\r\n": "text",
    b"\0\0\0\0\0\0\0\0": "null bytes",
    b"\0\0\0\0c": "random bytes",
    b"\xde\xad\xbe\xef": "random bytes",
    b"caf\xc3\xa9 and more": "random bytes",
}


@pytest.mark.parametrize(("data", "name"), FOREIGN.items(), ids=[repr(data)[2:20] for data in FOREIGN])
def test_bytes_of_another_protocol_are_named(data: bytes, name: str) -> None:
    assert looks_like(data) == name


@pytest.mark.parametrize("data", [data for data in FOREIGN if data[0]], ids=lambda data: repr(data)[2:20])
def test_bytes_of_another_protocol_are_never_taken_for_a_length_within_the_limits(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="this looks like"):
        FrameBuffer(COMMAND_LENGTH_MAX).feed(data)
