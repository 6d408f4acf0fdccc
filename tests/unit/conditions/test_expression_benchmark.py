"""The benchmark of expressions measures what it says, and its figures reach the report."""

from __future__ import annotations

import pytest

from benchmarks import report
from benchmarks.expressions import EXPRESSIONS, Evaluation, reasons
from benchmarks.plan import Plan


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_passes_with_the_one_facts_and_stops_with_the_other(name: str) -> None:
    passing, stopped = reasons(name)
    assert (passing, bool(stopped)) == ("", True)


@pytest.fixture
def results() -> report.Results:
    evaluations = [Evaluation("5 networks", [1.0, 1.5, 2.0], [3.0, 4.0, 5.0])]
    return report.Results(Plan("test", 0.1, ()), 3, {"cores": "2"}, 0.5, expressions=evaluations)


def test_the_table_has_medians_and_ranges(results: report.Results) -> None:
    assert "| 5 networks | 1.50 (1.00-2.00) | 4.00 (3.00-5.00) |" in report.as_markdown(results)


def test_the_json_has_every_round(results: report.Results) -> None:
    assert report.as_json(results)["expressions"][0]["passing_us"] == [1.0, 1.5, 2.0]
