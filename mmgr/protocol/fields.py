"""Fields of payloads: NUL-terminated strings and big-endian integers. What does not fit is the peer's error."""

from __future__ import annotations

import struct

from mmgr.protocol.errors import LocalProtocolError, RemoteProtocolError

UINT32 = struct.Struct("!I")
UINT16 = struct.Struct("!H")


def shown(data: bytes, limit: int = 60) -> str:
    """Bytes of a peer for a human: ASCII, escaped, cut."""
    text = ascii(bytes(data[:limit]))[2:-1]
    return text + ("..." if len(data) > limit else "")


def one_string(payload: bytes, what: str) -> bytes:
    """The single NUL-terminated string that makes up the whole payload.

    >>> one_string(b"mx.example.net\\0", "helo")
    b'mx.example.net'
    """
    if payload[-1:] != b"\0":
        raise RemoteProtocolError(f"{what}: the string is not terminated: {shown(payload)}")
    if payload.find(b"\0") != len(payload) - 1:
        raise RemoteProtocolError(f"{what}: bytes are left over after the string: {shown(payload)}")
    return payload[:-1]


def strings(payload: bytes, what: str) -> list[bytes]:
    """All NUL-terminated strings of the payload; at least one."""
    if payload[-1:] != b"\0":
        raise RemoteProtocolError(f"{what}: the last string is not terminated: {shown(payload)}")
    return payload[:-1].split(b"\0")


def two_strings(payload: bytes, what: str) -> tuple[bytes, bytes]:
    """Exactly two NUL-terminated strings: a name and a value."""
    parts = strings(payload, what)
    if len(parts) != 2:
        raise RemoteProtocolError(f"{what}: {len(parts)} strings where two belong: {shown(payload)}")
    return parts[0], parts[1]


def leading_uint32(payload: bytes, what: str) -> tuple[int, bytes]:
    """A uint32 in network order and the rest."""
    if len(payload) < 4:
        raise RemoteProtocolError(f"{what}: {len(payload)} bytes where an integer of four belongs")
    return UINT32.unpack_from(payload)[0], payload[4:]


def nothing(payload: bytes, what: str) -> None:
    """The payload has to be empty."""
    if payload:
        raise RemoteProtocolError(f"{what}: {len(payload)} bytes where none belong: {shown(payload)}")


def terminated(*parts: bytes) -> bytes:
    """Strings as they go on the wire, each with its NUL. Raises LocalProtocolError if one holds a NUL itself."""
    for part in parts:
        if b"\0" in part:
            raise LocalProtocolError(f"a string with a NUL in it can't be sent: {shown(part)}")
    return b"\0".join(parts) + b"\0"
