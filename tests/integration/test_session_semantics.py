"""Sessions through the daemon: several messages and recipients, aborts, unknown commands, bytes and macros.

Sources: design of the session semantics in docs/architecture.md; Sendmail's libmilter and Postfix's smtpd_milter.c.
"""

from __future__ import annotations

import pytest

from mmgr.peers.behaviour import Action, Behaviour
from mmgr.peers.delivery import SmtpClient, Status
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import Message
from mmgr.peers.mta import MtaPeer
from mmgr.protocol.commands import Abort, Connect, Helo, Mail, Rcpt, Unknown
from mmgr.protocol.constants import Command, ProtocolFlag
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    Continue,
    Discard,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    TempFail,
    Verdict,
)
from tests.integration.rig import STAGES, TRIO, Rig, body, headers, kinds, marking, numbered, only, turns

NO_USER = ReplyCode(b"550 5.1.1 no such user")
BUSY = ReplyCode(b"450 4.2.1 busy")


def begin(mta: MtaPeer, number: int, stage: str) -> None:
    """Send a message up to and including a stage."""
    steps = [
        lambda: mta.mail(b"<from%d@example.com>" % number),
        lambda: mta.rcpt(b"<to%d@example.org>" % number),
        mta.data,
        lambda: mta.header(b"Subject", b"number %d" % number),
        mta.eoh,
        lambda: mta.body(b"body %d\r\n" % number),
    ]
    for name, step in zip(STAGES, steps):
        step()
        if name == stage:
            return


def finish(mta: MtaPeer, number: int) -> Verdict:
    """A whole message."""
    begin(mta, number, "body")
    return mta.end_of_message()


@pytest.fixture
def trio(trio_both_ways: Rig) -> Rig:
    """Every test of this module runs in both ways."""
    return trio_both_ways


# Several messages


def test_each_message_of_a_session_gets_its_own_verdict(trio: Rig) -> None:
    verdicts = [ReplyCode(b"550 5.7.1 spam"), Continue(), TempFail(), Continue(), Discard(), Reject(), Accept(), BUSY]
    trio.behave(c2=turns(Command.SMFIC_BODYEOB, *verdicts))
    outcomes = trio.deliver(*map(numbered, range(len(verdicts))))
    assert [outcome.verdict for outcome in outcomes] == [
        Continue() if isinstance(verdict, Accept) else verdict for verdict in verdicts
    ]


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "rcpt"])
@pytest.mark.parametrize("verdict", [NO_USER, TempFail(), Discard()], ids=["550", "tempfail", "discard"])
def test_a_message_refused_at_a_stage_leaves_the_next_one_alone(trio: Rig, stage: str, verdict: Action) -> None:
    trio.behave(c1=marking("c1"), c2=turns(STAGES[stage], verdict), c3=marking("c3"))
    refused, accepted = trio.deliver(numbered(1), numbered(2))
    assert (refused.verdict, accepted.status) == (verdict, Status.ACCEPT)
    assert [name for name, _ in accepted.message.headers] == [b"Subject", b"X-c1", b"X-c3"]


def test_after_a_refused_message_every_child_is_told_the_whole_next_one(trio: Rig) -> None:
    trio.behave(c2=turns(Command.SMFIC_MAIL, Reject()))
    trio.deliver(numbered(1), numbered(2))
    for name in TRIO:
        told = trio.told(name)
        assert only(told, Mail)[-1] == Mail(b"<from2@example.com>")
        assert (headers(told), body(told)) == ([(b"Subject", b"number 2")], b"body 2\r\n")


def test_edits_of_one_message_do_not_reach_the_next(trio: Rig) -> None:
    edits = [AddHeader(b"X-Once", b"1"), ReplBody(b"new\r\n"), Quarantine(b"held"), Continue()]
    trio.behave(c2=turns(Command.SMFIC_BODYEOB, edits))
    first, second = trio.deliver(numbered(1), numbered(2))
    assert (first.status, second.status) == (Status.QUARANTINE, Status.ACCEPT)
    assert second.edits == ()


def test_a_hundred_messages_go_over_one_connection(trio: Rig) -> None:
    outcomes = trio.deliver(*map(numbered, range(100)))
    assert {outcome.status for outcome in outcomes} == {Status.ACCEPT}
    assert len(only(trio.told("c2"), Mail)) == 100


# Recipients


def test_each_recipient_gets_its_own_answer(trio: Rig) -> None:
    answers = [NO_USER, Continue(), BUSY, Reject(), Continue(), TempFail(), ReplyCode(b"550-5.1.1 a\r\n550 5.1.1 b")]
    trio.behave(c2=turns(Command.SMFIC_RCPT, *answers))
    with trio.greeted() as mta:
        mta.mail(b"<a@example.com>")
        assert [mta.rcpt(b"<%d@example.org>" % number) for number in range(len(answers))] == answers


def test_refused_recipients_leave_the_message_to_the_others(trio: Rig) -> None:
    trio.behave(c1=turns(Command.SMFIC_RCPT, NO_USER), c3=turns(Command.SMFIC_RCPT, Continue(), BUSY))
    (outcome,) = trio.deliver(numbered(1, recipients=3))
    assert outcome.refused == ((b"<to1-1@example.org>", NO_USER), (b"<to1-2@example.org>", BUSY))
    assert outcome.status is Status.ACCEPT
    assert [body(trio.told(name)) for name in TRIO] == [b"body 1\r\n"] * 3


def test_a_child_that_accepts_at_a_recipient_is_not_asked_about_the_next(trio: Rig) -> None:
    trio.behave(c2=turns(Command.SMFIC_RCPT, Accept(), Reject()))
    (outcome,) = trio.deliver(numbered(1, recipients=3))
    assert (outcome.refused, outcome.status) == ((), Status.ACCEPT)
    assert (len(only(trio.told("c2"), Rcpt)), len(only(trio.told("c3"), Rcpt))) == (1, 3)


def test_discard_at_a_recipient_discards_the_message(trio: Rig) -> None:
    trio.behave(c2=turns(Command.SMFIC_RCPT, Continue(), Discard()))
    (outcome,) = trio.deliver(numbered(1, recipients=3))
    assert (outcome.verdict, outcome.stage) == (Discard(), "envelope-recipient")


def test_a_message_whose_recipients_are_all_refused_leaves_the_next_one_alone(trio: Rig) -> None:
    trio.behave(c2=turns(Command.SMFIC_RCPT, Reject(), BUSY))
    refused, accepted = trio.deliver(numbered(1, recipients=2), numbered(2))
    assert (refused.verdict, accepted.status) == (BUSY, Status.ACCEPT)


# Abort


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "end_of_message"])
def test_an_aborted_message_leaves_no_trace_in_the_next(trio: Rig, stage: str) -> None:
    with trio.greeted() as mta:
        begin(mta, 1, stage)
        mta.abort()
        assert isinstance(finish(mta, 2), Continue)
    for name in TRIO:
        told = trio.told(name)
        assert (headers(told), body(told)) == ([(b"Subject", b"number 2")], b"body 2\r\n")


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "body"])
def test_a_child_inside_an_aborted_message_is_told_so_once(trio: Rig, stage: str) -> None:
    with trio.greeted() as mta:
        begin(mta, 1, stage)
        mta.abort()
        mta.abort()
        finish(mta, 2)
    assert [len(only(trio.told(name), Abort)) for name in TRIO] == [1, 1, 1]


@pytest.mark.parametrize("times", [1, 2])
def test_an_abort_where_there_is_no_message_does_nothing(trio: Rig, times: int) -> None:
    with trio.greeted() as mta:
        for _ in range(times):
            mta.abort()
        assert isinstance(finish(mta, 1), Continue)
        for _ in range(times):
            mta.abort()
        assert isinstance(finish(mta, 2), Continue)


def test_aborts_before_helo_and_before_connect_do_nothing(trio: Rig) -> None:
    with trio.connect() as mta:
        mta.abort()
        mta.negotiate()
        mta.abort()
        mta.connect(b"mx.example.net")
        mta.abort()
        mta.helo(b"mx.example.net")
        assert isinstance(finish(mta, 1), Continue)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("mail", "end_of_message")])
def test_mail_without_an_abort_gives_up_the_message_before(trio: Rig, stage: str) -> None:
    with trio.greeted() as mta:
        begin(mta, 1, stage)
        assert isinstance(finish(mta, 2), Continue)
    for name in TRIO:
        told = trio.told(name)
        assert (headers(told), body(told)) == ([(b"Subject", b"number 2")], b"body 2\r\n")


def test_mail_twice_begins_the_message_anew(trio: Rig) -> None:
    with trio.greeted() as mta:
        assert isinstance(mta.mail(b"<one@example.com>"), Continue)
        assert isinstance(finish(mta, 2), Continue)


def test_an_mta_that_goes_in_the_middle_of_a_message_ends_the_session_of_every_child(trio: Rig) -> None:
    with trio.connect() as mta:
        mta.negotiate()
        mta.connect(b"mx.example.net")
        mta.helo(b"mx.example.net")
        begin(mta, 1, "rcpt")
    assert [kinds(trio.told(name))[-2:] for name in TRIO] == [["Abort", "Quit"]] * 3


# HELO, QUIT_NC, unknown commands


def test_helo_may_be_said_twice(trio: Rig) -> None:
    with trio.greeted() as mta:
        assert isinstance(mta.helo(b"second.example.net"), Continue)
        assert isinstance(finish(mta, 1), Continue)
    assert [only(trio.told(name), Helo)[-1] for name in TRIO] == [Helo(b"second.example.net")] * 3


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_helo_inside_a_message_gives_it_up(trio: Rig, stage: str) -> None:
    with trio.greeted() as mta:
        begin(mta, 1, stage)
        mta.abort()  # as Postfix does
        assert isinstance(mta.helo(b"second.example.net"), Continue)
        assert isinstance(finish(mta, 2), Continue)
    assert [body(trio.told(name)) for name in TRIO] == [b"body 2\r\n"] * 3


def test_helo_inside_a_message_needs_no_abort(trio: Rig) -> None:
    with trio.greeted() as mta:
        begin(mta, 1, "rcpt")
        assert isinstance(mta.helo(b"second.example.net"), Continue)
        assert isinstance(finish(mta, 2), Continue)
    assert [body(trio.told(name)) for name in TRIO] == [b"body 2\r\n"] * 3


def test_mail_without_helo_is_in_order(trio: Rig) -> None:
    with trio.connect() as mta:
        mta.negotiate()
        mta.connect(b"mx.example.net")
        assert isinstance(finish(mta, 1), Continue)


def test_another_session_may_follow_on_the_same_connection(trio: Rig) -> None:
    with trio.greeted() as mta:
        finish(mta, 1)
        mta.quit_nc()
        assert isinstance(mta.connect(b"other.example.net"), Continue)
        assert isinstance(mta.helo(b"other.example.net"), Continue)
        assert isinstance(finish(mta, 2), Continue)
    for name in TRIO:
        second = trio[name].wait_for_end(2)
        assert only(second, Connect) == [Connect(b"other.example.net")]
        assert body(second) == b"body 2\r\n"


def test_what_was_refused_does_not_stick_to_the_session_that_follows_on_the_connection(trio: Rig) -> None:
    refused = Connect(b"bad.example.net")
    trio.behave(c2=Behaviour(responder=lambda: lambda message, _: (Reject(),) if message == refused else None))
    with trio.connect() as mta:
        mta.negotiate()
        assert isinstance(mta.connect(b"bad.example.net"), Reject)
        mta.quit_nc()
        assert isinstance(mta.connect(b"good.example.net"), Continue)
        assert isinstance(mta.helo(b"good.example.net"), Continue)
        assert isinstance(finish(mta, 1), Continue)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "end_of_message"])
def test_an_unknown_command_after_a_stage_leaves_the_message_alone(trio: Rig, stage: str) -> None:
    trio.behave(c1=marking("c1"), c2=marking("c2"), c3=marking("c3"))
    with trio.greeted() as mta:
        mta.mail(b"<from1@example.com>")
        if stage == "mail":
            assert isinstance(mta.unknown(b"HELP"), Continue)
        mta.rcpt(b"<to1@example.org>")
        if stage == "rcpt":
            assert isinstance(mta.unknown(b"HELP"), Continue)
        mta.data()
        mta.header(b"Subject", b"number 1")
        mta.eoh()
        mta.body(b"body 1\r\n")
        assert isinstance(mta.end_of_message(), Continue)
        assert mta.edits == [AddHeader(b"X-" + name.encode(), b"seen") for name in TRIO]
        if stage == "end_of_message":
            assert isinstance(mta.unknown(b"HELP"), Continue)
    assert [only(trio.told(name), Unknown) for name in TRIO] == [[Unknown(b"HELP")]] * 3


def test_unknown_commands_before_mail_are_told_and_continue(trio: Rig) -> None:
    with trio.connect() as mta:
        mta.negotiate()
        assert isinstance(mta.unknown(b"ONE"), Continue)
        mta.connect(b"mx.example.net")
        assert isinstance(mta.unknown(b"TWO"), Continue)
        mta.helo(b"mx.example.net")
        assert isinstance(mta.unknown(b"THREE"), Continue)
        assert isinstance(finish(mta, 1), Continue)
        mta.quit()
    lines = [Unknown(b"ONE"), Unknown(b"TWO"), Unknown(b"THREE")]
    assert [only(trio.told(name), Unknown) for name in TRIO] == [lines] * 3


@pytest.mark.parametrize("verdict", [BUSY, Reject(), TempFail(), Discard()], ids=["450", "r", "t", "d"])
def test_a_verdict_on_an_unknown_command_leaves_the_session_alone(trio: Rig, verdict: Action) -> None:
    trio.behave(c2=turns(Command.SMFIC_UNKNOWN, verdict))
    with trio.session(SmtpClient(unknown=b"HELP")) as session:
        assert session.deliver(numbered(1)).status is Status.ACCEPT


# Bytes and macros


def test_envelope_bytes_and_parameters_reach_every_child_unchanged(trio: Rig) -> None:
    mail = Mail(b"<\xff\xfe\x80@example.com>", (b"SIZE=100", b"BODY=8BITMIME", b"", b"X=\xe4"))
    rcpt = Rcpt(b"<\xe4\xf6@example.org>", (b"NOTIFY=NEVER", b"ORCPT=rfc822;a+40b", b""))
    with trio.connect() as mta:
        mta.negotiate()
        mta.connect(b"\xc3\xa4.example.net", ord("6"), 65535, b"IPv6:2001:db8::1")
        mta.helo(b"\x01\xff helo")
        mta.step(mail)
        mta.step(rcpt)
        mta.data()
        mta.end_of_message()
        mta.quit()
    for name in TRIO:
        told = trio.told(name).commands
        assert told[1:5] == [
            Connect(b"\xc3\xa4.example.net", ord("6"), 65535, b"IPv6:2001:db8::1"),
            Helo(b"\x01\xff helo"),
            mail,
            rcpt,
        ]


@pytest.mark.parametrize(
    "connect",
    [
        Connect(b"localhost", ord("L"), 0, b"/run/x"),
        Connect(b""),
        Connect(b"x", ord("U")),
        Connect(b"x", ord("4"), 0, b""),
    ],
    ids=["unix", "nothing", "unknown", "no address"],
)
def test_every_kind_of_address_reaches_the_children(trio: Rig, connect: Connect) -> None:
    with trio.session(SmtpClient(connect=connect)) as session:
        session.deliver(Message())
    assert [only(trio.told(name), Connect) for name in TRIO] == [[connect]] * 3


def test_headers_reach_every_child_unchanged(trio: Rig) -> None:
    sent = (
        (b"Subject", b" \xff\x80 8 bit"),
        (b"X-Folded", b" one\n\ttwo\n three"),
        (b"X-Empty", b""),
        (b"X-Long", b" " + b"x" * 100_000),
        (b"\xe4", b" name"),
        (b"Subject", b"  twice"),
    )
    trio.deliver(Message(headers=sent))
    expected = [(name, value[1:] if value[:1] == b" " else value) for name, value in sent]
    assert [headers(trio.told(name)) for name in TRIO] == [expected] * 3


def test_body_bytes_reach_every_child_unchanged(trio: Rig) -> None:
    sent = bytes(range(256)) * 300
    trio.deliver(Message(chunks=(sent,)))
    assert [body(trio.told(name)) for name in TRIO] == [sent] * 3


def test_a_chunk_in_the_end_of_message_is_part_of_the_body(trio: Rig) -> None:
    with trio.greeted() as mta:
        begin(mta, 1, "body")
        mta.end_of_message(b"the rest\r\n")
    assert [body(trio.told(name)) for name in TRIO] == [b"body 1\r\nthe rest\r\n"] * 3


MACROS = {
    command: {f"m_{name}".encode(): b"\xff %s" % name.encode(), b"i": b"Q-%s" % name.encode()}
    for name, command in {"connect": Command.SMFIC_CONNECT, "helo": Command.SMFIC_HELO, **STAGES}.items()
}


def deliver_with_macros(rig: Rig) -> None:
    with rig.connect(macros=MacroTable(of_command=MACROS, lists={})) as mta:
        mta.negotiate()
        mta.connect(b"mx.example.net")
        mta.helo(b"mx.example.net")
        finish(mta, 1)
        mta.quit()


@pytest.mark.parametrize("command", MACROS, ids=[Command(command).name for command in MACROS])
def test_macros_of_a_stage_reach_every_child(trio: Rig, command: int) -> None:
    deliver_with_macros(trio)
    assert [trio.told(name).macros_of.get(command) for name in TRIO] == [MACROS[command]] * 3


@pytest.mark.parametrize("flag", ["NOCONNECT", "NOHELO", "NOMAIL", "NORCPT", "NODATA", "NOHDRS", "NOEOH", "NOBODY"])
def test_macros_of_a_stage_that_one_child_declines_reach_it(trio: Rig, flag: str) -> None:
    trio.behave(c2=Behaviour(steps=ProtocolFlag[f"SMFIP_{flag}"]))
    deliver_with_macros(trio)
    assert {command: trio.told("c2").macros_of.get(command) for command in MACROS} == MACROS


@pytest.mark.parametrize("flag", ["NOCONNECT", "NOHELO", "NOMAIL", "NORCPT", "NODATA", "NOEOH"])
def test_macros_of_a_stage_that_all_children_decline_reach_them(trio: Rig, flag: str) -> None:
    """The MTA sends them without their command, and filters for DKIM rely on that."""
    declining = Behaviour(steps=ProtocolFlag[f"SMFIP_{flag}"])
    trio.behave(c1=declining, c2=declining, c3=declining)
    deliver_with_macros(trio)
    assert {command: trio.told("c2").macros_of.get(command) for command in MACROS} == MACROS


def test_macros_of_one_message_do_not_reach_the_next(trio: Rig) -> None:
    table = MacroTable(of_command={Command.SMFIC_MAIL: {b"only": b"first"}}, lists={})
    with trio.connect(macros=table) as mta:
        mta.negotiate()
        mta.connect(b"mx.example.net")
        mta.helo(b"mx.example.net")
        finish(mta, 1)
        mta.macros = MacroTable(lists={})
        finish(mta, 2)
        mta.quit()
    mails = [event for event in trio.told("c2").events if isinstance(event.message, Mail)]
    assert [event.macros for event in mails] == [{b"only": b"first"}, {}]
