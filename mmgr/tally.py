"""Counters and latency histograms that only ever grow: how often each child answered what at which stage, and how fast.

One area per slot in memory that the master and its workers share; the area's only writer is the worker that holds the
slot. Nothing is locked and nothing is ever cleared: a new worker goes on adding to what its slot has, so sums over all
slots never go backwards, whoever dies. A reader may look while a worker writes; it sees each counter before or after.

Layout of an area: one byte per (child, verdict) that says whether there is anything, then for each child, verdict and
stage, in this order, a cell of ``uint64 bucket[15], uint64 microseconds``. How often something happened is the sum of
its buckets. Most of it is never touched and costs no memory, which is why readers look at the bytes first.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import byteorder

CHILDREN_MAX = 64
"""Names that are told apart, the special ones included."""

MANAGER = ""
"""The name whose figures are what the MTA was told, of whichever child that came."""

OVERLOAD = "(overload)"
"""The name whose figures are sessions that the reserve answered, as ``connect``, and messages in them, as ``mail``."""

OTHERS = "(others)"
"""The name that all children share for which there was no place any more."""

STAGES = ("connect", "helo", "mail", "rcpt", "data", "end-of-header", "end-of-message", "other")
VERDICTS = ("continue", "accept", "reject", "temporary-failure", "discard", "quarantine", "failed", "stopped", "other")
BOUNDS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""The upper bounds of the buckets; one more takes what is slower. An answer on a bound belongs below it."""

_BUCKETS = len(BOUNDS_S) + 1
_CELL = _BUCKETS + 1
_ROW = len(STAGES) * _CELL
_LANE_BYTES = 8
_ROW_BYTES = _ROW * _LANE_BYTES
_MAP_NORESERVE = 0x4000
"""Linux: what is never touched is not counted as used. Python names it from 3.12 on."""

Answer = tuple[int, int, int, float]
"""Indexes of child, stage and verdict, and the seconds that it took."""


def stage_index(name: str) -> int:
    """The index of a stage as ``STAGE_NAMES`` of the protocol calls it; those that are not told apart share one."""
    return _STAGE_INDEX.get(name, len(STAGES) - 1)


def verdict_index(name: str) -> int:
    """The index of a verdict by the word that logs use."""
    return _VERDICT_INDEX.get(name, len(VERDICTS) - 1)


_STAGE_INDEX = {name: index for index, name in enumerate(STAGES)}
_VERDICT_INDEX = {name: index for index, name in enumerate(VERDICTS)}


class ChildNames:
    """Which index a child has. It keeps it for ever, also when it is gone from the configuration.

    The master owns the one that counts and extends it at each reload, before it forks those who use the new names.
    """

    def __init__(self, limit: int = CHILDREN_MAX) -> None:
        self.limit = limit
        self._indexes = {MANAGER: 0, OVERLOAD: 1}

    def extend(self, names: Iterable[str]) -> None:
        """Give places to names that have none, as long as there are any."""
        for name in names:
            if len(self._indexes) < self.limit - 1:
                self._indexes.setdefault(name, len(self._indexes))

    def index(self, name: str) -> int:
        """The place of a child; that of ``OTHERS`` for one that got none."""
        return self._indexes.get(name, self.limit - 1)

    def has(self, name: str) -> bool:
        """Has a child a place of its own?"""
        return name in self._indexes

    def name(self, index: int) -> str:
        """The child of a place."""
        return list(self._indexes)[index] if index < len(self._indexes) else OTHERS


@dataclass(frozen=True)
class Total:
    """What all workers that ever lived have counted for one child, stage and verdict. buckets go with ``BOUNDS_S``."""

    count: int
    seconds: float
    buckets: tuple[int, ...]


class Tallies:
    """The areas of all slots. Made before the first fork."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self.names, self._memory = _reserve(slots)
        self._pairs = self.names.limit * len(VERDICTS)
        self._cells = memoryview(self._memory)[slots * self._pairs :].cast("Q")

    def add(self, slot: int, answers: Iterable[Answer]) -> None:
        """Count answers. By the slot's worker alone, once at the end of a transaction; cheap, and never blocks."""
        memory, cells, first = self._memory, self._cells, slot * self._pairs
        for child, stage, verdict, seconds in answers:
            pair = first + child * len(VERDICTS) + verdict
            memory[pair] = 1
            cell = pair * _ROW + stage * _CELL
            cells[cell + bisect_left(BOUNDS_S, seconds)] += 1
            if seconds > 0.0:
                cells[cell + _BUCKETS] += int(seconds * 1e6)

    def totals(self, slots: int) -> dict[tuple[str, str, str], Total]:
        """By (child, stage, verdict), over the first so many slots, which is all that were ever used."""
        rows: dict[int, int] = {}
        for slot in range(slots):
            for pair in self._pairs_of(slot):
                row = (slot * self._pairs + pair) * _ROW
                rows[pair] = rows.get(pair, 0) + _as_number(self._cells[row : row + _ROW])
        found: dict[tuple[str, str, str], Total] = {}
        for pair in sorted(rows):
            child, verdict = divmod(pair, len(VERDICTS))
            lanes = memoryview(rows[pair].to_bytes(_ROW_BYTES, byteorder)).cast("Q")
            for stage, name in enumerate(STAGES):
                total = _total(lanes[stage * _CELL : (stage + 1) * _CELL].tolist())
                if total.count:
                    found[self.names.name(child), name, VERDICTS[verdict]] = total
        return found

    def _pairs_of(self, slot: int) -> list[int]:
        """Where a slot has anything: nothing else is looked at, as looking costs memory, too."""
        has = self._memory[slot * self._pairs : (slot + 1) * self._pairs]
        found, at = [], has.find(1)
        while at >= 0:
            found.append(at)
            at = has.find(1, at + 1)
        return found


def _as_number(lanes: memoryview) -> int:
    """All lanes as one number, so that adding two of them adds every lane at once; none of them ever overflows."""
    return int.from_bytes(lanes, byteorder)


def _total(lanes: Sequence[int]) -> Total:
    return Total(sum(lanes[:_BUCKETS]), lanes[_BUCKETS] / 1e6, tuple(lanes[:_BUCKETS]))


def _reserve(slots: int) -> tuple[ChildNames, mmap.mmap]:
    """Memory for all slots; with fewer names where the kernel insists on having all of it at hand."""
    for limit in (CHILDREN_MAX, CHILDREN_MAX // 4, 4):
        size = slots * limit * len(VERDICTS) * (1 + _ROW_BYTES)
        try:
            flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
            return ChildNames(limit), mmap.mmap(-1, size, flags=flags)
        except (OSError, MemoryError):
            continue
    raise MemoryError("no memory for the counters of the workers")
