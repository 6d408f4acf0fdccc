"""One child at work on one message, over a real socket whose other end is the test."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Callable

import pytest

from mmgr.config.model import ChildSettings
from mmgr.errors import ChildProtocolError, ChildTimeout, ChildUnavailable
from mmgr.protocol.commands import Header, encode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX, ActionFlag, Command, ProtocolFlag
from mmgr.protocol.framing import CODE, PAYLOAD, FrameBuffer
from mmgr.protocol.options import ALWAYS_SILENT, NO_REPLY, NO_STEP, OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    ConnFail,
    Continue,
    DelRcpt,
    Discard,
    Edit,
    InsHeader,
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
from mmgr.stream import FrameStream
from workers import judgement as judgement_module
from workers.content import BLOCK_BYTES, Content
from workers.judgement import Judgement
from workers.link import PROGRESS_EXTENDS, ChildLink
from workers.message import Message
from workers.spool import BodySpool

HEADERS = ((b"Subject", b"hi"), (b"X-A", b"1"), (b"X-A", b"2"))
BODY = b"body\r\n"
ALL_EDITS = 0xFF
SETTINGS = ChildSettings("one", (), reading_timeout_s=10.0, end_of_message_timeout_s=100.0)
CONTENT = (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY)
VERDICTS = (Accept(), Reject(), TempFail(), Discard(), ReplyCode(b"550 5.7.1 no"), Shutdown())

both_ways = pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "lock-step"])

Reactions = Callable[[int, int], Sequence[ReplyMessage]]
"""(command, how many of its kind came before) -> what is said to it, if anything but continue."""


class Work:
    """A child at work on a message, and the other end of its connection."""

    def __init__(
        self,
        steps: int = 0,
        actions: int = ALL_EDITS,
        headers: Sequence[tuple[bytes, bytes]] = HEADERS,
        body: bytes = BODY,
        pipelining: bool = True,
    ) -> None:
        ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(20.0)
        self.options = OptionNegotiation(6, actions, steps)
        self.link = ChildLink(SETTINGS, FrameStream(ours, REPLY_LENGTH_MAX), lambda: None)
        self.link.options = self.options
        message = Message(True, BodySpool(100_000_000))
        for name, value in headers:
            header = Header(name, value)
            message.headers.append(encode_command(header))
        message.body.add_payload(body)
        content = Content(message, self.options, lambda command: None, drops_spaces=False)
        settings = SimpleNamespace(**{**vars(SETTINGS), "pipelining": pipelining})
        self.work = Judgement(settings, self.link, content, lambda: BodySpool(1_000_000), None)  # type: ignore[arg-type]
        self._buffer = FrameBuffer(COMMAND_LENGTH_MAX)
        self.told: list[bytes] = []

    def close(self) -> None:
        self.link.close(is_polite=False)
        self.theirs.close()

    def begin(self) -> Work:
        """Send what can be sent; returns itself."""
        self.work.advance(is_readable=False)
        return self

    def say(self, *replies: ReplyMessage) -> None:
        """The child says all this at once."""
        self.theirs.sendall(b"".join(map(encode_reply, replies)))
        self.work.advance(is_readable=True)

    def hear(self) -> list[bytes]:
        """The frames that have come since the last call."""
        new = []
        while select.select([self.theirs], [], [], 0)[0]:
            data = self.theirs.recv(1_000_000)
            if not data:
                break
            new += self._buffer.feed(data)
        self.told += new
        return new

    def letters(self) -> str:
        """All commands so far."""
        self.hear()
        return "".join(chr(frame[CODE]) for frame in self.told)

    def converse(self, react: Reactions, piece_bytes: int = 1_000_000) -> Work:
        """Answer what comes until the verdict is there, piece_bytes at a time; returns itself."""
        counts: dict[int, int] = {}
        while not self.work.is_over:
            said = b""
            for frame in self.hear():
                code = frame[CODE]
                if code in ALWAYS_SILENT or not (self.options.answers(code) or code == Command.SMFIC_BODYEOB):
                    continue
                nth = counts.get(code, 0)
                counts[code] = nth + 1
                said += b"".join(map(encode_reply, react(code, nth) or [Continue()]))
            assert said, f"nothing to answer after {self.letters()}"
            for start in range(0, len(said), piece_bytes):
                self.theirs.sendall(said[start : start + piece_bytes])
                self.work.advance(is_readable=True)
        return self

    def outcome(self) -> tuple[object, ...]:
        """What came of it all."""
        new_body = self.work.new_body
        replaced = None if new_body is None else b"".join(frame[PAYLOAD:] for frame in new_body.frames())
        return self.work.verdict, self.work.current, self.work.edits, replaced


@pytest.fixture
def make() -> Iterator[Callable[..., Work]]:
    """Makes a Work; all are closed at the end."""
    with ExitStack() as stack:

        def made(**settings: object) -> Work:
            work = Work(**settings)  # type: ignore[arg-type]
            stack.callback(work.close)
            return work

        yield made


Make = Callable[..., Work]


def at(command: int, *replies: ReplyMessage, nth: int = 0) -> Reactions:
    """These replies to the nth command of a kind, continue to all others."""
    return lambda code, count: replies if (code, count) == (command, nth) else ()


# ---- the same, however it comes

EDITS = (
    InsHeader(0, b"X-Top", b"t"),
    ChgHeader(2, b"X-A", b""),
    Progress(),
    AddRcpt(b"<more@b>"),
    AddRcptPar(b"<most@b>", b"NOTIFY=NEVER"),
    DelRcpt(b"<c@d>"),
    ChgFrom(b"<other@b>"),
    Quarantine(b"looks odd"),
    ReplBody(b"new "),
    ReplBody(b"body\r\n"),
    AddHeader(b"X-End", b"e"),
)
EXPECTED_EDITS = [edit for edit in EDITS if not isinstance(edit, (Progress, ReplBody))]

TALKS: dict[str, Reactions] = {
    "continue": lambda code, nth: (),
    "edits": at(Command.SMFIC_BODYEOB, *EDITS, Accept()),
    "accept at the second header": at(Command.SMFIC_HEADER, Accept(), nth=1),
    "progress, then a code at end of headers": at(Command.SMFIC_EOH, Progress(), ReplyCode(b"451 4.7.1 later")),
    "skip at a header": at(Command.SMFIC_HEADER, Skip()),
    "skip in the body": at(Command.SMFIC_BODY, Skip()),
    "reject in the body": at(Command.SMFIC_BODY, Reject()),
    "discard at the end": at(Command.SMFIC_BODYEOB, AddHeader(b"X", b"y"), Discard()),
}


@both_ways
@pytest.mark.parametrize("name", TALKS)
def test_replies_that_come_byte_by_byte_are_the_same(make: Make, name: str, pipelining: bool) -> None:
    outcomes = [
        make(pipelining=pipelining).begin().converse(TALKS[name], piece_bytes).outcome() for piece_bytes in (1, 1000)
    ]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", TALKS)
def test_lock_step_comes_to_the_same_as_pipelining(make: Make, name: str) -> None:
    outcomes = [make(pipelining=way).begin().converse(TALKS[name]).outcome() for way in (True, False)]
    assert outcomes[0] == outcomes[1]


@both_ways
def test_edits_are_kept_in_the_order_made(make: Make, pipelining: bool) -> None:
    done = make(pipelining=pipelining).begin().converse(TALKS["edits"])
    assert done.outcome() == (Accept(), Command.SMFIC_BODYEOB, EXPECTED_EDITS, b"new body\r\n")


def _combinations() -> list[int]:
    """Every way to decline the commands of the content, or to leave them unanswered."""
    choices: list[int] = [0]
    for command in CONTENT:
        choices = [bits | more for bits in choices for more in (0, NO_STEP[command], NO_REPLY[command])]
    return choices


@both_ways
@pytest.mark.parametrize("steps", _combinations(), ids=hex)
def test_a_child_is_told_all_that_it_wants_whatever_it_answers(make: Make, steps: int, pipelining: bool) -> None:
    done = make(steps=steps, pipelining=pipelining).begin().converse(TALKS["edits"])
    wanted = OptionNegotiation(6, 0, steps)
    told = [(Command.SMFIC_HEADER, "LLL"), (Command.SMFIC_EOH, "N"), (Command.SMFIC_BODY, "B")]
    assert done.letters() == "".join(letters for command, letters in told if wanted.wants(command)) + "E"
    assert done.outcome() == (Accept(), Command.SMFIC_BODYEOB, EXPECTED_EDITS, b"new body\r\n")
    assert done.work.is_in_step


# ---- a verdict ahead of the end

EARLY = [
    ("L", Command.SMFIC_HEADER, 0),
    ("L", Command.SMFIC_HEADER, 2),
    ("N", Command.SMFIC_EOH, 0),
    ("B", Command.SMFIC_BODY, 0),
    ("E", Command.SMFIC_BODYEOB, 0),
]


def reach(work: Work, command: int, nth: int) -> None:
    """Say continue to all that comes ahead of that command."""
    order = [*[(Command.SMFIC_HEADER, n) for n in range(3)], (Command.SMFIC_EOH, 0), (Command.SMFIC_BODY, 0)]
    ahead = order[: order.index((command, nth))] if (command, nth) in order else order
    for _ in ahead:
        work.say(Continue())


@both_ways
@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: type(verdict).__name__)
@pytest.mark.parametrize(("letter", "command", "nth"), EARLY)
def test_a_verdict_counts_where_it_comes(
    make: Make, letter: str, command: int, nth: int, verdict: Verdict, pipelining: bool
) -> None:
    begun = make(pipelining=pipelining).begin()
    reach(begun, command, nth)
    begun.say(verdict)
    assert begun.outcome()[:2] == (verdict, command)
    is_last_of_batch = letter in "NE" or not pipelining
    assert begun.work.is_in_step == is_last_of_batch


@both_ways
@pytest.mark.parametrize("chatter", [Continue(), Accept(), AddHeader(b"X", b"y"), ReplyCode(b"550 5.7.1 again")])
@pytest.mark.parametrize(("letter", "command", "nth"), EARLY)
def test_chatter_behind_a_verdict_changes_nothing_but_the_connection(
    make: Make, letter: str, command: int, nth: int, chatter: ReplyMessage, pipelining: bool
) -> None:
    begun = make(pipelining=pipelining).begin()
    reach(begun, command, nth)
    begun.say(TempFail(), chatter, chatter)
    assert begun.outcome() == (TempFail(), command, [], None)
    assert not begun.work.is_in_step


def test_nothing_is_sent_behind_a_verdict(make: Make) -> None:
    begun = make(body=b"x" * 3 * BLOCK_BYTES).begin()
    begun.say(Continue(), Reject())
    assert begun.letters() == "LLLN"


def test_a_verdict_of_a_child_that_hangs_up_at_once_counts(make: Make) -> None:
    begun = make(body=b"x" * 3 * BLOCK_BYTES).begin()
    begun.say(*[Continue()] * 4)
    begun.say(Continue())
    begun.theirs.sendall(encode_reply(Discard()))
    begun.theirs.close()
    begun.work.advance(is_readable=True)
    assert begun.outcome()[:2] == (Discard(), Command.SMFIC_BODY)
    assert not begun.work.is_in_step


def test_a_verdict_that_came_while_more_was_sent_to_a_child_that_hung_up_counts(make: Make) -> None:
    begun = make(headers=[(b"X-A", b"1" * 1000)] * 1000).begin()
    assert begun.work.wants_to_send
    begun.theirs.sendall(encode_reply(Continue()) + encode_reply(Reject()))
    begun.theirs.close()
    begun.work.advance(is_readable=False)
    assert begun.outcome()[:2] == (Reject(), Command.SMFIC_HEADER)
    assert not begun.work.is_in_step


def test_a_child_that_hangs_up_without_a_verdict_is_gone(make: Make) -> None:
    begun = make(headers=[(b"X-A", b"1" * 1000)] * 1000).begin()
    begun.theirs.sendall(encode_reply(Continue()))
    begun.theirs.close()
    with pytest.raises(ChildUnavailable):
        begun.work.advance(is_readable=False)


# ---- skip


@pytest.mark.parametrize(
    ("pipelining", "told"), [(True, "LLLNBE"), (False, "LNBE")], ids=["sent already", "still to be sent"]
)
def test_headers_that_are_skipped_are_not_sent_any_more(make: Make, pipelining: bool, told: str) -> None:
    assert make(pipelining=pipelining).begin().converse(TALKS["skip at a header"]).letters() == told


@both_ways
def test_a_body_that_is_skipped_at_its_first_piece_ends_there(make: Make, pipelining: bool) -> None:
    begun = make(pipelining=pipelining, body=b"x" * 2_000_000).begin()
    assert begun.converse(TALKS["skip in the body"]).letters() == "LLLNBE"


@both_ways
def test_skip_is_no_verdict(make: Make, pipelining: bool) -> None:
    done = make(pipelining=pipelining, body=b"x" * 200_000).begin()
    done.converse(lambda code, nth: () if code == Command.SMFIC_BODYEOB else (Skip(),))
    assert (done.work.verdict, done.work.is_in_step) == (Continue(), True)


@both_ways
def test_skip_at_the_end_of_a_message_is_a_fault(make: Make, pipelining: bool) -> None:
    begun = make(pipelining=pipelining).begin()
    with pytest.raises(ChildProtocolError):
        begun.converse(at(Command.SMFIC_BODYEOB, Skip()))


# ---- much of everything


@both_ways
def test_a_large_body_arrives_whole(make: Make, pipelining: bool) -> None:
    sent = bytes(range(256)) * 12_000
    done = make(pipelining=pipelining, body=sent).begin().converse(TALKS["continue"])
    assert b"".join(frame[PAYLOAD:] for frame in done.told if frame[CODE] == Command.SMFIC_BODY) == sent


class Stubborn(threading.Thread):
    """The other end as libmilter is: one command at a time, and nothing is read while a reply is not taken."""

    def __init__(self, theirs: socket.socket) -> None:
        super().__init__(daemon=True)
        self.told: dict[str, int] = {}
        self.largest_bytes = 0
        self._socket = theirs
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def run(self) -> None:
        buffer = FrameBuffer(COMMAND_LENGTH_MAX)
        while True:
            for frame in buffer.feed(self._socket.recv(4096)):
                letter = chr(frame[CODE])
                self.told[letter] = self.told.get(letter, 0) + 1
                self.largest_bytes = max(self.largest_bytes, len(frame))
                self._socket.sendall(encode_reply(Continue()))
                if letter == "E":
                    return


@both_ways
def test_a_child_that_reads_nothing_while_its_replies_are_unread_gets_through_many_headers(
    make: Make, pipelining: bool
) -> None:
    headers = [(b"X-%d" % number, b"small") for number in range(10_000)]
    headers.insert(5000, (b"X-Large", b"l" * 102_400))
    begun = make(headers=headers, body=b"x" * 500_000, pipelining=pipelining)
    child = Stubborn(begun.theirs)
    child.start()
    begun.begin()
    poll = select.poll()
    while not begun.work.is_over:
        poll.register(begun.work.fileno(), select.POLLIN | (select.POLLOUT if begun.work.wants_to_send else 0))
        ready = poll.poll(20_000)
        assert ready, "both ends wait for each other"
        begun.work.advance(bool(ready[0][1] & ~select.POLLOUT))
    child.join(20)
    assert (child.told, child.largest_bytes > 102_400) == ({"L": 10_001, "N": 1, "B": 8, "E": 1}, True)
    assert begun.work.is_in_step


# ---- what no child may do


@pytest.mark.parametrize("reply", [Continue(), Accept(), AddHeader(b"X", b"y")])
def test_a_reply_that_is_not_due_is_a_fault(make: Make, reply: ReplyMessage) -> None:
    unanswered = ProtocolFlag.SMFIP_NR_HDR | ProtocolFlag.SMFIP_NR_EOH
    begun = make(steps=unanswered, headers=[(b"X", b"x" * 1000)] * 1000).begin()
    assert begun.work.wants_to_send
    with pytest.raises(ChildProtocolError, match="unasked"):
        begun.say(reply)


def test_progress_that_is_not_due_is_none(make: Make) -> None:
    unanswered = ProtocolFlag.SMFIP_NR_HDR | ProtocolFlag.SMFIP_NR_EOH
    begun = make(steps=unanswered, headers=[(b"X", b"x" * 1000)] * 1000).begin()
    begun.say(Progress(), Progress())
    assert not begun.work.is_over


def test_a_reply_that_is_not_due_is_taken_for_the_one_that_is(make: Make) -> None:
    """There is no tag on a reply: one too many at the headers is the answer to the first piece of the body."""
    begun = make().begin()
    begun.say(*[Continue()] * 4)
    begun.say(Continue(), Continue())
    assert begun.outcome()[:2] == (Continue(), Command.SMFIC_BODYEOB)


@both_ways
@pytest.mark.parametrize("reply", [*[edit for edit in EDITS if edit != Progress()], ConnFail()], ids=str)
def test_an_edit_ahead_of_the_end_is_a_fault(make: Make, reply: ReplyMessage, pipelining: bool) -> None:
    begun = make(pipelining=pipelining).begin()
    begun.say(Continue())
    with pytest.raises(ChildProtocolError):
        begun.say(reply)


UNNEGOTIATED = [
    (AddHeader(b"X", b"y"), ActionFlag.SMFIF_ADDHDRS),
    (InsHeader(0, b"X", b"y"), ActionFlag.SMFIF_ADDHDRS),
    (ChgHeader(1, b"X", b"y"), ActionFlag.SMFIF_CHGHDRS),
    (AddRcpt(b"<a@b>"), ActionFlag.SMFIF_ADDRCPT),
    (AddRcptPar(b"<a@b>", b"X=y"), ActionFlag.SMFIF_ADDRCPT_PAR),
    (DelRcpt(b"<a@b>"), ActionFlag.SMFIF_DELRCPT),
    (ChgFrom(b"<a@b>"), ActionFlag.SMFIF_CHGFROM),
    (ReplBody(b"b"), ActionFlag.SMFIF_CHGBODY),
    (Quarantine(b"q"), ActionFlag.SMFIF_QUARANTINE),
]


@pytest.mark.parametrize(("edit", "action"), UNNEGOTIATED, ids=str)
def test_an_edit_needs_its_own_action_and_no_other(make: Make, edit: Edit, action: ActionFlag) -> None:
    react = at(Command.SMFIC_BODYEOB, edit, Continue())
    make(actions=int(action)).begin().converse(react)
    with pytest.raises(ChildProtocolError, match="not negotiated"):
        make(actions=ALL_EDITS & ~action).begin().converse(react)


def test_edits_without_end_are_a_fault(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement_module, "EDITS_MAX", 3)
    make().begin().converse(at(Command.SMFIC_BODYEOB, *[AddHeader(b"X", b"y")] * 3, Continue()))
    with pytest.raises(ChildProtocolError):
        make().begin().converse(at(Command.SMFIC_BODYEOB, *[AddHeader(b"X", b"y")] * 4, Continue()))


def test_garbage_is_a_fault(make: Make) -> None:
    begun = make().begin()
    begun.theirs.sendall(b"220 mx.test ESMTP\r\n")
    with pytest.raises(ChildProtocolError):
        begun.work.advance(is_readable=True)


# ---- patience


class Clock:
    """A time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of judgements."""
    made = Clock()
    monkeypatch.setattr(judgement_module, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


NO_BODY_REPLY = ProtocolFlag.SMFIP_NR_BODY
NOTHING_BUT_THE_END = ProtocolFlag.SMFIP_NOHDRS | ProtocolFlag.SMFIP_NOEOH | ProtocolFlag.SMFIP_NOBODY


@both_ways
@pytest.mark.parametrize(
    ("steps", "body"),
    [(0, BODY), (NO_BODY_REPLY, BODY), (ProtocolFlag.SMFIP_NOBODY, BODY), (0, b""), (NOTHING_BUT_THE_END, BODY)],
    ids=["body answered", "body unanswered", "body declined", "no body", "all declined"],
)
def test_while_nothing_but_the_end_is_due_its_own_timeout_counts(
    make: Make, clock: Clock, steps: int, body: bytes, pipelining: bool
) -> None:
    begun = make(steps=steps, body=body, pipelining=pipelining).begin()
    while begun.work.current != Command.SMFIC_BODYEOB:
        begun.say(Continue())
    assert begun.work.deadline == 1100.0
    clock.now += 99.0
    begun.work.advance(is_readable=False)
    clock.now += 1.0
    with pytest.raises(ChildTimeout):
        begun.work.advance(is_readable=False)


@both_ways
def test_ahead_of_the_end_the_timeout_of_a_reply_counts(make: Make, clock: Clock, pipelining: bool) -> None:
    begun = make(pipelining=pipelining).begin()
    deadlines = [begun.work.deadline]
    for _ in range(4):
        begun.say(Continue())
        deadlines.append(begun.work.deadline)
    assert set(deadlines) == {1010.0}


@both_ways
def test_progress_extends_both_timeouts_within_bounds(make: Make, clock: Clock, pipelining: bool) -> None:
    begun = make(pipelining=pipelining).begin()
    last = 1000.0 + SETTINGS.end_of_message_timeout_s * PROGRESS_EXTENDS
    clock.now += 9.0
    begun.say(Progress())
    assert begun.work.deadline == clock.now + 10.0
    for _ in range(5):
        begun.say(Continue())
    while clock.now + 90.0 < last:
        clock.now += 90.0
        begun.say(Progress())
        assert begun.work.deadline == min(clock.now + 100.0, last)
    clock.now = last
    with pytest.raises(ChildTimeout):
        begun.say(Progress())


def test_a_child_that_takes_no_more_has_the_timeout_of_a_reply(make: Make, clock: Clock) -> None:
    begun = make(steps=NOTHING_BUT_THE_END & ~ProtocolFlag.SMFIP_NOBODY | NO_BODY_REPLY, body=b"x" * 2_000_000).begin()
    assert begun.work.wants_to_send
    clock.now += 10.0
    with pytest.raises(ChildTimeout):
        begun.work.advance(is_readable=False)
