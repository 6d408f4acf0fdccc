"""The scoreboard: shared anonymous memory made before the first fork, one slot per worker.

Each field has a single writer, the slot's worker or the master, so nothing is locked; readers may look at any time. The
states stand side by side, so that counting them is one C call. What was counted for each child is in ``tallies`` and
``counts``. The ``breakers``, which have many writers and a lock, are memory of their own.

Layout, version 3: a header of 64 bytes (``char magic[4], uint32 version, uint32 slots, uint32 slots_used,
uint32 spare_wanted, uint32 is_overloaded, uint32 is_stressed``), one state byte per slot, one stage byte per slot, then
from a multiple of 64 on one record of 64 bytes per slot: ``uint64 sessions, uint64 sessions_before, double beat, double
due, double accepted, double negotiated, double started, int32 pid, uint32 generation``. Times are monotonic seconds.
The worker writes state, stage, sessions, beat, due, accepted and negotiated; the master all the rest, and the state of
a slot that it takes or frees.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from mmgr.breaker import Breakers
from mmgr.counts import Counts
from mmgr.tally import Answer, Tallies, Total

LAYOUT_VERSION = 3

_HEADER = struct.Struct("@4sIIIIII")
_HEADER_BYTES = 64
_NUMBER = struct.Struct("@I")
_SLOTS_USED, _SPARE_WANTED, _IS_OVERLOADED, _IS_STRESSED = 12, 16, 20, 24
_RECORD = struct.Struct("@QQdddddiI")
_COUNT = struct.Struct("@Q")
_COUNTS = struct.Struct("@QQ")
_TIME = struct.Struct("@d")
_TIMES = struct.Struct("@dd")
_THREE_TIMES = struct.Struct("@ddd")
_OWNER = struct.Struct("@diI")
_BEAT, _ACCEPTED, _NEGOTIATED, _STARTED = 16, 32, 40, 48


class WorkerState(IntEnum):
    """What a slot's worker is doing; FREE is a slot without one, RESERVE answers when all others are busy."""

    FREE = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    DRAINING = 4
    RESERVE = 5


class Record(NamedTuple):
    """One slot as it was at one moment. due is until when its worker may be silent by deadlines of its own.

    accepted and negotiated are of the current or the last session; negotiated below accepted: not yet.
    """

    sessions: int
    sessions_before: int
    beat: float
    due: float
    accepted: float
    negotiated: float
    started: float
    pid: int
    generation: int


_IDLE, _BUSY = int(WorkerState.IDLE), int(WorkerState.BUSY)


class Scoreboard:
    """Shared by the master and all workers that it forks after making this. capacity is the number of slots."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._states = _HEADER_BYTES
        self._stages = self._states + capacity
        self._records = -(-(self._stages + capacity) // 64) * 64
        self._map = mmap.mmap(-1, self._records + capacity * _RECORD.size)
        _HEADER.pack_into(self._map, 0, b"mmsb", LAYOUT_VERSION, capacity, 0, 0, 0, 0)
        self.tallies = Tallies(capacity)
        self.counts = Counts(capacity, self.tallies.names.limit)
        self.breakers = Breakers()

    # ---- by the slot's worker

    def set_state(self, slot: int, state: WorkerState) -> None:
        """Written by the worker that holds the slot; by the master when it takes or frees it."""
        self._map[self._states + slot] = state

    def set_stage(self, slot: int, stage: int) -> None:
        """What the session is at: a milter command's code, 0 between sessions."""
        self._map[self._stages + slot] = stage

    def set_sessions(self, slot: int, sessions: int) -> None:
        """How many sessions the slot's worker has served."""
        self._put(self._records + slot * _RECORD.size, _COUNT.pack(sessions))

    def beat(self, slot: int, now: float, within_s: float = 0.0) -> None:
        """The worker gets along. within_s: it may be silent for so long now, by its own deadlines, and be well."""
        self._put(self._records + slot * _RECORD.size + _BEAT, _TIMES.pack(now, now + within_s))

    def begin_session(self, slot: int, now: float, until: float) -> None:
        """A connection was accepted: the slot is busy, and may be silent until then. As quick as possible."""
        self._map[self._states + slot] = _BUSY
        self._put(self._records + slot * _RECORD.size + _BEAT, _THREE_TIMES.pack(now, until, now))

    def end_session(self, slot: int, sessions: int, now: float, until: float) -> None:
        """It is over, one of so many of this worker: the slot is idle, and may be silent until then."""
        at = self._records + slot * _RECORD.size
        self._put(at, _COUNT.pack(sessions))
        self._put(at + _BEAT, _TIMES.pack(now, until))
        self._map[self._stages + slot] = 0
        self._map[self._states + slot] = _IDLE

    def set_negotiated(self, slot: int, now: float) -> None:
        """Its negotiation was answered."""
        self._put(self._records + slot * _RECORD.size + _NEGOTIATED, _TIME.pack(now))

    def add(self, slot: int, answers: Iterable[Answer]) -> None:
        """Count (child, stage, verdict, seconds); see ``mmgr.tally``. Once at the end of a transaction."""
        self.tallies.add(slot, answers)

    # ---- by the master

    def begin(self, slot: int, generation: int, now: float) -> None:
        """A worker is going to be forked for this slot. What the one before served is kept in the sum."""
        at = self._records + slot * _RECORD.size
        sessions, before = _COUNTS.unpack_from(self._map, at)
        self._put(at, _RECORD.pack(0, before + sessions, now, now, 0.0, 0.0, now, 0, generation))
        self._map[self._stages + slot] = 0
        self.set_state(slot, WorkerState.STARTING)
        self._set_number(_SLOTS_USED, max(self.slots_used, slot + 1))

    def set_pid(self, slot: int, pid: int) -> None:
        """Whose slot it is."""
        at = self._records + slot * _RECORD.size + _STARTED
        started, _, generation = _OWNER.unpack_from(self._map, at)
        self._put(at, _OWNER.pack(started, pid, generation))

    @property
    def slots_used(self) -> int:
        """How many slots, counted from the first, have ever had a worker."""
        return self._number(_SLOTS_USED)

    @property
    def spare_wanted(self) -> int:
        """A worker that turns busy tells the master if fewer than this are idle then."""
        return self._number(_SPARE_WANTED)

    def want_spare(self, spare: int) -> None:
        """Be told by workers when fewer than this are idle; 0 for never."""
        self._set_number(_SPARE_WANTED, spare)

    @property
    def is_overloaded(self) -> bool:
        """May the reserve answer, as no worker can?"""
        return bool(self._number(_IS_OVERLOADED))

    def set_overloaded(self, is_overloaded: bool) -> None:
        """Let the reserve answer, or not any more."""
        self._set_number(_IS_OVERLOADED, is_overloaded)

    @property
    def is_stressed(self) -> bool:
        """Are so many workers busy that milters may be spared (the conditions No Stress and Stress Notify)?"""
        return bool(self._number(_IS_STRESSED))

    def set_stressed(self, is_stressed: bool) -> None:
        """Say so, or that it is over."""
        self._set_number(_IS_STRESSED, is_stressed)

    # ---- by anybody

    def state(self, slot: int) -> WorkerState:
        """The state of one slot."""
        return WorkerState(self._map[self._states + slot])

    def states(self) -> bytes:
        """The states of the slots that were ever used, a byte each."""
        return self._map[self._states : self._states + self.slots_used]

    def count(self, state: WorkerState) -> int:
        """How many slots are in a state."""
        return self._map[self._states : self._stages].count(bytes((state,)))

    def stage(self, slot: int) -> int:
        """What the slot's session is at."""
        return self._map[self._stages + slot]

    def sessions(self, slot: int) -> int:
        """How many sessions the slot's worker has served."""
        count: int = _COUNT.unpack_from(self._map, self._records + slot * _RECORD.size)[0]
        return count

    def record(self, slot: int) -> Record:
        """All of one slot but its state and stage."""
        return Record._make(_RECORD.unpack_from(self._map, self._records + slot * _RECORD.size))

    def records(self) -> list[Record]:
        """Those of all slots that were ever used."""
        end = self._records + self.slots_used * _RECORD.size
        return list(map(Record._make, _RECORD.iter_unpack(self._map[self._records : end])))

    def sessions_total(self) -> int:
        """How many sessions all workers that ever lived have served; never goes backwards."""
        return sum(record.sessions + record.sessions_before for record in self.records())

    def totals(self) -> dict[tuple[str, str, str], Total]:
        """What was counted so far by (child, stage, verdict); never goes backwards."""
        return self.tallies.totals(self.slots_used)

    def _number(self, at: int) -> int:
        number: int = _NUMBER.unpack_from(self._map, at)[0]
        return number

    def _set_number(self, at: int, number: int) -> None:
        self._put(at, _NUMBER.pack(number))

    def _put(self, at: int, data: bytes) -> None:
        """Write whole aligned words: ``pack_into`` clears them first, and readers would see that."""
        self._map[at : at + len(data)] = data
