"""``mmgr.conditions.explanation``: what stops a milter, stage by stage, in words."""

from __future__ import annotations

import pytest

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.builtin import BUILT_IN
from mmgr.conditions.dnsbl import DnsblListed, NotDnsblListed
from mmgr.conditions.explanation import explain
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.facts import Facts
from mmgr.conditions.remote_network import RemoteNetwork
from mmgr.conditions.restrict_accounts import RestrictAccounts

A, B = b"<a@example.org>", b"<b@example.org>"


def facts(**changed: object) -> Facts:
    known = {"client_name": b"ppp12.example.net", "client_address": b"192.0.2.7", "client_family": b"4"}
    return Facts(**{**known, **changed})  # type: ignore[arg-type]


def conditions(*names: str) -> list[Condition]:
    return [BUILT_IN[name]() for name in names]


def test_a_milter_without_conditions_is_used() -> None:
    found = explain([], facts(), [A], has_message=False)
    assert (found.stopped, found.passed, found.undecided) == (None, (), ())


def test_the_first_condition_that_stops_is_the_reason() -> None:
    found = explain(conditions("Authenticated", "S25R"), facts(client_name=b"mail.example.net"), [A], False)
    assert found.stopped is not None
    assert (found.stopped.condition, found.stopped.stage) == ("S25R", Stage.CONNECT)


def test_the_rule_of_s25r_is_named() -> None:
    found = explain(conditions("S25R"), facts(), [A], False)
    assert "rule 7" in found.passed[0].text


TOLD = {
    "client_name == a or client_address in 192.0.2.0/24": "client_address 192.0.2.7 is in 192.0.2.0/24",
    "not tls and sender == ''": "the connection is not encrypted and sender <> is ''",
    "recipient == b@example.org and client_name": "recipient b@example.org is b@example.org and "
    "client_name ppp12.example.net is not empty",
    "macro {rcpt_mailer} == x": "macro {rcpt_mailer} == x",
}


@pytest.mark.parametrize(("text", "told"), TOLD.items())
def test_the_tests_that_made_an_expression_true_are_told(text: str, told: str) -> None:
    known = facts(macro={b"{rcpt_mailer}": b"x"}.get)
    assert explain([compile_expression("mine", text)], known, [A, B], False).passed[0].text == told.replace("''", '""')


def test_the_list_that_makes_a_client_remote_is_told() -> None:
    found = explain([RemoteNetwork(remote_addresses=("10.1.0.0/16",))], facts(client_address=b"10.1.2.3"), [A], False)
    assert found.passed[0].text == "client 10.1.2.3 is in remote_addresses (10.1.0.0/16)"


def test_the_service_that_lists_a_client_is_told() -> None:
    known = facts(look_up=lambda name: ["127.0.0.2"])
    found = explain([DnsblListed(services=("bl.example.org",))], known, [A], False)
    assert found.passed[0].text == "bl.example.org lists client 192.0.2.7 (127.0.0.2)"


def test_a_service_that_did_not_answer_is_told() -> None:
    known = facts(is_unanswered=lambda name: name.endswith("bl.example.org"))
    found = explain([NotDnsblListed(services=("bl.example.org", "zen.example.org"))], known, [A], False)
    told = "no DNSBL service lists client 192.0.2.7, but there is no answer from bl.example.org"
    assert found.passed[0].text == told


def test_a_recipient_that_is_withheld_is_named() -> None:
    found = explain([compile_expression("mine", "recipient == a@example.org")], facts(), [A, B], False)
    assert (found.stopped, [reason.recipient for reason in found.withheld]) == (None, [B])


def test_without_any_recipient_for_it_a_milter_is_not_used() -> None:
    found = explain([compile_expression("mine", "recipient == c@example.org")], facts(), [A, B], False)
    assert found.stopped is not None
    assert found.stopped.stage is Stage.RCPT


def test_accounts_are_for_all_recipients_or_none() -> None:
    found = explain([RestrictAccounts("mine", ("a@example.org",))], facts(), [A, B], False)
    assert found.stopped is not None
    assert found.stopped.stage is Stage.DATA


def test_what_depends_on_a_header_stays_open_without_a_message() -> None:
    found = explain([compile_expression("mine", "header(Subject) == x")], facts(), [A], False)
    assert (found.stopped, found.undecided) == (None, ("mine",))


def test_what_depends_on_a_header_is_decided_with_a_message() -> None:
    known = facts(headers=lambda: [(b"Subject", b"y")])
    assert explain([compile_expression("mine", "header(Subject) == x")], known, [A], True).stopped is not None


def test_the_macros_that_a_milter_is_sent_besides_are_told() -> None:
    found = explain(conditions("Trust"), facts(sender=b"<a@gmail.com>"), [A], False)
    assert (b"{trusted_domain}", b"yes") in found.macros
