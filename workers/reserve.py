"""The reserve: one process that answers when no worker can, so that no MTA waits in vain for its negotiation.

It asks no child and reads no message. It negotiates that nothing but MAIL is sent, and answers that with what
``[workers] overload`` says. It serves many connections at once, as each lasts as long as its SMTP session does. The
master says on the scoreboard when it may take connections, and wakes it by HUP; it takes none while a worker is idle.
"""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import time
from dataclasses import dataclass

from setproctitle import setproctitle

from mmgr.assignment import Assignment
from mmgr.config.model import Overload
from mmgr.log import RateLimit, quoted
from mmgr.protocol.commands import encode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, SMFI_VERSION_MAX, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE, PAYLOAD, FrameBuffer
from mmgr.protocol.options import NO_STEP, OptionNegotiation, decode_options
from mmgr.protocol.replies import Accept, Continue, TempFail, Verdict, encode_reply
from mmgr.scoreboard import WorkerState
from mmgr.tally import OVERLOAD, stage_index, verdict_index
from mmgr.wakeup import WakeUp
from workers.main import listen_to_master_alone, reopen_logs
from workers.mta import FIRST_TIMEOUT_S, IDLE_TIMEOUT_S
from workers.pulse import IDLE_BEAT_S

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 1000
READ_BYTES = 65536
PAUSE_S = 0.02
"""How long to leave a connection to a worker that has just become idle."""

_DECLINED = sum(bit for command, bit in NO_STEP.items() if command != Command.SMFIC_MAIL)
_UNDECIDED = frozenset(map(int, (Command.SMFIC_CONNECT, Command.SMFIC_HELO, Command.SMFIC_UNKNOWN)))
_CONTINUE = encode_reply(Continue())
_REPLIES: dict[Overload, Verdict] = {Overload.TEMPORARY_FAILURE: TempFail(), Overload.ACCEPT: Accept()}

_warnings = RateLimit()


def run(assignment: Assignment) -> None:
    """Answer until told to stop, and then until the last connection is over."""
    wakeup = WakeUp()
    listen_to_master_alone(assignment)
    wakeup.listen([signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _Reserve(assignment, wakeup).serve()


@dataclass
class _Guest:
    """One connection. answer is what it was told in its negotiation, until when it has to say something."""

    connected: socket.socket
    buffer: FrameBuffer
    until: float
    answer: OptionNegotiation | None = None


class _Reserve:
    """The loop."""

    def __init__(self, assignment: Assignment, wakeup: WakeUp) -> None:
        self._place = assignment
        self._board = assignment.scoreboard
        self._wakeup = wakeup
        self._listeners = {listener.fileno(): listener for listener in assignment.listeners}
        self._guests: dict[int, _Guest] = {}
        self._sessions = 0
        self._is_told = False
        self._is_listening = False
        self._beat_s = min(IDLE_BEAT_S, assignment.config.workers.hang_timeout_s / 3.0)
        overload = assignment.config.workers.overload
        self._verdict = overload.value
        self._reply = encode_reply(_REPLIES.get(overload, Accept()))
        self._events = select.epoll()
        self._events.register(wakeup, select.EPOLLIN)
        self._events.register(assignment.life_fd, select.EPOLLIN)

    def serve(self) -> None:
        """Wait, take, answer."""
        self._board.set_state(self._place.slot, WorkerState.RESERVE)
        while not self._is_told or self._guests:
            self._show()
            wait_s = self._listen_or_not()
            now = time.monotonic()
            self._board.beat(self._place.slot, now, self._beat_s)
            for descriptor, _ in self._events.poll(wait_s):
                self._on_ready(descriptor)
            self._expire(time.monotonic())

    def _listen_or_not(self) -> float:
        """Look at the listeners only while it is our turn; how long to wait then."""
        is_due = self._board.is_overloaded and not self._is_told and len(self._guests) < CONNECTIONS_MAX
        is_our_turn = is_due and not self._board.count(WorkerState.IDLE)
        if is_our_turn != self._is_listening:
            self._is_listening = is_our_turn
            for descriptor in self._listeners:
                if is_our_turn:
                    self._events.register(descriptor, select.EPOLLIN)
                else:
                    self._events.unregister(descriptor)
        return PAUSE_S if is_due and not is_our_turn else self._beat_s

    def _on_ready(self, descriptor: int) -> None:
        if descriptor in self._guests:
            self._read(self._guests[descriptor])
        elif descriptor in self._listeners:
            if self._board.is_overloaded and not self._board.count(WorkerState.IDLE):
                self._accept(self._listeners[descriptor])
        elif descriptor == self._wakeup.fileno():
            numbers = self._wakeup.take()
            self._is_told = self._is_told or signal.SIGTERM in numbers
            if signal.SIGUSR1 in numbers:
                reopen_logs(self._place)
        else:
            self._is_told = True  # the master is gone
            self._events.unregister(descriptor)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connected, _ = listener.accept()
        except OSError:
            return  # a worker was quicker, or the listener is going
        connected.setblocking(False)
        buffer = FrameBuffer(COMMAND_LENGTH_MAX)
        self._guests[connected.fileno()] = _Guest(connected, buffer, time.monotonic() + FIRST_TIMEOUT_S)
        self._events.register(connected, select.EPOLLIN)
        self._sessions += 1
        self._board.set_sessions(self._place.slot, self._sessions)
        self._count("connect", "other")
        repeated = _warnings.allows("overload")
        if repeated is not None:
            log.warning("overload-answered verdict=%s open=%d%s", self._verdict, len(self._guests), repeated)

    def _read(self, guest: _Guest) -> None:
        try:
            data = guest.connected.recv(READ_BYTES)
            frames = guest.buffer.feed(data) if data else []
            guest.until = time.monotonic() + IDLE_TIMEOUT_S
            is_over = not data or any(not self._answer(guest, frame) for frame in frames)
        except BlockingIOError:
            return
        except (OSError, RemoteProtocolError) as error:
            log.debug("overload-lost error=%s", quoted(str(error)))
            is_over = True
        if is_over:
            self._close(guest)

    def _answer(self, guest: _Guest, frame: bytes) -> bool:
        """Reply to one command if a reply is due; False if the connection is over. Raises OSError."""
        code = frame[CODE]
        if guest.answer is None:
            if code != Command.SMFIC_OPTNEG:
                raise RemoteProtocolError("the first command is no negotiation")
            offer = decode_options(frame[PAYLOAD:])
            version = min(offer.version, SMFI_VERSION_MAX)
            guest.answer = OptionNegotiation(version, 0, offer.steps & _DECLINED)
            return self._send(guest, encode_command(guest.answer))
        if code == Command.SMFIC_QUIT_NC:
            guest.answer = None
            return True
        if code == Command.SMFIC_MAIL:
            self._count("mail", self._verdict)
        if code == Command.SMFIC_QUIT:
            return False
        if not guest.answer.answers(code):
            return True
        return self._send(guest, _CONTINUE if code in _UNDECIDED else self._reply)

    def _send(self, guest: _Guest, frame: bytes) -> bool:
        """A peer that does not even take a few bytes is let go."""
        return guest.connected.send(frame) == len(frame)

    def _expire(self, now: float) -> None:
        for guest in [guest for guest in self._guests.values() if guest.until < now]:
            self._close(guest)

    def _close(self, guest: _Guest) -> None:
        descriptor = guest.connected.fileno()
        with contextlib.suppress(OSError):
            self._events.unregister(descriptor)
        del self._guests[descriptor]
        guest.connected.close()

    def _count(self, stage: str, verdict: str) -> None:
        child = self._board.tallies.names.index(OVERLOAD)
        self._board.add(self._place.slot, [(child, stage_index(stage), verdict_index(verdict), 0.0)])

    def _show(self) -> None:
        what = f"{len(self._guests)} open" if self._guests else "idle"
        setproctitle(f"milter-manager: reserve {self._place.number} {what}, {self._sessions} sessions")
