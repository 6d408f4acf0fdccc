"""Which files make up the configuration, and their bytes. The only module of this room that touches the file system.

``loader`` calls it; what the bytes mean is for ``lines`` and ``loader``.
"""

from __future__ import annotations

import os
import stat

from mmgr.config.values import one_line
from mmgr.errors import ConfigError

MAX_FILE_BYTES = 262144
"""The largest file that is read; one with a hundred milters has some 20,000 bytes. ConfigObj takes quadratic time for
a value of many lines: a second for a file of this size."""

MAIN_FILE = "milter-manager.conf"
LOCAL_FILE = "milter-manager.local.conf"
DROP_IN_DIRECTORY = "conf.d"
DROP_IN_SUFFIX = ".conf"


def configuration_files(directory: str) -> tuple[list[str], list[ConfigError]]:
    """The files below the directory that exist, in the order in which they are read (a later one wins), and the faults.

    A fault is a directory that is not there or can't be listed; ``conf.d`` may be absent.
    """
    drop_ins = os.path.join(directory, DROP_IN_DIRECTORY)
    files, errors = [os.path.join(directory, MAIN_FILE)], []
    try:
        _listed(directory)
        if os.path.lexists(drop_ins):
            files += [os.path.join(drop_ins, name) for name in sorted(_listed(drop_ins)) if _is_drop_in(name)]
    except ConfigError as error:
        errors.append(error)
    files.append(os.path.join(directory, LOCAL_FILE))
    return [file for file in files if _exists(file)], errors


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
