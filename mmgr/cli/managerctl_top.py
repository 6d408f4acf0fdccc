"""``milter-managerctl top``: two looks at the counters give rates; drawn over and over, or printed once.

On a terminal the second screen is used, so that the first is untouched when this ends, however it ends; anywhere else
the looks follow each other as plain text. Each look is a connection of its own, so none is cut off between two looks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

from mmgr.cli import managerctl_output as output
from mmgr.cli.writing import Writer
from mmgr.tally import BOUNDS_S

Look = Callable[..., "list[dict[str, Any]]"]
Sample = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The answers to status and milters."""

_ENTER = b"\x1b[?1049h\x1b[?25l"
_LEAVE = b"\x1b[?25h\x1b[?1049l"
_HOME = b"\x1b[H"
_END_OF_LINE = "\x1b[K\r\n"
_REST = b"\x1b[J"
_PART = 0.95

_VERDICTS = (
    ("continue", "CONTINUE"),
    ("accept", "ACCEPT"),
    ("reject", "REJECT"),
    ("temporary-failure", "TEMPFAIL"),
    ("discard", "DISCARD"),
    ("quarantine", "QUARANTINE"),
    ("failed", "FAILED"),
)
_NAMES = {"": "to the MTA"}


class Top:
    """look(*requests) gives the results of questions, or raises ControlError."""

    def __init__(self, look: Look, writer: Writer, given: argparse.Namespace) -> None:
        self._look = look
        self._writer = writer
        self._interval_s: float = given.interval
        self._left: int | None = 1 if given.once else given.count
        self._is_json: bool = given.is_json
        self._is_screen = _is_terminal() and not given.once and not given.is_json

    def run(self) -> int:
        """Until interrupted, or as often as asked for; the exit code. Raises ControlError if no daemon answers."""
        before = self._sample()
        try:
            with self._screen():
                while self._left is None or self._left > 0:
                    time.sleep(self._interval_s)
                    now = self._sample()
                    self._show(figures(before, now), now[0])
                    before = now
                    self._left = None if self._left is None else self._left - 1
                    if self._writer.is_broken:
                        break
        except KeyboardInterrupt:
            if not self._is_screen:
                raise
        return 0

    def _sample(self) -> Sample:
        status, milters = self._look("status", "milters")
        return status, milters

    def _show(self, found: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        if self._is_json:
            self._writer.write(json.dumps(found).encode("ascii") + b"\n")
            return
        lines = picture(found, status)
        if not self._is_screen:
            self._writer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            return
        size = shutil.get_terminal_size()
        shown = _END_OF_LINE.join(line[: size.columns] for line in lines[: size.lines - 1])
        self._writer.write(_HOME + shown.encode("utf-8", "backslashreplace") + _END_OF_LINE.encode() + _REST)

    @contextmanager
    def _screen(self) -> Iterator[None]:
        """The second screen of the terminal; the first one comes back whatever happens, TERM and HUP included."""
        if not self._is_screen:
            yield
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        self._writer.write(_ENTER)
        try:
            yield
        finally:
            self._writer.write(_LEAVE)


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def figures(before: Sample, now: Sample) -> dict[str, Any]:
    """What happened between two looks: rates, and times of what was answered meanwhile; verdicts are of all times.

    None where nothing can be said. Another daemon than before has nothing before it.
    """
    status, milters = now
    is_same = before[0].get("pid") == status.get("pid")
    elapsed_s = status["monotonic_s"] - before[0]["monotonic_s"] if is_same else 0.0
    pool, old = status["pool"], {one["milter"]: one["stages"] for one in before[1]["milters"]} if is_same else {}
    return {
        "interval_s": elapsed_s if elapsed_s > 0 else None,
        "sessions": status["sessions"],
        "sessions_per_s": _rate(status["sessions"] - before[0]["sessions"], elapsed_s),
        "workers_busy": pool["busy"],
        "workers_idle": pool["idle"],
        "workers_max": pool["max_workers"],
        "milters": [_of_child(one, old.get(one["milter"], {}), elapsed_s) for one in milters["milters"]],
    }


def _of_child(one: Mapping[str, Any], old: Mapping[str, Any], elapsed_s: float) -> dict[str, Any]:
    buckets_before, seconds_before = _sum(old)
    buckets, seconds = _sum(one["stages"])
    fresh = [now - before for now, before in zip(buckets, buckets_before)] if elapsed_s > 0 else [0] * len(buckets)
    count = sum(fresh)
    return {
        "milter": one["milter"],
        "state": one["state"],
        "override": one["override"],
        "answers_per_s": _rate(count, elapsed_s),
        "mean_ms": 1000 * (seconds - seconds_before) / count if count > 0 else None,
        "p95_ms": _percentile_ms(fresh, count),
        "verdicts": output.verdicts_of(one["stages"]),
    }


def _sum(stages: Mapping[str, Any]) -> tuple[list[int], float]:
    """Over all stages and verdicts: the buckets of ``mmgr.tally``, and the seconds."""
    buckets, seconds = [0] * (len(BOUNDS_S) + 1), 0.0
    for verdicts in stages.values():
        for cell in verdicts.values():
            seconds += cell["seconds"]
            buckets = [one + other for one, other in zip(buckets, cell["buckets"])]
    return buckets, seconds


def _rate(count: int, elapsed_s: float) -> float | None:
    return count / elapsed_s if elapsed_s > 0 else None


def _percentile_ms(buckets: list[int], count: int) -> float | None:
    """The bound below which 95 of 100 answers came; None without answers, or if that is beyond all bounds."""
    reached = 0
    for bound_s, number in zip(BOUNDS_S, buckets):
        reached += number
        if count > 0 and reached >= _PART * count:
            return bound_s * 1000
    return None


def picture(found: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    """The figures as lines."""
    heads = ("MILTER", "STATE", "ANSWERS/S", "MEAN_MS", "P95_MS", *(head for _, head in _VERDICTS))
    rows = [
        (
            _NAMES.get(one["milter"], one["milter"]),
            one["state"] or "-",
            _number(one["answers_per_s"]),
            _number(one["mean_ms"]),
            _number(one["p95_ms"]),
            *(one["verdicts"].get(name, 0) for name, _ in _VERDICTS),
        )
        for one in found["milters"]
    ]
    sessions = f"sessions {_number(found['sessions_per_s'])} a second, {found['sessions']} in all"
    return [
        output.headline(status),
        f"{sessions}; workers {output.pool(status)}",
        "",
        *output.table(heads, rows),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
