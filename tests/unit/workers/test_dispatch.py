"""Several children: who is asked, who decides, and what the next one sees of a message."""

from __future__ import annotations

import threading

import pytest

from mmgr.config.model import EnvelopeDispatch, FallbackStatus
from mmgr.protocol.commands import Body, Header
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    ChgHeader,
    Continue,
    Discard,
    Quarantine,
    Reject,
    ReplBody,
    TempFail,
    decode_reply,
)
from tests.unit.workers.company import Answer, Company
from workers.judging import judge
from workers.message import Message
from workers.mta import MtaLost
from workers.spool import SpoolError

AT_ONCE = EnvelopeDispatch.PARALLEL
IN_TURN = EnvelopeDispatch.SEQUENTIAL

both_ways = pytest.mark.parametrize("way", EnvelopeDispatch)


def rcpt(*answers: Answer) -> dict[int, list[Answer]]:
    return {Command.SMFIC_RCPT: list(answers)}


def end(*answers: Answer) -> dict[int, list[Answer]]:
    return {Command.SMFIC_BODYEOB: list(answers)}


# ---- envelope


@both_ways
def test_without_children_nothing_is_decided(company: Company, way: EnvelopeDispatch) -> None:
    assert company.ask("mail", way=way) == [None]


@both_ways
def test_every_child_is_asked_while_none_decides(company: Company, way: EnvelopeDispatch) -> None:
    milters = [company.add()[1], company.add(script=rcpt(Accept()))[1], company.add()[1]]
    assert company.ask("mail", "rcpt", way=way) == [None, None]
    company.end()
    assert [milter.heard() for milter in milters] == ["O M R Q"] * 3


@both_ways
def test_the_first_child_in_order_that_decides_decides(company: Company, way: EnvelopeDispatch) -> None:
    for answer in (Continue(), TempFail(), Reject()):
        company.add(script=rcpt(answer))
    assert company.ask("rcpt", way=way) == [(TempFail(), "child2")]


@both_ways
def test_a_failed_child_does_not_keep_the_others_from_deciding(company: Company, way: EnvelopeDispatch) -> None:
    company.add(script=rcpt(None))
    company.add(script=rcpt(Reject()))
    assert company.ask("rcpt", way=way) == [(Reject(), "child2")]


def test_asked_at_once_a_child_behind_a_refusal_hears_of_it_too(company: Company) -> None:
    company.add(script=rcpt(Reject()))
    _, behind = company.add()
    company.ask("rcpt", way=AT_ONCE)
    company.end()
    assert behind.heard() == "O R Q"


def test_asked_in_turn_a_child_behind_a_refusal_never_hears_of_it(company: Company) -> None:
    company.add(script=rcpt(Reject()))
    _, behind = company.add()
    company.ask("mail", "rcpt", "data", way=IN_TURN)
    company.end()
    assert behind.heard() == "O M T Q"


def test_asked_at_once_all_have_the_question_before_the_first_has_to_answer(company: Company) -> None:
    is_second_asked = threading.Event()
    waited: list[bool] = []
    company.add(script=rcpt(lambda: waited.append(is_second_asked.wait(5)), Continue()))
    company.add(script=rcpt(is_second_asked.set, Reject()))
    company.ask("rcpt", way=AT_ONCE)
    assert waited == [True]


# ---- the message


def test_the_next_child_sees_the_message_as_edited_so_far(company: Company, message: Message) -> None:
    company.add(script=end(AddHeader(b"X-New", b"n"), ChgHeader(1, b"X-A", b""), ReplBody(b"new"), Continue()))
    _, behind = company.add()
    company.judge(message)
    company.end()
    content = [one for one in behind.commands() if isinstance(one, (Header, Body))]
    assert content == [Header(b"Subject", b" hi"), Header(b"X-New", b"n"), Body(b"new")]


def test_a_child_behind_one_that_decided_never_sees_the_message(company: Company, message: Message) -> None:
    company.add(script=end(Discard()))
    _, behind = company.add()
    assert company.judge(message) == (Discard(), "child1")
    assert behind.sessions == []


def test_a_child_behind_one_that_accepted_sees_the_message(company: Company, message: Message) -> None:
    company.add(script=end(Accept()))
    company.add(script=end(Reject()))
    assert company.judge(message) == (Reject(), "child2")


def test_a_child_behind_a_quarantine_is_still_asked_and_reasons_are_joined(company: Company, message: Message) -> None:
    company.add(script=end(Quarantine(b"virus"), Continue()))
    company.add(script=end(Quarantine(b"spam"), Continue()))
    company.judge(message)
    assert [decode_reply(frame) for frame in message.edit_frames()] == [Quarantine(b"virus; spam")]


def test_edits_are_told_in_configured_order(company: Company, message: Message) -> None:
    for name in (b"A", b"B", b"C"):
        company.add(script=end(AddHeader(name, b"v"), Accept()))
    company.judge(message)
    assert message.edits == [AddHeader(b"A", b"v"), AddHeader(b"B", b"v"), AddHeader(b"C", b"v")]


def test_children_of_one_group_see_the_same_message_and_edit_in_configured_order(
    company: Company, message: Message
) -> None:
    milters = [company.add(script=end(AddHeader(name, b"v"), Continue()), scan_group="g")[1] for name in (b"A", b"B")]
    company.judge(message)
    company.end()
    assert [milter.heard() for milter in milters] == ["O L L N B E Q"] * 2
    assert message.edits == [AddHeader(b"A", b"v"), AddHeader(b"B", b"v")]


def test_in_a_group_the_first_child_in_order_that_decides_decides(company: Company, message: Message) -> None:
    company.add(script=end(TempFail()), scan_group="g")
    company.add(script={Command.SMFIC_HEADER: [Reject()]}, scan_group="g")
    assert company.judge(message) == (TempFail(), "child1")


def test_in_a_group_a_failed_child_does_not_stop_the_others(company: Company, message: Message) -> None:
    company.add(script={Command.SMFIC_HEADER: [None]}, scan_group="g")
    company.add(script=end(AddHeader(b"B", b"v"), Continue()), scan_group="g")
    company.judge(message)
    assert message.edits == [AddHeader(b"B", b"v")]


def test_in_a_group_children_behind_one_that_decided_are_not_waited_for(company: Company, message: Message) -> None:
    company.add(script={Command.SMFIC_EOH: [Reject()]}, scan_group="g")
    _, silent = company.add(script=end(), scan_group="g")
    assert company.judge(message) == (Reject(), "child1")
    assert "Q" not in silent.heard()


def test_in_a_group_children_ahead_of_one_that_decided_are_waited_for(company: Company, message: Message) -> None:
    is_second_asked = threading.Event()
    company.add(script=end(is_second_asked.wait, TempFail()), scan_group="g")
    company.add(script={Command.SMFIC_EOH: [is_second_asked.set, Reject()]}, scan_group="g")
    assert company.judge(message) == (TempFail(), "child1")


def test_a_fallback_that_refuses_keeps_the_message_from_the_children_behind(company: Company, message: Message) -> None:
    company.add(script={Command.SMFIC_OPTNEG: [None]}, scan_group="g", fallback_status=FallbackStatus.REJECT)
    _, behind = company.add(scan_group="g")
    assert company.judge(message) == (Reject(), "child1")
    assert behind.sessions == []


def test_when_the_mta_is_lost_every_child_at_work_is_let_go(company: Company, message: Message) -> None:
    milters = [company.add(script={Command.SMFIC_EOH: []}, scan_group="g")[1] for _ in range(2)]

    def lose() -> None:
        raise MtaLost("gone")

    with pytest.raises(MtaLost):
        judge(company.children, message, lose)
    assert all("Q" not in milter.heard() for milter in milters)
    assert [child.failure for child in company.children] == [None, None]


def test_a_new_body_that_can_not_be_kept_is_told_to_the_session(company: Company, message: Message) -> None:
    company.spool_directory = "/nonexistent"
    child, _ = company.add(script=end(ReplBody(b"new"), Continue()))
    with pytest.raises(SpoolError, match="/nonexistent"):
        company.judge(message)
    assert child.failure is not None
