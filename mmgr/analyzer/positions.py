"""Where the last run stopped, kept in one small file in the output directory.

A log is known again by what it begins with, not by its name or inode: so it is the same log after it was renamed,
compressed or copied by logrotate, and another one once it was emptied. Written last of all, in one step.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmgr.analyzer.counting import PIDS_KEPT, Minute

NAME = ".milter-manager-log-analyzer.json"
FORMAT = 1
PREFIX_BYTES = 4096
LOGS_KEPT = 200


@dataclass
class Position:
    """How far a log was read. Its first length bytes have the digest; identity is set once it was read to its end."""

    length: int
    digest: str
    offset: int
    identity: list[int] | None = None


@dataclass
class State:
    """All that one run leaves to the next; pending are the minutes that were not over yet."""

    logs: list[Position] = field(default_factory=list)
    journal_until_us: int = 0
    pending: dict[int, Minute] = field(default_factory=dict)
    sessions: dict[bytes, bytes] = field(default_factory=dict)

    def find(self, prefix: bytes) -> Position | None:
        """The log that begins so; where several do, the one that is known best."""
        fitting = (each for each in self.logs if each.length <= len(prefix) and each.digest == _digest(prefix, each))
        return max(fitting, key=lambda each: each.length, default=None)

    def is_read(self, identity: list[int]) -> bool:
        """Was a file that did not change since then read to its end?"""
        return any(each.identity == identity for each in self.logs)

    def remember(self, prefix: bytes, offset: int, identity: list[int] | None) -> None:
        """A log that begins with prefix was read up to offset."""
        if offset <= 0:
            return
        known = self.find(prefix)
        if known is not None:
            self.logs.remove(known)
        length = min(offset, len(prefix))
        self.logs.append(Position(length, hashlib.sha256(prefix[:length]).hexdigest(), offset, identity))
        del self.logs[:-LOGS_KEPT]


def _digest(prefix: bytes, known: Position) -> str:
    return hashlib.sha256(prefix[: known.length]).hexdigest()


def load(directory: Path) -> State:
    """The state of the last run; an empty one if there is none, or none that can be read.

    Without it logs are read from their beginnings; the databases keep what they have, and take only what is newer.
    """
    try:
        plain = json.loads((directory / NAME).read_text("ascii"))
        return _from_plain(plain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return State()


def _from_plain(plain: Any) -> State:
    if plain["format"] != FORMAT:
        return State()
    logs = [
        Position(int(each["length"]), str(each["digest"]), int(each["offset"]), each["identity"])
        for each in plain["logs"]
    ]
    pending = {int(minute): Minute.from_plain(counts) for minute, counts in plain["pending"].items()}
    sessions = {worker.encode("latin-1"): number.encode("latin-1") for worker, number in plain["sessions"].items()}
    return State(logs, int(plain["journal_until_us"]), pending, sessions)


def save(state: State, directory: Path) -> None:
    """Replace the file in one step; raises OSError."""
    plain = {
        "format": FORMAT,
        "logs": [asdict(each) for each in state.logs],
        "journal_until_us": state.journal_until_us,
        "pending": {str(minute): counts.as_plain() for minute, counts in state.pending.items()},
        "sessions": {
            worker.decode("latin-1"): number.decode("latin-1")
            for worker, number in list(state.sessions.items())[-PIDS_KEPT:]
        },
    }
    replace(directory / NAME, json.dumps(plain).encode("ascii"), 0o600)


def replace(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file beside path, flush it to the disk, and put it in place of path; raises OSError."""
    beside = path.with_name(f"{path.name}.new")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
