"""DNSBL Listed and Not DNSBL Listed: what is looked up, and which answers list a client."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.dnsbl import SERVICES_MAX, DnsblListed, NotDnsblListed, parse_service, reversed_name
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import PatternError

LISTED = "7.2.0.192.bl.example.org"


class Zone:
    """Answers look-ups, and keeps what was asked."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        return self.answers.get(name.split(".", 4)[4].split(".")[0], ())


def client(zone: Zone, address: bytes = b"192.0.2.7", family: bytes = b"4") -> Facts:
    return Facts(client_address=address, client_family=family, look_up=zone)


def verdicts(services: tuple[str, ...], facts: Facts) -> tuple[str, str]:
    """What the two conditions say, the one for listed clients first."""
    return tuple(one(services=services).judge(Stage.CONNECT, facts) for one in (DnsblListed, NotDnsblListed))  # type: ignore[return-value]


def test_a_listed_client_is_for_the_one_and_not_for_the_other() -> None:
    expected = ("", "bl.example.org lists client 192.0.2.7 (127.0.0.2)")
    assert verdicts(("bl.example.org",), client(Zone(bl=["127.0.0.2"]))) == expected


def test_a_client_that_is_not_listed_is_for_the_other() -> None:
    assert verdicts(("bl.example.org",), client(Zone())) == ("no DNSBL service lists client 192.0.2.7", "")


def test_without_services_nobody_is_listed() -> None:
    assert verdicts((), client(Zone(bl=["127.0.0.2"]))) == ("no DNSBL service is configured", "")


def test_the_address_is_looked_up_in_reverse() -> None:
    zone = Zone()
    DnsblListed(services=("bl.example.org",)).judge(Stage.CONNECT, client(zone))
    assert zone.asked == [LISTED]


def test_an_ipv6_address_is_looked_up_by_its_nibbles() -> None:
    name = reversed_name(ipaddress.ip_address("2001:db8::7"), "bl.example.org")
    assert name == "7" + ".0" * 23 + ".8.b.d.0.1.0.0.2.bl.example.org"


def test_after_the_first_service_that_lists_no_other_is_asked() -> None:
    zone = Zone(one=["127.0.0.2"], two=["127.0.0.2"])
    DnsblListed(services=("zero.example", "one.example", "two.example")).judge(Stage.CONNECT, client(zone))
    assert [name.split(".")[4] for name in zone.asked] == ["zero", "one"]


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (b"127.0.0.1", b"4"),
        (b"10.0.0.1", b"4"),
        (b"::1", b"6"),
        (b"fd00::1", b"6"),
        (b"::ffff:192.168.0.1", b"6"),
        (b"/run/x.sock", b"L"),
        (b"", b"U"),
        (b"7.2.0.192.evil", b"4"),
    ],
)
def test_local_clients_and_those_without_an_address_are_never_looked_up(address: bytes, family: bytes) -> None:
    zone = Zone()
    verdicts(("bl.example.org",), client(zone, address, family))
    assert zone.asked == []


@pytest.mark.parametrize("family", [b"4", b"L"])
def test_a_client_that_is_not_looked_up_is_not_listed(family: bytes) -> None:
    listed, not_listed = verdicts(("bl.example.org",), client(Zone(), b"10.0.0.1", family))
    assert listed
    assert not not_listed


@pytest.mark.parametrize("answer", ["127.255.255.254", "127.255.255.252", "192.0.2.1", "::1", "", "junk"])
def test_error_codes_and_what_is_no_answer_of_a_list_list_nobody(answer: str) -> None:
    assert verdicts(("bl.example.org",), client(Zone(bl=[answer])))[1] == ""


@pytest.mark.parametrize(
    ("answers", "is_listed"),
    [(["127.0.0.10"], True), (["127.0.0.11"], True), (["127.0.0.4"], False), (["127.0.0.4", "127.0.0.11"], True)],
)
def test_only_the_answers_that_are_expected_count(answers: list[str], is_listed: bool) -> None:
    reason = verdicts(("bl.example.org=127.0.0.10/31",), client(Zone(bl=answers)))[1]
    assert bool(reason) == is_listed


def test_the_names_to_be_looked_up_can_be_had_before() -> None:
    facts = client(Zone())
    names = DnsblListed(services=("bl.example.org", "two.example")).names(facts)
    assert names == (LISTED, "7.2.0.192.two.example")


@pytest.mark.parametrize(
    "text", ["bl.example.org", " BL.example.org. ", "bl.example.org = 127.0.0.2", "a_b.example=127.0.0.0/8"]
)
def test_a_service_can_be_written_so(text: str) -> None:
    assert parse_service(text).zone == text.split("=")[0].strip().rstrip(".").lower()


@pytest.mark.parametrize(
    "text",
    ["", "=", "org", "127.0.0.2", "bl..example", "bl.example=", "bl.example=x", "bl.example=::1", "a b.example"]
    + [
        "bl.example=127.0.0.2/24",
        "-a.example",
        "a." * 100 + "example",
        "x" * 64 + ".example",
        "bl.exa\nmple",
        "b\xfc.example",
    ],
)
def test_a_service_that_can_not_be_meant_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        DnsblListed(services=(text,))


def test_more_services_than_can_be_waited_for_are_refused() -> None:
    with pytest.raises(PatternError):
        NotDnsblListed(services=tuple(f"bl{number}.example" for number in range(SERVICES_MAX + 1)))


@given(st.binary(max_size=60), st.sampled_from([b"4", b"6", b"L"]), st.lists(st.text(max_size=20), max_size=3))
def test_exactly_one_of_the_two_takes_part_whatever_is_said(address: bytes, family: bytes, answers: list[str]) -> None:
    facts = client(Zone(bl=answers), address, family)
    assert sum(map(bool, verdicts(("bl.example.org",), facts))) == 1


@given(st.ip_addresses())
def test_a_name_that_is_looked_up_fits_into_the_dns(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    longest = parse_service("a" * 60 + "." + "b" * 60 + "." + "c" * 60 + ".exampl").zone
    assert len(reversed_name(address, longest)) <= 253
