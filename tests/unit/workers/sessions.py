"""Whole sessions against scripted children: an MTA that says what it is told to, and all that can be seen of it."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Callable
from unittest import mock

from mmgr.conditions.base import Condition
from mmgr.config.model import ChildSettings, Config, FallbackStatus
from mmgr.protocol.commands import (
    Abort,
    Body,
    BodyEob,
    Connect,
    Data,
    Eoh,
    Header,
    Helo,
    Macro,
    Mail,
    Quit,
    Rcpt,
    encode_command,
)
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX, Command, ProtocolFlag, Reply
from mmgr.protocol.framing import CODE, LENGTH_PREFIX, PAYLOAD, FrameBuffer
from mmgr.protocol.options import OptionNegotiation, decode_options
from mmgr.stream import FrameStream
from tests.unit.workers.scripted import AWAY, CONTINUE, OFFER, PATIENCE_S, Script, ScriptedChild
from workers import session
from workers.express import Express
from workers.session import Session, serve
from workers.surroundings import Memory
from workers.title import Title

ABORT, QUIT = encode_command(Abort()), encode_command(Quit())
_NO_ANSWER = frozenset(map(int, (Command.SMFIC_MACRO, Command.SMFIC_ABORT, Command.SMFIC_QUIT)))
_NOT_FINAL = frozenset(map(int, Reply)) - frozenset(b"cartdys4fO")
_REFUSES_RECIPIENT = frozenset(b"rty")


# ---- the MTA


def macros(command: int, **values: bytes) -> bytes:
    """A macro frame; names of more than a letter get their braces."""
    return encode_command(Macro(command, {name.encode(): value for name, value in values.items()}))


@dataclass(frozen=True)
class Say:
    """One command with the macros ahead of it. mail numbers the message that it belongs to, -1 for none.

    cuts are where its bytes are cut into several writes; is_held leaves it to the next command's write.
    """

    frame: bytes
    ahead: bytes = b""
    mail: int = -1
    cuts: tuple[int, ...] = ()
    is_held: bool = False
    then: Callable[[], object] | None = None

    @property
    def command(self) -> int:
        """The code of the command."""
        return self.frame[CODE]

    def data(self, answer: OptionNegotiation) -> bytes:
        """What is sent of it to a milter that gave this answer, as from Postfix: macros of what it declined, too."""
        if self.ahead and b"{rcpt_mailer}\0error\0" in self.ahead and not answer.steps & ProtocolFlag.SMFIP_RCPT_REJ:
            return b""
        return self.ahead + (self.frame if answer.wants(self.command) else b"")


CONNECT = Say(
    encode_command(Connect(b"mx", ord("4"), 25, b"192.0.2.7")), macros(Command.SMFIC_CONNECT, j=b"mx", v=b"Postfix 3.7")
)
HELO = Say(encode_command(Helo(b"mx")))
END = [Say(ABORT, is_held=True), Say(ABORT, is_held=True), Say(QUIT)]


def a_mail(number: int = 0, n_recipients: int = 1, chunks: Sequence[bytes] = (b"hi\r\n",)) -> list[Say]:
    """A message as Postfix sends it: macros ahead of each command, those of the headers ahead of each."""
    queue_id = b"Q%d" % number
    says = [Say(encode_command(Mail(b"<a@b>")), macros(Command.SMFIC_MAIL, mail_addr=b"a@b"), number)]
    ahead = macros(Command.SMFIC_RCPT, i=queue_id)
    says += [Say(encode_command(Rcpt(b"<r%d@d>" % which)), ahead, number) for which in range(n_recipients)]
    says.append(Say(encode_command(Data()), macros(Command.SMFIC_DATA, i=queue_id), number))
    ahead = macros(Command.SMFIC_HEADER, i=queue_id)
    headers = [Header(name, b" 1") for name in (b"From", b"Subject", b"X-Last")]
    says += [Say(encode_command(header), ahead, number, is_held=True) for header in headers]
    says.append(Say(encode_command(Eoh()), macros(Command.SMFIC_EOH, i=queue_id), number, is_held=True))
    ahead = macros(Command.SMFIC_BODY, i=queue_id)
    says += [Say(encode_command(Body(chunk)), ahead, number, is_held=True) for chunk in chunks]
    return [*says, Say(encode_command(BodyEob()), macros(Command.SMFIC_BODYEOB, i=queue_id), number)]


@dataclass(frozen=True)
class Talk:
    """What an MTA says after its offer. is_stubborn: it goes on with a message that was refused, or let go.

    ends_after: after so many bytes it says no more.
    """

    says: Sequence[Say]
    is_stubborn: bool = False
    ends_after: int | None = None
    offer: OptionNegotiation = OFFER


class ScriptedMta:
    """The MTA's end of one session."""

    def __init__(self, connected: socket.socket, talk: Talk, is_calm: Callable[[], bool]) -> None:
        connected.settimeout(PATIENCE_S)
        self.told = b""
        self._socket = connected
        self._talk = talk
        self._is_calm = is_calm
        self._replies: list[bytes] = []
        self._buffer = FrameBuffer(REPLY_LENGTH_MAX)
        self._left = talk.ends_after
        self._is_over = False

    def run(self) -> None:
        """Say all, wait for every reply that is due, and hear to the end."""
        self._send(encode_command(self._talk.offer), ())
        answer = self._replies_to([int(Command.SMFIC_OPTNEG)])
        if answer:
            self._say_all(decode_options(answer[0][PAYLOAD:]))
        if not self._is_over:
            self._socket.shutdown(socket.SHUT_WR)
        while self._hear():
            pass

    def hang_up(self) -> None:
        """Close, in the middle of whatever it waits for."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def _say_all(self, answer: OptionNegotiation) -> None:
        held, due = b"", []
        refused: set[int] = set()
        for say in self._talk.says:
            if say.mail in refused and not self._talk.is_stubborn:
                continue
            data = say.data(answer)
            held += data
            if data.endswith(say.frame) and say.command not in _NO_ANSWER and answer.answers(say.command):
                due.append(say.command)
            if say.is_held:
                continue
            self._send(held, say.cuts)
            if self._left == 0:
                return
            for command, reply in zip(due, self._replies_to(due)):
                is_refused_rcpt = command == Command.SMFIC_RCPT and reply[CODE] in _REFUSES_RECIPIENT
                if reply[CODE] != CONTINUE[CODE] and not is_refused_rcpt:
                    refused.add(say.mail)
            held, due = b"", []
            if say.then is not None:
                say.then()

    def _send(self, data: bytes, cuts: Sequence[int]) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        limit = time.monotonic() + PATIENCE_S
        while not self._is_calm() and time.monotonic() < limit:
            time.sleep(0.0005)
        try:
            for start, end in zip(edges, edges[1:]):
                if start:
                    time.sleep(0.002)
                self._socket.sendall(data[start:end])
        except OSError:
            self._is_over = True

    def _replies_to(self, due: Sequence[int]) -> list[bytes]:
        while len(self._replies) < len(due) and self._hear():
            pass
        found, self._replies = self._replies[: len(due)], self._replies[len(due) :]
        return found

    def _hear(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._is_over = not data
        self.told += data
        self._replies += [frame for frame in self._buffer.feed(data) if frame[CODE] not in _NOT_FINAL]
        return bool(data)


# ---- both ways


@dataclass
class Seen:
    """All that could be seen of one session: bytes to the MTA, frames to each child by connection, log, counters."""

    told: bytes = b""
    heard: list[list[list[bytes]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    counted: list[tuple[str, str, str]] = field(default_factory=list)

    def readable(self) -> list[object]:
        """For the message of a test that fails."""
        return [self.told, [[" ".join(map(letters, each)) for each in one] for one in self.heard], self.lines]


def letters(frame: bytes) -> str:
    """``C`` for connect and so on, ``DC`` for its macros."""
    head = frame[CODE : PAYLOAD + 1] if frame[CODE] == Command.SMFIC_MACRO else frame[CODE:PAYLOAD]
    return head.decode("latin-1")


class _Lines(logging.Handler):
    """Lines without what no two sessions have in common."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith(("transaction ", "session-refused ", "session-passed ", "session-fault ")):
            self.lines.append(re.sub(r"\b\d+\.\d{4}\b", "N", line))
            if record.exc_info:
                self.lines.append(logging.Formatter().formatException(record.exc_info))


class _CountingTitle(Title):
    def __init__(self, counted: list[tuple[str, str, str]]) -> None:
        super().__init__(1, lambda text: None)
        self._counted = counted

    def count(self, answers: object) -> None:
        self._counted += [each[:3] for each in answers]  # type: ignore[attr-defined]


class Stage:
    """Some children, and the two ways to serve an MTA in front of them.

    begun is the short way of the session last served that way, n_long how often a ``Session`` had to be made for it.
    """

    def __init__(self, children: Sequence[ScriptedChild]) -> None:
        self.children = children
        self.n_used = len(children)
        self.begun: Express | None = None
        self.n_long = 0
        self.mta: ScriptedMta | None = None
        self._options: Sequence[OptionNegotiation] = ()
        self._scripts: Sequence[Script] = ()
        self._config = Config()
        self._memory = Memory()

    def behave(
        self,
        options: Sequence[OptionNegotiation],
        scripts: Sequence[Script] = (),
        fallbacks: Sequence[FallbackStatus] = (),
        offer: OptionNegotiation = OFFER,
        conditions: Sequence[Sequence[Condition]] = (),
    ) -> None:
        """Children with these options, known from an earlier session; in the next ones they follow their scripts.

        conditions are those of each child, by its place.
        """
        self.n_used = len(options)
        self._options, self._scripts = options, [*scripts, *[{}] * (len(options) - len(scripts))]
        fallbacks = [*fallbacks, *[FallbackStatus.ACCEPT] * (len(options) - len(fallbacks))]
        self._config = Config(
            children=tuple(
                ChildSettings(f"child{number}", (child.endpoint,), fallback_status=fallback)
                for number, (child, fallback) in enumerate(zip(self.children, fallbacks), 1)
            )
        )
        self._memory = Memory()
        for child, each in zip(self.children, options):
            child.behave(each, {})
        self._play(Talk([Say(QUIT)], offer=offer), self._serve_long, self._memory)
        if any(conditions):
            self._config = _under(self._config, conditions)
            self._memory.plans.clear()
            self._play(Talk([Say(QUIT)], offer=offer), self._serve_long, self._memory)

    def short(self, talk: Talk) -> Seen:
        """Play it to ``serve``, which goes the short way as far as it can."""
        return self._played(talk, self._serve_short)

    def long(self, talk: Talk) -> Seen:
        """Play it to a ``Session`` alone."""
        return self._played(talk, self._serve_long)

    @contextmanager
    def without(self, position: int) -> Iterator[None]:
        """Nobody listens in one child's place."""
        path = Path(self.children[position].endpoint.path)
        away = path.with_suffix(AWAY)
        path.rename(away)
        try:
            yield
        finally:
            away.rename(path)

    def _played(self, talk: Talk, way: Callable[[FrameStream, Memory, Title], None]) -> Seen:
        for child, options, script in zip(self.children, self._options, self._scripts):
            child.behave(options, script)
        memory = Memory()
        memory.plans, memory.options = dict(self._memory.plans), dict(self._memory.options)
        return self._play(talk, way, memory)

    def _play(self, talk: Talk, way: Callable[[FrameStream, Memory, Title], None], memory: Memory) -> Seen:
        seen = Seen()
        ours, theirs = socket.socketpair()
        title = _CountingTitle(seen.counted)
        serving = threading.Thread(
            target=way, args=(FrameStream(theirs, COMMAND_LENGTH_MAX), memory, title), daemon=True
        )
        self.mta = mta = ScriptedMta(ours, talk, lambda: not any(child.is_busy for child in self.children))
        with ours, logged() as seen.lines:
            serving.start()
            mta.run()
            serving.join(PATIENCE_S)
            assert not serving.is_alive(), "the session goes on without an MTA"
        seen.told = mta.told
        seen.heard = [child.settle() for child in self.children[: self.n_used]]
        return seen

    def _serve_short(self, stream: FrameStream, memory: Memory, title: Title) -> None:
        def begin(*arguments: object) -> Express:
            self.begun = Express(*arguments)  # type: ignore[arg-type]
            return self.begun

        def go_on(*arguments: object) -> Session:
            self.n_long += 1
            return Session(*arguments)  # type: ignore[arg-type]

        self.begun, self.n_long = None, 0
        with mock.patch.object(session, "Express", begin), mock.patch.object(session, "Session", go_on):
            serve(stream, self._config, "1-1", memory, title)

    def _serve_long(self, stream: FrameStream, memory: Memory, title: Title) -> None:
        Session(stream, self._config, "1-1", memory, title).run()


def _under(config: Config, conditions: Sequence[Sequence[Condition]]) -> Config:
    """The same with conditions for its children."""
    children = tuple(
        replace(child, applicable_conditions=tuple(one.name for one in each))
        for child, each in zip_longest(config.children, conditions, fillvalue=())
    )
    return replace(config, children=children, compiled={one.name: one for each in conditions for one in each})


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines of sessions and transactions that are logged meanwhile."""
    root, keeping = logging.getLogger(), _Lines()
    level = root.level
    root.addHandler(keeping)
    root.setLevel(logging.INFO)
    try:
        yield keeping.lines
    finally:
        root.removeHandler(keeping)
        root.setLevel(level)


def split(data: bytes) -> list[bytes]:
    """Whole frames."""
    frames = []
    while data:
        end = CODE + LENGTH_PREFIX.unpack_from(data)[0]
        frames.append(data[:end])
        data = data[end:]
    return frames
