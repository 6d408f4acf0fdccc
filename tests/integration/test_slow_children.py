"""Children that take their time: the MTA is asked for patience, and scan groups work on a message side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from mmgr.peers.behaviour import Action, Behaviour, Delay, Hang
from mmgr.peers.delivery import Outcome, Session
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import Message
from mmgr.protocol.commands import BodyEob, CommandMessage, Mail
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import AddHeader, Continue, Quarantine, Reject, ReplBody, ReplyCode, TempFail
from tests.integration.rig import POSTFIX, TRIO, Rig, body, headers
from tests.support.processes import LabDirectory

SENDMAIL = MacroTable({b"v": b"8.15.2"})
SLOWNESS_S = 5.5
"""A little more than the 5 s after which an MTA is asked for patience."""

CONTINUE = Continue()


def slow_as_the_sender_says(message: CommandMessage, macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
    """Takes its time at MAIL or at the end of the message."""
    wanted = macros.get(b"mail_addr", b"")
    if (isinstance(message, Mail) and wanted == b"mail") or (isinstance(message, BodyEob) and wanted == b"end"):
        return Delay(SLOWNESS_S), CONTINUE
    return (Hang(),) if isinstance(message, BodyEob) and wanted == b"hangs" else None


class Slow(NamedTuple):
    """What an MTA got that had to wait."""

    outcome: Outcome
    progress_count: int


@pytest.fixture(scope="module")
def slow(lab: LabDirectory) -> Iterator[Mapping[tuple[str, str], Slow]]:
    """Both MTAs, each with a child that is slow at MAIL and one that is slow at the end; all at the same time."""
    cases = {(mta, stage): stage for mta in ("Postfix", "Sendmail") for stage in ("mail", "end")}

    def deliver(case: tuple[str, str]) -> Slow:
        mta, stage = case
        with rig.connect(macros=POSTFIX if mta == "Postfix" else SENDMAIL) as peer, Session(peer) as session:
            outcome = session.deliver(Message(sender=f"<{stage}>".encode()))
            return Slow(outcome, peer.progress_count)

    with Rig(lab.subdirectory("slow"), ["c1", "c2"], n_workers=5) as rig, ThreadPoolExecutor(5) as pool:
        rig.behave(c1=Behaviour(responder=lambda: slow_as_the_sender_says))
        leaving = pool.submit(leave_in_the_middle, rig)
        found = dict(zip(cases, pool.map(deliver, cases)))
        leaving.result()
        yield found


def leave_in_the_middle(rig: Rig) -> None:
    """An MTA that goes while a child hangs at the end of its message; returns when the child is rid of it."""
    with rig.greeted() as mta:
        mta.mail(b"<hangs>")
        mta.rcpt(b"<b@example.org>")
        mta.data()
        mta.send(BodyEob())
    rig["c1"].wait_until(lambda: any(told.ended for told in rig["c1"].sessions if has_end_of(told.commands)), 20.0)


def has_end_of(commands: Sequence[CommandMessage]) -> bool:
    """Is this the session of the MTA that goes?"""
    return Mail(b"<hangs>") in commands and any(isinstance(command, BodyEob) for command in commands)


@pytest.mark.parametrize("stage", ["mail", "end"])
@pytest.mark.parametrize("mta", ["Postfix", "Sendmail"])
def test_a_slow_child_is_waited_for(slow: Mapping[tuple[str, str], Slow], mta: str, stage: str) -> None:
    assert slow[mta, stage].outcome.verdict == CONTINUE


@pytest.mark.parametrize("stage", ["mail", "end"])
def test_a_postfix_is_asked_for_patience_at_any_stage(slow: Mapping[tuple[str, str], Slow], stage: str) -> None:
    assert slow["Postfix", stage].progress_count >= 1


def test_a_sendmail_is_asked_for_patience_at_the_end_of_the_message(slow: Mapping[tuple[str, str], Slow]) -> None:
    assert slow["Sendmail", "end"].progress_count >= 1


def test_a_sendmail_is_not_asked_for_patience_before_the_end_of_the_message(
    slow: Mapping[tuple[str, str], Slow],
) -> None:
    assert slow["Sendmail", "mail"].progress_count == 0


# Scan groups


@pytest.fixture(scope="module")
def grouped_of_module(lab: LabDirectory) -> Iterator[Rig]:
    keys = {name: {"scan_group": "both"} for name in ("c1", "c2")}
    with Rig(lab.subdirectory("grouped"), keys=keys) as rig:
        yield rig


@pytest.fixture
def grouped(grouped_of_module: Rig) -> Rig:
    """Three children, the first two of which are given a message at the same time."""
    grouped_of_module.behave()
    return grouped_of_module


def at_end(*actions: Action) -> Behaviour:
    return Behaviour(at={Command.SMFIC_BODYEOB: actions})


def test_children_of_a_scan_group_work_at_the_same_time(grouped: Rig) -> None:
    """The first answers only when the second has the message too."""
    has_message = threading.Event()

    def first(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> None:
        if isinstance(message, BodyEob):
            assert has_message.wait(10.0)

    def second(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> None:
        if isinstance(message, BodyEob):
            has_message.set()

    grouped.behave(c1=Behaviour(responder=lambda: first), c2=Behaviour(responder=lambda: second))
    assert grouped.deliver()[0].verdict == CONTINUE


def test_children_of_a_scan_group_do_not_see_the_edits_of_each_other(grouped: Rig) -> None:
    grouped.behave(c1=at_end(AddHeader(b"X-c1", b"1"), ReplBody(b"new\r\n"), CONTINUE))
    grouped.deliver(Message(headers=((b"Subject", b" 1"),), chunks=(b"old\r\n",)))
    assert (headers(grouped.told("c2")), body(grouped.told("c2"))) == ([(b"Subject", b"1")], b"old\r\n")


def test_the_child_behind_a_scan_group_sees_the_edits_of_all_of_it(grouped: Rig) -> None:
    edits = {name: at_end(AddHeader(f"X-{name}".encode(), b"1"), CONTINUE) for name in ("c1", "c2")}
    grouped.behave(**edits)
    grouped.deliver(Message(headers=()))
    assert headers(grouped.told("c3")) == [(b"X-c1", b"1"), (b"X-c2", b"1")]


def test_edits_of_a_scan_group_apply_in_configured_order(grouped: Rig) -> None:
    late = (Delay(0.1), AddHeader(b"X", b"first"), Quarantine(b"one"), CONTINUE)
    grouped.behave(c1=at_end(*late), c2=at_end(AddHeader(b"X", b"second"), Quarantine(b"two"), CONTINUE))
    assert grouped.deliver()[0].edits == (
        AddHeader(b"X", b"first"),
        AddHeader(b"X", b"second"),
        Quarantine(b"one; two"),
    )


@pytest.mark.parametrize("late", TRIO[:2])
def test_of_a_scan_group_the_one_listed_first_decides_however_late_it_is(grouped: Rig, late: str) -> None:
    verdicts = {"c1": ReplyCode(b"550 5.7.1 first"), "c2": TempFail()}
    grouped.behave(
        **{name: at_end(*([Delay(0.1)] if name == late else []), verdict) for name, verdict in verdicts.items()}
    )
    assert grouped.deliver()[0].verdict == verdicts["c1"]


def test_a_refusal_in_a_scan_group_drops_the_edits_of_the_others(grouped: Rig) -> None:
    grouped.behave(c1=at_end(AddHeader(b"X", b"1"), ReplBody(b"new"), CONTINUE), c2=at_end(Reject()))
    (outcome,) = grouped.deliver()
    assert (outcome.verdict, outcome.edits) == (Reject(), ())


def test_after_a_refusal_in_a_scan_group_the_next_message_is_judged_by_all(grouped: Rig) -> None:
    refusing = iter([Reject(), CONTINUE])

    def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        return (next(refusing),) if isinstance(message, BodyEob) else None

    edit = AddHeader(b"X", b"1")
    grouped.behave(c1=Behaviour(responder=lambda: respond), c2=at_end(Delay(0.1), edit, CONTINUE))
    first, second = grouped.deliver(Message(), Message())
    assert (first.verdict, second.edits) == (Reject(), (edit,))
