"""Macros: the names and values that an MTA sends ahead of a command, and the lists that a milter asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mmgr.protocol.constants import Command, MacroStage
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import UINT32, shown, strings, terminated

STAGE_OF_COMMAND: Mapping[int, MacroStage] = {
    Command.SMFIC_CONNECT: MacroStage.SMFIM_CONNECT,
    Command.SMFIC_HELO: MacroStage.SMFIM_HELO,
    Command.SMFIC_MAIL: MacroStage.SMFIM_ENVFROM,
    Command.SMFIC_RCPT: MacroStage.SMFIM_ENVRCPT,
    Command.SMFIC_DATA: MacroStage.SMFIM_DATA,
    Command.SMFIC_BODYEOB: MacroStage.SMFIM_EOM,
    Command.SMFIC_EOH: MacroStage.SMFIM_EOH,
}

DEFAULT_MACROS: Mapping[MacroStage, tuple[bytes, ...]] = {
    MacroStage.SMFIM_CONNECT: (b"j", b"{daemon_name}", b"{daemon_addr}", b"v", b"_"),
    MacroStage.SMFIM_HELO: (b"{tls_version}", b"{cipher}", b"{cipher_bits}", b"{cert_subject}", b"{cert_issuer}"),
    MacroStage.SMFIM_ENVFROM: (
        b"i",
        b"{auth_type}",
        b"{auth_authen}",
        b"{auth_author}",
        b"{auth_ssf}",
        b"{mail_addr}",
        b"{mail_host}",
        b"{mail_mailer}",
    ),
    MacroStage.SMFIM_ENVRCPT: (b"i", b"{rcpt_addr}", b"{rcpt_host}", b"{rcpt_mailer}"),
    MacroStage.SMFIM_DATA: (b"i",),
    MacroStage.SMFIM_EOM: (b"i", b"{msg_id}"),
    MacroStage.SMFIM_EOH: (b"i",),
}
"""What Postfix and Sendmail send by themselves (``milter_*_macros`` of Postfix 3.7, Sendmail 8.18's cf), joined.

Once a milter asks for a list, the MTA's own list for that stage is no longer used; so a merged list has to hold what
the children that asked for nothing would have got."""

_STAGES = frozenset(int(stage) for stage in MacroStage)
_SEPARATORS = re.compile(rb"[ ,\t]+")


def decode_macros(payload: bytes) -> tuple[int, dict[bytes, bytes]]:
    r"""SMFIC_MACRO, payload = stage's command byte | name NUL value NUL ... (possibly none).

    Names lose their braces, as lookups accept both forms: b"Mi\0Q1\0{mail_addr}\0a@b\0" ->
    (ord("M"), {b"i": b"Q1", b"mail_addr": b"a@b"}). Raises RemoteProtocolError on an odd number of strings, on a
    missing NUL, and on a payload without even a stage. Source: libmilter engine.c, getmacro.
    """
    if not payload:
        raise RemoteProtocolError("macros: no command byte says which stage they belong to")
    if len(payload) == 1:
        return payload[0], {}
    parts = strings(payload[1:], "macros")
    if len(parts) % 2:
        raise RemoteProtocolError(f"macros: a name without a value: {shown(payload)}")
    return payload[0], {bare(name): value for name, value in zip(parts[::2], parts[1::2])}


def macro_value(payload: bytes, name: bytes) -> bytes:
    r"""The value of one macro in a well-formed payload, b"" if it is not there; name as it travels.

    >>> macro_value(b"Mi\0Q1\0{mail_addr}\0a@b\0", b"{mail_addr}")
    b'a@b'
    """
    parts = payload[1:-1].split(b"\0")
    names = parts[::2]
    return parts[2 * names.index(name) + 1] if name in names else b""


def encode_macros(command: int, macros: Iterable[tuple[bytes, bytes]]) -> bytes:
    r"""The payload of SMFIC_MACRO. Names of more than one letter get their braces, whether they brought them or not.

    (ord("M"), {b"i": b"Q1", b"mail_addr": b"a@b"}.items()) -> b"Mi\0Q1\0{mail_addr}\0a@b\0". libmilter looks a longer
    name up in braces alone.
    """
    pairs = [part for name, value in macros for part in (braced(name), value)]
    return bytes((command,)) + (terminated(*pairs) if pairs else b"")


def bare(name: bytes) -> bytes:
    """A macro's name without braces."""
    return name[1:-1] if name[:1] == b"{" and name[-1:] == b"}" else name


def braced(name: bytes) -> bytes:
    """A macro's name as it travels: one letter bare, longer ones in braces."""
    name = bare(name)
    return name if len(name) <= 1 else b"{" + name + b"}"


def decode_macro_lists(data: bytes) -> dict[MacroStage, tuple[bytes, ...]]:
    r"""The lists at the end of a negotiation: uint32 stage | names separated by blanks NUL, repeated.

    b"\0\0\0\2i {mail_addr}\0" -> {MacroStage.SMFIM_ENVFROM: (b"i", b"{mail_addr}")}. A stage that nobody knows is
    left out, as both MTAs do. Raises RemoteProtocolError where a stage or a NUL is missing.
    """
    lists: dict[MacroStage, tuple[bytes, ...]] = {}
    position = 0
    while position < len(data):
        end = data.find(b"\0", position + 4)
        if end < 0:
            raise RemoteProtocolError(f"negotiation: a macro list is cut off: {shown(data[position:])}")
        stage = UINT32.unpack_from(data, position)[0]
        names = tuple(name for name in _SEPARATORS.split(data[position + 4 : end]) if name)
        if stage in _STAGES:
            lists[MacroStage(stage)] = names
        position = end + 1
    return lists


def encode_macro_lists(lists: Mapping[MacroStage, Iterable[bytes]]) -> bytes:
    """The reverse of decode_macro_lists, in the order of stage numbers."""
    return b"".join(UINT32.pack(stage) + terminated(b" ".join(lists[stage])) for stage in sorted(lists))


def merge_macro_lists(
    wanted: Iterable[Mapping[MacroStage, tuple[bytes, ...]] | None],
) -> dict[MacroStage, tuple[bytes, ...]]:
    """One list per stage that serves all children: the union, in the order asked.

    A stage for which some child asked for nothing (or for the empty list, which Postfix takes as its default) gets
    the MTAs' defaults too. Stages that no child asked for are left to the MTA.
    """
    requests: list[Mapping[MacroStage, tuple[bytes, ...]]] = [one or {} for one in wanted]
    merged: dict[MacroStage, tuple[bytes, ...]] = {}
    for stage in MacroStage:
        lists = [one.get(stage, ()) for one in requests]
        if not any(lists):
            continue
        if not all(lists):
            lists.append(DEFAULT_MACROS[stage])
        merged[stage] = tuple(dict.fromkeys(braced(name) for names in lists for name in names))
    return merged
