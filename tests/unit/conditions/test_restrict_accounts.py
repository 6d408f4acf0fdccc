"""Restrict Accounts: which recipients a milter sees, and which messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import PatternError
from mmgr.conditions.restrict_accounts import RestrictAccounts

CONDITION = RestrictAccounts("Testers", ("ann@example.com", "@example.net", "/^test-/"))


@pytest.mark.parametrize(
    "recipient",
    [b"<ann@example.com>", b"ann@example.com", b"<ANN@Example.com>", b"<bob@example.net>", b"<test-1@example.org>"],
)
def test_a_recipient_of_the_list_lets_the_milter_take_part(recipient: bytes) -> None:
    assert CONDITION.judge(Stage.RCPT, Facts(recipient=recipient)) == ""


@pytest.mark.parametrize(
    "recipient", [b"<bob@example.com>", b"<>", b"", b"<ann@example.com", b"<a-test-1@example.org>"]
)
def test_another_recipient_is_kept_from_the_milter(recipient: bytes) -> None:
    assert CONDITION.judge(Stage.RCPT, Facts(recipient=recipient)).endswith("is not among the accounts")


def test_a_message_all_of_whose_recipients_are_in_the_list_passes() -> None:
    facts = Facts(recipients=(b"<ann@example.com>", b"<bob@example.net>"))
    assert CONDITION.judge(Stage.DATA, facts) == ""


def test_a_message_with_one_other_recipient_is_kept_from_the_milter() -> None:
    facts = Facts(recipients=(b"<ann@example.com>", b"<bob@example.org>"))
    assert CONDITION.judge(Stage.DATA, facts) == "recipient bob@example.org is not among the accounts"


def test_a_message_whose_recipients_are_not_known_is_kept_from_the_milter() -> None:
    assert CONDITION.judge(Stage.DATA, Facts()) == "no recipient is known"


def test_the_administrator_names_and_describes_it() -> None:
    condition = RestrictAccounts("Board", ("a@example.com",), "mail of the board")
    assert (condition.name, condition.description) == ("Board", "mail of the board")


@pytest.mark.parametrize(("name", "accounts"), [("", ("a@example.com",)), ("A", ()), ("A", ("*@example.com",))])
def test_one_without_a_name_or_proper_accounts_is_refused(name: str, accounts: tuple[str, ...]) -> None:
    with pytest.raises(PatternError):
        RestrictAccounts(name, accounts)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_a_message_passes_if_each_of_its_recipients_does(recipients: list[bytes]) -> None:
    alone = [CONDITION.judge(Stage.RCPT, Facts(recipient=each)) for each in recipients]
    assert bool(CONDITION.judge(Stage.DATA, Facts(recipients=recipients))) == any(alone)


def test_a_source_route_is_not_a_part_of_the_account() -> None:
    condition = RestrictAccounts("mine", ("ann@example.com",))
    assert condition.judge(Stage.RCPT, Facts(recipient=b"<@relay.example,@other.example:ann@example.com>")) == ""


def test_what_of_the_list_fits_is_told() -> None:
    condition = RestrictAccounts("mine", ("ann@example.com", "@example.net"))
    facts = Facts(recipients=(b"<ann@example.com>", b"<x@example.net>"))
    told = "recipient ann@example.com fits ann@example.com, recipient x@example.net fits @example.net"
    assert condition.explain(facts) == told
