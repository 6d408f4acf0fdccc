"""Replies, milter to MTA: one frozen record each, decoded and encoded by table.

Verdicts decide, edits change the message, progress asks for patience. As strict as Postfix: a payload where none
belongs, a missing NUL or left-over bytes are errors. Sources: Postfix milter8.c (``milter8_event``), libmilter smfi.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Union

from mmgr.protocol.constants import ActionFlag, Reply
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import UINT32, leading_uint32, nothing, one_string, shown, strings, terminated, two_strings
from mmgr.protocol.framing import CODE, PAYLOAD, check_frame, encode_message
from mmgr.protocol.options import OptionNegotiation, decode_options, encode_options


@dataclass(frozen=True)
class Continue:
    """SMFIR_CONTINUE: go on; at end of message the same as accept."""


@dataclass(frozen=True)
class Accept:
    """SMFIR_ACCEPT: this milter has seen enough of the message (at connect and helo: of the session)."""


@dataclass(frozen=True)
class Reject:
    """SMFIR_REJECT: 5xx with the MTA's own text."""


@dataclass(frozen=True)
class TempFail:
    """SMFIR_TEMPFAIL: 4xx with the MTA's own text."""


@dataclass(frozen=True)
class Discard:
    """SMFIR_DISCARD: say yes and drop the message."""


@dataclass(frozen=True)
class ReplyCode:
    r"""SMFIR_REPLYCODE: the SMTP reply itself, lines separated by CRLF, each ``ddd text`` or ``ddd-text``."""

    text: bytes

    @property
    def is_permanent(self) -> bool:
        """5xx, not 4xx."""
        return self.text[:1] == b"5"


@dataclass(frozen=True)
class Skip:
    """SMFIR_SKIP: no more packets of this kind in this message."""


@dataclass(frozen=True)
class Shutdown:
    """SMFIR_SHUTDOWN: 421 and hang up; known to Postfix alone."""


@dataclass(frozen=True)
class ConnFail:
    """SMFIR_CONN_FAIL: MTA-internal; both MTAs take a milter that sends it for broken."""


@dataclass(frozen=True)
class Progress:
    """SMFIR_PROGRESS: still working, start your timer again."""


@dataclass(frozen=True)
class AddHeader:
    """SMFIR_ADDHEADER: at the end of the headers."""

    name: bytes
    value: bytes


@dataclass(frozen=True)
class InsHeader:
    """SMFIR_INSHEADER: index counts all headers from 0, the MTA's own Received included in Postfix."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True)
class ChgHeader:
    """SMFIR_CHGHEADER: index counts headers of that name from 1 (0 is taken as 1); an empty value deletes."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True)
class AddRcpt:
    """SMFIR_ADDRCPT."""

    recipient: bytes


@dataclass(frozen=True)
class AddRcptPar:
    """SMFIR_ADDRCPT_PAR: parameters is one string, ESMTP parameters separated by blanks; None where left out."""

    recipient: bytes
    parameters: bytes | None = None


@dataclass(frozen=True)
class DelRcpt:
    """SMFIR_DELRCPT."""

    recipient: bytes


@dataclass(frozen=True)
class ChgFrom:
    """SMFIR_CHGFROM: the new envelope sender; parameters as in AddRcptPar."""

    sender: bytes
    parameters: bytes | None = None


@dataclass(frozen=True)
class ReplBody:
    """SMFIR_REPLBODY: a piece of the new body; a single empty one makes the body empty."""

    chunk: bytes


@dataclass(frozen=True)
class Quarantine:
    """SMFIR_QUARANTINE: hold the message; not final."""

    reason: bytes


Verdict = Union[Continue, Accept, Reject, TempFail, Discard, ReplyCode, Skip, Shutdown]
Edit = Union[AddHeader, InsHeader, ChgHeader, AddRcpt, AddRcptPar, DelRcpt, ChgFrom, ReplBody, Quarantine]
ReplyMessage = Union[Verdict, Edit, Progress, ConnFail, OptionNegotiation]

NEEDED_ACTION: dict[type[object], ActionFlag] = {
    AddHeader: ActionFlag.SMFIF_ADDHDRS,
    InsHeader: ActionFlag.SMFIF_ADDHDRS,
    ChgHeader: ActionFlag.SMFIF_CHGHDRS,
    AddRcpt: ActionFlag.SMFIF_ADDRCPT,
    AddRcptPar: ActionFlag.SMFIF_ADDRCPT_PAR,
    DelRcpt: ActionFlag.SMFIF_DELRCPT,
    ChgFrom: ActionFlag.SMFIF_CHGFROM,
    ReplBody: ActionFlag.SMFIF_CHGBODY,
    Quarantine: ActionFlag.SMFIF_QUARANTINE,
}
"""What a milter has to have negotiated before it may make this edit."""


def _empty(kind: Callable[[], ReplyMessage], what: str) -> Callable[[bytes], ReplyMessage]:
    def decode(payload: bytes) -> ReplyMessage:
        nothing(payload, what)
        return kind()

    return decode


def _decode_insheader(payload: bytes) -> InsHeader:
    index, rest = leading_uint32(payload, "insert header")
    return InsHeader(index, *two_strings(rest, "insert header"))


def decode_chgheader(payload: bytes) -> ChgHeader:
    r"""Payload = uint32 index | name NUL | value NUL.

    Example: b"\0\0\0\1Subject\0hi\0" -> ChgHeader(1, b"Subject", b"hi").
    """
    index, rest = leading_uint32(payload, "change header")
    return ChgHeader(index, *two_strings(rest, "change header"))


def _address_and_parameters(payload: bytes, what: str) -> tuple[bytes, bytes | None]:
    parts = strings(payload, what)
    if len(parts) > 2:
        raise RemoteProtocolError(f"{what}: {len(parts)} strings where an address and its parameters belong")
    return parts[0], parts[1] if len(parts) == 2 else None


def decode_replycode(payload: bytes) -> ReplyCode:
    r"""Payload = ddd, then a space, a hyphen or nothing, then text, NUL; lines separated by CRLF.

    Only what no MTA could use is refused here: no [45]dd at the start, or a NUL inside. ``malformed`` finds what some
    MTA would take amiss. Example: b"550 5.7.1 no\0" -> ReplyCode(b"550 5.7.1 no").
    """
    text = one_string(payload, "reply code")
    if len(text) < 3 or text[:1] not in (b"4", b"5") or not text[1:3].isdigit():
        raise RemoteProtocolError(f"reply code: does not begin with 4dd or 5dd: {shown(text)}")
    return ReplyCode(text)


_DECODERS: dict[int, Callable[[bytes], ReplyMessage]] = {
    Reply.SMFIR_CONTINUE: _empty(Continue, "continue"),
    Reply.SMFIR_ACCEPT: _empty(Accept, "accept"),
    Reply.SMFIR_REJECT: _empty(Reject, "reject"),
    Reply.SMFIR_TEMPFAIL: _empty(TempFail, "temporary failure"),
    Reply.SMFIR_DISCARD: _empty(Discard, "discard"),
    Reply.SMFIR_REPLYCODE: decode_replycode,
    Reply.SMFIR_SKIP: _empty(Skip, "skip"),
    Reply.SMFIR_SHUTDOWN: _empty(Shutdown, "shutdown"),
    Reply.SMFIR_CONN_FAIL: _empty(ConnFail, "connection failure"),
    Reply.SMFIR_OPTNEG: decode_options,
    Reply.SMFIR_PROGRESS: _empty(Progress, "progress"),
    Reply.SMFIR_ADDHEADER: lambda payload: AddHeader(*two_strings(payload, "add header")),
    Reply.SMFIR_INSHEADER: _decode_insheader,
    Reply.SMFIR_CHGHEADER: decode_chgheader,
    Reply.SMFIR_ADDRCPT: lambda payload: AddRcpt(one_string(payload, "add recipient")),
    Reply.SMFIR_ADDRCPT_PAR: lambda payload: AddRcptPar(*_address_and_parameters(payload, "add recipient")),
    Reply.SMFIR_DELRCPT: lambda payload: DelRcpt(one_string(payload, "delete recipient")),
    Reply.SMFIR_CHGFROM: lambda payload: ChgFrom(*_address_and_parameters(payload, "change sender")),
    Reply.SMFIR_REPLBODY: ReplBody,
    Reply.SMFIR_QUARANTINE: lambda payload: Quarantine(one_string(payload, "quarantine")),
}


def decode_reply(frame: bytes) -> ReplyMessage:
    """The reply in one whole frame. Raises RemoteProtocolError for an unknown code or a payload that does not fit."""
    check_frame(frame)
    decoder = _DECODERS.get(frame[CODE])
    if decoder is None:
        raise RemoteProtocolError(f"no such reply: {shown(frame[CODE:PAYLOAD])}")
    return decoder(frame[PAYLOAD:])


def _with_parameters(address: bytes, parameters: bytes | None) -> bytes:
    return terminated(address) if parameters is None else terminated(address, parameters)


_ENCODERS: dict[type[object], tuple[int, Callable[..., bytes]]] = {
    Continue: (Reply.SMFIR_CONTINUE, lambda m: b""),
    Accept: (Reply.SMFIR_ACCEPT, lambda m: b""),
    Reject: (Reply.SMFIR_REJECT, lambda m: b""),
    TempFail: (Reply.SMFIR_TEMPFAIL, lambda m: b""),
    Discard: (Reply.SMFIR_DISCARD, lambda m: b""),
    ReplyCode: (Reply.SMFIR_REPLYCODE, lambda m: terminated(m.text)),
    Skip: (Reply.SMFIR_SKIP, lambda m: b""),
    Shutdown: (Reply.SMFIR_SHUTDOWN, lambda m: b""),
    ConnFail: (Reply.SMFIR_CONN_FAIL, lambda m: b""),
    OptionNegotiation: (Reply.SMFIR_OPTNEG, encode_options),
    Progress: (Reply.SMFIR_PROGRESS, lambda m: b""),
    AddHeader: (Reply.SMFIR_ADDHEADER, lambda m: terminated(m.name, m.value)),
    InsHeader: (Reply.SMFIR_INSHEADER, lambda m: UINT32.pack(m.index) + terminated(m.name, m.value)),
    ChgHeader: (Reply.SMFIR_CHGHEADER, lambda m: UINT32.pack(m.index) + terminated(m.name, m.value)),
    AddRcpt: (Reply.SMFIR_ADDRCPT, lambda m: terminated(m.recipient)),
    AddRcptPar: (Reply.SMFIR_ADDRCPT_PAR, lambda m: _with_parameters(m.recipient, m.parameters)),
    DelRcpt: (Reply.SMFIR_DELRCPT, lambda m: terminated(m.recipient)),
    ChgFrom: (Reply.SMFIR_CHGFROM, lambda m: _with_parameters(m.sender, m.parameters)),
    ReplBody: (Reply.SMFIR_REPLBODY, lambda m: m.chunk),
    Quarantine: (Reply.SMFIR_QUARANTINE, lambda m: terminated(m.reason)),
}


def encode_reply(message: ReplyMessage) -> bytes:
    """One frame.

    Raises LocalProtocolError for what is no reply, a string with a NUL in it and a number that does not fit its field.
    """
    return encode_message(_ENCODERS, message, "reply")


def malformed(reply: ReplyCode) -> str | None:
    r"""What the strictest MTA (Postfix 3.12) would take amiss in a reply's text, or None.

    Each line is ``ddd`` with the same digits, then ``-`` on all lines but the last and a space there; a digit behind
    that is taken for an enhanced code and has to be the class of the reply (so ``550 4 tries left`` won't do); CR and
    LF occur as line ends only.
    """
    lines = reply.text.split(b"\r\n")
    for number, line in enumerate(lines):
        separator = b" " if number == len(lines) - 1 else b"-"
        if line[:3] != reply.text[:3]:
            return f"line {number + 1} does not begin with {shown(reply.text[:3])}"
        if line[3:4] != separator:
            return f"line {number + 1} has {shown(line[3:4]) or 'nothing'} where {shown(separator)!r} belongs"
        if b"\r" in line or b"\n" in line:
            return f"line {number + 1} has a bare CR or LF in it"
        if line[4:5].isdigit() and line[4:5] != reply.text[:1]:
            return f"line {number + 1} begins its text with a digit of another class"
    return None
