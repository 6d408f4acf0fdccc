"""What the kernel knows of a worker that its heartbeat does not say: memory, and whether it is stopped or spinning.

Read from /proc, a few workers a round, so that a large pool costs the loop next to nothing. Linux only; see proc(5).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

MEMORY_EVERY_S = 10.0
"""Each worker's memory is looked at this often, or less often in a pool beyond PER_ROUND workers a second."""

PER_ROUND = 25
SPIN_WINDOW_S = 5.0
SPIN_PART = 0.8
"""A worker that used this part of a processor throughout the window, and is silent, runs in circles."""

_PAGE_BYTES = resource.getpagesize()
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class _Vital:
    """What is known of one process."""

    looked_at: float
    memory_bytes: int = 0
    watched_since: float = 0.0
    cpu_s: float = 0.0
    is_stuck: bool = False


class Vitals:
    """Remembers what was read last; ``look`` in each round, with all workers and those that are silent."""

    def __init__(self) -> None:
        self._known: dict[int, _Vital] = {}

    def look(self, pids: Iterable[int], silent: frozenset[int], now: float) -> None:
        """Read what is due now, and forget processes that are gone."""
        self._known = {pid: self._known.get(pid) or _Vital(now) for pid in pids}
        due = (item for item in self._known.items() if now - item[1].looked_at >= MEMORY_EVERY_S)
        for pid, vital in islice(due, PER_ROUND):
            vital.looked_at = now
            vital.memory_bytes = resident_bytes(pid)
        for pid, vital in self._known.items():
            if pid in silent:
                _watch(pid, vital, now)
            else:
                vital.watched_since, vital.is_stuck = 0.0, False

    def memory_bytes(self, pid: int) -> int:
        """Resident memory, as it was some seconds ago; 0 as long as nobody looked."""
        vital = self._known.get(pid)
        return vital.memory_bytes if vital else 0

    def is_stuck(self, pid: int) -> bool:
        """Is a silent process stopped, or does it spin?"""
        vital = self._known.get(pid)
        return bool(vital and vital.is_stuck)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 for one that is gone."""
    text = _read(f"/proc/{pid}/statm")
    return int(text.split()[1]) * _PAGE_BYTES if text else 0


def _watch(pid: int, vital: _Vital, now: float) -> None:
    text = _read(f"/proc/{pid}/stat")
    fields = text.rpartition(b")")[2].split()
    if len(fields) < 13:
        return
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    if not vital.watched_since:
        vital.watched_since, vital.cpu_s = now, cpu_s
    passed_s = now - vital.watched_since
    is_spinning = passed_s >= SPIN_WINDOW_S and cpu_s - vital.cpu_s >= SPIN_PART * passed_s
    vital.is_stuck = fields[0] in (b"T", b"t") or is_spinning


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096)
    except OSError:
        return b""
