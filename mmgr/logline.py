"""A line of the log taken apart again, and put together as JSON. PURE.

``mmgr.log`` writes lines of ``event key=value key="..."``; whoever wants the fields one by one (JSON lines, the
journal) gets them from the finished line, so that no event has to be written down twice. What is not such a line to the
last character is none at all, and is passed on whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_COUNTS = """
    alive backlog children edits failed failures generation max_spare max_workers min_spare more open peers pid
    recipients refused repeated sessions uid worker workers lines
"""
NUMBERS = frozenset(_COUNTS.split())
"""Fields that are numbers, beside those whose names end in ``_s`` or ``_bytes``. No peer decides on one of them."""

NOTHING = "-"
"""An empty value."""

OURS = frozenset(("time", "level", "pid", "event", "message", "traceback"))
"""Members of a JSON object that are about the line itself; a field of the same name is ``field_NAME``."""

_EVENT = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?= |$)")
_FIELD = re.compile(r' ([a-z][a-z0-9_]*)=("[^"]*"|[^ "]*)')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_CHILD = re.compile(r"([^:]+):(\(?)(?:stopped\((.*?)\)|([a-z-]+))\)?:(\d+\.\d+)(?:,(?=.)|$)")
_EDITED = re.compile(r"([^:]+):(\d+)(?:,(?=.)|$)")


class Line(NamedTuple):
    """An event and its fields in order, each value as it stands in the line but for the quotes around it."""

    event: str
    fields: Mapping[str, str]


def parse(text: str) -> Line | None:
    """The line taken apart; None if it is anything but an event with its fields, or names a field twice."""
    event = _EVENT.match(text)
    if event is None:
        return None
    pairs = _FIELD.findall(text, event.end())
    if event.end() + sum([len(key) + len(value) + 2 for key, value in pairs]) != len(text):
        return None
    fields = {key: value[1:-1] if value[:1] == '"' else value for key, value in pairs}
    return Line(event.group(), fields) if len(fields) == len(pairs) else None


def is_number(key: str) -> bool:
    """Is the value of this field a number, as far as there is one?"""
    return key in NUMBERS or key.endswith(("_s", "_bytes"))


def as_json(time: str, level: str, pid: int, text: str, traceback: str = "") -> str:
    """One line of the log as one JSON object in one line of ASCII."""
    line = parse(text)
    members: dict[str, object] = {"time": time, "level": level, "pid": pid}
    if line is None:
        members["message"] = text
    else:
        members["event"] = line.event
        members.update(_members(line.fields))
    if traceback:
        members["traceback"] = traceback
    return json.dumps(members, separators=(",", ":"))


class Said(NamedTuple):
    """What one child said: ``name:verdict:seconds``. condition is what stopped it, "" if nothing did."""

    name: str
    verdict: str
    condition: str
    is_evaluated: bool
    seconds: float


def parse_children(text: str) -> list[Said] | None:
    """The value of ``children`` taken apart; None if it is anything else."""
    if text == NOTHING:
        return []
    found = list(_CHILD.finditer(text))
    if not found or sum(len(each.group()) for each in found) != len(text):
        return None
    groups = [each.groups("") for each in found]
    return [
        Said(name, verdict or "stopped", condition, bool(bracket), float(seconds))
        for name, bracket, condition, verdict, seconds in groups
    ]


def _members(fields: Mapping[str, str]) -> Iterable[tuple[str, object]]:
    said = parse_children(fields.get("children", ""))
    for key, value in fields.items():
        if key == "children" and said is not None:
            yield key, _children(said, fields.get("edited_by", NOTHING))
        elif key != "edited_by" or said is None:
            yield (f"field_{key}" if key in OURS else key), _value(key, value)


def _value(key: str, value: str) -> object:
    if value == NOTHING:
        return None
    if is_number(key) and _NUMBER.fullmatch(value):
        return float(value) if "." in value or "e" in value else int(value)
    return value


def _children(said: Iterable[Said], edited_by: str) -> list[dict[str, object]]:
    edits = dict(_EDITED.findall(edited_by))
    return [
        {
            "name": each.name,
            "verdict": each.verdict,
            "condition": each.condition or None,
            "evaluated": each.is_evaluated,
            "seconds": each.seconds,
            "edits": int(edits.get(each.name, 0)),
        }
        for each in said
    ]
