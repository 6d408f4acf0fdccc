"""Which lines are ours, and of which minute they are."""

from __future__ import annotations

import calendar
import json
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.analyzer.heads import DAY_S, HeadReader
from tests.unit.analyzer.lines import NOW, own, syslog, transaction


@pytest.fixture(autouse=True)
def in_tokyo() -> Iterator[None]:
    """A local time that is not UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def minute_of(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M"))


def read(line: bytes, now: float = NOW, written_at: float | None = None) -> tuple[int, bytes, bytes] | None:
    heads = HeadReader(now)
    heads.begin(written_at)
    return heads.read(line)


def entry(message: object, at: float = NOW - 600, **fields: object) -> bytes:
    known = {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "SYSLOG_IDENTIFIER": "milter-manager", "_HOSTNAME": "mx1"}
    return json.dumps({**known, "MESSAGE": message, **fields}).encode()


@pytest.mark.parametrize(
    ("line", "minute"),
    [
        (b"Nov 22 16:04:29 mx1.example.net milter-manager[1]: x", "2026-11-22 07:04"),
        (b"Nov  2 06:04:29 mx1 milter-manager[1]: x", "2026-11-01 21:04"),
        (b"<22>Nov 22 16:04:29 mx1 milter-manager: x", "2026-11-22 07:04"),
        (b"2026-11-22T16:04:29+09:00 mx1 milter-manager[1]: x", "2026-11-22 07:04"),
        (b"2026-11-22T07:04:29.123456Z mx1 milter-manager[1]: x", "2026-11-22 07:04"),
        (b"2026-11-22T02:34:29.1-0430 mx1 milter-manager[1]: x", "2026-11-22 07:04"),
        (b"2026-11-22T07:04:29.123Z [12] warning: x", "2026-11-22 07:04"),
        (b"Nov 22 16:04:29 mx1 milter-manager[1]: [ID 702911 mail.info] x", "2026-11-22 07:04"),
    ],
)
def test_a_head_gives_its_minute_and_what_stands_behind_it(line: bytes, minute: str) -> None:
    found = read(line)
    assert found is not None
    assert (found[0], found[2]) == (minute_of(minute), b"x")


@pytest.mark.parametrize(
    "line",
    [
        b"Nov 22 16:04:29 mx1 postfix/smtpd[1]: warning: Nov 22 16:04:29 mx1 milter-manager[1]: x",
        b"Nov 22 16:04:29 mx1 not-milter-manager[1]: x",
        b"Nov 22 16:04:29 mx1 milter-manager[1] x",
        b"v 22 16:04:29 mx1 milter-manager[1]: x",
        b"Nov 31 16:04:29 mx1 milter-manager[1]: x",
        b"Nox 22 16:04:29 mx1 milter-manager[1]: x",
        b"Nov 22 25:04:29 mx1 milter-manager[1]: x",
        b"2026-13-22T16:04:29Z mx1 milter-manager[1]: x",
        b"0000-11-22T16:04:29Z mx1 milter-manager[1]: x",
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"{}",
        b'{"__REALTIME_TIMESTAMP": []}',
        b"[" * 5000,
        b"{" + b'"a":{' * 5000,
    ],
)
def test_what_has_no_whole_head_of_ours_is_none(line: bytes) -> None:
    assert read(line) is None


def test_a_stamp_without_a_year_is_of_this_year_when_that_is_not_to_come() -> None:
    found = read(b"Jan  5 12:00:00 mx1 milter-manager[1]: x", minute_of("2026-01-06 12:00"))
    assert found is not None
    assert found[0] == minute_of("2026-01-05 03:00")


def test_a_december_in_the_log_of_january_is_of_the_year_before() -> None:
    found = read(b"Dec 31 12:00:00 mx1 milter-manager[1]: x", minute_of("2026-01-06 12:00"))
    assert found is not None
    assert found[0] == minute_of("2025-12-31 03:00")


def test_the_year_of_an_old_log_is_the_one_in_which_it_was_written() -> None:
    now, written_at = minute_of("2026-11-22 12:00"), minute_of("2025-12-01 12:00")
    found = read(b"Nov 30 12:00:00 mx1 milter-manager[1]: x", now, written_at)
    assert found is not None
    assert found[0] == minute_of("2025-11-30 03:00")


def test_a_leap_day_is_looked_for_in_a_leap_year() -> None:
    heads = HeadReader(minute_of("2026-01-06 12:00"))
    assert heads.stamp(b"Feb 29 12:00:00 mx1 postfix/smtpd[1]: x") == minute_of("2024-02-29 03:00")


@pytest.mark.parametrize("at", [NOW + 2 * DAY_S, NOW - 500 * DAY_S])
def test_a_line_from_the_future_or_from_long_ago_is_counted_as_implausible(at: float) -> None:
    heads = HeadReader(NOW)
    assert heads.read(own("x", at).encode()) is None
    assert heads.n_implausible == 1


def test_an_entry_of_the_journal_gives_its_minute_host_and_message() -> None:
    assert read(entry("x")) == (NOW - 600, b"mx1", b"x")


def test_an_entry_of_the_journal_may_give_its_message_as_numbers() -> None:
    assert read(entry([120, 255])) == (NOW - 600, b"mx1", b"x\xff")


@pytest.mark.parametrize("message", [None, [1, 300], [1, "x"], {"a": 1}, 5])
def test_an_entry_without_a_message_that_can_be_read_has_an_empty_one(message: object) -> None:
    assert read(entry(message)) == (NOW - 600, b"mx1", b"")


def test_an_entry_of_another_program_is_none() -> None:
    assert read(entry("x", SYSLOG_IDENTIFIER="postfix/smtpd")) is None


def test_entries_that_an_earlier_run_had_are_none() -> None:
    first = HeadReader(NOW)
    assert first.read(entry("a", NOW - 500)) is not None
    second = HeadReader(NOW, first.journal_until_us)
    assert second.read(entry("a", NOW - 500)) is None
    assert second.read(entry("b", NOW - 499)) is not None


def test_an_entry_from_the_far_future_does_not_hide_those_to_come() -> None:
    first = HeadReader(NOW)
    assert first.read(entry("a", NOW + 30 * DAY_S)) is None
    assert first.journal_until_us == 0


def test_a_message_that_came_by_syslog_and_from_standard_error_counts_once() -> None:
    heads = HeadReader(NOW)
    found = [heads.read(syslog(text).rstrip()) for text in (transaction(), own(transaction()))]
    assert [line.message for line in found if line] == [transaction().encode()]


def test_the_same_message_twice_in_both_forms_counts_twice() -> None:
    heads = HeadReader(NOW)
    forms = (own(transaction()), transaction(), transaction(), own(transaction()))
    assert sum(heads.read(syslog(text).rstrip()) is not None for text in forms) == 2


def test_the_same_message_three_times_in_one_form_counts_three_times() -> None:
    heads = HeadReader(NOW)
    assert sum(heads.read(syslog(transaction()).rstrip()) is not None for _ in range(3)) == 3


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=40).map(lambda tail: syslog("transaction ")[:-1] + tail)))
def test_any_bytes_are_read_or_passed_over(line: bytes) -> None:
    found = HeadReader(NOW).read(line)
    assert found is None or line.endswith(found.message)
