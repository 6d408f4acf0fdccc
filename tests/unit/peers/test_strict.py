"""What the scriptable MTA lets a milter say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmgr.peers.strict import Listening, check_answer, described, offer
from mmgr.protocol.constants import ActionFlag, Command, ProtocolFlag
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.options import ALL_ACTIONS, OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    ChgHeader,
    ConnFail,
    Continue,
    InsHeader,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    ReplyMessage,
    Skip,
    Verdict,
)

END = Command.SMFIC_BODYEOB
MAIL = Command.SMFIC_MAIL
EVERYTHING = OptionNegotiation(6, ALL_ACTIONS, ProtocolFlag.SMFIP_SKIP)


def verdict_of(
    command: int, replies: Sequence[ReplyMessage], options: OptionNegotiation = EVERYTHING
) -> Verdict | None:
    heard = Listening(command, options)
    for reply in replies:
        verdict = heard.take(reply)
        if verdict is not None:
            return verdict
    return None


@pytest.mark.parametrize(
    ("version", "actions", "steps"),
    [(2, 0x3F, 0x7F), (3, 0x3F, 0x17F), (4, 0x3F, 0x37F), (6, 0x1FF, 0x1FFFFF), (9, 0x1FF, 0x1FFFFF), (0, 0x0F, 0x3F)],
)
def test_an_offer_holds_what_its_version_knows(version: int, actions: int, steps: int) -> None:
    assert offer(version) == OptionNegotiation(version, actions, steps)


def test_an_offer_can_be_narrower() -> None:
    assert offer(6, 0x11, 0x400) == OptionNegotiation(6, 0x11, 0x400)


def test_a_lower_version_is_taken_and_a_higher_one_is_not() -> None:
    assert check_answer(offer(), OptionNegotiation(2, 0, 0)) == []
    with pytest.raises(RemoteProtocolError, match="version 7"):
        check_answer(offer(), OptionNegotiation(7, 0, 0))


def test_actions_that_were_not_offered_are_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="SMFIF_CHGFROM"):
        check_answer(offer(2), OptionNegotiation(2, ActionFlag.SMFIF_CHGFROM, 0))


def test_steps_that_were_not_offered_are_noted_as_postfix_takes_them() -> None:
    (violation,) = check_answer(offer(2), OptionNegotiation(2, 0, ProtocolFlag.SMFIP_NR_BODY))
    assert "SMFIP_NR_BODY" in violation


def test_progress_is_no_verdict() -> None:
    assert verdict_of(MAIL, [Progress(), Progress(), Accept()]) == Accept()


def test_edits_come_only_at_the_end_of_the_message() -> None:
    assert verdict_of(END, [AddHeader(b"A", b"b"), Quarantine(b"r"), Continue()]) == Continue()
    for edit in (AddHeader(b"A", b"b"), ReplBody(b""), Quarantine(b"r")):
        with pytest.raises(RemoteProtocolError, match="before the end of the message"):
            verdict_of(MAIL, [edit])


@pytest.mark.parametrize("between", [Progress(), AddHeader(b"A", b"b")])
def test_a_body_replacement_is_contiguous(between: ReplyMessage) -> None:
    assert verdict_of(END, [between, ReplBody(b"a"), ReplBody(b"b"), between, Accept()]) == Accept()
    with pytest.raises(RemoteProtocolError, match="mixed"):
        verdict_of(END, [ReplBody(b"a"), between, ReplBody(b"b")])


@pytest.mark.parametrize(
    "reply",
    [
        ConnFail(),
        OptionNegotiation(6, 0, 0),
        Skip(),
        ReplyCode(b"550-unfinished"),
        ReplyCode(b"550 4.7.1 other class"),
        ChgHeader(1, b"", b"v"),
        InsHeader(2**31, b"A", b"v"),
    ],
)
def test_what_no_mta_takes_at_the_end_is_an_error(reply: ReplyMessage) -> None:
    with pytest.raises(RemoteProtocolError, match="end-of-message"):
        verdict_of(END, [reply])


def test_edits_and_skip_that_were_not_negotiated_are_noted() -> None:
    heard = Listening(END, OptionNegotiation(6, 0, 0))
    heard.take(AddHeader(b"A", b"b"))
    heard.take(Reject())
    assert heard.edits == [AddHeader(b"A", b"b")]
    assert heard.violations == ["end-of-message: AddHeader(A, b) without having asked for SMFIF_ADDHDRS"]
    heard = Listening(Command.SMFIC_BODY, OptionNegotiation(6, 0, 0))
    assert heard.take(Skip()) == Skip()
    assert len(heard.violations) == 1


def test_replies_are_described_without_control_characters() -> None:
    assert described(AddHeader(b"A", b"\x1b[1m")) == r"AddHeader(A, \x1b[1m)"
    assert described(Progress()) == "Progress"
