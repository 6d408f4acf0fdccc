"""The databases: which there are, what they are called, what they hold, and what a minute puts into each. PURE.

Names of files and of what they hold are those of milter manager 2, so that its graphs go on; what is new comes beside.
All values are of one minute: counts, and seconds for the times that something took.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmgr.analyzer.counting import FAILURES, MANAGER, Minute
from mmgr.analyzer.statistics_lines import REPORTS

STEP_S = 60
HEARTBEAT_S = 86400
"""So long may nothing be logged and still count as no mail; longer than that nobody knows what was."""

STATUSES = (
    *("pass", "accept", "reject", "discard", "temporary_failure", "quarantine", "abort", "error", "stop", "shutdown"),
)
SESSIONS = ("smtp", "child", "disconnected", "concurrent", "message")
IN_STATISTICS = ("disconnected", "concurrent")
"""What our own lines do not tell."""

TIMES = ("average", "maximum")

ARCHIVES = tuple(
    f"RRA:{function}:0.5:{steps}:{rows}"
    for steps, rows in ((1, 1500), (15, 750), (60, 800), (720, 760))
    for function in ("AVERAGE", "MAX")
)
"""A day by minutes, a week by quarters of an hour, a month by hours and a year by halves of a day, each with room."""


@dataclass(frozen=True)
class Kind:
    """What several databases have in common. unknown are the fields that have no value when nothing was counted."""

    name: str
    fields: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def idle(self) -> str:
        """The values of a minute in which nothing was counted."""
        return ":".join("U" if field in self.unknown else "0" for field in self.fields)


SESSION = Kind("session", SESSIONS, IN_STATISTICS)
STATUS = Kind("status", STATUSES)
REPORT = Kind("report", REPORTS)
FAILURE = Kind("failure", tuple(FAILURES.values()))
LATENCY = Kind("latency", TIMES, TIMES)
KINDS = (STATUS, LATENCY, FAILURE, REPORT)

_PLAIN = re.compile(rb"[A-Za-z0-9_.-]")


@dataclass(frozen=True)
class Database:
    """One file; child is ``MANAGER`` where it is about all of them."""

    kind: Kind
    child: bytes = MANAGER

    @property
    def stem(self) -> str:
        """The name of the file without its end, also that of its graphs: ``milter.status.clamav-milter``."""
        if self.kind is SESSION:
            return "session"
        if self.child == MANAGER:
            return f"milter-manager.{self.kind.name}"
        return f"milter.{self.kind.name}.{file_name(self.child)}"

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.stem}.rrd"

    @property
    def sources(self) -> tuple[str, ...]:
        """What it holds, as rrdtool wants to be told."""
        return tuple(f"DS:{field}:GAUGE:{HEARTBEAT_S}:0:U" for field in self.kind.fields)


def file_name(child: bytes) -> str:
    """A milter's name in that of a file: all but letters, digits, ``_``, ``.`` and ``-`` as ``~XX``."""
    return "".join(
        chr(byte) if _PLAIN.match(bytes((byte,))) else f"~{byte:02x}" for byte in child
    )  # "~" itself is none of the plain ones, so no two names meet


def child_of(name: str) -> bytes | None:
    """The other way; None for what is no such name."""
    if not re.fullmatch(r"(?:[A-Za-z0-9_.-]|~[0-9a-f]{2})+", name):
        return None
    return re.sub(rb"~(..)", lambda found: bytes((int(found[1], 16),)), name.encode("ascii"))


def database_of(file: str) -> Database | None:
    """The database that a file's name stands for; None if it is none of ours."""
    if file == "session.rrd":
        return Database(SESSION)
    found = re.fullmatch(r"(milter-manager|milter)\.([a-z]+)(?:\.(.+))?\.rrd", file)
    kind = next((kind for kind in KINDS if found and kind.name == found[2]), None)
    if found is None or kind is None or (found[1] == "milter") != bool(found[3]):
        return None
    child = child_of(found[3]) if found[3] else MANAGER
    return None if child is None else Database(kind, child)


def readings(counts: Minute) -> Iterator[tuple[Database, str]]:
    """What a minute puts into which databases, as ``1:0:U``; not into those that it says nothing of."""
    if counts.sessions:
        yield Database(SESSION), ":".join(_session_value(counts.sessions, field) for field in SESSIONS)
    for kind, table in ((STATUS, counts.statuses), (REPORT, counts.reports), (FAILURE, counts.failures)):
        for child, row in table.items():
            yield Database(kind, child), ":".join(str(row.get(field, 0)) for field in kind.fields)
    for child, (total, most, n) in counts.waits.items():
        if n:
            yield Database(LATENCY, child), f"{total / n:.6f}:{most:.6f}"


def _session_value(sessions: dict[str, int], field: str) -> str:
    return str(sessions.get(field, "U" if field in IN_STATISTICS else 0))
