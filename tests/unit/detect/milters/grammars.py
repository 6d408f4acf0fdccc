"""Lines of a file as the tree gives them, for tests of grammars."""

from __future__ import annotations

from textwrap import dedent

from mmgr.detect.base import Where
from mmgr.detect.tree import Line

PATH = "/etc/x.conf"


def lines(text: str) -> tuple[Line, ...]:
    """The lines of a text, common indentation removed, counted from 1."""
    return tuple(Line(row, Where(PATH, at)) for at, row in enumerate(dedent(text).lstrip("\n").split("\n"), 1))
