"""Which child gets which step."""

from __future__ import annotations

import pytest

from mmgr.protocol.commands import Data, Macro, Mail, Rcpt, Unknown, encode_command
from mmgr.protocol.constants import ActionFlag, Command, ProtocolFlag
from mmgr.protocol.options import NO_STEP, OptionNegotiation
from workers.plan import Step, is_wanted, lacks

EVERYTHING = OptionNegotiation(6, 0, 0)
UNKNOWN = Step(Command.SMFIC_UNKNOWN, encode_command(Unknown(b"HELP")), None)
DATA = Step(Command.SMFIC_DATA, encode_command(Data()), None)


def macros(command: int, **values: bytes) -> bytes:
    return encode_command(Macro(command, {name.encode(): value for name, value in values.items()}))


def recipient(**values: bytes) -> Step:
    return Step(Command.SMFIC_RCPT, encode_command(Rcpt(b"<a@b>")), macros(Command.SMFIC_RCPT, **values))


REFUSED = recipient(i=b"Q1", rcpt_mailer=b"error", rcpt_host=b"5.7.1", rcpt_addr=b"Relay access denied")


@pytest.mark.parametrize("command", NO_STEP)
@pytest.mark.parametrize("bit", [0, *NO_STEP.values()])
def test_a_step_is_wanted_unless_its_own_bit_says_no(command: int, bit: int) -> None:
    step = Step(command, b"", None)
    assert is_wanted(step, OptionNegotiation(6, 0, bit), False) == (bit != NO_STEP[command])


def test_the_end_of_a_message_is_always_wanted() -> None:
    step = Step(Command.SMFIC_BODYEOB, b"", None)
    assert is_wanted(step, OptionNegotiation(2, 0, 0xFFFFFFFF), True)


@pytest.mark.parametrize(("version", "expected"), [(1, False), (2, False), (3, False), (4, True), (6, True)])
def test_data_is_sent_from_version_4_on(version: int, expected: bool) -> None:
    assert is_wanted(DATA, OptionNegotiation(version, 0, 0), True) == expected


@pytest.mark.parametrize(("version", "expected"), [(1, False), (2, False), (3, True), (6, True)])
def test_an_unknown_command_is_sent_from_version_3_on(version: int, expected: bool) -> None:
    assert is_wanted(UNKNOWN, OptionNegotiation(version, 0, 0), False) == expected


@pytest.mark.parametrize(
    ("version", "steps", "has_recipient", "expected"),
    [
        (6, 0, False, True),
        (6, 0, True, True),
        (6, ProtocolFlag.SMFIP_NODATA, False, True),
        (6, ProtocolFlag.SMFIP_NODATA, True, False),
        (3, 0, False, True),
        (3, 0, True, False),
    ],
)
def test_an_unknown_command_behind_a_recipient_is_kept_from_a_child_without_data(
    version: int, steps: int, has_recipient: bool, expected: bool
) -> None:
    assert is_wanted(UNKNOWN, OptionNegotiation(version, 0, steps), has_recipient) == expected


def test_a_recipient_that_the_mta_refused_is_known_by_its_mailer() -> None:
    assert REFUSED.is_refused


@pytest.mark.parametrize(
    "step",
    [
        recipient(rcpt_mailer=b"smtp"),
        recipient(rcpt_mailer=b"errors"),
        recipient(rcpt_addr=b"error"),
        recipient(),
        Step(Command.SMFIC_RCPT, encode_command(Rcpt(b"<{rcpt_mailer}error>")), None),
        Step(Command.SMFIC_MAIL, encode_command(Mail(b"<>")), macros(Command.SMFIC_MAIL, rcpt_mailer=b"error")),
    ],
)
def test_any_other_step_is_no_refused_recipient(step: Step) -> None:
    assert not step.is_refused


@pytest.mark.parametrize("steps", [0, ProtocolFlag.SMFIP_RCPT_REJ])
def test_a_refused_recipient_is_sent_to_a_child_that_asked_for_those(steps: int) -> None:
    assert is_wanted(REFUSED, OptionNegotiation(6, 0, steps), False) == bool(steps)


def test_a_refused_recipient_is_kept_from_a_child_without_recipients() -> None:
    steps = ProtocolFlag.SMFIP_RCPT_REJ | ProtocolFlag.SMFIP_NORCPT
    assert not is_wanted(REFUSED, OptionNegotiation(6, 0, steps), False)


def test_an_accepted_recipient_is_sent_to_a_child_that_asked_for_refused_ones_too() -> None:
    assert is_wanted(recipient(rcpt_mailer=b"local"), OptionNegotiation(6, 0, ProtocolFlag.SMFIP_RCPT_REJ), True)


def test_a_step_that_the_mta_left_out_is_sent_to_nobody() -> None:
    assert not is_wanted(Step(Command.SMFIC_MAIL, b"", None, is_left_out=True), EVERYTHING, False)


TOLD = OptionNegotiation(6, ActionFlag.SMFIF_ADDHDRS, ProtocolFlag.SMFIP_NORCPT | ProtocolFlag.SMFIP_NOUNKNOWN)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (TOLD, False),
        (OptionNegotiation(6, 0, 0), True),
        (OptionNegotiation(6, 0, ProtocolFlag.SMFIP_NORCPT), False),
        (OptionNegotiation(6, ActionFlag.SMFIF_ADDHDRS, ProtocolFlag.SMFIP_NORCPT), False),
        (OptionNegotiation(6, ActionFlag.SMFIF_CHGHDRS, ProtocolFlag.SMFIP_NORCPT), True),
        (OptionNegotiation(6, ActionFlag.SMFIF_SETSYMLIST, ProtocolFlag.SMFIP_NORCPT), False),
    ],
)
def test_a_child_lacks_what_it_wants_and_the_mta_was_told_to_leave_out(
    wanted: OptionNegotiation, expected: bool
) -> None:
    assert lacks(wanted, TOLD) == expected
