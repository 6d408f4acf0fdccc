"""What has been understood of an old configuration so far, and what has not. PURE: records for ``following``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from mmgr.legacy.nesting import Statement

Path = tuple[str, ...]
"""A section of ours: ("manager",), ("milters", "name"), ("conditions", "S25R")."""

Text = Union[str, list[str]]
"""A value as the text that our files have, without quotes; the items of a list."""

MAX_SHOWN = 100
"""Where the text of a statement is cut."""


@dataclass(frozen=True)
class Place:
    """Where a statement stands."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """A statement that has no equal here (is_left), or something that should be known about its translation."""

    place: Place
    text: str
    reason: str
    is_left: bool

    def __str__(self) -> str:
        text = f"{self.text}: " if self.text else ""
        return f"{self.place}: {text}{self.reason}"


@dataclass
class Entry:
    """One value; origins are the places that it comes from, remarks what should be known about it."""

    value: Text
    origins: list[str]
    remarks: list[str] = field(default_factory=list)


@dataclass
class Section:
    """One section, its values by key, and the findings that belong into it."""

    origin: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Draft:
    """Everything, sections in the order in which they were first named; () has what belongs into none."""

    sections: dict[Path, Section] = field(default_factory=lambda: {(): Section()})
    findings: dict[Finding, None] = field(default_factory=dict)

    def section(self, path: Path, origin: str = "") -> Section:
        """The section, made when it is not there."""
        return self.sections.setdefault(path, Section(origin))

    def has(self, path: Path, key: str) -> bool:
        """Whether the key of the section has a value."""
        return path in self.sections and key in self.sections[path].entries

    def items(self, path: Path, key: str) -> list[str]:
        """The items of a list; none if it is not there."""
        value = self.sections[path].entries[key].value if self.has(path, key) else []
        return list(value) if isinstance(value, list) else [value]

    def children(self) -> list[str]:
        """The milters, in their order."""
        return [path[1] for path in self.sections if path[:1] == ("milters",) and len(path) == 2]

    def report(self, finding: Finding, path: Path = ()) -> None:
        """Note a finding, once, in a section."""
        if finding not in self.findings:
            self.findings[finding] = None
            self.section(path).findings.append(finding)

    @property
    def has_entries(self) -> bool:
        """Whether anything has been translated."""
        return any(section.entries for section in self.sections.values())

    @property
    def left(self) -> list[Finding]:
        """What could not be translated."""
        return [finding for finding in self.findings if finding.is_left]


def shown(statement: Statement) -> str:
    """The text of a statement in one line, cut."""
    first, _, rest = statement.text[: 4 * MAX_SHOWN].partition("\n")
    text = " ".join(first.split())
    if len(text) > MAX_SHOWN:
        return text[: MAX_SHOWN - 4] + " ..."
    return f"{text} ..." if rest.strip() else text
