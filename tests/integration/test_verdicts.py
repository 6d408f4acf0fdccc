"""What verdicts of one child mean for the others: acceptance, reply codes, quarantine, evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmgr.peers.behaviour import Action, Behaviour, at_stages
from mmgr.peers.delivery import Status
from mmgr.peers.mail import Message
from mmgr.protocol.commands import Mail
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
from tests.support.processes import LabDirectory

NO_USER = ReplyCode(b"550 5.1.1 no such user")
BUSY = ReplyCode(b"450 4.2.1 busy")


@pytest.fixture
def trio(trio_both_ways: Rig) -> Rig:
    """Every test of this module runs in both ways."""
    return trio_both_ways


# Acceptance by one child


@pytest.mark.parametrize("stage", list(STAGES))
def test_acceptance_by_one_child_at_a_stage_leaves_the_others(trio: Rig, stage: str) -> None:
    trio.behave(c1=turns(STAGES[stage], Accept()), c2=marking("c2"), c3=marking("c3"))
    (outcome,) = trio.deliver(numbered(1))
    assert outcome.message.headers[1:] == ((b"X-c2", b" seen"), (b"X-c3", b" seen"))
    assert [body(trio.told(name)) for name in ("c2", "c3")] == [b"body 1\r\n"] * 2


EVERYTHING = ["OptionNegotiation", "Connect", "Helo", "Mail", "Rcpt", "Data", "Header", "Eoh", "Body", "BodyEob"]
LAST_TOLD = {"mail": "Mail", "rcpt": "Rcpt", "data": "Data", "header": "Eoh", "end_of_header": "Eoh", "body": "BodyEob"}
"""Of a batch a child may be told the rest."""


@pytest.mark.parametrize("stage", LAST_TOLD)
def test_a_child_that_accepted_is_told_nothing_more_of_the_message(trio: Rig, stage: str) -> None:
    trio.behave(c1=turns(STAGES[stage], Accept()))
    trio.deliver(Message(headers=((b"One", b" 1"),), chunks=(b"1\r\n",)))
    told = [kind for kind in kinds(trio["c1"].wait_for_end()) if kind not in ("Abort", "Quit")]
    assert set(told) <= set(EVERYTHING[: EVERYTHING.index(LAST_TOLD[stage]) + 1])


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_child_that_accepted_a_message_is_asked_about_the_next(trio: Rig, stage: str) -> None:
    trio.behave(c1=turns(STAGES[stage], Accept(), Reject()), c2=marking("c2"))
    first, second = trio.deliver(numbered(1), numbered(2))
    assert (first.status, second.status) == (Status.ACCEPT, Status.REJECT)


@pytest.mark.parametrize("stage", ["connect", "helo"])
def test_a_child_that_accepted_the_connection_is_out_for_the_session(trio: Rig, stage: str) -> None:
    trio.behave(c1=Behaviour(at=at_stages(**{stage: Accept()}, mail=Reject())), c2=marking("c2"))
    first, second = trio.deliver(numbered(1), numbered(2))
    assert (first.status, second.status) == (Status.ACCEPT, Status.ACCEPT)
    assert only(trio.told("c1"), Mail) == []


@pytest.mark.parametrize("stage", ["connect", "helo", "mail", "rcpt", "data"])
def test_acceptance_by_all_children_at_a_stage_is_told_at_once(trio: Rig, stage: str) -> None:
    accepting = Behaviour(at=at_stages(**{stage: Accept()}))
    trio.behave(c1=accepting, c2=accepting, c3=accepting)
    (outcome,) = trio.deliver(Message())
    names = {"mail": "envelope-from", "rcpt": "envelope-recipient"}
    assert (outcome.verdict, outcome.stage) == (Accept(), names.get(stage, stage))


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_after_acceptance_by_all_children_the_next_message_is_asked_about(trio: Rig, stage: str) -> None:
    trio.behave(**{name: turns(STAGES[stage], Accept(), Reject()) for name in TRIO})
    first, second = trio.deliver(numbered(1), numbered(2))
    assert (first.status, second.status) == (Status.ACCEPT, Status.REJECT)


# Reply codes


@pytest.mark.parametrize(
    "text",
    [
        b"550 no enhanced code",
        b"550 5.7.1 one line",
        b"550-5.7.1 first\r\n550 5.7.1 second",
        b"550-first\r\n550-second\r\n550 third",
        b"450 4.7.1 later",
        b"421 4.3.2 go away",
        b"599 5.0.0 \xff 8 bit",
        b"550 all of 100%% sure",
        b"554 " + b"x" * 900,
    ],
)
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_message"])
def test_a_reply_code_reaches_the_mta_as_it_is(trio: Rig, stage: str, text: bytes) -> None:
    trio.behave(c2=Behaviour(at=at_stages(**{stage: ReplyCode(text)})))
    assert trio.deliver()[0].verdict == ReplyCode(text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (b"550", Reject()),
        (b"550 4.7.1 not its class", Reject()),
        (b"550-without an end", Reject()),
        (b"550-5.7.1 a\r\n450 4.7.1 b", Reject()),
        (b"550 5.7.1 a\nb", Reject()),
        (b"550 5.7.1 a\r\n", Reject()),
        (b"450", TempFail()),
        (b"450 5.7.1 not its class", TempFail()),
        (b"450 4.7.1 a\rb", TempFail()),
        (b"550x", Reject()),
    ],
)
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_message"])
def test_a_malformed_reply_text_is_lost_but_not_its_meaning(
    trio: Rig, stage: str, text: bytes, verdict: Verdict
) -> None:
    trio.behave(c2=Behaviour(at=at_stages(**{stage: ReplyCode(text)})))
    assert trio.deliver()[0].verdict == verdict


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_message"])
def test_a_reply_text_of_60_000_bytes_gets_a_refusal_to_the_mta(trio: Rig, stage: str) -> None:
    trio.behave(c2=Behaviour(at=at_stages(**{stage: ReplyCode(b"550 " + b"x" * 60_000)})))
    assert trio.deliver()[0].status is Status.REJECT


# Quarantine


def test_quarantine_by_one_child_lets_the_others_see_the_message(trio: Rig) -> None:
    trio.behave(c1=Behaviour(at=at_stages(end_of_message=[Quarantine(b"spam"), Continue()])), c3=marking("c3"))
    (outcome,) = trio.deliver(numbered(1))
    assert (outcome.status, outcome.quarantine) == (Status.QUARANTINE, b"spam")
    assert [body(trio.told(name)) for name in TRIO] == [b"body 1\r\n"] * 3


def test_the_reasons_of_several_quarantines_are_joined(trio: Rig) -> None:
    trio.behave(
        c1=Behaviour(at=at_stages(end_of_message=[Quarantine(b"one"), Continue()])),
        c2=Behaviour(at=at_stages(end_of_message=[Quarantine(b"two"), Accept()])),
        c3=Behaviour(at=at_stages(end_of_message=[Quarantine(b"one"), Continue()])),
    )
    assert trio.deliver()[0].quarantine == b"one; two"


def test_a_refusal_counts_more_than_an_earlier_quarantine(trio: Rig) -> None:
    trio.behave(
        c1=Behaviour(at=at_stages(end_of_message=[Quarantine(b"one"), Continue()])),
        c3=Behaviour(at=at_stages(end_of_message=NO_USER)),
    )
    (outcome,) = trio.deliver()
    assert (outcome.verdict, outcome.edits) == (NO_USER, ())


# Evaluation mode


@pytest.fixture(scope="module")
def evaluating_of_module(lab: LabDirectory) -> Iterator[Rig]:
    keys = {"c2": {"evaluation_mode": "yes", "fallback_status": "reject", "reading_timeout": "0.3"}}
    with Rig(lab.subdirectory("evaluating"), keys=keys) as rig:
        yield rig


@pytest.fixture
def evaluating(evaluating_of_module: Rig) -> Rig:
    """Three children, of which c2 is only evaluated."""
    evaluating_of_module.behave()
    return evaluating_of_module


EVALUATED = {"r": Reject(), "t": TempFail(), "d": Discard(), "y": NO_USER, "a": Accept()}


@pytest.mark.parametrize("verdict", EVALUATED.values(), ids=EVALUATED)
@pytest.mark.parametrize("stage", ["connect", "helo", *STAGES])
def test_a_verdict_of_an_evaluated_child_never_counts(evaluating: Rig, stage: str, verdict: Action) -> None:
    evaluating.behave(c1=marking("c1"), c2=Behaviour(at=at_stages(**{stage: verdict})), c3=marking("c3"))
    for outcome in evaluating.deliver(numbered(1), numbered(2)):
        assert (outcome.status, outcome.refused) == (Status.ACCEPT, ())
        assert [name for name, _ in outcome.message.headers] == [b"Subject", b"X-c1", b"X-c3"]


def test_edits_of_an_evaluated_child_never_count(evaluating: Rig) -> None:
    edits = [AddHeader(b"X-No", b"1"), ReplBody(b"no\r\n"), Quarantine(b"no"), Continue()]
    evaluating.behave(c2=Behaviour(at=at_stages(end_of_message=edits)))
    assert evaluating.deliver(numbered(1))[0].edits == ()
    assert (headers(evaluating.told("c3")), body(evaluating.told("c3"))) == (
        [(b"Subject", b"number 1")],
        b"body 1\r\n",
    )


def test_the_verdict_of_a_child_behind_an_evaluated_one_counts(evaluating: Rig) -> None:
    evaluating.behave(
        c2=Behaviour(at=at_stages(end_of_message=Reject())), c3=Behaviour(at=at_stages(end_of_message=NO_USER))
    )
    assert evaluating.deliver()[0].verdict == NO_USER


def test_the_failure_of_an_evaluated_child_never_counts(evaluating: Rig) -> None:
    evaluating.behave(c2=Behaviour(at={}, version=99, is_blunt=True), c3=marking("c3"))
    (outcome,) = evaluating.deliver()
    assert outcome.message.headers[-1] == (b"X-c3", b" seen")
