"""What the files of the milters share: settings with the files that they include, sockets, groups, assumed defaults.

Everything comes from the Service and the Tree. A fault becomes a Problem; only a file that can't be read at all and
without which nothing can be said raises Unreadable.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.candidate import Platform, Reading, Service
from mmgr.detect.milters.key_value import Setting, Settings, Style, settings
from mmgr.detect.milters.options import command_words, split
from mmgr.detect.specs import our_spec, written_path
from mmgr.detect.tree import Absent, Line, Tree, Unreadable
from mmgr.errors import EndpointError

MAX_INCLUDE_DEPTH = 5
"""How deep OpenDKIM lets files include each other (config.c, MAXLEVEL)."""

MAX_FILES = 50
"""How many files are read for one milter with key-value settings."""

PACKAGE_DEFAULT = "the package's default"
PROGRAM_DEFAULT = "the program's default"

_SOCKET_HINT = "write unix:PATH or inet:PORT@HOST, or set connection_spec of this milter in the configuration"
_GROUP_MAY_WRITE = 0o020
_OTHERS_MAY_WRITE = 0o002
_OCTAL = re.compile(r"0{0,9}[0-7]{1,4}")


@dataclass
class Loaded:
    """The settings of a milter's configuration, its lines without included files, and what was wrong.

    is_there: the file exists. is_readable: nothing of it is hidden from us, so what it does not say has its default.
    """

    path: str
    settings: Settings
    lines: tuple[Line, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    is_there: bool = True
    is_readable: bool = True

    @property
    def where(self) -> Where:
        """The file as a whole."""
        return Where(self.path)


def load(service: Service, tree: Tree, path: str, style: Style) -> Loaded:
    """Read a configuration file of one setting a line and what it includes; raises nothing."""
    loaded = Loaded(path, Settings(style=style))
    try:
        loaded.lines = tree.lines(path)
    except Absent:
        loaded.is_there = False
    except Unreadable as error:
        loaded.is_readable = False
        loaded.problems.append(unreadable(service, error))
    loaded.settings = Settings(_Included(service, tree, style, loaded).entries(loaded.lines, (path,)), style)
    return loaded


@dataclass
class _Included:
    service: Service
    tree: Tree
    style: Style
    loaded: Loaded
    files: int = 0

    def entries(self, lines: tuple[Line, ...], within: tuple[str, ...]) -> Iterator[Setting]:
        """The settings of the lines, those of an included file in its place."""
        for entry in settings(lines, self.style):
            if self.style.include and entry.name == self.style.include:
                yield from self._file(entry, within)
            else:
                yield entry

    def _file(self, entry: Setting, within: tuple[str, ...]) -> Iterator[Setting]:
        self.files += 1
        if entry.value in within or len(within) > MAX_INCLUDE_DEPTH or self.files > MAX_FILES:
            if self.files <= MAX_FILES:
                self._note(entry.where, f"{entry.value} is included from within itself or too deep; it is left out")
            return
        try:
            lines = self.tree.lines(entry.value)
        except Unreadable as error:
            self.loaded.is_readable = False
            self._note(entry.where, f"included: {error}", error.hint)
            return
        yield from self.entries(lines, (*within, entry.value))

    def _note(self, where: Where, text: str, hint: str = "") -> None:
        self.loaded.problems.append(Problem(self.service.name, where, text, hint))


def in_our_syntax(service: Service, reading: Reading) -> Reading:
    """The Reading with its socket in our syntax; one that is not understood becomes a Problem.

    A socket that is no file has no group.
    """
    spec, problems = spec_of(service, reading.connection_spec)
    is_file = spec is not None and spec.value.startswith("unix:")
    group = reading.socket_group if is_file else ""
    return replace(reading, connection_spec=spec, socket_group=group, problems=(*reading.problems, *problems))


def spec_of(service: Service, socket: Found[str] | None) -> tuple[Found[str] | None, tuple[Problem, ...]]:
    """The socket in our syntax, None with a Problem where it is not understood."""
    if socket is None:
        return None, ()
    try:
        return Found(our_spec(socket.value), socket.where), ()
    except EndpointError as error:
        return None, (Problem(service.name, socket.where, f"the socket is not understood: {error}", _SOCKET_HINT),)


def unreadable(service: Service, error: Unreadable) -> Problem:
    """The Problem of a file that is there and can't be read."""
    return Problem(service.name, Where(error.path), error.problem, error.hint)


def assumed(value: str, whose: str = PACKAGE_DEFAULT) -> Found[str]:
    """A value that nothing says; whose says in words where it comes from."""
    return Found(value, Where(whose, is_assumed=True))


def of_family(platform: Platform, otherwise: str, **by_family: str) -> str:
    """What holds for the platform's family: ``of_family(platform, "/a", debian="/b")``."""
    return by_family.get(platform.family, otherwise)


def first_there(tree: Tree, *paths: str) -> str:
    """The first path where something is, be it unreadable; the first of all where nothing is."""
    return next((path for path in paths if tree.exists(path)), paths[0])


def words_of(service: Service, *variables: str) -> list[Found[str]]:
    """The words of the command line without the program; of a script those of the variables that hold its options."""
    if service.argv:
        return command_words(service.argv, service.environment)
    found = [service.variable(name) for name in (*variables, "flags", "command_args")]
    return split(each for each in found if each is not None)


def settings_variable(service: Service, *names: str) -> Found[str] | None:
    """A variable that says where a script's milter listens. A unit's variables count only in its command line."""
    if service.argv:
        return None
    profiled = [f"{service.prefix}_{service.profile}_{name.lower()}" for name in names] if service.profile else []
    return service.variable(*profiled, *names)


def group_of(tree: Tree, account: str) -> str:
    """The group of ``USER:GROUP``, ``USER.GROUP`` or of the user by /etc/passwd and /etc/group; "" where unknown."""
    user, colon, group = account.partition(":")
    if colon:
        return group
    number = _field(tree, "/etc/passwd", 0, user, 3)
    if not number and "." in user:
        return user.rpartition(".")[2]
    return _field(tree, "/etc/group", 2, number, 0) if number else ""


def user_of(account: str) -> str:
    """The user of ``USER`` or ``USER:GROUP``."""
    return account.partition(":")[0]


def _field(tree: Tree, path: str, key: int, value: str, wanted: int) -> str:
    """A field of the first line whose field number key has the value; "" where there is none."""
    try:
        lines = tree.lines(path)
    except Unreadable:
        return ""
    for line in lines:
        fields = line.text.split(":")
        if len(fields) > max(key, wanted) and fields[key] == value:
            return fields[wanted]
    return ""


def octal(text: str) -> int | None:
    """A mode in octal digits ("0660"), None for anything else."""
    return int(text, 8) if _OCTAL.fullmatch(text) else None


def closed_socket(service: Service, socket: Found[str] | None, mode: Found[str] | None, hint: str) -> list[Problem]:
    """A Problem where the mode of a unix socket lets neither group nor others connect: only root and its user could."""
    bits = octal(mode.value) if mode else None
    if mode is None or bits is None or socket is None or not is_local(socket.value):
        return []
    if bits & (_GROUP_MAY_WRITE | _OTHERS_MAY_WRITE):
        return []
    return [Problem(service.name, mode.where, f"mode {mode.value} lets nobody else connect to the socket", hint)]


def masked_socket(service: Service, socket: Found[str] | None, umask: Found[str] | None, hint: str) -> list[Problem]:
    """The same for a file creation mask: a socket has the mode 0777 without its bits."""
    bits = octal(umask.value) if umask else None
    if umask is None or bits is None or socket is None or not is_local(socket.value):
        return []
    if ~bits & (_GROUP_MAY_WRITE | _OTHERS_MAY_WRITE):
        return []
    return [Problem(service.name, umask.where, f"UMask {umask.value} lets nobody else connect to the socket", hint)]


def is_local(socket: str) -> bool:
    """Whether a socket is a path, in any notation."""
    return written_path(socket) != ""


def seen_from_outside(socket: Found[str] | None, root: Found[str] | None) -> Found[str] | None:
    """The socket of a program that changes its root directory (chroot(2)) before it makes the socket."""
    inner = written_path(socket.value) if socket else ""
    if socket is None or root is None or not inner:
        return socket
    return Found(f"unix:{posixpath.normpath(f'{root.value}/{inner}')}", socket.where)
