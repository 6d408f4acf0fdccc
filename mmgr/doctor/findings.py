"""What the doctor found, as records. PURE: the other modules of this package make them, the command line prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OK, NOTE, WARNING, ERROR = "ok", "note", "warning", "error"
LEVELS = (OK, NOTE, WARNING, ERROR)
"""From harmless to bad. An error keeps mail from being filtered or delivered, a warning may come to that."""

POSTFIX = "postfix"
MANAGER = "manager"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. subject is a child's name, "postfix" or "manager", level one of LEVELS.

    hint is what to type, in the order of its lines; a line that begins with "#" says what to write into which file.
    Text and hint may hold whatever peers and files said: who prints them escapes.
    """

    subject: str
    level: str
    text: str
    hint: str = ""


def worst(findings: Iterable[Finding]) -> str:
    """The worst level of all, ok for none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)
