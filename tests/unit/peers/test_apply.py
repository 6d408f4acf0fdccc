"""Edits applied to a message, with the numbering that was seen with Postfix 3.7."""

from __future__ import annotations

import pytest

from mmgr.peers.apply import apply_edits, quarantine_reason
from mmgr.peers.mail import Message
from mmgr.protocol.replies import (
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    DelRcpt,
    Edit,
    InsHeader,
    Quarantine,
    ReplBody,
)

MESSAGE = Message(
    sender=b"<s@a>",
    recipients=(b"<r@b>", b"<q@b>"),
    headers=((b"X-T", b" 1"), (b"Subject", b" hi"), (b"x-t", b" 2"), (b"X-T", b" 3")),
    chunks=(b"old\r\n",),
)


def headers(*edits: Edit, own_headers: int = 0) -> list[bytes]:
    """The headers after the edits, as lines."""
    changed = apply_edits(MESSAGE, edits, False, own_headers)
    return [name + b":" + value for name, value in changed.headers]


def values(*edits: Edit) -> list[bytes]:
    return [line.partition(b":")[2].strip() for line in headers(*edits)]


def test_no_edit_changes_nothing() -> None:
    assert apply_edits(MESSAGE, [], False) == MESSAGE


def test_an_added_header_is_the_last() -> None:
    assert headers(AddHeader(b"N", b"v"))[-1] == b"N: v"


@pytest.mark.parametrize(("index", "place"), [(0, 0), (1, 1), (4, 4), (99, 4)])
def test_an_insertion_counts_all_headers_from_0(index: int, place: int) -> None:
    assert headers(InsHeader(index, b"N", b"v"))[place] == b"N: v"


@pytest.mark.parametrize(("index", "place"), [(0, 0), (1, 0), (2, 1)])
def test_an_insertion_counts_the_mtas_own_received(index: int, place: int) -> None:
    assert headers(InsHeader(index, b"N", b"v"), own_headers=1)[place] == b"N: v"


def test_of_two_insertions_on_top_the_later_one_is_the_first() -> None:
    assert values(InsHeader(0, b"N", b"a"), InsHeader(0, b"N", b"b"))[:2] == [b"b", b"a"]


@pytest.mark.parametrize(
    ("index", "expected"), [(0, b"n hi 2 3"), (1, b"n hi 2 3"), (2, b"1 hi n 3"), (3, b"1 hi 2 n")]
)
def test_a_change_counts_headers_of_that_name_whatever_its_case(index: int, expected: bytes) -> None:
    assert values(ChgHeader(index, b"x-T", b"n")) == expected.split()


def test_a_change_of_a_missing_header_appends_it() -> None:
    assert headers(ChgHeader(4, b"X-T", b"n"))[-1] == b"X-T: n"
    assert headers(ChgHeader(1, b"New", b"n"))[-1] == b"New: n"


def test_a_deletion_of_a_missing_header_does_nothing() -> None:
    assert values(ChgHeader(4, b"X-T", b""), ChgHeader(1, b"New", b"")) == [b"1", b"hi", b"2", b"3"]


def test_a_deletion_renumbers_at_once() -> None:
    assert values(ChgHeader(1, b"X-T", b""), ChgHeader(2, b"X-T", b"")) == [b"hi", b"2"]


def test_values_with_leading_space_are_kept_as_they_are() -> None:
    changed = apply_edits(MESSAGE, [AddHeader(b"N", b"\tv"), InsHeader(0, b"M", b"w")], True)
    assert (changed.headers[0], changed.headers[-1]) == ((b"M", b"w"), (b"N", b"\tv"))


def test_recipients_are_added_once_and_deleted_with_or_without_brackets() -> None:
    edits: list[Edit] = [
        AddRcpt(b"n@b"),
        AddRcptPar(b"<m@b>", b"NOTIFY=NEVER"),
        AddRcpt(b"<n@b>"),
        DelRcpt(b"r@b"),
        DelRcpt(b"<Q@b>"),
    ]
    assert apply_edits(MESSAGE, edits, False).recipients == (b"<q@b>", b"<n@b>", b"<m@b>")


def test_a_recipient_that_is_there_twice_is_deleted_twice() -> None:
    message = Message(recipients=(b"<r@b>", b"r@b"))
    assert apply_edits(message, [DelRcpt(b"r@b")], False).recipients == ()


def test_the_sender_comes_with_its_parameters() -> None:
    changed = apply_edits(MESSAGE, [ChgFrom(b"n@a", b"RET=HDRS ENVID=1")], False)
    assert (changed.sender, changed.sender_parameters) == (b"<n@a>", (b"RET=HDRS", b"ENVID=1"))


def test_body_chunks_make_up_the_new_body() -> None:
    assert apply_edits(MESSAGE, [ReplBody(b"a"), ReplBody(b"b")], False).body == b"ab"


def test_one_empty_chunk_empties_the_body() -> None:
    assert apply_edits(MESSAGE, [ReplBody(b"")], False).body == b""


def test_quarantine_changes_nothing_and_its_last_reason_counts() -> None:
    edits = [Quarantine(b"one"), Quarantine(b"two")]
    assert apply_edits(MESSAGE, edits, False) == MESSAGE
    assert quarantine_reason(edits) == b"two"
    assert quarantine_reason([]) is None
