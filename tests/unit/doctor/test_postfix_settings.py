"""Postfix's deadlines, default action, protocol and macros against what we need."""

from __future__ import annotations

import pytest

from .trees import MASTER, OURS, child, settings

ASKING = f"smtpd_milters = {OURS}\n"


def levels(main: str) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in settings(ASKING + main) if one.level != "ok"]


def test_postfixs_defaults_are_fine() -> None:
    assert levels("") == []


@pytest.mark.parametrize(
    ("action", "level", "words"),
    [
        ("tempfail", "ok", "deferred"),
        ("shutdown", "ok", "deferred"),
        ("accept", "note", "unfiltered"),
        ("reject", "warning", "refused for good"),
        ("quarantine", "note", "hold queue"),
        ("nonsense", "warning", "does not know it"),
    ],
)
def test_the_default_action_is_put_into_words(action: str, level: str, words: str) -> None:
    (found,) = settings(f"{ASKING}milter_default_action = {action}")
    assert found.level == level
    assert words in found.text


def test_an_action_in_braces_wins() -> None:
    (found,) = settings(f"smtpd_milters = {{{OURS}, default_action=accept}}")
    assert found.text.startswith("milter_default_action is accept")


def test_an_old_protocol_is_a_warning() -> None:
    ((level, text),) = levels("milter_protocol = 2")
    assert (level, text[:22]) == ("warning", "milter_protocol is 2: ")


@pytest.mark.parametrize(
    ("parameter", "key", "value"),
    [
        ("milter_connect_timeout = 5s", "connection_timeout", 5.0),
        ("milter_command_timeout = 10", "reading_timeout", 10.0),
        ("milter_command_timeout = 10", "writing_timeout", 11.0),
        ("milter_content_timeout = 2m", "end_of_message_timeout", 120.0),
    ],
)
def test_a_deadline_that_postfix_does_not_wait_for_is_a_warning(parameter: str, key: str, value: float) -> None:
    short = {"connection_timeout_s": 1.0, "reading_timeout_s": 1.0, "writing_timeout_s": 1.0}
    one = child("slow", **{**short, "end_of_message_timeout_s": 1.0, f"{key}_s": value})
    found = [finding for finding in settings(ASKING + parameter, one) if finding.level == "warning"]
    assert [(finding.subject, finding.text.split()[0]) for finding in found] == [("slow", key)]


def test_a_timeout_in_braces_counts_for_us() -> None:
    main = f"smtpd_milters = {{{OURS}, content_timeout=600s}}"
    assert [one.level for one in settings(main, child("slow", end_of_message_timeout_s=500.0))] == ["ok"]


def test_deadlines_that_two_services_share_are_said_once() -> None:
    master = MASTER + "submission inet n - y - - smtpd\n"
    found = settings(ASKING, child("slow", reading_timeout_s=40.0), master=master)
    assert len([one for one in found if one.subject == "slow"]) == 1


def test_a_time_that_is_none_is_said_to_be_none() -> None:
    assert ("warning", "milter_connect_timeout is soon, which is no time") in levels("milter_connect_timeout = soon")


def test_a_macro_that_a_condition_reads_and_postfix_lacks_is_a_warning() -> None:
    main = f"{ASKING}milter_mail_macros = i {{mail_addr}}"
    found = [one for one in settings(main, child("grey", conditions=["Unauthenticated"])) if one.level == "warning"]
    assert [(one.subject, one.hint.split("\n")[0]) for one in found] == [
        ("grey", "postconf -e 'milter_mail_macros = i {mail_addr} {auth_type} {auth_authen}'")
    ]


def test_macros_with_and_without_braces_are_the_same() -> None:
    main = f"{ASKING}milter_mail_macros = i auth_type, {{auth_authen}}"
    assert [one.level for one in settings(main, child("grey", conditions=["Unauthenticated"]))] == ["ok"]


def test_what_postfix_never_sends_by_itself_is_not_asked_for() -> None:
    assert [one.level for one in settings(ASKING, child("grey", conditions=["Sendmail Compatible"]))] == ["ok"]


def test_a_list_without_the_name_of_the_mta_is_a_warning() -> None:
    ((level, text),) = levels("milter_connect_macros = j {daemon_name}")
    assert (level, text) == ("warning", "milter_connect_macros lacks v: the positions of headers depend on it")
