"""Lessons: what one worker learnt, for all others of its generation; notes of bytes by a key of bytes.

Shared anonymous memory made by the master before the first fork, so that workers that were forked already learn as well
as those that come. Any worker may teach; who does holds a lock that the kernel takes back from the dead, and nobody
waits for it: what could not be taught, the next one teaches. Readers take no lock. Nothing is kept beyond a generation.

Layout: ``PLACES`` places of a page each, ``uint32 version, uint32 generation, uint16 key, uint16 note`` (the lengths),
then key and note. A version is odd while the place is written; a place that was never written has generation 0. Called
by ``workers.school``.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import weakref
from collections.abc import Iterator
from zlib import crc32

from mmgr.breaker import lock_file

PLACES = 32
PLACE_BYTES = 4096
_HEAD = struct.Struct("@IIHH")
_VERSION = struct.Struct("@I")
ROOM_BYTES = PLACE_BYTES - _HEAD.size
"""Key and note together; what is longer is not taught."""


class Lessons:
    """All of an instance."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, PLACES * PLACE_BYTES)
        self._lock_fd = lock_file()
        if self._lock_fd >= 0:
            weakref.finalize(self, os.close, self._lock_fd).atexit = False

    def find(self, generation: int, key: bytes) -> bytes | None:
        """The note by that key; None if there is none, or if it is just being written."""
        for place in range(PLACES):
            found = self._read(place, generation)
            if found is not None and found[0] == key:
                return found[1]
        return None

    def all(self, generation: int) -> Iterator[tuple[bytes, bytes]]:
        """All notes of a generation, with their keys."""
        for place in range(PLACES):
            found = self._read(place, generation)
            if found is not None:
                yield found

    def teach(self, generation: int, key: bytes, note: bytes) -> bool:
        """Put down a note in place of an older one by the same key; False if that was not possible."""
        if len(key) + len(note) > ROOM_BYTES or self._lock_fd < 0 or not generation:
            return False
        try:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            return False
        try:
            self._write(self._place_for(generation, key), generation, key, note)
        finally:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN, 1)
        return True

    def _place_for(self, generation: int, key: bytes) -> int:
        """That of the key, else a free one, else any: whoever invents keys all the time is not to keep others out."""
        free = -1
        for place in range(PLACES):
            found = self._read(place, generation)
            if found is not None and found[0] == key:
                return place
            if found is None and free < 0:
                free = place
        return free if free >= 0 else crc32(key) % PLACES

    def _read(self, place: int, generation: int) -> tuple[bytes, bytes] | None:
        at = place * PLACE_BYTES
        version, of, key_bytes, note_bytes = _HEAD.unpack_from(self._map, at)
        if of != generation or version % 2 or key_bytes + note_bytes > ROOM_BYTES:
            return None
        data = self._map[at + _HEAD.size : at + _HEAD.size + key_bytes + note_bytes]
        if _VERSION.unpack_from(self._map, at)[0] != version:
            return None
        return data[:key_bytes], data[key_bytes:]

    def _write(self, place: int, generation: int, key: bytes, note: bytes) -> None:
        at = place * PLACE_BYTES
        version = _VERSION.unpack_from(self._map, at)[0] | 1
        _VERSION.pack_into(self._map, at, version)
        self._map[at + _HEAD.size : at + _HEAD.size + len(key) + len(note)] = key + note
        _HEAD.pack_into(self._map, at, version, generation, len(key), len(note))
        _VERSION.pack_into(self._map, at, (version + 1) % 2**32)
