"""Reads files below a root directory, and never any other: all that ``mmgr.detect`` knows of a machine is from here.

Paths are those of the machine that is looked at. Links are followed inside the root, an absolute one starts there
again, and ``..`` stops there, as chroot(2) has it. Nothing here waits: only ordinary files are opened.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from mmgr.detect.base import Where
from mmgr.errors import MmgrError

MAX_FILE_BYTES = 1048576
"""The largest file that is read. The longest that packages ship is clamd's own, of some 40,000 bytes."""

MAX_LINKS = 40
"""How many symbolic links one path may lead through; the kernel allows as many (path_resolution(7))."""

MAX_NAMES = 10000
"""How many names of one directory are looked at; a machine has some 500 units."""

READABLE_HINT = "let the group of milter-manager read it, or run: setfacl -m g:milter-manager:r "
_LOOP = "leads through more than 40 links"


class Unreadable(MmgrError):
    """A file or directory that is there and can't be read: path, what is wrong, what to do about it (may be "")."""

    def __init__(self, path: str, problem: str, hint: str = "") -> None:
        super().__init__(path, problem, hint)
        self.path = path
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class Absent(Unreadable):
    """There is no such file or directory, or a link to it leads nowhere. The usual case, and no fault in itself."""


@dataclass(frozen=True)
class Line:
    """One line of a file without its end, and where it stands. Bytes that are not UTF-8 are kept as surrogates."""

    text: str
    where: Where


class Tree:
    """The files below one root directory. All paths that it takes are absolute as seen from inside."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def lines(self, path: str) -> tuple[Line, ...]:
        """All lines of a file, counted from 1; raises Absent or Unreadable."""
        text = self._bytes(path).decode("utf-8", "surrogateescape")
        rows = text[1:].split("\n") if text.startswith("\ufeff") else text.split("\n")
        if rows and not rows[-1]:
            rows.pop()
        return tuple(Line(row[:-1] if row.endswith("\r") else row, Where(path, at)) for at, row in enumerate(rows, 1))

    def exists(self, path: str) -> bool:
        """Whether something is there behind all links; what may not be looked at counts as there."""
        try:
            self.real(path)
        except Absent:
            return False
        except Unreadable:
            return True
        return True

    def is_file(self, path: str) -> bool:
        """Whether an ordinary file is there behind all links."""
        try:
            return stat.S_ISREG(self._status(self.real(path)).st_mode)
        except Unreadable:
            return False

    def is_empty(self, path: str) -> bool:
        """Whether an ordinary file without a byte is there behind all links."""
        try:
            status = self._status(self.real(path))
        except Unreadable:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == 0

    def is_link_to_null(self, path: str) -> bool:
        """Whether the path is a link that ends at /dev/null, which need not exist below the root."""
        return self.link(path) is not None and self._end(path) == "/dev/null"

    def link(self, path: str) -> str | None:
        """What a symbolic link says, as it is written; None for anything else."""
        try:
            parent = self.real(os.path.dirname(path) or "/")
            return os.readlink(self._outside(_joined(parent, os.path.basename(path))))
        except (OSError, ValueError, Unreadable):
            return None

    def names(self, directory: str) -> tuple[str, ...]:
        """The names in a directory, sorted; raises Absent or Unreadable."""
        real = self.real(directory)
        try:
            names = sorted(os.listdir(self._outside(real)))
        except OSError as error:
            raise _translated(directory, error) from error
        if len(names) > MAX_NAMES:
            raise Unreadable(directory, f"holds more than {MAX_NAMES} names")
        return tuple(names)

    def real(self, path: str) -> str:
        """The path behind all links, as seen from inside; raises Absent or Unreadable (a cycle of links)."""
        left, done, links = _parts(path), "/", 0
        while left:
            part = left.pop()
            if part == "..":
                done = os.path.dirname(done)
                continue
            step = _joined(done, part)
            status = self._status(step, path)
            if not stat.S_ISLNK(status.st_mode):
                done = step
                continue
            links += 1
            if links > MAX_LINKS:
                raise Unreadable(path, _LOOP)
            target = self._target(step, path)
            done = "/" if target.startswith("/") else done
            left += _parts(target)
        if done == "/":
            self._status(done, path)
        return done

    def _end(self, path: str) -> str:
        """Where a chain of links ends, be it at nothing: each link is read, its target need not be there."""
        for _ in range(MAX_LINKS):
            target = self.link(path)
            if target is None:
                break
            path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        return path

    def _bytes(self, path: str) -> bytes:
        real = self.real(path)
        if not stat.S_ISREG(self._status(real, path).st_mode):
            raise Unreadable(path, "is not an ordinary file")
        try:
            with open(self._outside(real), "rb", opener=_unwaiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Unreadable(path, "is not an ordinary file")
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise _translated(path, error) from error
        if len(data) > MAX_FILE_BYTES:
            raise Unreadable(path, f"is larger than {MAX_FILE_BYTES} bytes")
        return data

    def _status(self, inside: str, named: str = "") -> os.stat_result:
        try:
            return os.lstat(self._outside(inside))
        except (OSError, ValueError) as error:
            raise _translated(named or inside, error) from error

    def _target(self, inside: str, named: str) -> str:
        try:
            return os.readlink(self._outside(inside))
        except OSError as error:
            raise _translated(named, error) from error

    def _outside(self, inside: str) -> str:
        return f"{self.root}{inside}" if inside != "/" else self.root or "/"


def _parts(path: str) -> list[str]:
    """The components of a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _joined(directory: str, name: str) -> str:
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def _unwaiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)


def _translated(path: str, error: OSError | ValueError) -> Unreadable:
    if not isinstance(error, OSError):
        return Unreadable(path, f"is no usable path: {error}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Absent(path, "there is no such file")
    hint = READABLE_HINT + path if isinstance(error, PermissionError) else ""
    return Unreadable(path, f"can't be read: {error.strerror}", hint)
