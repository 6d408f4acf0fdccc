"""Which files make up the configuration, and their bytes. The only module of this room that touches the file system.

``loader`` calls it; what the bytes mean is for ``lines`` and ``loader``.
"""

from __future__ import annotations

import os
import stat

from mmgr.config.text import one_line
from mmgr.config.values import ValueRefused, shown
from mmgr.errors import ConfigError

MAX_FILE_BYTES = 262144
"""The largest file that is read; one with a hundred milters has some 20,000 bytes. ConfigObj takes quadratic time for
a value of many lines: a second for a file of this size."""

MAIN_FILE = "milter-manager.conf"
LOCAL_FILE = "milter-manager.local.conf"
CONDITIONS_DIRECTORY = "conditions"
DROP_IN_DIRECTORY = "conf.d"
DROP_IN_SUFFIX = ".conf"
LIST_PREFIX = "file:"


def configuration_files(directory: str) -> tuple[list[str], list[ConfigError]]:
    """The files below the directory that exist, in the order in which they are read (a later one wins), and the faults.

    A fault is a directory that is not there or can't be listed; ``conditions`` and ``conf.d`` may be absent.
    """
    files: list[str] = []
    errors: list[ConfigError] = []
    try:
        _listed(directory)
        files += _in_directory(os.path.join(directory, CONDITIONS_DIRECTORY), errors)
        files.append(os.path.join(directory, MAIN_FILE))
        files += _in_directory(os.path.join(directory, DROP_IN_DIRECTORY), errors)
    except ConfigError as error:
        errors.append(error)
    files.append(os.path.join(directory, LOCAL_FILE))
    return [file for file in files if _exists(file)], errors


def _in_directory(directory: str, errors: list[ConfigError]) -> list[str]:
    """Its files, in the order of their names; none if it is not there."""
    try:
        if os.path.lexists(directory):
            return [os.path.join(directory, name) for name in sorted(_listed(directory)) if _is_drop_in(name)]
    except ConfigError as error:
        errors.append(error)
    return []


def with_lists(items: tuple[str, ...], named_in: str) -> tuple[tuple[str, ...], list[ValueRefused]]:
    """The items of a list, with those of a file in the place of ``file:PATH``; and what is wrong with such files.

    A relative path begins beside named_in. Such a file has an item in each line, and comments behind '#'.
    """
    found: list[str] = []
    faults: list[ValueRefused] = []
    for item in items:
        if item.startswith(LIST_PREFIX):
            path = os.path.join(os.path.dirname(named_in), item[len(LIST_PREFIX) :])
            try:
                found += _listed_in(path)
            except ValueRefused as fault:
                faults.append(fault)
        else:
            found.append(item)
    return tuple(found), faults


def is_directory(path: str) -> bool:
    """Whether there is a directory of that name."""
    try:
        return os.path.isdir(path)
    except ValueError:  # a NUL in it
        return False


def _listed_in(path: str) -> list[str]:
    try:
        text = read_bytes(path).decode("utf-8")
    except ConfigError as error:
        raise ValueRefused(f"the list {shown(path)} {error.problem}", error.hint) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise ValueRefused(f"the list {shown(path)} is not text in UTF-8") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_bytes(path: str) -> bytes:
    """All bytes of a file; raises ConfigError when it can't be read, is no ordinary file, or is too large.

    It is opened without waiting: a FIFO of that name must not hold the start.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(one_line(path), 0, "", "is not an ordinary file")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(one_line(path), 0, "", f"can't be read: {error.strerror}", _hint(error)) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(one_line(path), 0, "", f"is larger than {MAX_FILE_BYTES} bytes")
    return data


def _exists(path: str) -> bool:
    """Whether the name is there, be it a link to nothing."""
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in the name of the directory, which has been said already
        return False


def _is_drop_in(name: str) -> bool:
    """Whether the shell's ``*.conf`` would take the file: no hidden one."""
    return name.endswith(DROP_IN_SUFFIX) and not name.startswith(".")


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError as error:
        hint = "make it, or name another directory with -c"
        raise ConfigError(one_line(directory), 0, "", "there is no such directory", hint) from error
    except OSError as error:
        raise ConfigError(one_line(directory), 0, "", f"can't be listed: {error.strerror}", _hint(error)) from error
    except ValueError as error:
        raise ConfigError(one_line(directory), 0, "", f"is not the name of a directory: {error}") from error


def _hint(error: OSError) -> str:
    return "look at the owner and the mode of the file" if isinstance(error, PermissionError) else ""
