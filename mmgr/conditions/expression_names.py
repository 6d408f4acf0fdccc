"""The names of an expression: what each stands for, from which stage on it is known, how it is read. PURE.

A value is read from what the MTA sent as bytes of any content and any length, so nothing here may raise for it.
``expression_tests`` compares the values; the table for people is in docs/expressions.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts, LocalTime, mailbox
from mmgr.conditions.patterns import words
from mmgr.protocol.constants import MacroStage
from mmgr.protocol.macros import DEFAULT_MACROS, braced

SEEN_HEADER_BYTES = 8192
"""What a regular expression sees of a header."""

Read = Callable[[Facts, bytes], Any]
"""Takes the facts and the recipient that is asked about."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TLS_VERSIONS = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

UNKNOWN = b"unknown"
"""What Postfix says of a client without a verified name."""

HEADER_NAME = re.compile(r"[!-9;-~]+")
MACRO_NAME = re.compile(r"[A-Za-z_]|[A-Za-z_][A-Za-z0-9_.-]+")


class Kind(Enum):
    """What sort of value a name has, which decides what it can be compared with."""

    NETWORK = "address"
    NAME = "name"
    MAILBOX = "mail address"
    TEXT = "text"
    NUMBER = "number"
    TIME = "time of day"
    WEEKDAY = "weekday"
    TLS_VERSION = "TLS version"
    MTA = "MTA"
    FLAG = "yes or no"


class Many(Enum):
    """Of a name with several values, how many have to pass."""

    ONE = "one value"
    ANY = "any of them"
    ALL = "all of them"


@dataclass(frozen=True)
class Subject:
    """A name as it stands in an expression.

    read gives the value by its kind (of Many.ANY and Many.ALL an iterable of values), raw the bytes that a regular
    expression looks at. stages are those that bring the value, the first is the one from which it is known, unless
    known says otherwise; until is the last one at which it means anything. reads are the macros behind it.
    is_per_recipient: the value is another one for each recipient, and from DATA on one of them has to pass. tell says
    the value in a sentence.
    """

    text: str
    kind: Kind
    stages: tuple[Stage, ...]
    read: Read
    raw: Read
    tell: Callable[[Facts, bytes], str]
    known: Stage
    until: Stage = Stage.CONTENT
    reads: tuple[tuple[Stage, bytes], ...] = ()
    many: Many = Many.ONE
    is_per_recipient: bool = False


# ---- values


def lowered(value: bytes) -> bytes:
    """A name to compare: small letters, no dot at the end."""
    name = value.lower()
    return name[:-1] if name[-1:] == b"." else name


def domain(address: bytes) -> bytes:
    """What stands behind the last @ of an address, b"" if it has none."""
    return mailbox(address).rpartition(b"@")[2] if b"@" in address else b""


def client_name(value: bytes) -> bytes:
    """A client's name to compare; the address in brackets that Sendmail says for want of a name is unknown too."""
    return UNKNOWN if value[:1] == b"[" else lowered(value)


def announced_size(facts: Facts) -> int:
    """What MAIL said behind SIZE=, 0 for nothing: size_bytes is the real one from the content on."""
    for argument in facts.sender_arguments:
        if argument[:5].upper() == b"SIZE=":
            return number(argument[5:]) or 0
    return 0


def number(value: bytes) -> int | None:
    """A macro or header as a number; None for anything but up to 18 digits."""
    digits = value.strip() if len(value) <= 64 else value
    return int(digits) if len(digits) <= 18 and digits.isdigit() else None


def header_values(facts: Facts, name: bytes) -> list[bytes]:
    """The values of all headers of that name, unfolded and without blanks around them; one empty one if none is there.

    name is in small letters.
    """
    length = len(name)
    found = [value for key, value in facts.headers() if len(key) == length and key.lower() == name]
    return [value.translate(None, b"\r\n").strip() for value in found] or [b""]


def minute_of_day(time: LocalTime) -> int:
    """Minutes since midnight."""
    return time.hour * 60 + time.minute


# ---- names


def _bytes(text: str, kind: Kind, stages: tuple[Stage, ...], raw: Read, **more: Any) -> Subject:
    """A name whose value is bytes."""
    reads: Mapping[Kind, Read] = {
        Kind.NAME: lambda facts, recipient: lowered(raw(facts, recipient)),
        Kind.MAILBOX: lambda facts, recipient: lowered(raw(facts, recipient)),
    }

    def tell(facts: Facts, recipient: bytes) -> str:
        return words(raw(facts, recipient)) or ("<>" if kind is Kind.MAILBOX else "(empty)")

    return Subject(text, kind, stages, reads.get(kind, raw), raw, tell, more.pop("known", stages[0]), **more)


def _other(text: str, kind: Kind, stage: Stage, read: Read, tell: Callable[[Any], str] = str, **more: Any) -> Subject:
    """A name whose value is a number or the like, which no regular expression can look at."""
    say = tell
    return Subject(text, kind, (stage,), read, _nothing, lambda facts, who: say(read(facts, who)), stage, **more)


def _nothing(facts: Facts, recipient: bytes) -> bytes:
    return b""


def _macro(name: bytes) -> Read:
    return lambda facts, recipient: facts.macro(name) or b""


_STAGES: Mapping[MacroStage, Stage] = {
    MacroStage.SMFIM_CONNECT: Stage.CONNECT,
    MacroStage.SMFIM_HELO: Stage.MAIL,
    MacroStage.SMFIM_ENVFROM: Stage.MAIL,
    MacroStage.SMFIM_ENVRCPT: Stage.RCPT,
    MacroStage.SMFIM_DATA: Stage.DATA,
    MacroStage.SMFIM_EOM: Stage.CONTENT,
    MacroStage.SMFIM_EOH: Stage.CONTENT,
}
"""When the macros of a stage count. Those of HELO are about TLS: before STARTTLS there is a HELO without it."""

_HELO_MACROS = frozenset(DEFAULT_MACROS[MacroStage.SMFIM_HELO])
_MACRO_STAGES: Mapping[bytes, Stage] = {
    **{name: _STAGES[stage] for stage in sorted(MacroStage, reverse=True) for name in DEFAULT_MACROS[stage]},
    b"i": Stage.DATA,  # Postfix has none before the second recipient
}


def _reads(*names: bytes) -> tuple[tuple[Stage, bytes], ...]:
    """Where macros are asked for: at the stage that they count at, those about TLS at HELO as well."""
    return tuple(
        (stage, name)
        for name in names
        for stage in ((Stage.HELO, Stage.MAIL) if name in _HELO_MACROS else (macro_stage(name),))
    )


def macro_stage(name: bytes) -> Stage:
    """From when on a macro is known, MAIL if nobody can tell; name as it travels."""
    return _MACRO_STAGES.get(name, Stage.MAIL)


def macro(name: str) -> Subject:
    """``macro {NAME}``, with or without braces. Raises nothing: the parser has looked at the name."""
    sent = braced(name.encode("ascii"))
    stage = macro_stage(sent)
    is_of_recipient = sent in DEFAULT_MACROS[MacroStage.SMFIM_ENVRCPT] and stage is Stage.RCPT
    until = Stage.RCPT if is_of_recipient else Stage.CONTENT
    text = f"macro {sent.decode('ascii')}"
    return _bytes(text, Kind.TEXT, (stage,), _macro(sent), until=until, reads=_reads(sent))


def header(name: str) -> Subject:
    """``header NAME``: any of the headers of that name."""
    wanted = name.lower().encode("ascii")

    def tell(facts: Facts, recipient: bytes) -> str:
        values = header_values(facts, wanted)
        others = f" and {len(values) - 1} more" if len(values) > 1 else ""
        return (words(values[0]) or "(empty)") + others

    def read(facts: Facts, recipient: bytes) -> list[bytes]:
        return header_values(facts, wanted)

    text, stage = f"header {name}", Stage.CONTENT
    return Subject(text, Kind.TEXT, (stage,), read, read, tell, stage, many=Many.ANY)


def recipients(many: Many) -> Subject:
    """``any recipient`` and ``all recipients``: those of the message, at DATA."""

    def raw(facts: Facts, recipient: bytes) -> list[bytes]:
        return [mailbox(each) for each in facts.recipients]

    def read(facts: Facts, recipient: bytes) -> list[bytes]:
        return [lowered(mailbox(each)) for each in facts.recipients]

    def tell(facts: Facts, recipient: bytes) -> str:
        return f"of {len(facts.recipients)}"

    text = "any recipient" if many is Many.ANY else "all recipients"
    stages = (Stage.RCPT, Stage.DATA)
    return Subject(text, Kind.MAILBOX, stages, read, raw, tell, Stage.DATA, many=many)


def _client_address(facts: Facts, recipient: bytes) -> bytes:
    return facts.client_address


def _minute(facts: Facts, recipient: bytes) -> int:
    return minute_of_day(facts.clock())


def _is_encrypted(facts: Facts, recipient: bytes) -> bool:
    return bool(facts.macro(b"{tls_version}"))


_CONNECT, _MAIL, _RCPT = (Stage.CONNECT,), (Stage.MAIL,), (Stage.RCPT,)
_HELO = (Stage.HELO, Stage.MAIL)
"""MAIL as well, as some MTAs take mail without HELO, and then it is known to be empty."""

_TLS = _reads(b"{tls_version}")
_LOGIN = _reads(b"{auth_type}", b"{auth_authen}")

_ALL = (
    Subject(
        "client_address",
        Kind.NETWORK,
        _CONNECT,
        lambda facts, who: facts.address,
        _client_address,
        lambda facts, who: words(facts.client_address) or "(unknown)",
        Stage.CONNECT,
    ),
    Subject(
        "client_name",
        Kind.NAME,
        _CONNECT,
        lambda facts, who: client_name(facts.client_name),
        lambda facts, who: facts.client_name,
        lambda facts, who: words(facts.client_name) or "(empty)",
        Stage.CONNECT,
    ),
    _other("client_port", Kind.NUMBER, Stage.CONNECT, lambda facts, who: facts.client_port),
    _bytes("helo", Kind.NAME, _HELO, lambda facts, who: facts.helo),
    _bytes("sender", Kind.MAILBOX, _MAIL, lambda facts, who: mailbox(facts.sender)),
    _bytes("sender_domain", Kind.NAME, _MAIL, lambda facts, who: domain(facts.sender)),
    _bytes("recipient", Kind.MAILBOX, _RCPT, lambda facts, who: mailbox(who), is_per_recipient=True),
    _bytes("recipient_domain", Kind.NAME, _RCPT, lambda facts, who: domain(who), is_per_recipient=True),
    Subject(
        "recipient_count",
        Kind.NUMBER,
        (Stage.RCPT, Stage.DATA),
        lambda facts, who: len(facts.recipients),
        _nothing,
        lambda facts, who: str(len(facts.recipients)),
        Stage.DATA,
    ),
    _other("announced_size", Kind.NUMBER, Stage.MAIL, lambda facts, who: announced_size(facts)),
    _other("size", Kind.NUMBER, Stage.CONTENT, lambda facts, who: facts.size_bytes),
    _other("authenticated", Kind.FLAG, Stage.MAIL, lambda facts, who: facts.is_authenticated, reads=_LOGIN),
    _bytes("auth_user", Kind.MAILBOX, _MAIL, _macro(b"{auth_authen}"), reads=_reads(b"{auth_authen}")),
    _other("tls", Kind.FLAG, Stage.MAIL, _is_encrypted, reads=_TLS),
    _bytes("tls_version", Kind.TLS_VERSION, _MAIL, _macro(b"{tls_version}"), reads=_TLS),
    _other(
        "cipher_bits",
        Kind.NUMBER,
        Stage.MAIL,
        lambda facts, who: number(facts.macro(b"{cipher_bits}") or b"") or 0,
        reads=_reads(b"{cipher_bits}"),
    ),
    _other("time", Kind.TIME, Stage.CONNECT, _minute, lambda minute: f"{minute // 60:02}:{minute % 60:02}"),
    _other("weekday", Kind.WEEKDAY, Stage.CONNECT, lambda facts, who: facts.clock().weekday, WEEKDAYS.__getitem__),
    _other(
        "mta",
        Kind.MTA,
        Stage.CONNECT,
        lambda facts, who: b"postfix" if facts.is_postfix else b"sendmail",
        bytes.decode,
        reads=_reads(b"v"),
    ),
)
NAMES: Mapping[str, Subject] = {subject.text: subject for subject in _ALL}
"""The names that stand alone."""

WITH_ARGUMENT = ("header", "macro")
QUANTIFIED = ("any", "all")
