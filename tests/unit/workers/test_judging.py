"""Children of one group at work on one message at the same time: whose verdict counts, who is let go, what is edited.

Every child here has a milter of its own behind a real socket. Who acts first is arranged by events, never by time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mmgr.config.model import FallbackStatus
from mmgr.endpoint import Endpoint
from mmgr.peers.apply import apply_edits
from mmgr.peers.mail import Message as Mail
from mmgr.protocol.commands import Header, encode_command
from mmgr.protocol.constants import Command, ProtocolFlag
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    ChgHeader,
    Continue,
    Discard,
    Edit,
    InsHeader,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    TempFail,
    Verdict,
)
from tests.unit.workers.company import EVERYTHING, Answer, Company
from workers import judging
from workers.message import Message
from workers.spool import BodySpool

WAIT_S = 20.0
"""How long a test waits for what comes at once: only a failing test waits that long."""

Pair = tuple[bytes, bytes]
SEEN: list[Pair] = [(b"X-Rep", b" 1"), (b"Subject", b" hi"), (b"X-Rep", b" 2"), (b"X-Rep", b" 3")]
OWN = (b"(the MTA's own)", b"")
"""Stands for the Received that Postfix has put on top: it counts for insertions, and no milter sees it."""

CONTENT = (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY, Command.SMFIC_BODYEOB)

either_way = pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "lock-step"])


def end(*answers: Answer) -> dict[int, list[Answer]]:
    return {Command.SMFIC_BODYEOB: list(answers)}


def awaiting(event: threading.Event) -> Callable[[], object]:
    """What a milter does to wait for something else to have happened."""

    def wait() -> None:
        assert event.wait(WAIT_S), "it never happened"

    return wait


def made(headers: Sequence[Pair] = SEEN) -> Message:
    """A message of a Postfix."""
    message = Message(True, BodySpool(1_000_000))
    for name, value in headers:
        header = Header(name, value)
        message.headers.append(encode_command(header))
    message.body.add_payload(b"body\r\n")
    return message


def shown(message: Message) -> list[Pair]:
    """The headers that a further child would see."""
    return [(field.name, field.value) for field in message.headers]


def delivered(edits: Sequence[Edit], headers: Sequence[Pair] = SEEN) -> list[Pair]:
    """The headers that Postfix makes of these edits, its own left out."""
    done = apply_edits(Mail(headers=(OWN, *headers)), edits, has_leading_space=True)
    return [pair for pair in done.headers if pair != OWN]


def body(message: Message) -> bytes:
    return b"".join(frame[PAYLOAD:] for frame in message.body.frames())


# ---- edits


@either_way
def test_edits_are_applied_in_configured_order_whoever_ends_first(company: Company, pipelining: bool) -> None:
    second_is_done = threading.Event()
    first_edits = [AddHeader(b"X-First", b"a"), ReplBody(b"first")]
    company.add(script=end(awaiting(second_is_done), *first_edits, Continue()), scan_group="g", pipelining=pipelining)
    second_edits = [AddHeader(b"X-Second", b"b"), ReplBody(b"second")]
    company.add(script=end(*second_edits, Continue(), second_is_done.set), scan_group="g", pipelining=pipelining)
    message = made()
    assert company.judge(message) is None
    assert message.edits == [first_edits[0], second_edits[0]]
    assert body(message) == b"second"


def test_each_child_numbers_the_headers_that_it_saw(company: Company) -> None:
    """The second child's third X-Rep is the second of those that the first child has left."""
    company.add(script=end(ChgHeader(1, b"X-Rep", b""), Continue()), scan_group="g")
    company.add(
        script=end(InsHeader(1, b"X-Top", b"t"), ChgHeader(3, b"X-Rep", b"changed"), Continue()), scan_group="g"
    )
    message = made()
    assert company.judge(message) is None
    assert delivered(message.edits) == shown(message)
    assert [value for name, value in shown(message) if name == b"X-Rep"] == [b" 2", b"changed"]


def test_a_header_that_one_of_the_group_deleted_is_not_there_for_the_other_to_change(company: Company) -> None:
    company.add(script=end(ChgHeader(2, b"X-Rep", b""), Continue()), scan_group="g")
    company.add(script=end(ChgHeader(2, b"X-Rep", b"changed"), Continue()), scan_group="g")
    message = made()
    assert company.judge(message) is None
    assert delivered(message.edits) == shown(message) == [SEEN[0], SEEN[1], SEEN[3]]


def test_a_header_that_one_of_the_group_added_does_not_count_for_the_other(company: Company) -> None:
    company.add(script=end(InsHeader(0, b"X-Rep", b"on top"), Continue()), scan_group="g")
    company.add(script=end(ChgHeader(1, b"X-Rep", b"was 1"), Continue()), scan_group="g")
    message = made()
    assert company.judge(message) is None
    assert [value for name, value in shown(message) if name == b"X-Rep"] == [b"on top", b"was 1", b" 2", b" 3"]
    assert delivered(message.edits) == shown(message)


def test_the_child_behind_a_group_sees_what_all_of_it_did(company: Company) -> None:
    company.add(script=end(AddHeader(b"X-One", b"1"), Continue()), scan_group="g")
    company.add(script=end(ChgHeader(1, b"X-Rep", b""), ReplBody(b"new"), Continue()), scan_group="g")
    _, behind = company.add()
    message = made()
    company.judge(message)
    company.end()
    told = [(each.name, each.value) for each in behind.commands() if isinstance(each, Header)]
    assert told == [*SEEN[1:], (b"X-One", b"1")] == shown(message)


def random_edits(chance: random.Random) -> list[Edit]:
    """Some header edits near what is there; changes carry what tells them apart."""
    made_up: list[Edit] = []
    for _ in range(chance.randrange(4)):
        name = chance.choice([b"X-Rep", b"x-rep", b"Subject", b"X-New"])
        value = b"%d" % chance.randrange(1000)
        made_up.append(
            chance.choice(
                [
                    AddHeader(name, value),
                    InsHeader(chance.randrange(8), name, value),
                    ChgHeader(chance.randrange(1, 5), name, value),
                    ChgHeader(chance.randrange(1, 5), name, b""),
                ]
            )
        )
    return made_up


@pytest.mark.parametrize("seed", range(20))
def test_what_the_mta_is_told_makes_the_message_that_the_next_child_sees(company: Company, seed: int) -> None:
    chance = random.Random(seed)
    for group in ("g", "g", "g", "", "h", "h"):
        company.add(script=end(*random_edits(chance), Continue()), scan_group=group)
    message = made()
    assert company.judge(message) is None
    assert delivered(message.edits) == shown(message)


def test_quarantine_reasons_of_a_group_are_joined_in_configured_order(company: Company) -> None:
    second_is_done = threading.Event()
    company.add(script=end(awaiting(second_is_done), Quarantine(b"one"), Continue()), scan_group="g")
    company.add(script=end(Quarantine(b"two"), Continue(), second_is_done.set), scan_group="g")
    message = made()
    assert company.judge(message) is None
    assert message.quarantine() == Quarantine(b"one; two")


# ---- who decides


class Follower:
    """Sees, as the MTA's patience is thought of after each step, when a child has given its verdict."""

    def __init__(self, company: Company, position: int) -> None:
        self.has_decided = threading.Event()
        self._company = company
        self._position = position

    def __call__(self) -> None:
        if isinstance(self._company.children[self._position].verdict, (Reject, TempFail, Discard)):
            self.has_decided.set()


@either_way
@pytest.mark.parametrize("verdict", [TempFail(), Discard(), Reject()], ids=lambda verdict: type(verdict).__name__)
def test_an_earlier_slower_child_still_decides(company: Company, verdict: Verdict, pipelining: bool) -> None:
    second = Follower(company, 1)
    company.add(script=end(awaiting(second.has_decided), verdict), scan_group="g", pipelining=pipelining)
    company.add(script={Command.SMFIC_HEADER: [Reject()]}, scan_group="g", pipelining=pipelining)
    assert judging.judge(company.children, made(), second) == (verdict, "child1")


@either_way
def test_an_earlier_slower_child_that_lets_the_message_pass_leaves_the_decision(
    company: Company, pipelining: bool
) -> None:
    second = Follower(company, 1)
    edits = [AddHeader(b"X", b"y"), ReplBody(b"new")]
    company.add(script=end(awaiting(second.has_decided), *edits, Accept()), scan_group="g", pipelining=pipelining)
    company.add(script=end(TempFail()), scan_group="g", pipelining=pipelining)
    message = made()
    assert judging.judge(company.children, message, second) == (TempFail(), "child2")
    assert (message.edits, body(message)) == ([], b"body\r\n")


@either_way
@pytest.mark.parametrize(
    "command", [Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY, Command.SMFIC_BODYEOB]
)
def test_children_behind_one_that_decided_are_let_go(company: Company, command: int, pipelining: bool) -> None:
    """The one behind would never answer: that the judgement ends is the proof."""
    is_over = threading.Event()
    company.add(script={command: [Reject()]}, scan_group="g", pipelining=pipelining)
    hanging = {Command.SMFIC_HEADER: [awaiting(is_over), None]}
    company.add(script=hanging, scan_group="g", pipelining=pipelining)
    company.add(script=end(awaiting(is_over), None), scan_group="g", pipelining=pipelining)
    try:
        assert company.judge(made()) == (Reject(), "child1")
    finally:
        is_over.set()
    assert [child.failure for child in company.children] == [None] * 3
    assert [child.is_asked for child in company.children] == [False] * 3


def test_one_in_the_middle_that_decides_lets_go_those_behind_and_waits_for_those_ahead(company: Company) -> None:
    is_over = threading.Event()
    second = Follower(company, 1)
    company.add(script=end(awaiting(second.has_decided), AddHeader(b"X", b"y"), Continue()), scan_group="g")
    company.add(script={Command.SMFIC_EOH: [Discard()]}, scan_group="g")
    company.add(script=end(awaiting(is_over), None), scan_group="g")
    try:
        assert judging.judge(company.children, made(), second) == (Discard(), "child2")
    finally:
        is_over.set()


def test_a_child_behind_the_group_that_decided_is_not_given_the_message(company: Company) -> None:
    company.add(scan_group="g")
    company.add(script=end(Reject()), scan_group="g")
    _, behind = company.add(scan_group="h")
    assert company.judge(made()) == (Reject(), "child2")
    company.end()
    assert behind.sessions == []


def test_a_child_that_was_let_go_is_asked_anew_at_the_next_message(company: Company) -> None:
    is_over = threading.Event()
    _, first = company.add(script=end(Reject()), scan_group="g")
    _, second = company.add(script=end(awaiting(is_over), Continue()), scan_group="g")
    company.ask("connect", "helo", "mail", "rcpt")
    assert company.judge(made()) == (Reject(), "child1")
    is_over.set()
    for child in company.children:
        child.end_message()
    first.script = {}
    company.history = company.history[:2]
    assert company.ask("mail", "rcpt") == [None, None]
    assert company.judge(made()) is None
    company.end()
    assert second.heard(2) == "O C H M R L L L L N B E Q"


def test_progress_of_one_does_not_keep_another_from_deciding(company: Company) -> None:
    company.add(script=end(Progress(), Progress(), Continue()), scan_group="g")
    company.add(script={Command.SMFIC_EOH: [Progress(), Reject()]}, scan_group="g")
    assert company.judge(made()) == (Reject(), "child2")


def test_a_child_in_evaluation_mode_lets_nobody_go(company: Company) -> None:
    second = threading.Event()
    company.add(script={Command.SMFIC_HEADER: [Reject(), second.set]}, scan_group="g", evaluation_mode=True)
    edit = AddHeader(b"X", b"y")
    company.add(script=end(awaiting(second), edit, Continue()), scan_group="g")
    message = made()
    assert company.judge(message) is None
    assert message.edits == [edit]


@pytest.mark.parametrize("group", ["g", ""])
def test_children_that_want_and_answer_different_things_work_side_by_side(company: Company, group: str) -> None:
    no_replies = ProtocolFlag.SMFIP_NR_HDR | ProtocolFlag.SMFIP_NR_EOH | ProtocolFlag.SMFIP_NR_BODY
    no_content = ProtocolFlag.SMFIP_NOHDRS | ProtocolFlag.SMFIP_NOEOH | ProtocolFlag.SMFIP_NOBODY
    edits = [AddHeader(b"X", b"%d" % number) for number in range(4)]
    for edit, steps, pipelining in zip(edits, (0, no_replies, no_content, 0), (True, True, True, False)):
        options = OptionNegotiation(6, EVERYTHING.actions, int(steps))
        company.add(options, end(edit, Continue()), scan_group=group, pipelining=pipelining)
    message = made()
    assert company.judge(message) is None
    assert message.edits == edits


def test_only_neighbours_are_a_group(company: Company) -> None:
    """The third has the group's name but another child in between: it sees what that one did."""
    company.add(scan_group="g")
    company.add(script=end(AddHeader(b"X-Between", b"b"), Continue()))
    _, third = company.add(scan_group="g")
    company.judge(made())
    company.end()
    assert (b"X-Between", b"b") in [(each.name, each.value) for each in third.commands() if isinstance(each, Header)]


# ---- failure of one in a group

FAILURES: dict[str, dict[int, list[Answer]]] = {
    "hangs up at a header": {Command.SMFIC_HEADER: [None]},
    "hangs up at the end": end(None),
    "hangs up between its edits": end(AddHeader(b"X-Half", b"h"), None),
    "says what does not exist": end(b"\0\0\0\1?"),
    "edits too early": {Command.SMFIC_EOH: [AddHeader(b"X-Half", b"h")]},
}


@either_way
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_in_a_group_leaves_the_others_alone(
    company: Company, name: str, position: int, pipelining: bool
) -> None:
    edits = [AddHeader(b"X", b"%d" % number) for number in range(3)]
    for number, edit in enumerate(edits):
        script = FAILURES[name] if number == position else end(edit, Continue())
        company.add(script=script, scan_group="g", pipelining=pipelining)
    message = made()
    assert company.judge(message) is None
    assert message.edits == [edit for number, edit in enumerate(edits) if number != position]


REFUSALS = [
    (FallbackStatus.REJECT, Reject()),
    (FallbackStatus.TEMPORARY_FAILURE, TempFail()),
    (FallbackStatus.DISCARD, Discard()),
]


@pytest.mark.parametrize(("status", "verdict"), REFUSALS)
def test_a_failure_that_counts_as_a_refusal_lets_go_those_behind(
    company: Company, status: FallbackStatus, verdict: Verdict
) -> None:
    is_over = threading.Event()
    company.add(script=end(AddHeader(b"X", b"y"), Continue()), scan_group="g")
    company.add(script={Command.SMFIC_HEADER: [None]}, scan_group="g", fallback_status=status)
    company.add(script=end(awaiting(is_over), None), scan_group="g")
    message = made()
    try:
        assert company.judge(message) == (verdict, "child2")
    finally:
        is_over.set()
    assert message.edits == []


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(("status", "verdict"), REFUSALS)
def test_a_child_of_a_group_that_is_not_there_counts_as_its_fallback(
    company: Company, tmp_path: Path, status: FallbackStatus, verdict: Verdict, position: int
) -> None:
    for number in range(2):
        if number == position:
            nowhere = Endpoint("unix", path=str(tmp_path / "nobody.sock"))
            company.add_alone("absent", nowhere, scan_group="g", fallback_status=status)
        else:
            company.add(scan_group="g", fallback_status=status)
    assert company.judge(made()) == (verdict, "absent")
