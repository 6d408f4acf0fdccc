"""Where units lie, which file counts, what is added to it, and what starts it at boot. Reads names and links alone.

Source: systemd.unit(5), "UNIT FILE LOAD PATH" and the text on drop-ins, aliases and masks. ``systemd`` calls this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.commandline import UnitName
from mmgr.detect.tree import Absent, Tree, Unreadable

SEARCH = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Best first. ``generator.late`` is left out: it holds what systemd makes of init scripts, which ``sysv`` reads."""

SUFFIX = ".service"
_STARTERS = (".socket", ".path")
_WANTING = (".wants", ".requires", ".upholds")


class UnitPath:
    """The units of one tree. problems collects directories that can't be listed."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self._listed: dict[str, tuple[str, ...]] = {}
        self.directories = self._existing()

    def _existing(self) -> tuple[str, ...]:
        """The directories that are there, each once: /lib is often a link to /usr/lib."""
        found: dict[str, str] = {}
        for directory in SEARCH:
            try:
                found.setdefault(self.tree.real(directory), directory)
            except Absent:
                continue
            except Unreadable as error:
                self._complain(error)
        return tuple(found.values())

    def names(self) -> Iterator[str]:
        """Every service that has a file or is started as an instance of a template; neither aliases nor templates."""
        listed = {name for directory in self.directories for name in self._names(directory)}
        for name in sorted(listed | self._wanted.keys()):
            is_service = name.endswith(SUFFIX) and not name.endswith(f"@{SUFFIX}")
            if is_service and self.primary(name) == name and self.candidates(name):
                yield name

    def candidates(self, name: str) -> list[str]:
        """The files that could define a unit, best first; those of its template behind its own."""
        template = UnitName(name).template
        own = [f"{d}/{name}" for d in self.directories if name in self._names(d)]
        shared = [f"{d}/{template}" for d in self.directories if template and template in self._names(d)]
        return [path for path in own + shared if self.tree.exists(path) or self.is_mask(path)]

    def fragment(self, name: str) -> str:
        """The file that describes a unit: the first one that masks nothing; "" where there is none."""
        return next((path for path in self.candidates(name) if not self.is_mask(path)), "")

    def mask(self, name: str) -> str:
        """The file or link that keeps a unit from being started by anybody; "" where it isn't masked."""
        best = self.candidates(name)[:1]
        return best[0] if best and self.is_mask(best[0]) else ""

    def is_mask(self, path: str) -> bool:
        """Whether it is a link to /dev/null or an empty file."""
        return self.tree.is_link_to_null(path) or self.tree.is_empty(path)

    def primary(self, name: str) -> str:
        """The unit that a name stands for, behind links from one name to another; a cycle stands for nothing: ""."""
        seen = {name}
        while (target := self._alias(name)) != name:
            if target in seen:
                return ""
            seen.add(target)
            name = target
        return name

    def _alias(self, name: str) -> str:
        """The other name that a link of this name leads to; the name itself if it is no alias."""
        own = next((f"{d}/{name}" for d in self.directories if name in self._names(d)), "")
        target = os.path.basename(self.tree.link(own) or "") if own else ""
        if not target.endswith(SUFFIX) or self.tree.is_link_to_null(own):
            return name
        unit = UnitName(name)
        if target.endswith(f"@{SUFFIX}") and unit.instance:
            return f"{UnitName(target).prefix}@{unit.instance}{SUFFIX}"
        return target

    @cached_property
    def _aliases(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted({name for d in self.directories for name in self._names(d) if name.endswith(SUFFIX)}):
            target = self.primary(name)
            if target not in ("", name):
                found[target] = (*found.get(target, ()), name)
        return found

    def aliases(self, name: str) -> tuple[str, ...]:
        """The other names of a unit."""
        return self._aliases.get(name, ())

    def drop_ins(self, name: str) -> list[str]:
        """The files that add to a unit, in the order in which they are read.

        Of files with the same name one counts: that of the better directory, within each ``NAME.service.d`` before
        ``PREFIX-.service.d``, and ``service.d`` behind all.
        """
        found: dict[str, str] = {}
        for directory in self._drop_in_directories(name):
            for each in self._names(directory):
                if each.endswith(".conf") and not each.startswith("."):
                    found.setdefault(each, f"{directory}/{each}")
        return [found[each] for each in sorted(found) if not self.tree.is_link_to_null(found[each])]

    def _drop_in_directories(self, name: str) -> Iterator[str]:
        for unit in (name, *self.aliases(name)):
            for directory in self.directories:
                yield from (f"{directory}/{each}.d" for each in _prefixes(unit))
        yield from (f"{directory}/service.d" for directory in self.directories)

    def wanted_by(self, name: str) -> Found[str] | None:
        """What starts a unit at boot: its unit's name, and the link that says so. None if nothing does.

        A socket or path of the same name starts it too.
        """
        for unit in (name, *self.aliases(name)):
            if unit in self._wanted:
                return self._wanted[unit]
        for starter in (UnitName(name).stem + suffix for suffix in _STARTERS):
            if starter in self._wanted and not self.mask(starter) and self.fragment(starter):
                return Found(starter, self._wanted[starter].where)
        return None

    @cached_property
    def _wanted(self) -> Mapping[str, Found[str]]:
        """What is wanted by something, by its name. A link to /dev/null hides the same link of a lesser directory."""
        found: dict[str, Found[str]] = {}
        seen: set[tuple[str, str]] = set()
        for directory in self.directories:
            for holder in (name for name in self._names(directory) if name.endswith(_WANTING)):
                for name in self._names(f"{directory}/{holder}"):
                    if (holder, name) in seen:
                        continue
                    seen.add((holder, name))
                    if not self.tree.is_link_to_null(f"{directory}/{holder}/{name}"):
                        wanting = Found(holder.rpartition(".")[0], Where(f"{directory}/{holder}/{name}"))
                        found.setdefault(name, wanting)
        return found

    def _names(self, directory: str) -> tuple[str, ...]:
        if directory not in self._listed:
            self._listed[directory] = self._list(directory)
        return self._listed[directory]

    def _list(self, directory: str) -> tuple[str, ...]:
        try:
            return self.tree.names(directory)
        except Absent:
            return ()
        except Unreadable as error:
            self._complain(error)
            return ()

    def _complain(self, error: Unreadable) -> None:
        self.problems.append(Problem("", Where(error.path), error.problem, error.hint))


def _prefixes(unit: str) -> list[str]:
    """The names under which a unit gets drop-ins: its own, its template's, then those cut off at each "-".

    ``a-b@x.service`` gives itself, ``a-b@.service`` and ``a-.service``.
    """
    name = UnitName(unit)
    own = [unit, name.template] if name.template else [unit]
    parts = name.prefix.split("-")
    cut = ["-".join(parts[:count]) + "-" for count in range(len(parts) - 1, 0, -1)]
    return own + [f"{each}{'@' if name.instance else ''}{SUFFIX}" for each in cut if each != "-"]
