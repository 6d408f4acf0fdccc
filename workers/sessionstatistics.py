"""The ``[statistics]`` lines of milter manager 2, for tools that read them; ``[log] statistics`` switches them on.

One ``SessionStatistics`` for each session, made and told by ``workers.sessionlog``, and only where they are wanted.
What a line is made of is the incumbent's; docs/log-catalogue.md says which lines have no equal here.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmgr.journal import NOTICE
from mmgr.log import STATISTICS
from mmgr.logline import parse_children
from mmgr.protocol.replies import AddHeader, ChgHeader, Edit, InsHeader

log = logging.getLogger(STATISTICS)

VALUE_CHARACTERS_MAX = 2000
"""A header's value is cut here; a long list of SpamAssassin's tests is half of it."""

_STATES: Mapping[str, str] = {"mail": "envelope-from", "rcpt": "envelope-recipient"}
"""The stages that have another name there."""

_STATUSES: Mapping[str, str] = {
    "continue": "pass",
    "failed": "error",
    "shutdown": "temporary-failure",
    "stopped": "stop",
}
"""The verdicts that have another name there."""

_FOLD = re.compile(rb"\r?\n[ \t]*")

_tags = itertools.count(1)


class Edited(NamedTuple):
    """What one child made of a message."""

    name: str
    edits: Sequence[Edit] = ()
    has_new_body: bool = False


@dataclass
class _Part:
    """One child's part in a session; seconds is how long it was waited for, in all."""

    tag: int
    state: str
    status: str
    seconds: float = 0.0


class SessionStatistics:
    """One session: its number and what was told of it so far. ``begin`` makes one.

    Numbers are those of one worker; two workers may use the same one.
    """

    def __init__(self) -> None:
        self._tag = next(_tags)
        self._began = time.monotonic()
        self._status = "pass"
        self._state = ""
        self._parts: dict[str, _Part] = {}

    def transaction(
        self, stage: str, outcome: str, children: str, edited: Iterable[Edited], told: Iterable[Edit]
    ) -> None:
        """A message is over. children is a ``summary``, edited what each made of it, told what the MTA was told."""
        statuses = self._take(stage, children)
        self._state = _state(stage)
        is_undecided = outcome == "accept" and "pass" in statuses
        self._status = "pass" if is_undecided else _STATUSES.get(outcome, outcome)
        for name, edits, _ in edited:
            for edit in edits:
                for header in _header(edit):
                    _write(f"[milter][header][add]({self._part(name).tag}): {header}: {name}")
        for edit in told:
            for header in _header(edit):
                _write(f"[session][header][add]({self._tag}): {header}")
        if outcome == "quarantine":
            _write(f"[reply][end-of-message][quarantine]({self._tag})")

    def refused(self, stage: str, verdict: str, children: str) -> None:
        """A child refused the client, or conditions let it pass: there are no messages to tell of."""
        self._take(stage, children)
        self._state, self._status = _state(stage), _STATUSES.get(verdict, verdict)

    def ended(self, stage: str, children: str) -> None:
        """The session is over. children counts if there was nothing else to tell of."""
        if not self._state:
            self._take(stage, children)
            self._state = _state(stage)
        _write(f"[session][end][{self._state}][{self._status}][{time.monotonic() - self._began:g}]({self._tag})")
        for name, part in reversed(self._parts.items()):
            _write(f"[milter][end][{part.state}][{part.status}][{part.seconds:g}]({part.tag}): {name}")

    def _take(self, stage: str, children: str) -> list[str]:
        """Add up what a ``summary`` says; the status of each child."""
        statuses = []
        for said in parse_children(children) or ():
            part = self._part(said.name)
            part.state = _state(stage)
            part.status = _STATUSES.get(said.verdict, said.verdict)
            part.seconds += said.seconds
            statuses.append(part.status)
        return statuses

    def _part(self, name: str) -> _Part:
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = _Part(next(_tags), "start", "pass")
        return part


def begin() -> SessionStatistics | None:
    """The statistics of a session that begins; None unless they are wanted."""
    return SessionStatistics() if log.level == NOTICE else None


def _write(line: str) -> None:
    log.log(NOTICE, "[statistics] %s", line)


def _state(stage: str) -> str:
    return _STATES.get(stage, stage)


def _header(edit: Edit) -> Iterable[str]:
    """``<NAME>=<VALUE>`` of an edit that leaves a header behind: what comes from a child is one line of ASCII."""
    if isinstance(edit, (AddHeader, InsHeader, ChgHeader)) and edit.value:
        yield f"<{_text(edit.name)}>=<{_text(edit.value.lstrip(b' '))}>"


def _text(data: bytes) -> str:
    unfolded = _FOLD.sub(b" ", data[:VALUE_CHARACTERS_MAX])
    return ascii(unfolded)[2:-1].replace("\\'", "'") + ("..." if len(data) > VALUE_CHARACTERS_MAX else "")
