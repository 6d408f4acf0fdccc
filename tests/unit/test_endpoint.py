"""``mmgr.endpoint``: specs as text, the faults they can have, and the addresses behind them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmgr.endpoint import MAX_PATH_BYTES, Endpoint, connect_addresses, listen_addresses, parse_endpoint
from mmgr.errors import EndpointError


def problem_of(text: str) -> str:
    with pytest.raises(EndpointError) as caught:
        parse_endpoint(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/x.sock", Endpoint("unix", path="/run/x.sock")),
        ("local:/run/x.sock", Endpoint("unix", path="/run/x.sock")),
        ("unix:run/x.sock", Endpoint("unix", path="run/x.sock")),
        ("unix:/run/a:b@c,d", Endpoint("unix", path="/run/a:b@c,d")),
        ("unix:/run/" + "x" * 102, Endpoint("unix", path="/run/" + "x" * 102)),
        ("inet:10025", Endpoint("inet", port=10025)),
        ("inet:1@localhost", Endpoint("inet", host="localhost", port=1)),
        ("inet:65535@mx.example.net", Endpoint("inet", host="mx.example.net", port=65535)),
        ("inet:25@[127.0.0.1]", Endpoint("inet", host="127.0.0.1", port=25)),
        ("inet:25@127.0.0.1", Endpoint("inet", host="127.0.0.1", port=25)),
        ("inet6:25", Endpoint("inet6", port=25)),
        ("inet6:25@[::1]", Endpoint("inet6", host="::1", port=25)),
        ("inet6:25@::1", Endpoint("inet6", host="::1", port=25)),
        ("inet6:25@localhost", Endpoint("inet6", host="localhost", port=25)),
        ("inet6:25@[fe80::1%eth0]", Endpoint("inet6", host="fe80::1%eth0", port=25)),
        ("inet:0025", Endpoint("inet", port=25)),
    ],
)
def test_a_good_spec_gives_its_parts(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "'' has no colon"),
        ("/run/x.sock", "has no colon"),
        ("10025@localhost", "has no colon"),
        ("tcp:10025", "protocol must be unix, local, inet or inet6, not 'tcp'"),
        (":10025", "protocol must be unix, local, inet or inet6, not ''"),
        ("UNIX:/run/x", "not 'UNIX'"),
        ("unix:", "the path is empty"),
        ("local:", "the path is empty"),
        ("unix:/run/\0x", "the path has a NUL byte"),
        ("unix:/run/\nx", "the path has a control character"),
        ("unix: /run/x", "begins or ends with white space"),
        ("unix:/run/x\t", "control character"),
        ("unix:/run/" + "x" * 103, "the path is 108 bytes long, a unix socket takes 107"),
        ("unix:/run/" + "\u00fc" * 60, "the path is 125 bytes long"),
        ("unix:/run/\ud800", "can't be encoded"),
        ("inet:", "the port is missing"),
        ("inet:@localhost", "the port is missing"),
        ("inet:smtp", "port 'smtp' is not a number"),
        ("inet:-1", "port '-1' is not a number"),
        ("inet: 25", "port ' 25' is not a number"),
        ("inet:\u0662\u0665", "is not a number"),
        ("inet:25:26", "port '25:26' is not a number"),
        ("inet:0", "port '0' is not between 1 and 65535"),
        ("inet:65536", "port '65536' is not between 1 and 65535"),
        ("inet:" + "9" * 10000, "is not between 1 and 65535"),
        ("inet:25@", "the host after '@' is empty"),
        ("inet:25@[]", "between '[' and ']' is empty"),
        ("inet:25@[127.0.0.1", "']' is missing"),
        ("inet6:25@[::1", "']' is missing"),
        ("inet6:25@[::1]x", "'x' stands behind ']'"),
        ("inet:25@a b", "'a b' is neither a host name nor an address"),
        ("inet:25@*", "'*' is neither a host name nor an address"),
        ("inet:25@a@b", "'a@b' is neither a host name nor an address"),
        ("inet:25@b\u00fccher.example", "is neither a host name nor an address"),
        ("inet:25@" + "x" * 254, "the host is longer than 253 characters"),
        ("inet:25@[::1]", "::1 is an IPv6 address; write inet6: for it"),
        ("inet6:25@127.0.0.1", "127.0.0.1 is an IPv4 address; write inet: for it"),
        ("inet6:25@[::1::2]", "'::1::2' is not an IPv6 address"),
        ("inet:25@mx:26", "'mx:26' is not an IPv6 address"),
        ("inet:25@127.0.0.1%lo", "is neither a host name nor an address"),
    ],
)
def test_a_bad_spec_is_refused_with_the_part_that_is_wrong(text: str, part: str) -> None:
    assert part in problem_of(text)


def test_a_huge_spec_is_cut_in_the_message() -> None:
    assert len(problem_of("unix:/" + "x" * 100000)) < 200


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("local:/run/x.sock", "unix:/run/x.sock"),
        ("inet:10025", "inet:10025"),
        ("inet:25@[127.0.0.1]", "inet:25@127.0.0.1"),
        ("inet:25@localhost", "inet:25@localhost"),
        ("inet6:25", "inet6:25"),
        ("inet6:25@::1", "inet6:25@[::1]"),
        ("inet6:25@localhost", "inet6:25@localhost"),
    ],
)
def test_the_text_of_an_endpoint_is_its_canonical_spec(text: str, canonical: str) -> None:
    assert str(parse_endpoint(text)) == canonical


@given(st.text() | st.from_regex(r"(unix|inet6?):[^\n]{0,40}(@\[?[0-9a-f:.%]{0,20}\]?)?", fullmatch=True))
@example("inet6:1@[::ffff:1.2.3.4]")
def test_any_text_parses_to_what_its_canonical_spec_parses_to_or_is_refused(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except EndpointError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "family"),
    [("unix:x", socket.AF_UNIX), ("inet:1", socket.AF_INET), ("inet6:1", socket.AF_INET6)],
)
def test_the_family_is_that_of_the_kind(text: str, family: int) -> None:
    assert parse_endpoint(text).family == family


def test_without_a_host_a_connection_goes_to_the_loopback_address() -> None:
    assert connect_addresses(parse_endpoint("inet:25")) == [("127.0.0.1", 25)]


def test_without_a_host_a_listener_takes_every_interface() -> None:
    assert listen_addresses(parse_endpoint("inet:25")) == [("0.0.0.0", 25)]


def test_without_a_host_inet6_connects_to_the_loopback_address() -> None:
    assert connect_addresses(parse_endpoint("inet6:25")) == [("::1", 25, 0, 0)]


def test_without_a_host_inet6_listens_on_every_interface() -> None:
    assert listen_addresses(parse_endpoint("inet6:25")) == [("::", 25, 0, 0)]


def test_the_address_of_a_unix_socket_is_its_path() -> None:
    endpoint = parse_endpoint("unix:run/x.sock")
    assert (connect_addresses(endpoint), listen_addresses(endpoint)) == (["run/x.sock"], ["run/x.sock"])


def test_an_address_is_used_as_it_stands() -> None:
    assert connect_addresses(parse_endpoint("inet:25@192.0.2.7")) == [("192.0.2.7", 25)]


def test_a_path_of_the_greatest_length_can_be_bound(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = str(tmp_path_factory.mktemp("s"))
    endpoint = parse_endpoint(f"unix:{directory}/{'x' * (MAX_PATH_BYTES - len(directory) - 1)}")
    with socket.socket(endpoint.family, socket.SOCK_STREAM) as listener:
        listener.bind(listen_addresses(endpoint)[0])


def test_each_address_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 25))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [entry, entry])
    assert connect_addresses(parse_endpoint("inet:25@localhost")) == [("127.0.0.1", 25)]


def test_the_resolver_is_asked_for_the_family_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **options: asked.append(options["family"]) or [])
    connect_addresses(parse_endpoint("inet6:25@localhost"))
    assert asked == [socket.AF_INET6]


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), OSError(24, "Too many open files")]
)
def test_a_failure_of_the_resolver_is_an_endpoint_error(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(EndpointError, match=f"inet:25@mx.example: host mx.example can't be resolved: {error.strerror}"):
        connect_addresses(parse_endpoint("inet:25@mx.example"))


def test_a_name_that_the_resolver_can_not_encode_is_an_endpoint_error() -> None:
    with pytest.raises(EndpointError, match="can't be resolved"):
        connect_addresses(parse_endpoint("inet:25@" + "x" * 64 + ".example"))
