"""Databases, graphs and the page: names, and what can't get into them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.analyzer.counting import MANAGER, Minute
from mmgr.analyzer.graphs import COLOURS, PERIODS, Graph, is_png
from mmgr.analyzer.layout import KINDS, LATENCY, SESSION, STATUS, Database, database_of, readings
from mmgr.analyzer.page import page

ALL = [Database(SESSION), *(Database(kind, child) for kind in KINDS for child in (MANAGER, b"clamav-milter"))]
HOSTILE = [
    b"../../etc/passwd",
    b"<script>alert(1)</script>",
    b"a:b",
    b'"><img src=x>',
    b"\xff\x1b[2J",
    b"a\nb",
    b"~41",
    b"%s",
]


@pytest.mark.parametrize("database", ALL, ids=lambda each: each.stem)
def test_a_database_is_known_by_the_name_of_its_file(database: Database) -> None:
    assert database_of(database.file) == database


@given(st.binary(min_size=1, max_size=100))
def test_a_milter_of_any_name_has_a_file_of_its_own_in_the_directory(child: bytes) -> None:
    database = Database(STATUS, child)
    assert re.fullmatch(r"[A-Za-z0-9_.~-]+", database.file)
    assert database_of(database.file) == database


@pytest.mark.parametrize(
    "name", ["other.rrd", "milter.status.rrd", "milter-manager.status.x.rrd", "milter.status.~4.rrd", "x"]
)
def test_other_files_are_no_databases(name: str) -> None:
    assert database_of(name) is None


def test_what_a_minute_says_nothing_of_gets_no_value() -> None:
    counts = Minute()
    counts.wait(b"m", 0.5)
    assert list(readings(counts)) == [(Database(LATENCY, b"m"), "0.500000:0.500000")]


def test_values_stand_in_the_order_of_the_fields() -> None:
    counts = Minute()
    counts.count(counts.statuses, MANAGER, "reject", 3)
    assert list(readings(counts)) == [(Database(STATUS), "0:0:3:0:0:0:0:0:0:0")]


def test_what_our_lines_do_not_tell_of_sessions_is_unknown() -> None:
    counts = Minute()
    counts.count_session("smtp")
    assert list(readings(counts)) == [(Database(SESSION), "1:0:U:U:0")]


def test_every_field_has_a_colour_of_its_own_in_its_graph() -> None:
    for kind in (SESSION, *KINDS):
        assert len({COLOURS[field] for field in kind.fields}) == len(kind.fields)


def test_a_page_shows_each_graph_of_each_database() -> None:
    text = page(ALL, "now")
    shown = re.findall(r'<img src="([^"]+)"', text)
    assert sorted(shown) == sorted(Graph(each, period).file for each in ALL for period in PERIODS)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_milter_is_anything_but_text_in_the_page(name: bytes) -> None:
    tags = re.compile(r"<[^>]*>")
    harmless = page([Database(STATUS, b"x" * len(name))], "now")
    text = page([Database(STATUS, name)], "now")
    assert [tag.split()[0] for tag in tags.findall(text)] == [tag.split()[0] for tag in tags.findall(harmless)]
    assert not re.search(r"[^\n -~\u00a0-\uffff]", text)


def test_a_page_without_databases_says_so() -> None:
    assert "Nothing was counted yet" in page([], "now")


def test_a_picture_without_its_end_is_none() -> None:
    whole = b"\x89PNG\r\n\x1a\n" + b"x" * 50 + b"IEND\xaeB`\x82"
    assert (is_png(whole), is_png(whole[:-1]), is_png(b"")) == (True, False, False)
