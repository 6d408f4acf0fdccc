"""Signals as bytes on a descriptor: handlers do nothing, ``signal.set_wakeup_fd`` writes the number, a loop reads it.

Used by the master and by each worker, each with a pipe of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType

NUDGE = 0
"""Not a signal: another process wants the loop to look at the scoreboard."""


class WakeUp:
    """A pipe that becomes readable when one of the signals came, or when somebody called ``nudge``."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """The readable end."""
        return self._read_fd

    def listen(self, signals: Iterable[signal.Signals]) -> None:
        """From now on these signals of this process arrive here, and nowhere else."""
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, _do_nothing)

    def nudge(self) -> None:
        """Wake the loop, also from a child process. A full pipe wakes it as well."""
        try:
            os.write(self._write_fd, bytes((NUDGE,)))
        except BlockingIOError:
            return

    def take(self) -> list[int]:
        """The numbers that came since the last call, oldest first, each once; empty if none. Does not block."""
        try:
            return list(dict.fromkeys(os.read(self._read_fd, 4096)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Close both ends: for a forked child that has a wake-up of its own."""
        os.close(self._read_fd)
        os.close(self._write_fd)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler has to exist for set_wakeup_fd to be written; the work is the loop's."""
