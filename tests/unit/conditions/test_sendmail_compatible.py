"""Sendmail Compatible: what is filled in behind Postfix, and that nothing is invented."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.sendmail_compatible import SendmailCompatible
from mmgr.protocol.macros import braced, encode_macros

POSTFIX = {
    b"v": b"Postfix 3.5.8",
    b"j": b"mx.example.com",
    b"_": b"client.example.net [192.0.2.7]",
    b"{daemon_name}": b"mx.example.com",
    b"{daemon_addr}": b"198.51.100.1",
}


def session(macros: dict[bytes, bytes] = POSTFIX, **others: object) -> Facts:
    facts = Facts(
        client_name=b"client.example.net",
        client_address=b"192.0.2.7",
        client_family=b"4",
        client_port=40000,
        macro=macros.get,
        sender=b"<ann@example.net>",
    )
    for name, value in others.items():
        setattr(facts, name, value)
    return facts


def filled(facts: Facts, stage: Stage = Stage.CONNECT) -> dict[bytes, bytes]:
    return dict(SendmailCompatible().macros(stage, facts))


def test_postfix_is_given_the_interface_of_sendmail_at_connect() -> None:
    found = filled(session())
    assert (found[b"{if_addr}"], found[b"{if_name}"]) == (b"198.51.100.1", b"mx.example.com")


def test_the_macros_of_the_client_follow_from_the_session() -> None:
    found = filled(session())
    assert {name: found[name] for name in found if name.startswith(b"{client")} == {
        b"{client_addr}": b"192.0.2.7",
        b"{client_name}": b"client.example.net",
        b"{client_port}": b"40000",
        b"{client_ptr}": b"client.example.net",
        b"{client_resolve}": b"OK",
    }


def test_what_the_mta_sent_is_left_alone() -> None:
    everything = {**POSTFIX, **filled(session()), **filled(session(), Stage.MAIL)}
    assert (filled(session(everything)), filled(session(everything), Stage.MAIL)) == ({}, {})


@pytest.mark.parametrize("version", [b"Sendmail 8.15.2", b"", None])
def test_another_mta_than_postfix_is_given_nothing(version: bytes | None) -> None:
    macros = {name: value for name, value in {**POSTFIX, b"v": version}.items() if value is not None}
    assert [filled(session(macros), stage) for stage in Stage] == [{}] * len(Stage)


def test_an_old_postfix_that_does_not_say_its_address_gets_no_interface_address() -> None:
    assert b"{if_addr}" not in filled(session({b"v": b"Postfix 3.1.0", b"j": b"mx.example.com"}))


def test_the_name_of_the_interface_is_the_hosts_where_the_daemon_has_another_name() -> None:
    assert filled(session({**POSTFIX, b"{daemon_name}": b"ORIGINATING"}))[b"{if_name}"] == b"mx.example.com"


def test_ipv6_addresses_are_written_as_sendmail_writes_them() -> None:
    facts = session({**POSTFIX, b"{daemon_addr}": b"2001:db8::1"}, client_address=b"2001:db8::7", client_family=b"6")
    found = filled(facts)
    assert (found[b"{if_addr}"], found[b"{client_addr}"]) == (b"IPv6:2001:db8::1", b"IPv6:2001:db8::7")


def test_a_client_without_a_verified_name_has_no_pointer_and_no_result() -> None:
    found = filled(session({b"v": b"Postfix"}, client_name=b"[192.0.2.7]"))
    assert found == {
        b"{client_addr}": b"192.0.2.7",
        b"{client_name}": b"unknown",
        b"{client_port}": b"40000",
        b"_": b"[192.0.2.7]",
    }


def test_the_validated_name_of_the_client_is_filled_in_where_postfix_was_told_not_to_send_it() -> None:
    macros = {name: value for name, value in POSTFIX.items() if name != b"_"}
    assert filled(session(macros))[b"_"] == b"client.example.net [192.0.2.7]"


def test_a_client_on_a_unix_socket_has_no_macros_of_a_client() -> None:
    found = filled(session(client_address=b"/run/x", client_family=b"L"))
    assert set(found) == {b"{if_addr}", b"{if_name}"}


def test_a_message_gets_a_queue_id_for_the_time_being() -> None:
    assert filled(session(), Stage.MAIL)[b"i"] == b"dummy-id"


def test_a_queue_id_that_is_there_stays() -> None:
    assert b"i" not in filled(session({**POSTFIX, b"i": b"4XyZ"}), Stage.MAIL)


@pytest.mark.parametrize(("sender", "address"), [(b"<ann@example.net>", b"ann@example.net"), (b"<>", b"")])
def test_the_senders_address_stands_without_brackets(sender: bytes, address: bytes) -> None:
    assert filled(session(sender=sender), Stage.MAIL)[b"{mail_addr}"] == address


@pytest.mark.parametrize("name", [b"{mail_host}", b"{mail_mailer}", b"{auth_ssf}", b"{auth_type}"])
def test_what_only_the_mta_knows_is_not_invented(name: bytes) -> None:
    assert name not in filled(session(), Stage.MAIL)


def test_it_never_stops() -> None:
    assert {SendmailCompatible().judge(stage, session()) for stage in Stage} == {""}


hostile = st.one_of(st.binary(max_size=40), st.sampled_from([b"\0", b"a\nb.example", b"x" * 5000, b"[", b"a.b\0"]))


@settings(max_examples=200, deadline=None)
@given(hostile, hostile, hostile, hostile, st.sampled_from([b"4", b"6", b"L"]))
def test_whatever_the_mta_says_the_macros_can_be_sent(
    name: bytes, address: bytes, value: bytes, sender: bytes, family: bytes
) -> None:
    macros = {b"v": b"Postfix", b"{daemon_addr}": value, b"{daemon_name}": value, b"j": name}
    facts = session(macros, client_name=name, client_address=address, client_family=family, sender=sender)
    for stage in Stage:
        found = filled(facts, stage)
        assert encode_macros(ord("C"), found.items()).count(b"\0") == 2 * len(found)
        assert all(braced(each) == each for each in found)
