"""Neighbours of one ``scan_group`` behind the real daemon: at work at the same time, yet as if one after another.

That two are at work at the same time is proven by each waiting for the other, never by time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import pytest

from mmgr.peers.behaviour import Action, Behaviour, Hang, Responder, at_stages
from mmgr.peers.delivery import Status
from mmgr.peers.mail import DEFAULT_CHUNK, Message
from mmgr.peers.mta import MtaPeer
from mmgr.protocol.commands import BodyEob, CommandMessage, Header
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import (
    AddHeader,
    ChgHeader,
    Continue,
    InsHeader,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    TempFail,
)
from tests.integration.rig import Rig, body, headers, kinds
from tests.support.processes import LabDirectory, wait_for

WAIT_S = 15.0
"""How long one waits for another: only a failing test waits that long."""

GROUPED = {name: {"scan_group": "scanners"} for name in ("c1", "c2")}
MESSAGE = Message(headers=((b"Subject", b" hi"), (b"X-Rep", b" 1"), (b"X-Rep", b" 2"), (b"X-Rep", b" 3")))


@pytest.fixture(scope="module")
def grouped_of_module(lab: LabDirectory) -> Iterator[Rig]:
    """c1 and c2 in a group, c3 behind it."""
    with Rig(lab.subdirectory("grouped"), keys=GROUPED) as rig:
        yield rig


@pytest.fixture
def grouped(grouped_of_module: Rig) -> Rig:
    """The same, all children well-behaved."""
    grouped_of_module.behave()
    return grouped_of_module


def at_end(before: threading.Event | threading.Barrier, *actions: Action) -> Behaviour:
    """A child that waits for something at the end of a message, then does this."""

    def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        if not isinstance(message, BodyEob):
            return None
        before.wait(WAIT_S)  # a barrier that nobody else reaches raises, and the child is gone: a failure
        return actions

    return Behaviour(responder=lambda: respond)


def test_children_of_a_group_have_the_message_at_the_same_time(grouped: Rig) -> None:
    meeting = threading.Barrier(2)
    edits = [AddHeader(b"X-C1", b"1"), AddHeader(b"X-C2", b"2")]
    grouped.behave(c1=at_end(meeting, edits[0], Continue()), c2=at_end(meeting, edits[1], Continue()))
    (outcome,) = grouped.deliver()
    assert (outcome.status, list(outcome.edits)) == (Status.ACCEPT, edits)
    assert not meeting.broken


def test_children_without_a_group_have_it_one_after_another(trio: Rig) -> None:
    """The second is not reached while the first is at work: what the test above proves is due to the group."""
    second_has_begun = threading.Event()
    noticed: list[bool] = []

    def first(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        if isinstance(message, BodyEob):
            noticed.append(second_has_begun.is_set())
        return None

    def second(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        if isinstance(message, Header):
            second_has_begun.set()
        return None

    trio.behave(c1=Behaviour(responder=lambda: first), c2=Behaviour(responder=lambda: second))
    trio.deliver()
    assert (noticed, second_has_begun.is_set()) == ([False], True)


def ending_last(edits: Sequence[Action]) -> dict[str, Behaviour]:
    """The first child does this only when the second has ended."""
    second_is_done = threading.Event()

    def second(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        if not isinstance(message, BodyEob):
            return None
        second_is_done.set()
        return ChgHeader(2, b"X-Rep", b"by c2"), InsHeader(1, b"X-Top", b"c2"), ReplBody(b"by c2\r\n"), Continue()

    return {"c1": at_end(second_is_done, *edits), "c2": Behaviour(responder=lambda: second)}


def test_edits_come_in_configured_order_in_the_numbering_that_each_child_saw(grouped: Rig) -> None:
    """The second X-Rep that c2 saw is the first once c1's deletion is applied; its insertion goes below c1's."""
    first = [ChgHeader(1, b"X-Rep", b""), InsHeader(0, b"X-Top", b"c1"), ReplBody(b"by c1\r\n"), Continue()]
    grouped.behave(**ending_last(first))
    (outcome,) = grouped.deliver(MESSAGE)
    assert list(outcome.edits[:4]) == [
        ChgHeader(1, b"X-Rep", b""),
        InsHeader(0, b"X-Top", b"c1"),
        ChgHeader(1, b"X-Rep", b"by c2"),
        InsHeader(2, b"X-Top", b"c2"),
    ]
    assert outcome.message.body == b"by c2\r\n"
    assert [value for name, value in outcome.message.headers if name == b"X-Rep"] == [b" by c2", b" 3"]


def test_neither_child_of_a_group_sees_what_the_other_does_but_the_next_sees_both(grouped: Rig) -> None:
    first = [ChgHeader(1, b"X-Rep", b""), ReplBody(b"by c1\r\n"), Continue()]
    grouped.behave(**ending_last(first))
    grouped.deliver(MESSAGE)
    stripped = [(name, value[1:]) for name, value in MESSAGE.headers]
    for name in ("c1", "c2"):
        assert (headers(grouped.told(name)), body(grouped.told(name))) == (stripped, DEFAULT_CHUNK)
    after = [(b"X-Top", b"c2"), (b"Subject", b"hi"), (b"X-Rep", b"by c2"), (b"X-Rep", b"3")]
    assert (headers(grouped.told("c3")), body(grouped.told("c3"))) == (after, b"by c2\r\n")


def test_reasons_to_quarantine_are_joined_in_configured_order(grouped: Rig) -> None:
    meeting = threading.Barrier(2)
    grouped.behave(
        c1=at_end(meeting, Quarantine(b"one"), Continue()), c2=at_end(meeting, Quarantine(b"two"), Continue())
    )
    (outcome,) = grouped.deliver()
    assert (outcome.status, outcome.quarantine) == (Status.QUARANTINE, b"one; two")


@pytest.mark.parametrize("stage", ["header", "end-of-header", "body", "end-of-message"])
def test_an_early_rejection_lets_the_others_go(grouped: Rig, stage: str) -> None:
    """c2 never ends by itself: that there is an answer, and that c2 is rid of the message, is the proof."""
    no = ReplyCode(b"550 5.7.1 no")
    grouped.behave(
        c1=Behaviour(at=at_stages(**{stage.replace("-", "_"): no})), c2=Behaviour(at=at_stages(end_of_message=Hang()))
    )
    with grouped.session() as session:
        outcome = session.deliver(Message())
        grouped["c2"].wait_for_end()
    assert (outcome.status, outcome.verdict) == (Status.REJECT, no)
    assert "Header" not in kinds(grouped.told("c3"))


def test_the_children_that_were_let_go_judge_the_next_message(grouped: Rig) -> None:
    first = at_stages(header=Reject())
    grouped.behave(c1=first_message_only(first), c2=first_message_only(at_stages(end_of_message=Hang()), b"X-C2"))
    refused, passed = grouped.deliver(Message(), Message())
    assert (refused.status, passed.status) == (Status.REJECT, Status.ACCEPT)
    assert (b"X-C2", b" seen") in passed.message.headers


def first_message_only(at: Mapping[int, Sequence[Action]], mark: bytes = b"X-C1") -> Behaviour:
    """A child whose first connection does this; in later ones it marks each message."""
    connections = iter([dict(at)])

    def make() -> Responder:
        mine = next(connections, {Command.SMFIC_BODYEOB: (AddHeader(mark, b"seen"), Continue())})
        return lambda message, _macros: mine.get(CODE_OF.get(type(message), 0))

    return Behaviour(responder=make)


CODE_OF: Mapping[type, int] = {Header: Command.SMFIC_HEADER, BodyEob: Command.SMFIC_BODYEOB}


def test_an_earlier_slower_child_decides(grouped: Rig) -> None:
    second_is_done = threading.Event()

    def second(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        second_is_done.set()
        return (Reject(),) if isinstance(message, Header) else None

    grouped.behave(c1=at_end(second_is_done, TempFail()), c2=Behaviour(responder=lambda: second))
    (outcome,) = grouped.deliver()
    assert outcome.verdict == TempFail()


def test_a_postfix_is_asked_for_patience_while_a_group_is_at_work(grouped: Rig) -> None:
    """Both children wait until the MTA has been."""
    asked = threading.Event()
    grouped.behave(c1=at_end(asked, Continue()), c2=at_end(asked, AddHeader(b"X-C2", b"2"), Continue()))

    def watch(mta: MtaPeer) -> None:
        wait_for(lambda: mta.progress_count, "progress")
        asked.set()

    with grouped.session() as session:
        watching = threading.Thread(target=watch, args=(session.peer,), daemon=True)
        watching.start()
        outcome = session.deliver(Message())
        watching.join(WAIT_S)
        assert session.peer.progress_count == 1
    assert list(outcome.edits) == [AddHeader(b"X-C2", b"2")]
