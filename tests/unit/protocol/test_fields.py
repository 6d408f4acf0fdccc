"""Fields of payloads: strings with their NUL, integers, and peers' bytes for a human."""

from __future__ import annotations

import pytest

from mmgr.protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from mmgr.protocol.fields import leading_uint32, nothing, one_string, shown, strings, terminated, two_strings


def test_one_string_loses_its_nul() -> None:
    assert one_string(b"mx\0", "helo") == b"mx"


@pytest.mark.parametrize("payload", [b"", b"mx", b"mx\0mx", b"mx\0\0", b"\0\0"])
def test_what_is_not_exactly_one_string_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^helo: "):
        one_string(payload, "helo")


@pytest.mark.parametrize(
    ("payload", "parts"), [(b"\0", [b""]), (b"a\0", [b"a"]), (b"a\0b\0", [b"a", b"b"]), (b"a\0\0", [b"a", b""])]
)
def test_strings_come_without_their_nuls(payload: bytes, parts: list[bytes]) -> None:
    assert strings(payload, "mail") == parts


@pytest.mark.parametrize("payload", [b"", b"a", b"a\0b"])
def test_strings_without_the_last_nul_are_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^mail: the last string is not terminated"):
        strings(payload, "mail")


def test_two_strings_are_a_name_and_a_value() -> None:
    assert two_strings(b"Subject\0\0", "header") == (b"Subject", b"")


@pytest.mark.parametrize("payload", [b"\0", b"Subject\0", b"a\0b\0c\0"])
def test_another_number_of_strings_than_two_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="strings where two belong"):
        two_strings(payload, "header")


def test_an_integer_is_in_network_order_and_the_rest_follows() -> None:
    assert leading_uint32(b"\0\0\x01\x02rest", "change header") == (258, b"rest")


@pytest.mark.parametrize("payload", [b"", b"\0\0\0"])
def test_an_integer_that_is_cut_off_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="where an integer of four belongs"):
        leading_uint32(payload, "change header")


def test_an_empty_payload_is_nothing() -> None:
    nothing(b"", "abort")


def test_a_payload_where_none_belongs_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="abort: 2 bytes where none belong: hi"):
        nothing(b"hi", "abort")


def test_terminated_strings_each_have_their_nul() -> None:
    assert terminated(b"a", b"", b"b") == b"a\0\0b\0"


def test_a_string_with_a_nul_in_it_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        terminated(b"a", b"b\0c")


def test_our_own_faults_and_those_of_peers_are_never_the_same() -> None:
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"plain", "plain"),
        (b"a\r\nb\0", "a\\r\\nb\\x00"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"caf\xe9", "caf\\xe9"),
        (b"it's", "it's"),
        (b'"', '"'),
        (b"x" * 60, "x" * 60),
        (b"x" * 61, "x" * 60 + "..."),
    ],
)
def test_bytes_of_a_peer_are_shown_escaped_and_cut(data: bytes, text: str) -> None:
    assert shown(data) == text


def test_an_error_shows_no_more_of_a_peer_than_fits_a_line() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        one_string(b"\xff" * 100_000, "helo")
    assert len(str(refused.value)) < 400
