"""``mmgr.config.values``: what one value may look like, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.config import values
from mmgr.config.model import EnvelopeDispatch, FallbackStatus
from mmgr.config.values import CHECKS, ValueRefused
from mmgr.endpoint import Endpoint

STATUSES = ("accept", "reject", "temporary-failure", "discard")
LEVELS = ("error", "warning", "info", "debug")


def refused(check: Callable[..., Any], value: values.Raw, *arguments: str, **named: str) -> str:
    with pytest.raises(ValueRefused) as caught:
        check(value, *arguments, **named)
    return f"{caught.value.problem} ({caught.value.hint})"


@pytest.mark.parametrize("text", ["yes", "Yes", "on", "TRUE", "1"])
def test_words_for_yes_are_true(text: str) -> None:
    assert values.boolean(text) is True


@pytest.mark.parametrize("text", ["no", "No", "off", "FALSE", "0"])
def test_words_for_no_are_false(text: str) -> None:
    assert values.boolean(text) is False


@pytest.mark.parametrize("text", ["", "maybe", "2", "yess"])
def test_other_words_are_neither_yes_nor_no(text: str) -> None:
    assert "is neither yes nor no" in refused(values.boolean, text)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("65535", 65535), ("0010", 10)])
def test_a_whole_number_within_its_bounds_is_taken(text: str, number: int) -> None:
    assert values.integer(text, min="1", max="65535") == number


@pytest.mark.parametrize("text", ["0", "65536", "9" * 18])
def test_a_whole_number_out_of_its_bounds_is_refused(text: str) -> None:
    assert "is out of range (1 to 65535)" in refused(values.integer, text, min="1", max="65535")


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "1k", "1_000", " 1", "0x10", "\u0661", "9" * 5000])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    assert "is not a whole number" in refused(values.integer, text, min="1", max="65535")


@pytest.mark.parametrize(("text", "number"), [("30", 30.0), ("0.5", 0.5), (".5", 0.5), ("1e2", 100.0), ("7.", 7.0)])
def test_a_number_of_seconds_may_have_a_fraction(text: str, number: float) -> None:
    assert values.seconds(text, max="86400") == number


@pytest.mark.parametrize("text", ["0", "0.0", "86401", "1e99", "1e999"])
def test_seconds_out_of_range_are_refused(text: str) -> None:
    assert "is out of range (more than 0 and at most 86400 seconds)" in refused(values.seconds, text, max="86400")


@pytest.mark.parametrize("text", ["", "30s", "-1", "inf", "nan", "1,5", "5 min", "9" * 5000])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    assert "is not a number of seconds" in refused(values.seconds, text, max="86400")


@pytest.mark.parametrize(
    ("text", "mode"), [("0660", 0o660), ("660", 0o660), ("0o600", 0o600), ("0", 0), ("777", 0o777)]
)
def test_a_mode_is_octal(text: str, mode: int) -> None:
    assert values.mode(text) == mode


@pytest.mark.parametrize("text", ["", "0680", "rw-", "-1", "0x1b0"])
def test_what_is_not_octal_is_no_mode(text: str) -> None:
    assert "is not an octal mode" in refused(values.mode, text)


@pytest.mark.parametrize("text", ["1777", "4755", "777777"])
def test_a_mode_has_permissions_only(text: str) -> None:
    assert "is out of range (0 to 0777)" in refused(values.mode, text)


@pytest.mark.parametrize("text", ["temporary-failure", "temporary_failure", "Temporary_Failure", "TEMPORARY-FAILURE"])
def test_a_status_is_taken_however_it_is_spelled(text: str) -> None:
    assert values.status(text, *STATUSES) is FallbackStatus.TEMPORARY_FAILURE


def test_a_wrong_status_is_refused_with_the_nearest() -> None:
    assert "did you mean temporary-failure?" in refused(values.status, "tempfailure", *STATUSES)


def test_a_choice_that_is_near_to_none_is_refused_with_all() -> None:
    assert "one of accept, reject, temporary-failure, discard" in refused(values.status, "continue", *STATUSES)


def test_a_way_of_asking_is_taken() -> None:
    assert values.dispatch("Sequential", "parallel", "sequential") is EnvelopeDispatch.SEQUENTIAL


def test_a_level_is_taken() -> None:
    assert values.level("Warning", *LEVELS) == "warning"


@pytest.mark.parametrize(("old", "new"), [("default", "info"), ("critical", "error"), ("trace", "debug")])
def test_a_level_of_old_is_refused_with_the_one_of_now(old: str, new: str) -> None:
    assert f"{new} is nearest" in refused(values.level, old, *LEVELS)


def test_one_socket_is_a_list_of_one() -> None:
    assert values.endpoints("inet:25") == (Endpoint("inet", port=25),)


def test_several_sockets_keep_their_order() -> None:
    assert values.endpoints(["inet:25", "unix:x"]) == (Endpoint("inet", port=25), Endpoint("unix", path="x"))


@pytest.mark.parametrize("value", ["", []])
def test_no_socket_at_all_is_refused(value: values.Raw) -> None:
    assert "there is no socket address" in refused(values.endpoints, value)


def test_a_bad_socket_is_refused_with_its_fault() -> None:
    assert "port '0' is not between 1 and 65535" in refused(values.endpoints, ["inet:25", "inet:0"])


@pytest.mark.parametrize("value", ["a=1,b=2", "a=1, b=2", ["a=1", "b=2"]])
def test_pairs_may_stand_in_one_text_or_in_a_list(value: values.Raw) -> None:
    assert values.pairs(value) == ("a=1", "b=2")


@pytest.mark.parametrize("value", ["a", "=1", "a=1,", ["a=1", "b"]])
def test_what_is_no_pair_is_refused(value: values.Raw) -> None:
    assert "is not of the form KEY=VALUE" in refused(values.pairs, value)


def test_a_condition_that_is_named_twice_counts_once() -> None:
    assert values.conditions(["S25R", "No Stress", "S25R"]) == ("S25R", "No Stress")


def test_a_list_of_several_lines_has_an_item_in_each() -> None:
    assert values.names("\n.google.com\n  # ours\n  /^mx[0-9]{1,2}/\n\n") == (".google.com", "/^mx[0-9]{1,2}/")


def test_an_empty_item_of_a_list_is_refused() -> None:
    assert "an item of the list is empty" in refused(values.names, ["a", ""])


@pytest.mark.parametrize("name", sorted(set(CHECKS) - {"endpoints", "pairs", "conditions", "names", "patterns"}))
def test_a_list_is_no_single_value(name: str) -> None:
    arguments = {"integer": {"min": "0", "max": "9"}, "seconds": {"max": "9"}}.get(name, {})
    assert "'a, b' is a list, and one value is wanted" in refused(CHECKS[name], ["a", "b"], **arguments)


@pytest.mark.parametrize("text", ["a\0", "\x1b[31m", "a\x85", "\u2028"])
def test_text_has_no_control_characters(text: str) -> None:
    assert "has a control character in it" in refused(values.text, text)


def test_text_has_one_line() -> None:
    assert "has more than one line" in refused(values.text, "a\nb")


def test_prose_has_any_number_of_lines() -> None:
    assert values.prose("a\n\nb") == "a\n\nb"


def test_text_that_was_no_utf_8_is_refused() -> None:
    assert "is not text in UTF-8" in refused(values.text, "a\udcff")


def test_text_that_can_not_be_written_back_is_refused() -> None:
    assert "has both kinds of triple quotes" in refused(values.prose, "\"\"\" '''")


def test_an_item_of_a_list_that_can_not_be_written_back_is_refused() -> None:
    assert "has both kinds of quotes" in refused(values.endpoints, "unix:/a\"'")


@pytest.mark.parametrize("name", ["clamav-milter", "a.b", "\u00e9", "a#b", "a]b", "__many__"])
def test_a_printable_name_without_white_space_is_good(name: str) -> None:
    values.check_child_name(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("a b", "has white space"),
        ("a\tb", "has white space"),
        ("a\u00a0b", "has white space"),
        ("a\x1b", "has a control character"),
        ("a\u202eb", "has a control character"),
        ("a\ud800", "has a control character"),
        ("'\"", "has both kinds of quotes"),
    ],
)
def test_other_names_are_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueRefused, match=problem):
        values.check_child_name(name)


def test_a_suggestion_does_not_care_for_case() -> None:
    assert values.did_you_mean("ENABLE", ["enabled", "description"]) == "did you mean enabled?"


def test_there_is_no_suggestion_for_what_is_far_from_everything() -> None:
    assert values.did_you_mean("zzz", ["enabled"]) == ""


@given(st.text())
def test_one_line_is_printable_and_can_be_encoded(text: str) -> None:
    assert values.one_line(text).encode().decode().isprintable()


@given(st.sampled_from(sorted(CHECKS)), st.text() | st.lists(st.text(), max_size=3))
def test_a_check_takes_a_value_or_refuses_it(name: str, value: values.Raw) -> None:
    arguments = {"integer": {"min": "0", "max": "9"}, "seconds": {"max": "9"}}.get(name, {})
    choices = STATUSES if name == "status" else ("parallel", "sequential") if name == "dispatch" else ()
    problem = ""
    try:
        CHECKS[name](value, *choices, **arguments)
    except ValueRefused as error:
        problem = error.problem
    assert len(problem) < 300
