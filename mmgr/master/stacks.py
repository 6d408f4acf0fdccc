"""Stacks of hung workers on their way into the log: one pipe that all workers inherit and only faulthandler writes to.

A worker that hangs can't log; the interpreter's own fault handler can still write where it stands. The master never
waits for the pipe, and nobody can fill it for others: what does not fit is lost.
"""

from __future__ import annotations

import logging
import os

from mmgr.log import quoted

log = logging.getLogger(__name__)

LINES_MAX = 60
"""Of one stack; a recursion has a thousand."""


class StackPipe:
    """The pipe. The master asks one worker after another, so what comes belongs to the one that was asked last."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""
        self._lines = 0
        self._number = 0

    def expect(self, number: int) -> None:
        """The worker of that number was asked for its stack."""
        self.take()
        self._number, self._lines, self._rest = number, 0, b""

    def take(self) -> None:
        """Log what has come. Does not block."""
        try:
            data = os.read(self.read_fd, 65536)
        except BlockingIOError:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._lines += 1
            if line.strip() and self._lines <= LINES_MAX:
                log.warning(
                    "worker-stack worker=%d line=%s", self._number, quoted(line.decode("utf-8", "replace").strip())
                )
