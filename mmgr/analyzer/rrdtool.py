"""rrdtool as a process that takes one command after another through a pipe."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mmgr.analyzer.faults import OutputUnwritable, RrdtoolFailed, RrdtoolMissing

PROGRAM = "rrdtool"
INSTALL = "install it (EL: dnf install rrdtool, Debian: apt-get install rrdtool)"
_NO_ROOM = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_UNQUOTABLE = frozenset("\"'\n\r\0")


class Rrdtool:
    """A running rrdtool whose file names count from directory. A context manager: it is gone afterwards."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise RrdtoolMissing(f"there is no {PROGRAM} here: {INSTALL}")
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        try:
            self._process = subprocess.Popen(
                [program, "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=environment,
            )
        except OSError as error:
            raise RrdtoolMissing(f"{program} can't be started: {error.strerror}; {INSTALL}") from error

    def __enter__(self) -> Rrdtool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Its end of input ends it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass  # it is gone already
        self._process.stdout.close()
        self._process.wait()

    def ask(self, *words: str) -> list[str]:
        """One command; what it prints. Blocks until it is done. Raises RrdtoolFailed with what it says is wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(_quoted(words))
            self._process.stdin.flush()
        except OSError as error:
            raise RrdtoolFailed(f"{PROGRAM} ended before its work was done ({words[0]})") from error
        said: list[str] = []
        for raw in self._process.stdout:
            line = raw.decode("utf-8", "backslashreplace").rstrip("\n")
            if line.startswith("OK "):
                return said
            if line.startswith("ERROR:"):
                fault = OutputUnwritable if line.endswith(_NO_ROOM) else RrdtoolFailed
                raise fault(f"{PROGRAM} {' '.join(words[:2])}: {line[6:].strip()}")
            said.append(line)
        raise RrdtoolFailed(
            f"{PROGRAM} ended in the middle of its work ({words[0]}){': ' if said else ''}{' '.join(said)}"
        )


def _quoted(words: Sequence[str]) -> bytes:
    """Words in double quotes; nothing that could end them may be inside."""
    for word in words:
        if not _UNQUOTABLE.isdisjoint(word):
            raise RrdtoolFailed(f"can't be told to {PROGRAM}: {word!r}")
    return (" ".join(f'"{word}"' for word in words) + "\n").encode("utf-8")
