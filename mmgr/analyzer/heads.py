"""The head of a log line: whether it is ours, which minute it is of, and what stands behind.

Known are the two formats of syslog files (RFC 3164 without a year, and ISO 8601), ``journalctl -o json``, and our own
log files. A line is taken for ours only if its head is whole, so that a line of another program which quotes one of
ours counts for nothing. Called for every line that may matter, so minutes are looked up, not worked out.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from typing import Any, NamedTuple

IDENT = "milter-manager"
DAY_S = 86400
OLDEST_S = 400 * DAY_S
"""What is older has no place in the databases any more."""

YEARS_BACK = 9
"""A line of the 29th of February may have to look so far for its year."""

ENTRY_BYTES_MAX = 1 << 17
CACHE_MAX = 20000
TWINS_MAX = 10000

_TIME = (
    rb"(?:<\d{1,3}>)?"
    rb"(?:([A-Z][a-z]{2} [ \d]\d \d\d:\d\d):\d\d|(\d{4}-\d\d-\d\dT\d\d:\d\d):\d\d(?:\.\d{1,9})?(Z|[+-]\d\d:?\d\d))"
)
_STAMP = re.compile(_TIME + rb" ")
_SYSLOG = re.compile(_TIME + rb" (\S{1,255}) milter-manager(?:\[\d{1,10}\])?: (?:\[ID \d+ [\w.]+\] )?")
_OWN = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d):\d\d\.\d{3}Z \[\d{1,10}\] (?:info|warning|error): ")
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


class Line(NamedTuple):
    """minute is the POSIX time at which it began; host is as the log has it, empty in our own files."""

    minute: int
    host: bytes
    message: bytes


class HeadReader:
    """Reads the heads of all logs of one run. now is the time of the run, in seconds; later lines are not believed."""

    def __init__(self, now: float, journal_until_us: int = 0) -> None:
        self.journal_until_us = journal_until_us
        """Entries of the journal up to this time are known already; goes up as they are read."""
        self.has_journal = False
        self.n_implausible = 0
        self._skip_until_us = journal_until_us
        self._now = now
        self._reference = now
        self._minutes: dict[bytes, int | None] = {}
        self._twins = _Twins()

    def begin(self, written_at: float | None = None) -> None:
        """A new log; written_at is when its last line was written: stamps without a year are of the year before it."""
        self._reference = self._now if written_at is None else min(written_at, self._now)
        self._minutes.clear()

    def stamp(self, line: bytes) -> int | None:
        """The minute of any line of a log, whoever wrote it; None if it has none."""
        if line[:1] == b"{":
            entry = _entry(line)
            return None if entry is None else entry[0] // 60_000_000 * 60
        head = _STAMP.match(line)
        if head is None:
            return None
        local, iso, zone = head.groups()
        return self._minute(iso, zone) if local is None else self._minute(local)

    def read(self, line: bytes) -> Line | None:
        """The line without its head, or None if it is not ours, not of a time that counts, or known."""
        if line[:1] == b"{":
            return self._journal(line)
        head = _SYSLOG.match(line)
        if head is None:
            own = _OWN.match(line)
            return self._at(self._minute(own[1], b"Z"), b"", line[own.end() :]) if own else None
        local, iso, zone, host = head.groups()
        minute = self._minute(iso, zone) if local is None else self._minute(local)
        return self._unless_twin(minute, host, line[head.end() :])

    def _journal(self, line: bytes) -> Line | None:
        found = _entry(line)
        if found is None:
            return None
        stamp_us, entry = found
        self.has_journal = True
        if entry.get("SYSLOG_IDENTIFIER") != IDENT or not self._skip_until_us < stamp_us <= (self._now + DAY_S) * 1e6:
            return None
        self.journal_until_us = max(self.journal_until_us, stamp_us)
        message = _text_of(entry.get("MESSAGE"))
        host = str(entry.get("_HOSTNAME", "")).encode("utf-8", "replace")
        return self._unless_twin(stamp_us // 60_000_000 * 60, host, message)

    def _unless_twin(self, minute: int | None, host: bytes, message: bytes) -> Line | None:
        """Under systemd each line comes twice into the journal: by syslog, and from standard error with a stamp."""
        own = _OWN.match(message)
        if own:
            message = message[own.end() :]
        if self._twins.is_known(message, own is not None):
            return None
        return self._at(minute, host, message)

    def _at(self, minute: int | None, host: bytes, message: bytes) -> Line | None:
        if minute is None or not self._now - OLDEST_S < minute <= self._now + DAY_S:
            self.n_implausible += 1
            return None
        return Line(minute, host, message)

    def _minute(self, text: bytes, zone: bytes | None = None) -> int | None:
        key = text if zone is None else text + zone
        if key not in self._minutes:
            if len(self._minutes) >= CACHE_MAX:
                self._minutes.clear()
            self._minutes[key] = self._without_year(text) if zone is None else _with_zone(text, zone)
        return self._minutes[key]

    def _without_year(self, text: bytes) -> int | None:
        """``Nov 22 16:04`` in local time, of the last year in which it is not after the end of the log."""
        month = _MONTHS.get(text[:3], 0)
        day, hour, minute = int(text[4:6]), int(text[7:9]), int(text[10:12])
        newest = self._reference + DAY_S
        last = time.localtime(newest).tm_year
        for year in range(last, last - YEARS_BACK, -1):
            if _is_time(year, month, day, hour, minute):
                found = time.mktime((year, month, day, hour, minute, 0, -1, -1, -1))
                if found <= newest:
                    return int(found) // 60 * 60
        return None


class _Twins:
    """Knows which messages came in the other form: ``is_known`` is right however often one text really is logged."""

    def __init__(self) -> None:
        self._new: dict[int, list[int]] = {}
        self._old: dict[int, list[int]] = {}
        self._is_needed = False

    def is_known(self, message: bytes, is_stamped: bool) -> bool:
        """Counts the message; True if as many of the other form came before."""
        self._is_needed = self._is_needed or is_stamped
        key = hash(message)
        counts = self._new.get(key) or self._old.get(key)
        if counts is None:
            counts = [0, 0]
        if len(self._new) >= (TWINS_MAX if self._is_needed else TWINS_MAX // 20):
            self._old, self._new = self._new, {}
        self._new[key] = counts
        counts[is_stamped] += 1
        return counts[is_stamped] <= counts[not is_stamped]


def _entry(line: bytes) -> tuple[int, dict[str, Any]] | None:
    """An entry of the journal and its time in microseconds; None for any other JSON."""
    try:
        entry: Any = json.loads(line) if len(line) <= ENTRY_BYTES_MAX else None
        stamp = entry["__REALTIME_TIMESTAMP"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not (isinstance(stamp, str) and re.fullmatch(r"[0-9]{1,17}", stamp)):
        return None
    return int(stamp), entry


def _text_of(message: object) -> bytes:
    """The journal gives text as a string, and as a list of numbers where it is no UTF-8."""
    if isinstance(message, str):
        return message.encode("utf-8", "surrogatepass")
    if isinstance(message, list) and all(isinstance(each, int) and 0 <= each <= 255 for each in message):
        return bytes(message)
    return b""


def _with_zone(text: bytes, zone: bytes) -> int | None:
    """``2026-11-22T16:04`` and ``Z``, ``+01:00`` or ``+0100``."""
    year, month, day, hour, minute = (int(part) for part in re.split(rb"[-T:]", text))
    if not _is_time(year, month, day, hour, minute):
        return None
    ahead_s = 0
    if zone != b"Z":
        ahead_s = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[:1] == b"-" else 60)
    return (calendar.timegm((year, month, day, hour, minute, 0)) - ahead_s) // 60 * 60


def _is_time(year: int, month: int, day: int, hour: int, minute: int) -> bool:
    if not (1970 <= year <= 9999 and 1 <= month <= 12 and hour <= 23 and minute <= 59):
        return False
    return 1 <= day <= calendar.monthrange(year, month)[1]
