"""How the test tools write: whole blocks of bytes, one writer, nothing that a peer sent can steer a terminal.

8-bit bytes go out as they came, control characters are escaped. A reader that has gone (``| head``) is no error.
"""

from __future__ import annotations

import os
import re
import sys
import threading

_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_LINE_END = re.compile(rb"[\t\n]")


def printable(data: bytes) -> bytes:
    r"""Bytes of a peer for a terminal: CRLF becomes LF, other control characters but TAB and LF become ``\xNN``."""
    return _CONTROL.sub(_escaped, data.replace(b"\r\n", b"\n"))


def on_one_line(data: bytes) -> bytes:
    r"""As printable, and TAB and LF are escaped too."""
    return _LINE_END.sub(_escaped, printable(data))


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % found.group()[0]


class Writer:
    """Standard output as blocks that are never torn apart, from any thread; ``is_broken`` once nobody reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_broken = sys.stdout is None

    def write(self, block: bytes) -> None:
        """Write and flush one block of whole lines; nothing happens once the reader is gone."""
        with self._lock:
            if self.is_broken:
                return
            try:
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                self._give_up()
            except OSError as error:
                self._give_up()
                print(f"can't write to standard output: {error.strerror}", file=sys.stderr, flush=True)

    def complain(self, text: str) -> None:
        """One diagnostic line on standard error; what can't be encoded is escaped."""
        with self._lock:
            print(text.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr, flush=True)

    def _give_up(self) -> None:
        """Write nothing more; without the redirection Python complains at its end about what it can't flush."""
        self.is_broken = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
