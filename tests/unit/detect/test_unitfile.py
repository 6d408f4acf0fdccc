"""``mmgr.detect.unitfile``: unit files and environment files as systemd reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.detect.base import Where
from mmgr.detect.tree import Line
from mmgr.detect.unitfile import MAX_VALUE, assignments, environment_file


def lines(text: str) -> list[Line]:
    return [Line(row, Where("/f", at)) for at, row in enumerate(text.split("\n"), 1)]


def unit(text: str) -> list[tuple[str, str, str, int]]:
    return [(each.section, each.key, each.value.value, each.value.where.line) for each in assignments(lines(text))]


def environment(text: str) -> dict[str, str]:
    return {name: found.value for name, found in environment_file(lines(text)).items()}


def test_white_space_around_the_equals_sign_and_at_the_ends_is_dropped() -> None:
    assert unit("[Service]\n  ExecStart = /bin/a b  ") == [("Service", "ExecStart", "/bin/a b", 2)]


def test_comments_and_lines_without_an_equals_sign_are_passed_over() -> None:
    assert unit("[S]\n# a=b\n; c=d\nnonsense\n=x\ne=f") == [("S", "e", "f", 6)]


def test_a_backslash_joins_lines_with_a_space_and_the_first_line_is_the_place() -> None:
    assert unit("[S]\na=1 \\\n   2\\\n3\nb=4") == [("S", "a", "1  2 3", 2), ("S", "b", "4", 5)]


def test_comments_between_joined_lines_do_not_end_them() -> None:
    assert unit("[S]\na=1\\\n# no\n;no\n2") == [("S", "a", "1 2", 2)]


def test_an_escaped_backslash_at_the_end_joins_nothing() -> None:
    assert unit("[S]\na=1\\\\\nb=2") == [("S", "a", "1\\\\", 2), ("S", "b", "2", 3)]


def test_a_file_that_ends_in_a_joined_line_still_has_its_value() -> None:
    assert unit("[S]\na=1 \\") == [("S", "a", "1", 2)]


def test_a_value_that_nobody_wrote_by_hand_is_passed_over() -> None:
    assert unit("[S]\na=" + "x" * (MAX_VALUE + 1)) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("A=b c ", "b c"),
        ("  A =b", "b"),
        ("A=", ""),
        ('A="b c"', "b c"),
        ("A='b \"c'", 'b "c'),
        ("A='b c'\"d\"", "b cd"),
        ("A='b' c", "bc"),
        ('A=b"c d"', 'b"c d"'),
        ("A=b\\ c", "b c"),
        ("A=b\\\nc", "bc"),
        ('A="b\nc"', "b\nc"),
        ('A="b\\\nc"', "bc"),
        ('A="\\$b \\"c\\" \\d"', '$b "c" \\d'),
        ("A='b\\c'", "b\\c"),
        ("A=$B", "$B"),
        ('A="not closed', "not closed\n"),
        ("A=b # c", "b # c"),
        ("A=b=c", "b=c"),
        ("A=1\nA=2", "2"),
    ],
)
def test_a_variable_has_the_value_that_systemd_gives_it(text: str, value: str) -> None:
    assert environment(text)["A"] == value


def test_comments_of_an_environment_file_may_carry_over_to_the_next_line() -> None:
    assert environment("# A=1 \\\nB=2\n;C=3\nD=4") == {"D": "4"}


def test_a_variable_stands_where_its_name_stands() -> None:
    found = environment_file(lines("A='x\ny'\n\nB=1"))
    assert {name: value.where.line for name, value in found.items()} == {"A": 1, "B": 4}


def test_a_line_without_an_equals_sign_is_no_variable() -> None:
    assert environment("export\nA=1\nfoo bar") == {"A": "1"}


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading_of_units(text: str) -> None:
    for each in assignments(lines(text)):
        assert each.key


@given(st.text(alphabet="A=\\'\"# ;\n$b\t", max_size=60))
def test_no_text_breaks_the_reading_of_environment_files(text: str) -> None:
    for name, found in environment_file(lines(text)).items():
        assert found.value is not None
        assert "\n" not in name


@pytest.mark.timeout(20)
@pytest.mark.parametrize("row", ["A='", "A=\\", "# \\", "[", "A=b", '"'])
def test_a_file_of_the_largest_size_takes_linear_time(row: str) -> None:
    """Quadratic time would be hours, the limit of this test is seconds."""
    text = lines("\n".join([row] * (1048576 // (len(row) + 1))))
    assert len(list(assignments(text))) <= len(text)
    assert len(environment_file(text)) <= 1
