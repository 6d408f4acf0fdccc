"""Whom the daemon runs as: names looked up first, privileges dropped last, supplementary groups included.

The daemon never stays root: started as root without a user, it becomes ``milter-manager``, or ``nobody`` where there is
no such user.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from mmgr.errors import PrivilegeError

DEFAULT_USERS = ("milter-manager", "nobody")


@dataclass(frozen=True)
class Identity:
    """A user and a group, looked up. name is the user's, for its supplementary groups."""

    name: str
    uid: int
    gid: int


def look_up(user: str, group: str) -> Identity | None:
    """Whom to become; None to stay who we are. user and group are names or numbers, "" for the default.

    Raises PrivilegeError if one does not exist, or if only root could take it.
    """
    if os.geteuid() != 0:
        _check_is_us(user, group)
        return None
    entry = _user(user) if user else _default_user()
    if entry.pw_uid == 0:
        raise PrivilegeError(f"user {user} is root; this program does not handle mail as root: choose another user")
    return Identity(entry.pw_name, entry.pw_uid, group_id(group) if group else entry.pw_gid)


def become(identity: Identity) -> None:
    """Take the identity for ever, with all its supplementary groups. Raises PrivilegeError."""
    try:
        os.initgroups(identity.name, identity.gid)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise PrivilegeError(f"can't become user {identity.name}: {error.strerror}") from error


def group_id(group: str) -> int:
    """The number of a group given by name or number. Raises PrivilegeError."""
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise PrivilegeError(f"there is no group {group}") from error


def _check_is_us(user: str, group: str) -> None:
    """Without root only our own user and groups can be asked for."""
    if user and _user(user).pw_uid != os.geteuid():
        raise PrivilegeError(f"can't become user {user}: only root can; start as root or leave the user out")
    if group and group_id(group) not in (os.getegid(), *os.getgroups()):
        raise PrivilegeError(f"can't take group {group}: only root can; start as root or leave the group out")


def _user(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as error:
        raise PrivilegeError(f"there is no user {user}") from error


def _default_user() -> pwd.struct_passwd:
    for name in DEFAULT_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PrivilegeError(
        f"started as root, and there is none of the users {', '.join(DEFAULT_USERS)} to become; use -u"
    )
