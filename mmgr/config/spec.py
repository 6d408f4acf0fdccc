"""The settings there are: ``spec.ini`` read once and handed out as records. Loader, writer and documentation use them.

No configuration file is read here and no value is judged; the check of a setting stays text, which ``loader`` runs.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from configobj import ConfigObj

from mmgr.config.model import (
    ChildSettings,
    ConditionSettings,
    ControllerSettings,
    DnsblSettings,
    LogSettings,
    ManagerSettings,
    MetricsSettings,
    OwnCondition,
    PackageSettings,
    RemoteNetworkSettings,
    S25RSettings,
    SecuritySettings,
    TrustSettings,
    WorkerSettings,
)

CHILDREN = "milters"
"""The section whose sub-sections are the children."""

CONDITIONS = "conditions"
"""The section whose sub-sections are conditions: some that are built in, and those of the administrator."""

ANY = "*"
"""Stands for the name of a sub-section that the administrator chooses."""

RECORDS: dict[str, type[Any]] = {
    "package": PackageSettings,
    "security": SecuritySettings,
    "log": LogSettings,
    "manager": ManagerSettings,
    "workers": WorkerSettings,
    "controller": ControllerSettings,
    "metrics": MetricsSettings,
    CONDITIONS: ConditionSettings,
    f"{CONDITIONS}.S25R": S25RSettings,
    f"{CONDITIONS}.Remote Network": RemoteNetworkSettings,
    f"{CONDITIONS}.Trust": TrustSettings,
    f"{CONDITIONS}.DNSBL Listed": DnsblSettings,
    f"{CONDITIONS}.Not DNSBL Listed": DnsblSettings,
    f"{CONDITIONS}.{ANY}": OwnCondition,
    CHILDREN: ChildSettings,
}
"""The record of ``model`` that the values of a section go into."""

_UNIT_SUFFIXES = ("", "_s", "_bytes")
_FACTS = re.compile(r"unit: (?P<unit>.*); default: (?P<default>.*); since (?P<since>.*)")
_MOVED_TO = re.compile(r'moved\("([a-z_.]+)"\)')


@dataclass(frozen=True)
class Setting:
    """One key. check is what ``spec.ini`` says of its value; default is text as in a file, "required" or "none"."""

    section: str
    key: str
    check: str
    meaning: str
    unit: str
    default: str
    since: str

    @property
    def kind(self) -> str:
        """The name of the check: ``endpoints``, ``seconds``, ``ignored``..."""
        return self.check.partition("(")[0]

    @property
    def is_live(self) -> bool:
        """Whether the setting has a value of its own: it is neither ignored nor moved elsewhere."""
        return self.kind not in ("ignored", "moved")

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default == "required"

    @property
    def is_list(self) -> bool:
        """Whether several values may stand between commas."""
        return self.kind in ("endpoints", "pairs", "conditions", "names", "patterns")

    @property
    def moved_to(self) -> str:
        """The dotted key that stands for this one now, or "" ."""
        found = _MOVED_TO.fullmatch(self.check)
        return found.group(1) if found else ""

    @property
    def field(self) -> str:
        """The field of the section's record that holds the value: the key, with its unit behind it where it has one."""
        names = {field.name for field in dataclasses.fields(RECORDS[self.section])}
        return next(self.key + suffix for suffix in _UNIT_SUFFIXES if self.key + suffix in names)


@dataclass(frozen=True)
class Spec:
    """All settings. sections keeps the order of the file; about is what the file says over a section's name.

    A sub-section of [conditions] is named "conditions.S25R", one of any other name "conditions.*".
    """

    sections: dict[str, dict[str, Setting]]
    about: dict[str, str]
    reserved: tuple[str, ...]

    def name_of(self, path: tuple[str, ...]) -> str:
        """The name in ``sections`` of the section with this path; one that is not there has no keys."""
        if path[0] == CONDITIONS and len(path) > 1:
            name = ".".join(path)
            return name if name in self.sections else f"{CONDITIONS}.{ANY}"
        return path[0]

    def keys_of(self, path: tuple[str, ...]) -> dict[str, Setting]:
        """The settings that may stand in a section, by their keys."""
        return self.sections.get(self.name_of(path), {})

    @property
    def live(self) -> list[Setting]:
        """The settings with a value, in the order of the file."""
        return [setting for keys in self.sections.values() for setting in keys.values() if setting.is_live]


@cache
def spec() -> Spec:
    """The specification that comes with the program; read at the first call."""
    lines = Path(__file__).with_name("spec.ini").read_text(encoding="utf-8").splitlines()
    parsed: Any = ConfigObj(lines, _inspec=True, interpolation=False, raise_errors=True)
    keys_of = {name: parsed[name]["__many__"] if name == CHILDREN else parsed[name] for name in parsed.sections}
    about = {name: _prose(parsed.comments[name] or parsed.initial_comment) for name in parsed.sections}
    sections = {}
    for name, keys in keys_of.items():
        if keys.scalars:
            sections[name] = _settings(name, keys)
        for below in keys.sections:
            full = f"{name}.{ANY if below == '__many__' else below}"
            sections[full] = _settings(full, keys[below])
            about[full] = _prose(keys.comments[below])
    return Spec(sections=sections, about=about, reserved=tuple(name for name in keys_of if name not in sections))


def _settings(section: str, keys: Any) -> dict[str, Setting]:
    return {key: _setting(section, key, keys[key], keys.comments[key]) for key in keys.scalars}


def _setting(section: str, key: str, check: str, comments: list[str]) -> Setting:
    facts = _FACTS.fullmatch(_prose(comments[-1:]))
    assert facts, f"spec.ini: {section}.{key} lacks its line of unit, default and since"
    return Setting(section, key, check, _prose(comments[:-1]), **facts.groupdict())


def _prose(comments: list[str]) -> str:
    """The text of comment lines in one line; of several blocks the last."""
    block: list[str] = []
    for line in comments:
        block = [*block, line.strip().lstrip("#").strip()] if line.strip() else []
    return " ".join(block)
