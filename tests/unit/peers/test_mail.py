"""Mail files become headers, body and envelope without losing a byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.peers.mail import addresses, in_brackets, parse_mail, with_crlf, without_brackets, without_one_space


def test_headers_end_at_the_empty_line() -> None:
    assert parse_mail(b"A: 1\nB:2\n\nbody\n\nmore\n") == (
        ((b"A", b" 1"), (b"B", b"2")),
        b"body\r\n\r\nmore\r\n",
    )


def test_crlf_and_lf_files_are_the_same() -> None:
    text = b"A: 1\n\tfolded\n\nbody\n"
    assert parse_mail(text) == parse_mail(text.replace(b"\n", b"\r\n"))


def test_folding_is_kept_with_lf_and_its_white_space() -> None:
    assert parse_mail(b"A: one\r\n\ttwo\r\n  three\r\n\r\n")[0] == ((b"A", b" one\n\ttwo\n  three"),)


def test_the_mbox_line_is_dropped_at_the_start_only() -> None:
    headers, body = parse_mail(b"From a@b Mon\nA: 1\n\nFrom here\n")
    assert (headers, body) == (((b"A", b" 1"),), b"From here\r\n")


def test_a_line_that_is_no_header_begins_the_body() -> None:
    assert parse_mail(b"A: 1\nno header\n") == (((b"A", b" 1"),), b"no header\r\n")


@pytest.mark.parametrize("data", [b"", b"\n", b"From x\n"])
def test_a_file_without_anything_is_an_empty_message(data: bytes) -> None:
    assert parse_mail(data) == ((), b"")


def test_bytes_that_are_no_utf_8_are_kept() -> None:
    assert parse_mail(b"S: \xff\x80\n\n\xfe") == (((b"S", b" \xff\x80"),), b"\xfe\r\n")


@given(st.binary())
def test_any_file_is_read_and_its_body_has_whole_lines(data: bytes) -> None:
    _, body = parse_mail(data)
    assert not body or body.endswith(b"\r\n")


def test_all_addresses_of_all_headers_of_a_name_are_found() -> None:
    headers = (
        (b"To", b' "A, B" <a@b>, c@d'),
        (b"Cc", b" x@y"),
        (b"tO", b" Friends: e@f,\n\tg@h;"),
    )
    assert addresses(headers, b"To") == (b"<a@b>", b"<c@d>", b"<e@f>", b"<g@h>")


def test_an_address_that_is_no_utf_8_keeps_its_bytes() -> None:
    assert addresses(((b"To", b" <\xffa@b>"),), b"To") == (b"<\xffa@b>",)


def test_brackets_and_spaces() -> None:
    assert [in_brackets(b"a"), in_brackets(b"<a>"), in_brackets(b"")] == [b"<a>", b"<a>", b"<>"]
    assert [without_brackets(b"<a>"), without_brackets(b"a")] == [b"a", b"a"]
    assert [without_one_space(value) for value in (b" a", b"  a", b"\ta", b"")] == [b"a", b" a", b"\ta", b""]
    assert with_crlf(b"a\nb\r\nc\r") == b"a\r\nb\r\nc\r"
