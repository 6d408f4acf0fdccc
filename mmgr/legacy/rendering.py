"""A draft as the text of a configuration of ours, which the loader reads back. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from mmgr.config.spec import CONDITIONS, spec
from mmgr.config.values import one_line
from mmgr.config.writer import quoted
from mmgr.legacy.draft import Draft, Entry, Finding, Path, Section

MAX_LIST_CHARACTERS = 1000
"""A list that is longer has a line for each item."""

MAX_COMMENT_CHARACTERS = 1000


def text(draft: Draft, source: str) -> str:
    """All of it; source names what was translated."""
    lines = [f"# Translated from the configuration of milter manager 2: {one_line(source)}", *_totals(draft)]
    lines += _findings(draft.sections[()])
    for name in spec().sections:
        if "." not in name:
            lines += _section(draft, name)
    return "\n".join(lines) + "\n"


def _totals(draft: Draft) -> Iterator[str]:
    count = len(draft.left)
    if count:
        yield f"# {count} {'statement is' if count == 1 else 'statements are'} not translated; look for NOT TRANSLATED."


def _section(draft: Draft, name: str) -> Iterator[str]:
    """A section with its sub-sections; nothing if there is nothing to say."""
    below = [path for path in draft.sections if path[:1] == (name,) and len(path) == 2]
    own = draft.sections.get((name,), Section())
    if not (below or own.entries or own.findings):
        return
    yield from ("", f"[{name}]")
    yield from _findings(own)
    yield from _entries(own)
    for path in sorted(below, key=_place_of) if name == CONDITIONS else below:
        yield from ("", f"[[{_quoted_name(path[1])}]]")
        yield from _findings(draft.sections[path])
        yield from _entries(draft.sections[path])


def _place_of(path: Path) -> int:
    """Built-in conditions first, in the order of the specification."""
    names = list(spec().sections)
    name = ".".join(path)
    return names.index(name) if name in names else len(names)


def _entries(section: Section) -> Iterator[str]:
    for key, entry in section.entries.items():
        yield from _comments(entry)
        yield f"{key} = {_value(key, entry)}"


def _comments(entry: Entry) -> Iterator[str]:
    if entry.origins:
        yield _comment(f"from {', '.join(entry.origins)}")
    for remark in entry.remarks:
        yield _comment(remark)


def _findings(section: Section) -> Iterator[str]:
    for finding in section.findings:
        yield _comment(_finding(finding))


def _finding(finding: Finding) -> str:
    return f"NOT TRANSLATED: {finding}" if finding.is_left else str(finding)


def _comment(line: str) -> str:
    line = one_line(line)
    return f"# {line if len(line) <= MAX_COMMENT_CHARACTERS else line[: MAX_COMMENT_CHARACTERS - 3] + '...'}"


def _value(key: str, entry: Entry) -> str:
    if isinstance(entry.value, str):
        return quoted(entry.value)
    listed = ", ".join(quoted(item) for item in entry.value) or '""'
    is_plain = len(listed) <= MAX_LIST_CHARACTERS and not any('"' in item and "'" in item for item in entry.value)
    if is_plain or key == "applicable_conditions":
        return listed
    return "\n".join(['"""', *entry.value, '"""'])


def _quoted_name(name: str) -> str:
    return f"'{name}'" if '"' in name else f'"{name}"' if not name.replace("-", "").replace(".", "").isalnum() else name
