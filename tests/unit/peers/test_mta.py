"""The scriptable MTA step by step: what it sends, what it waits for, and which misdeeds it raises."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from mmgr.errors import PeerClosed, PeerTimeout
from mmgr.peers.behaviour import Behaviour, Close, Hang, Raw, at_stages
from mmgr.peers.macros import MacroTable
from mmgr.peers.mta import Deadlines, MtaPeer
from mmgr.peers.stages import COMMAND_OF_STAGE, stage_name
from mmgr.peers.strict import offer
from mmgr.protocol.commands import Abort, Body, Connect, Data, Header, Helo, Mail, Quit, Rcpt
from mmgr.protocol.constants import Command, MacroStage, ProtocolFlag
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.options import ALL_STEPS, OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    Continue,
    Discard,
    Edit,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    ReplyMessage,
    Shutdown,
    Skip,
    TempFail,
    Verdict,
    encode_reply,
)
from mmgr.stream import FrameStream, Patience

from .conftest import PATIENT, Pair

BRIEF = replace(PATIENT, reading_s=0.05, end_of_message_s=0.05)
NO_REPLY = sum(flag for flag in ProtocolFlag if (flag.name or "").startswith("SMFIP_NR"))
DECLINE = sum(flag for flag in ProtocolFlag if (flag.name or "").startswith("SMFIP_NO"))

STEPS: dict[str, Callable[[MtaPeer], object]] = {
    "negotiate": lambda mta: mta.negotiate(),
    "connect": lambda mta: mta.connect(b"mx", ord("4"), 25, b"192.0.2.1"),
    "helo": lambda mta: mta.helo(b"mx"),
    "mail": lambda mta: mta.mail(b"<a@b>", b"SIZE=1"),
    "rcpt": lambda mta: mta.rcpt(b"<c@d>", b"NOTIFY=NEVER"),
    "unknown": lambda mta: mta.unknown(b"HELP"),
    "data": lambda mta: mta.data(),
    "header": lambda mta: mta.header(b"Subject", b"hi"),
    "eoh": lambda mta: mta.eoh(),
    "body": lambda mta: mta.body(b"x\r\n"),
    "eom": lambda mta: mta.end_of_message(),
}


def every_step(mta: MtaPeer) -> list[object]:
    """One of each step in the order of a session, from connect up to the body; the MTA has negotiated."""
    return [step(mta) for name, step in STEPS.items() if name not in ("negotiate", "eom")]


def up_to(mta: MtaPeer, stage: str) -> Callable[[MtaPeer], object]:
    """Take all steps before stage; that stage's step."""
    names = list(STEPS)
    for name in names[: names.index(stage)]:
        STEPS[name](mta)
    return STEPS[stage]


def test_every_step_is_sent_and_answered(pair: Pair) -> None:
    mta = pair.answering()
    assert every_step(mta) == [Continue()] * 9
    assert mta.end_of_message() == Continue()
    mta.quit()
    assert pair.milter is not None
    session = pair.milter.wait_for_end()
    assert session.commands[1:4] == [
        Connect(b"mx", ord("4"), 25, b"192.0.2.1"),
        Helo(b"mx"),
        Mail(b"<a@b>", (b"SIZE=1",)),
    ]
    assert (session.ended, session.violations) == ("quit", [])


@pytest.mark.parametrize(
    "verdict", [Accept(), Reject(), TempFail(), Discard(), ReplyCode(b"550 5.7.1 no"), Skip(), Shutdown()]
)
def test_every_verdict_comes_back(pair: Pair, verdict: Verdict) -> None:
    mta = pair.answering(mail=verdict)
    assert mta.mail(b"<a@b>") == verdict


def test_declined_steps_are_not_sent(pair: Pair) -> None:
    pair.behave(Behaviour(steps=DECLINE))
    mta = pair.mta()
    mta.negotiate()
    assert every_step(mta) == [None] * 9
    assert mta.end_of_message() == Continue()
    assert mta.sent == [Command.SMFIC_BODYEOB]


def test_steps_without_reply_are_sent_and_not_waited_for(pair: Pair) -> None:
    pair.behave(Behaviour(steps=NO_REPLY))
    mta = pair.mta()
    mta.negotiate()
    assert every_step(mta) == [None] * 9
    assert mta.end_of_message() == Continue()
    assert len(mta.sent) == 10


@pytest.mark.parametrize(("version", "missing"), [(2, {"U", "T"}), (3, {"T"}), (6, set())])
def test_a_milter_of_an_older_version_is_not_sent_newer_commands(pair: Pair, version: int, missing: set[str]) -> None:
    pair.behave(Behaviour(version=version))
    mta = pair.mta()
    assert mta.negotiate().version == version
    every_step(mta)
    assert {"U", "T"} - {chr(code) for code in mta.sent} == missing


def test_an_old_mta_offers_what_its_version_knows(pair: Pair) -> None:
    milter = pair.behave(Behaviour(steps=ALL_STEPS))
    mta = pair.mta(offer(2))
    assert mta.negotiate() == OptionNegotiation(2, 0x3F, 0x7F)
    milter.wait_until(lambda: milter.sessions[0].offered == OptionNegotiation(2, 0x3F, 0x7F))


def test_skip_silences_its_command_until_another_comes(pair: Pair) -> None:
    pair.behave(Behaviour(steps=ProtocolFlag.SMFIP_SKIP, at=at_stages(body=Skip())))
    mta = pair.mta()
    mta.negotiate()
    assert [mta.body(b"1"), mta.body(b"2"), mta.body(b"3")] == [Skip(), None, None]
    mta.end_of_message()
    assert mta.body(b"4") == Skip()
    assert mta.violations == []


def test_edits_are_collected_until_the_verdict_and_forgotten_at_the_next_mail(pair: Pair) -> None:
    edits: list[Edit] = [AddHeader(b"A", b"1"), ReplBody(b"x"), ReplBody(b"y"), Quarantine(b"why")]
    mta = pair.answering(eom=[Progress(), *edits, Progress(), Accept()])
    assert mta.end_of_message() == Accept()
    assert mta.edits == edits
    assert mta.progress_count == 2
    mta.mail(b"<>")
    assert mta.edits == []


class ScriptedStream(FrameStream):
    """Gives these replies, and notes the deadline of each read."""

    def __init__(self, *replies: ReplyMessage) -> None:
        self.replies = [encode_reply(reply) for reply in replies]
        self.deadlines: list[float | None] = []

    def read(self, deadline: float | None, patience: Patience | None = None, tick_s: float = 5.0) -> bytes:
        if deadline == 0.0:
            raise PeerTimeout("silence")
        self.deadlines.append(deadline)
        return self.replies.pop(0)

    def write(self, frames: Sequence[bytes], deadline: float | None) -> None:
        """Taken at once."""


def test_each_packet_starts_the_clock_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(1000.0, 1.0)
    monkeypatch.setattr("mmgr.peers.mta.time.monotonic", lambda: next(clock))
    stream = ScriptedStream(Progress(), Progress(), Continue(), Progress(), AddHeader(b"A", b"b"), Accept())
    mta = MtaPeer(stream, deadlines=Deadlines(reading_s=10.0, end_of_message_s=300.0))
    mta.helo(b"mx")
    mta.end_of_message()
    assert [round((deadline or 0.0) - 1000.0) for deadline in stream.deadlines] == [11, 12, 13, 305, 306, 307]


def test_macros_go_ahead_of_their_command_and_follow_the_lists_asked_for(pair: Pair) -> None:
    milter = pair.behave(Behaviour(macro_lists={MacroStage.SMFIM_HELO: (b"{own}",)}))
    table = MacroTable({b"own": b"1", b"cipher": b"c", b"j": b"host"})
    mta = pair.mta(macros=table)
    mta.negotiate()
    every_step(mta)
    mta.end_of_message()
    seen = {type(event.message).__name__: dict(event.macros) for event in milter.sessions[0].events}
    assert seen["Connect"] == {b"j": b"host"}
    assert seen["Helo"] == {b"own": b"1"}
    assert seen["Mail"] == {b"mail_addr": b"a@b"}
    assert seen["Rcpt"] == {b"rcpt_addr": b"c@d"}
    assert seen["Data"] == seen["Eoh"] == seen["BodyEob"] == {b"i": b"i"}


def test_the_queue_id_is_there_from_the_second_recipient_on(pair: Pair) -> None:
    mta = pair.answering()
    mta.mail(b"<a@b>")
    mta.rcpt(b"<c@d>")
    mta.rcpt(b"<e@f>")
    assert pair.milter is not None
    first, second = (event for event in pair.milter.sessions[0].events if isinstance(event.message, Rcpt))
    assert (b"i" in first.macros, b"i" in second.macros) == (False, True)


def test_macros_of_declined_stages_are_sent_all_the_same(pair: Pair) -> None:
    milter = pair.behave(Behaviour(steps=DECLINE))
    mta = pair.mta(macros=MacroTable({b"j": b"host"}))
    mta.negotiate()
    every_step(mta)
    mta.end_of_message()
    assert milter.sessions[0].macros[b"j"] == b"host"
    assert milter.sessions[0].macros_of[Command.SMFIC_RCPT] == {b"rcpt_addr": b"c@d"}


@pytest.mark.parametrize("stage", STEPS)
def test_a_milter_that_closes_raises_and_the_stage_is_named(pair: Pair, stage: str) -> None:
    pair.behave(Behaviour(at=at_stages(**{stage: Close()})))
    mta = pair.mta()
    step = up_to(mta, stage)
    with pytest.raises(PeerClosed, match=stage_name(COMMAND_OF_STAGE[stage])):
        step(mta)


@pytest.mark.parametrize("stage", STEPS)
def test_a_milter_that_hangs_raises_and_the_stage_is_named(pair: Pair, stage: str) -> None:
    pair.behave(Behaviour(at=at_stages(**{stage: Hang()})))
    mta = pair.mta()
    step = up_to(mta, stage)
    mta.deadlines = BRIEF
    kind = "end-of-message" if stage == "eom" else "reading"
    with pytest.raises(PeerTimeout, match=f"{kind} timeout: {stage_name(COMMAND_OF_STAGE[stage])}"):
        step(mta)


def flood(mta: MtaPeer) -> None:
    """More than any socket buffer holds."""
    for _ in range(1000):
        mta.body(b"x" * 65535)


def test_a_milter_that_reads_nothing_is_a_writing_timeout(pair: Pair) -> None:
    pair.behave(Behaviour(steps=NO_REPLY, at=at_stages(helo=Hang())))
    mta = pair.mta(deadlines=replace(PATIENT, writing_s=0.05))
    mta.negotiate()
    mta.helo(b"mx")
    with pytest.raises(PeerTimeout, match="writing timeout: body"):
        flood(mta)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xffc",
        b"\x00\x00\x00\x01Z",
        b"\x00\x00\x00\x02cc",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x05y550\x00",
    ],
)
@pytest.mark.parametrize("stage", ["negotiate", "connect", "eom"])
def test_garbage_is_a_protocol_error(pair: Pair, stage: str, garbage: bytes) -> None:
    pair.behave(Behaviour(at=at_stages(**{stage: Raw(garbage)})))
    mta = pair.mta()
    step = up_to(mta, stage)
    with pytest.raises(RemoteProtocolError, match=stage_name(COMMAND_OF_STAGE[stage])):
        step(mta)


def test_an_edit_before_the_end_is_a_protocol_error(pair: Pair) -> None:
    mta = pair.answering(header=[AddHeader(b"A", b"b"), Continue()])
    with pytest.raises(RemoteProtocolError, match=r"header: AddHeader.*before the end"):
        mta.header(b"Subject", b"x")


def test_a_second_answer_is_a_protocol_error_at_the_next_step(pair: Pair) -> None:
    pair.behave(Behaviour(at=at_stages(helo=Raw(b"\x00\x00\x00\x01c\x00\x00\x00\x01c"))))
    mta = pair.mta()
    mta.negotiate()
    assert mta.helo(b"mx") == Continue()
    with pytest.raises(RemoteProtocolError, match="nobody asked for"):
        mta.mail(b"<a@b>")


def test_a_close_can_be_waited_for(pair: Pair) -> None:
    mta = pair.answering()
    mta.quit()
    mta.expect_close(30.0)


def test_raw_commands_can_be_sent_in_any_order(pair: Pair) -> None:
    mta = pair.answering()
    mta.send(Data(), Header(b"A", b"b"), Body(b"x"), Abort(), Quit())
    assert [mta.read_reply() for _ in range(3)] == [Continue()] * 3
    mta.expect_close(30.0)
    assert pair.milter is not None
    assert pair.milter.wait_for_end().violations != []


def test_half_a_packet_ends_the_conversation_only(pair: Pair) -> None:
    mta = pair.answering()
    mta.send_bytes(b"\x00\x00\x00\x09H")
    mta.close()
    assert pair.milter is not None
    assert pair.milter.wait_for_end().ended == "closed"
    again = pair.mta()
    assert again.negotiate().version == 6


def test_nobody_listens(pair: Pair) -> None:
    with pytest.raises(PeerClosed, match="No such file"):
        pair.mta()
