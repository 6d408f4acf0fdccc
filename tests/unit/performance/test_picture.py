"""The picture of a load."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from mmgr.performance.picture import Measured, picture, read
from mmgr.performance.report import TABLE_HEAD, table_row
from mmgr.performance.smtp import REJECT, SENT, Result

RESULTS = [Result("m", SENT, 0.0, 0.25, 1), Result("m", REJECT, 0.0, 0.75, 1)]


def test_rows_of_the_table_are_read_and_all_else_is_passed_over() -> None:
    lines = [TABLE_HEAD, table_row("12:00:00", RESULTS, 2, 1.0), "", "Total:", table_row("12:00:05", [], 2, 1.0)]
    rows = read(lines).rows
    assert [(row.at_s, row.rate, row.most_s, row.n_failed) for row in rows] == [(0, 2, 0.75, 1), (5, 0, 0, 0)]


def test_time_goes_on_past_midnight() -> None:
    rows = read(table_row(clock, RESULTS, 2, 1.0) for clock in ("23:59:59", "00:00:01")).rows
    assert [row.at_s for row in rows] == [0, 2]


def test_data_of_single_mails_are_read() -> None:
    assert read(["wall clock time,response time,message size", "1.5,0.25,100"]).mails == [(1.5, 0.25)]


def test_a_title_is_text_and_nothing_else() -> None:
    root = ElementTree.fromstring(picture(Measured(mails=[(1, 1)]), '<script>&"'))
    assert '<script>&"' in [each.text for each in root.iter()]


@given(st.lists(st.one_of(st.text(), st.from_regex(r"\A[0-9.]{1,9},[0-9.]{1,9},[0-9]{1,5}\Z")), max_size=20))
def test_whatever_is_read_becomes_a_picture(lines: list[str]) -> None:
    ElementTree.fromstring(picture(read(lines), "title"))


def test_no_curve_leaves_the_picture() -> None:
    root = ElementTree.fromstring(
        picture(read(table_row(f"12:00:{n:02}", RESULTS, n, 1.0) for n in range(60)), "title")
    )
    curves = [each.attrib["points"] for each in root.iter() if each.tag.endswith("polyline")]
    places = [tuple(map(float, place.split(","))) for points in curves for place in points.split()]
    assert all(0 <= x <= 900 and 0 <= y <= 560 for x, y in places)
