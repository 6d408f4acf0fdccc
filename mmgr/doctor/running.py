"""Whom a running process acts as, of Linux's /proc: for groups that its user got only after it was started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SERVICE_MANAGER_PID = 1


@dataclass(frozen=True)
class ProcessIdentity:
    """Its effective user and all of its groups."""

    uid: int
    gids: frozenset[int]


def process_identity(pid: int) -> ProcessIdentity | None:
    """Of a process, None where it can't be known; never of the service manager, which holds sockets for others."""
    if pid <= SERVICE_MANAGER_PID:
        return None
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    try:
        return ProcessIdentity(int(fields["Uid"][1]), frozenset(map(int, [fields["Gid"][1], *fields["Groups"]])))
    except (KeyError, IndexError, ValueError):
        return None
