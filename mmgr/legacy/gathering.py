"""The old files on the disk: which ones a ``load`` means, and their text. The only module of this room that reads."""

from __future__ import annotations

import glob
import os
import stat

from mmgr.config.values import one_line
from mmgr.legacy.following import FileFault

MAX_FILE_BYTES = 1_048_576
"""The largest file that is read; what people wrote has some hundred lines."""

MAX_MATCHES = 1000
"""How many files one ``load`` may mean."""


class Disk:
    """The files below a configuration directory, and others by their full names; "" is no directory at all."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def matches(self, pattern: str) -> list[str]:
        """The files that a ``load`` of this name means, by their names; a directory means all its files."""
        if "\0" in pattern or not (self.directory or os.path.isabs(pattern)):
            return []
        full = pattern if os.path.isabs(pattern) else os.path.join(glob.escape(self.directory), pattern)
        found: list[str] = []
        for path in sorted(glob.glob(full)):
            if os.path.isdir(path):
                found += sorted(entry.path for entry in os.scandir(path) if entry.is_file())
            else:
                found.append(path)
        return found[:MAX_MATCHES]

    def text(self, path: str) -> str:
        """All of a file; bytes that are no UTF-8 become surrogates. Raises FileFault.

        It is opened without waiting: a FIFO of that name must not hold us.
        """
        try:
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise FileFault(one_line(path), 0, "is not an ordinary file")
                data = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            raise FileFault(one_line(path), 0, f"can't be read: {problem}") from error
        return decoded(one_line(path), data)


def decoded(path: str, data: bytes) -> str:
    """The text of a file; raises FileFault if it is none, or too large."""
    if len(data) > MAX_FILE_BYTES:
        raise FileFault(path, 0, f"is larger than {MAX_FILE_BYTES} bytes")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise FileFault(path, line, "there is a NUL byte, so this is not a text file")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
