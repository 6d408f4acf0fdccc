"""What to type so that somebody who is not let through to a socket is: groups to join, or rights that nobody has yet.

PURE but for the names of groups, which ``accounts`` looks up.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from mmgr.doctor.access import Step, Trail
from mmgr.doctor.accounts import Accounts
from mmgr.doctor.rights import Identity

SERVICE = "milter-manager"
ROOT_GID = 0
RESTART = f"systemctl restart {SERVICE}"
"""Groups are read at the start of a process: a reload is not enough."""

BROAD_GROUPS = {
    "adm": "the logs of the machine",
    "bin": "files of the system",
    "daemon": "files of other daemons",
    "disk": "the raw disks, and with them every file",
    "docker": "containers, which is as much as root may do",
    "games": "files of other programs",
    "kmem": "the memory of the kernel",
    "mail": "the mailboxes in /var/spool/mail, which belong to this group",
    "nobody": "whatever else runs without a user of its own",
    "nogroup": "whatever else runs without a user of its own",
    "postdrop": "Postfix's own sockets and its drop directory",
    "postfix": "the sockets that other services open for Postfix alone, such as Dovecot's",
    "shadow": "the password hashes",
    "staff": "/usr/local, whose programs others run",
    "sudo": "commands as root",
    "sys": "files of the system",
    "systemd-journal": "the logs of the machine",
    "users": "the files that users share with each other",
    "wheel": "commands as root",
    "www-data": "the files of the web server",
}
"""Groups that are not for one service's socket, and what a member gets besides."""

_SETTINGS = (
    ("clamav", "/etc/mail/clamav-milter.conf", "MilterSocketMode 660"),
    ("opendkim", "/etc/opendkim.conf", "UMask 007"),
    ("opendmarc", "/etc/opendmarc.conf", "UMask 007"),
    ("openarc", "/etc/openarc.conf", "UMask 007"),
    ("greylist", "/etc/mail/greylist.conf", 'socket "{path}" 660'),
    ("spamass", "/etc/sysconfig/spamass-milter", 'SOCKET_OPTIONS="-g {group}"'),
    ("mimedefang", "/etc/sysconfig/mimedefang", "MD_ALLOW_GROUP_ACCESS=yes"),
    ("rspamd", "/etc/rspamd/local.d/worker-proxy.inc", 'bind_socket = "{path} mode=0660";'),
    ("milter-regex", "/etc/sysconfig/milter-regex", 'OPTIONS="-G {group} -P 0660"'),
    (SERVICE, "/etc/milter-manager/milter-manager.local.conf", "[manager] unix_socket_mode = 0660"),
)
"""Which setting of a milter gives its socket's group the right to connect; looked for in its name and its path."""

OTHER_PLACES = {
    "/etc/mail/clamav-milter.conf": ("/etc/clamav/clamav-milter.conf",),
    "/etc/mail/greylist.conf": ("/etc/milter-greylist/greylist.conf",),
    "/etc/sysconfig/spamass-milter": ("/etc/default/spamass-milter",),
    "/etc/sysconfig/mimedefang": ("/etc/default/mimedefang",),
}
"""Where Debian has these files."""


@dataclass(frozen=True)
class Owner:
    """Whose socket it is: the name that its files and unit are known by, and the user that has to be let through.

    restart is what makes that user's processes learn of a new group. files are the settings files that are there.
    """

    name: str
    restart: str
    files: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Remedy:
    """Remarks for people, and what to type, line by line."""

    remarks: tuple[str, ...]
    lines: tuple[str, ...]


def remedy(trail: Trail, identity: Identity, accounts: Accounts, owner: Owner) -> Remedy:
    """How the identity gets through to the end of the trail; nothing to type where it does already."""
    denied = trail.denied(identity)
    stuck = [step for step in denied if not _granting(step, identity)]
    groups = _groups([step for step in denied if step not in stuck], identity, accounts)
    groups = _unique([*groups, *(step.rights.gid for step in stuck if _helps_if_widened(step, identity))])
    member = identity.joined(*groups)
    still = [step for step in trail.steps if step not in stuck and not step.rights.allows(member, step.wanted)]
    if still:
        return Remedy(
            ("no group of its own helps: some directory keeps members of that very group out",),
            tuple(_single(step, identity) for step in denied),
        )
    lines = [line for step in stuck for line in _widened(step, identity, accounts, owner)]
    return Remedy(
        tuple(_warnings(denied, groups, identity, accounts)), (*lines, *_joining(groups, identity, accounts, owner))
    )


def _granting(step: Step, identity: Identity) -> list[int]:
    """The groups that would let the user through; root's is none that a daemon joins."""
    return [gid for gid in step.rights.granting_groups(identity, step.wanted) if gid != ROOT_GID]


def _helps_if_widened(step: Step, identity: Identity) -> bool:
    """Will a socket that its group may not write to need us in that group, once the group may? Never in root's."""
    rights = step.rights
    return not step.is_directory and rights.gid not in (ROOT_GID, *identity.gids) and rights.uid != identity.uid


def usermod(user: str, groups: Sequence[str]) -> str:
    """The line that makes a user a member of groups."""
    return f"usermod -aG {shlex.quote(','.join(groups))} {shlex.quote(user)}"


def _joining(groups: Sequence[int], identity: Identity, accounts: Accounts, owner: Owner) -> list[str]:
    if not groups:
        return []
    first = [f"# once there is a user {identity.successor}:"] if identity.successor else []
    return [*first, usermod(identity.grantee, [accounts.group_name(gid) for gid in groups]), owner.restart]


def _groups(denied: Sequence[Step], identity: Identity, accounts: Accounts) -> list[int]:
    """As few groups as do, and none that is broad where another one does."""
    chosen: list[int] = []
    for step in denied:
        granting = _granting(step, identity)
        if not set(granting) & set(chosen):
            chosen.append(min(granting, key=lambda gid: accounts.group_name(gid) in BROAD_GROUPS))
    return chosen


def _warnings(denied: Sequence[Step], groups: Sequence[int], identity: Identity, accounts: Accounts) -> list[str]:
    """What a broad group grants besides, and how the directory is opened for this user alone."""
    found = []
    for name in [accounts.group_name(gid) for gid in groups]:
        if name in BROAD_GROUPS:
            found.append(f"the group {name} grants more than this: {BROAD_GROUPS[name]}")
            steps = [step for step in denied if step.is_directory and accounts.group_name(step.rights.gid) == name]
            found += [
                f"narrower, for this directory alone: {_single(step, identity)}{_lasting(step, identity)}"
                for step in steps
            ]
    return found


def _single(step: Step, identity: Identity) -> str:
    """The rights for this user alone."""
    return f"setfacl -m u:{shlex.quote(identity.grantee)}:{'x' if step.is_directory else 'rw'} {shlex.quote(step.path)}"


def _lasting(step: Step, identity: Identity) -> str:
    """What keeps them after the next boot, where the directory is made anew."""
    if not step.path.startswith(("/run/", "/var/run/")):
        return ""
    return f", and for good in /etc/tmpfiles.d: a+ {step.path} - - - - user:{identity.grantee}:--x"


def _widened(step: Step, identity: Identity, accounts: Accounts, owner: Owner) -> list[str]:
    """What gives the group rights that it does not have."""
    if step.rights.uid == identity.uid:
        return [f"chmod u+{'x' if step.is_directory else 'w'} {shlex.quote(step.path)}"]
    if step.is_directory:
        lines = [_single(step, identity)]
        if step.path.startswith("/run/"):
            lines.append(f"# for good, in /etc/tmpfiles.d/: a+ {step.path} - - - - user:{identity.grantee}:--x")
        return lines
    group = accounts.group_name(step.rights.gid)
    restart = f"systemctl restart {shlex.quote(owner.name)}"
    for word, file, setting in _SETTINGS:
        if word in owner.name or word in posixpath.dirname(step.path):
            file = next((other for other in OTHER_PLACES.get(file, ()) if other in owner.files), file)
            return [f"# in {file} write: {setting.format(path=step.path, group=group)}", restart]
    if step.rights.gid == ROOT_GID:
        own = accounts.group_name(min(identity.gids)) if identity.gids and not identity.successor else identity.grantee
        return [f"# let {owner.name} make its socket with mode 0660 and a group that {identity.grantee} is in: {own}"]
    return [f"# in the unit of {owner.name} write: UMask=0007 (systemctl edit {shlex.quote(owner.name)})", restart]


def _unique(numbers: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(numbers))
