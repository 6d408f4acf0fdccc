"""The mails that are sent, and the same as the milter packets that Postfix makes of them. PURE."""

from __future__ import annotations

from collections.abc import Iterable

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
from mmgr.protocol.constants import CHUNK_BYTES_MAX, Command
from mmgr.protocol.options import OptionNegotiation

POSTFIX_OFFER = OptionNegotiation(6, 0x1FF, 0x1FFFFF)
"""What Postfix 3.7 offers with milter_protocol = 6."""

_FIRST = (
    (b"From", b"<a@sender.test>"),
    (b"To", b"<u@discard.test>"),
    (b"Subject", b"a mail of the benchmarks"),
    (b"Date", b"Thu, 01 Jan 2026 12:00:00 +0000"),
    (b"Message-ID", b"<bench@sender.test>"),
)
_HEADER_BYTES_MAX = 72
_BODY_LINE = b"The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on.\r\n"


def header_fields(size_bytes: int, headers: int) -> list[tuple[bytes, bytes]]:
    """That many headers; beyond the first five each is as long as usual ones are, or shorter if the mail is small.

    Every seventh is folded. Raises ValueError for less than five.
    """
    if headers < len(_FIRST):
        raise ValueError(f"{headers} headers are less than {len(_FIRST)}")
    room = min(_HEADER_BYTES_MAX, (size_bytes - 512) // headers)
    fields = list(_FIRST)
    for number in range(len(_FIRST), headers):
        name = b"X-Bench-%02d" % number
        value = b"v" * max(room - len(name) - 4, 8)
        if number % 7 == 0:
            value = value[:4] + b"\n\t" + value[4:]
        fields.append((name, value))
    return fields


def content(size_bytes: int, headers: int) -> bytes:
    """A mail of exactly size_bytes with CRLF lines, none of which begins with a dot."""
    fields = header_fields(size_bytes, headers)
    head = b"".join(name + b": " + value.replace(b"\n", b"\r\n") + b"\r\n" for name, value in fields) + b"\r\n"
    return head + body(size_bytes - len(head))


def body(size_bytes: int) -> bytes:
    """Lines of text, the last as long as it takes. Raises ValueError for less than two bytes."""
    if size_bytes < 2:
        raise ValueError(f"no room for a body: {size_bytes} bytes are left")
    text = _BODY_LINE * (size_bytes // len(_BODY_LINE) + 1)
    return text[: size_bytes - 2].replace(b"\r", b"-").replace(b"-\n", b"\r\n") + b"\r\n"


def session_opening() -> list[CommandMessage]:
    """What Postfix sends once per SMTP connection, behind the negotiation."""
    return [
        Macro(
            Command.SMFIC_CONNECT,
            {b"j": b"mx.test", b"{daemon_name}": b"mx.test", b"{daemon_addr}": b"127.0.0.1", b"v": b"Postfix 3.7.11"},
        ),
        Connect(b"localhost", ord("4"), 40000, b"127.0.0.1"),
        Macro(Command.SMFIC_HELO, {}),
        Helo(b"client.test"),
    ]


def envelope() -> list[CommandMessage]:
    """MAIL and RCPT of one message."""
    return [
        Macro(
            Command.SMFIC_MAIL,
            {b"{mail_addr}": b"a@sender.test", b"{mail_host}": b"sender.test", b"{mail_mailer}": b"discard"},
        ),
        Mail(b"<a@sender.test>", (b"SIZE=10240",)),
        Macro(
            Command.SMFIC_RCPT,
            {b"{rcpt_addr}": b"u@discard.test", b"{rcpt_host}": b"discard.test", b"{rcpt_mailer}": b"discard"},
        ),
        Rcpt(b"<u@discard.test>"),
    ]


def message_part(size_bytes: int, headers: int) -> list[CommandMessage]:
    """From DATA to the end of one message."""
    fields = header_fields(size_bytes, headers)
    text = content(size_bytes, headers).partition(b"\r\n\r\n")[2]
    chunks = [text[start : start + CHUNK_BYTES_MAX] for start in range(0, len(text), CHUNK_BYTES_MAX)]
    macros = {b"i": b"4jXZqd0V7MzK6wT"}
    ahead = Macro(Command.SMFIC_HEADER, macros)  # which Postfix repeats each time
    return [
        Macro(Command.SMFIC_DATA, macros),
        Data(),
        *(message for name, value in fields for message in (ahead, Header(name, value))),
        Macro(Command.SMFIC_EOH, macros),
        Eoh(),
        *(message for chunk in chunks for message in (Macro(Command.SMFIC_BODY, macros), Body(chunk))),
        Macro(Command.SMFIC_BODYEOB, macros),
        BodyEob(),
        Abort(),
    ]


def whole_session(size_bytes: int = 10240, headers: int = 20) -> list[CommandMessage]:
    """One SMTP connection with one message, from the negotiation to QUIT."""
    return [POSTFIX_OFFER, *session_opening(), *envelope(), *message_part(size_bytes, headers), Quit()]


def as_frames(messages: Iterable[CommandMessage]) -> list[bytes]:
    """One packet each."""
    return [encode_command(message) for message in messages]
