"""Who may do what with one file, by its mode and its POSIX access control list. PURE.

Sources: path_resolution(7), acl(5) (the access check algorithm), linux/posix_acl_xattr.h (the attribute's layout).
Connecting to a unix socket takes the right to write to it and to pass each directory on the way (unix(7)).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

PASS = 1
WRITE = 2

ACL_ATTRIBUTE = "system.posix_acl_access"
_ACL_VERSION = 2
_HEAD = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_OWNER_BITS, _GROUP_BITS, _ALL_BITS = 6, 3, 7


@dataclass(frozen=True)
class Identity:
    """A user with all of its groups. successor is the user that is to be made in its place, and gets rights then."""

    name: str
    uid: int
    gids: frozenset[int]
    successor: str = ""

    @property
    def grantee(self) -> str:
        """Who is to be given rights, and put into groups."""
        return self.successor or self.name

    def joined(self, *gids: int) -> Identity:
        """The same user as a member of more groups."""
        return replace(self, gids=self.gids.union(gids))


@dataclass(frozen=True)
class AclEntry:
    """One line of a list: tag (USER_OBJ and so on), permission bits, and the number of a named user or group."""

    tag: int
    bits: int
    number: int = 0


@dataclass(frozen=True)
class Rights:
    """What decides about one file. acl is empty where there is no list beside the mode.

    Linux does not look at a list whose mask allows nothing (``acl_permission_check`` in fs/namei.c): the mode decides.
    """

    uid: int
    gid: int
    mode: int
    acl: tuple[AclEntry, ...] = ()

    def allows(self, identity: Identity, wanted: int) -> bool:
        """Whether the identity has the rights wanted (PASS for a directory, WRITE for a socket).

        Root has them whatever stands here, as it has CAP_DAC_OVERRIDE.
        """
        if identity.uid == 0:
            return True
        entries = self._entries()
        if identity.uid == self.uid:
            return any(entry.tag == USER_OBJ and entry.bits & wanted == wanted for entry in entries)
        named = [entry for entry in entries if entry.tag == USER and entry.number == identity.uid]
        groups = [entry for entry in entries if self._group_of(entry) in identity.gids]
        deciding = named or groups
        if deciding:
            return any(entry.bits & self._mask() & wanted == wanted for entry in deciding)
        return any(entry.tag == OTHER and entry.bits & wanted == wanted for entry in entries)

    def granting_groups(self, identity: Identity, wanted: int) -> tuple[int, ...]:
        """The groups of which each alone would give the identity the rights, the file's own group first."""
        groups = sorted((entry.tag, self._group_of(entry)) for entry in self._entries())
        numbers = [number for tag, number in groups if number is not None and tag in (GROUP_OBJ, GROUP)]
        return tuple(number for number in numbers if self.allows(identity.joined(number), wanted))

    def _entries(self) -> tuple[AclEntry, ...]:
        if self.acl and self._mask():
            return self.acl
        return (
            AclEntry(USER_OBJ, self.mode >> _OWNER_BITS & _ALL_BITS),
            AclEntry(GROUP_OBJ, self.mode >> _GROUP_BITS & _ALL_BITS),
            AclEntry(OTHER, self.mode & _ALL_BITS),
        )

    def _group_of(self, entry: AclEntry) -> int | None:
        if entry.tag == GROUP_OBJ:
            return self.gid
        return entry.number if entry.tag == GROUP else None

    def _mask(self) -> int:
        return next((entry.bits for entry in self.acl if entry.tag == MASK), _ALL_BITS)


def decode_acl(value: bytes) -> tuple[AclEntry, ...]:
    r"""The attribute's bytes, uint32 version | (uint16 tag | uint16 bits | uint32 number) ...; () for what is no list.

    >>> decode_acl(b"\2\0\0\0" + b"\x02\0\4\0\xd2\4\0\0")
    (AclEntry(tag=2, bits=4, number=1234),)
    """
    body = value[_HEAD.size :]
    if len(value) < _HEAD.size or _HEAD.unpack_from(value)[0] != _ACL_VERSION or len(body) % _ENTRY.size:
        return ()
    return tuple(AclEntry(tag, bits, number) for tag, bits, number in _ENTRY.iter_unpack(body))
