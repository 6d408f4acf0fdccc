"""The file of metrics for node_exporter: written anew each time, never seen half written, and gone in the end."""

from __future__ import annotations

import contextlib
import logging
import os

from mmgr.log import RateLimit, quoted

log = logging.getLogger(__name__)

MODE = 0o644
"""node_exporter runs as another user."""


class PromFile:
    """The file at an absolute path. Nothing here raises because of the file system."""

    def __init__(self, path: str) -> None:
        self._path = path
        directory, name = os.path.split(path)
        self._beside = os.path.join(directory, f".{name}.new")
        self._warnings = RateLimit()

    def write(self, text: bytes) -> None:
        """Put the text there; what is in the way is told to the log."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._beside)  # of one that was killed while it wrote
            with open(os.open(self._beside, flags, MODE), "wb") as file:
                os.fchmod(file.fileno(), MODE)
                file.write(text)
            os.rename(self._beside, self._path)
        except OSError as error:
            repeated = self._warnings.allows(error.errno)
            if repeated is not None:
                reason = quoted(error.strerror or str(error))
                log.warning("metrics-file-failed path=%s error=%s%s", quoted(self._path), reason, repeated)

    def remove(self) -> None:
        """Nobody writes it any more: take it away, and what was half written."""
        for path in (self._path, self._beside):
            with contextlib.suppress(OSError):
                os.unlink(path)
