"""The one rule: the verdict is the one that an MTA gets from the same children listed in the same order.

``ListedChildren`` is such an MTA: it asks the very same scripted children itself, one after another. Source: Postfix
src/milter/milter.c (``milter_event``, ``milter_message``), src/smtpd/smtpd_milter.c.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable

import pytest

from mmgr.peers.behaviour import Action, Behaviour, Responder
from mmgr.peers.delivery import Session, SmtpClient, hangs_up
from mmgr.peers.mail import Message
from mmgr.peers.milter import MilterPeer
from mmgr.peers.mta import MtaPeer, connect_peer
from mmgr.protocol.commands import CommandMessage, Connect, Header, Mail, Rcpt, encode_command
from mmgr.protocol.constants import Command, ProtocolFlag
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    Continue,
    Discard,
    Edit,
    Reject,
    ReplyCode,
    Shutdown,
    Skip,
    TempFail,
    Verdict,
)
from tests.integration.rig import PATIENCE, POSTFIX, TRIO, Rig, only
from tests.support.processes import LabDirectory

VERDICTS: Mapping[str, Action] = {
    "c": Continue(),
    "a": Accept(),
    "r": Reject(),
    "t": TempFail(),
    "d": Discard(),
    "s": Skip(),
    "550": ReplyCode(b"550 5.7.1 no"),
    "421": ReplyCode(b"421 4.7.0 bye"),
    "4": Shutdown(),
}
STAGES = {
    "connect": Command.SMFIC_CONNECT,
    "helo": Command.SMFIC_HELO,
    "mail": Command.SMFIC_MAIL,
    "rcpt": Command.SMFIC_RCPT,
    "data": Command.SMFIC_DATA,
    "header": Command.SMFIC_HEADER,
    "end of header": Command.SMFIC_EOH,
    "body": Command.SMFIC_BODY,
    "end of message": Command.SMFIC_BODYEOB,
}
END = "end of message"
BEFORE_MAIL = ("connect", "helo")
ENVELOPE = ("connect", "helo", "mail", "rcpt", "data")


class ListedChildren:
    """An MTA that has the children listed itself, as far as ``delivery.Session`` needs one."""

    def __init__(self, children: Sequence[MilterPeer]) -> None:
        self._peers = [connect_peer(child.endpoint, None, PATIENCE, POSTFIX) for child in children]
        self._out: set[MtaPeer] = set()
        self._done: set[MtaPeer] = set()
        self._content: list[tuple[str, bytes, bytes]] = []
        self.queue_id = b"i"
        self.edits: list[Edit] = []
        self.violations: list[str] = []
        self.options = OptionNegotiation(6, 0, 0)

    def negotiate(self) -> None:
        for peer in self._peers:
            peer.negotiate()

    def connect(self, hostname: bytes, family: int, port: int, address: bytes) -> Verdict:
        return self._ask(self._out, lambda peer: peer.connect(hostname, family, port, address))

    def helo(self, name: bytes) -> Verdict:
        return self._ask(self._out, lambda peer: peer.helo(name))

    def mail(self, sender: bytes) -> Verdict:
        self._done = set(self._out)
        self._content = []
        return self._ask(self._done, lambda peer: peer.mail(sender))

    def rcpt(self, recipient: bytes) -> Verdict:
        return self._ask(self._done, lambda peer: peer.rcpt(recipient))

    def data(self) -> Verdict:
        return self._ask(self._done, lambda peer: peer.data())

    def header(self, name: bytes, value: bytes) -> None:
        self._content.append(("header", name, value))

    def eoh(self) -> None:
        self._content.append(("eoh", b"", b""))

    def body(self, chunk: bytes) -> None:
        self._content.append(("body", chunk, b""))

    def end_of_message(self) -> Verdict:
        return self._ask(self._done, self._whole_message)

    def abort(self) -> None:
        for peer in self._peers:
            peer.abort()

    def farewell(self, *messages: CommandMessage) -> None:
        for peer in self._peers:
            peer.farewell(*messages)

    def _ask(self, out: set[MtaPeer], ask: Callable[[MtaPeer], Verdict | None]) -> Verdict:
        """One child after another, until one decides."""
        for peer in self._peers:
            verdict = Continue() if peer in out else ask(peer)
            if isinstance(verdict, Accept):
                out.add(peer)
            elif isinstance(verdict, Discard) and out is self._out:
                continue  # Postfix: there is no message yet, go on
            elif verdict is not None and not isinstance(verdict, (Continue, Skip)):
                return verdict
        return Accept() if len(out) == len(self._peers) else Continue()

    def _whole_message(self, peer: MtaPeer) -> Verdict:
        steps = {"header": peer.header, "eoh": lambda *_: peer.eoh(), "body": lambda chunk, _: peer.body(chunk)}
        for name, first, second in self._content:
            verdict = steps[name](first, second)
            if verdict is not None and not isinstance(verdict, (Continue, Skip)):
                return verdict
        return peer.end_of_message()


def saying(place: int, stage: str) -> Behaviour:
    """A child that says at a stage what the sender, or before MAIL the host, asks for: ``<r.550@...>``, by place."""

    def new_responder() -> Responder:
        asked = [b""]

        def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
            words = re.search(rb"([a-z0-9]+)[.]([a-z0-9]+)", _host_or_sender(message))
            if words:
                asked[0] = words.group(place)
            return (VERDICTS[asked[0].decode()],) if _is_first_at(stage, message) else None

        return respond

    return Behaviour(steps=ProtocolFlag.SMFIP_SKIP, responder=new_responder)


def _host_or_sender(message: CommandMessage) -> bytes:
    return message.hostname if isinstance(message, Connect) else message.sender if isinstance(message, Mail) else b""


def _is_first_at(stage: str, message: CommandMessage) -> bool:
    """At the stage, and of recipients and headers only at the first."""
    if isinstance(message, (Rcpt, Header)) and b"first" not in (
        message.recipient if isinstance(message, Rcpt) else message.name
    ):
        return False
    return encode_command(message)[CODE] == STAGES[stage]


def asking_for(first: str, second: str) -> Message:
    """A message about which two children are to say this."""
    return Message(
        sender=f"<{first}.{second}@example.com>".encode(),
        recipients=(b"<first@example.org>", b"<second@example.org>"),
        headers=((b"X-first", b" 1"), (b"X-second", b" 2")),
    )


def managed(rig: Rig, client: SmtpClient) -> Session:
    return Session(rig.connect(), client)


def listed(rig: Rig, client: SmtpClient) -> Session:
    return Session(ListedChildren([rig[name] for name in TRIO]), client)  # type: ignore[arg-type]


Opening = Callable[[Rig, SmtpClient], Session]


def results(
    rig: Rig, opening: Opening, pairs: Sequence[tuple[str, str]], is_early: bool
) -> dict[tuple[str, str], object]:
    """What becomes of a message for each pair; all in one session, as far as that goes on."""
    found: dict[tuple[str, str], object] = {}
    session = None
    for pair in pairs:
        client = SmtpClient(connect=Connect(".".join(pair).encode(), ord("4"), 25, b"192.0.2.7"))
        session = session or opening(rig, client)
        outcome = session.deliver(asking_for(*pair))
        passes = isinstance(outcome.verdict, (Accept, Continue))
        found[pair] = (outcome.status, outcome.refused, "pass" if passes else outcome.verdict)
        if is_early or hangs_up(outcome.verdict):
            session.end()
            session = None
    if session is not None:
        session.end()
    return found


@pytest.fixture(scope="module")
def sequential_of_module(lab: LabDirectory) -> Iterator[Rig]:
    with Rig(lab.subdirectory("sequential"), sections={"manager": {"envelope_dispatch": "sequential"}}) as rig:
        yield rig


@pytest.fixture
def sequential(sequential_of_module: Rig) -> Rig:
    """Three children that are asked one after another; those of ``trio`` are asked at once."""
    sequential_of_module.behave()
    return sequential_of_module


def compare(rig: Rig, stage_of_first: str, stage_of_second: str, pairs: Sequence[tuple[str, str]]) -> None:
    """The same messages through the manager and past it; the children speak at these stages."""
    rig.behave(c1=saying(1, stage_of_first), c3=saying(2, stage_of_second))
    is_early = stage_of_first in BEFORE_MAIL
    assert results(rig, managed, pairs, is_early) == results(rig, listed, pairs, is_early)


@pytest.mark.parametrize("first", VERDICTS)
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != END])
def test_of_two_children_at_a_stage_the_one_listed_first_decides(trio: Rig, stage: str, first: str) -> None:
    compare(trio, stage, stage, [(first, second) for second in VERDICTS])


@pytest.mark.parametrize("first", VERDICTS)
@pytest.mark.parametrize("stage", ENVELOPE)
def test_of_two_children_asked_one_after_another_the_one_listed_first_decides(
    sequential: Rig, stage: str, first: str
) -> None:
    compare(sequential, stage, stage, [(first, second) for second in VERDICTS])


@pytest.mark.parametrize("first", [name for name in VERDICTS if name != "s"])
def test_of_two_children_at_the_end_of_the_message_the_one_listed_first_decides(trio: Rig, first: str) -> None:
    """Skip is no answer there."""
    compare(trio, END, END, [(first, second) for second in VERDICTS if second != "s"])


@pytest.mark.parametrize("second", [stage for stage in STAGES if stage not in BEFORE_MAIL])
@pytest.mark.parametrize("first", [stage for stage in STAGES if stage not in BEFORE_MAIL])
def test_of_two_children_at_different_stages_the_one_decides_whom_an_mta_asks_first(
    trio: Rig, first: str, second: str
) -> None:
    compare(trio, first, second, [("t", "550"), ("a", "550"), ("t", "a"), ("d", "r")])


# Who is asked when


def test_all_children_are_asked_at_once(trio: Rig) -> None:
    """The first answers only when the last has been asked."""
    is_last_asked = threading.Event()

    def first(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> None:
        if isinstance(message, Mail):
            assert is_last_asked.wait(10.0)

    def last(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> None:
        if isinstance(message, Mail):
            is_last_asked.set()

    trio.behave(c1=Behaviour(responder=lambda: first), c3=Behaviour(responder=lambda: last))
    with trio.greeted() as mta:
        assert isinstance(mta.mail(b"<a@example.com>"), Continue)


def test_one_after_another_the_next_child_is_asked_when_the_one_before_has_answered(sequential: Rig) -> None:
    told_to_last: list[int] = []

    def first(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> None:
        if isinstance(message, Mail):
            told_to_last.extend(len(only(told, Mail)) for told in sequential["c3"].sessions)

    sequential.behave(c1=Behaviour(responder=lambda: first))
    sequential.deliver()
    assert told_to_last == [0]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_one_after_another_a_child_behind_one_that_refused_is_not_asked(sequential: Rig, stage: str) -> None:
    sequential.behave(c2=Behaviour(at={STAGES[stage]: (Reject(),)}))
    sequential.deliver(Message())
    kind = stage.capitalize()
    told = [[type(message).__name__ for message in sequential.told(name).commands] for name in TRIO]
    assert [names.count(kind) for names in told] == [1, 1, 0]
