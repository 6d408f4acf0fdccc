"""The numbers of the wire, written out once more, and compared with libmilter's headers where they are installed."""

from __future__ import annotations

import re
from enum import IntFlag
from pathlib import Path

import pytest

from mmgr.protocol.constants import STAGE_NAMES, ActionFlag, Command, MacroStage, ProtocolFlag, Reply, flag_names

HEADERS = [Path("/usr/include/libmilter") / name for name in ("mfdef.h", "mfapi.h")]
ALIASES = {"SMFIF_MODBODY", "SMFIP_NOHREPL"}
NOT_SPOKEN = {"SMFIR_SETSYMLIST", "SMFIF_NONE", "SMFIP_TEST"}
"""A reply that is reserved and never used, a name for no bit at all, and a bit of Sendmail's own tests."""

COMMANDS = {
    "O": "OPTNEG", "D": "MACRO", "C": "CONNECT", "H": "HELO", "M": "MAIL", "R": "RCPT", "T": "DATA", "L": "HEADER",
    "N": "EOH", "B": "BODY", "E": "BODYEOB", "A": "ABORT", "Q": "QUIT", "K": "QUIT_NC", "U": "UNKNOWN",
}  # fmt: skip
REPLIES = {
    "c": "CONTINUE", "a": "ACCEPT", "r": "REJECT", "t": "TEMPFAIL", "d": "DISCARD", "y": "REPLYCODE", "s": "SKIP",
    "O": "OPTNEG", "4": "SHUTDOWN", "f": "CONN_FAIL", "p": "PROGRESS", "h": "ADDHEADER", "i": "INSHEADER",
    "m": "CHGHEADER", "+": "ADDRCPT", "2": "ADDRCPT_PAR", "-": "DELRCPT", "e": "CHGFROM", "b": "REPLBODY",
    "q": "QUARANTINE",
}  # fmt: skip
ACTIONS = {
    0x001: "ADDHDRS", 0x002: "CHGBODY", 0x004: "ADDRCPT", 0x008: "DELRCPT", 0x010: "CHGHDRS", 0x020: "QUARANTINE",
    0x040: "CHGFROM", 0x080: "ADDRCPT_PAR", 0x100: "SETSYMLIST",
}  # fmt: skip
STEPS = {
    0x00000001: "NOCONNECT", 0x00000002: "NOHELO", 0x00000004: "NOMAIL", 0x00000008: "NORCPT", 0x00000010: "NOBODY",
    0x00000020: "NOHDRS", 0x00000040: "NOEOH", 0x00000080: "NR_HDR", 0x00000100: "NOUNKNOWN", 0x00000200: "NODATA",
    0x00000400: "SKIP", 0x00000800: "RCPT_REJ", 0x00001000: "NR_CONN", 0x00002000: "NR_HELO", 0x00004000: "NR_MAIL",
    0x00008000: "NR_RCPT", 0x00010000: "NR_DATA", 0x00020000: "NR_UNKN", 0x00040000: "NR_EOH", 0x00080000: "NR_BODY",
    0x00100000: "HDR_LEADSPC", 0x10000000: "MDS_256K", 0x20000000: "MDS_1M",
}  # fmt: skip
STAGES = {0: "CONNECT", 1: "HELO", 2: "ENVFROM", 3: "ENVRCPT", 4: "DATA", 5: "EOM", 6: "EOH"}


def test_commands_have_the_bytes_of_the_wire() -> None:
    assert {chr(member): member.name for member in Command} == {c: f"SMFIC_{name}" for c, name in COMMANDS.items()}


def test_replies_have_the_bytes_of_the_wire() -> None:
    assert {chr(member): member.name for member in Reply} == {c: f"SMFIR_{name}" for c, name in REPLIES.items()}


def test_actions_have_the_bits_of_the_wire() -> None:
    assert {int(member): member.name for member in ActionFlag} == {b: f"SMFIF_{name}" for b, name in ACTIONS.items()}


def test_steps_have_the_bits_of_the_wire() -> None:
    assert {int(member): member.name for member in ProtocolFlag} == {b: f"SMFIP_{name}" for b, name in STEPS.items()}


def test_stages_of_macro_lists_have_the_numbers_of_the_wire() -> None:
    assert {int(member): member.name for member in MacroStage} == {n: f"SMFIM_{name}" for n, name in STAGES.items()}


def test_the_numbers_are_those_of_the_installed_libmilter() -> None:
    missing = [str(header) for header in HEADERS if not header.exists()]
    if missing:
        pytest.skip(f"no libmilter headers here: {', '.join(missing)}")
    text = "".join(header.read_text("latin-1") for header in HEADERS)
    theirs = {}
    for name, number in re.findall(r"^#\s*define\s+(SMFI[CRFPM]_\w+)\s+('.'|0x[0-9A-Fa-f]+|\d+)", text, re.MULTILINE):
        theirs[name] = ord(number[1]) if number[0] == "'" else int(number, 0)
    ours = {member.name: int(member) for kind in (Command, Reply, ActionFlag, ProtocolFlag) for member in kind}
    ours["SMFIC_OPTNEG"] = ours.pop("SMFIR_OPTNEG")  # libmilter has one name for both ways
    for name in (*ALIASES, *NOT_SPOKEN, *(name for name in theirs if name.startswith("SMFIM_"))):
        theirs.pop(name, None)
    assert ours == theirs


def test_every_command_has_a_word_for_logs() -> None:
    assert set(STAGE_NAMES) == set(Command)


# ---- flag_names


@pytest.mark.parametrize("flag_type", [ActionFlag, ProtocolFlag])
def test_no_flag_at_all_is_a_hyphen(flag_type: type[IntFlag]) -> None:
    assert flag_names(flag_type, 0) == "-"


@pytest.mark.parametrize("flag", [*ActionFlag, *ProtocolFlag], ids=lambda flag: flag.name)
def test_one_flag_is_its_name(flag: IntFlag) -> None:
    assert flag_names(type(flag), int(flag)) == flag.name


@pytest.mark.parametrize(("flag_type", "names"), [(ActionFlag, ACTIONS), (ProtocolFlag, STEPS)])
def test_all_flags_are_all_names_from_the_lowest(flag_type: type[IntFlag], names: dict[int, str]) -> None:
    start = "SMFIF_" if flag_type is ActionFlag else "SMFIP_"
    assert flag_names(flag_type, sum(names)) == "|".join(start + name for name in names.values())


@pytest.mark.parametrize("bit", [1 << position for position in range(32) if 1 << position not in STEPS])
def test_a_bit_without_a_name_is_hex(bit: int) -> None:
    assert flag_names(ProtocolFlag, bit) == hex(bit)


def test_bits_without_names_come_last_and_together() -> None:
    assert flag_names(ProtocolFlag, 0xC0000041) == "SMFIP_NOCONNECT|SMFIP_NOEOH|0xc0000000"


def test_a_flag_and_its_number_have_the_same_names() -> None:
    both = ActionFlag.SMFIF_ADDHDRS | ActionFlag.SMFIF_CHGBODY
    assert flag_names(ActionFlag, both) == flag_names(ActionFlag, 3) == "SMFIF_ADDHDRS|SMFIF_CHGBODY"
