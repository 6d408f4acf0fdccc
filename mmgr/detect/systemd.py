"""The effective unit of a service: its file and all drop-ins, its environment, its command line, what starts it.

No program is run and nothing of a running systemd is asked. Sources: systemd.unit(5), systemd.service(5),
systemd.exec(5). ``detection`` calls this for every service of a tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.candidate import Service
from mmgr.detect.commandline import Command, TooLong, Unbalanced, UnitName, commands, expanded, with_specifiers
from mmgr.detect.environment import Environment
from mmgr.detect.tree import Tree, Unreadable
from mmgr.detect.unitfile import Assignment, assignments
from mmgr.detect.unitpath import SUFFIX, UnitPath

_RESET_HINT = "write an empty ExecStart= before the new one"
_NO_COMMAND = "there is no command behind ExecStart=, and systemd does not load such a unit"
_NOT_WANTED = "disabled: nothing starts it at boot; systemctl enable does"


@dataclass(frozen=True)
class Unit:
    """All assignments that make up one unit, in the order in which they count."""

    name: UnitName
    path: str
    settings: tuple[Assignment, ...]
    problems: tuple[Problem, ...] = ()
    host: str = ""

    def last(self, section: str, key: str) -> Found[str] | None:
        """The value that counts where one does; None if there is none or it was emptied."""
        given = [each.value for each in self.settings if each.section == section and each.key == key]
        return given[-1] if given and given[-1].value else None

    def all(self, section: str, key: str) -> list[Found[str]]:
        """The values since the last empty one."""
        given: list[Found[str]] = []
        for each in self.settings:
            if each.section == section and each.key == key:
                if each.value.value:
                    given.append(each.value)
                else:
                    given.clear()
        return given

    def text(self, section: str, key: str) -> str:
        """The value that counts, specifiers replaced, "" if there is none."""
        value = self.last(section, key)
        return self.with_specifiers(value.value) if value is not None else ""

    def with_specifiers(self, text: str) -> str:
        """The text with this unit's specifiers replaced."""
        return with_specifiers(text, self.name, self.host)


@dataclass
class Read:
    """The assignments of several files, and which of them could not be read."""

    settings: list[Assignment] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, tree: Tree, path: str) -> None:
        """Read one more file."""
        try:
            self.settings += assignments(tree.lines(path))
        except Unreadable as error:
            self.problems.append(Problem("", Where(error.path), error.problem, error.hint))


def read_unit(tree: Tree, path: UnitPath, name: str) -> Unit | None:
    """A unit as systemd would load it; None where no file describes it. A masked one is read as if it were not."""
    fragment = path.fragment(name)
    if not fragment:
        return None
    read = Read()
    for file in (fragment, *path.drop_ins(name)):
        read.add(tree, file)
    return Unit(UnitName(name), fragment, tuple(read.settings), tuple(read.problems), _host(tree))


def service(tree: Tree, path: UnitPath, name: str) -> Service | None:
    """What starts under a unit's name (with ".service"), after all expansion; None where no file describes it."""
    unit = read_unit(tree, path, name)
    if unit is None:
        return None
    environment = _environment(tree, unit)
    argv, faults = _argv(unit, environment)
    is_started, why_not = _start(path, unit)
    if is_started.value and not unit.problems and _starts_nothing(unit):
        is_started, why_not = Found(False, Where(unit.path)), _NO_COMMAND
    return Service(
        name=unit.name.stem,
        unit=Where(unit.path),
        is_started=is_started,
        why_not=why_not,
        description=_with(unit.last("Unit", "Description"), unit),
        argv=argv,
        aliases=_aliases(path, unit),
        environment=environment.variables,
        user=unit.text("Service", "User"),
        group=unit.text("Service", "Group"),
        runtime_directory=_runtime_directory(unit),
        problems=(*unit.problems, *environment.problems, *faults),
    )


def _aliases(path: UnitPath, unit: Unit) -> tuple[str, ...]:
    """The names of links to the unit, and those that it would get by being enabled."""
    given = [name for value in unit.all("Install", "Alias") for name in unit.with_specifiers(value.value).split()]
    names = dict.fromkeys((*path.aliases(unit.name.whole), *given))
    return tuple(name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX))


def _with(value: Found[str] | None, unit: Unit) -> Found[str] | None:
    return None if value is None else Found(unit.with_specifiers(value.value), value.where)


def _environment(tree: Tree, unit: Unit) -> Environment:
    environment = Environment(tree, unit.with_specifiers)
    directory = _runtime_directory(unit)
    if directory:
        environment.variables["RUNTIME_DIRECTORY"] = Found(directory, Where(unit.path))
    environment.read(each for each in unit.settings if each.section == "Service")
    return environment


def _runtime_directory(unit: Unit) -> str:
    names = [name for value in unit.all("Service", "RuntimeDirectory") for name in value.value.split()]
    return f"/run/{unit.with_specifiers(names[0].partition(':')[0])}" if names else ""


def _argv(unit: Unit, environment: Environment) -> tuple[tuple[Found[str], ...], list[Problem]]:
    """The command that counts, the last one, and what is wrong with it."""
    problems: list[Problem] = []
    found: list[tuple[Command, Found[str]]] = []
    for value in unit.all("Service", "ExecStart"):
        try:
            found += [(command, value) for command in commands(value.value)]
        except Unbalanced as error:
            problems.append(Problem("", value.where, f"ExecStart= is ignored: {error}", "close the quote"))
    if not found:
        return (), problems
    if len(found) > 1 and unit.text("Service", "Type") != "oneshot":
        text = "there is more than one ExecStart=, and systemd refuses such a unit"
        problems.append(Problem("", found[-1][1].where, text, _RESET_HINT))
    command, value = found[-1]
    replaced = Command(tuple(map(unit.with_specifiers, command.words)), command.is_literal)
    try:
        return expanded(replaced, environment.variables, value), problems
    except TooLong as error:
        return (), [*problems, Problem("", value.where, f"ExecStart= is ignored: {error}")]


def _starts_nothing(unit: Unit) -> bool:
    """Whether systemd does not load it for want of a command; one that can't be read is another matter."""
    is_idle = unit.text("Service", "Type") == "oneshot" and bool(unit.all("Service", "ExecStop"))
    return not is_idle and not unit.all("Service", "ExecStart")


def _start(path: UnitPath, unit: Unit) -> tuple[Found[bool], str]:
    mask = path.mask(unit.name.whole)
    if mask:
        return Found(False, Where(mask)), f"masked by {mask}"
    wanted = path.wanted_by(unit.name.whole)
    if wanted is None:
        return Found(False, Where(unit.path)), _NOT_WANTED
    return Found(True, wanted.where), ""


def _host(tree: Tree) -> str:
    """The host's name for the specifier %H, "" where the tree does not say."""
    try:
        given = (line.text.strip() for line in tree.lines("/etc/hostname"))
        return next((text for text in given if text and not text.startswith("#")), "")
    except Unreadable:
        return ""
