"""Every pair of a stage and a misdeed of a child: what the MTA is told, and the line of the log that tells of it.

Each row of TABLE is a test with a manager, of which the middle one of three children does one thing wrong at one stage.
Its fallback is a temporary failure, so that it can be told from the reject that it gives too much. The worker knows
all children from a session before, except where the negotiation itself goes wrong. ``MtaPeer`` takes legal answers
only. That each fallback counts, and the children at other places, is ``test_faults_of_children``'s.

Headers and body reach a child in several ways, so the rows of those stages are tried in each (WAYS, IN_ADVANCE).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

import pytest

from mmgr.peers.behaviour import Action, Behaviour, Close, Hang, Raw
from mmgr.peers.delivery import Outcome, SmtpClient, Status
from mmgr.peers.mail import Message
from mmgr.protocol.constants import ActionFlag, Command
from mmgr.protocol.options import NO_STEP, OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    AddRcpt,
    Continue,
    Discard,
    Edit,
    Reject,
    ReplyMessage,
    Skip,
    encode_reply,
)
from tests.integration.rig import TRIO, Rig, marking
from tests.support.processes import LabDirectory
from workers.mta import BUDGET_S

BAD = "c2"
OTHERS = ("c1", "c3")
TIMEOUT_S = "0.4"
"""How long the bad child may take for an answer, at the end of the message too."""

LIMIT_S = float(TIMEOUT_S) + BUDGET_S
"""When the MTA must have had its last answer: the one deadline that can pass, and the time that we allow ourselves."""

STAGES = {
    "negotiate": Command.SMFIC_OPTNEG,
    "connect": Command.SMFIC_CONNECT,
    "helo": Command.SMFIC_HELO,
    "mail": Command.SMFIC_MAIL,
    "rcpt": Command.SMFIC_RCPT,
    "unknown": Command.SMFIC_UNKNOWN,
    "data": Command.SMFIC_DATA,
    "header": Command.SMFIC_HEADER,
    "end-of-header": Command.SMFIC_EOH,
    "body": Command.SMFIC_BODY,
    "end-of-message": Command.SMFIC_BODYEOB,
}
"""In the order of a session, in the words of the log."""

ANSWER = OptionNegotiation(6, int(ActionFlag.SMFIF_ADDHDRS), 0)
LATE = AddHeader(b"X-Late", b"1")

ACTIONS: Mapping[str, Sequence[Action]] = {
    "refuse": (),
    "hang past its deadline": (Hang(),),
    "close": (Close(),),
    "close in the middle of a reply": (Raw(b"\0\0\0\x10y550"), Close()),
    "garbage": (Raw(bytes(range(0x91, 0xD1))),),
    "oversize length": (Raw(b"\x7f\xff\xff\xffc"),),
    "reply not allowed at that stage": (),
    "edit it did not negotiate": (AddRcpt(b"<more@example.org>"), Continue()),
    "two verdicts": (Raw(encode_reply(Continue()) + encode_reply(Reject())),),
    "reply after its verdict": (Accept(), LATE),
}
"""Refuse: nobody listens when the child is first needed, as it declined all earlier stages. Which reply is not allowed
depends on the stage (NOT_ALLOWED). Two verdicts come in one write: else the second may come after the next command."""

NOT_ALLOWED: Mapping[str, ReplyMessage] = {
    "negotiate": Continue(),
    **dict.fromkeys(["connect", "helo", "unknown"], Discard()),
    **dict.fromkeys(["mail", "rcpt", "data", "end-of-message"], Skip()),
    **dict.fromkeys(["header", "end-of-header", "body"], AddHeader(b"X-Early", b"1")),
}

IN_ONE_WRITE: Mapping[tuple[str, str], Sequence[Action]] = {
    ("negotiate", "two verdicts"): (Raw(encode_reply(ANSWER) * 2),),
    ("negotiate", "reply after its verdict"): (Raw(encode_reply(ANSWER) + encode_reply(LATE)),),
    ("end-of-message", "reply after its verdict"): (Raw(encode_reply(Continue()) + encode_reply(LATE)),),
}
"""What these actions are at these stages: of the negotiation the answer to the offer is the verdict."""


# What the log says

REFUSED = 'kind=ChildUnavailable error="SOCKET: Connection refused"'
CLOSED = 'kind=ChildUnavailable error="connection closed"'
CUT_OFF = 'kind=ChildUnavailable error="connection closed in the middle of a packet; it looks like random bytes"'
SILENT = 'kind=ChildTimeout error="no answer in time"'
LENGTH = 'kind=ChildProtocolError error="packet length {} is not between 1 and 1048577; this looks like random bytes"'
GARBAGE = LENGTH.format(0x91929394)
OVERSIZE = LENGTH.format(0x7FFFFFFF)
NO_ANSWER = 'kind=ChildProtocolError error="answered the negotiation with {}"'
EARLY = 'kind=ChildProtocolError error="AddRcpt came before the end of the message"'
HEADER_OUT_OF_PLACE = 'kind=ChildProtocolError error="AddHeader is out of place"'
OUT_OF_PLACE = 'kind=ChildProtocolError error="AddRcpt is out of place"'
NOT_NEGOTIATED = 'kind=ChildProtocolError error="AddRcpt was not negotiated"'
SKIPS_NOTHING = 'kind=ChildProtocolError error="skip is no answer to the end of a message"'
UNASKED = 'kind=ChildProtocolError error="a reply that nobody asked for"'
REJECT_UNASKED = 'kind=ChildProtocolError error="Reject came unasked"'
NO_DISCARD = "discard means nothing at this stage"
NO_SKIP = "skip means nothing at this stage"
BEHIND = "a reply that nobody asked for"


class Expected(NamedTuple):
    """What becomes of the message, at which stage the MTA is told, with which edits, and every warning and error."""

    status: Status
    told_at: str
    edits: tuple[Edit, ...]
    logged: tuple[str, ...]


def deferred(told_at: str, stage: str, why: str) -> Expected:
    """The child is out: its fallback is told, and one line says at which stage it was found out, and why."""
    line = f"child-failed child={BAD} stage={stage} {why} fallback=temporary-failure"
    return Expected(Status.TEMPORARY_FAILURE, told_at, (), (line,))


def passes(marked_by: Sequence[str], *logged: str) -> Expected:
    """The message passes; these children changed it, each by its mark, and nobody else did."""
    edits = tuple(AddHeader(f"X-{name}".encode(), b"seen") for name in marked_by)
    return Expected(Status.ACCEPT, "end-of-message", edits, logged)


def unusable(stage: str, error: str) -> str:
    """The line for a reply that makes no difference."""
    return f'child-reply-unusable child={BAD} stage={stage} error="{error}" counted_as=continue'


TABLE: Mapping[str, Mapping[str, Expected]] = {
    "negotiate": {  # a refusal is never told before MAIL, as one at connect or helo is final for the SMTP session
        "refuse": deferred("envelope-from", "negotiate", REFUSED),
        "hang past its deadline": deferred("envelope-from", "negotiate", SILENT),
        "close": deferred("envelope-from", "negotiate", CLOSED),
        "close in the middle of a reply": deferred("envelope-from", "negotiate", CUT_OFF),
        "garbage": deferred("envelope-from", "negotiate", GARBAGE),
        "oversize length": deferred("envelope-from", "negotiate", OVERSIZE),
        "reply not allowed at that stage": deferred("envelope-from", "negotiate", NO_ANSWER.format("Continue")),
        "edit it did not negotiate": deferred("envelope-from", "negotiate", NO_ANSWER.format("AddRcpt")),
        "two verdicts": deferred("envelope-from", "connect", UNASKED),  # found out with the next command
        "reply after its verdict": deferred("envelope-from", "connect", UNASKED),
    },
    "connect": {
        "refuse": deferred("envelope-from", "connect", REFUSED),
        "hang past its deadline": deferred("envelope-from", "connect", SILENT),
        "close": deferred("envelope-from", "connect", CLOSED),
        "close in the middle of a reply": deferred("envelope-from", "connect", CUT_OFF),
        "garbage": deferred("envelope-from", "connect", GARBAGE),
        "oversize length": deferred("envelope-from", "connect", OVERSIZE),
        "reply not allowed at that stage": passes(TRIO, unusable("connect", NO_DISCARD)),
        "edit it did not negotiate": deferred("envelope-from", "connect", EARLY),
        "two verdicts": deferred("envelope-from", "helo", UNASKED),
        "reply after its verdict": passes(OTHERS),  # it let the session go, so nobody listens to it any more
    },
    "helo": {
        "refuse": deferred("envelope-from", "helo", REFUSED),
        "hang past its deadline": deferred("envelope-from", "helo", SILENT),
        "close": deferred("envelope-from", "helo", CLOSED),
        "close in the middle of a reply": deferred("envelope-from", "helo", CUT_OFF),
        "garbage": deferred("envelope-from", "helo", GARBAGE),
        "oversize length": deferred("envelope-from", "helo", OVERSIZE),
        "reply not allowed at that stage": passes(TRIO, unusable("helo", NO_DISCARD)),
        "edit it did not negotiate": deferred("envelope-from", "helo", EARLY),
        "two verdicts": deferred("envelope-from", "mail", UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "mail": {
        "refuse": deferred("envelope-from", "mail", REFUSED),
        "hang past its deadline": deferred("envelope-from", "mail", SILENT),
        "close": deferred("envelope-from", "mail", CLOSED),
        "close in the middle of a reply": deferred("envelope-from", "mail", CUT_OFF),
        "garbage": deferred("envelope-from", "mail", GARBAGE),
        "oversize length": deferred("envelope-from", "mail", OVERSIZE),
        "reply not allowed at that stage": passes(TRIO, unusable("mail", NO_SKIP)),
        "edit it did not negotiate": deferred("envelope-from", "mail", EARLY),
        "two verdicts": deferred("envelope-recipient", "rcpt", UNASKED),
        "reply after its verdict": passes(OTHERS),  # it let the message go
    },
    "rcpt": {
        "refuse": deferred("envelope-recipient", "rcpt", REFUSED),
        "hang past its deadline": deferred("envelope-recipient", "rcpt", SILENT),
        "close": deferred("envelope-recipient", "rcpt", CLOSED),
        "close in the middle of a reply": deferred("envelope-recipient", "rcpt", CUT_OFF),
        "garbage": deferred("envelope-recipient", "rcpt", GARBAGE),
        "oversize length": deferred("envelope-recipient", "rcpt", OVERSIZE),
        "reply not allowed at that stage": passes(TRIO, unusable("rcpt", NO_SKIP)),
        "edit it did not negotiate": deferred("envelope-recipient", "rcpt", EARLY),
        "two verdicts": deferred("data", "data", UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "unknown": {  # the answer to an unknown command decides nothing: the fallback is told at DATA
        "refuse": deferred("data", "unknown", REFUSED),
        "hang past its deadline": deferred("data", "unknown", SILENT),
        "close": deferred("data", "unknown", CLOSED),
        "close in the middle of a reply": deferred("data", "unknown", CUT_OFF),
        "garbage": deferred("data", "unknown", GARBAGE),
        "oversize length": deferred("data", "unknown", OVERSIZE),
        "reply not allowed at that stage": passes(TRIO, unusable("unknown", NO_DISCARD)),
        "edit it did not negotiate": deferred("data", "unknown", EARLY),
        "two verdicts": deferred("data", "data", UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "data": {
        "refuse": deferred("data", "data", REFUSED),
        "hang past its deadline": deferred("data", "data", SILENT),
        "close": deferred("data", "data", CLOSED),
        "close in the middle of a reply": deferred("data", "data", CUT_OFF),
        "garbage": deferred("data", "data", GARBAGE),
        "oversize length": deferred("data", "data", OVERSIZE),
        "reply not allowed at that stage": passes(TRIO, unusable("data", NO_SKIP)),
        "edit it did not negotiate": deferred("data", "data", EARLY),
        "two verdicts": deferred("end-of-message", "end-of-message", UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "header": {  # children are given headers and body once the MTA has sent the end of the message
        "refuse": deferred("end-of-message", "end-of-message", REFUSED),
        "hang past its deadline": deferred("end-of-message", "header", SILENT),
        "close": deferred("end-of-message", "header", CLOSED),
        "close in the middle of a reply": deferred("end-of-message", "header", CUT_OFF),
        "garbage": deferred("end-of-message", "header", GARBAGE),
        "oversize length": deferred("end-of-message", "header", OVERSIZE),
        "reply not allowed at that stage": deferred("end-of-message", "header", HEADER_OUT_OF_PLACE),
        "edit it did not negotiate": deferred("end-of-message", "header", OUT_OF_PLACE),
        "two verdicts": deferred("end-of-message", "end-of-message", REJECT_UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "end-of-header": {
        "refuse": deferred("end-of-message", "end-of-message", REFUSED),
        "hang past its deadline": deferred("end-of-message", "end-of-header", SILENT),
        "close": deferred("end-of-message", "end-of-header", CLOSED),
        "close in the middle of a reply": deferred("end-of-message", "end-of-header", CUT_OFF),
        "garbage": deferred("end-of-message", "end-of-header", GARBAGE),
        "oversize length": deferred("end-of-message", "end-of-header", OVERSIZE),
        "reply not allowed at that stage": deferred("end-of-message", "end-of-header", HEADER_OUT_OF_PLACE),
        "edit it did not negotiate": deferred("end-of-message", "end-of-header", OUT_OF_PLACE),
        "two verdicts": deferred("end-of-message", "end-of-message", REJECT_UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "body": {
        "refuse": deferred("end-of-message", "end-of-message", REFUSED),
        "hang past its deadline": deferred("end-of-message", "body", SILENT),
        "close": deferred("end-of-message", "body", CLOSED),
        "close in the middle of a reply": deferred("end-of-message", "body", CUT_OFF),
        "garbage": deferred("end-of-message", "body", GARBAGE),
        "oversize length": deferred("end-of-message", "body", OVERSIZE),
        "reply not allowed at that stage": deferred("end-of-message", "body", HEADER_OUT_OF_PLACE),
        "edit it did not negotiate": deferred("end-of-message", "body", OUT_OF_PLACE),
        "two verdicts": deferred("end-of-message", "end-of-message", REJECT_UNASKED),
        "reply after its verdict": passes(OTHERS),
    },
    "end-of-message": {
        "refuse": deferred("end-of-message", "end-of-message", REFUSED),
        "hang past its deadline": deferred("end-of-message", "end-of-message", SILENT),
        "close": deferred("end-of-message", "end-of-message", CLOSED),
        "close in the middle of a reply": deferred("end-of-message", "end-of-message", CUT_OFF),
        "garbage": deferred("end-of-message", "end-of-message", GARBAGE),
        "oversize length": deferred("end-of-message", "end-of-message", OVERSIZE),
        "reply not allowed at that stage": deferred("end-of-message", "end-of-message", SKIPS_NOTHING),
        "edit it did not negotiate": deferred("end-of-message", "end-of-message", NOT_NEGOTIATED),
        "two verdicts": passes(OTHERS, unusable("end-of-message", BEHIND)),  # the first counts
        "reply after its verdict": passes(OTHERS, unusable("end-of-message", BEHIND)),
    },
}


# Headers and body in advance

LONG = Message(headers=((b"Subject", b" hello"), (b"To", b" <a@example.com>")), chunks=(b"one\r\n", b"two\r\n"))

WAYS: Mapping[str, tuple[str, Message]] = {
    "in lock-step": ("no", LONG),
    "in batches": ("yes", LONG),
    "all at once": ("yes", replace(LONG, chunks=LONG.chunks[:1])),
}
"""How the bad child is given a message: its setting ``pipelining``, and a message that is sent in that way then."""

AHEAD = ("data", "header", "end-of-header", "body", "end-of-message")
"""Stages at which, or behind which, the ways differ."""

IN_ADVANCE: Mapping[tuple[str, str, str], Expected] = {
    (way, stage, "two verdicts"): Expected(Status.REJECT, "end-of-message", (), ())
    for way, stages in {"in batches": ["header"], "all at once": ["header", "end-of-header", "body"]}.items()
    for stage in stages
}
"""Where the ways make a difference: the next command was sent already, and the second verdict answers that. What the
child says behind it is seen, and remarked upon, only if it came in the same moment (``SEEN_BY_CHANCE``)."""

SEEN_BY_CHANCE = f'child-reply-unusable child={BAD} stage=end-of-message error="{BEHIND}" counted_as=reject'

BY_CHANCE = {
    ("all at once", stage, action)
    for stage in ("header", "end-of-header")
    for action in ("close", "close in the middle of a reply")
}
"""No tests: the child may be found gone when it is read from or when it is sent the body, whichever comes first."""

CASES = [
    (way, stage, action)
    for way in WAYS
    for stage in (STAGES if way == "in lock-step" else AHEAD)
    for action in ACTIONS
    if (way, stage, action) not in BY_CHANCE
]


class Happened(NamedTuple):
    """What came of a message with a bad child, as in the table, and of a message in a session after it was mended."""

    bad: Expected
    elapsed_s: float
    violations: Sequence[str]
    mended: Expected


def converse(rig: Rig, message: Message, stage: str, action: str) -> Happened:
    well = {name: marking(name) for name in OTHERS} | {BAD: first_needed_at(stage if action == "refuse" else "connect")}
    rig.behave(**well)
    rig.forget()
    if stage != "negotiate":
        rig.deliver(message)
    said = len(rig.manager.log_text())
    with ExitStack() as held:
        if action == "refuse":
            held.enter_context(rig.down(BAD, leaves_socket=True))
        else:
            rig[BAD].behaviour = doing(stage, action)
        session = held.enter_context(rig.session(SmtpClient(unknown=b"XYZZY") if stage == "unknown" else None))
        outcome = session.deliver(message)
    rig.behave(**well)
    (mended,) = rig.deliver(message)
    return Happened(seen(outcome, complaints(rig, said)), outcome.elapsed_s, session.peer.violations, seen(mended, ()))


def first_needed_at(stage: str) -> Behaviour:
    """A child that is well and declines all that comes before the stage."""
    before = list(STAGES.values())[1 : list(STAGES).index(stage)]
    steps = int(sum(NO_STEP[command] for command in before))
    return Behaviour(actions=ANSWER.actions, steps=steps, at=marking(BAD).at)


def doing(stage: str, action: str) -> Behaviour:
    """A child that does one thing wrong at one stage."""
    actions = IN_ONE_WRITE.get((stage, action)) or ACTIONS[action] or (NOT_ALLOWED[stage],)
    return Behaviour(actions=ANSWER.actions, at={**marking(BAD).at, STAGES[stage]: actions})


def seen(outcome: Outcome, logged: tuple[str, ...]) -> Expected:
    return Expected(outcome.status, outcome.stage, outcome.edits, logged)


def complaints(rig: Rig, said: int) -> tuple[str, ...]:
    """All warnings and errors that the manager wrote since then, without what differs each time.

    Its only worker wrote all those of a session before it served the next.
    """
    lines = re.findall(r"^\S+ \[\d+\] (?:warning|error): (.*)$", rig.manager.log_text()[said:], re.MULTILINE)
    return tuple(re.sub(r" session=\S+", "", line).replace(str(rig[BAD].endpoint), "SOCKET") for line in lines)


@pytest.fixture(scope="module")
def rigs(lab: LabDirectory) -> Iterator[Mapping[str, Rig]]:
    """A rig for each setting of the bad child's ``pipelining``."""
    keys = {"fallback_status": "temporary-failure", "reading_timeout": TIMEOUT_S, "end_of_message_timeout": TIMEOUT_S}
    with ExitStack() as held:
        rigs = {
            setting: Rig(lab.subdirectory("table"), keys={BAD: {**keys, "pipelining": setting}}, n_workers=1)
            for setting in ("no", "yes")
        }
        for rig in rigs.values():
            held.enter_context(rig)
        yield rigs


@pytest.mark.parametrize(("way", "stage", "action"), CASES)
def test_the_mta_gets_a_legal_answer_in_time_and_the_log_says_why(
    rigs: Mapping[str, Rig], way: str, stage: str, action: str
) -> None:
    setting, message = WAYS[way]
    happened = converse(rigs[setting], message, stage, action)
    if (way, stage, action) in IN_ADVANCE:
        remarks = tuple(line for line in happened.bad.logged if line != SEEN_BY_CHANCE)
        assert happened.bad._replace(logged=remarks) == IN_ADVANCE[way, stage, action]
    else:
        assert happened.bad == TABLE[stage][action]
    assert happened.violations == []
    assert happened.elapsed_s <= LIMIT_S
    assert happened.mended == passes(TRIO)


def test_every_pair_of_stage_and_action_is_in_the_table() -> None:
    assert {stage: list(rows) for stage, rows in TABLE.items()} == {stage: list(ACTIONS) for stage in STAGES}
