"""The journal of systemd as a place for the log: each line one datagram that has the line and its fields.

So ``journalctl MILTER_QUEUE_ID=4jX2mN0z`` finds what became of a message. Without a library of systemd's. Called by
``mmgr.log``. Source: systemd, docs/JOURNAL_NATIVE_PROTOCOL.md; systemd.exec(5) for JOURNAL_STREAM.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping

from mmgr.logline import NOTHING, parse

SOCKET = "/run/systemd/journal/socket"

VALUE_BYTES_MAX = 32768
"""A value is cut about here: a datagram has room for 200 KiB, and only a traceback comes anywhere near this."""

MESSAGE_BYTES_MIN = 1000
"""So much of the line goes out where the kernel takes no datagram of the usual size."""

PREFIX = "MILTER_"
"""In front of the name of each field."""

NOTICE = 25
"""The level between info and warning, which syslog has and logging has not."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (NOTICE, 5), (logging.INFO, 6))
_DEBUG = 7
_LENGTH = struct.Struct("<Q")


class JournalSink(logging.Handler):
    """Sends records to the journal; a journal that hangs or is gone costs the line, not the session.

    One that does not take a line within patience_s is left alone for pause_s. Raises OSError if none listens at path.
    """

    def __init__(self, path: str, ident: str, facility: int, patience_s: float, pause_s: float) -> None:
        super().__init__()
        self._path = path
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._paused_until = 0.0
        self._ident = (("SYSLOG_IDENTIFIER", ident), ("SYSLOG_FACILITY", str(facility)))
        self._socket = self._connect()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, a traceback in its message and not among its fields."""
        try:
            self._send(record.levelno, record.getMessage(), self.format(record))
        except Exception:  # noqa: BLE001  a line that can't be made is lost; the session goes on
            self.handleError(record)

    def write_info(self, text: str) -> bool:
        """One line without a record."""
        self._send(logging.INFO, text, text)
        return True

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the line."""

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connected.settimeout(self._patience_s)
            connected.connect(self._path)
        except OSError:
            connected.close()
            raise
        return connected

    def _send(self, level: int, line: str, message: str) -> None:
        if time.monotonic() < self._paused_until:
            return
        head = (("PRIORITY", str(priority(level))), *self._ident, ("SYSLOG_PID", str(os.getpid())))
        data = encode([("MESSAGE", message), *head, *fields_of(line)])
        try:
            self._put(data)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                data = encode([("MESSAGE", message[:MESSAGE_BYTES_MIN]), *head])
            self._put_anew(data)

    def _put(self, data: bytes) -> None:
        """Raises OSError unless the journal took it, or has to be left alone for a while."""
        try:
            self._socket.send(data)
        except socket.timeout:
            self._paused_until = time.monotonic() + self._pause_s

    def _put_anew(self, data: bytes) -> None:
        """Once more over a new socket: the journal may have been started anew. If it was not, the line is lost."""
        try:
            connected = self._connect()
        except OSError:
            return
        self._socket.close()
        self._socket = connected
        try:
            self._put(data)
        except OSError:
            return


def priority(level: int) -> int:
    """The level of a record as syslog counts, 3 for an error to 7 for debug."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


@functools.lru_cache(maxsize=256)
def _name(key: str) -> str:
    return PREFIX + key.upper()


def fields_of(text: str) -> Iterable[tuple[str, str]]:
    """The event and fields of a line under the names that they have in the journal; empty values are left out."""
    line = parse(text)
    if line is None:
        return
    yield PREFIX + "EVENT", line.event
    for key, value in line.fields.items():
        if value != NOTHING:
            yield _name(key), value


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """A datagram of the journal's protocol: ``NAME=value`` LF; of what is more than a line NAME LF length value LF.

    The length is eight bytes, little-endian. Values of several lines, and those that are cut, stand behind the others.
    """
    plain: list[str] = []
    others: list[bytes] = []
    for name, value in fields:
        if len(value) > VALUE_BYTES_MAX or "\n" in value:
            data = value.encode("utf-8", "backslashreplace")
            data = data if len(data) <= VALUE_BYTES_MAX else data[: VALUE_BYTES_MAX - 3] + b"..."
            others += (name.encode(), b"\n", _LENGTH.pack(len(data)), data, b"\n")
        else:
            plain.append(f"{name}={value}\n")
    return b"".join(("".join(plain).encode("utf-8", "backslashreplace"), *others))


def has_standard_error(environ: Mapping[str, str]) -> bool:
    """Does systemd read our standard error into the journal? Then JOURNAL_STREAM names its device and inode."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
