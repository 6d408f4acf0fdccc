"""The grammars of one setting to a line: ``Name value``, ``name = value``, ``name: value``. PURE.

The files of the milters hand in the lines of a configuration file and the Style of its family. What is no setting is
passed over: a milter's own check is better than ours. Sources: config.c of OpenDKIM (its siblings OpenDMARC, OpenARC,
dkim-filter and sid-filter have the same); optparser.c of ClamAV; the sample files of smf-spf, pyspf-milter and ENMA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmgr.detect.base import Found, Where
from mmgr.detect.tree import Line

_BLANK_SEPARATED = re.compile(r"([^ \t]+)(?:[ \t]+(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Style:
    """How a family writes its settings.

    separator is "" for white space. has_inner_comments: a '#' anywhere ends the line, else only one at its beginning.
    is_first counted: of two lines with the same name the first counts, else the last. include is the name, in small
    letters, of the setting that reads another file in its place, "" where there is none.
    """

    separator: str = ""
    is_case_sensitive: bool = False
    has_inner_comments: bool = True
    has_quotes: bool = False
    is_first_counted: bool = False
    include: str = ""

    def key(self, name: str) -> str:
        """The name as it is compared."""
        return name if self.is_case_sensitive else name.lower()


OPENDKIM = Style(include="include")
"""OpenDKIM: '#' cuts a line wherever it stands, case does not count, the last line counts, files are included."""

TRUSTED_DOMAIN = Style()
"""The siblings of OpenDKIM, and smf-spf: the same without included files."""

CLAMAV = Style(is_case_sensitive=True, has_inner_comments=False, has_quotes=True, is_first_counted=True)
"""ClamAV: only a line that begins with '#' is a comment, and of a name that is said twice the first line counts."""

PYSPF = Style(separator="=")
ENMA = Style(separator=":")


@dataclass(frozen=True)
class Setting:
    """One line: the name as it is compared, the value ("" where there is none) and the line."""

    name: str
    value: str
    where: Where


def settings(lines: Iterable[Line], style: Style) -> Iterator[Setting]:
    """The settings of a file in the order of its lines, included files left for the caller to put in."""
    for line in lines:
        text = _without_comment(line.text, style).strip(" \t\r\f\v\n")
        name, value = _taken_apart(text, style)
        if name:
            yield Setting(style.key(name), _unquoted(value) if style.has_quotes else value, line.where)


class Settings:
    """What counts of a file, by name."""

    def __init__(self, entries: Iterable[Setting] = (), style: Style = TRUSTED_DOMAIN) -> None:
        self._style = style
        self._counted: dict[str, Setting] = {}
        for entry in entries:
            if entry.name not in self._counted or not style.is_first_counted:
                self._counted[entry.name] = entry

    def found(self, name: str) -> Found[str] | None:
        """The value that counts and its line; None where it is not said or has no value."""
        entry = self._counted.get(self._style.key(name))
        return Found(entry.value, entry.where) if entry is not None and entry.value else None

    def value(self, name: str, otherwise: str = "") -> str:
        """The value alone."""
        found = self.found(name)
        return found.value if found else otherwise


def example_line(lines: Iterable[Line]) -> Where | None:
    """The first line that begins with ``Example``: with one, ClamAV's programs refuse to start."""
    for line in lines:
        if line.text.lstrip(" \t").startswith("Example"):
            return line.where
    return None


def _without_comment(text: str, style: Style) -> str:
    if style.has_inner_comments:
        return text.partition("#")[0]
    return "" if text.lstrip(" \t").startswith("#") else text


def _taken_apart(text: str, style: Style) -> tuple[str, str]:
    if style.separator:
        name, separator, value = text.partition(style.separator)
        return (name.strip(), value.strip()) if separator else ("", "")
    match = _BLANK_SEPARATED.fullmatch(text)
    return (match[1], match[2] or "") if match else ("", "")


def _unquoted(value: str) -> str:
    """Between the first quote, where the value begins with one, and the last; half a pair is left as it is."""
    if not value.startswith('"'):
        return value
    inner, quote, _ = value[1:].rpartition('"')
    return inner if quote else value
