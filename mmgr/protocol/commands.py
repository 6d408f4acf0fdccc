"""Commands, MTA to milter: one frozen record each, decoded and encoded by table.

``decode_command`` takes a whole frame; ``encode_command`` gives one. Strings stay the bytes that came, any 8-bit
value but NUL. Sources: libmilter engine.c, Postfix milter8.c (``milter8_event``), sendmail milter.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, Union

from mmgr.protocol.constants import Command
from mmgr.protocol.errors import LocalProtocolError, RemoteProtocolError
from mmgr.protocol.fields import UINT16, nothing, one_string, shown, strings, terminated, two_strings
from mmgr.protocol.framing import CODE, PAYLOAD, check_frame, encode_message
from mmgr.protocol.macros import decode_macros, encode_macros
from mmgr.protocol.options import OptionNegotiation, decode_options, encode_options

FAMILY_UNKNOWN = ord("U")
FAMILY_UNIX = ord("L")
FAMILY_INET = ord("4")
FAMILY_INET6 = ord("6")
_FAMILIES = (FAMILY_UNKNOWN, FAMILY_UNIX, FAMILY_INET, FAMILY_INET6)


@dataclass(frozen=True)
class Macro:
    """SMFIC_MACRO: the macros for the command whose byte is ``command``; names without braces."""

    command: int
    macros: Mapping[bytes, bytes] = field(hash=False)


@dataclass(frozen=True)
class Connect:
    """SMFIC_CONNECT: the SMTP client. family is one of ``U L 4 6`` as a number; port 0 and address empty for U."""

    hostname: bytes
    family: int = FAMILY_UNKNOWN
    port: int = 0
    address: bytes = b""


@dataclass(frozen=True)
class Helo:
    """SMFIC_HELO: the argument of HELO or EHLO."""

    name: bytes


@dataclass(frozen=True)
class Mail:
    """SMFIC_MAIL: the sender as the client typed it, and its ESMTP parameters."""

    sender: bytes
    parameters: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Rcpt:
    """SMFIC_RCPT: one recipient as the client typed it, and its ESMTP parameters."""

    recipient: bytes
    parameters: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Data:
    """SMFIC_DATA."""


@dataclass(frozen=True)
class Header:
    """SMFIC_HEADER: folded lines are joined by LF alone; the value keeps its leading space if that was negotiated."""

    name: bytes
    value: bytes


@dataclass(frozen=True)
class Eoh:
    """SMFIC_EOH."""


@dataclass(frozen=True)
class Body:
    """SMFIC_BODY: 1 to 65,535 bytes with CRLF line ends, dots unstuffed."""

    chunk: bytes


@dataclass(frozen=True)
class BodyEob:
    """SMFIC_BODYEOB: end of message; a chunk in it is allowed by the protocol and sent by nobody."""

    chunk: bytes = b""


@dataclass(frozen=True)
class Abort:
    """SMFIC_ABORT: forget this message. Never answered."""


@dataclass(frozen=True)
class Quit:
    """SMFIC_QUIT: the session is over. Never answered."""


@dataclass(frozen=True)
class QuitNc:
    """SMFIC_QUIT_NC: the session is over, a new one follows on this connection. Never answered."""


@dataclass(frozen=True)
class Unknown:
    """SMFIC_UNKNOWN: an SMTP command that the MTA does not know (Postfix before 3.8 sends only its verb)."""

    line: bytes


CommandMessage = Union[
    OptionNegotiation, Macro, Connect, Helo, Mail, Rcpt, Data, Header, Eoh, Body, BodyEob, Abort, Quit, QuitNc, Unknown
]


def _decode_macro(payload: bytes) -> Macro:
    return Macro(*decode_macros(payload))


def decode_connect(payload: bytes) -> Connect:
    r"""Payload = hostname NUL | family byte | unless family is U: uint16 port | address NUL.

    Example: b"mx\x004\x00\x19192.0.2.7\x00" -> Connect(b"mx", ord("4"), 25, b"192.0.2.7"). The address stays as it
    came: Sendmail writes ``IPv6:`` ahead of an IPv6 one, Postfix does not. Raises RemoteProtocolError on a missing NUL,
    family or port, a family that does not exist, and bytes behind U.
    """
    hostname, found, rest = payload.partition(b"\0")
    if not found or not rest:
        raise RemoteProtocolError(f"connect: no family after the host name: {shown(payload)}")
    family = rest[0]
    if family not in _FAMILIES:
        raise RemoteProtocolError(f"connect: no such address family: {shown(rest[:1])}")
    if family == FAMILY_UNKNOWN:
        nothing(rest[1:], "connect from an unknown family")
        return Connect(hostname)
    if len(rest) < 3:
        raise RemoteProtocolError("connect: the port is cut off")
    return Connect(hostname, family, UINT16.unpack_from(rest, 1)[0], one_string(rest[3:], "connect"))


def _encode_connect(message: Connect) -> bytes:
    if message.family not in _FAMILIES:
        raise LocalProtocolError(f"no such address family: {message.family}")
    head = terminated(message.hostname) + bytes((message.family,))
    if message.family == FAMILY_UNKNOWN:
        return head
    return head + UINT16.pack(message.port) + terminated(message.address)


def _encode_body(message: Body) -> bytes:
    if not message.chunk:
        raise LocalProtocolError("an empty body chunk makes libmilter hang up")
    return message.chunk


def _decode_helo(payload: bytes) -> Helo:
    return Helo(one_string(payload, "helo"))


def _decode_mail(payload: bytes) -> Mail:
    sender, *parameters = strings(payload, "mail")
    return Mail(sender, tuple(parameters))


def _decode_rcpt(payload: bytes) -> Rcpt:
    recipient, *parameters = strings(payload, "rcpt")
    return Rcpt(recipient, tuple(parameters))


def decode_header(payload: bytes) -> Header:
    r"""Payload = name NUL value NUL. Example: b"Subject\0hi\0" -> Header(b"Subject", b"hi")."""
    return Header(*two_strings(payload, "header"))


def _decode_body(payload: bytes) -> Body:
    if not payload:
        raise RemoteProtocolError("body: an empty chunk")
    return Body(payload)


def _decode_unknown(payload: bytes) -> Unknown:
    return Unknown(one_string(payload, "unknown"))


def _decode_empty(payload: bytes, kind: Callable[[], CommandMessage], what: str) -> CommandMessage:
    nothing(payload, what)
    return kind()


_DECODERS: dict[int, Callable[[bytes], CommandMessage]] = {
    Command.SMFIC_OPTNEG: decode_options,
    Command.SMFIC_MACRO: _decode_macro,
    Command.SMFIC_CONNECT: decode_connect,
    Command.SMFIC_HELO: _decode_helo,
    Command.SMFIC_MAIL: _decode_mail,
    Command.SMFIC_RCPT: _decode_rcpt,
    Command.SMFIC_DATA: lambda payload: _decode_empty(payload, Data, "data"),
    Command.SMFIC_HEADER: decode_header,
    Command.SMFIC_EOH: lambda payload: _decode_empty(payload, Eoh, "end of headers"),
    Command.SMFIC_BODY: _decode_body,
    Command.SMFIC_BODYEOB: BodyEob,
    Command.SMFIC_ABORT: lambda payload: _decode_empty(payload, Abort, "abort"),
    Command.SMFIC_QUIT: lambda payload: _decode_empty(payload, Quit, "quit"),
    Command.SMFIC_QUIT_NC: lambda payload: _decode_empty(payload, QuitNc, "quit and new connection"),
    Command.SMFIC_UNKNOWN: _decode_unknown,
}


def decode_command(frame: bytes) -> CommandMessage:
    """The command in one whole frame. Raises RemoteProtocolError for an unknown code or a payload that does not fit."""
    check_frame(frame)
    decoder = _DECODERS.get(frame[CODE])
    if decoder is None:
        raise RemoteProtocolError(f"no such command: {shown(frame[CODE:PAYLOAD])}")
    return decoder(frame[PAYLOAD:])


_ENCODERS: dict[type[object], tuple[int, Callable[..., bytes]]] = {
    OptionNegotiation: (Command.SMFIC_OPTNEG, encode_options),
    Macro: (Command.SMFIC_MACRO, lambda m: encode_macros(m.command, m.macros.items())),
    Connect: (Command.SMFIC_CONNECT, _encode_connect),
    Helo: (Command.SMFIC_HELO, lambda m: terminated(m.name)),
    Mail: (Command.SMFIC_MAIL, lambda m: terminated(m.sender, *m.parameters)),
    Rcpt: (Command.SMFIC_RCPT, lambda m: terminated(m.recipient, *m.parameters)),
    Data: (Command.SMFIC_DATA, lambda m: b""),
    Header: (Command.SMFIC_HEADER, lambda m: terminated(m.name, m.value)),
    Eoh: (Command.SMFIC_EOH, lambda m: b""),
    Body: (Command.SMFIC_BODY, _encode_body),
    BodyEob: (Command.SMFIC_BODYEOB, lambda m: m.chunk),
    Abort: (Command.SMFIC_ABORT, lambda m: b""),
    Quit: (Command.SMFIC_QUIT, lambda m: b""),
    QuitNc: (Command.SMFIC_QUIT_NC, lambda m: b""),
    Unknown: (Command.SMFIC_UNKNOWN, lambda m: terminated(m.line)),
}


def encode_command(message: CommandMessage) -> bytes:
    """One frame. A macro's names get the braces that they travel with: ``mail_addr`` goes out as ``{mail_addr}``.

    Raises LocalProtocolError for what is no command, a string with a NUL in it, a number that does not fit its field,
    and an empty body chunk.
    """
    return encode_message(_ENCODERS, message, "command")


_STRINGS = {int(Command.SMFIC_HEADER): 2, int(Command.SMFIC_HELO): 1, int(Command.SMFIC_UNKNOWN): 1}
_SOME_STRINGS = frozenset((int(Command.SMFIC_MAIL), int(Command.SMFIC_RCPT)))
_PLAIN = frozenset(encode_command(message) for message in (Data(), Eoh(), BodyEob(), Abort(), Quit()))
_MACRO, _BODY, _END = int(Command.SMFIC_MACRO), int(Command.SMFIC_BODY), int(Command.SMFIC_BODYEOB)


def check_command(frame: bytes) -> None:
    """Raise as ``decode_command`` does, but take nothing apart: for who passes most frames on as they are."""
    if frame in _PLAIN:
        return
    code = frame[CODE]
    size = len(frame)
    if code == _MACRO:
        is_fine = size == PAYLOAD + 1 or (size > PAYLOAD and not frame[-1] and not frame.count(0, PAYLOAD + 1) % 2)
    elif code in _STRINGS:
        is_fine = not frame[-1] and frame.count(0, PAYLOAD) == _STRINGS[code]
    elif code in _SOME_STRINGS:
        is_fine = size > PAYLOAD and not frame[-1]
    else:
        is_fine = code == _END or (code == _BODY and size > PAYLOAD)
    if not is_fine:
        decode_command(frame)
