"""A worker's life: accept, one session, report, repeat; until it is told to drain or the master is gone.

``run`` is handed to the master by ``mmgr.cli.manager`` and called in the forked child, which ends when it returns.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import select
import signal
import socket
import time

from setproctitle import setproctitle

from mmgr.assignment import Assignment
from mmgr.log import RateLimit, quoted
from mmgr.protocol.constants import COMMAND_LENGTH_MAX
from mmgr.protocol.options import OptionNegotiation
from mmgr.scoreboard import WorkerState
from mmgr.stream import FrameStream
from mmgr.wakeup import WakeUp
from workers.session import Session
from workers.sessionlog import Report

log = logging.getLogger(__name__)

ACCEPT_PAUSE_S = 0.1
"""How long to wait when a connection can't be accepted for want of descriptors or memory."""

_warnings = RateLimit()


def run(assignment: Assignment) -> None:
    """Serve sessions until told to stop. TERM drains: the current session is finished, no other is taken."""
    wakeup = WakeUp()
    wakeup.listen([signal.SIGTERM])
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    gc.enable()
    _Worker(assignment, wakeup).serve()


class _Worker:
    """The loop and what it reports."""

    def __init__(self, assignment: Assignment, wakeup: WakeUp) -> None:
        self._place = assignment
        self._wakeup = wakeup
        self._sessions = 0
        self._doing = ""
        self._remembered: dict[tuple[str, OptionNegotiation], OptionNegotiation] = {}
        self._listeners = {listener.fileno(): listener for listener in assignment.listeners}
        self._events = select.epoll()
        for descriptor in self._listeners:
            self._events.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._events.register(wakeup, select.EPOLLIN)
        self._events.register(assignment.life_fd, select.EPOLLIN)

    def serve(self) -> None:
        """Accept and serve, one at a time."""
        self._become_idle()
        self._place.tell_master()
        while True:
            ready = {descriptor for descriptor, _ in self._events.poll()}
            if self._place.life_fd in ready or self._wakeup.fileno() in ready:
                break
            for descriptor in ready:
                self._serve_one(self._listeners[descriptor])
        self._place.scoreboard.set_state(self._place.slot, WorkerState.DRAINING)

    def _serve_one(self, listener: socket.socket) -> None:
        try:
            connected, _ = listener.accept()
        except BlockingIOError:
            return  # another worker was quicker
        except OSError as error:
            self._report_accept(error)
            return
        self._sessions += 1
        self._place.scoreboard.set_state(self._place.slot, WorkerState.BUSY)
        self._say("negotiate", "")
        session_id = f"{os.getpid()}.{self._sessions}"
        report = Report(self._say, self._say_waiting)
        stream = FrameStream(connected, COMMAND_LENGTH_MAX)
        Session(stream, self._place.config, session_id, self._remembered, report).run()
        self._place.scoreboard.set_sessions(self._place.slot, self._sessions)
        self._become_idle()

    def _report_accept(self, error: OSError) -> None:
        """A listener that was shut down reports itself for ever, until the master's TERM comes: hence the pause."""
        repeated = _warnings.allows(error.errno)
        if repeated is not None and error.errno != errno.EINVAL:
            log.warning("accept-failed worker=%d error=%s%s", self._place.number, quoted(str(error)), repeated)
        time.sleep(ACCEPT_PAUSE_S)

    def _become_idle(self) -> None:
        self._place.scoreboard.set_state(self._place.slot, WorkerState.IDLE)
        setproctitle(f"milter-manager: worker {self._place.number} idle, {self._sessions} sessions")

    def _say(self, stage: str, client: str) -> None:
        self._doing = f"milter-manager: worker {self._place.number} {stage} {client}".rstrip()
        setproctitle(self._doing)

    def _say_waiting(self, child: str) -> None:
        setproctitle(f"{self._doing} waiting for {child}" if child else self._doing)
