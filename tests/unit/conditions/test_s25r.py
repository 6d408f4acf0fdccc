"""S25R: which names look like an end user's, by which rule, and what comes before the rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.s25r import RULES, S25R, WHITELIST, matching_rule

OF_RULE = {
    0: [b"unknown"],
    1: [b"[192.0.2.7]", b"[IPv6:2001:db8::7]"],
    2: [b"220-139-165-188.dynamic.example.net", b"a1b2.example.net", b"1x2.example", b"p1-2ip.example.org"],
    3: [b"m12345.example.net", b"yahoobb219030160066.example.jp", b"00000"],
    4: [b"398pkj.cm.chello.example.no", b"host.101.169.23.62.rev.example.com", b"a.9.b.c.Net"],
    5: [b"wbar9.chi1-4-11-085-222.dsl-verizon.net", b"a1.b2-3.example"],
    6: [b"dsl1.cust7.city.example.net", b"m500.n5.a.b.c"],
    7: [b"dhcp7.example.net", b"ADSL9.example.org", b"xdsl-9.example.org", b"ppp7", b"dialup-4.example.com"],
}
OF_NO_RULE = [
    b"",
    b"mail.example.com",
    b"mx1.example.com",
    b"mx12.mail3.example.com",
    b"unknown.example.com",
    b"Unknown",
    b"[192.0.2.7",
    b"[]",
    b"a1b.example.com",
    b"a1b2",
    b"m1234.example.com",
    b"mail.9.example",
    b"9.example.com",
    b"9.a.b.7",
    b"a1.b2.example.com",
    b"a1.b2c3.example.com",
    b"dsl.example.com",
    b"my-dhcp7.example.com",
    b"zdsl7.example.com",
    b"localhost",
]


def client(name: bytes, address: bytes = b"192.0.2.7", family: bytes = b"4") -> Facts:
    return Facts(client_name=name, client_address=address, client_family=family)


def test_every_rule_has_an_example() -> None:
    assert [rule.number for rule in RULES] == list(OF_RULE)


@pytest.mark.parametrize(("number", "name"), [(number, name) for number in OF_RULE for name in OF_RULE[number]])
def test_a_name_fits_its_rule(number: int, name: bytes) -> None:
    assert RULES[number].expression.match(name)


@pytest.mark.parametrize("name", OF_NO_RULE)
def test_a_name_fits_no_rule(name: bytes) -> None:
    assert matching_rule(name) is None


def test_the_first_rule_that_fits_is_the_one_that_is_told() -> None:
    assert (
        S25R()
        .explain(client(b"dhcp12345.example.net"))
        .startswith("host name dhcp12345.example.net fits S25R rule 3: the first label has five digits in a row")
    )


def test_a_name_like_an_end_users_lets_the_milter_take_part() -> None:
    assert S25R().judge(Stage.CONNECT, client(b"dhcp7.example.net")) == ""


def test_a_name_like_a_mail_servers_stops_the_milter() -> None:
    expected = "host name mail.example.com does not look like an end user's (no S25R rule)"
    assert S25R().judge(Stage.CONNECT, client(b"mail.example.com")) == expected


@pytest.mark.parametrize(
    ("address", "family"), [(b"2001:db8::7", b"6"), (b"/run/a.sock", b"L"), (b"", b"U"), (b"junk", b"6")]
)
def test_a_client_without_ipv4_is_spared(address: bytes, family: bytes) -> None:
    assert S25R().judge(Stage.CONNECT, client(b"unknown", address, family)) == "client is not IPv4"


def test_an_ipv4_address_written_as_ipv6_is_not_spared() -> None:
    assert S25R().judge(Stage.CONNECT, client(b"unknown", b"::ffff:192.0.2.7", b"6")) == ""


def test_clients_with_ipv6_can_be_checked_too() -> None:
    assert S25R(only_check_ipv4=False).judge(Stage.CONNECT, client(b"unknown", b"2001:db8::7", b"6")) == ""


@pytest.mark.parametrize("item", WHITELIST)
def test_the_shipped_whitelist_spares_numbered_machines_of_large_senders(item: str) -> None:
    name = b"a1-b2-c3" + item.encode()
    assert S25R().judge(Stage.CONNECT, client(name)) == f"whitelisted by {item}"


def test_the_whitelist_comes_before_the_blacklist() -> None:
    condition = S25R(whitelist=("a.example",), blacklist=("a.example",))
    assert condition.judge(Stage.CONNECT, client(b"a.example")) == "whitelisted by a.example"


def test_a_list_that_is_given_replaces_the_shipped_one() -> None:
    assert S25R(whitelist=()).judge(Stage.CONNECT, client(b"a1-b2.google.com")) == ""


def test_a_blacklisted_name_is_not_spared_though_it_looks_good() -> None:
    assert S25R(blacklist=("/^mail/",)).judge(Stage.CONNECT, client(b"mail.example.com")) == ""


def test_a_blacklisted_name_is_explained_by_its_item() -> None:
    explained = S25R(blacklist=("mail.example.com",)).explain(client(b"mail.example.com"))
    assert explained == "host name mail.example.com is blacklisted by mail.example.com"


def test_an_explanation_of_a_stop_is_its_reason() -> None:
    facts = client(b"mail.example.com")
    assert S25R().explain(facts) == S25R().judge(Stage.CONNECT, facts)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=3000), st.text("1a.-[]", max_size=3000).map(str.encode)), st.binary(max_size=50))
def test_any_name_and_address_is_decided_and_explained_alike(name: bytes, address: bytes) -> None:
    facts = client(name, address)
    condition = S25R()
    reason = condition.judge(Stage.CONNECT, facts)
    explained = condition.explain(facts)
    assert (explained == reason) if reason else ("S25R rule" in explained)
