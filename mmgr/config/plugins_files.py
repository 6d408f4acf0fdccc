"""Which plug-ins may be run: files that nobody but root and the effective user can write, change or put there.

Every directory from / down to conditions.d and every file is opened first and looked at through its descriptor, so that
nothing can be put in its place between the look and the reading. ``plugins`` runs what comes from here.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import NamedTuple

from mmgr.config.values import shown

SUFFIX = ".py"
MAX_FILE_BYTES = 262144
MAX_LINKS = 40
"""How many symbolic links may lie on the way to the directory; the kernel has the same limit."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_A_WORD = re.compile(r"[^A-Za-z0-9_]")


class PluginFile(NamedTuple):
    """A file that may be run. stem is its name as part of a module's name."""

    path: str
    stem: str
    source: bytes


class PluginRefused(Exception):
    """A file or a directory that is not used, and why."""

    def __init__(self, path: str, problem: str, hint: str = "") -> None:
        super().__init__(path, problem, hint)
        self.path = path
        self.problem = problem
        self.hint = hint


def plugin_files(directory: str, name: str) -> tuple[list[PluginFile], list[PluginRefused]]:
    """The ``*.py`` of the directory ``name`` below directory, in the order of their names, and what is refused.

    Where a directory is refused, none of the files is read. A directory that is not there has no files.
    """
    path = os.path.join(os.path.abspath(directory), name)
    try:
        descriptor = _opened_directory(path)
    except PluginRefused as refused:
        return [], [refused]
    if descriptor is None:
        return [], []
    files, refusals = [], []
    try:
        for entry in sorted(os.listdir(descriptor)):
            if entry.endswith(SUFFIX) and not entry.startswith("."):
                try:
                    files.append(_read(descriptor, path, entry))
                except PluginRefused as refused:
                    refusals.append(refused)
    except OSError as error:
        refusals.append(PluginRefused(path, f"can't be listed: {error.strerror}"))
    finally:
        os.close(descriptor)
    return files, refusals


def _opened_directory(path: str) -> int | None:
    """A descriptor of the directory, reached through trusted directories only; None if it is not there."""
    rest = path.strip("/").split("/")
    links = 0
    descriptor, place = os.open("/", _DIRECTORY), "/"
    try:
        while rest:
            _check_owner(descriptor, place, may_be_sticky=True)
            part = rest.pop(0)
            target = _link(descriptor, part)
            if target is None:
                descriptor, place = _below(descriptor, part), os.path.join(place, part)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            rest = [each for each in target.split("/") if each not in ("", ".")] + rest
            if target.startswith("/"):
                descriptor, place = _below(descriptor, "/"), "/"
        _check_owner(descriptor, place, may_be_sticky=False)
    except (OSError, ValueError, PluginRefused) as error:
        os.close(descriptor)
        if isinstance(error, FileNotFoundError) and not rest:
            return None
        if isinstance(error, PluginRefused):
            raise
        problem = f"can't be opened: {getattr(error, 'strerror', None) or error}"
        raise PluginRefused(path, problem) from error
    return descriptor


def _link(descriptor: int, part: str) -> str | None:
    """Where a symbolic link leads, None if it is none."""
    try:
        return os.readlink(part, dir_fd=descriptor)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _below(descriptor: int, part: str) -> int:
    """The directory in an open one, in whose place it is open from now on."""
    below = os.open(part, _DIRECTORY, dir_fd=descriptor)
    os.close(descriptor)
    return below


def _read(directory: int, where: str, name: str) -> PluginFile:
    """The bytes of one file. Raises PluginRefused."""
    path = os.path.join(where, name)
    try:
        with open(name, "rb", opener=lambda file, flags: os.open(file, _FILE, dir_fd=directory)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PluginRefused(path, "is not an ordinary file")
            _check_owner(file.fileno(), path, may_be_sticky=False)
            source = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PluginRefused(path, "is a symbolic link", "put the file itself there") from error
        raise PluginRefused(path, f"can't be read: {error.strerror}") from error
    if len(source) > MAX_FILE_BYTES:
        raise PluginRefused(path, f"is larger than {MAX_FILE_BYTES} bytes")
    stem = name[: -len(SUFFIX)].encode("utf-8", "backslashreplace").decode("utf-8")
    return PluginFile(path, _NOT_A_WORD.sub("_", stem), source)


def _check_owner(descriptor: int, path: str, may_be_sticky: bool) -> None:
    """Refuse what somebody else owns or may write.

    A sticky directory such as /tmp may be on the way: what is in it and ours can't be replaced by others.
    """
    found = os.fstat(descriptor)
    if found.st_uid not in (0, os.geteuid()):
        problem = f"belongs to user {found.st_uid}, and is not trusted"
        raise PluginRefused(path, problem, f"give it to root: chown root {shown(path)}")
    if found.st_mode & 0o022 and not (may_be_sticky and found.st_mode & stat.S_ISVTX):
        who = "everybody" if found.st_mode & 0o002 else "its group"
        raise PluginRefused(path, f"can be written by {who}", f"take the right away: chmod go-w {shown(path)}")
