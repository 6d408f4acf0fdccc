"""Where a run stopped, and how a log is known again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mmgr.analyzer import positions
from mmgr.analyzer.counting import Ledger
from mmgr.analyzer.heads import Line
from mmgr.analyzer.positions import NAME, State
from tests.unit.analyzer.lines import NOW, transaction


def test_a_log_that_grew_is_known_again() -> None:
    state = State()
    state.remember(b"first line\n", 11, None)
    found = state.find(b"first line\nsecond line\n")
    assert found is not None
    assert found.offset == 11


def test_a_log_that_was_emptied_and_begun_anew_is_another_one() -> None:
    state = State()
    state.remember(b"first line\n", 11, None)
    assert state.find(b"other line\n") is None


def test_what_was_not_read_yet_does_not_tell_a_log() -> None:
    state = State()
    state.remember(b"first line\nhalf a li", 11, None)
    assert state.find(b"first line\nhalf a line\n") is not None


def test_a_log_is_remembered_once() -> None:
    state = State()
    state.remember(b"first line\n", 11, None)
    state.remember(b"first line\nsecond line\n", 23, None)
    assert [each.offset for each in state.logs] == [23]


def test_an_empty_log_is_not_remembered() -> None:
    state = State()
    state.remember(b"", 0, None)
    assert state.logs == []


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.take(Line(int(NOW), b"mx1", transaction().encode()))
    state = State(journal_until_us=5, pending=ledger.minutes, sessions=ledger.sessions)
    state.remember(b"first line\n", 11, [1, 2, 3, 4])
    positions.save(state, tmp_path)
    found = positions.load(tmp_path)
    assert (found.logs, found.journal_until_us, found.sessions) == (state.logs, 5, state.sessions)
    assert {minute: counts.as_plain() for minute, counts in found.pending.items()} == {
        minute: counts.as_plain() for minute, counts in state.pending.items()
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1, "logs": 5}', "\x00", "[" * 9999])
def test_a_state_that_can_not_be_read_is_an_empty_one(text: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    assert positions.load(tmp_path) == State()


def test_a_file_that_can_not_be_written_whole_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "page"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        positions.replace(path, b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"page": b"old"}
