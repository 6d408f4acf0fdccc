"""Remote Network: who is local, and which list wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import PatternError
from mmgr.conditions.remote_network import RemoteNetwork


def reason(condition: RemoteNetwork, address: bytes, family: bytes = b"4") -> str:
    return condition.judge(Stage.CONNECT, Facts(client_address=address, client_family=family))


@pytest.mark.parametrize(("address", "family"), [(b"192.0.2.7", b"4"), (b"2001:db8::7", b"6")])
def test_a_client_of_the_internet_lets_the_milter_take_part(address: bytes, family: bytes) -> None:
    assert reason(RemoteNetwork(), address, family) == ""


@pytest.mark.parametrize(
    ("address", "family", "network"),
    [
        (b"127.0.0.1", b"4", "127.0.0.0/8"),
        (b"10.0.0.7", b"4", "10.0.0.0/8"),
        (b"::1", b"6", "::1/128"),
        (b"fe80::1%eth0", b"6", "fe80::/10"),
        (b"::ffff:192.168.1.1", b"6", "192.168.0.0/16"),
    ],
)
def test_a_client_of_this_machine_or_a_private_network_is_local(address: bytes, family: bytes, network: str) -> None:
    assert reason(RemoteNetwork(), address, family).endswith(f"is local ({network})")


def test_a_unix_socket_is_local() -> None:
    assert reason(RemoteNetwork(), b"/run/x.sock", b"L") == "the client is local: unix socket /run/x.sock"


@pytest.mark.parametrize(("address", "family"), [(b"", b"U"), (b"nonsense", b"4"), (b"", b"6"), (b"unknown", b"4")])
def test_a_client_without_a_known_address_is_not_remote(address: bytes, family: bytes) -> None:
    assert reason(RemoteNetwork(), address, family) == "the client's address is not known"


def test_a_network_of_ones_own_is_local() -> None:
    condition = RemoteNetwork(local_addresses=("192.0.2.0/24",))
    assert reason(condition, b"192.0.2.7") == "client 192.0.2.7 is local (192.0.2.0/24 of local_addresses)"


def test_a_private_network_can_be_remote() -> None:
    assert reason(RemoteNetwork(remote_addresses=("10.9.0.0/16",)), b"10.9.1.1") == ""


def test_what_is_remote_wins_over_what_is_local() -> None:
    condition = RemoteNetwork(local_addresses=("192.0.2.0/24",), remote_addresses=("192.0.2.128/25",))
    assert reason(condition, b"192.0.2.200") == ""


@pytest.mark.parametrize("key", ["local_addresses", "remote_addresses"])
def test_a_broken_network_is_refused(key: str) -> None:
    with pytest.raises(PatternError):
        RemoteNetwork(**{key: ("192.0.2.0/33",)})


def test_one_network_in_both_lists_is_refused() -> None:
    with pytest.raises(PatternError):
        RemoteNetwork(local_addresses=("192.0.2.0/24",), remote_addresses=("192.0.2.0/24",))


@given(st.binary(max_size=2000), st.sampled_from([b"4", b"6", b"L", b"U", b"", b"\0"]))
def test_any_address_is_decided(address: bytes, family: bytes) -> None:
    assert isinstance(reason(RemoteNetwork(), address, family), str)
