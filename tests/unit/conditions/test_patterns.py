"""Lists of names and networks: what fits which item, what can't be meant, and hostile names."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.conditions.patterns import Networks, PatternError, Patterns, is_local, words
from mmgr.conditions.regexes import SEEN_BYTES

LIST = (
    "mail.example.com",
    ".example.net",
    "@example.org",
    "/^mx[0-9]+\\./",
    "/\\.test$/",
    "Post@Example.Biz",
    "müller.example",
)

FITTING = {
    b"mail.example.com": "mail.example.com",
    b"MAIL.Example.COM": "mail.example.com",
    b"mail.example.com.": "mail.example.com",
    b"a.example.net": ".example.net",
    b"a.b.EXAMPLE.net": ".example.net",
    b"user@a.example.net": ".example.net",
    b"user@example.org": "@example.org",
    b"mx12.anything": "/^mx[0-9]+\\./",
    b"MX1.anything": "/^mx[0-9]+\\./",
    b"host.test": "/\\.test$/",
    b"post@example.biz": "Post@Example.Biz",
    "müller.example".encode(): "müller.example",
}
STRANGERS = (
    b"",
    b".",
    b"example.com",
    b"a.mail.example.com",
    b"mail.example.com.evil.test.invalid",
    b"mail.example.com\0",
    b"example.net",
    b".example.net",
    b"badexample.net",
    b"@example.org",
    b"user@a.example.org",
    b"amx1.example",
)


@pytest.mark.parametrize("value", FITTING)
def test_a_value_fits_an_item(value: bytes) -> None:
    assert Patterns(LIST).match(value) == FITTING[value]


@pytest.mark.parametrize("value", STRANGERS)
def test_a_value_fits_no_item(value: bytes) -> None:
    assert Patterns(LIST).match(value) == ""


def test_an_empty_list_fits_nothing() -> None:
    assert Patterns(()).match(b"mail.example.com") == ""


def test_an_expression_sees_only_the_beginning_of_a_long_value() -> None:
    assert Patterns(("/b/",)).match(b"a" * SEEN_BYTES + b"b") == ""


def test_an_end_of_addresses_is_not_where_a_long_value_would_be_cut() -> None:
    value = b"x" * (SEEN_BYTES - len(b"@example.org")) + b"@example.org.evil.invalid"
    assert Patterns(LIST).match(value) == ""


def test_a_name_is_not_found_at_the_beginning_of_a_long_one() -> None:
    name = "x" * (SEEN_BYTES - 4) + ".org"
    assert Patterns([name]).match(name.encode() + b".evil.invalid") == ""


@pytest.mark.parametrize("value", [b"x" * 5000 + b"@example.org", b"a." * 5000 + b"example.net"])
def test_a_long_value_is_looked_at_to_its_end(value: bytes) -> None:
    assert Patterns(LIST).match(value)


def test_an_expression_with_an_end_finds_nothing_in_a_value_that_it_does_not_see_whole() -> None:
    assert Patterns((r"/\.test$/",)).match(b"x" * (SEEN_BYTES - 5) + b".test.evil.invalid") == ""


def test_all_faults_of_a_list_are_told() -> None:
    with pytest.raises(PatternError) as caught:
        Patterns(("/(/", "good.example", "a b", "/(a+)+$/"))
    assert [fault.problem.split(" ")[0] for fault in caught.value.faults] == ["'/(/'", "there", "'/(a+)+$/'"]


def test_all_faults_of_a_list_of_networks_are_told() -> None:
    with pytest.raises(PatternError) as caught:
        Networks(("1.2.3.4/40", "192.0.2.0/24", "::g"))
    assert len(caught.value.faults) == 2


def test_an_expression_with_letters_beyond_ascii_finds_them_as_utf_8() -> None:
    assert Patterns(("/mül/",)).match("müller".encode()) == "/mül/"


@pytest.mark.parametrize(
    "item",
    [
        "",
        " ",
        ".",
        "@",
        "/",
        "//",
        "/a",
        "/(/",
        "/a{99999999999}/",
        "a b",
        "*.example.com",
        "192.0.2.0/24",
        "[192.0.2.1]",
    ]
    + ["file:/etc/list", "a.example,b.example x"],
)
def test_an_item_that_can_not_be_meant_is_refused(item: str) -> None:
    with pytest.raises(PatternError):
        Patterns(("good.example", item))


def test_a_refusal_says_what_is_wrong_and_what_to_write() -> None:
    with pytest.raises(PatternError) as raised:
        Patterns(("*.example.com",))
    assert "*.example.com" in raised.value.problem
    assert ".example.com" in raised.value.hint


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_looked_up_without_an_error(value: bytes) -> None:
    assert Patterns(LIST).match(value) in ("", *LIST)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_item_is_taken_or_refused(item: str) -> None:
    try:
        patterns = Patterns((item,))
    except PatternError:
        return
    if item[0] not in "/.@":
        assert patterns.match(item.encode()) == item


NETWORKS = ("192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "203.0.113.0/25")


@pytest.mark.parametrize(
    ("address", "item"),
    [
        ("192.0.2.0", "192.0.2.0/24"),
        ("192.0.2.255", "192.0.2.0/24"),
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:ffff::1", "2001:db8::/32"),
        ("203.0.113.127", "203.0.113.0/25"),
        ("192.0.3.0", ""),
        ("198.51.100.8", ""),
        ("203.0.113.128", ""),
        ("2001:db9::1", ""),
        ("::c000:200", ""),
    ],
)
def test_an_address_is_in_a_network(address: str, item: str) -> None:
    assert Networks(NETWORKS).match(ipaddress.ip_address(address)) == item


@pytest.mark.parametrize("item", ["", "192.0.2", "192.0.2.1/33", "192.0.2.7/24", "mail.example.com", "192.0.2.0/24 x"])
def test_what_is_no_network_is_refused(item: str) -> None:
    with pytest.raises(PatternError):
        Networks((item,))


def test_a_network_with_a_single_address_in_it_is_told_the_network() -> None:
    with pytest.raises(PatternError) as raised:
        Networks(("192.0.2.7/24",))
    assert "192.0.2.0/24" in raised.value.hint


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses(), st.lists(st.ip_addresses(v=4).map(str), max_size=5), st.integers(0, 32))
def test_a_list_of_networks_says_what_each_of_them_says(
    address: ipaddress.IPv4Address, items: list[str], prefix: int
) -> None:
    networks = [ipaddress.ip_network((each, prefix), strict=False) for each in items]
    expected = any(address in network for network in networks)
    assert bool(Networks(map(str, networks)).match(address)) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("169.254.1.1", True),
        ("192.0.2.1", False),
        ("100.64.0.1", False),
        ("::1", True),
        ("fe80::1", True),
        ("fd00::1", True),
        ("2001:db8::1", False),
    ],
)
def test_addresses_that_nobody_has_on_the_internet_are_local(address: str, expected: bool) -> None:
    assert is_local(ipaddress.ip_address(address)) == expected


def test_what_a_peer_sent_is_escaped_and_cut_in_a_sentence() -> None:
    assert words(b"a\r\n\xff" + b"x" * 200) == "a\\r\\n\\xff" + "x" * 96 + "..."
