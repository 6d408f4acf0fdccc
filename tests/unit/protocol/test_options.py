"""Negotiation: what each bit and each version silences, as a table, for every command and every bit."""

from __future__ import annotations

import itertools

import pytest

from mmgr.protocol.constants import ActionFlag, Command, MacroStage, ProtocolFlag
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.options import (
    ACTIONS_OF_VERSION,
    ALL_ACTIONS,
    ALL_STEPS,
    STEPS_OF_VERSION,
    OptionNegotiation,
    decode_options,
    encode_options,
)

# code, since which version, the bit that leaves it out, the bit that takes its reply away, is it ever answered
TABLE = """
O 1 -        -        yes
D 1 -        -        no
C 1 00000001 00001000 yes
H 1 00000002 00002000 yes
M 1 00000004 00004000 yes
R 1 00000008 00008000 yes
T 4 00000200 00010000 yes
L 1 00000020 00000080 yes
N 2 00000040 00040000 yes
B 1 00000010 00080000 yes
E 1 -        -        yes
A 1 -        -        no
Q 1 -        -        no
K 6 -        -        no
U 3 00000100 00020000 yes
"""
ROWS = [line.split() for line in TABLE.split("\n") if line]
VERSIONS = range(2, 7)
STEPS = [0, *(1 << position for position in range(32)), ALL_STEPS, 0xFFFFFFFF, 0xE0000000, 0x700, 0xFF080, 0x37F]
every_row = pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])


def bit(word: str) -> int:
    return 0 if word == "-" else int(word, 16)


def test_the_table_has_every_command_and_every_bit_that_silences() -> None:
    assert {ord(row[0]) for row in ROWS} == set(Command)
    bits = [bit(word) for row in ROWS for word in row[2:4] if word != "-"]
    others = (
        ProtocolFlag.SMFIP_SKIP,
        ProtocolFlag.SMFIP_RCPT_REJ,
        ProtocolFlag.SMFIP_HDR_LEADSPC,
        ProtocolFlag.SMFIP_MDS_256K,
        ProtocolFlag.SMFIP_MDS_1M,
    )
    assert len(bits) == len(set(bits)) == len(ProtocolFlag) - len(others)
    assert sorted([*bits, *others]) == sorted(ProtocolFlag)


@every_row
def test_a_milter_wants_a_command_unless_its_version_or_its_bit_says_no(row: list[str]) -> None:
    code, since, no_step, _, _ = row
    for version, steps in itertools.product(VERSIONS, STEPS):
        expected = version >= int(since) and not steps & bit(no_step)
        assert OptionNegotiation(version, 0, steps).wants(ord(code)) is expected, (version, hex(steps))


@every_row
def test_a_milter_answers_a_command_unless_its_bit_says_no(row: list[str]) -> None:
    code, _, _, no_reply, is_answered = row
    for version, steps in itertools.product(VERSIONS, STEPS):
        expected = is_answered == "yes" and not steps & bit(no_reply)
        assert OptionNegotiation(version, 0, steps).answers(ord(code)) is expected, (version, hex(steps))


@pytest.mark.parametrize("command", Command)
def test_actions_and_macro_lists_silence_nothing(command: Command) -> None:
    plain = OptionNegotiation(6, 0, 0)
    full = OptionNegotiation(6, 0xFFFFFFFF, 0, {MacroStage.SMFIM_EOM: (b"i",)})
    assert full.wants(command) is plain.wants(command)
    assert full.answers(command) is plain.answers(command)


@pytest.mark.parametrize("version", range(7, 10))
def test_a_version_of_the_future_wants_everything(version: int) -> None:
    assert all(OptionNegotiation(version, 0, 0).wants(command) for command in Command)


def test_leading_space_travels_if_its_bit_is_set_and_no_other_counts() -> None:
    assert [steps for steps in STEPS if OptionNegotiation(6, 0, steps).has_leading_space()] == [
        0x00100000,
        ALL_STEPS,
        0xFFFFFFFF,
    ]


# ---- what each version has

SETS = [
    (1, 0x0F, 0x3F),
    (2, 0x3F, 0x7F),
    (3, 0x3F, 0x17F),
    (4, 0x3F, 0x37F),
    (5, 0x3F, 0x37F),
    (6, 0x1FF, 0x1FFFFF),
]


@pytest.mark.parametrize(("version", "actions", "steps"), SETS)
def test_each_version_has_its_actions_and_steps(version: int, actions: int, steps: int) -> None:
    assert (ACTIONS_OF_VERSION[version], STEPS_OF_VERSION[version]) == (actions, steps)


def test_the_current_sets_are_all_bits_but_the_internal_ones() -> None:
    assert sum(ActionFlag) == ALL_ACTIONS == 0x1FF
    assert sum(ProtocolFlag) & 0x0FFFFFFF == ALL_STEPS == 0x1FFFFF


# ---- bytes and words


def test_an_offer_encodes_to_twelve_bytes() -> None:
    assert encode_options(OptionNegotiation(6, 0x1FF, 0x1FFFFF)).hex() == "00000006000001ff001fffff"


@pytest.mark.parametrize("size", range(12))
def test_less_than_three_words_are_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{size} bytes where three integers belong"):
        decode_options(bytes(size))


def test_flags_and_numbers_make_the_same_record() -> None:
    flags = OptionNegotiation(6, ActionFlag.SMFIF_ADDHDRS, ProtocolFlag.SMFIP_NR_HDR | ProtocolFlag.SMFIP_SKIP)
    assert flags == OptionNegotiation(6, 1, 0x480)
    assert encode_options(flags) == encode_options(OptionNegotiation(6, 1, 0x480))


def test_as_text_it_names_all_bits() -> None:
    assert str(OptionNegotiation(6, 0x11, 0x80000702)) == (
        "version=6 actions=SMFIF_ADDHDRS|SMFIF_CHGHDRS "
        "steps=SMFIP_NOHELO|SMFIP_NOUNKNOWN|SMFIP_NODATA|SMFIP_SKIP|0x80000000"
    )
