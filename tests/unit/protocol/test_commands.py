"""Commands: what the vectors can't show, which is what our own side must not send."""

from __future__ import annotations

import pytest

from mmgr.protocol.commands import (
    FAMILY_INET,
    FAMILY_INET6,
    FAMILY_UNIX,
    FAMILY_UNKNOWN,
    Body,
    CommandMessage,
    Connect,
    Header,
    Helo,
    Macro,
    Mail,
    Rcpt,
    Unknown,
    decode_command,
    encode_command,
)
from mmgr.protocol.errors import LocalProtocolError
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Continue

NOT_TO_BE_SENT = {
    "an empty body chunk": Body(b""),
    "a NUL in a host name": Connect(b"a\0b", FAMILY_INET, 25, b"192.0.2.7"),
    "a NUL in an address": Connect(b"a", FAMILY_INET, 25, b"192.0.2.7\0"),
    "a family that does not exist": Connect(b"a", ord("5"), 25, b"192.0.2.7"),
    "a family that is no byte": Connect(b"a", 256, 25, b"192.0.2.7"),
    "a port below 0": Connect(b"a", FAMILY_INET, -1, b"192.0.2.7"),
    "a port above 65535": Connect(b"a", FAMILY_INET6, 65536, b"::1"),
    "a NUL in HELO": Helo(b"\0"),
    "a NUL in a sender": Mail(b"<a\0@b>"),
    "a NUL in a parameter": Mail(b"<a@b>", (b"SIZE=1", b"\0")),
    "a NUL in a recipient": Rcpt(b"\0"),
    "a NUL in a header's name": Header(b"a\0", b"b"),
    "a NUL in a header's value": Header(b"a", b"b\0"),
    "a NUL in an unknown command": Unknown(b"\0"),
    "a NUL in a macro": Macro(ord("C"), {b"j": b"a\0b"}),
    "a stage that is no byte": Macro(256, {}),
    "a version that does not fit": OptionNegotiation(1 << 32, 0, 0),
    "actions that do not fit": OptionNegotiation(6, -1, 0),
    "steps that do not fit": OptionNegotiation(6, 0, 1 << 32),
}


@pytest.mark.parametrize("message", NOT_TO_BE_SENT.values(), ids=list(NOT_TO_BE_SENT))
def test_what_must_not_be_sent_is_our_own_fault(message: CommandMessage) -> None:
    with pytest.raises(LocalProtocolError):
        encode_command(message)


def test_a_reply_is_no_command() -> None:
    with pytest.raises(LocalProtocolError, match="no such command: Continue"):
        encode_command(Continue())  # type: ignore[arg-type]


def test_half_a_frame_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        decode_command(b"\0\0\0\x02A")


def test_an_offer_is_exactly_twelve_bytes_of_payload() -> None:
    assert len(encode_command(OptionNegotiation(6, 0x1FF, 0x1FFFFF))) == 5 + 12


def test_families_are_the_bytes_of_the_wire() -> None:
    assert bytes((FAMILY_UNKNOWN, FAMILY_UNIX, FAMILY_INET, FAMILY_INET6)) == b"UL46"


def test_records_of_commands_can_not_be_changed() -> None:
    with pytest.raises(AttributeError):
        Helo(b"mx").name = b"other"  # type: ignore[misc]
