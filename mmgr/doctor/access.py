"""The way to a socket: each directory and link that leads to it, and where somebody is not let through.

Links are followed inside of the root, as chroot(2) has it. Nothing is opened and nothing waits: a FIFO, a device or a
file of a dead network share is looked at by lstat(2) alone.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import dataclass

from mmgr.doctor.rights import ACL_ATTRIBUTE, PASS, WRITE, Identity, Rights, decode_acl

MAX_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""

FOUND, MISSING, DANGLING, LOOP, NOT_A_DIRECTORY, UNSEEN, UNUSABLE = (
    "found",
    "missing",
    "dangling",
    "loop",
    "not-a-directory",
    "unseen",
    "unusable",
)

_KINDS = (
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISREG, "a plain file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class Step:
    """One directory that has to be passed, or what stands at the end, which has to be written to."""

    path: str
    rights: Rights
    wanted: int

    @property
    def is_directory(self) -> bool:
        """Is it on the way rather than at the end?"""
        return self.wanted == PASS


@dataclass(frozen=True)
class Trail:
    """The whole way. end says how it ended and at which path; kind, what was found there, in words.

    end is FOUND; MISSING, or DANGLING if a link led there; LOOP; NOT_A_DIRECTORY; UNSEEN where we ourselves are not let
    through, so that nobody knows what is behind; UNUSABLE for a path that the system does not take.
    """

    steps: tuple[Step, ...]
    end: str
    at: str
    kind: str = ""

    @property
    def is_socket(self) -> bool:
        """Does it lead to a socket?"""
        return self.end == FOUND and self.kind == "a socket"

    def denied(self, identity: Identity) -> tuple[Step, ...]:
        """The steps that the identity can't take."""
        return tuple(step for step in self.steps if not step.rights.allows(identity, step.wanted))


def walk(path: str, root: str = "") -> Trail:
    """Follow an absolute path below root ("" for this machine's own). Never raises, whatever is there."""
    return _Walk(root.rstrip("/")).go(path)


class _Walk:
    """One walk. at is where it stands; is_led says whether the last name of the path was itself a link."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._steps: dict[str, Step] = {}
        self._links = 0
        self._at = "/"
        self._is_led = False

    def go(self, path: str) -> Trail:
        """Take the names of the path one after another; those of a link's target come before the rest."""
        left = _parts(path)
        try:
            if not self._root:
                self._pass("/")  # of another tree it is a directory of this machine, with that one's rights
            done = "/"
            while left:
                done = self._step(done, left)
            return self._arrived(done)
        except (OSError, ValueError) as error:
            return Trail(tuple(self._steps.values()), self._end(error), self._at)

    def _step(self, done: str, left: list[str]) -> str:
        """Take the next name below done, and say where that leads."""
        part = left.pop()
        if part == "..":
            return posixpath.dirname(done)
        self._at = posixpath.join(done, part)
        mode = os.lstat(self._root + self._at).st_mode
        if stat.S_ISLNK(mode):
            self._is_led = self._is_led or not left
            target = self._target(self._at)
            left += _parts(target)
            return "/" if target.startswith("/") else done
        if left and not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        if left:
            self._pass(self._at)
        return self._at

    def _pass(self, directory: str) -> None:
        self._steps.setdefault(directory, Step(directory, self._rights(directory), PASS))

    def _arrived(self, path: str) -> Trail:
        self._at = path
        mode = os.lstat(self._root + path if path != "/" else self._root or "/").st_mode
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something unknown")
        return Trail((*self._steps.values(), Step(path, self._rights(path), WRITE)), FOUND, path, kind)

    def _target(self, link: str) -> str:
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, "too many links")
        return os.readlink(self._root + link)

    def _rights(self, path: str) -> Rights:
        status = os.lstat(self._root + path if path != "/" else self._root or "/")
        try:
            value = os.getxattr(self._root + path, ACL_ATTRIBUTE, follow_symlinks=False)
        except (OSError, AttributeError):
            value = b""  # no list, or a system without such lists
        return Rights(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), decode_acl(value))

    def _end(self, error: OSError | ValueError) -> str:
        number = error.errno if isinstance(error, OSError) else 0
        if number == errno.ENOENT:
            return DANGLING if self._is_led else MISSING
        ends = {errno.ELOOP: LOOP, errno.ENOTDIR: NOT_A_DIRECTORY, errno.EACCES: UNSEEN, errno.EPERM: UNSEEN}
        return ends.get(number or 0, UNUSABLE)


def _parts(path: str) -> list[str]:
    """The components of a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
