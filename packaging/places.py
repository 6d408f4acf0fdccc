"""Where the files of an installation go, and what the project's own metadata says about it.

The RPM and ``make install`` differ in these places and in nothing else. Called by ``lay_out`` and ``source_archive``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

IN_SBIN = ("milter-manager",)
"""The daemon; every other command is for everybody's path."""

_ASSIGNMENT = re.compile(r'^\s*"?([A-Za-z0-9_.-]+)"?\s*=\s*"([^"]*)"')


@dataclass(frozen=True)
class Places:
    """Absolute paths on the machine that will run it; destdir is put in front of them while files are written."""

    destdir: str
    prefix: str
    libdir: str
    sysconfdir: str
    environment_file: str
    unit_prefix: str = ""

    @property
    def app(self) -> str:
        """The private directory: ``mmgr/``, ``workers/`` and ``vendor/`` side by side."""
        return f"{self.libdir}/milter-manager"

    @property
    def configuration(self) -> str:
        """Where the daemon looks for its configuration."""
        return f"{self.sysconfdir}/milter-manager"

    @property
    def libexec(self) -> str:
        """What units and scriptlets run, and nobody else."""
        return f"{self.prefix}/libexec/milter-manager"

    @property
    def units(self) -> str:
        """The units of systemd."""
        return f"{self.for_systemd}/systemd/system"

    @property
    def for_systemd(self) -> str:
        """The directory above those of units, sysusers.d and tmpfiles.d."""
        return f"{self.unit_prefix or self.prefix}/lib"

    @property
    def elsewhere(self) -> str:
        """A line for the launchers where the configuration is not where the commands look by themselves."""
        if self.sysconfdir == "/etc":
            return ""
        variable = "MILTER_MANAGER_CONFIG_DIR"
        return f'export {variable}="${{{variable}:-{self.configuration}}}"\n'

    @property
    def completions(self) -> str:
        """The completions of bash."""
        return f"{self.prefix}/share/bash-completion/completions"

    def launcher(self, command: str) -> str:
        """The path that people type."""
        return f"{self.prefix}/{'sbin' if command in IN_SBIN else 'bin'}/{command}"

    def here(self, path: str) -> Path:
        """Where a path is written now."""
        return Path(self.destdir + path) if self.destdir else Path(path)

    def words(self) -> dict[str, str]:
        """What stands for ``@name@`` in a template."""
        return {
            "sbindir": f"{self.prefix}/sbin",
            "bindir": f"{self.prefix}/bin",
            "libexecdir": f"{self.prefix}/libexec",
            "environment_file": self.environment_file,
            "app": self.app,
            "elsewhere": self.elsewhere,
        }


def commands(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """The commands and their entry points, from ``[project.scripts]``. Python 3.9 has no TOML of its own."""
    return _section(pyproject, "project.scripts")


def version(package: Path = ROOT / "mmgr" / "__init__.py") -> str:
    """The version of this tree."""
    return _assignments(package.read_text("utf-8").splitlines())["__version__"]


def filled(template: str, words: dict[str, str]) -> str:
    """A template with its words. Raises KeyError for one that nobody gave."""
    return re.sub(r"@([a-z_]+)@", lambda found: words[found[1]], template)


def _section(path: Path, name: str) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    first = lines.index(f"[{name}]") + 1
    end = next((number for number in range(first, len(lines)) if lines[number].startswith("[")), len(lines))
    return _assignments(lines[first:end])


def _assignments(lines: list[str]) -> dict[str, str]:
    return {found[1]: found[2] for found in map(_ASSIGNMENT.match, lines) if found}
