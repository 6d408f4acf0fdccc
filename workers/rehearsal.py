"""A rehearsal: sessions that never were, served in the master's process before it forks the first worker.

Python fits code to what it is used for while it runs, and writes that beside the code; so it does with the first look
for each attribute and global. What was written before the fork all workers share; what each writes itself it has a copy
of for ever, page by page. MTA and children of a rehearsal are one forked process here, on sockets without a name in
any directory. Nothing depends on it: a rehearsal that is cut short costs memory, and no more. Called by
``workers.main``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmgr import log as logs
from mmgr.endpoint import Endpoint
from mmgr.protocol.commands import (
    Body,
    BodyEob,
    CommandMessage,
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
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, Command
from mmgr.protocol.framing import CODE, FrameBuffer
from mmgr.protocol.options import ALL_ACTIONS, OptionNegotiation
from mmgr.protocol.replies import Continue, encode_reply

CHILDREN = 3
SESSIONS = 64
"""Python 3.11 fits a function to its use when it has run eight times, and then each place in it after some more."""

LIMIT_S = 3
"""A rehearsal takes some tenths of a second; the process that plays the others is ended after this."""

_OFFER = OptionNegotiation(6, ALL_ACTIONS, 0x1FFFFF)
_ANSWER = encode_reply(OptionNegotiation(6, 0, 0))
_CONTINUE = encode_reply(Continue())
_UNANSWERED = frozenset(map(int, (Command.SMFIC_MACRO, Command.SMFIC_ABORT)))
_QUIT = encode_command(Quit())


@dataclass(frozen=True)
class Scene:
    """Where the MTA comes to, how often, and where the children are."""

    listener: socket.socket
    sessions: int
    endpoints: Sequence[Endpoint]

    def comes(self) -> bool:
        """Wait for the MTA's next connection; False if none comes any more."""
        return bool(select.select([self.listener], [], [], LIMIT_S)[0])


@contextlib.contextmanager
def scene(sessions: int = SESSIONS) -> Iterator[Scene]:
    """An MTA that comes so many times, and children that let everything pass. Raises OSError if that can't be had."""
    with contextlib.ExitStack() as held:
        for_mta, *for_children = [held.enter_context(_listening()) for _ in range(1 + CHILDREN)]
        pid = os.fork()
        if pid == 0:
            _play_and_end(for_mta.getsockname(), for_children, sessions)
        held.callback(_bury, pid)
        held.enter_context(_unheard())
        yield Scene(for_mta, sessions, [_endpoint(each) for each in for_children])


def _listening() -> socket.socket:
    """A socket whose name the kernel chose, in no directory (Linux)."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listening.bind(b"")
        listening.listen(8)
    except OSError:
        listening.close()
        raise
    return listening


def _endpoint(listening: socket.socket) -> Endpoint:
    return Endpoint("unix", path=os.fsdecode(listening.getsockname()))


def _bury(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Let the log go the way that it goes, and nobody see it."""
    root = logging.getLogger()
    kept = list(root.handlers)
    nowhere = logs.LogFile(os.devnull)
    root.handlers[:] = [nowhere]
    try:
        yield
    finally:
        root.handlers[:] = kept
        nowhere.close()


# ---- the others, in a process of their own


def _play_and_end(mta_goes_to: bytes, listening: Sequence[socket.socket], sessions: int) -> None:
    """Never returns. It knows no signal and logs nothing; its end is that of all its connections."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_S)
        cast = _Cast(listening)
        for _ in range(sessions):
            cast.play(mta_goes_to)
    finally:
        os._exit(0)


class _Cast:
    """MTA and children."""

    def __init__(self, listening: Sequence[socket.socket]) -> None:
        self._listening = {each.fileno(): each for each in listening}
        self._children: dict[int, tuple[socket.socket, FrameBuffer]] = {}
        self._poll = select.poll()
        for each in listening:
            self._poll.register(each, select.POLLIN)

    def play(self, mta_goes_to: bytes) -> None:
        """One session, from connection to end. The manager gives one reply to each of the MTA's packets."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mta:
            mta.connect(mta_goes_to)
            self._poll.register(mta, select.POLLIN)
            for packet in _PACKETS:
                mta.sendall(packet)
                while not self._has_reply(mta):
                    pass
            self._poll.unregister(mta)
            mta.sendall(_QUIT)

    def _has_reply(self, mta: socket.socket) -> bool:
        """Let the children do what they have to; is there a reply for the MTA?"""
        is_there = False
        for descriptor, _ in self._poll.poll():
            if descriptor == mta.fileno():
                is_there = bool(mta.recv(4096))
            elif descriptor in self._listening:
                self._accept(self._listening[descriptor])
            else:
                self._answer(descriptor)
        return is_there

    def _accept(self, listening: socket.socket) -> None:
        connected, _ = listening.accept()
        self._children[connected.fileno()] = (connected, FrameBuffer(COMMAND_LENGTH_MAX))
        self._poll.register(connected, select.POLLIN)

    def _answer(self, descriptor: int) -> None:
        connected, buffer = self._children[descriptor]
        data = connected.recv(65536)
        frames = buffer.feed(data) if data else [_QUIT]
        replies = b"".join(map(_reply, frames))
        if _QUIT in frames:
            self._poll.unregister(descriptor)
            del self._children[descriptor]
            connected.close()
        elif replies:
            connected.sendall(replies)


def _reply(frame: bytes) -> bytes:
    if frame[CODE] == Command.SMFIC_OPTNEG:
        return _ANSWER
    return b"" if frame[CODE] in _UNANSWERED else _CONTINUE


def _joined(*messages: CommandMessage) -> bytes:
    return b"".join(map(encode_command, messages))


_QUEUE_ID = {b"i": b"4XyZ"}
_NAMES = (b"Received", b"From", b"To", b"Subject", b"Date", b"Message-Id", b"MIME-Version", b"Content-Type")
_CONTENT = _joined(
    Macro(Command.SMFIC_HEADER, _QUEUE_ID),
    *(Header(name, b" a value of some length, as headers have") for name in _NAMES),
    Macro(Command.SMFIC_EOH, _QUEUE_ID),
    Eoh(),
    Macro(Command.SMFIC_BODY, _QUEUE_ID),
    Body(b"A line of a message.\r\n" * 100),
    Macro(Command.SMFIC_BODYEOB, _QUEUE_ID),
    BodyEob(),
)
_MESSAGE = (
    _joined(Macro(Command.SMFIC_MAIL, {b"{mail_addr}": b"a@example.net"}), Mail(b"<a@example.net>", (b"SIZE=2200",))),
    _joined(Macro(Command.SMFIC_RCPT, {b"{rcpt_addr}": b"b@example.org"}), Rcpt(b"<b@example.org>")),
    _joined(Macro(Command.SMFIC_DATA, _QUEUE_ID), Data()),
    _CONTENT,
)
_PACKETS = (
    encode_command(_OFFER),
    _joined(
        Macro(Command.SMFIC_CONNECT, {b"j": b"mx.example.org", b"v": b"Postfix 3.7.11"}),
        Connect(b"mx.example.net", ord("4"), 40000, b"192.0.2.7"),
    ),
    _joined(Macro(Command.SMFIC_HELO, {}), Helo(b"mx.example.net")),
    *_MESSAGE,
    *_MESSAGE,
)
