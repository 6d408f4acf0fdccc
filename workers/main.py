"""A worker's life: accept, one session, report, repeat; until it is told to drain or the master is gone.

``run`` is handed to the master by ``mmgr.cli.manager`` and called in the forked child, which ends when it returns.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import gc
import logging
import os
import select
import signal
import socket
import time

from setproctitle import setproctitle

from mmgr import log as logs
from mmgr.assignment import Assignment
from mmgr.breaker import Panel
from mmgr.conditions.dnsbl import zones_of
from mmgr.log import RateLimit, quoted
from mmgr.protocol.constants import COMMAND_LENGTH_MAX
from mmgr.resolver import Resolver
from mmgr.scoreboard import WorkerState
from mmgr.stream import FrameStream
from mmgr.wakeup import WakeUp
from workers import session
from workers.mta import QUIET_S
from workers.pulse import Pulse
from workers.senses import Senses
from workers.surroundings import Memory

log = logging.getLogger(__name__)

ACCEPT_PAUSE_S = 0.1
"""How long to wait when a connection can't be accepted for want of descriptors or memory."""

GC_THRESHOLDS = (20_000, 20, 100)
"""A session leaves hardly any cycles; looking for them as often as Python does by itself costs more than a child."""

_warnings = RateLimit()


def run(assignment: Assignment) -> None:
    """Serve sessions until told to stop. TERM drains: the current session is finished, no other is taken."""
    wakeup = WakeUp()
    wakeup.listen([signal.SIGTERM, signal.SIGUSR1])
    listen_to_master_alone(assignment)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    _let_others_finish()
    _Worker(assignment, wakeup).serve()


def listen_to_master_alone(assignment: Assignment) -> None:
    """Ignore what is meant for the master, and show the stack on USR2."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    if assignment.stack_fd >= 0:
        faulthandler.register(signal.SIGUSR2, file=assignment.stack_fd, all_threads=False)


def reopen_logs(assignment: Assignment) -> None:
    """USR1: the master has had it, too."""
    try:
        logs.set_up(assignment.config.log)
    except OSError as error:
        log.error("log-not-reopened error=%s", quoted(str(error)))


def _let_others_finish() -> None:
    """Not to interrupt, on its own processor, the milter that is just giving us one of many replies (SCHED_BATCH)."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _senses(assignment: Assignment) -> Senses:
    """What conditions may ask for; the DNS is prepared for when the first of them does."""
    settings, board = assignment.config.conditions, assignment.scoreboard

    @functools.lru_cache(maxsize=1)
    def resolver() -> Resolver:
        zones = zones_of(assignment.config.compiled.values())
        return Resolver(settings.dns_name_servers, settings.dns_timeout_s, zones=zones)

    return Senses(lambda: board.is_stressed, lambda name: resolver().look_up(name))


class _Worker:
    """The loop and what it reports."""

    def __init__(self, assignment: Assignment, wakeup: WakeUp) -> None:
        self._place = assignment
        self._wakeup = wakeup
        self._sessions = 0
        self._pid = os.getpid()
        self._title = Pulse(assignment, setproctitle)
        self._is_told = False
        self._memory = Memory(
            Panel(assignment.scoreboard.breakers, assignment.config.enabled_children),
            _senses(assignment),
            self._title.notes,
        )
        self._listeners = {listener.fileno(): listener for listener in assignment.listeners}
        self._events = select.epoll()
        for descriptor in self._listeners:
            self._events.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._events.register(wakeup, select.EPOLLIN)
        self._events.register(assignment.life_fd, select.EPOLLIN)

    def serve(self) -> None:
        """Accept and serve, one at a time."""
        self._title.become(WorkerState.IDLE)
        self._title.idle(self._sessions)
        self._place.tell_master()
        while not self._is_told:
            ready = {descriptor for descriptor, _ in self._wait()}
            self._hear(ready)
            # Also when told to end: the kernel woke nobody else for a connection that is there
            for descriptor in ready & self._listeners.keys():
                self._serve_one(self._listeners[descriptor])
        self._title.become(WorkerState.DRAINING)

    def _hear(self, ready: set[int]) -> None:
        """Take what master and signals say."""
        numbers = self._wakeup.take() if self._wakeup.fileno() in ready else []
        self._is_told = signal.SIGTERM in numbers or self._place.life_fd in ready
        if signal.SIGUSR1 in numbers:
            reopen_logs(self._place)

    def _wait(self) -> list[tuple[int, int]]:
        """What there is to do; a worker that has nothing to do for a moment says so.

        One that waited for long tries all listeners: two connections that come at the same moment may have woken one
        worker alone (Linux before 5.7), which is busy with the first.
        """
        ready = self._events.poll(QUIET_S)
        if not ready:
            self._title.idle(self._sessions)
            self._title.beat()
            ready = self._events.poll(self._title.idle_beat_s)
        return ready or [(descriptor, select.EPOLLIN) for descriptor in self._listeners]

    def _serve_one(self, listener: socket.socket) -> None:
        try:
            connected, _ = listener.accept()
        except BlockingIOError:
            return  # another worker was quicker
        except OSError as error:
            self._report_accept(error)
            return
        self._sessions += 1
        self._title.begin_session()
        session_id = f"{self._pid}.{self._sessions}"
        stream = FrameStream(connected, COMMAND_LENGTH_MAX)
        session.serve(stream, self._place.config, session_id, self._memory, self._title)
        self._title.end_session(self._sessions)

    def _report_accept(self, error: OSError) -> None:
        """A listener that was shut down reports itself for ever, until the master's TERM comes: hence the pause."""
        repeated = _warnings.allows(error.errno)
        if repeated is not None and error.errno != errno.EINVAL:
            log.warning("accept-failed worker=%d error=%s%s", self._place.number, quoted(str(error)), repeated)
        time.sleep(ACCEPT_PAUSE_S)
