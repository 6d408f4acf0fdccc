"""The report: tables, charts, JSON and the document that the figures go into."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.figures import Run, Spread
from benchmarks.memory import Memory, Weight
from benchmarks.packets import OURS, Speed
from benchmarks.plan import CENTRE, SCAN_GROUP, SLOW_WAYS, Case, Plan, Section
from benchmarks.plots import Chart, Line, svg, ticks
from benchmarks.sessionprofile import Line as ProfileLine
from benchmarks.sessionprofile import SessionProfile

SLOW = Case(kind="slow", ways=SLOW_WAYS)
OTHER = Case(children=5)


def run(each_ms: float) -> Run:
    return Run(100, each_ms, each_ms, each_ms, 0.65, 1.4, 1.2, 0.1, 0.02)


def busy_run() -> Run:
    return dataclasses.replace(run(1.0), foreign_cores=1.2)


@pytest.fixture
def results() -> report.Results:
    sections = (Section("Number of children", (CENTRE, OTHER)), Section("Slow children", (SLOW,)))
    ways = {"none": [run(1.0)] * 5, "direct": [run(4.0)] * 5, "managed": [run(2.0)] * 5}
    weight = Weight(4_000_000, 1_500_000.0, 800_000_000, 9_000_000_000)
    return report.Results(
        Plan("test", 0.1, sections),
        5,
        {"cores": "2"},
        0.5,
        runs={CENTRE: ways, OTHER: ways, SLOW: {"direct": [run(1050.0)], "sequential": [run(1051.0)]}},
        memory=Memory(500, 500, weight, weight, weight),
        speeds=[Speed(OURS, "records", [700_000.0]), Speed("other", "objects", [], "pip can't install it: no network")],
        profile=SessionProfile(300, 1.5, 3.0, [ProfileLine("workers/child.py:1 f", 2.0, 30.0, 40.0)], {"socket": 50.0}),
        skipped={"pairs": "not root"},
    )


def test_the_report_gives_the_ratio_of_managed_to_direct(results: report.Results) -> None:
    row = next(line for line in report.as_markdown(results).splitlines() if line.startswith("| 3 | 10 fresh"))
    assert "| **0.50** (0.50-0.50) |" in row


def test_a_way_that_the_configuration_does_not_know_is_said_to_be_missing(results: report.Results) -> None:
    assert f"{SCAN_GROUP}: not available" in report.as_markdown(results)


def test_what_was_left_out_is_told_with_its_reason(results: report.Results) -> None:
    text = report.as_markdown(results)
    assert "- pairs: not root" in text
    assert "| other | not measured | | pip can't install it: no network |" in text


def test_a_codec_that_nothing_can_be_compared_with_still_has_its_figure(results: report.Results) -> None:
    results.speeds = [Speed(OURS, "records", [], "broken"), Speed("other", "objects", [1000.0])]
    assert "| other | 1,000 (1,000-1,000) |  | objects |" in report.as_markdown(results)


def test_figures_from_a_machine_that_was_not_quiet_are_called_preliminary(results: report.Results) -> None:
    assert "preliminary" not in report.as_markdown(results)
    results.runs = {CENTRE: {"direct": [busy_run()], "managed": [busy_run()]}}
    assert "preliminary" in report.as_markdown(results)


def test_every_table_has_as_many_cells_in_each_row(results: report.Results) -> None:
    for block in report.as_markdown(results).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block


def test_the_json_holds_every_run(results: report.Results) -> None:
    data = json.loads(json.dumps(report.as_json(results)))
    assert data["cases"][0]["ratios"]["managed"]["median"] == 0.5
    assert len(data["cases"][0]["runs"]["direct"]) == 5


def test_files_are_written_and_pictures_are_xml(results: report.Results, tmp_path: Path) -> None:
    report.write(results, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "number-of-children.svg",
        "report.md",
        "results.json",
    ]
    ElementTree.parse(tmp_path / "new" / "number-of-children.svg")


def test_publishing_replaces_the_figures_and_nothing_else(results: report.Results, tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    report.publish(results, document, tmp_path / "benchmarks" / "results")
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert "(../benchmarks/results/number-of-children.svg)" in text


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="marks"):
        report.replaced("text", "figures")


def test_a_document_of_ours_has_the_marks() -> None:
    text = (Path(report.__file__).parents[1] / "docs" / "performance.md").read_text("utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_a_chart_escapes_what_it_is_given() -> None:
    chart = Chart("a < b", "x", "y", ["1"], [Line("l & m", [Spread(1.0, 0.5, 2.0)])])
    texts = [element.text for element in ElementTree.fromstring(svg(chart)).iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in texts
    assert "l & m" in texts


@pytest.mark.parametrize("top", [0.3, 0.9, 1.0, 2.5, 7.0, 12.0, 99.0, 250.0, 4000.0])
def test_a_scale_has_a_handful_of_round_numbers(top: float) -> None:
    found = ticks(top)
    assert found[0] == 0
    assert found[-1] <= top
    assert 3 <= len(found) <= 11


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.50"), (2.555, "2.56"), (12.34, "12.3"), (1050.4, "1050")])
def test_numbers_have_three_digits_or_so(value: float, shown: str) -> None:
    assert report.number(value) == shown
