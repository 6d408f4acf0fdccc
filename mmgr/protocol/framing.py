"""Frames: ``uint32 length | code byte | payload``, length counting code and payload. Bytes in, whole frames out.

A frame is kept as the bytes that came, prefix included, so that one which nobody edits is sent on as it is:
``frame[4]`` is its code and ``frame[5:]`` its payload. Nothing here knows which side of the wire we are on.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Callable

from mmgr.protocol.constants import PACKET_LENGTH_MIN
from mmgr.protocol.errors import LocalProtocolError, RemoteProtocolError

CODE = 4
"""Index of the code byte in a frame."""

PAYLOAD = 5
"""Index of the first payload byte in a frame."""

LENGTH_PREFIX = struct.Struct("!I")
_RUN_BYTES = 2560
_HEAD = struct.Struct("!IB")
_unpack_length = LENGTH_PREFIX.unpack_from

Encoders = Mapping[type[object], tuple[int, Callable[..., bytes]]]
"""What makes the payload of a message record, and the code that goes ahead of it."""

_FOREIGN = (
    (b"\x16\x03", "a TLS handshake"),
    (b"\x80", "an old SSL handshake"),
    (b"GET ", "an HTTP request"),
    (b"POST ", "an HTTP request"),
    (b"HEAD ", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"OPTIONS ", "an HTTP request"),
    (b"CONNECT ", "an HTTP request"),
    (b"PRI * HTTP", "an HTTP/2 request"),
    (b"HTTP/", "an HTTP response"),
    (b"EHLO ", "an SMTP dialogue"),
    (b"HELO ", "an SMTP dialogue"),
    (b"LHLO ", "an LMTP dialogue"),
    (b"MAIL FROM", "an SMTP dialogue"),
    (b"QUIT\r\n", "an SMTP dialogue"),
    (b"220", "the greeting of an SMTP service"),
    (b"SSH-", "an SSH greeting"),
    (b"PROXY ", "the PROXY protocol"),
    (b"\r\n\r\n\x00\r\nQUIT\n", "the PROXY protocol, version 2"),
    (b"SPAMC ", "a spamc request"),
    (b"PING SPAMC", "a spamc request"),
    (b"SPAMD/", "an answer of spamd"),
    (b"zINSTREAM", "a clamd request"),
    (b"nPING", "a clamd request"),
    (b"UNKNOWN COMMAND", "an answer of clamd"),
    (b"* OK", "an IMAP greeting"),
    (b"+OK", "a POP3 greeting"),
    (b"<?xml", "XML"),
    (b"{", "JSON"),
)


def encode_frame(code: int, payload: bytes = b"") -> bytes:
    r"""One frame: ``encode_frame(Reply.SMFIR_CONTINUE) == b"\x00\x00\x00\x01c"``."""
    return _HEAD.pack(len(payload) + 1, code) + payload


def encode_message(encoders: Encoders, message: object, what: str) -> bytes:
    """One frame of a message record, by the table of its direction; what is the word for an error.

    Raises LocalProtocolError for a record that is not in the table and for a number that does not fit its field.
    """
    found = encoders.get(type(message))
    if found is None:
        raise LocalProtocolError(f"no such {what}: {type(message).__name__}")
    code, encode = found
    try:
        return encode_frame(code, encode(message))
    except (struct.error, ValueError) as error:
        raise LocalProtocolError(f"{what} {type(message).__name__} can't be sent: {error}") from error


def looks_like(data: bytes) -> str:
    """What bytes that are no milter packet look like, for the one warning that names it.

    >>> looks_like(b"GET / HTTP/1.1")
    'an HTTP request'
    """
    head = bytes(data[:24])
    upper = head.upper()
    for prefix, name in _FOREIGN:
        if upper.startswith(prefix.upper()):
            return name
    if not head.strip(b"\x00"):
        return "null bytes"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head):
        return "text"
    return "random bytes"


@functools.lru_cache(maxsize=8)
def _run_of(frame: bytes) -> bytes:
    return frame * (_RUN_BYTES // len(frame)) if frame else b""


class FrameBuffer:
    """Collects what was received and gives it back as whole frames, several at once.

    length_max is the largest length that the peer may announce, checked before the rest is awaited, so a peer can
    never make this buffer grow past it by more than one read. usual is a frame that often comes many times over,
    held the bytes whose frame is not whole yet.
    """

    __slots__ = ("_fault", "_length_max", "_run", "_usual", "held")

    def __init__(self, length_max: int, usual: bytes = b"") -> None:
        self.held = bytearray()
        self._fault = ""
        self._length_max = length_max
        self._usual = usual
        self._run = _run_of(usual)

    def __len__(self) -> int:
        """Bytes held back because their frame is not whole yet."""
        return len(self.held)

    @property
    def is_broken(self) -> bool:
        """Does a length that no peer may announce stand behind the frames given so far? The next ``feed`` raises."""
        return bool(self._fault)

    def feed(self, data: bytes) -> list[bytes]:
        r"""Take received bytes, give all frames that are whole now, oldest first; an empty list means: not enough yet.

        Raises RemoteProtocolError at a length below 1 or above the limit, naming what the bytes look like: at once, or
        at the next call if whole frames came ahead of it, so that how the bytes were cut up makes no difference.

        >>> FrameBuffer(100).feed(b"\x00\x00\x00\x01A\x00\x00\x00\x01Q\x00\x00")
        [b'\x00\x00\x00\x01A', b'\x00\x00\x00\x01Q']
        """
        if self._fault:
            raise RemoteProtocolError(self._fault)
        held = self.held
        if held:
            held += data
            if self._is_waiting_for_more():
                return []
            data = bytes(held)
        size = len(data)
        length_max = self._length_max
        if CODE < size <= length_max + CODE and _unpack_length(data)[0] == size - CODE:
            held.clear()
            return [data]  # one whole frame, as most reads bring
        if data and data == self._run[:size] and not size % len(self._usual):
            held.clear()
            return [self._usual] * (size // len(self._usual))
        start = 0
        frames: list[bytes] = []
        unpack = _unpack_length
        try:
            while True:
                (length,) = unpack(data, start)
                end = start + 4 + length
                if end > size or not 0 < length <= length_max:
                    break
                frames.append(data[start:end])
                start = end
        except struct.error:
            pass  # less than a length is left
        else:
            if not PACKET_LENGTH_MIN <= length <= length_max:
                self._fault = self._bad_length(length, data[start : start + 24])
        if start or not held:
            held[:] = data[start:]
        if self._fault and not frames:
            raise RemoteProtocolError(self._fault)
        return frames

    def _is_waiting_for_more(self) -> bool:
        """Is the first frame not whole yet, its length being one that may be? Keeps arrival byte by byte cheap."""
        held = self.held
        if len(held) < CODE:
            return True
        length: int = _unpack_length(held, 0)[0]
        return PACKET_LENGTH_MIN <= length <= self._length_max and len(held) < CODE + length

    def looks_like(self) -> str:
        """What the bytes that are held back look like (``looks_like``)."""
        return looks_like(bytes(self.held[:24]))

    def _bad_length(self, length: int, head: bytes) -> str:
        seen = looks_like(head)
        limit = f"between {PACKET_LENGTH_MIN} and {self._length_max}"
        return f"packet length {length} is not {limit}; this looks like {seen}"


def split_frames(data: bytes, length_max: int) -> list[bytes]:
    """Split bytes that must be whole frames: for vectors and tests. Raises RemoteProtocolError on left-over bytes."""
    buffer = FrameBuffer(length_max)
    frames = buffer.feed(data) + buffer.feed(b"")
    if len(buffer):
        raise RemoteProtocolError(f"{len(buffer)} bytes are left over after the last whole packet")
    return frames


def check_frame(frame: bytes) -> None:
    """Raise LocalProtocolError unless frame is one whole frame: for our own invariants at the edges."""
    if len(frame) < PAYLOAD or _unpack_length(frame, 0)[0] != len(frame) - CODE:
        raise LocalProtocolError(f"not one whole frame: {frame[:16]!r}")
