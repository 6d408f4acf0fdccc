"""Tells a file of milter manager 2, which is Ruby, from one of ours; nothing is translated here.

PURE: text or bytes in, line numbers out. ``loader`` asks, so that one sentence is said and not one for each line; and
``mmgr.legacy`` asks, as an upgrade leaves files of both kinds in one directory.
"""

from __future__ import annotations

import re

_NAMES = "package|security|log|manager|workers|controller|metrics|status|conditions|milters"
_SECTION = re.compile(rf"^[ \t]*\[[ \t]*(?:{_NAMES})[ \t]*\][ \t\r]*(?:#.*)?$", re.MULTILINE)
_NO_STATEMENT = re.compile(r"[ \t\r]*(?:#.*)?")
_LITERAL = r"(?:[\"':%\[\d]|true\b|false\b|nil\b)"
_RUBY = re.compile(
    r"[ \t]*(?:"
    r"(?:define|remove)_milter\b|define_applicable_condition\b|defined_milters\.each\b|restrict_accounts_by_list\b"
    r"|load(?:_if_exist)?[ \t]*\(?[ \t]*[\"']|load_default[ \t\r]*$"
    rf"|(?:package|security|log|manager|controller|database)\.\w+[ \t]*=[ \t]*{_LITERAL}"
    r"|(?:s25r|remote_network|trust|stress|dnsbl)\.\w+)"
)


def section_line(text: str) -> int:
    """The line, from 1, of the first section of ours; 0 if there is none."""
    found = _SECTION.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def has_statements(text: str) -> bool:
    """Whether there is more in a file than comments and blank lines."""
    return any(not _NO_STATEMENT.fullmatch(line) for line in text.split("\n"))


def ruby_line(data: bytes) -> int:
    """The line, from 1, of the first statement of milter manager 2 in a file that has no section of ours; 0 if none.

    ``manager.connection_spec = "inet:10025"`` and ``define_milter("x") do |m|`` are such statements.
    """
    text = data.decode("utf-8", "replace")
    if section_line(text):
        return 0
    return next((number for number, line in enumerate(text.split("\n"), 1) if _RUBY.match(line)), 0)
