"""The logs of a run as blocks of whole lines: plain and compressed files, from where the last run stopped, and pipes.

Nothing is kept but one block, however long a line is. A file that ends in the middle of a line is still being written:
that line is left to the next run. A compressed file that is cut off gives what is there.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

from mmgr.analyzer.faults import LogUnreadable
from mmgr.analyzer.heads import HeadReader
from mmgr.analyzer.positions import PREFIX_BYTES, State

BLOCK_BYTES = 1 << 20
LINE_BYTES_MAX = 1 << 20
"""Longer lines are no log; they are passed over."""

STANDARD_INPUT = "-"
_MAGICS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))
_ZSTD = b"\x28\xb5\x2f\xfd"
_CUT_OFF = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


@dataclass
class Source:
    """One log of the run. written_at and identity are of a regular file; prefix is how it begins, uncompressed."""

    path: str
    file: IO[bytes]
    raw: IO[bytes]
    is_regular: bool
    is_compressed: bool = False
    written_at: float | None = None
    identity: list[int] | None = None
    prefix: bytes = b""
    offset: int = 0
    """Where whole lines that were read end."""

    warnings: list[str] = field(default_factory=list)

    def blocks(self, state: State) -> Iterator[list[bytes]]:
        """Lists of lines without their ends, from where the last run stopped. Raises LogUnreadable."""
        known = state.find(self.prefix) if self.is_regular else None
        try:
            if known is not None and self._skip(known.offset):
                self.offset = known.offset
            yield from self._lines()
        except OSError as error:
            raise LogUnreadable(f"can't read {self.path}: {error.strerror or error}") from error

    def _lines(self) -> Iterator[list[bytes]]:
        carry = b""
        is_too_long = False
        while True:
            block = self._block(BLOCK_BYTES)
            if not block:
                break
            lines = (carry + block).split(b"\n")
            self.offset += len(carry) + len(block)
            carry = lines.pop()
            self.offset -= len(carry)
            if is_too_long and lines:
                del lines[0]
                is_too_long = False
            if len(carry) > LINE_BYTES_MAX:
                self.offset += len(carry)
                carry, is_too_long = b"", True
            yield lines
        if carry and not is_too_long and (self.is_compressed or not self.is_regular):
            self.offset += len(carry)
            yield [carry]

    def _block(self, size: int) -> bytes:
        """The next bytes, at most so many; none at the end, and where a compressed file is cut off."""
        parts: list[bytes] = []
        n_read = 0
        read = getattr(self.file, "read1", self.file.read)  # unlike read, it keeps what comes before a fault
        try:
            while n_read < size and not self.warnings:
                part = read(size - n_read)
                if not part:
                    break
                parts.append(part)
                n_read += len(part)
        except _CUT_OFF as error:
            self.warnings.append(f"{self.path} is damaged or cut off: {error}")
        return b"".join(parts)

    def learn_prefix(self) -> None:
        """Read what it begins with; it is at its beginning then."""
        self.prefix = self._block(PREFIX_BYTES)
        self.warnings.clear()
        self.file.seek(0)

    def _skip(self, offset: int) -> bool:
        """Go to where the last run stopped; False, and at the start, if the log is shorter than that now."""
        try:
            size = self.file.seek(offset) if self.is_compressed else self.file.seek(0, os.SEEK_END)
        except _CUT_OFF:
            size = 0
        self.file.seek(offset if size >= offset else 0)
        return size >= offset

    def is_whole(self) -> bool:
        """A compressed file does not grow, so once read it need not be looked at again."""
        return self.is_regular and self.is_compressed and not self.warnings


@contextmanager
def opened(paths: list[str], state: State, now: float) -> Iterator[list[Source]]:
    """The logs that may have something new, the oldest first. Raises LogUnreadable."""
    sources: list[Source] = []
    try:
        for path in paths:
            source = _open(path)
            sources.append(source)
        fresh = [each for each in sources if each.identity is None or not state.is_read(each.identity)]
        yield sorted(fresh, key=lambda each: _begins_at(each, now))
    finally:
        for source in sources:
            source.file.close()
            source.raw.close()


def _open(path: str) -> Source:
    try:
        if path == STANDARD_INPUT:
            file = open(os.dup(sys.stdin.fileno()), "rb", buffering=0)  # noqa: SIM115
        else:
            file = open(path, "rb", buffering=0)  # noqa: SIM115
    except (OSError, AttributeError, ValueError) as error:
        raise LogUnreadable(f"can't open {path}: {getattr(error, 'strerror', None) or error}") from error
    name = "standard input" if path == STANDARD_INPUT else path
    try:
        return _recognized(name, file)
    except OSError as error:
        file.close()
        raise LogUnreadable(f"can't read {name}: {error.strerror or error}") from error


def _recognized(name: str, file: io.FileIO) -> Source:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        return Source(name, io.BufferedReader(file, BLOCK_BYTES), file, False)
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(_ZSTD):
        raise LogUnreadable(f"{name} is compressed by zstd: unpack it into a pipe, zstdcat {name} | ...")
    identity = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns]
    opener = next((opener for start, opener in _MAGICS if magic.startswith(start)), None)
    source = Source(name, file, file, True, opener is not None, found.st_mtime)
    if opener is not None:
        source.file = cast("IO[bytes]", opener(file, "rb"))
        source.identity = identity
    source.learn_prefix()
    return source


def _begins_at(source: Source, now: float) -> float:
    """The time of its first line of ours, or of its last change; what comes from a pipe is the newest."""
    if not source.is_regular:
        return now + 1
    heads = HeadReader(now)
    heads.begin(source.written_at)
    stamps = (heads.stamp(line) for line in source.prefix.split(b"\n")[:-1])
    return next((stamp for stamp in stamps if stamp is not None), source.written_at or now)
