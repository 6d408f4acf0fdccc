"""Children of one session, each with a scripted milter behind a real socket that keeps every frame it is sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Union

from mmgr.config.model import ChildSettings, EnvelopeDispatch
from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed
from mmgr.protocol.commands import (
    CommandMessage,
    Connect,
    Data,
    Helo,
    Macro,
    Mail,
    Rcpt,
    Unknown,
    decode_command,
    encode_command,
)
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, Command
from mmgr.protocol.framing import CODE, PAYLOAD
from mmgr.protocol.options import ALL_ACTIONS, ALL_STEPS, OptionNegotiation
from mmgr.protocol.replies import Continue, ReplyMessage, encode_reply
from mmgr.stream import FrameStream
from workers import dispatch, judging
from workers.child import Child
from workers.dispatch import Decision
from workers.message import Message
from workers.plan import Step
from workers.spool import BodySpool
from workers.surroundings import Memory, Surroundings

OFFER = OptionNegotiation(6, ALL_ACTIONS, ALL_STEPS)
EVERYTHING = OptionNegotiation(6, ALL_ACTIONS & ~0x100, 0)
Answer = Union[ReplyMessage, bytes, None, Callable[[], object]]
Script = Mapping[int, Sequence[Answer]]

ENVELOPE: Mapping[str, CommandMessage] = {
    "connect": Connect(b"mx", ord("4"), 25, b"192.0.2.7"),
    "helo": Helo(b"mx"),
    "mail": Mail(b"<a@b>"),
    "rcpt": Rcpt(b"<c@d>"),
    "data": Data(),
    "unknown": Unknown(b"HELP"),
}


def step(name: str, **macros: bytes) -> Step:
    """One step of the envelope, with these macros ahead of it."""
    frame = encode_command(ENVELOPE[name])
    ahead = {key.encode(): value for key, value in macros.items()}
    return Step(frame[CODE], frame, encode_command(Macro(frame[CODE], ahead)) if macros else None)


class Milter:
    """A milter that answers each command with what its script says: replies, raw bytes, None to hang up, or a
    call.

    What the script does not have is answered with continue, if a reply is due. A session is the list of its frames.
    """

    def __init__(self, endpoint: Endpoint, options: OptionNegotiation, script: Script) -> None:
        self.endpoint = endpoint
        self.options = options
        self.script = script
        self.sessions: list[list[bytes]] = []
        self._ended = threading.Condition()
        self._count_ended = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(endpoint.path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve nobody any more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listening.close()

    def heard(self, number: int = 1) -> str:
        """The number-th session, once it is over, as letters of the commands: ``O DC C Q``; D comes with its stage."""
        return " ".join(map(letters, self.frames(number)))

    def frames(self, number: int = 1) -> list[bytes]:
        """The frames of a session, once it is over."""
        with self._ended:
            assert self._ended.wait_for(lambda: self._count_ended >= number, 5), "the session is not over"
        return self.sessions[number - 1]

    def commands(self, number: int = 1) -> list[CommandMessage]:
        """The commands of a session, once it is over."""
        return [decode_command(frame) for frame in self.frames(number)]

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            stream = FrameStream(connected, COMMAND_LENGTH_MAX)
            self.sessions.append([])
            try:
                self._converse(stream, self.sessions[-1])
            except PeerClosed:
                pass
            finally:
                stream.close()
                with self._ended:
                    self._count_ended += 1
                    self._ended.notify_all()

    def _converse(self, stream: FrameStream, heard: list[bytes]) -> None:
        while True:
            frame = stream.read(None)
            heard.append(frame)
            if frame[CODE] == Command.SMFIC_QUIT:
                return
            for answer in self._answers(frame[CODE]):
                if answer is None:
                    return
                if callable(answer):
                    answer()
                    continue
                stream.write([answer if isinstance(answer, bytes) else encode_reply(answer)], None)

    def _answers(self, command: int) -> Sequence[Answer]:
        if command in self.script:
            return self.script[command]
        if command == Command.SMFIC_OPTNEG:
            return [self.options]
        return [Continue()] if self.options.answers(command) else []


def letters(frame: bytes) -> str:
    """``C`` for connect and so on, ``DC`` for its macros."""
    head = frame[CODE : PAYLOAD + 1] if frame[CODE] == Command.SMFIC_MACRO else frame[CODE:PAYLOAD]
    return head.decode()


class Company:
    """One session's children and what they know of it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.children: list[Child] = []
        self.memory = Memory()
        self.remembered = self.memory.options
        self.history: list[Step] = []
        self.macros: dict[int, bytes] = {}
        self.told = OptionNegotiation(6, ALL_ACTIONS, 0)
        self.limit: float | None = None
        self.spool_directory = ""
        self.waits: list[str] = []
        self._directory = directory
        self._stack = stack

    def add(
        self, options: OptionNegotiation = EVERYTHING, script: Script | None = None, **settings: object
    ) -> tuple[Child, Milter]:
        """Another child behind those there are, and its milter."""
        name = f"child{len(self.children) + 1}"
        endpoint = Endpoint("unix", path=str(self._directory / f"{name}.sock"))
        milter = Milter(endpoint, options, script or {})
        self._stack.callback(milter.stop)
        return self.add_alone(name, endpoint, **settings), milter

    def add_alone(self, name: str, endpoint: Endpoint, **settings: object) -> Child:
        """Another child without a milter."""
        child = Child(ChildSettings(name, (endpoint,), **settings), self._surroundings())
        self._stack.callback(child.close)
        self.children.append(child)
        return child

    def ask(self, *steps: str, way: EnvelopeDispatch = EnvelopeDispatch.PARALLEL) -> list[Decision | None]:
        """Ask all children these steps, one after another, and keep what all let pass as history."""
        decisions = []
        for name in steps:
            asked = step(name)
            decisions.append(dispatch.ask(self.children, asked, way))
            if decisions[-1] is None:
                self.history.append(asked)
        return decisions

    def judge(self, message: Message) -> Decision | None:
        """Give all children the message."""
        return judging.judge(self.children, message, lambda: None)

    def end(self) -> None:
        """The session is over."""
        for child in self.children:
            child.close()

    def make_body(self) -> BodySpool:
        """Room for a replaced body."""
        return BodySpool(0 if self.spool_directory else 1_000_000, self.spool_directory)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            session_id="1-1",
            offer=OFFER,
            memory=self.memory,
            history=lambda: self.history,
            macros=self.macros.get,
            patience=lambda: None,
            tell_wait=self.waits.append,
            make_body=self.make_body,
            limit=lambda: self.limit,
            told=lambda: self.told,
        )
