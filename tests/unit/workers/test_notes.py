"""What a worker notes of its children until it is counted."""

from __future__ import annotations

from typing import get_args

import pytest

from mmgr.assignment import Assignment
from mmgr.config.model import ChildSettings, Config
from mmgr.counts import CONNECTED, EDIT, EDIT_KINDS, EVENTS, FAILURE_KINDS
from mmgr.errors import ChildError, ChildProtocolError, ChildTimeout, ChildUnavailable
from mmgr.protocol.replies import AddHeader, AddRcpt, AddRcptPar, Edit
from mmgr.scoreboard import Scoreboard, WorkerState
from workers import notes as rooms
from workers.notes import Notes, kind_of
from workers.pulse import Pulse


def test_every_kind_of_edit_can_be_counted() -> None:
    kinds = {rooms._EDITS[kind] for kind in get_args(Edit)}
    assert kinds == set(EDIT_KINDS)
    assert all((EDIT, kind) in EVENTS for kind in kinds)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ChildUnavailable("x"), "unavailable"),
        (ChildTimeout("x"), "timeout"),
        (ChildProtocolError("x"), "protocol"),
        (ChildError("x"), "unavailable"),
    ],
)
def test_a_failure_is_of_a_kind(failure: ChildError, kind: str) -> None:
    assert kind_of(failure) == kind
    assert kind in FAILURE_KINDS


def test_what_happened_again_is_noted_once_more() -> None:
    notes = Notes()
    notes.add("a", CONNECTED)
    notes.add("a", CONNECTED)
    notes.add("b", CONNECTED)
    assert notes.take() == {"a": {CONNECTED: 2}, "b": {CONNECTED: 1}}


def test_what_was_taken_is_forgotten() -> None:
    notes = Notes()
    notes.add("a", CONNECTED)
    notes.take()
    assert (bool(notes), notes.take()) == (False, {})


def test_edits_are_noted_by_their_kind_and_a_new_body_once() -> None:
    notes = Notes()
    notes.add_edits("a", [AddHeader(b"a", b"b"), AddRcpt(b"c"), AddRcptPar(b"d"), AddHeader(b"e", b"f")], True)
    assert notes.take() == {"a": {(EDIT, "add-header"): 2, (EDIT, "add-recipient"): 2, (EDIT, "replace-body"): 1}}


def test_an_idle_worker_has_counted_what_it_noted() -> None:
    board = Scoreboard(2)
    board.tallies.names.extend(["a"])
    assignment = Assignment(1, 1, Config(children=(ChildSettings("a", ()),)), (), board, -1, lambda: None)
    pulse = Pulse(assignment, lambda title: None)
    pulse.notes.add("a", CONNECTED)
    board.begin(1, 1, 0.0)
    pulse.become(WorkerState.IDLE)
    assert board.counts.totals(board.slots_used) == {(board.tallies.names.index("a"), CONNECTED): 1}
