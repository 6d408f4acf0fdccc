"""The PID file: ``PID`` and a newline, locked for as long as we live, removed at the end if it is still ours."""

from __future__ import annotations

import contextlib
import fcntl
import os

from mmgr.errors import ListenError


class PidFile:
    """A PID file held by a lock, so that a second instance with the same file refuses to start.

    Made (and locked) while still privileged, and left to that owner: who may write it says what ``kill`` hits.
    Processes that are forked once it is written do not hold it: they may outlive a master that was killed.
    """

    def __init__(self, path: str) -> None:
        """Raises ListenError if the file can't be made, or belongs to a live instance."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise ListenError(f"can't write the PID file {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise ListenError(f"the PID file {path} is held by a running instance") from error

    def write(self) -> None:
        """Write this process's PID. Once."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        os.register_at_fork(after_in_child=self._let_go)

    def close(self) -> None:
        """Remove the file, if it is still the one that is locked here; where we may not, it is left empty."""
        with contextlib.suppress(OSError):
            found, ours = os.lstat(self._path), os.fstat(self._fd)
            if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                os.ftruncate(self._fd, 0)
                os.unlink(self._path)
        self._let_go()

    def _let_go(self) -> None:
        """The lock stays with every other process that has the descriptor."""
        descriptor, self._fd = self._fd, -1
        if descriptor >= 0:
            os.close(descriptor)
