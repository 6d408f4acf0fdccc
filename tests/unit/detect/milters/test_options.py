from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.detect.base import Found, Where
from mmgr.detect.milters.options import Options, command_words

from .services import SETTINGS, UNIT, found


def words(*texts: str) -> list[Found[str]]:
    return [Found(text, UNIT) for text in texts]


def value(command: str, *names: str) -> str | None:
    given_value = Options(words(*command.split()), "px", ("config-file",)).found(*names)
    return given_value.value if given_value else None


@pytest.mark.parametrize(
    "command",
    [
        "-p /a",
        "-p/a",
        "-p=/a",
        "-fvp /a",
        "-fp/a",
        "x -p /a y",
        "-p /b -p /a",
        "-p /a --",
        "--foo -p /a",
        "-x -p -p /a",
    ],
)
def test_the_value_of_an_option_is_found_however_it_is_written(command: str) -> None:
    assert value(command, "p") == "/a"


@pytest.mark.parametrize("command", ["", "-f", "-p", "-- -p /a", "-p $SOCKET", "-x -p", "p /a", "-", "-vf /a"])
def test_without_a_value_nothing_is_found(command: str) -> None:
    assert value(command, "p") is None


@pytest.mark.parametrize("command", ["--config-file /a", "--config-file=/a", "--config-file=/b -v --config-file /a"])
def test_long_options_take_a_value_too(command: str) -> None:
    assert value(command, "c", "config-file") == "/a"


def test_a_variable_that_nobody_knows_leaves_the_earlier_value() -> None:
    assert value("-p /a -p $SOCKET", "p") == "/a"


def test_what_is_no_option_is_an_operand() -> None:
    assert [each.value for each in Options(words("-p", "/a", "b", "-f", "c"), "p").operands] == ["b", "c"]


def test_a_shell_text_is_taken_apart_and_its_variables_put_in() -> None:
    argv = words("/bin/sh", "-c", "exec /usr/bin/x `[ -n \"$Y\" ] && echo -q` -p $SOCKET -P '/run/x.pid'")
    options = Options(command_words(argv, found({"SOCKET": "/run/x.sock"})), "pP")
    assert options.found("p") == Found("/run/x.sock", SETTINGS)


def test_a_plain_command_line_stays_as_it_is() -> None:
    assert command_words(words("/usr/bin/x", "-p", "$SOCKET"), found({"SOCKET": "/a"})) == words("-p", "$SOCKET")


@given(st.lists(st.text("-=p$/a c{}'\"\\", max_size=8), max_size=12))
def test_no_command_line_makes_it_fail(texts: list[str]) -> None:
    argv = [Found(text, Where("/x")) for text in texts]
    assert len(Options(command_words(argv, {}), "pc", ("pc",)).operands) <= sum(len(text) + 1 for text in texts)
