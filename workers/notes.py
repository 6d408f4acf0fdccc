"""What a worker notes of its children beside their answers: connections, failures, fallbacks, edits. PURE.

Noted where it happens and kept until ``workers.pulse`` counts it, which it does where nobody waits for that.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmgr.counts import EDIT, FAILURE_KINDS, Event
from mmgr.errors import ChildError, ChildProtocolError, ChildTimeout, ChildUnavailable
from mmgr.protocol.replies import (
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    DelRcpt,
    Edit,
    InsHeader,
    Quarantine,
    ReplBody,
)

_KINDS = dict(zip((ChildUnavailable, ChildTimeout, ChildProtocolError), FAILURE_KINDS))
_EDITS: dict[type[Edit], str] = {
    AddHeader: "add-header",
    InsHeader: "insert-header",
    ChgHeader: "change-header",
    AddRcpt: "add-recipient",
    AddRcptPar: "add-recipient",
    DelRcpt: "delete-recipient",
    ChgFrom: "change-sender",
    ReplBody: "replace-body",
    Quarantine: "quarantine",
}


class Notes:
    """By child and event, how often it happened since the last ``take``."""

    def __init__(self) -> None:
        self._noted: dict[str, dict[Event, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._noted)

    def add(self, child: str, event: Event) -> None:
        """It happened once more."""
        events = self._noted.get(child)
        if events is None:
            events = self._noted[child] = {}
        events[event] = events.get(event, 0) + 1

    def add_edits(self, child: str, edits: Iterable[Edit], has_new_body: bool) -> None:
        """What a child wants changed in a message, kind by kind; a new body is one, in however many pieces it came."""
        for edit in edits:
            self.add(child, (EDIT, _EDITS[type(edit)]))
        if has_new_body:
            self.add(child, (EDIT, _EDITS[ReplBody]))

    def take(self) -> dict[str, dict[Event, int]]:
        """All of it, which is forgotten here."""
        taken, self._noted = self._noted, {}
        return taken


def kind_of(failure: ChildError) -> str:
    """Which of ``FAILURE_KINDS`` it is."""
    return next((kind for error, kind in _KINDS.items() if isinstance(failure, error)), FAILURE_KINDS[0])
