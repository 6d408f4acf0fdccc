"""A worker's life: accept, one session, report, repeat; until it is told to drain or the master is gone.

``run`` is handed to the master by ``mmgr.cli.manager`` and called in the forked child, which ends when it returns.
``prepare`` makes, in the master, what all workers of a generation inherit: the more they find made, the fewer pages of
memory each has to have a copy of.
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
from dataclasses import replace

from setproctitle import getproctitle, setproctitle

from mmgr import log as logs
from mmgr.assignment import Assignment
from mmgr.breaker import Panel
from mmgr.conditions.dnsbl import zones_of
from mmgr.config.model import ChildSettings, Config
from mmgr.lessons import Lessons
from mmgr.log import RateLimit, quoted
from mmgr.protocol.constants import COMMAND_LENGTH_MAX
from mmgr.resolver import Resolver
from mmgr.scoreboard import Scoreboard, WorkerState
from mmgr.stream import FrameStream
from mmgr.wakeup import WakeUp
from workers import rehearsal, session
from workers.mta import QUIET_S
from workers.pulse import Pulse
from workers.school import School
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
    if assignment.stack_fd >= 0:
        faulthandler.register(signal.SIGUSR2, file=assignment.stack_fd, all_threads=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    _let_others_finish()
    worker = _nursery.worker(assignment)
    worker.begin(assignment, wakeup)
    worker.serve()


def prepare(assignment: Assignment) -> None:
    """In the master, ahead of the first worker of a generation: make it, and rehearse once. Raises nothing."""
    _nursery.prepare(assignment)


class _Nursery:
    """The worker that all of a generation begin as, made in the master."""

    def __init__(self) -> None:
        self._made: tuple[Config, _Worker] | None = None
        self._has_rehearsed = False

    def prepare(self, assignment: Assignment) -> None:
        """Make it, if it is not there yet."""
        if self._made is not None and self._made[0] is assignment.config:
            self._made[1].memory.study()
            return
        if not self._has_rehearsed:
            self._has_rehearsed = True
            try:
                _rehearse(assignment.config)
            except OSError as error:
                log.debug("not-rehearsed error=%s", quoted(str(error)))
            setproctitle(getproctitle())  # the first title of a process costs most
        gc.collect()  # what the rehearsal left behind would be kept for ever by the next fork
        self._made = assignment.config, _Worker(assignment)

    def worker(self, assignment: Assignment) -> _Worker:
        """The one that was made, or a new one where nobody has prepared."""
        if self._made is not None and self._made[0] is assignment.config:
            return self._made[1]
        return _Worker(assignment)


def _rehearse(config: Config) -> None:
    """Serve imaginary sessions, the short way, the long way, and those that learn it. Raises OSError."""
    with rehearsal.scene() as scene:
        children = [ChildSettings(f"rehearsed-{at}", (each,)) for at, each in enumerate(scene.endpoints)]
        config, lessons = replace(config, children=tuple(children)), Lessons()
        worker = _Worker(Assignment(0, 0, config, (scene.listener,), Scoreboard(1), -1, lambda: None))
        memory = worker.memory
        for at in range(scene.sessions):
            if at % 4 == 0:  # it knows nothing, and finds out
                memory.options.clear()
                memory.school = School(lessons, at + 1, config)
            if at % 4 in (0, 2):  # it learns
                memory.plans.clear()
            elif at % 4 == 3:  # it knows that there is no short way
                memory.plans = dict.fromkeys(memory.plans)
            if not scene.comes():
                break
            worker.serve_one(scene.listener)


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

    return Senses(
        lambda: board.is_stressed,
        lambda name: resolver().look_up(name),
        is_unanswered=lambda name: resolver().is_unanswered(name),
    )


class _Worker:
    """The loop and what it reports."""

    def __init__(self, assignment: Assignment) -> None:
        self._place = assignment
        self._sessions = 0
        self._pid = os.getpid()
        self._title = Pulse(assignment, setproctitle)
        self._is_told = False
        self.memory = Memory(
            Panel(assignment.scoreboard.breakers, assignment.config.enabled_children),
            _senses(assignment),
            self._title.notes,
            School(assignment.lessons, assignment.generation, assignment.config),
        )
        self._listeners = {listener.fileno(): listener for listener in assignment.listeners}

    def begin(self, assignment: Assignment, wakeup: WakeUp) -> None:
        """This process is the worker of that place now, whichever of the same generation it was made for."""
        self._place = assignment
        self._pid = os.getpid()
        self._title.take_place(assignment)
        self._wakeup = wakeup
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
                self.serve_one(self._listeners[descriptor])
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

    def serve_one(self, listener: socket.socket) -> None:
        """Take a connection, if there is one, and serve its session."""
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
        session.serve(stream, self._place.config, session_id, self.memory, self._title)
        self._title.end_session(self._sessions)

    def _report_accept(self, error: OSError) -> None:
        """A listener that was shut down reports itself for ever, until the master's TERM comes: hence the pause."""
        repeated = _warnings.allows(error.errno)
        if repeated is not None and error.errno != errno.EINVAL:
            log.warning("accept-failed worker=%d error=%s%s", self._place.number, quoted(str(error)), repeated)
        time.sleep(ACCEPT_PAUSE_S)


_nursery = _Nursery()
