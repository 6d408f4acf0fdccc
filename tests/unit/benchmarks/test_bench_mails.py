"""The mails that are sent: as big as said, and the same to a milter as to SMTP."""

from __future__ import annotations

import email

import pytest

from benchmarks import mails
from benchmarks.plan import HEADERS, SIZES_BYTES
from mmgr.protocol.commands import Body, Header, decode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX
from mmgr.protocol.framing import split_frames

SHAPES = [(size, headers) for size in SIZES_BYTES for headers in HEADERS]


@pytest.mark.parametrize(("size_bytes", "headers"), SHAPES)
def test_a_mail_has_exactly_its_size_and_its_headers(size_bytes: int, headers: int) -> None:
    content = mails.content(size_bytes, headers)
    assert len(content) == size_bytes
    assert len(email.message_from_bytes(content).items()) == headers


@pytest.mark.parametrize(("size_bytes", "headers"), SHAPES)
def test_a_mail_needs_no_stuffing_and_ends_its_lines_as_smtp_wants(size_bytes: int, headers: int) -> None:
    content = mails.content(size_bytes, headers)
    assert not any(line.startswith(b".") for line in content.split(b"\r\n"))
    assert content.endswith(b"\r\n")
    assert content.count(b"\n") == content.count(b"\r") == content.count(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) < 998


@pytest.mark.parametrize("size_bytes", [2, 3, 73, 74, 75, 76, 1000])
def test_a_body_is_as_long_as_asked_wherever_its_last_line_is_cut(size_bytes: int) -> None:
    assert len(mails.body(size_bytes)) == size_bytes


def test_too_few_headers_and_too_little_room_are_refused() -> None:
    with pytest.raises(ValueError, match="headers"):
        mails.content(10240, 4)
    with pytest.raises(ValueError, match="no room"):
        mails.content(200, 20)


def test_a_milter_is_shown_the_same_mail() -> None:
    decoded = [decode_command(frame) for frame in mails.as_frames(mails.message_part(10240, 20))]
    head = b"".join(
        item.name + b": " + item.value.replace(b"\n", b"\r\n") + b"\r\n" for item in decoded if isinstance(item, Header)
    )
    body = b"".join(item.chunk for item in decoded if isinstance(item, Body))
    assert head + b"\r\n" + body == mails.content(10240, 20)


def test_a_large_body_travels_in_chunks() -> None:
    bodies = [item for item in mails.message_part(1048576, 20) if isinstance(item, Body)]
    assert len(bodies) > 15


def test_a_session_is_whole_packets() -> None:
    messages = mails.whole_session()
    data = b"".join(mails.as_frames(messages))
    assert len(split_frames(data, COMMAND_LENGTH_MAX)) == len(messages)
