"""The one rule, tried on random children and mail: the manager comes to what an MTA comes to by itself.

Scripted children serve two MTAs one after the other: the reference model, which asks each of them itself, and one that
has a ``workers.session.Session`` in front of them. Both have to do the same with every message.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgr.config.model import ChildSettings, Config, EnvelopeDispatch, FallbackStatus, ManagerSettings
from mmgr.endpoint import Endpoint
from mmgr.peers.behaviour import Action, Behaviour, Responder
from mmgr.peers.delivery import SmtpClient
from mmgr.peers.mail import HeaderField, Message
from mmgr.peers.milter import MilterPeer, MilterSession
from mmgr.peers.mta import MtaPeer, connect_peer
from mmgr.peers.strict import offer
from mmgr.protocol.commands import (
    Abort,
    CommandMessage,
    Mail,
    Quit,
    Rcpt,
    Unknown,
    encode_command,
)
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX, Command, ProtocolFlag
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import (
    ACTIONS_OF_VERSION,
    ALL_STEPS,
    NO_REPLY,
    NO_STEP,
    STEPS_OF_VERSION,
    OptionNegotiation,
)
from mmgr.protocol.replies import (
    NEEDED_ACTION,
    Accept,
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
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
    Shutdown,
    Skip,
    TempFail,
    Verdict,
)
from mmgr.stream import FrameStream
from tests.integration.rig import PATIENCE, POSTFIX
from tests.support.reference_model import Result, SequentialMta
from workers.session import serve
from workers.surroundings import Memory
from workers.title import Title

NAMES = ("c1", "c2", "c3")
EXAMPLES = 200

FINAL = (Accept, Reject, TempFail, Discard, ReplyCode, Shutdown)


# ---- what a child does


@dataclass(frozen=True)
class MessagePlan:
    """What a child does with one message: a verdict ahead of the end, if any, and its edits and verdict at the end.

    early is (command, which, verdict): which counts the headers and chunks, and names a recipient.
    """

    early: tuple[int, object, Verdict] | None = None
    at_end: tuple[Action, ...] = (Continue(),)


@dataclass(frozen=True)
class ChildPlan:
    """What a child negotiates and does. greeting is its verdict at connect or helo, messages what it does with each.

    is_mute: it says nothing behind its verdict, as libmilter; otherwise it goes on answering, as other libraries.
    """

    options: OptionNegotiation
    greeting: tuple[int, Verdict] | None
    messages: tuple[MessagePlan, ...]
    is_mute: bool


class PlannedChild:
    """One connection's view of a ChildPlan. number() is which message of the session is on its way."""

    def __init__(self, plan: ChildPlan, number: Mapping[str, int]) -> None:
        self._plan = plan
        self._number = number
        self._current = -1
        self._counts: dict[int, int] = {}
        self._is_over = False

    def respond(self, message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        """A ``Responder``."""
        code = encode_command(message)[CODE]
        if code in (Command.SMFIC_OPTNEG, Command.SMFIC_ABORT, Command.SMFIC_QUIT):
            return None
        if code in (Command.SMFIC_CONNECT, Command.SMFIC_HELO):
            greeting = self._plan.greeting
            return (greeting[1],) if greeting is not None and greeting[0] == code else None
        if self._number["current"] != self._current or isinstance(message, Mail):
            self._current = self._number["current"]
            self._counts.clear()
            self._is_over = False
        if self._is_over:
            return ()
        said = self._said(code, message)
        ends = said and isinstance(said[-1], FINAL) and not (code == Command.SMFIC_RCPT and said[-1] != Accept())
        self._is_over = self._plan.is_mute and bool(ends) and code != Command.SMFIC_UNKNOWN
        return said

    def _said(self, code: int, message: CommandMessage) -> Sequence[Action] | None:
        plan = self._plan.messages[self._current]
        if code == Command.SMFIC_BODYEOB:
            return plan.at_end
        which: object = self._counts.get(code, 0)
        self._counts[code] = self._counts.get(code, 0) + 1
        if isinstance(message, Rcpt):
            which = message.recipient
        if plan.early is not None and plan.early[:2] == (code, which):
            return (plan.early[2],)
        return None


VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(
    [
        *[Accept(), Accept(), Accept(), Reject(), TempFail(), Discard()],
        *[ReplyCode(b"550 5.7.1 no"), ReplyCode(b"451-4.7.1 not\r\n451 4.7.1 now"), ReplyCode(b"421 4.3.2 bye")],
        Shutdown(),
    ]
)
RECIPIENTS = tuple(b"<r%d@example.org>" % number for number in range(3))
names = st.sampled_from([b"X-Rep", b"x-REP", b"Subject", b"X-New"])
values = st.sampled_from([b"one", b" spaced", b"two\n\tfolded", b"\xe4\xff", b"", b"three"])
addresses = st.sampled_from([*RECIPIENTS, b"<more@example.org>", b"most@example.org"])
bodies = st.sampled_from([b"", b"new\r\n", b"n" * 70_000])
some_edit: st.SearchStrategy[Edit] = st.one_of(
    st.builds(AddHeader, names, values),
    st.builds(InsHeader, st.integers(0, 9), names, values),
    st.builds(ChgHeader, st.integers(0, 4), names, values),
    st.builds(ChgHeader, st.integers(1, 3), st.just(b"X-Rep"), st.just(b"")),
    st.builds(AddRcpt, addresses),
    st.builds(AddRcptPar, addresses, st.just(b"NOTIFY=NEVER")),
    st.builds(DelRcpt, addresses),
    st.builds(ChgFrom, addresses, st.sampled_from([None, b"RET=HDRS"])),
    st.builds(Quarantine, st.sampled_from([b"looks odd", b"too late"])),
)


@st.composite
def some_options(draw: st.DrawFn) -> OptionNegotiation:
    """Some version, and some of the bits that there are in it: most steps wanted, most answered."""
    version = draw(st.sampled_from([*[6] * 9, 4, 3, 2]))
    bits = [*NO_STEP.values(), *NO_REPLY.values()]
    steps = draw(st.lists(st.sampled_from(bits), max_size=3))
    steps += [
        bit
        for bit in (ProtocolFlag.SMFIP_SKIP, ProtocolFlag.SMFIP_HDR_LEADSPC)
        if draw(st.sampled_from([True, True, False]))
    ]
    asked = 0
    for bit in steps:
        asked |= bit
    left_out = draw(st.sampled_from([0, 0, 0, 0, *[1 << number for number in range(8)]]))
    actions = ACTIONS_OF_VERSION[version] & 0xFF & ~left_out
    return OptionNegotiation(version, actions, asked & STEPS_OF_VERSION[version])


def answered(options: OptionNegotiation, *commands: int) -> list[int]:
    """Those of the commands that a child may say something to."""
    return [command for command in commands if options.wants(command) and options.answers(command)]


@st.composite
def some_early_verdict(
    draw: st.DrawFn, options: OptionNegotiation, may_accept_recipients: bool
) -> tuple[int, object, Verdict] | None:
    """A verdict at a command that this child is given and answers."""
    where = answered(
        options,
        *(Command.SMFIC_MAIL, Command.SMFIC_RCPT, Command.SMFIC_DATA),
        *(Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY) * 2,
    )
    if not where:
        return None
    command = draw(st.sampled_from(where))
    which: object = 0
    verdict = draw(VERDICTS)
    if command == Command.SMFIC_RCPT:
        which = draw(st.sampled_from(RECIPIENTS))
        verdict = verdict if may_accept_recipients or verdict != Accept() else Reject()
    elif command in (Command.SMFIC_HEADER, Command.SMFIC_BODY):
        which = draw(st.sampled_from([0, 0, 1, 3]))
        if options.steps & ProtocolFlag.SMFIP_SKIP:
            verdict = draw(st.sampled_from([Skip(), Skip(), verdict]))
    return command, which, verdict


@st.composite
def some_message_plan(draw: st.DrawFn, options: OptionNegotiation, may_accept_recipients: bool) -> MessagePlan:
    """Mostly edits, at times a verdict of its own."""
    early = None
    if draw(st.sampled_from([True, False, False])):
        early = draw(some_early_verdict(options, may_accept_recipients))
    wished = draw(st.lists(some_edit, min_size=draw(st.sampled_from([0, 1, 3])), max_size=6))
    made: list[Action] = [edit for edit in wished if options.actions & NEEDED_ACTION[type(edit)]]
    if options.actions & NEEDED_ACTION[ReplBody] and draw(st.integers(0, 3)) == 1:
        made += [ReplBody(chunk) for chunk in draw(st.lists(bodies, min_size=1, max_size=2))]
    elif draw(st.booleans()):
        made.insert(0, Progress())
    final = draw(VERDICTS) if draw(st.integers(0, 7)) == 1 else draw(st.sampled_from([Continue(), Accept()]))
    return MessagePlan(early, (*made, final))


@st.composite
def some_child(draw: st.DrawFn, n_messages: int, may_accept_recipients: bool) -> ChildPlan:
    """A child for a session of that many messages."""
    options = draw(some_options())
    greeting = None
    where = answered(options, Command.SMFIC_CONNECT, Command.SMFIC_HELO)
    if where and draw(st.integers(0, 14)) == 1:
        greeting = (draw(st.sampled_from(where)), draw(VERDICTS))
    messages = [draw(some_message_plan(options, may_accept_recipients)) for _ in range(n_messages)]
    return ChildPlan(options, greeting, tuple(messages), draw(st.booleans()))


# ---- the mail

some_header = st.tuples(
    st.sampled_from([b"X-Rep", b"x-rep", b"Subject", b"From"]),
    st.sampled_from([b" 1", b" 2", b"tight", b"  wide", b"", b"\ttab", b" folded\n\ttwice\n x"]),
)


@dataclass(frozen=True)
class MailPlan:
    """A message, its body as the sizes of the chunks."""

    sender: bytes
    recipients: tuple[bytes, ...]
    headers: tuple[HeaderField, ...]
    sizes_bytes: tuple[int, ...]

    def message(self) -> Message:
        """The message itself; each chunk has another letter."""
        chunks = tuple(b"%c" % (97 + number) * size for number, size in enumerate(self.sizes_bytes))
        return Message(self.sender, self.recipients, self.headers, chunks)


some_mail = st.builds(
    MailPlan,
    st.sampled_from([b"<a@example.com>", b"<>"]),
    st.lists(st.sampled_from(RECIPIENTS), max_size=3).map(tuple) | st.sampled_from([RECIPIENTS, RECIPIENTS[1:]]),
    st.lists(some_header, max_size=6).map(tuple) | st.lists(some_header, min_size=4, max_size=6).map(tuple),
    st.one_of(st.lists(st.sampled_from([0, 1, 10, 65535, 65536]), max_size=4).map(tuple), st.just((65535,) * 12)),
)


@dataclass(frozen=True)
class Example:
    """Children, and some sessions of an MTA, each with the same mails. offered is what the MTA offers."""

    children: tuple[ChildPlan, ...]
    mails: tuple[MailPlan, ...]
    offered: OptionNegotiation
    unknown: bytes | None
    n_sessions: int


@st.composite
def some_example(draw: st.DrawFn, way: EnvelopeDispatch) -> Example:
    """When all are asked at once, a child may have let a message go for a recipient that an earlier one refuses.

    There is no way back from that, so only the first child accepts at a recipient then.
    """
    mails = draw(st.lists(some_mail, min_size=draw(st.sampled_from([1, 2, 3])), max_size=3))
    children = []
    for number in range(draw(st.sampled_from([1, 2, 2, 3, 3]))):
        may_accept_recipients = way is EnvelopeDispatch.SEQUENTIAL or number == 0
        children.append(draw(some_child(len(mails), may_accept_recipients)))
    no_replies = 0
    for bit in NO_REPLY.values():
        no_replies |= bit
    left_out = draw(st.sampled_from([0, 0, int(ProtocolFlag.SMFIP_HDR_LEADSPC), no_replies]))
    unknown = draw(st.sampled_from([None, None, b"FOO"]))
    offered = offer(6, steps=ALL_STEPS & ~left_out)
    return Example(tuple(children), tuple(mails), offered, unknown, draw(st.sampled_from([1, 1, 2])))


# ---- both ways


class Stage:
    """The milters of all examples, and the two ways to have an MTA in front of them."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.number = {"current": -1}
        self.milters = [stack.enter_context(MilterPeer(Endpoint("unix", path=str(directory / name)))) for name in NAMES]

    def behave(self, plans: Sequence[ChildPlan]) -> None:
        """From now on the first milters follow these plans."""
        for milter in self.milters:
            milter.wait_until(lambda milter=milter: all(session.ended for session in milter.sessions))
            milter.sessions.clear()
        for milter, plan in zip(self.milters, plans):
            options = plan.options
            milter.behaviour = Behaviour(
                options.version, options.actions, options.steps, responder=lambda plan=plan: self._responder(plan)
            )

    def _responder(self, plan: ChildPlan) -> Responder:
        return PlannedChild(plan, self.number).respond

    def told(self, n_children: int) -> list[list[CommandMessage]]:
        """What each milter was told since ``behave``, but for what belongs to the connection."""
        found = []
        for milter in self.milters[:n_children]:
            milter.wait_until(lambda milter=milter: all(session.ended for session in milter.sessions))
            found.append([each for session in milter.sessions for each in told_in(session)])
        return found

    def violations(self) -> list[str]:
        """What a strict milter would have taken amiss since ``behave``."""
        return [each for milter in self.milters for session in milter.sessions for each in session.violations]

    def directly(self, example: Example) -> list[Result]:
        """What the reference model makes of the example."""
        self.behave(example.children)
        results = []
        for _ in range(example.n_sessions):
            peers = [
                connect_peer(milter.endpoint, example.offered, PATIENCE)
                for milter in self.milters[: len(example.children)]
            ]
            results += self._deliver(example, peers)
        return results

    def managed(self, example: Example, way: EnvelopeDispatch, pipelining: bool) -> list[Result]:
        """What the manager makes of it."""
        self.behave(example.children)
        config = Config(
            manager=ManagerSettings(envelope_dispatch=way, spool_threshold_bytes=100_000),
            children=tuple(
                ChildSettings(name, (milter.endpoint,), fallback_status=FallbackStatus.REJECT, pipelining=pipelining)
                for name, milter, _ in zip(NAMES, self.milters, example.children)
            ),
        )
        results: list[Result] = []
        remembered = Memory()
        for _ in range(example.n_sessions):
            with self._session(config, remembered, example.offered) as peer:
                results += self._deliver(example, [peer])
            assert peer.violations == []
        return results

    def _deliver(self, example: Example, peers: Sequence[MtaPeer]) -> list[Result]:
        """One session of the MTA: the same, whether these milters are the children or the manager alone."""
        self.number["current"] = -1
        mta = SequentialMta(peers, SmtpClient(unknown=example.unknown))
        mta.begin()
        results = []
        for number, mail in enumerate(example.mails):
            self.number["current"] = number
            results.append(in_one_chunk(mta.deliver(mail.message())))
        mta.end()
        return results

    @contextmanager
    def _session(
        self,
        config: Config,
        remembered: Memory,
        offered: OptionNegotiation,
    ) -> Iterator[MtaPeer]:
        """An MTA's connection to a session that a thread serves."""
        ours, theirs = socket.socketpair()
        stream = FrameStream(theirs, COMMAND_LENGTH_MAX)
        report = Title(1, lambda text: None)
        serving = threading.Thread(target=serve, args=(stream, config, "1.1", remembered, report), daemon=True)
        serving.start()
        with MtaPeer(FrameStream(ours, REPLY_LENGTH_MAX), offered, PATIENCE, POSTFIX) as peer:
            yield peer
        serving.join(20)
        assert not serving.is_alive(), "the session goes on without an MTA"


def told_in(session: MilterSession) -> list[CommandMessage]:
    """The commands of a session but the negotiation, aborts, the end, and what MTAs say to milters that are done."""
    left_out = (OptionNegotiation, Abort, Quit, Unknown)
    return [message for message in session.commands if not isinstance(message, left_out)]


def in_one_chunk(result: Result) -> Result:
    """How a body was cut up makes no difference."""
    if result.message is None:
        return result
    return replace(result, message=replace(result.message, chunks=(result.message.body,)))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Three milters for all examples."""
    with ExitStack() as stack:
        yield Stage(tmp_path_factory.mktemp("children"), stack)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "lock-step"])
@pytest.mark.parametrize("way", EnvelopeDispatch, ids=lambda way: way.value)
def test_the_manager_comes_to_what_an_mta_comes_to_by_itself(
    stage: Stage, way: EnvelopeDispatch, pipelining: bool
) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )
    @given(example=some_example(way))
    def compare(example: Example) -> None:
        directly = stage.directly(example)
        told_directly = stage.told(len(example.children))
        managed = stage.managed(example, way, pipelining)
        told = stage.told(len(example.children))
        assert managed == directly
        if way is EnvelopeDispatch.SEQUENTIAL and not pipelining:
            assert told == told_directly
            assert stage.violations() == []

    compare()
