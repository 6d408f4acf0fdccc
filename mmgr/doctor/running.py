"""Whom a running process acts as, of Linux's /proc: for groups that its user got only after it was started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmgr.doctor.accounts import Accounts
from mmgr.doctor.findings import MANAGER, NOTE, WARNING, Finding
from mmgr.doctor.remedy import RESTART
from mmgr.doctor.rights import Identity

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


def compared(process: ProcessIdentity, identity: Identity, accounts: Accounts) -> Iterator[Finding]:
    """Whether the daemon that runs is whom we looked as, and in all groups that its user has by now."""
    if process.uid != identity.uid:
        text = f"the daemon runs as {accounts.user_name(process.uid)}, not as {identity.name}"
        yield Finding(MANAGER, NOTE, text)
        return
    missing = sorted(accounts.group_name(gid) for gid in identity.gids - process.gids)
    if missing:
        text = f"the daemon was started before its user was in {', '.join(missing)}: a reload is not enough"
        yield Finding(MANAGER, WARNING, text, RESTART)
