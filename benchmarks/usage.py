"""What processes use, read from /proc: CPU time and memory. Linux only; a process that is gone counts nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _CUTIME, _CSTIME = 11, 12, 13, 14  # fields of /proc/PID/stat, counted behind the command's parenthesis


def stat_fields(text: str) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the command ahead of them may hold blanks and parentheses."""
    return text.rpartition(")")[2].split()


def cpu_s(pids: Iterable[int], with_ended_children: bool = False) -> float:
    """utime + stime of these processes in seconds, optionally with that of their children that were waited for."""
    ticks = 0
    wanted = (_UTIME, _STIME, _CUTIME, _CSTIME) if with_ended_children else (_UTIME, _STIME)
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = stat_fields(Path(f"/proc/{pid}/stat").read_text("latin-1"))
            ticks += sum(int(fields[index]) for index in wanted)
    return ticks / TICKS_PER_S


def machine_busy_s() -> float:
    """CPU time that the whole machine has spent so far on anything but idling, in seconds."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def pss_bytes(pid: int) -> int:
    """The proportional set size of a process; 0 if it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def monotonic_s() -> float:
    """The clock for wall time."""
    return time.monotonic()
