from __future__ import annotations

import pytest

from mmgr.detect.milters.key_value import (
    CLAMAV,
    ENMA,
    OPENDKIM,
    PYSPF,
    TRUSTED_DOMAIN,
    Settings,
    Style,
    example_line,
    settings,
)

from .grammars import PATH, lines


def value(text: str, style: Style, name: str = "Socket") -> str | None:
    found = Settings(settings(lines(text), style), style).found(name)
    return found.value if found else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Socket local:/a", "local:/a"),
        ("  \tSocket \t local:/a \t", "local:/a"),
        ("socket local:/a", "local:/a"),
        ("Socket local:/a # why", "local:/a"),
        ("Socket local:/a#why", "local:/a"),
        ("# Socket local:/a", None),
        ("Socket", None),
        ("Socket\t# nothing", None),
        ("SocketX local:/a", None),
        ("Socket local:/a\nSOCKET local:/b", "local:/b"),
        ("Socket local:/a\nSocket", None),
        ("Socket /with a space", "/with a space"),
    ],
)
def test_opendkim_takes_the_last_line_without_case_and_cuts_it_at_a_hash(text: str, expected: str | None) -> None:
    assert value(text, OPENDKIM) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Socket /a", "/a"),
        ("  Socket   /a  ", "/a"),
        ("socket /a", None),
        ("Socket /a\nSocket /b", "/a"),
        ("Socket /a # why", "/a # why"),
        ("#Socket /a", None),
        ("  #Socket /a", None),
        ('Socket "/a b"', "/a b"),
        ('Socket "/a" # "why"', '/a" # "why'),
        ('Socket "/a', '"/a'),
    ],
)
def test_clamav_takes_the_first_line_with_case_and_quotes(text: str, expected: str | None) -> None:
    assert value(text, CLAMAV) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Socket = inet:1@x", "inet:1@x"), ("Socket=inet:1@x", "inet:1@x"), ("Socket inet:1@x", None), ("= x", None)],
)
def test_pyspf_separates_by_an_equals_sign(text: str, expected: str | None) -> None:
    assert value(text, PYSPF) == expected


def test_enma_separates_by_the_first_colon() -> None:
    assert value("milter.socket:  inet:10025@127.0.0.1\n", ENMA, "milter.socket") == "inet:10025@127.0.0.1"


def test_a_value_says_its_line() -> None:
    found = Settings(settings(lines("A 1\n\nB 2\n"), TRUSTED_DOMAIN)).found("B")
    assert found is not None
    assert str(found.where) == f"{PATH}:3"


def test_bytes_that_are_no_utf_8_stay_in_the_value() -> None:
    assert value("Socket /run/caf\udce9", OPENDKIM) == "/run/caf\udce9"


@pytest.mark.parametrize("text", ["Example", "  Example", "Examples are here", "A 1\n\tExample # remove"])
def test_a_line_that_begins_with_example_is_found(text: str) -> None:
    assert example_line(lines(text)) is not None


@pytest.mark.parametrize("text", ["#Example", "# Example", "A Example", "", "example"])
def test_other_lines_are_no_example(text: str) -> None:
    assert example_line(lines(text)) is None
