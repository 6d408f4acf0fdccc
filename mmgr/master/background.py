"""Going to the background: the caller's process waits until the daemon serves, so its exit code means something."""

from __future__ import annotations

import os
import sys

_SERVING = b"1"


class Background:
    """Made in the foreground; ``detach`` forks. A failed start ends the waiting process with the daemon's own code."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)

    def detach(self) -> int | None:
        """Fork: None in the daemon, which goes on; in the waiting process the exit code, once it is known."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(self._read_fd)
            os.setsid()
            return None
        os.close(self._write_fd)
        told = os.read(self._read_fd, 1)
        if told == _SERVING:
            return 0
        _, status = os.waitpid(pid, 0)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1

    def serving(self) -> None:
        """In the daemon: let go of the terminal, then of the waiting process."""
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.close(null)
        os.write(self._write_fd, _SERVING)
        os.close(self._write_fd)
