"""A child that misbehaves, at every stage and in every way: its fallback counts, the others do their work.

Each fault is tried with every fallback status, in managers of their own that hold one conversation at the same time;
the bad child is the first, the middle or the last of three, in turn. What a fault leads to is tried once and looked at
by several tests. The faults are those that milter manager 2 did not survive, and their like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple, cast

import pytest

from mmgr.peers.behaviour import Action, Behaviour, Close, Delay, Hang, Raw
from mmgr.peers.delivery import Outcome, Status
from mmgr.peers.mail import Message
from mmgr.peers.milter import MilterSession
from mmgr.protocol.constants import Command
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import (
    AddHeader,
    ChgHeader,
    ConnFail,
    Continue,
    Edit,
    Progress,
    Reject,
    ReplBody,
    Skip,
    encode_reply,
)
from tests.integration.rig import TRIO, Rig, body, headers, marking
from tests.support.processes import LabDirectory

TIMEOUT_S = "0.4"
CONTINUE = Continue()
END = "end of message"

NEGOTIATE_AGAIN = "negotiate, remembered"
"""The child negotiated well in a session before, so it is connected no sooner than it is needed."""

STAGES = {
    "negotiate": Command.SMFIC_OPTNEG,
    NEGOTIATE_AGAIN: Command.SMFIC_OPTNEG,
    "connect": Command.SMFIC_CONNECT,
    "helo": Command.SMFIC_HELO,
    "mail": Command.SMFIC_MAIL,
    "rcpt": Command.SMFIC_RCPT,
    "data": Command.SMFIC_DATA,
    "header": Command.SMFIC_HEADER,
    "end of header": Command.SMFIC_EOH,
    "body": Command.SMFIC_BODY,
    END: Command.SMFIC_BODYEOB,
}
NEGOTIATING = ("negotiate", NEGOTIATE_AGAIN)
SOME_STAGES = ("negotiate", "mail", "body", END)
NOT_AT_THE_END = [stage for stage in STAGES if stage != END]
NOT_NEGOTIATING = [stage for stage in STAGES if stage not in NEGOTIATING]

DOWN = {"no socket": False, "a socket that nobody listens on": True}
"""Faults of a child that is not there; whether it leaves its socket behind."""

FAULTS: Mapping[str, tuple[Sequence[str], tuple[Action, ...]]] = {
    **dict.fromkeys(DOWN, (NEGOTIATING, ())),
    "closes": (list(STAGES), (Close(),)),
    "hangs": (list(STAGES), (Hang(),)),
    "garbage": (list(STAGES), (Raw(bytes(range(0x91, 0xD1))),)),
    "text": (SOME_STAGES, (Raw(b"hello, this is no milter\r\n"),)),
    "oversize length": (list(STAGES), (Raw(b"\x7f\xff\xff\xffc"),)),
    "zero length": (SOME_STAGES, (Raw(b"\0\0\0\0"),)),
    "half a packet, then closes": (SOME_STAGES, (Raw(b"\0\0\0\x10y550"), Close())),
    "half a packet, then hangs": (SOME_STAGES, (Raw(b"\0\0\0\x10y550"), Hang())),
    "progress, then hangs": (SOME_STAGES, (*[Progress()] * 50, Hang())),
    "unknown reply byte": (list(STAGES), (Raw(b"\0\0\0\x01Z"),)),
    "connection failure": (list(STAGES), (ConnFail(),)),
    "unterminated string": (list(STAGES), (Raw(b"\0\0\0\x07y550 no"),)),
    "bytes where none belong": (SOME_STAGES, (Raw(b"\0\0\0\x02cx"),)),
    "no reply code": (SOME_STAGES, (Raw(b"\0\0\0\x08y250 ok\0"),)),
    "edits before the end": (NOT_AT_THE_END, (AddHeader(b"X", b"1"), CONTINUE)),
    "continue for an answer": (NEGOTIATING, (CONTINUE,)),
    "a version that was not offered": (NEGOTIATING, (OptionNegotiation(7, 0, 0),)),
    "version 0": (NEGOTIATING, (OptionNegotiation(0, 0, 0),)),
    "actions that were not offered": (NEGOTIATING, (OptionNegotiation(6, 0xFFFF, 0),)),
    "a negotiation cut short": (NEGOTIATING, (Raw(b"\0\0\0\x05O\0\0\0\6"),)),
    "another negotiation": (NOT_NEGOTIATING, (OptionNegotiation(6, 0, 0),)),
    "skip for a verdict": ([END], (Skip(),)),
    "edits, then closes": ([END], (AddHeader(b"X", b"1"), ReplBody(b"half"), Close())),
    "edits, then hangs": ([END], (ChgHeader(1, b"From", b"half"), ReplBody(b"half"), Hang())),
    "an edit cut short": ([END], (Raw(b"\0\0\0\4hX\0y"), CONTINUE)),
}
CASES = [(stage, fault) for fault, (stages, _) in FAULTS.items() for stage in stages]

STATUSES = {
    "accept": Status.ACCEPT,
    "temporary-failure": Status.TEMPORARY_FAILURE,
    "reject": Status.REJECT,
    "discard": Status.DISCARD,
}
DECIDED_AT = {
    **dict.fromkeys(["negotiate", NEGOTIATE_AGAIN, "connect", "helo", "mail"], "envelope-from"),
    "rcpt": "envelope-recipient",
    "data": "data",
    **dict.fromkeys(["header", "end of header", "body", END], "end-of-message"),
}
"""Where the MTA is told of the fallback of a child that fails at a stage: never before MAIL, which would be final."""

MESSAGE = Message(headers=((b"Subject", b" hello"), (b"From", b" <a@example.com>")), chunks=(b"one\r\n", b"two\r\n"))


class Combination(NamedTuple):
    """What the bad child's fallback is, and which one it is."""

    fallback: str
    bad: str


@dataclass(frozen=True)
class Happened:
    """What came of two messages in a session with a bad child, and of one in a session after it was mended.

    whole: did each good child see both messages whole?
    """

    first: Outcome
    second: Outcome
    mended: Outcome
    whole: bool


class Matrix:
    """A rig for each combination, and what happened in some of them with a fault at a stage."""

    def __init__(self, rigs: Mapping[Combination, Rig]) -> None:
        self.rigs = rigs
        self._pool = ThreadPoolExecutor(len(rigs))
        self._happened: dict[tuple[str, str], Mapping[Combination, Happened | Exception]] = {}

    def happened(self, stage: str, fault: str) -> Mapping[Combination, Happened]:
        """What happened, by combination; raises what went wrong for the MTA in any of them."""
        if (stage, fault) not in self._happened:
            combinations = combinations_for(stage, fault)
            results = self._pool.map(lambda each: self._try(each, stage, fault), combinations)
            self._happened[stage, fault] = dict(zip(combinations, results))
        found = self._happened[stage, fault]
        failed = {combination: result for combination, result in found.items() if isinstance(result, Exception)}
        assert failed == {}
        return cast("Mapping[Combination, Happened]", found)

    def _try(self, combination: Combination, stage: str, fault: str) -> Happened | Exception:
        try:
            return converse(self.rigs[combination], combination.bad, stage, fault)
        except Exception as error:  # noqa: BLE001  every test that looks at it fails with it
            return error


def combinations_for(stage: str, fault: str) -> list[Combination]:
    """Every fallback, and the places in turn, so that each fallback meets each place at each stage."""
    number = list(STAGES).index(stage) + list(FAULTS).index(fault)
    return [Combination(fallback, TRIO[(number + position) % len(TRIO)]) for position, fallback in enumerate(STATUSES)]


def converse(rig: Rig, bad: str, stage: str, fault: str) -> Happened:
    """Two messages while one child is bad, then one after it was mended."""
    good = [name for name in TRIO if name != bad]
    well = {name: marking(name) for name in TRIO}
    rig.behave(**well)
    if stage == "negotiate":
        rig.forget()
    if stage == NEGOTIATE_AGAIN:
        rig.deliver(MESSAGE)
        rig.behave(**well)
    with ExitStack() as badly:
        if fault in DOWN:
            badly.enter_context(rig.down(bad, DOWN[fault]))
        else:
            rig[bad].behaviour = Behaviour(at={**well[bad].at, STAGES[stage]: FAULTS[fault][1]})
        first, second = rig.deliver(MESSAGE, MESSAGE)
        told = [rig.told(name) for name in good]
    rig.behave(**well)
    (mended,) = rig.deliver(MESSAGE)
    return Happened(first, second, mended, all(map(saw_both_whole, told)))


def saw_both_whole(told: MilterSession) -> bool:
    names = [name for name, _ in headers(told) if name in (b"Subject", b"From")]
    return names == [b"Subject", b"From"] * 2 and body(told) == MESSAGE.body * 2


@pytest.fixture(scope="module")
def matrix(lab: LabDirectory) -> Iterator[Matrix]:
    combinations = [Combination(fallback, bad) for fallback in STATUSES for bad in TRIO]
    rigs = {each: new_rig(lab, each) for each in combinations}
    with ThreadPoolExecutor(len(rigs)) as pool, ExitStack() as held:
        list(pool.map(Rig.start, rigs.values()))
        for rig in rigs.values():
            held.push(rig)
        yield Matrix(rigs)


def new_rig(lab: LabDirectory, combination: Combination) -> Rig:
    """The middle one of the bad children is given messages in lock-step."""
    bad = {"fallback_status": combination.fallback, "pipelining": "no" if combination.bad == "c2" else "yes"}
    keys = {combination.bad: {**bad, "reading_timeout": TIMEOUT_S, "end_of_message_timeout": TIMEOUT_S}}
    return Rig(lab.subdirectory(f"{combination.fallback}-{combination.bad}"), keys=keys, n_workers=1)


each_fault = pytest.mark.parametrize(("stage", "fault"), CASES)


@each_fault
def test_the_fallback_is_told_to_the_mta_and_never_before_mail(matrix: Matrix, stage: str, fault: str) -> None:
    happened = matrix.happened(stage, fault)
    told = {each: (result.first.status, result.first.stage) for each, result in happened.items()}
    assert told == {
        each: (STATUSES[each.fallback], "end-of-message" if each.fallback == "accept" else DECIDED_AT[stage])
        for each in happened
    }


@each_fault
def test_the_session_goes_on_without_the_child(matrix: Matrix, stage: str, fault: str) -> None:
    happened = matrix.happened(stage, fault)
    told = {each: (result.second.status, result.second.stage) for each, result in happened.items()}
    assert told == {
        each: (STATUSES[each.fallback], "end-of-message" if each.fallback == "accept" else "envelope-from")
        for each in happened
    }


@each_fault
def test_edits_of_the_others_count_and_half_done_ones_do_not(matrix: Matrix, stage: str, fault: str) -> None:
    for each, result in matrix.happened(stage, fault).items():
        marks = [edit for name in TRIO if name != each.bad for edit in marking_edits(name)]
        expected = marks if each.fallback == "accept" else []
        assert [list(result.first.edits), list(result.second.edits)] == [expected] * 2


@each_fault
def test_the_others_see_every_message_whole(matrix: Matrix, stage: str, fault: str) -> None:
    happened = matrix.happened(stage, fault)
    assert [each for each, result in happened.items() if each.fallback == "accept" and not result.whole] == []


@each_fault
def test_the_child_counts_again_in_the_next_session_once_it_is_mended(matrix: Matrix, stage: str, fault: str) -> None:
    marks = [edit for name in TRIO for edit in marking_edits(name)]
    for result in matrix.happened(stage, fault).values():
        assert (result.mended.status, list(result.mended.edits)) == (Status.ACCEPT, marks)


def marking_edits(name: str) -> list[Edit]:
    """What a marking child does to each message."""
    return [action for action in marking(name).at[Command.SMFIC_BODYEOB] if isinstance(action, AddHeader)]


# A reply too many


DECIDED_AT_WHEN_TWICE = {
    **dict.fromkeys(["negotiate", "connect", "helo"], "envelope-from"),
    "mail": "envelope-recipient",
    "rcpt": "data",
    **dict.fromkeys(["data", "header", "end of header", "body"], "end-of-message"),
}
"""A second reply in the same write lies there when the next command is sent, and is no answer to that."""

TWICE = {"negotiate": encode_reply(OptionNegotiation(6, 0, 0))}


@pytest.mark.parametrize("stage", DECIDED_AT_WHEN_TWICE)
def test_a_reply_too_many_is_not_taken_for_the_answer_to_the_next_command(matrix: Matrix, stage: str) -> None:
    rig = matrix.rigs[Combination("temporary-failure", "c2")]
    twice = Raw(TWICE.get(stage, encode_reply(CONTINUE)) * 2)
    rig.behave(c2=Behaviour(at={STAGES[stage]: (twice,)}))
    (outcome,) = rig.deliver(MESSAGE)
    assert (outcome.status, outcome.stage) == (Status.TEMPORARY_FAILURE, DECIDED_AT_WHEN_TWICE[stage])


def test_a_reply_too_many_to_the_end_of_a_message_is_not_taken_for_the_answer_to_the_next_mail(matrix: Matrix) -> None:
    rig = matrix.rigs[Combination("temporary-failure", "c2")]
    rig.behave(c2=Behaviour(at={STAGES[END]: (Raw(encode_reply(CONTINUE) + encode_reply(Reject())),)}))
    first, second = rig.deliver(MESSAGE, MESSAGE)
    assert (first.status, second.status) == (Status.ACCEPT, Status.ACCEPT)


# Deadlines


def test_progress_gives_a_child_more_time(matrix: Matrix) -> None:
    """It takes twice its timeout."""
    rig = matrix.rigs[Combination("temporary-failure", "c2")]
    slowly = [action for _ in range(4) for action in (Delay(float(TIMEOUT_S) / 2), Progress())]
    rig.behave(c2=Behaviour(at={STAGES[END]: (*slowly, AddHeader(b"X-Slow", b"1"), CONTINUE)}))
    (outcome,) = rig.deliver(MESSAGE)
    assert outcome.edits == (AddHeader(b"X-Slow", b"1"),)


# What the log says


@pytest.mark.parametrize("stage", ["negotiate", "mail", END])
def test_a_failure_is_one_warning_that_names_the_child_and_what_counts_now(matrix: Matrix, stage: str) -> None:
    rig = matrix.rigs[Combination("reject", "c2")]
    rig.behave()
    rig.forget()
    said = len(rig.manager.log_text())
    rig["c2"].behaviour = Behaviour(at={STAGES[stage]: (Raw(b"hello, this is no milter\r\n"),)})
    rig.deliver(MESSAGE, MESSAGE)
    lines = [line for line in rig.manager.log_text()[said:].splitlines() if " warning: " in line]
    word = {END: "end-of-message"}.get(stage, stage)
    assert [line.split(" warning: ")[1].split(" session=")[0] for line in lines] == ["child-failed"]
    assert f" child=c2 stage={word} " in lines[0]
    assert lines[0].endswith(" fallback=reject")
