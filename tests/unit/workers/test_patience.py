"""How long a child is waited for, by a clock of our own: one reply on a link, and a whole message."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmgr.config.model import ChildSettings
from mmgr.errors import ChildTimeout
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Accept, Continue, Progress, ReplyMessage, encode_reply
from workers import judgement, link
from workers.content import Content
from workers.judgement import Judgement
from workers.link import PROGRESS_EXTENDS, ChildLink
from workers.message import Message
from workers.spool import BodySpool

SETTINGS = ChildSettings("one", (), reading_timeout_s=10.0, end_of_message_timeout_s=100.0)
STEP_S = 4.0


class Clock:
    """A time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of links and judgements."""
    made = Clock()
    for module in (link, judgement):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


class Stream:
    """Gives replies, each STEP_S after the one before, and keeps the deadlines that it was given."""

    def __init__(self, clock: Clock, replies: list[ReplyMessage]) -> None:
        self.deadlines: list[float] = []
        self._clock = clock
        self._replies = replies

    receive_now = send_now = fileno = write_at_once = hears = hears_run = send_what_fits = is_quiet = None
    is_clear = False

    def let_wait(self, wait_s: float) -> None:
        """Nothing comes of itself here."""

    def has_frame(self) -> bool:
        return True

    def read(self, deadline: float, patience: object, tick_s: float) -> bytes:
        self.deadlines.append(deadline - 1000.0)
        self._clock.now += STEP_S
        return encode_reply(self._replies.pop(0))


def deadlines(clock: Clock, replies: list[ReplyMessage], limit_s: float | None = None) -> list[float]:
    """The deadlines of one reply, in seconds from its beginning."""
    stream = Stream(clock, replies)
    reached = ChildLink(SETTINGS, stream, lambda: None)  # type: ignore[arg-type]
    reached.late_reply(1000.0, lambda: None if limit_s is None else 1000.0 + limit_s)
    return stream.deadlines


def test_a_reply_has_its_timeout(clock: Clock) -> None:
    assert deadlines(clock, [Continue()]) == [10.0]


def test_progress_starts_the_timeout_anew(clock: Clock) -> None:
    assert deadlines(clock, [Progress(), Progress(), Continue()]) == [10.0, 14.0, 18.0]


def test_progress_does_not_help_for_ever(clock: Clock) -> None:
    said = [*([Progress()] * 30), Continue()]
    assert max(deadlines(clock, said)) == 10.0 * PROGRESS_EXTENDS


def test_progress_does_not_help_beyond_the_mtas_limit(clock: Clock) -> None:
    assert deadlines(clock, [Progress(), Progress(), Continue()], limit_s=12.0) == [10.0, 12.0, 12.0]


def test_the_mta_is_asked_for_patience_whenever_a_child_asks_for_it(clock: Clock) -> None:
    calls: list[float] = []
    said: list[ReplyMessage] = [Progress(), Progress(), Continue()]
    reached = ChildLink(SETTINGS, Stream(clock, said), lambda: calls.append(clock.now))  # type: ignore[arg-type]
    reached.late_reply(1000.0, lambda: None)
    assert calls == [1004.0, 1008.0]


# ---- a whole message


class Link:
    """A negotiated connection whose other end is this test: it takes room_bytes at a time and gives what it has."""

    def __init__(self, room_bytes: int = 1_000_000) -> None:
        self.options = OptionNegotiation(6, 0x1F, 0)
        self.room_bytes = room_bytes
        self.said: list[ReplyMessage] = []
        self.sent = b""

    def send_now(self, data: memoryview) -> int:
        taken = bytes(data[: self.room_bytes])
        self.sent += taken
        return len(taken)

    def receive_now(self, wait_s: float = 0.0) -> list[bytes]:
        said, self.said = self.said, []
        return [encode_reply(reply) for reply in said]


def judging(reached: Link, limit: float | None = None, body: bytes = b"body") -> Judgement:
    """A message without headers, begun."""
    message = Message(True, BodySpool(1_000_000))
    message.body.add_payload(body)
    content = Content(message, reached.options, lambda command: None, False)
    return Judgement(SETTINGS, reached, content, lambda: BodySpool(1000), limit)  # type: ignore[arg-type]


def advance(work: Judgement, reached: Link, *said: ReplyMessage) -> None:
    reached.said = list(said)
    work.advance(is_readable=bool(said))


def commands(reached: Link) -> str:
    """The letters of what was sent so far."""
    found, rest = "", reached.sent
    while len(rest) >= PAYLOAD:
        found += chr(rest[4])
        rest = rest[4 + int.from_bytes(rest[:4], "big") :]
    return found


def test_headers_and_body_have_the_timeout_of_a_reply(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    assert work.deadline == 1010.0


def test_the_end_of_the_message_has_a_timeout_of_its_own(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    clock.now += STEP_S
    advance(work, reached, Continue())
    advance(work, reached, Continue())
    advance(work, reached, Progress())
    assert work.deadline == 1104.0


def test_progress_starts_the_timeout_of_a_message_anew(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    clock.now += STEP_S
    advance(work, reached, Progress())
    assert work.deadline == 1014.0


def test_a_child_that_is_silent_until_its_deadline_has_failed(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    clock.now += 10.0
    with pytest.raises(ChildTimeout):
        advance(work, reached)


def test_a_verdict_at_the_deadline_still_counts(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    clock.now += 10.0
    advance(work, reached, Accept())
    assert work.verdict == Accept()


def test_a_message_is_not_worked_at_beyond_the_mtas_limit(clock: Clock) -> None:
    reached = Link()
    work = judging(reached, limit=1005.0)
    advance(work, reached)
    clock.now += 5.0
    with pytest.raises(ChildTimeout):
        advance(work, reached, Progress())


def test_a_child_that_takes_bytes_is_not_silent(clock: Clock) -> None:
    reached = Link(room_bytes=1)
    work = judging(reached)
    clock.now += 9.0
    advance(work, reached)
    assert work.deadline == 1019.0


def test_the_body_waits_for_the_replies_to_the_headers(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    assert commands(reached) == "N"


def test_the_body_and_the_end_follow_the_replies_to_the_headers(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    advance(work, reached, Continue())
    assert commands(reached) == "NBE"


def test_what_the_socket_did_not_take_is_sent_later(clock: Clock) -> None:
    reached = Link(room_bytes=3)
    work = judging(reached)
    reached.room_bytes = 0
    advance(work, reached)
    assert work.wants_to_send
    reached.room_bytes = 3
    while work.wants_to_send:
        advance(work, reached)
    assert commands(reached) == "N"


def test_a_child_that_answers_all_is_in_step(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    advance(work, reached, Continue())
    advance(work, reached, Continue(), Continue())
    assert (work.verdict, work.is_in_step) == (Continue(), True)


def test_a_child_with_a_verdict_ahead_of_the_end_is_out_of_step(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    advance(work, reached, Continue())
    advance(work, reached, Accept())
    assert (work.verdict, work.is_in_step) == (Accept(), False)


def test_a_child_that_goes_on_talking_behind_its_verdict_is_out_of_step(clock: Clock) -> None:
    reached = Link()
    work = judging(reached)
    advance(work, reached)
    advance(work, reached, Continue())
    advance(work, reached, Continue(), Accept(), Continue())
    assert (work.verdict, work.is_in_step) == (Accept(), False)
