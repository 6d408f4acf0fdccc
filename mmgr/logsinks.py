"""Streams under the log that never block: a pipe, a FIFO, a socket or a terminal whose reader sleeps costs lines.

Called by ``mmgr.log`` alone. Regular files are written as ever, as they make nobody wait. Others write to what standard
error is, too, so its description is never switched to O_NONBLOCK; each write asks for itself. Source: pipe(7),
pwritev2(2) for RWF_NOWAIT (which Linux has for pipes since 6.4), send(2) for MSG_DONTWAIT.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import logging
import os
import select
import socket
import stat
import termios
import time
from typing import IO, Callable

PIECE_BYTES = 4096
"""PIPE_BUF of Linux: a pipe takes so much at once or not at all."""

TELL_S = 1.0
"""Losses are told at most this often, so that the telling does not fill the pipe of a slow reader."""

F_GETPIPE_SZ = 1032
"""Of linux/fcntl.h; the module fcntl has it since Python 3.10."""

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

log = logging.getLogger(__name__)


class PatientStream:
    """Text to a descriptor, whole lines only, without ever waiting for its reader.

    A line that does not fit is lost and counted; the next one that fits is followed by ``log-lines-lost``. Nothing
    raises. ``close`` closes the descriptor only if it is ours.
    """

    def __init__(self, descriptor: int, is_ours: bool = False) -> None:
        self._descriptor = descriptor
        self._is_ours = is_ours
        self._lost = 0
        self._tell_at = 0.0
        self._is_cut = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._put = _way_to_put(descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Put text, which ends a line; does not block. What is longer than a piece may be cut."""
        data = text.encode("utf-8", "backslashreplace")
        if self._is_cut:
            data = b"\n" + data
        if not self._fits(data):
            self._lost += 1
        elif self._lost and time.monotonic() >= self._tell_at:
            self._tell()
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Close what is ours; once."""
        if self._is_ours:
            self._is_ours = False
            os.close(self._descriptor)

    def _fits(self, data: bytes) -> bool:
        """Put it, in pieces; was all of it taken?"""
        done = 0
        try:
            while done < len(data) and self._poll.poll(0):
                done += self._put(data[done : done + PIECE_BYTES])
        except OSError:
            pass  # full after all (EAGAIN), nobody is there (EPIPE), or the device is full
        if done:
            self._is_cut = done < len(data)
        return done >= len(data)

    def _tell(self) -> None:
        self._tell_at = time.monotonic() + TELL_S
        lost, self._lost = self._lost, 0
        log.warning("log-lines-lost lines=%d", lost)
        if self._lost:
            self._lost += lost  # that line was lost, too


def is_patience_needed(descriptor: int) -> bool:
    """Might a write to it wait for a reader?"""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def open_log(path: str) -> IO[str] | PatientStream:
    """A file or device to append lines to; never waits for anyone. Raises OSError, also for what else is at path."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO that nobody reads, or a socket
            raise _no_file(path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISCHR(mode):
        return PatientStream(descriptor, is_ours=True)
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _no_file(path)
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def close_quietly(sink: logging.Handler) -> None:
    """Close a sink that is not used any more; what a full disk keeps it from writing is lost."""
    with contextlib.suppress(OSError, ValueError):
        sink.close()


def _no_file(path: str) -> OSError:
    return OSError(errno.EINVAL, "a log has to be a regular file (or - for standard error); this is none", path)


# ---- ways to put a piece without waiting


def _way_to_put(descriptor: int) -> Callable[[bytes], int]:
    """For this kind of descriptor: takes a piece and returns how much of it went out; raises OSError if nothing did."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _SocketWay(descriptor)
    return _PipeWay(descriptor) if stat.S_ISFIFO(mode) else _DeviceWay(descriptor)


class _SocketWay:
    """Sends with MSG_DONTWAIT. The descriptor is lent to a socket for each piece, so that nothing here closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, data: bytes) -> int:
        lent = socket.socket(fileno=self._descriptor)
        try:
            return lent.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        finally:
            lent.detach()


class _PipeWay:
    """Writes with RWF_NOWAIT, as another process may fill the pipe after poll(2) found room.

    Where the kernel has no such thing for pipes, only while there is room for several processes at once.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._flags = getattr(os, "RWF_NOWAIT", 0)

    def __call__(self, data: bytes) -> int:
        if self._flags:
            try:
                return os.pwritev(self._descriptor, [data], -1, self._flags)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._flags = 0
        if not has_ample_room(self._descriptor):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return os.write(self._descriptor, data)


class _DeviceWay:
    """Writes to a terminal over a description of its own, as poll(2) finds room in it that is none for a line.

    A terminal that may not be opened is written as it is, when poll(2) says so: one that is stopped has no room.
    """

    def __init__(self, descriptor: int) -> None:
        self._shared = descriptor
        self._own = _opened_anew(descriptor) if os.isatty(descriptor) else None

    def __call__(self, data: bytes) -> int:
        return os.write(self._shared if self._own is None else self._own, data)

    def __del__(self) -> None:
        if self._own is not None:
            os.close(self._own)


def _opened_anew(terminal: int) -> int | None:
    """A descriptor that never blocks; None if our user may not open the terminal."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return os.open(os.ttyname(terminal), flags)
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(terminal) >= 0:  # so it controls us, and has a second name that every user may open
            return os.open("/dev/tty", flags)
    return None


def has_ample_room(descriptor: int) -> bool:
    """Is no more than a quarter of the pipe used? As lines fill pages by half at least, half of the pages are free."""
    used = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, used)
    return used[0] * 4 <= fcntl.fcntl(descriptor, F_GETPIPE_SZ)
