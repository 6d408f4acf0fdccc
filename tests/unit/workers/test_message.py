"""Edits of several children, told to the MTA as those of one: against models of the MTAs (tests/support/model.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.protocol.commands import Header, encode_command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import PAYLOAD
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
    decode_reply,
)
from tests.support.model import HeaderEdit, Pair, PostfixHeaders, SendmailHeaders
from workers.message import INDEX_MAX, Message, check_edit
from workers.spool import BodySpool

Model = Union[type[PostfixHeaders], type[SendmailHeaders]]

often = settings(max_examples=50, deadline=None)
both_mtas = pytest.mark.parametrize("model", [PostfixHeaders, SendmailHeaders])

names = st.sampled_from([b"X-A", b"x-a", b"X-B", b"Received", b"Subject"])
values = st.sampled_from([b"1", b"2", b" 3"])
headers = st.lists(st.tuples(names, values), max_size=7)
edits = st.one_of(
    st.builds(AddHeader, names, values | st.just(b"")),
    st.builds(InsHeader, st.integers(0, 10), names, values),
    st.builds(ChgHeader, st.integers(0, 5), names, values | st.just(b"")),
    st.builds(ChgHeader, st.integers(0, 5), names, st.just(b"")),
)
children = st.lists(st.lists(edits, max_size=6), min_size=1, max_size=3)


def message_of(given_headers: Sequence[Pair], model: Model = PostfixHeaders, body: bytes = b"") -> Message:
    message = Message(model is PostfixHeaders, spool_of(body))
    for name, value in given_headers:
        header = Header(name, value)
        message.headers.append(encode_command(header))
    return message


def spool_of(*payloads: bytes) -> BodySpool:
    spool = BodySpool(1_000_000)
    for payload in payloads:
        spool.add_payload(payload)
    return spool


def seen(message: Message) -> list[Pair]:
    """What the next child is shown."""
    return [(field.name, field.value) for field in message.headers]


def told(message: Message) -> list[object]:
    """What the MTA is told, as records."""
    return [decode_reply(frame) for frame in message.edit_frames()]


def directly(model: Model, given_headers: Sequence[Pair], milters: Sequence[Sequence[HeaderEdit]]) -> list[Pair]:
    """What is delivered when the MTA has these milters itself, one after another."""
    mta = model(given_headers)
    for milter in milters:
        for edit in milter:
            mta.apply(edit)
        mta.next_milter()
    return mta.delivered()


def managed(model: Model, given_headers: Sequence[Pair], milters: Sequence[Sequence[HeaderEdit]]) -> list[Pair]:
    """What is delivered when the MTA has us alone."""
    message = message_of(given_headers, model)
    for milter in milters:
        message.apply(milter, None)
    mta = model(given_headers)
    for edit in message.edits:
        assert isinstance(edit, (AddHeader, InsHeader, ChgHeader))
        mta.apply(edit)
    return mta.delivered()


# ---- numbering


@both_mtas
@often
@given(given_headers=headers, milters=children)
def test_edits_of_children_make_the_same_headers_as_the_childrens_own_would(
    model: Model, given_headers: list[Pair], milters: list[list[HeaderEdit]]
) -> None:
    assert managed(model, given_headers, milters) == directly(model, given_headers, milters)


@both_mtas
@often
@given(given_headers=headers, milters=children)
def test_the_next_child_sees_what_the_mta_would_show_it(
    model: Model, given_headers: list[Pair], milters: list[list[HeaderEdit]]
) -> None:
    message, mta = message_of(given_headers, model), model(given_headers)
    for milter in milters:
        message.apply(milter, None)
        for edit in milter:
            mta.apply(edit)
        mta.next_milter()
        assert seen(message) == mta.shown()


@often
@given(given_headers=headers, milters=children)
def test_every_header_edit_reaches_postfix_as_the_child_made_it(
    given_headers: list[Pair], milters: list[list[HeaderEdit]]
) -> None:
    message = message_of(given_headers)
    for milter in milters:
        message.apply(milter, None)
    assert message.edits == [edit for milter in milters for edit in milter]


# ---- children that were given the message at the same time

grouped = st.lists(st.tuples(st.lists(edits, max_size=5), st.booleans()), min_size=1, max_size=4)


@both_mtas
@often
@given(given_headers=headers, milters=grouped)
def test_what_the_mta_is_told_makes_the_headers_that_the_next_child_sees(
    model: Model, given_headers: list[Pair], milters: list[tuple[list[HeaderEdit], bool]]
) -> None:
    message, mta = message_of(given_headers, model), model(given_headers)
    for milter, starts_group in milters:
        message.apply(milter, None, starts_group)
    for edit in message.edits:
        assert isinstance(edit, (AddHeader, InsHeader, ChgHeader))
        mta.apply(edit)
    assert seen(message) == mta.shown()


@both_mtas
@often
@given(given_headers=headers, milters=children)
def test_changes_of_different_headers_at_the_same_time_end_as_one_after_another(
    model: Model, given_headers: list[Pair], milters: list[list[HeaderEdit]]
) -> None:
    """Each child changes and deletes headers of a name of its own."""
    own = [
        [edit for edit in milter if isinstance(edit, ChgHeader) and edit.name.lower() == name]
        for milter, name in zip(milters, (b"x-a", b"x-b", b"subject"))
    ]
    together, in_turn = message_of(given_headers, model), message_of(given_headers, model)
    for milter in own:
        together.apply(milter, None, starts_group=False)
        in_turn.apply(milter, None)
    assert seen(together) == seen(in_turn)


def test_a_child_at_the_same_time_means_the_headers_that_it_was_shown() -> None:
    message = message_of([(b"X-A", b"1"), (b"X-A", b"2")])
    message.apply([ChgHeader(1, b"X-A", b"")], None, starts_group=False)
    message.apply([ChgHeader(2, b"X-A", b"two")], None)
    assert message.edits == [ChgHeader(1, b"X-A", b""), ChgHeader(1, b"X-A", b"two")]


def test_a_change_of_what_another_child_deleted_at_the_same_time_is_dropped() -> None:
    message = message_of([(b"X-A", b"1")])
    message.apply([ChgHeader(1, b"X-A", b"")], None, starts_group=False)
    message.apply([ChgHeader(1, b"X-A", b"new")], None)
    assert message.edits == [ChgHeader(1, b"X-A", b"")]


# ---- numbering, by example

THREE = [(b"X-A", b"1"), (b"Subject", b"hi"), (b"x-a", b"2"), (b"X-A", b"3")]


@pytest.mark.parametrize(
    ("milters", "values"),
    [
        ([[ChgHeader(1, b"X-A", b"")]], b"hi 2 3"),
        ([[ChgHeader(0, b"X-A", b"")]], b"hi 2 3"),
        ([[ChgHeader(1, b"X-A", b""), ChgHeader(2, b"X-A", b"")]], b"hi 2"),
        ([[ChgHeader(1, b"X-A", b"")], [ChgHeader(2, b"X-A", b"")]], b"hi 2"),
        ([[ChgHeader(3, b"X-A", b""), ChgHeader(2, b"X-A", b""), ChgHeader(1, b"X-A", b"")]], b"hi"),
        ([[ChgHeader(2, b"X-A", b"new")]], b"1 hi new 3"),
        ([[ChgHeader(4, b"X-A", b"new")]], b"1 hi 2 3 new"),
        ([[ChgHeader(4, b"X-A", b"")]], b"1 hi 2 3"),
        ([[ChgHeader(1, b"None", b"")]], b"1 hi 2 3"),
        ([[InsHeader(0, b"N", b"new")]], b"new 1 hi 2 3"),
        ([[InsHeader(1, b"N", b"new")]], b"new 1 hi 2 3"),
        ([[InsHeader(2, b"N", b"new")]], b"1 new hi 2 3"),
        ([[InsHeader(99, b"N", b"new")]], b"1 hi 2 3 new"),
        ([[InsHeader(0, b"N", b"a")], [InsHeader(0, b"N", b"b")]], b"b a 1 hi 2 3"),
        ([[AddHeader(b"X-A", b"4")], [ChgHeader(4, b"X-A", b"four")]], b"1 hi 2 3 four"),
        ([[ChgHeader(1, b"Received", b"new")]], b"1 hi 2 3 new"),
    ],
)
def test_a_child_behind_sees_postfixs_numbering(milters: list[list[HeaderEdit]], values: bytes) -> None:
    message = message_of(THREE)
    for milter in milters:
        message.apply(milter, None)
    assert [value for _, value in seen(message)] == values.split()


def test_a_changed_header_has_the_spelling_of_the_change_in_postfix() -> None:
    message = message_of([(b"X-A", b"1")])
    message.apply([ChgHeader(1, b"x-a", b"2")], None)
    assert seen(message) == [(b"x-a", b"2")]


def test_a_changed_header_keeps_its_spelling_in_sendmail() -> None:
    message = message_of([(b"X-A", b"1")], SendmailHeaders)
    message.apply([ChgHeader(1, b"x-a", b"2")], None)
    assert seen(message) == [(b"X-A", b"2")]


def test_sendmail_counts_what_the_same_child_deleted() -> None:
    message = message_of(THREE, SendmailHeaders)
    message.apply([ChgHeader(1, b"X-A", b""), ChgHeader(2, b"X-A", b"")], None)
    assert [value for _, value in seen(message)] == [b"hi", b"3"]


def test_a_change_skips_what_an_earlier_child_deleted_in_sendmail() -> None:
    message = message_of(THREE, SendmailHeaders)
    message.apply([ChgHeader(1, b"X-A", b"")], None)
    message.apply([ChgHeader(1, b"X-A", b"two")], None)
    assert message.edits[1] == ChgHeader(2, b"X-A", b"two")


def test_a_change_of_what_a_child_does_not_see_never_hits_another_header_in_sendmail() -> None:
    message = message_of([(b"X-A", b"1"), (b"X-A", b"2")], SendmailHeaders)
    message.apply([ChgHeader(1, b"X-A", b"")], None)
    message.apply([ChgHeader(2, b"X-A", b"")], None)
    assert message.edits[1] == ChgHeader(3, b"X-A", b"")


def test_sendmail_adds_ahead_of_the_first_header_of_that_name() -> None:
    message = message_of(THREE, SendmailHeaders)
    message.apply([AddHeader(b"x-A", b"0")], None)
    assert seen(message)[0] == (b"x-A", b"0")


def test_a_header_that_nobody_changed_is_sent_on_in_the_frame_that_it_came_in() -> None:
    message = message_of([(b"X-A", b"\xff\t1 ")])
    (field,) = message.headers
    assert field.as_frame() == encode_command(Header(b"X-A", b"\xff\t1 "))


def test_a_changed_header_is_sent_with_its_new_value() -> None:
    message = message_of([(b"X-A", b"1")])
    message.apply([ChgHeader(1, b"X-A", b"2")], None)
    (field,) = message.headers
    assert field.as_frame() == encode_command(Header(b"X-A", b"2"))


@pytest.mark.parametrize(
    ("value", "without"), [(b" v", b"v"), (b"  v", b" v"), (b"v", b"v"), (b"\tv", b"\tv"), (b"", b"")]
)
def test_one_leading_space_is_taken_away_for_a_child_that_wants_none(value: bytes, without: bytes) -> None:
    (field,) = message_of([(b"X-A", value)]).headers
    assert field.without_leading_space() == encode_command(Header(b"X-A", without))


# ---- what is told to the MTA

ENVELOPE: list[Edit] = [AddRcpt(b"<a@b>"), AddRcptPar(b"<c@d>", b"NOTIFY=NEVER"), DelRcpt(b"<e@f>"), ChgFrom(b"<>")]


def test_edits_of_the_envelope_are_told_as_they_are_in_the_order_made() -> None:
    message = message_of([])
    message.apply(ENVELOPE[:2], None)
    message.apply(ENVELOPE[2:], None)
    assert told(message) == ENVELOPE


def test_a_message_that_nobody_edited_is_told_nothing() -> None:
    assert list(message_of([(b"A", b"b")], body=b"body").edit_frames()) == []


def test_a_new_body_comes_last_and_in_one_piece() -> None:
    message = message_of([])
    message.apply([AddHeader(b"A", b"1"), Quarantine(b"why")], spool_of(b"one", b"two"))
    message.apply([AddHeader(b"B", b"2")], None)
    expected = [AddHeader(b"A", b"1"), AddHeader(b"B", b"2"), Quarantine(b"why"), ReplBody(b"one"), ReplBody(b"two")]
    assert told(message) == expected


def test_the_last_of_two_new_bodies_is_told_alone() -> None:
    message = message_of([], body=b"zero")
    message.apply([], spool_of(b"one"))
    message.apply([], spool_of(b"two"))
    assert told(message) == [ReplBody(b"two")]


def test_the_next_child_gets_the_new_body() -> None:
    message = message_of([], body=b"zero")
    message.apply([], spool_of(b"one"))
    assert [frame[PAYLOAD:] for frame in message.body.frames()] == [b"one"]


def test_an_empty_new_body_is_told_as_one_empty_piece() -> None:
    message = message_of([], body=b"zero")
    message.apply([], spool_of())
    assert told(message) == [ReplBody(b"")]


def test_a_large_new_body_is_cut_at_65535_bytes() -> None:
    message = message_of([])
    message.apply([], spool_of(b"x" * 200_000))
    assert [len(frame) - PAYLOAD for frame in message.edit_frames()] == [65535, 65535, 65535, 3395]


def test_no_quarantine_is_told_if_nobody_asked() -> None:
    assert message_of([]).quarantine() is None


def test_reasons_for_quarantine_are_told_once_and_together() -> None:
    message = message_of([])
    message.apply([Quarantine(b"virus"), Quarantine(b"spam")], None)
    message.apply([Quarantine(b"virus")], None)
    assert told(message) == [Quarantine(b"virus; spam")]


# ---- what a child may ask for


@pytest.mark.parametrize("name", [b"", b"A:", b"A b", b"A\t", b"\x7f", b"A\n", b"\x00", b"\r"])
@pytest.mark.parametrize(
    "edit", [AddHeader(b"", b"v"), InsHeader(0, b"", b"v"), ChgHeader(1, b"", b"v")], ids=["add", "insert", "change"]
)
def test_an_edit_of_an_unusable_name_is_refused(edit: HeaderEdit, name: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="unusable name"):
        check_edit(type(edit)(**{**vars(edit), "name": name}))


@pytest.mark.parametrize("index", [INDEX_MAX, 0xFFFFFFFF])
@pytest.mark.parametrize("kind", [InsHeader, ChgHeader])
def test_an_edit_at_an_impossible_index_is_refused(kind: type[InsHeader | ChgHeader], index: int) -> None:
    with pytest.raises(RemoteProtocolError, match="impossible index"):
        check_edit(kind(index, b"A", b"v"))


def test_a_piece_of_body_is_no_edit_here() -> None:
    with pytest.raises(RemoteProtocolError):
        check_edit(ReplBody(b"x"))


@pytest.mark.parametrize(
    "edit",
    [
        *ENVELOPE,
        AddHeader(b"X!-_~", b""),
        InsHeader(INDEX_MAX - 1, b"A", b"v"),
        ChgHeader(0, b"A", b""),
        Quarantine(b""),
    ],
    ids=repr,
)
def test_a_usable_edit_passes(edit: Edit) -> None:
    check_edit(edit)
