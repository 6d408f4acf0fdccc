"""The scoreboard: one anonymous shared mapping made before the first fork, one slot per worker.

Each slot has a single writer, its worker (the master clears it while nobody holds it), so nothing is locked. The states
stand side by side at the head of the mapping, so that counting them is one C call. Layout, version 1:
``capacity`` state bytes, then ``capacity`` records of ``uint64 sessions``.
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum

_SESSIONS = struct.Struct("@Q")


class WorkerState(IntEnum):
    """What a slot's worker is doing; FREE is a slot without one."""

    FREE = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    DRAINING = 4


class Scoreboard:
    """Shared by the master and all workers that it forks after making this. capacity is the number of slots."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._records = -(-capacity // _SESSIONS.size) * _SESSIONS.size
        self._map = mmap.mmap(-1, self._records + capacity * _SESSIONS.size)

    def set_state(self, slot: int, state: WorkerState) -> None:
        """Written by the worker that holds the slot; by the master when it takes or frees it."""
        self._map[slot] = state

    def state(self, slot: int) -> WorkerState:
        """The state of one slot."""
        return WorkerState(self._map[slot])

    def count(self, state: WorkerState) -> int:
        """How many slots are in a state."""
        return self._map[: self.capacity].count(bytes((state,)))

    def set_sessions(self, slot: int, sessions: int) -> None:
        """How many sessions the slot's worker has served."""
        _SESSIONS.pack_into(self._map, self._records + slot * _SESSIONS.size, sessions)

    def sessions(self, slot: int) -> int:
        """How many sessions the slot's worker has served."""
        count: int = _SESSIONS.unpack_from(self._map, self._records + slot * _SESSIONS.size)[0]
        return count
