"""What the lines of one minute come to. PURE: lines and minutes in, counts out.

``Ledger.take`` is called for each line of ours. It believes nothing: a line that was cut, or into which another one
was written, counts as damaged and for nothing else; names and words that nobody would use are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Callable

from mmgr.analyzer import statistics_lines
from mmgr.analyzer.heads import Line

MANAGER = b""
"""Stands for the manager itself where counts are by child."""

CHILDREN_MAX = 200
NAME_BYTES_MAX = 100
PIDS_MAX = 20000
PIDS_KEPT = 2000
"""How many of the last sessions are remembered from one run to the next."""

_STATUSES = {
    b"continue": "pass",
    b"skip": "pass",
    b"accept": "accept",
    b"reject": "reject",
    b"discard": "discard",
    b"temporary-failure": "temporary_failure",
    b"quarantine": "quarantine",
    b"abort": "abort",
    b"failed": "error",
    b"shutdown": "shutdown",
}
FAILURES = {b"ChildUnavailable": "unavailable", b"ChildTimeout": "timeout", b"ChildProtocolError": "protocol"}

_SECONDS = rb"(\d{1,9}\.\d{4})"
_TRANSACTION = re.compile(
    rb"transaction session=(\d{1,10})\.(\d{1,19}) queue_id=\S+ client=\S+ sender=\S+ recipients=\S+ refused=\S+ "
    rb"stage=\S+ verdict=([a-z-]{1,20}) child=\S+ elapsed_s=" + _SECONDS + rb" size_bytes=\d+ edits=\d+ "
    rb"children=(\S+)(?: [a-z_]+=\S+)*\s*"
)
_REFUSED = re.compile(
    rb"session-refused session=(\d{1,10})\.(\d{1,19}) client=\S+ stage=\S+ verdict=([a-z-]{1,20}) child=\S+ "
    rb"children=(\S+)(?: [a-z_]+=\S+)*\s*"
)
_PASSED = re.compile(
    rb"session-passed session=(\d{1,10})\.(\d{1,19}) client=\S+ stage=\S+ children=(\S+)(?: [a-z_]+=\S+)*\s*"
)
_FAILED = re.compile(
    rb'child-failed session=\S+ child=(\S+) stage=\S+ kind=(\w+) error="[^"]*" '
    rb"fallback=(?:accept|reject|discard|temporary-failure)(?: repeated=(\d{1,6}))?\s*"
)
_CHILD = re.compile(
    rb"([^,]{1,200}?):\(?(?:(stopped)\(\S{0,200}?\)|([a-z-]{1,20}))\)?:" + _SECONDS + rb"(?:,(?=\S)|\Z)",
)
"""Bounded, and matched at one place after the other: a hostile list costs no more than its length."""

MESSAGE_BYTES_MAX = 65536


class Minute:
    """Counts of one minute; whatever is by child has the manager's own under ``MANAGER``."""

    __slots__ = ("failures", "reports", "sessions", "statuses", "waits")

    def __init__(self) -> None:
        self.sessions: dict[str, int] = {}
        self.statuses: dict[bytes, dict[str, int]] = {}
        self.reports: dict[bytes, dict[str, int]] = {}
        self.failures: dict[bytes, dict[str, int]] = {}
        self.waits: dict[bytes, list[float]] = {}
        """Sum, maximum and number of seconds."""

    def count(self, what: dict[bytes, dict[str, int]], name: bytes, word: str, by: int = 1) -> None:
        """One more of word, for name, in one of the tables."""
        row = what.get(name)
        if row is None:
            row = what[name] = {}
        row[word] = row.get(word, 0) + by

    def count_session(self, word: str, by: int = 1) -> None:
        """One more of word among what is counted of sessions."""
        self.sessions[word] = self.sessions.get(word, 0) + by

    def wait(self, name: bytes, seconds: float) -> None:
        """A time that a message or a child took."""
        row = self.waits.get(name)
        if row is None:
            self.waits[name] = [seconds, seconds, 1]
            return
        row[0] += seconds
        row[2] += 1
        if seconds > row[1]:
            row[1] = seconds

    def as_plain(self) -> dict[str, Any]:
        """The counts as JSON can hold them."""
        plain: dict[str, Any] = {"sessions": self.sessions}
        for table in ("statuses", "reports", "failures", "waits"):
            plain[table] = {name.decode("latin-1"): row for name, row in getattr(self, table).items()}
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Minute:
        """The other way; raises KeyError, TypeError, ValueError or AttributeError if it is nothing of ours."""
        made = cls()
        made.sessions = {str(word): int(n) for word, n in plain["sessions"].items()}
        for table in ("statuses", "reports", "failures"):
            for name, row in plain[table].items():
                getattr(made, table)[name.encode("latin-1")] = {str(word): int(n) for word, n in row.items()}
        for name, (total, most, n) in plain["waits"].items():
            made.waits[name.encode("latin-1")] = [float(total), float(most), int(n)]
        return made


class Ledger:
    """The minutes that are not in the databases yet.

    With has_statistics the lines of milter manager 2 count instead of our own: both would count each message twice.
    """

    def __init__(self, has_statistics: bool = False) -> None:
        self.minutes: dict[int, Minute] = {}
        self.sessions: dict[bytes, bytes] = {}
        """The last session of each worker: a session with several messages counts once."""
        self.children: set[bytes] = set()
        self.n_counted = self.n_damaged = self.n_left_out = 0
        self._takers: dict[bytes, Callable[[Line], bool]] = {
            b"transaction": self._transaction,
            b"session-refused": self._refused,
            b"session-passed": self._passed,
            b"child-failed": self._failed,
        }
        if has_statistics:
            self._takers = {b"[statistics]": self._statistics}

    def take(self, line: Line) -> None:
        """Count one line; what is none of our events is passed over."""
        taker = self._takers.get(line.message.partition(b" ")[0])
        if taker is None:
            return
        if len(line.message) <= MESSAGE_BYTES_MAX and taker(line):
            self.n_counted += 1
        else:
            self.n_damaged += 1

    def before(self, limit: int) -> Iterator[tuple[int, Minute]]:
        """Take out the minutes that begin before limit, the oldest first."""
        for minute in sorted(minute for minute in self.minutes if minute < limit):
            yield minute, self.minutes.pop(minute)

    def _at(self, minute: int) -> Minute:
        found = self.minutes.get(minute)
        if found is None:
            found = self.minutes[minute] = Minute()
        return found

    def _transaction(self, line: Line) -> bool:
        found = _TRANSACTION.fullmatch(line.message)
        status = _STATUSES.get(found[3]) if found else None
        children = _children(found[5]) if found else None
        if found is None or status is None or children is None:
            return False
        minute = self._at(line.minute)
        self._session(minute, line.host + b" " + found[1], found[2])
        minute.count_session("message")
        minute.count(minute.statuses, MANAGER, status)
        minute.wait(MANAGER, float(found[4]))
        self._count_children(minute, children)
        return True

    def _refused(self, line: Line) -> bool:
        found = _REFUSED.fullmatch(line.message)
        return found is not None and self._whole_session(line, found[1], found[2], found[3], found[4])

    def _passed(self, line: Line) -> bool:
        found = _PASSED.fullmatch(line.message)
        return found is not None and self._whole_session(line, found[1], found[2], b"continue", found[3])

    def _whole_session(self, line: Line, pid: bytes, number: bytes, verdict: bytes, listed: bytes) -> bool:
        status, children = _STATUSES.get(verdict), _children(listed)
        if status is None or children is None:
            return False
        minute = self._at(line.minute)
        self._session(minute, line.host + b" " + pid, number)
        minute.count(minute.statuses, MANAGER, status)
        self._count_children(minute, children)
        return True

    def _session(self, minute: Minute, worker: bytes, number: bytes) -> None:
        if self.sessions.get(worker) != number:
            if len(self.sessions) >= PIDS_MAX:
                self.sessions.clear()
            self.sessions[worker] = number
            minute.count_session("smtp")

    def _count_children(self, minute: Minute, children: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
        for name, stopped, verdict, seconds in children:
            if not self._is_child(name):
                continue
            if stopped:
                minute.count(minute.statuses, name, "stop")
                continue
            minute.count(minute.statuses, name, _STATUSES[verdict])
            minute.count_session("child")
            minute.wait(name, float(seconds))

    def _failed(self, line: Line) -> bool:
        found = _FAILED.fullmatch(line.message)
        kind = FAILURES.get(found[2]) if found else None
        if found is None or kind is None:
            return False
        if self._is_child(found[1]):
            minute = self._at(line.minute)
            minute.count(minute.failures, found[1], kind, 1 + int(found[3] or 0))
        return True

    def _statistics(self, line: Line) -> bool:
        event = statistics_lines.parse(line.message)
        if event is None:
            return False
        if event.child and not self._is_child(event.child):
            return True
        minute = self._at(line.minute)
        for word, n in event.sessions:
            minute.count_session(word, n)
        if event.concurrent is not None:
            minute.sessions["concurrent"] = max(minute.sessions.get("concurrent", 0), event.concurrent)
        if event.status:
            minute.count(minute.statuses, event.child, event.status)
        if event.seconds is not None:
            minute.wait(event.child, event.seconds)
        for kind in event.reports:
            minute.count(minute.reports, event.child, kind)
            minute.count(minute.reports, MANAGER, kind)
        return True

    def _is_child(self, name: bytes) -> bool:
        """No name that only a forged line has: they are few, and short."""
        if name in self.children:
            return True
        if len(self.children) >= CHILDREN_MAX or not 0 < len(name) <= NAME_BYTES_MAX:
            self.n_left_out += 1
            return False
        self.children.add(name)
        return True


def _children(listed: bytes) -> list[tuple[bytes, bytes, bytes, bytes]] | None:
    """``name:verdict:seconds,...`` as (name, "stopped" or "", verdict, seconds) each; None if it is not whole."""
    if listed == b"-":
        return []
    found: list[tuple[bytes, bytes, bytes, bytes]] = []
    match, at, end = _CHILD.match, 0, len(listed)
    while at < end:
        each = match(listed, at)
        if each is None:
            return None
        name, stopped, verdict, seconds = each.groups(b"")
        if verdict and verdict not in _STATUSES:
            return None
        found.append((name, stopped, verdict, seconds))
        at = each.end()
    return found
