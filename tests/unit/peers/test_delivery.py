"""Whole messages: which verdict at which stage becomes which outcome, and what is said after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from mmgr.errors import PeerClosed
from mmgr.peers.behaviour import Action, Actions, Behaviour, Close, Responder, at_stages
from mmgr.peers.delivery import Outcome, Session, SmtpClient, Status, deliver
from mmgr.peers.mail import Message
from mmgr.protocol.commands import (
    Abort,
    Body,
    BodyEob,
    CommandMessage,
    Data,
    Eoh,
    Header,
    Mail,
    Quit,
    Rcpt,
    Unknown,
)
from mmgr.protocol.constants import ProtocolFlag
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    ChgFrom,
    Continue,
    Discard,
    Quarantine,
    Reject,
    ReplyCode,
    Shutdown,
    Skip,
    TempFail,
    Verdict,
)

from .conftest import Pair

STAGES = {
    "connect": "connect",
    "helo": "helo",
    "mail": "envelope-from",
    "data": "data",
    "header": "header",
    "eoh": "end-of-header",
    "body": "body",
    "eom": "end-of-message",
}
TWO = Message(recipients=(b"<one@b>", b"<two@b>"))


def outcomes(pair: Pair, *messages: Message, **stages: Actions) -> list[Outcome]:
    pair.behave(Behaviour(steps=ProtocolFlag.SMFIP_SKIP, at=at_stages(**stages)))
    return deliver(pair.mta(), messages or [Message()])


def commands(pair: Pair) -> list[CommandMessage]:
    assert pair.milter is not None
    session = pair.milter.wait_for_end()
    assert session.violations == []
    return session.commands


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Accept(), Status.ACCEPT),
        (Reject(), Status.REJECT),
        (TempFail(), Status.TEMPORARY_FAILURE),
        (ReplyCode(b"554 5.7.1 no"), Status.REJECT),
        (ReplyCode(b"451 4.7.1 later"), Status.TEMPORARY_FAILURE),
        (Shutdown(), Status.SHUTDOWN),
    ],
)
def test_a_verdict_at_any_stage_decides_there(pair: Pair, stage: str, verdict: Verdict, status: Status) -> None:
    (outcome,) = outcomes(pair, **{stage: verdict})
    assert (outcome.status, outcome.stage, outcome.verdict) == (status, STAGES[stage], verdict)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "header", "eoh", "body", "eom"])
def test_discard_counts_from_mail_on(pair: Pair, stage: str) -> None:
    (outcome,) = outcomes(pair, TWO, **{stage: Discard()})
    assert outcome.status is Status.DISCARD


def test_discard_at_connect_and_helo_is_noted_and_has_no_effect(pair: Pair) -> None:
    pair.behave(Behaviour(at=at_stages(connect=Discard(), helo=Discard())))
    mta = pair.mta()
    (outcome,) = deliver(mta, [Message()])
    assert outcome.status is Status.ACCEPT
    assert len(mta.violations) == 2


def test_continue_to_the_end_is_acceptance(pair: Pair) -> None:
    (outcome,) = outcomes(pair)
    assert (outcome.status, outcome.verdict, outcome.stage) == (Status.ACCEPT, Continue(), "end-of-message")


def test_a_whole_conversation_is_in_order(pair: Pair) -> None:
    pair.behave(Behaviour())
    deliver(pair.mta(), [Message()], SmtpClient(unknown=b"HELP"))
    kinds = [type(command) for command in commands(pair)[3:]]
    assert kinds == [Mail, Rcpt, Unknown, Data, Header, Header, Eoh, Body, BodyEob, Abort, Quit]


def by_recipient(verdicts: Mapping[bytes, Verdict]) -> Behaviour:
    def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        return (verdicts[message.recipient],) if isinstance(message, Rcpt) else None

    def begin() -> Responder:
        return respond

    return Behaviour(responder=begin)


def test_the_message_goes_on_for_the_recipients_that_are_left(pair: Pair) -> None:
    pair.behave(by_recipient({b"<one@b>": Reject(), b"<two@b>": Continue()}))
    (outcome,) = deliver(pair.mta(), [TWO])
    assert outcome.status is Status.ACCEPT
    assert outcome.refused == ((b"<one@b>", Reject()),)
    assert outcome.message.recipients == (b"<two@b>",)
    assert BodyEob() in commands(pair)


@pytest.mark.parametrize(
    ("one", "two", "status"),
    [
        (Reject(), Reject(), Status.REJECT),
        (TempFail(), TempFail(), Status.TEMPORARY_FAILURE),
        (Reject(), ReplyCode(b"450 4.2.0 wait"), Status.TEMPORARY_FAILURE),
    ],
)
def test_when_no_recipient_is_left_the_message_is_refused(
    pair: Pair, one: Verdict, two: Verdict, status: Status
) -> None:
    pair.behave(by_recipient({b"<one@b>": one, b"<two@b>": two}))
    (outcome,) = deliver(pair.mta(), [TWO])
    assert (outcome.status, outcome.stage, len(outcome.refused)) == (status, "envelope-recipient", 2)
    assert Data() not in commands(pair)


def test_accept_at_a_recipient_is_for_the_message(pair: Pair) -> None:
    (outcome,) = outcomes(pair, TWO, rcpt=Accept())
    assert (outcome.status, outcome.stage) == (Status.ACCEPT, "envelope-recipient")


def test_quarantine_is_an_outcome_of_its_own_with_reason_and_edits(pair: Pair) -> None:
    (outcome,) = outcomes(pair, eom=[AddHeader(b"A", b"b"), Quarantine(b"why"), Continue()])
    assert (outcome.status, outcome.quarantine) == (Status.QUARANTINE, b"why")
    assert outcome.message.headers[-1] == (b"A", b" b")


def test_edits_before_a_refusal_change_nothing(pair: Pair) -> None:
    (outcome,) = outcomes(pair, eom=[ChgFrom(b"<n@a>"), Quarantine(b"why"), Reject()])
    assert (outcome.status, outcome.quarantine) == (Status.REJECT, None)
    assert outcome.message == outcome.original


def test_skip_leaves_the_rest_of_the_body_out(pair: Pair) -> None:
    outcomes(pair, Message(chunks=(b"a", b"b", b"c")), body=Skip())
    assert [command for command in commands(pair) if isinstance(command, Body)] == [Body(b"a")]


def test_a_long_chunk_is_cut_and_an_empty_one_left_out(pair: Pair) -> None:
    outcomes(pair, Message(chunks=(b"", b"x" * 70000)))
    sizes = [len(command.chunk) for command in commands(pair) if isinstance(command, Body)]
    assert sizes == [65535, 70000 - 65535]


@pytest.mark.parametrize(("steps", "value"), [(0, b"hi"), (ProtocolFlag.SMFIP_HDR_LEADSPC, b" hi")])
def test_the_leading_space_travels_only_when_negotiated(pair: Pair, steps: int, value: bytes) -> None:
    pair.behave(Behaviour(steps=steps))
    deliver(pair.mta(), [Message(headers=((b"A", b" hi"),))])
    assert Header(b"A", value) in commands(pair)


def test_several_messages_of_a_session_are_kept_apart_by_abort(pair: Pair) -> None:
    pair.behave(Behaviour(at=at_stages(eom=[AddHeader(b"A", b"b"), Continue()])))
    first, second = deliver(pair.mta(), [Message(), Message(sender=b"<>")])
    assert len(first.edits) == len(second.edits) == 1
    seen = commands(pair)
    second_mail = seen.index(Mail(b"<>"))
    assert seen[second_mail - 1] == Abort()
    assert seen[-2:] == [Abort(), Quit()]


def test_each_message_of_a_session_has_its_queue_id(pair: Pair) -> None:
    outcomes(pair, Message(), Message(), Message())
    commands(pair)
    assert pair.milter is not None
    events = pair.milter.sessions[0].events
    assert [event.macros[b"i"] for event in events if isinstance(event.message, BodyEob)] == [b"i", b"i2", b"i3"]


@pytest.mark.parametrize("verdict", [Accept(), Reject(), Shutdown(), ReplyCode(b"421 4.7.0 bye")])
def test_a_verdict_about_the_client_is_that_of_every_message(pair: Pair, verdict: Verdict) -> None:
    results = outcomes(pair, Message(), Message(), helo=verdict)
    assert {outcome.verdict for outcome in results} == {verdict}
    assert not [command for command in commands(pair) if isinstance(command, Mail)]


def test_after_421_nothing_more_is_sent(pair: Pair) -> None:
    results = outcomes(pair, Message(), Message(), mail=ReplyCode(b"421 4.7.0 bye"))
    assert [outcome.status for outcome in results] == [Status.TEMPORARY_FAILURE] * 2
    assert len([command for command in commands(pair) if isinstance(command, Mail)]) == 1


def test_a_milter_that_dies_in_the_second_message_leaves_the_first_outcome(pair: Pair) -> None:
    milter = pair.behave(Behaviour())

    def begin() -> Responder:
        mails = 0

        def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
            nonlocal mails
            mails += isinstance(message, Mail)
            return (Close(),) if mails == 2 else None

        return respond

    milter.behaviour = Behaviour(responder=begin)
    with Session(pair.mta()) as session:
        assert session.deliver(Message()).status is Status.ACCEPT
        with pytest.raises(PeerClosed):
            session.deliver(Message())
