"""The resolver against a real name server on loopback that answers well, badly or not at all."""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from mmgr.conditions.base import Stage
from mmgr.conditions.dnsbl import NotDnsblListed
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import PatternError
from mmgr.resolver import BREAKER_PAUSE_S, NameServer, Resolver, parse_name_server, system_name_servers

Behaviour = Callable[[dns.message.Message, bool], Sequence[bytes]]
"""A query, and whether it came by TCP; what is sent back."""

SHORT_S = 0.3
"""A deadline for name servers that are silent."""


class NameServerHere:
    """Answers on loopback, by UDP and TCP, as ``behave`` says; keeps the names that were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.behave: Behaviour = lambda query, is_tcp: ()
        self._udp, self._listener = _both()
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer: tuple[str, int] = ("", 0)
        self._wake = os.pipe()
        self.spec = f"127.0.0.1:{self._udp.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.write(self._wake[1], b"x")
        self._thread.join()
        for each in (self._udp, self._listener, self.other):
            each.close()
        for descriptor in self._wake:
            os.close(descriptor)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._udp, self._listener, self._wake[0]], [], [])
            if self._wake[0] in ready:
                return
            if self._udp in ready:
                data, self.peer = self._udp.recvfrom(65535)
                for reply in self._answers(data, False):
                    self._udp.sendto(reply, self.peer)
            if self._listener in ready:
                connection, _ = self._listener.accept()
                with connection:
                    data = connection.recv(65535)
                    for reply in self._answers(data[2:], True):
                        connection.sendall(struct.pack("!H", len(reply)) + reply)

    def _answers(self, data: bytes, is_tcp: bool) -> Sequence[bytes]:
        query = dns.message.from_wire(data)
        self.asked.append(query.question[0].name.to_text(omit_final_dot=True))
        return self.behave(query, is_tcp)


def _both() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket of the same port."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind(udp.getsockname())
        except OSError:
            udp.close()
            listener.close()
            continue
        listener.listen()
        return udp, listener


def answer(query: dns.message.Message, *addresses: str, ttl: int = 300) -> dns.message.Message:
    reply = dns.message.make_response(query)
    if addresses:
        reply.answer.append(dns.rrset.from_text(query.question[0].name, ttl, "IN", "A", *addresses))
    return reply


def always(*addresses: str, ttl: int = 300) -> Behaviour:
    return lambda query, is_tcp: [answer(query, *addresses, ttl=ttl).to_wire()]


def refused(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
    reply = answer(query)
    reply.set_rcode(dns.rcode.SERVFAIL)
    return [reply.to_wire()]


def silence(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
    return ()


class Clock:
    """A time that passes as a test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def there() -> Iterator[NameServerHere]:
    server = NameServerHere()
    yield server
    server.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(there: NameServerHere, clock: Clock) -> Resolver:
    return Resolver((there.spec,), clock=clock)


@pytest.fixture
def hasty(there: NameServerHere, clock: Clock) -> Resolver:
    return Resolver((there.spec,), timeout_s=SHORT_S, clock=clock)


# ---- answers


def test_a_name_has_its_addresses(there: NameServerHere, resolver: Resolver) -> None:
    there.behave = always("127.0.0.2", "127.0.0.10")
    assert sorted(resolver.look_up("7.2.0.192.bl.example.org")) == ["127.0.0.10", "127.0.0.2"]


def test_a_name_that_does_not_exist_has_none(there: NameServerHere, resolver: Resolver) -> None:
    def nowhere(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return [reply.to_wire()]

    there.behave = nowhere
    assert resolver.look_up("7.2.0.192.bl.example.org") == ()


def test_an_alias_is_followed(there: NameServerHere, resolver: Resolver) -> None:
    def alias(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "CNAME", "b.example."))
        reply.answer.append(dns.rrset.from_text("b.example.", 300, "IN", "A", "127.0.0.3"))
        return [reply.to_wire()]

    there.behave = alias
    assert resolver.look_up("a.example") == ("127.0.0.3",)


def test_an_alias_of_itself_ends(there: NameServerHere, resolver: Resolver) -> None:
    def circle(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query)
        name = query.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 300, "IN", "CNAME", name.to_text()))
        return [reply.to_wire()]

    there.behave = circle
    assert resolver.look_up("a.example") == ()


def test_addresses_of_other_names_in_an_answer_do_not_count(there: NameServerHere, resolver: Resolver) -> None:
    def beside(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query)
        reply.answer.append(dns.rrset.from_text("other.example.", 300, "IN", "A", "127.0.0.2"))
        return [reply.to_wire()]

    there.behave = beside
    assert resolver.look_up("a.example") == ()


def test_a_truncated_answer_is_fetched_by_tcp(there: NameServerHere, resolver: Resolver) -> None:
    def cut(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query, "127.0.0.2") if is_tcp else answer(query)
        if not is_tcp:
            reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    there.behave = cut
    assert resolver.look_up("a.example") == ("127.0.0.2",)


def test_a_truncated_answer_that_can_not_be_parsed_is_fetched_by_tcp(there: NameServerHere, resolver: Resolver) -> None:
    def cut(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        wire = answer(query, "127.0.0.2").to_wire()
        return [wire] if is_tcp else [wire[:2] + bytes((wire[2] | 0x02,)) + wire[3:-3]]

    there.behave = cut
    assert resolver.look_up("a.example") == ("127.0.0.2",)


# ---- what is no answer


def _garbage(query: dns.message.Message) -> list[bytes]:
    good = answer(query, "127.0.0.66").to_wire()
    other = dns.message.make_query("other.example", "A")
    other.id = query.id
    wrong_id = bytes((good[0] ^ 0x55,)) + good[1:]
    return [
        b"",
        b"\0",
        good[:2],
        good[:11],
        good[:-2],
        wrong_id,
        query.to_wire(),
        answer(other, "127.0.0.66").to_wire(),
    ]


@pytest.mark.parametrize("number", range(8))
def test_garbage_before_the_answer_is_thrown_away(there: NameServerHere, resolver: Resolver, number: int) -> None:
    there.behave = lambda query, is_tcp: [_garbage(query)[number], answer(query, "127.0.0.2").to_wire()]
    assert resolver.look_up("a.example") == ("127.0.0.2",)


def test_an_answer_from_elsewhere_is_thrown_away(there: NameServerHere, resolver: Resolver) -> None:
    def spoofed(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        there.other.sendto(answer(query, "127.0.0.66").to_wire(), there.peer)
        return [answer(query, "127.0.0.2").to_wire()]

    there.behave = spoofed
    assert resolver.look_up("a.example") == ("127.0.0.2",)


def test_a_flood_of_garbage_does_not_outlast_the_deadline(there: NameServerHere, hasty: Resolver) -> None:
    there.behave = lambda query, is_tcp: [b"junk"] * 200
    assert hasty.look_up("a.example") == ()


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "x" * 64 + ".example", "a." * 200, "\udcff.example", "\\", "\\300.example", "a\0b\n.example"],
)
def test_what_is_no_name_has_no_addresses(there: NameServerHere, hasty: Resolver, name: str) -> None:
    there.behave = always()
    assert hasty.look_up(name) == ()


# ---- failures


def test_a_silent_name_server_is_asked_twice_and_then_given_up(there: NameServerHere, hasty: Resolver) -> None:
    assert hasty.look_up("a.example") == ()
    assert there.asked == ["a.example", "a.example"]


def test_a_name_server_that_can_not_tell_is_not_waited_for(there: NameServerHere) -> None:
    there.behave = refused
    assert Resolver((there.spec,), timeout_s=60).look_up("a.example") == ()


@pytest.mark.parametrize(("behaviour", "is_so"), [(silence, True), (refused, True), (always(), False)])
def test_a_name_that_nobody_answered_for_is_another_matter_than_one_without_addresses(
    there: NameServerHere, hasty: Resolver, behaviour: Behaviour, is_so: bool
) -> None:
    there.behave = behaviour
    assert (hasty.look_up("a.example"), hasty.is_unanswered("a.example")) == ((), is_so)


def test_where_nobody_listens_nobody_is_waited_for() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert Resolver((f"127.0.0.1:{port}",), timeout_s=60).look_up("a.example") == ()


def test_the_next_name_server_is_asked_where_one_can_not_tell(there: NameServerHere) -> None:
    second = NameServerHere()
    there.behave, second.behave = refused, always("127.0.0.2")
    try:
        assert Resolver((there.spec, second.spec), timeout_s=60).look_up("a.example") == ("127.0.0.2",)
    finally:
        second.close()


def test_a_lost_query_is_sent_again(there: NameServerHere, resolver: Resolver) -> None:
    there.behave = lambda query, is_tcp: always("127.0.0.2")(query, is_tcp) if len(there.asked) > 1 else ()
    assert Resolver((there.spec,), timeout_s=2).look_up("a.example") == ("127.0.0.2",)


def test_a_connection_that_ends_is_no_answer(there: NameServerHere, hasty: Resolver) -> None:
    def cut(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query)
        reply.flags |= dns.flags.TC
        return () if is_tcp else [reply.to_wire()]

    there.behave = cut
    assert hasty.look_up("a.example") == ()


# ---- several names


def test_several_names_are_asked_before_the_first_is_answered(there: NameServerHere) -> None:
    def last(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        held.append(query)
        return [answer(each, "127.0.0.2").to_wire() for each in held] if len(held) == 3 else ()

    held: list[dns.message.Message] = []
    there.behave = last
    names = ("a.example", "b.example", "c.example")
    found = Resolver((there.spec,), timeout_s=60).look_up_all(names)
    assert found == dict.fromkeys(names, ("127.0.0.2",))


def test_one_silent_name_does_not_cost_the_others_their_answer(there: NameServerHere, hasty: Resolver) -> None:
    there.behave = lambda query, is_tcp: () if "silent" in there.asked[-1] else always("127.0.0.2")(query, is_tcp)
    assert hasty.look_up_all(("silent.example", "b.example")) == {"silent.example": (), "b.example": ("127.0.0.2",)}


def test_zones_that_belong_together_are_asked_at_once(there: NameServerHere) -> None:
    there.behave = always()
    resolver = Resolver((there.spec,), zones=("one.example", "two.example"))
    resolver.look_up("7.2.0.192.one.example")
    there.behave = silence
    resolver.look_up("7.2.0.192.two.example")
    assert sorted(there.asked) == ["7.2.0.192.one.example", "7.2.0.192.two.example"]


def test_a_condition_gets_its_answers_from_the_resolver(there: NameServerHere, resolver: Resolver) -> None:
    there.behave = always("127.0.0.2")
    facts = Facts(client_address=b"192.0.2.7", client_family=b"4", look_up=resolver.look_up)
    reason = NotDnsblListed(services=("bl.example.org",)).judge(Stage.CONNECT, facts)
    assert reason == "bl.example.org lists client 192.0.2.7 (127.0.0.2)"


# ---- the cache


@pytest.mark.parametrize("addresses", [("127.0.0.2",), ()])
@pytest.mark.parametrize(("ttl", "kept_s"), [(300, 299), (0, 0.9), (86400, 3599)])
def test_an_answer_is_kept_within_bounds(
    there: NameServerHere, resolver: Resolver, clock: Clock, addresses: tuple[str, ...], ttl: int, kept_s: float
) -> None:
    there.behave = _with_soa(addresses, ttl)
    resolver.look_up("a.example")
    clock.now += kept_s
    resolver.look_up("A.Example.")
    assert len(there.asked) == 1


@pytest.mark.parametrize("addresses", [("127.0.0.2",), ()])
@pytest.mark.parametrize(("ttl", "gone_s"), [(300, 301), (0, 1.1), (86400, 3601)])
def test_an_answer_is_not_kept_beyond_its_bounds(
    there: NameServerHere, resolver: Resolver, clock: Clock, addresses: tuple[str, ...], ttl: int, gone_s: float
) -> None:
    there.behave = _with_soa(addresses, ttl)
    resolver.look_up("a.example")
    clock.now += gone_s
    resolver.look_up("a.example")
    assert len(there.asked) == 2


def _with_soa(addresses: tuple[str, ...], ttl: int) -> Behaviour:
    def behave(query: dns.message.Message, is_tcp: bool) -> Sequence[bytes]:
        reply = answer(query, *addresses, ttl=ttl)
        if not addresses:
            soa = f"ns.example. root.example. 1 2 3 4 {ttl}"
            reply.authority.append(dns.rrset.from_text("example.", 86400, "IN", "SOA", soa))
        return [reply.to_wire()]

    return behave


def test_the_oldest_answers_go_when_there_are_too_many(there: NameServerHere) -> None:
    there.behave = always("127.0.0.2")
    resolver = Resolver((there.spec,), cache_entries=2)
    for name in ("a.example", "b.example", "c.example", "c.example", "b.example", "a.example"):
        resolver.look_up(name)
    assert there.asked == ["a.example", "b.example", "c.example", "a.example"]


def test_a_name_that_nobody_answered_for_is_left_alone_for_a_moment(there: NameServerHere, hasty: Resolver) -> None:
    hasty.look_up("a.example")
    asked = len(there.asked)
    there.behave = always("127.0.0.2")
    assert (hasty.look_up("a.example"), len(there.asked)) == ((), asked)


# ---- the breaker


def _fail(resolver: Resolver, zone: str, times: int) -> None:
    for number in range(times):
        resolver.look_up(f"{number}.2.0.192.{zone}")


def test_a_zone_that_stays_silent_is_left_alone(there: NameServerHere, hasty: Resolver) -> None:
    there.behave = refused
    _fail(hasty, "bl.example.org", 3)
    there.asked.clear()
    hasty.look_up("9.2.0.192.bl.example.org")
    assert there.asked == []


def test_a_zone_that_is_left_alone_is_tried_again_after_a_while(
    there: NameServerHere, hasty: Resolver, clock: Clock
) -> None:
    there.behave = refused
    _fail(hasty, "bl.example.org", 3)
    clock.now += BREAKER_PAUSE_S + 1
    there.behave = always("127.0.0.2")
    assert hasty.look_up("9.2.0.192.bl.example.org") == ("127.0.0.2",)


def test_other_zones_are_asked_meanwhile(there: NameServerHere, hasty: Resolver) -> None:
    there.behave = refused
    _fail(hasty, "bl.example.org", 3)
    there.behave = always("127.0.0.2")
    assert hasty.look_up("9.2.0.192.other.example.org") == ("127.0.0.2",)


def test_an_answer_between_failures_keeps_a_zone_in_use(there: NameServerHere, hasty: Resolver) -> None:
    for number, behave in enumerate((refused, refused, always(), refused, refused)):
        there.behave = behave
        hasty.look_up(f"{number}.2.0.192.bl.example.org")
    there.behave = always("127.0.0.2")
    assert hasty.look_up("9.2.0.192.bl.example.org") == ("127.0.0.2",)


def test_addresses_of_both_families_are_of_one_zone(there: NameServerHere, hasty: Resolver) -> None:
    there.behave = refused
    _fail(hasty, "bl.example.org", 2)
    hasty.look_up("1.2." + "0." * 30 + "bl.example.org")
    there.asked.clear()
    hasty.look_up("9.2.0.192.bl.example.org")
    assert there.asked == []


def test_a_silent_zone_is_told_once_until_it_answers(
    there: NameServerHere, hasty: Resolver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    there.behave = refused
    with caplog.at_level(logging.WARNING):
        for number in range(6):
            hasty.look_up(f"{number}.2.0.192.bl.example.org")
            clock.now += BREAKER_PAUSE_S + 1
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert told[0].startswith("dnsbl-unreachable zone=bl.example.org failures=3 ")


# ---- name servers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", NameServer("192.0.2.53")),
        ("192.0.2.53:5353", NameServer("192.0.2.53", 5353)),
        ("2001:db8::53", NameServer("2001:db8::53")),
        ("[2001:db8::53]", NameServer("2001:db8::53")),
        ("[2001:db8::53]:5353", NameServer("2001:db8::53", 5353)),
        ("fe80::1%eth0", NameServer("fe80::1%eth0")),
    ],
)
def test_a_name_server_can_be_written_so(text: str, expected: NameServer) -> None:
    assert parse_name_server(text) == expected


@pytest.mark.parametrize("text", ["", "ns.example.com", "192.0.2.53:0", "192.0.2.53:99999", "[192.0.2", "192.0.2.53:x"])
def test_what_is_no_address_is_no_name_server(text: str) -> None:
    with pytest.raises(PatternError):
        Resolver((text,))


def test_the_systems_name_servers_are_those_of_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(
        b"# nameserver 1\nsearch a\nnameserver 192.0.2.1\nnameserver x\nnameserver\n\xff\nnameserver ::1 # x\n"
    )
    assert system_name_servers(str(path)) == (NameServer("192.0.2.1"), NameServer("::1"))


def test_without_resolv_conf_this_machine_is_asked(tmp_path: Path) -> None:
    assert system_name_servers(str(tmp_path / "none")) == (NameServer("127.0.0.1"),)


WITHOUT = """
import sys
sys.modules["dns"] = None
from mmgr.resolver import Resolver, ResolverUnavailable
resolver = Resolver(("127.0.0.1",))
try:
    resolver.look_up("a.example")
except ResolverUnavailable as error:
    print(error)
"""


def test_without_dnspython_the_error_says_how_to_get_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "pip install dnspython" in done.stdout


def test_dnspython_is_not_imported_before_a_name_is_looked_up() -> None:
    code = "import sys, mmgr.resolver; mmgr.resolver.Resolver(('127.0.0.1',)); print('dns' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
