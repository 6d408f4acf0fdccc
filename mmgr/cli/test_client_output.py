"""What milter-test-client prints about each event, as bytes. The format and the flags' names are the incumbent's."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Callable

from mmgr.cli.writing import on_one_line, printable
from mmgr.peers.milter import Event
from mmgr.peers.stages import stage_name
from mmgr.protocol.commands import (
    FAMILY_INET6,
    FAMILY_UNIX,
    FAMILY_UNKNOWN,
    Abort,
    Body,
    BodyEob,
    Connect,
    Data,
    Eoh,
    Header,
    Helo,
    Mail,
    QuitNc,
    Rcpt,
    Unknown,
)
from mmgr.protocol.constants import ActionFlag, Command, ProtocolFlag
from mmgr.protocol.options import OptionNegotiation

ACTION_NAMES: Mapping[ActionFlag, str] = {
    ActionFlag.SMFIF_ADDHDRS: "add-headers",
    ActionFlag.SMFIF_CHGBODY: "change-body",
    ActionFlag.SMFIF_ADDRCPT: "add-envelope-recipient",
    ActionFlag.SMFIF_DELRCPT: "delete-envelope-recipient",
    ActionFlag.SMFIF_CHGHDRS: "change-headers",
    ActionFlag.SMFIF_QUARANTINE: "quarantine",
    ActionFlag.SMFIF_CHGFROM: "change-envelope-from",
    ActionFlag.SMFIF_ADDRCPT_PAR: "add-envelope-recipient-with-parameters",
    ActionFlag.SMFIF_SETSYMLIST: "set-symbol-list",
}
STEP_NAMES: Mapping[ProtocolFlag, str] = {
    ProtocolFlag.SMFIP_NOCONNECT: "no-connect",
    ProtocolFlag.SMFIP_NOHELO: "no-helo",
    ProtocolFlag.SMFIP_NOMAIL: "no-envelope-from",
    ProtocolFlag.SMFIP_NORCPT: "no-envelope-recipient",
    ProtocolFlag.SMFIP_NOBODY: "no-body",
    ProtocolFlag.SMFIP_NOHDRS: "no-headers",
    ProtocolFlag.SMFIP_NOEOH: "no-end-of-header",
    ProtocolFlag.SMFIP_NR_HDR: "no-reply-header",
    ProtocolFlag.SMFIP_NOUNKNOWN: "no-unknown",
    ProtocolFlag.SMFIP_NODATA: "no-data",
    ProtocolFlag.SMFIP_SKIP: "skip",
    ProtocolFlag.SMFIP_RCPT_REJ: "envelope-recipient-rejected",
    ProtocolFlag.SMFIP_NR_CONN: "no-reply-connect",
    ProtocolFlag.SMFIP_NR_HELO: "no-reply-helo",
    ProtocolFlag.SMFIP_NR_MAIL: "no-reply-envelope-from",
    ProtocolFlag.SMFIP_NR_RCPT: "no-reply-envelope-recipient",
    ProtocolFlag.SMFIP_NR_DATA: "no-reply-data",
    ProtocolFlag.SMFIP_NR_UNKN: "no-reply-unknown",
    ProtocolFlag.SMFIP_NR_EOH: "no-reply-end-of-header",
    ProtocolFlag.SMFIP_NR_BODY: "no-reply-body",
    ProtocolFlag.SMFIP_HDR_LEADSPC: "header-value-with-leading-space",
}
"""Spelled as in libmilter-manager's nicknames of its flags."""


def block(event: Event) -> bytes:
    """The line about an event and the macros that came with it, a line each."""
    return _LINES[type(event.message)](event.message) + b"\n" + _macros(event.macros)


def _macros(macros: Mapping[bytes, bytes]) -> bytes:
    if not macros:
        return b""
    lines = [b"  %s=%s\n" % (on_one_line(name), on_one_line(value)) for name, value in macros.items()]
    return b"macros:\n" + b"".join(lines)


def _negotiate(message: OptionNegotiation) -> bytes:
    actions, steps = _names(ACTION_NAMES, message.actions), _names(STEP_NAMES, message.steps)
    return f"negotiate: version=<{message.version}>, action=<{actions}>, step=<{steps}>".encode()


def _names(names: Mapping[IntFlag, str] | Mapping[ActionFlag, str] | Mapping[ProtocolFlag, str], value: int) -> str:
    """The names of all bits; what has none in hex, and ``none`` for nothing."""
    rest = value & ~sum(names)
    return "|".join([name for flag, name in names.items() if flag & value] + ([hex(rest)] if rest else [])) or "none"


def _connect(message: Connect) -> bytes:
    return b"connect: host=<%s>, address=<%s>" % (on_one_line(message.hostname), on_one_line(_address(message)))


def _address(message: Connect) -> bytes:
    if message.family == FAMILY_UNKNOWN:
        return b"unknown"
    if message.family == FAMILY_UNIX:
        return b"unix:" + message.address
    kind = b"inet6" if message.family == FAMILY_INET6 else b"inet"
    return b"%s:%d@[%s]" % (kind, message.port, message.address)


def _envelope(stage: str, address: bytes, parameters: tuple[bytes, ...]) -> bytes:
    line = stage.encode() + b": <" + on_one_line(address) + b">"
    return line + (b", parameters=<" + on_one_line(b" ".join(parameters)) + b">" if parameters else b"")


def _end_of_message(message: BodyEob) -> bytes:
    return _valued("body", message.chunk) + b"\nend-of-message" if message.chunk else b"end-of-message"


def _valued(stage: str, value: bytes) -> bytes:
    return stage.encode() + b": <" + printable(value) + b">"


_LINES: dict[type[object], Callable[..., bytes]] = {
    OptionNegotiation: _negotiate,
    Connect: _connect,
    Helo: lambda m: _valued("helo", m.name),
    Mail: lambda m: _envelope(stage_name(Command.SMFIC_MAIL), m.sender, m.parameters),
    Rcpt: lambda m: _envelope(stage_name(Command.SMFIC_RCPT), m.recipient, m.parameters),
    Unknown: lambda m: _valued("unknown", m.line),
    Data: lambda m: b"data",
    Header: lambda m: _valued("header", m.name + b": " + m.value),
    Eoh: lambda m: b"end-of-header",
    Body: lambda m: _valued("body", m.chunk),
    BodyEob: _end_of_message,
    Abort: lambda m: b"abort",
    QuitNc: lambda m: b"quit-nc",
}
