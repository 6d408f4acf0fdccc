"""The databases on the disk. A run works on copies, which take the places of the originals when all is done.

So a run that is killed, or that finds the disk full, leaves the databases as they were, and the position too. If it
ends between two of the replacements, the next run reads the same lines again, and each database takes only what is
newer than what it has.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from mmgr.analyzer.counting import Minute
from mmgr.analyzer.faults import OutputUnwritable, RrdtoolFailed
from mmgr.analyzer.layout import ARCHIVES, HEARTBEAT_S, STEP_S, Database, database_of, readings
from mmgr.analyzer.rrdtool import Rrdtool

WORK_NAME = ".work"
"""Where a run keeps what is not finished; in the output directory, so that it can be moved into place."""

VALUES_PER_COMMAND = 200
FILES_MAX = 2000

_INFO_STEP = re.compile(r"step = (\d+)")
_INFO_LAST = re.compile(r"last_update = (\d+)")
_INFO_SOURCE = re.compile(r"ds\[([^]]+)\]\.minimal_heartbeat = (\d+)")


class Copy:
    """A database that this run writes to: up to when it is written, and what is still to be told."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.updates: list[str] = []


class Store:
    """All databases of an output directory. Every method may raise OutputUnwritable or RrdtoolFailed."""

    def __init__(self, directory: Path, rrdtool: Rrdtool) -> None:
        self.n_late = 0
        """Counts of minutes that a database was past already."""
        self._directory = directory
        self._work = directory / WORK_NAME
        self._rrdtool = rrdtool
        self._copies: dict[Database, Copy] = {}

    def write(self, minute: int, counts: Minute) -> None:
        """Put the counts of a minute, its beginning as POSIX time, where they belong."""
        for database, values in readings(counts):
            copy = self._copy(database, minute)
            if minute + STEP_S <= copy.last:
                self.n_late += 1
                continue
            self._fill(database, copy, minute)
            copy.updates.append(f"{minute + STEP_S}:{values}")
            copy.last = minute + STEP_S
            if len(copy.updates) >= VALUES_PER_COMMAND:
                self._flush(database, copy)

    def publish(self) -> None:
        """Put the copies in place of the originals."""
        try:
            for database, copy in self._copies.items():
                self._flush(database, copy)
            for database in self._copies:
                _flush_to_disk(self._work / database.file)
            for database in self._copies:
                os.replace(self._work / database.file, self._directory / database.file)
        except OSError as error:
            raise _unwritable(self._directory, error) from error

    def _fill(self, database: Database, copy: Copy, until: int) -> None:
        """Nothing was counted since the last value; one value covers all that time.

        It is told with the next count, not at the end of a run: lines of that time may still be in another log.
        """
        if until > copy.last:
            copy.updates.append(f"{until}:{database.kind.idle}")
            copy.last = until

    def _copy(self, database: Database, minute: int) -> Copy:
        found = self._copies.get(database)
        if found is None:
            found = self._copies[database] = Copy(self._prepare(database, minute))
        return found

    def _prepare(self, database: Database, minute: int) -> int:
        """Make a copy that can take values, or a database that begins with minute; the time of its last value."""
        original, copy = self._directory / database.file, self._work / database.file
        try:
            if not original.exists():
                command = ("create", database.file, "--start", str(minute), "--step", str(STEP_S))
                self._rrdtool.ask(*command, *database.sources, *ARCHIVES)
                return minute
            shutil.copyfile(original, copy)
            shutil.copymode(original, copy)
        except OSError as error:
            raise _unwritable(self._directory, error) from error
        return self._adapt(database)

    def _adapt(self, database: Database) -> int:
        """Databases of older versions have fewer values and a shorter heartbeat."""
        said = "\n".join(self._rrdtool.ask("info", database.file))
        step, last = _INFO_STEP.search(said), _INFO_LAST.search(said)
        if step is None or last is None or int(step[1]) != STEP_S:
            raise RrdtoolFailed(f"{database.file} has values of another length than {STEP_S} s: move it away")
        heartbeats = dict(_INFO_SOURCE.findall(said))
        changes = [f"DS:{f}:GAUGE:{HEARTBEAT_S}:0:U" for f in database.kind.fields if f not in heartbeats]
        for name, heartbeat in heartbeats.items():
            if int(heartbeat) != HEARTBEAT_S:
                changes += ["--heartbeat", f"{name}:{HEARTBEAT_S}"]
        if changes:
            self._rrdtool.ask("tune", database.file, *changes)
        return int(last[1])

    def _flush(self, database: Database, copy: Copy) -> None:
        if copy.updates:
            template = ":".join(database.kind.fields)
            self._rrdtool.ask("update", database.file, "--template", template, *copy.updates)
            copy.updates.clear()


def last_of(rrdtool: Rrdtool, database: Database) -> int:
    """When the original was last written to, by the times in it."""
    numbers = [int(line) for line in rrdtool.ask("last", f"../{database.file}") if line.isdigit()]
    return numbers[-1] if numbers else 0


def known(directory: Path) -> list[Database]:
    """The databases that are there, in the order of their names."""
    found = (database_of(path.name) for path in sorted(directory.glob("*.rrd"))[:FILES_MAX])
    return [each for each in found if each is not None]


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _unwritable(directory: Path, error: OSError) -> OutputUnwritable:
    return OutputUnwritable(f"can't write in {directory}: {error.strerror or error}; the databases are as they were")
