"""Macros: names with and without braces, and one list out of what several children ask for."""

from __future__ import annotations

import pytest

from mmgr.protocol.constants import Command, MacroStage
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.macros import (
    DEFAULT_MACROS,
    STAGE_OF_COMMAND,
    bare,
    braced,
    decode_macro_lists,
    decode_macros,
    encode_macro_lists,
    encode_macros,
    merge_macro_lists,
)

Lists = dict[MacroStage, tuple[bytes, ...]]

CONNECT = MacroStage.SMFIM_CONNECT
MAIL = MacroStage.SMFIM_ENVFROM
EOM = MacroStage.SMFIM_EOM

NAMES = [  # as it comes, without braces, as it travels
    (b"i", b"i", b"i"),
    (b"{i}", b"i", b"i"),
    (b"_", b"_", b"_"),
    (b"mail_addr", b"mail_addr", b"{mail_addr}"),
    (b"{mail_addr}", b"mail_addr", b"{mail_addr}"),
    (b"{open", b"{open", b"{{open}"),
    (b"{", b"{", b"{"),
    (b"", b"", b""),
    (b"{}", b"", b""),
    (b"\xe9", b"\xe9", b"\xe9"),
]


@pytest.mark.parametrize(("name", "expected"), [(name, without) for name, without, _ in NAMES])
def test_a_bare_name_has_no_braces(name: bytes, expected: bytes) -> None:
    assert bare(name) == expected


@pytest.mark.parametrize(("name", "expected"), [(name, travelling) for name, _, travelling in NAMES])
def test_a_name_travels_in_braces_if_it_is_longer_than_a_letter(name: bytes, expected: bytes) -> None:
    assert braced(name) == expected


def test_macros_decode_to_their_stage_and_bare_names() -> None:
    assert decode_macros(b"Mi\0Q1\0{mail_addr}\0\0") == (ord("M"), {b"i": b"Q1", b"mail_addr": b""})


def test_macros_encode_the_same_whether_their_names_brought_braces_or_not() -> None:
    wire = b"Mi\0Q1\0{mail_addr}\0a@b\0"
    assert encode_macros(ord("M"), [(b"i", b"Q1"), (b"mail_addr", b"a@b")]) == wire
    assert encode_macros(ord("M"), [(b"{i}", b"Q1"), (b"{mail_addr}", b"a@b")]) == wire


def test_no_macros_encode_to_the_stage_alone() -> None:
    assert encode_macros(ord("H"), []) == b"H"


@pytest.mark.parametrize("stage", MacroStage)
def test_each_stage_of_macro_lists_has_its_command_and_its_defaults(stage: MacroStage) -> None:
    assert stage in STAGE_OF_COMMAND.values()
    assert DEFAULT_MACROS[stage]


def test_the_end_of_a_message_has_a_lower_number_than_the_end_of_headers() -> None:
    assert STAGE_OF_COMMAND[Command.SMFIC_BODYEOB] == 5
    assert STAGE_OF_COMMAND[Command.SMFIC_EOH] == 6


@pytest.mark.parametrize("names", DEFAULT_MACROS.values(), ids=[stage.name for stage in DEFAULT_MACROS])
def test_default_names_are_written_as_they_travel(names: tuple[bytes, ...]) -> None:
    assert tuple(map(braced, names)) == names


# ---- lists on the wire


def test_no_lists_are_no_bytes() -> None:
    assert decode_macro_lists(b"") == {}
    assert encode_macro_lists({}) == b""


def test_a_list_that_comes_twice_counts_as_it_came_last() -> None:
    assert decode_macro_lists(b"\0\0\0\x02i\0\0\0\0\x02j\0") == {MAIL: (b"j",)}


def test_an_empty_list_is_there() -> None:
    assert decode_macro_lists(b"\0\0\0\x02\0") == {MAIL: ()}


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\x02", b"\0\0\0\x02i", b"\0\0\0\x02i\0\0", b"\0\0\0\x02i\0\0\0\0\x05"])
def test_lists_that_are_cut_off_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="a macro list is cut off"):
        decode_macro_lists(data)


# ---- merge: what the children ask for, what the MTA is asked for

MERGES: dict[str, tuple[list[Lists | None], Lists]] = {
    "no children, no lists": ([], {}),
    "nobody asks": ([None, {}, None], {}),
    "one child alone gets its list": ([{MAIL: (b"i",)}], {MAIL: (b"i",)}),
    "names get their braces": ([{MAIL: (b"mail_addr", b"{i}")}], {MAIL: (b"{mail_addr}", b"i")}),
    "a list with a name twice has it once": ([{MAIL: (b"i", b"{i}", b"i")}], {MAIL: (b"i",)}),
    "two lists are joined in the order asked": (
        [{MAIL: (b"i", b"{mail_addr}")}, {MAIL: (b"{auth_type}", b"mail_addr")}],
        {MAIL: (b"i", b"{mail_addr}", b"{auth_type}")},
    ),
    "stages are merged apart": (
        [{CONNECT: (b"j",), EOM: (b"i",)}, {CONNECT: (b"v",), EOM: (b"i",)}],
        {CONNECT: (b"j", b"v"), EOM: (b"i",)},
    ),
    "a child that asks for nothing keeps the defaults": (
        [{EOM: (b"{rcpt_host}",)}, None],
        {EOM: (b"{rcpt_host}", b"i", b"{msg_id}")},
    ),
    "a child that asks for another stage alone keeps the defaults": (
        [{EOM: (b"{rcpt_host}",)}, {CONNECT: (b"j",)}],
        {
            CONNECT: (b"j", b"{daemon_name}", b"{daemon_addr}", b"v", b"_"),
            EOM: (b"{rcpt_host}", b"i", b"{msg_id}"),
        },
    ),
    "an empty list means the defaults as well": (
        [{EOM: (b"{rcpt_host}",)}, {EOM: ()}],
        {EOM: (b"{rcpt_host}", b"i", b"{msg_id}")},
    ),
    "empty lists alone leave the stage to the MTA": ([{EOM: ()}, {EOM: ()}], {}),
}


@pytest.mark.parametrize(("wanted", "merged"), MERGES.values(), ids=list(MERGES))
def test_macro_lists_of_children_are_merged(wanted: list[Lists | None], merged: Lists) -> None:
    assert merge_macro_lists(wanted) == merged


def test_a_merged_list_fits_what_sendmail_keeps_of_a_stage() -> None:
    merged = merge_macro_lists([dict.fromkeys(MacroStage, (b"{one}", b"{two}")), None])
    assert set(merged) == set(MacroStage)
    assert max(map(len, merged.values())) <= 50
