"""The body of one message: in memory up to a threshold, then in an unnamed temporary file.

Kept as whole SMFIC_BODY frames of at most ``chunk_bytes`` of payload, so what is stored can be sent as it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO

from mmgr.config.model import ManagerSettings
from mmgr.errors import MmgrError
from mmgr.protocol.constants import CHUNK_BYTES_MAX, Command
from mmgr.protocol.framing import CODE, LENGTH_PREFIX, PAYLOAD, encode_frame

READ_BYTES = 262144
"""The file is read back in pieces of this size; it has to hold one frame of the largest chunk."""


class SpoolError(MmgrError):
    """The body can't be kept, most often because the disk is full. The manager's own fallback applies."""


def body_spool(settings: ManagerSettings) -> BodySpool:
    """Room for one body, as configured."""
    return BodySpool(settings.spool_threshold_bytes, settings.spool_directory, settings.chunk_size_bytes)


class BodySpool:
    """Body frames in the order they came. threshold_bytes counts frames; directory "" is the system's default."""

    def __init__(self, threshold_bytes: int, directory: str = "", chunk_bytes: int = CHUNK_BYTES_MAX) -> None:
        self._threshold_bytes = threshold_bytes
        self._directory = directory or None
        self._chunk_bytes = chunk_bytes
        self._memory: list[bytes] = []
        self._memory_bytes = 0
        self._file: IO[bytes] | None = None
        self.size_bytes = 0

    def add_frame(self, frame: bytes) -> None:
        """Keep one body frame as it came; one that is too long for a child is cut. Raises SpoolError."""
        if len(frame) - PAYLOAD > self._chunk_bytes:
            return self.add_payload(frame[PAYLOAD:])
        self._memory.append(frame)
        self._memory_bytes += len(frame)
        self.size_bytes += len(frame) - PAYLOAD
        if self._memory_bytes > self._threshold_bytes:
            self._spill()
        return None

    def add_payload(self, payload: bytes) -> None:
        """Keep bytes of body, cut into frames; no bytes, no frame. Raises SpoolError."""
        for start in range(0, len(payload), self._chunk_bytes):
            self.add_frame(encode_frame(Command.SMFIC_BODY, payload[start : start + self._chunk_bytes]))

    @property
    def is_short(self) -> bool:
        """No more than one frame, in memory."""
        return self._file is None and len(self._memory) <= 1

    def frames(self) -> Iterator[bytes]:
        """All frames from the first. Raises SpoolError if the file can't be read back."""
        if self._file is not None:
            self._spill()
            yield from self._frames_of_file(self._file)
        else:
            yield from self._memory

    def close(self) -> None:
        """Forget everything; the temporary file is gone with it."""
        self._memory.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="milter-manager-", dir=self._directory)  # noqa: SIM115
            self._file.seek(0, 2)
            self._file.writelines(self._memory)
            self._file.flush()
        except OSError as error:
            where = self._directory or tempfile.gettempdir()
            raise SpoolError(
                f"body of {self.size_bytes} bytes can't be spooled in {where}: {error.strerror}"
            ) from error
        self._memory.clear()
        self._memory_bytes = 0

    @staticmethod
    def _frames_of_file(spooled: IO[bytes]) -> Iterator[bytes]:
        """With a position of its own, so that several children can be sent the body at the same time."""
        descriptor, position = spooled.fileno(), 0
        try:
            while True:
                block = os.pread(descriptor, READ_BYTES, position)
                start = 0
                while len(block) - start > CODE:
                    end = start + CODE + LENGTH_PREFIX.unpack_from(block, start)[0]
                    if end > len(block):
                        break
                    yield block[start:end]
                    start = end
                if not start:
                    return
                position += start
        except OSError as error:
            raise SpoolError(f"spooled body can't be read back: {error.strerror}") from error
