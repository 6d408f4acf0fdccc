"""Authenticated and Unauthenticated: of the two exactly one lets a milter take part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.authenticated import Authenticated
from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.unauthenticated import Unauthenticated


def macros(**values: bytes) -> Facts:
    return Facts(macro={b"{%s}" % name.encode(): value for name, value in values.items()}.get)


@pytest.mark.parametrize("facts", [macros(auth_type=b"PLAIN"), macros(auth_authen=b"ann")])
def test_either_macro_is_a_login(facts: Facts) -> None:
    assert Authenticated().judge(Stage.MAIL, facts) == ""


@pytest.mark.parametrize("facts", [macros(), macros(auth_type=b"", auth_authen=b""), macros(auth_author=b"ann")])
def test_without_a_login_authenticated_stops(facts: Facts) -> None:
    assert Authenticated().judge(Stage.MAIL, facts) == "the client did not log in"


def test_without_a_login_unauthenticated_lets_the_milter_take_part() -> None:
    assert Unauthenticated().judge(Stage.MAIL, macros()) == ""


def test_unauthenticated_says_who_logged_in() -> None:
    facts = macros(auth_type=b"PLAIN", auth_authen=b"ann\n")
    assert Unauthenticated().judge(Stage.MAIL, facts) == "the client logged in as ann\\n"


def test_unauthenticated_stops_a_login_without_a_name() -> None:
    assert Unauthenticated().judge(Stage.MAIL, macros(auth_type=b"EXTERNAL")) == "the client logged in"


@given(st.one_of(st.none(), st.binary()), st.one_of(st.none(), st.binary()))
def test_exactly_one_of_the_two_stops_whatever_the_macros_say(kind: bytes | None, login: bytes | None) -> None:
    facts = Facts(macro={b"{auth_type}": kind, b"{auth_authen}": login}.get)
    reasons = [bool(each.judge(Stage.MAIL, facts)) for each in (Authenticated(), Unauthenticated())]
    assert sum(reasons) == 1


@pytest.mark.parametrize("condition", [Authenticated(), Unauthenticated()], ids=lambda each: each.name)
def test_both_are_asked_at_mail_for_each_message(condition: Authenticated | Unauthenticated) -> None:
    assert condition.stages == {Stage.MAIL}
