"""A scriptable milter: it listens, serves each connection in its own thread, and behaves as its ``Behaviour`` says.

In tests a context manager that records what it was told; the engine of ``milter-test-client`` and of the samples too.
It checks nothing that an MTA says but notes what a strict milter would take amiss (``MilterSession.violations``).
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Callable

from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed, PeerTimeout
from mmgr.peers.behaviour import Action, Behaviour, Close, Delay, Hang, Raw
from mmgr.peers.listening import BACKLOG, DEFAULT_MODE, Listener
from mmgr.peers.stages import stage_name
from mmgr.protocol.commands import Abort, CommandMessage, Macro, Quit, QuitNc, decode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Accept, Continue, Discard, Reject, ReplyCode, TempFail, encode_reply
from mmgr.protocol.states import IN_TRANSACTION, State, next_state
from mmgr.stream import FrameStream

IDLE_S = 7210.0
"""How long libmilter waits for the MTA, each time it reads or writes (MI_TIMEOUT)."""

NO_THREAD_PAUSE_S = 0.1
"""Pause after an accept that failed for want of descriptors or threads; without it the loop would spin."""


@dataclass(frozen=True)
class Event:
    """One command that came, with the macros that came for it (bare names)."""

    message: CommandMessage
    macros: Mapping[bytes, bytes]


@dataclass
class MilterSession:
    """What one connection has told the milter so far. ended is empty while it is open, then says why it ended."""

    number: int
    offered: OptionNegotiation | None = None
    answered: OptionNegotiation | None = None
    events: list[Event] = field(default_factory=list)
    macros: dict[bytes, bytes] = field(default_factory=dict)
    macros_of: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    ended: str = ""

    @property
    def commands(self) -> list[CommandMessage]:
        """The commands that came, without macros."""
        return [event.message for event in self.events]


class Observer:
    """Is told what happens, in the session's thread; override what you need."""

    def on_event(self, session: MilterSession, event: Event) -> None:
        """A command came; it is not answered yet."""

    def on_end(self, session: MilterSession) -> None:
        """The connection is closed; ``session.ended`` says why."""


class _Ended(Exception):
    """This milter ends the conversation by itself; the text says why."""


class _Conversation:
    """One connection, from the first packet to the last."""

    def __init__(self, stream: FrameStream, behaviour: Behaviour, session: MilterSession, stop_fd: int) -> None:
        self._stream = stream
        self._behaviour = behaviour
        self._session = session
        self._stop_fd = stop_fd
        self._responder = behaviour.responder() if behaviour.responder else None
        self._pending: dict[int, dict[bytes, bytes]] = {}
        self._state = State.START

    def run(self, on_event: Callable[[Event], None]) -> str:
        """Serve until the end; why it ended. Blocks."""
        try:
            while True:
                frame = self._stream.read(time.monotonic() + IDLE_S)
                message = decode_command(frame)
                if isinstance(message, Macro):
                    self._keep_macros(message)
                    continue
                self._note_order(frame[CODE])
                on_event(Event(message, self._pending.pop(frame[CODE], {})))
                if isinstance(message, Quit):
                    return "quit"
                for action in self._actions(frame[CODE], message):
                    self._perform(action, frame[CODE])
        except _Ended as reason:
            return str(reason)
        except PeerClosed:
            return "closed"
        except PeerTimeout as error:
            return f"timeout: {error}"
        except RemoteProtocolError as error:
            return f"protocol error: {error}"

    def _keep_macros(self, message: Macro) -> None:
        macros = dict(message.macros)
        self._pending[message.command] = macros
        self._session.macros_of[message.command] = macros
        self._session.macros.update(macros)

    def _actions(self, code: int, message: CommandMessage) -> tuple[Action, ...]:
        answered = self._session.answered
        if isinstance(message, OptionNegotiation):
            self._session.offered = message
            answered = self._session.answered = self._behaviour.answer_to(message)
        wished = self._responder(message, self._session.macros) if self._responder else None
        if wished is None:
            wished = self._behaviour.at.get(code)
        if wished is not None:
            return tuple(wished)
        if isinstance(message, OptionNegotiation):
            assert answered is not None, "set above"
            return (answered,)
        is_due = answered is None or answered.answers(code)
        return (Continue(),) if is_due and not isinstance(message, (Abort, QuitNc)) else ()

    def _perform(self, action: Action, code: int) -> None:
        if isinstance(action, Close):
            raise _Ended("closed by this milter")
        if isinstance(action, (Delay, Hang)):
            self._wait(action.delay_s if isinstance(action, Delay) else None)
            return
        data = action.data if isinstance(action, Raw) else encode_reply(action)
        self._stream.write([data], time.monotonic() + IDLE_S)
        self._note_verdict(action, code)

    def _wait(self, wait_s: float | None) -> None:
        """Wait that long, or until the MTA is gone; ends the conversation then, and when the milter stops."""
        poll = select.poll()
        poll.register(self._stop_fd, select.POLLIN)
        if wait_s is None:
            poll.register(self._stream.fileno(), select.POLLRDHUP)
        for fd, _ in poll.poll(None if wait_s is None else wait_s * 1000):
            raise _Ended("stopped" if fd == self._stop_fd else "closed")

    # What a strict milter would take amiss

    def _is_declined(self, code: int) -> bool:
        answered = self._session.answered
        return answered is not None and not answered.wants(code)

    def _note_order(self, code: int) -> None:
        if code in (Command.SMFIC_QUIT, Command.SMFIC_QUIT_NC, Command.SMFIC_ABORT):
            if code == Command.SMFIC_QUIT_NC:
                self._state = State.NEGOTIATED
            elif self._state in IN_TRANSACTION or self._state is State.END:
                self._state = State.HELO
            return
        after = next_state(self._state, code, self._is_declined)
        if after is None:
            self._session.violations.append(f"{stage_name(code)} after {self._state.value}")
        elif self._is_declined(code):
            self._session.violations.append(f"{stage_name(code)} was sent though declined")
        self._state = after or self._state

    def _note_verdict(self, action: Action, code: int) -> None:
        """After a final verdict a new message may follow without abort (libmilter engine.c, ``mi_engine``)."""
        is_final = isinstance(action, (Accept, Reject, TempFail, Discard, ReplyCode))
        is_for_message = code not in (Command.SMFIC_RCPT, Command.SMFIC_UNKNOWN) or isinstance(action, Accept)
        if is_final and is_for_message and self._state in IN_TRANSACTION:
            self._state = State.HELO


class MilterPeer:
    """A milter on endpoint. ``with MilterPeer(...) as peer`` serves in the background, ``serve`` in this thread.

    behaviour can be replaced at any time and holds for sessions that begin afterwards. ``sessions`` holds what they
    were told, oldest first, unless keeps_records is off. ``endpoint`` is where it really listens, once it does.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        behaviour: Behaviour | None = None,
        observer: Observer | None = None,
        keeps_records: bool = True,
        mode: int = DEFAULT_MODE,
        group: int = -1,
    ) -> None:
        self.endpoint = endpoint
        self.behaviour = behaviour or Behaviour()
        self.sessions: list[MilterSession] = []
        self.count = 0
        self._observer = observer or Observer()
        self._keeps_records = keeps_records
        self._mode, self._group = mode, group
        self._listener: Listener | None = None
        self._acceptor: threading.Thread | None = None
        self._open: dict[threading.Thread, socket.socket] = {}
        self._changed = threading.Condition()
        self._stop_read, self._stop_write = os.pipe()
        os.set_blocking(self._stop_write, False)

    def __enter__(self) -> MilterPeer:
        self.listen()
        self._acceptor = threading.Thread(target=self.serve, name=f"acceptor {self.endpoint}", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def listen(self) -> None:
        """Bind and listen; connections wait until ``serve``. Raises ListenError, EndpointError."""
        self._listener = Listener(self.endpoint, self._mode, self._group, BACKLOG)
        self.endpoint = self._listener.endpoint

    def serve(self, *end_fds: int) -> None:
        """Accept until ``end`` is called or one of end_fds can be read (its end counts too). Blocks."""
        assert self._listener is not None, "listen comes first"
        accepting = self._listener.socket
        poll = select.poll()
        for fd in (accepting.fileno(), self._stop_read, *end_fds):
            poll.register(fd, select.POLLIN)
        while not {fd for fd, _ in poll.poll()} - {accepting.fileno()}:
            self._accept(accepting)

    def end(self) -> None:
        """Make ``serve`` return and hanging sessions end; may be called from a signal's handler and more than once."""
        with suppress(BlockingIOError):  # full: it was said often enough
            if self._stop_write != -1:
                os.write(self._stop_write, b".")

    def stop(self, patience_s: float = 10.0) -> None:
        """End, stop listening, cut all connections, wait for their threads. Idempotent."""
        self.end()
        if self._acceptor:
            self._acceptor.join(patience_s)
        if self._listener:
            self._listener.close()
        with self._changed:
            remaining = dict(self._open)
        for connected in remaining.values():
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for thread in remaining:
            thread.join(patience_s)
        if self._stop_read != -1:
            os.close(self._stop_read)
            os.close(self._stop_write)
            self._stop_read = self._stop_write = -1

    def wait_until(self, claim: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until claim is true, looking whenever something happened. Raises PeerTimeout."""
        with self._changed:
            if not self._changed.wait_for(claim, timeout_s):
                raise PeerTimeout(f"it did not come true within {timeout_s:g} seconds")

    def wait_for_end(self, number: int = 1, timeout_s: float = 10.0) -> MilterSession:
        """The number-th session (from 1), once it has ended. Raises PeerTimeout."""
        self.wait_until(lambda: len(self.sessions) >= number and bool(self.sessions[number - 1].ended), timeout_s)
        return self.sessions[number - 1]

    def _accept(self, accepting: socket.socket) -> None:
        try:
            connected, _ = accepting.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:
            self._pause()
            return
        thread = threading.Thread(target=self._serve_one, args=(connected,), daemon=True)
        with self._changed:
            self._open[thread] = connected
        try:
            thread.start()
        except RuntimeError:  # no more threads: this connection is given up, later ones may fare better
            with self._changed:
                del self._open[thread]
            connected.close()
            self._pause()

    def _pause(self) -> None:
        stopping = select.poll()
        stopping.register(self._stop_read, select.POLLIN)
        stopping.poll(NO_THREAD_PAUSE_S * 1000)

    def _serve_one(self, connected: socket.socket) -> None:
        session = self._new_session()
        reason = "error"
        try:
            stream = FrameStream(connected, COMMAND_LENGTH_MAX)
            conversation = _Conversation(stream, self.behaviour, session, self._stop_read)
            reason = conversation.run(lambda event: self._note(session, event))
        finally:
            connected.close()
            with self._changed:
                session.ended = reason
                self._open.pop(threading.current_thread(), None)
                self._changed.notify_all()
            self._observer.on_end(session)

    def _new_session(self) -> MilterSession:
        with self._changed:
            self.count += 1
            session = MilterSession(self.count)
            if self._keeps_records:
                self.sessions.append(session)
            self._changed.notify_all()
        return session

    def _note(self, session: MilterSession, event: Event) -> None:
        if self._keeps_records:
            with self._changed:
                session.events.append(event)
                self._changed.notify_all()
        self._observer.on_event(session, event)
