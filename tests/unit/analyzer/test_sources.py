"""Logs as blocks of whole lines, from where the last run stopped."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path
from typing import Callable

import pytest

from mmgr.analyzer import sources
from mmgr.analyzer.faults import LogUnreadable
from mmgr.analyzer.positions import State
from mmgr.analyzer.sources import opened
from tests.unit.analyzer.lines import NOW, syslog

FIRST, SECOND, THIRD = (syslog(f"x{number}", NOW - 9000 + number * 60) for number in range(3))


def read(state: State, *paths: Path) -> list[bytes]:
    """All lines that are new, as a run reads and remembers them."""
    found: list[bytes] = []
    with opened([str(path) for path in paths], state, NOW) as logs:
        for log in logs:
            for lines in log.blocks(state):
                found += lines
            state.remember(log.prefix, log.offset, log.identity if log.is_whole() else None)
    return found


def text_of(*lines: bytes) -> list[bytes]:
    return [line.rstrip(b"\n") for line in lines]


def test_a_log_is_read_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    state, log = State(), tmp_path / "maillog"
    log.write_bytes(FIRST)
    read(state, log)
    log.write_bytes(FIRST + SECOND)
    assert read(state, log) == text_of(SECOND)


def test_a_line_that_is_still_being_written_is_left_to_the_next_run(tmp_path: Path) -> None:
    state, log = State(), tmp_path / "maillog"
    log.write_bytes(FIRST + SECOND[:10])
    assert read(state, log) == text_of(FIRST)
    log.write_bytes(FIRST + SECOND)
    assert read(state, log) == text_of(SECOND)


def test_a_rotated_log_is_read_to_its_end_and_the_new_one_from_its_beginning(tmp_path: Path) -> None:
    state, log, old = State(), tmp_path / "maillog", tmp_path / "maillog-20261122"
    log.write_bytes(FIRST)
    read(state, log)
    old.write_bytes(FIRST + SECOND)
    log.write_bytes(THIRD)
    assert read(state, log, old) == text_of(SECOND, THIRD)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_log_that_was_compressed_since_is_the_same_log(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    state, log, old = State(), tmp_path / "maillog", tmp_path / "maillog.1.gz"
    log.write_bytes(FIRST)
    read(state, log)
    old.write_bytes(compress(FIRST + SECOND))
    assert read(state, old) == text_of(SECOND)


def test_a_compressed_log_that_was_read_is_not_opened_again(tmp_path: Path) -> None:
    state, old = State(), tmp_path / "maillog.1.gz"
    old.write_bytes(gzip.compress(FIRST))
    read(state, old)
    with opened([str(old)], state, NOW) as logs:
        assert logs == []


def test_a_log_that_was_emptied_in_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    state, log = State(), tmp_path / "maillog"
    log.write_bytes(FIRST + SECOND)
    read(state, log)
    log.write_bytes(THIRD)
    assert read(state, log) == text_of(THIRD)


def test_the_older_log_comes_first_whatever_the_order_of_the_names(tmp_path: Path) -> None:
    new, old = tmp_path / "a", tmp_path / "b"
    new.write_bytes(SECOND)
    old.write_bytes(FIRST)
    assert read(State(), new, old) == text_of(FIRST, SECOND)


def test_a_compressed_log_that_is_cut_off_gives_what_is_there_and_a_warning(tmp_path: Path) -> None:
    log = tmp_path / "maillog.1.gz"
    log.write_bytes(gzip.compress(FIRST + os.urandom(100000).hex().encode() + b"\n" + SECOND)[:60000])
    with opened([str(log)], State(), NOW) as logs:
        lines = [line for block in logs[0].blocks(State()) for line in block]
        assert lines[:1] == text_of(FIRST)
        assert "cut off" in logs[0].warnings[0]


def test_a_line_without_end_is_passed_over_and_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", 100)
    monkeypatch.setattr(sources, "LINE_BYTES_MAX", 300)
    log = tmp_path / "maillog"
    log.write_bytes(FIRST + b"x" * 5000 + b"\n" + SECOND)
    assert read(State(), log) == text_of(FIRST, SECOND)


def test_blocks_end_anywhere_and_lines_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "maillog"
    log.write_bytes(FIRST + SECOND + THIRD)
    for size in range(1, 100):
        monkeypatch.setattr(sources, "BLOCK_BYTES", size)
        assert read(State(), log) == text_of(FIRST, SECOND, THIRD)


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable, match="No such file"):
        read(State(), tmp_path / "nosuch")


def test_a_directory_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable, match="directory"):
        read(State(), tmp_path)


def test_what_to_do_with_zstd_is_said(tmp_path: Path) -> None:
    log = tmp_path / "maillog.zst"
    log.write_bytes(b"\x28\xb5\x2f\xfdxxxx")
    with pytest.raises(LogUnreadable, match="zstdcat"):
        read(State(), log)
