"""Expressions stage by stage: when they are judged, what is asked of the MTA, and what happens to recipients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mmgr.conditions.base import Stage
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.expression_names import NAMES
from mmgr.conditions.facts import Facts

CONNECT, HELO, MAIL, RCPT, DATA, CONTENT = Stage
FACTS = Facts(client_address=b"198.51.100.7", client_family=b"4", size_bytes=5)
STAGES = {
    "client_address in local": {CONNECT},
    "client_name == a and client_port > 1": {CONNECT},
    "time in 8:00-9:00 and weekday == mon": {CONNECT},
    "mta == postfix": {CONNECT},
    "helo == a": {HELO, MAIL},
    "sender == a": {MAIL},
    "sender_domain == a and announced_size > 1": {MAIL},
    "authenticated or tls or auth_user == a or tls_version == TLSv1 or cipher_bits > 1": {MAIL},
    "recipient == a and recipient_domain == b": {RCPT},
    "recipient_count > 1": {RCPT, DATA},
    "any recipient == a": {RCPT, DATA},
    "all recipients == a": {RCPT, DATA},
    "size > 1": {CONTENT},
    "header Subject": {CONTENT},
    "macro j": {CONNECT},
    "macro {cipher}": {MAIL},
    "macro {mail_host}": {MAIL},
    "macro {unheard_of}": {MAIL},
    "macro {rcpt_addr}": {RCPT},
    "macro i": {DATA},
    "macro {msg_id}": {CONTENT},
    "client_address in local and not (header Subject or sender == a)": {CONNECT, MAIL, CONTENT},
}
READS = {
    "client_address in local": {},
    "mta == postfix or macro v": {CONNECT: (b"v",)},
    "macro j and macro {daemon_name}": {CONNECT: (b"j", b"{daemon_name}")},
    "authenticated": {MAIL: (b"{auth_type}", b"{auth_authen}")},
    "tls": {HELO: (b"{tls_version}",), MAIL: (b"{tls_version}",)},
    "cipher_bits > 1 or auth_user": {HELO: (b"{cipher_bits}",), MAIL: (b"{cipher_bits}", b"{auth_authen}")},
    "macro if_name or macro i": {MAIL: (b"{if_name}",), DATA: (b"i",)},
}


def reasons(text: str, facts: Facts) -> list[bool]:
    """For each stage, whether the milter is stopped."""
    condition = compile_expression("test", text)
    return [bool(condition.judge(stage, facts)) for stage in Stage]


def stopped_from(text: str, facts: Facts = FACTS) -> Stage | None:
    """The stage from which on the milter is stopped; it stays so."""
    found = reasons(text, facts)
    assert found == sorted(found)
    return Stage(found.index(True)) if True in found else None


def with_recipients(*recipients: bytes) -> Facts:
    return replace(FACTS, recipients=recipients, recipient=recipients[0] if recipients else b"")


@pytest.mark.parametrize(("text", "stages"), STAGES.items())
def test_it_is_judged_at_the_stages_that_bring_something_new(text: str, stages: set[Stage]) -> None:
    assert compile_expression("test", text).stages == stages


@pytest.mark.parametrize(("text", "reads"), READS.items())
def test_the_macros_that_it_reads_are_asked_for(text: str, reads: dict[Stage, Sequence[bytes]]) -> None:
    assert compile_expression("test", text).reads == reads


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_known_no_later_than_at_the_last_stage_that_brings_it(name: str) -> None:
    assert NAMES[name].known in NAMES[name].stages


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("client_address in local and sender == a", CONNECT),
        ("sender == a and client_address in local", CONNECT),
        ("client_address in local or sender == a", MAIL),
        ("not (client_address not in local or header X)", CONNECT),
        ("not (client_address in local and header X == '')", None),
        ("header X and (helo == a or client_address in local)", HELO),
        ("client_address not in local or sender == a", None),
        ("size > 10", CONTENT),
        ("tls", MAIL),
        ("any recipient == a", DATA),
    ],
)
def test_the_milter_is_stopped_as_soon_as_nothing_can_change_that(text: str, stage: Stage | None) -> None:
    assert stopped_from(text) is stage


def test_a_recipient_is_kept_from_the_milter_where_it_does_not_match() -> None:
    condition = compile_expression("test", "recipient in @example.net")
    kept = [
        bool(condition.judge(RCPT, replace(FACTS, recipient=each)))
        for each in (b"<a@example.net>", b"<a@example.org>", b"<>", b"A@EXAMPLE.NET")
    ]
    assert kept == [False, True, True, False]


@pytest.mark.parametrize("stage", [DATA, CONTENT])
def test_a_message_is_for_the_milter_if_one_recipient_matches(stage: Stage) -> None:
    text = "recipient == b@x or recipient == c@x"
    facts = with_recipients(b"<a@x>", b"<b@x>")
    assert compile_expression("test", text).judge(stage, facts) == ""


def test_one_and_the_same_recipient_has_to_pass_all_tests() -> None:
    text = "recipient matches /^a/ and recipient_domain == y and header X == ''"
    assert reasons(text, with_recipients(b"<a@x>", b"<b@y>"))[CONTENT]


def test_what_does_not_depend_on_the_recipient_is_looked_at_once_for_a_message() -> None:
    looked = []
    facts = replace(
        with_recipients(*[b"<%d@x>" % each for each in range(100)]), headers=lambda: looked.append(1) or [(b"X", b"y")]
    )
    compile_expression("test", "recipient == 99@x and header X == y").judge(CONTENT, facts)
    assert len(looked) == 1


def test_the_reason_speaks_of_all_recipients_once_they_are_known() -> None:
    condition = compile_expression("test", "recipient == c@x and header X == ''")
    reason = condition.judge(CONTENT, with_recipients(b"<a@x>", b"<b@x>"))
    assert reason == "recipient a@x is not c@x, and it is no better for 1 more recipients"


def test_a_message_whose_recipients_nobody_told_is_not_kept_from_the_milter_for_them() -> None:
    assert not reasons("recipient == a@x and size == 5", with_recipients())[CONTENT]


def test_a_message_whose_recipients_nobody_told_is_judged_by_the_rest() -> None:
    condition = compile_expression("test", "recipient == a@x and size == 6")
    assert condition.judge(CONTENT, with_recipients()) == "size 5 is not 6"


def test_a_macro_of_a_recipient_counts_at_its_recipient_alone() -> None:
    facts = replace(FACTS, macro={b"{rcpt_mailer}": b"smtp"}.get, recipients=(b"<a@x>",))
    assert reasons("macro {rcpt_mailer} == local", facts) == [False, False, False, True, False, False]


def test_any_and_all_of_no_recipients_are_what_they_are_in_logic() -> None:
    assert (stopped_from("all recipients == a"), stopped_from("any recipient == a")) == (None, DATA)
