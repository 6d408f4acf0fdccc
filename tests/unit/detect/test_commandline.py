"""``mmgr.detect.commandline``: quoting, variables and specifiers as systemd's manual has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.detect.base import Found, Where
from mmgr.detect.commandline import (
    MAX_COMMAND,
    Command,
    TooLong,
    Unbalanced,
    UnitName,
    commands,
    expanded,
    with_specifiers,
    words,
)

UNIT = Where("/unit", 7)


def variables(**given: str) -> dict[str, Found[str]]:
    return {name: Found(value, Where("/environment", at)) for at, (name, value) in enumerate(given.items(), 1)}


def run(text: str, **given: str) -> list[str]:
    """The words of the last command of an ExecStart=."""
    command = list(commands(text))[-1]
    return [word.value for word in expanded(command, variables(**given), Found(text, UNIT))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ("a'b c'd", ["ab cd"]),
        ("'' b", ["", "b"]),
        (r"a\sb \x41\102\u00e9 \t", ["a b", "ABé", "\t"]),
        (r"'\'' \q", ["'", r"\q"]),
        ("", []),
    ],
)
def test_a_value_is_split_into_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("text", ["'a", 'b"c', "'a\" b"])
def test_a_quote_that_stays_open_is_refused(text: str) -> None:
    with pytest.raises(Unbalanced):
        words(text)


@pytest.mark.parametrize(("text", "expected"), [("'a", ["a"]), (r"a\ b \x", ["a b", "x"])])
def test_the_value_of_a_variable_is_split_without_complaint(text: str, expected: list[str]) -> None:
    assert words(text, is_relaxed=True) == expected


@pytest.mark.parametrize("prefix", ["-", "+", "!", "!!", "-+", ":-", "|"])
def test_prefixes_are_no_part_of_the_program(prefix: str) -> None:
    assert run(f"{prefix}/bin/a -p x") == ["/bin/a", "-p", "x"]


def test_the_name_behind_an_at_sign_is_no_argument() -> None:
    assert run("-@/bin/a name -p x") == ["/bin/a", "-p", "x"]


def test_a_colon_keeps_variables_from_being_put_in() -> None:
    assert run(":/bin/a $A ${A}", A="1") == ["/bin/a", "$A", "${A}"]


def test_a_lone_semicolon_begins_the_next_command() -> None:
    assert list(commands(r"/bin/a 1 ; /bin/b \; ;c")) == [
        Command(("/bin/a", "1")),
        Command(("/bin/b", ";", ";c")),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a $A", ["/a", "1", "2 3"]),
        ("/a ${A}", ["/a", '1 "2 3"']),
        ("/a -p${A}", ["/a", '-p1 "2 3"']),
        ("/a -p$A", ["/a", "-p$A"]),
        ("/a $UNSET x", ["/a", "x"]),
        ("/a ${UNSET} x", ["/a", "", "x"]),
        ("/a $$A $${A}", ["/a", "$A", "${A}"]),
        ("/a ${A", ["/a", "${A"]),
        ("/a '$A'", ["/a", "1", "2 3"]),
        ("/a $EMPTY ${EMPTY}", ["/a", ""]),
    ],
)
def test_variables_are_put_in_as_systemd_does(text: str, expected: list[str]) -> None:
    assert run(text, A='1 "2 3"', EMPTY="") == expected


def test_what_a_variable_gives_is_not_looked_at_for_variables() -> None:
    assert run("/a $A ${A}", A="$B", B="2") == ["/a", "$B", "$B"]


def test_each_word_says_where_it_comes_from() -> None:
    command = next(commands("/a -p ${B} $C"))
    found = expanded(command, variables(B="x", C="y z"), Found("", UNIT))
    assert [str(word.where) for word in found] == ["/unit:7", "/unit:7", "/environment:1", *["/environment:2"] * 2]


def test_a_command_that_no_kernel_takes_is_refused_before_it_is_made() -> None:
    with pytest.raises(TooLong):
        run("/a " + "${A}" * 10000, A="x" * (MAX_COMMAND // 5000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%i|%I|%n|%N|%p", r"mx-a\x2db|mx/a-b|milter-x@mx-a\x2db.service|milter-x@mx-a\x2db|milter-x"),
        ("%j|%P|%f", "x|milter/x|/mx/a-b"),
        ("%t|%h|%u|%U|%E|%S|%%", "/run|/root|root|0|/etc|/var/lib|%"),
        ("%H|%l", "mail.example.org|mail"),
        ("%m 100%", "%m 100%"),
    ],
)
def test_specifiers_are_replaced(text: str, expected: str) -> None:
    assert with_specifiers(text, UnitName(r"milter-x@mx-a\x2db.service"), "mail.example.org") == expected


@given(st.text(alphabet="a$A{}%i;\\'\"@:- x0", max_size=60), st.text(max_size=40))
def test_no_text_raises_anything_but_an_open_quote(text: str, value: str) -> None:
    try:
        for command in commands(text):
            assert command.words
            expanded(command, variables(A=value), Found(text, UNIT))
    except Unbalanced:
        assert "'" in text or '"' in text
    assert with_specifiers(text, UnitName(value)) is not None
