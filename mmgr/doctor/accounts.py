"""Users and groups: of this machine by its own name services, of another tree by its etc/passwd and etc/group."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator

from mmgr.detect.tree import Tree, Unreadable
from mmgr.doctor.rights import Identity


class Accounts:
    """Looks names and numbers up. An unknown one is None, or its number as text where a name is asked for."""

    def __init__(self, tree: Tree) -> None:
        self._groups: dict[str, int] = {}
        self._members: dict[str, list[str]] = {}
        self._users: dict[str, tuple[int, int]] = {}
        self._tree = tree
        self._is_ours = not tree.root
        if not self._is_ours:
            self._read()

    def identity(self, user: str, group: str = "") -> Identity | None:
        """A user by name or number with all groups that it gets when it is started; group takes the place of its own.

        None where there is no such user or group.
        """
        found = self._our_user(user) if self._is_ours else self._user_of_tree(user)
        if found is None:
            return None
        name, uid, gid = found
        if group:
            number = self.gid(group)
            if number is None:
                return None
            gid = number
        return Identity(name, uid, frozenset((gid, *self._supplementary(name, gid))))

    def primary_gid(self, user: str) -> int | None:
        """The group that a user has without any other."""
        found = self._our_user(user) if self._is_ours else self._user_of_tree(user)
        return found[2] if found else None

    def gid(self, group: str) -> int | None:
        """The number of a group given by name or number."""
        if not self._is_ours:
            found = self._groups.get(group)
        else:
            try:
                found = grp.getgrnam(group).gr_gid
            except (KeyError, UnicodeEncodeError, ValueError):
                found = None
        if found is None and group.isascii() and group.isdigit():
            return int(group)
        return found

    def group_name(self, gid: int) -> str:
        """The name of a group, its number where it has none."""
        if not self._is_ours:
            return next((name for name, number in self._groups.items() if number == gid), str(gid))
        try:
            return grp.getgrgid(gid).gr_name
        except (KeyError, OverflowError):
            return str(gid)

    def user_name(self, uid: int) -> str:
        """The name of a user, its number where it has none."""
        if not self._is_ours:
            return next((name for name, (number, _) in self._users.items() if number == uid), str(uid))
        try:
            return pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            return str(uid)

    def _our_user(self, user: str) -> tuple[str, int, int] | None:
        try:
            entry = pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
        except (KeyError, OverflowError, UnicodeEncodeError, ValueError):
            return None
        return entry.pw_name, entry.pw_uid, entry.pw_gid

    def _user_of_tree(self, user: str) -> tuple[str, int, int] | None:
        for name, (uid, gid) in self._users.items():
            if user in (name, str(uid)):
                return name, uid, gid
        return None

    def _supplementary(self, name: str, gid: int) -> list[int]:
        if self._is_ours:
            return os.getgrouplist(name, gid)
        return [self._groups[group] for group, members in self._members.items() if name in members]

    def _read(self) -> None:
        for fields in self._rows("/etc/passwd", 7):
            if fields[2].isdigit() and fields[3].isdigit():
                self._users.setdefault(fields[0], (int(fields[2]), int(fields[3])))
        for fields in self._rows("/etc/group", 4):
            if fields[2].isdigit():
                self._groups.setdefault(fields[0], int(fields[2]))
                self._members.setdefault(fields[0], fields[3].split(","))

    def _rows(self, path: str, columns: int) -> Iterator[list[str]]:
        try:
            lines = self._tree.lines(path)
        except Unreadable:
            return
        for line in lines:
            fields = line.text.strip().split(":")
            if len(fields) == columns:
                yield fields
