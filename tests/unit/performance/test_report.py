"""What a load came to, as text."""

from __future__ import annotations

import pytest

from mmgr.performance.report import Tally, bar, summary, table_row
from mmgr.performance.smtp import ERROR, REJECT, SENT, TEMPORARY_FAILURE, Result


def tally_of(*outcomes: str) -> Tally:
    tally = Tally()
    for number, outcome in enumerate(outcomes):
        tally.add(Result(f"mail{number}", outcome, 0.0, 0.01 * (number + 1), 100, f"answer {number}"))
    return tally


def test_the_report_of_a_load() -> None:
    text = summary(tally_of(SENT, SENT, SENT, REJECT), 2.0, False, False)
    assert (
        text
        == """\
Total:
      N mails:      4
 Elapsed time:   2.00 (sec)
   Throughput:   2.00 (mails/sec)

Per mail:
          Max:  0.040 (sec)
          Min:  0.010 (sec)
      Average:  0.025 (sec)
       Median:  0.030 (sec)
   95 percent:  0.040 (sec)

Status:
 Temporary failure:   0 (  0.00%)
            Reject:   1 ( 25.00%)
             Error:   0 (  0.00%)
"""
    )


def test_a_load_that_was_interrupted_at_once_has_a_report() -> None:
    assert "N mails:      0" in summary(Tally(), 0.0, True, True)


def test_the_ten_slowest_files_are_listed_the_slowest_first() -> None:
    lines = summary(tally_of(*[SENT] * 30), 2.0, True, False).splitlines()
    assert lines[:2] == [" 0.30 (sec): mail29", " 0.29 (sec): mail28"]
    assert [line.rpartition(" ")[2] for line in lines[:10]] == [f"mail{number}" for number in range(29, 19, -1)]
    assert lines[10] == ""


def test_files_that_failed_are_listed_by_kind() -> None:
    text = summary(tally_of(REJECT, TEMPORARY_FAILURE, SENT), 2.0, True, False)
    assert "Rejected mails:\n  mail0\n" in text
    assert "Temporary failed mails:\n  mail1\n" in text


def test_answers_are_listed_by_kind() -> None:
    text = summary(tally_of(ERROR, REJECT, ERROR), 2.0, False, True)
    assert "Errors:\n    1: answer 0\n    2: answer 2\n" in text


def test_a_row_of_the_table() -> None:
    results = [Result("m", SENT, 0.0, 0.25, 1), Result("m", REJECT, 0.0, 0.75, 1)]
    row = table_row("12:00:00", results, 7, 2.0).split()
    assert row == ["12:00:00", "7", "1.00", "0.750", "0.250", "0.500", "0", "1", "0"]


def test_a_row_without_mails_has_zeros() -> None:
    assert table_row("12:00:00", [], 7, 2.0).split()[2:] == ["0.00", "0.000", "0.000", "0.000", "0", "0", "0"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((15, 30, 3.0), f"[{'#' * 15:<30}]  50% 15/30 mails, 5.0/s, 3 s left"),
        ((0, 30, 0.0), f"[{'':<30}]   0% 0/30 mails, 0.0/s"),
        ((9, None, 3.0), "9 mails, 3.0/s"),
        ((9, None, 3.0, 2.0), f"[{'#' * 30}] 100% 9 mails, 3.0/s"),
    ],
)
def test_the_progress_bar(arguments: tuple[int, int, float], text: str) -> None:
    assert bar(*arguments) == text
