"""Where a value of the configuration came from. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from mmgr.config.text import one_line


@dataclass(frozen=True)
class Origin:
    """Where a value came from: ``default``, ``FILE:LINE`` or ``command line``.

    path and line say the same to a program; a line of 0 means that there is no file with lines behind it.
    """

    text: str = "default"
    path: str = ""
    line: int = 0

    def __str__(self) -> str:
        return self.text

    def below(self, lines: int) -> Origin:
        """The same value, so many lines further down."""
        if not (lines and self.line):
            return self
        return Origin(f"{self.path}:{self.line + lines}", self.path, self.line + lines)


def in_file(path: str, line: int) -> Origin:
    """A line of a configuration file."""
    return Origin(f"{one_line(path)}:{line}", one_line(path), line)
