"""Processes beside the workers that are kept alive like them: sample milters of a first run, the metrics' own."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from setproctitle import setproctitle

from mmgr.log import quoted
from mmgr.master import spawn
from mmgr.master.listeners import process_state
from mmgr.master.slots import Slot

log = logging.getLogger(__name__)

END_S = 2.0
"""How long a companion may take to end."""

LOOK_EVERY_S = 1.0
STOPPED_S = 30.0
"""One that somebody stopped (SIGSTOP) and did not continue within this time is killed, and another one is started."""


@dataclass(frozen=True)
class Companion:
    """life(life_fd, line) serves until TERM or the end of life_fd.

    line is its end of a connection to the master, whose own end take_line is given; None without take_line. keeps are
    descriptors of the master's loop that it goes on to use; it closes all others. ended is called in the master when
    its process is gone.
    """

    name: str
    life: Callable[[int, socket.socket | None], None]
    take_line: Callable[[socket.socket], None] | None = None
    keeps: frozenset[int] = frozenset()
    ended: Callable[[], None] = lambda: None


@dataclass
class _Post:
    """The place of one: who is to be there, None for nobody, and who is."""

    companion: Companion | None
    slot: Slot
    running: Companion | None = None
    looked_at: float = 0.0


class Companions:
    """All of them. begin is called in the child first, with the descriptors to keep, and gives the one that tells of
    the master's end."""

    def __init__(self, companions: Sequence[Companion], begin: Callable[[frozenset[int]], int]) -> None:
        self._begin = begin
        self._posts = {one.name: _Post(one, Slot(index)) for index, one in enumerate(companions)}

    @property
    def is_any_alive(self) -> bool:
        """Does one of them still run?"""
        return any(post.slot.pid for post in self._posts.values())

    def put(self, name: str, companion: Companion | None, now: float) -> None:
        """From now on have this one of that name, or none; another one that runs is told to end."""
        post = self._posts.setdefault(name, _Post(None, Slot(len(self._posts))))
        post.companion = companion
        if post.slot.pid and not post.slot.told_at:
            _end(post.slot, now)

    def bury(self, pid: int, status: int, is_stopping: bool, now: float) -> bool:
        """One of our processes ended; was it one of these?"""
        for name, post in self._posts.items():
            if post.slot.pid == pid:
                was_told, running = bool(post.slot.told_at), post.running
                cause = "stopped for too long" if post.slot.is_killed else spawn.cause_of_death(status)
                post.slot.free(now)
                if running is not None:
                    running.ended()
                if not is_stopping and not was_told:
                    log.warning("companion-died name=%s cause=%s", name, quoted(cause))
                return True
        return False

    def act(self, is_stopping: bool, now: float) -> None:
        """Start those that are missing; end all when it is time."""
        for post in self._posts.values():
            slot = post.slot
            if is_stopping and slot.pid and not slot.told_at:
                _end(slot, now)
            elif slot.pid and slot.told_at and now - slot.told_at > END_S and not slot.is_killed:
                slot.kill()
                spawn.send_signal(slot.pid, signal.SIGKILL)
            elif not is_stopping and post.companion and not slot.pid and slot.not_before <= now:
                post.running = post.companion
                self._start(post.companion, slot, now)
            elif slot.pid and not slot.told_at and now - post.looked_at >= LOOK_EVERY_S:
                post.looked_at = now
                _look(slot, now)

    def _start(self, companion: Companion, slot: Slot, now: float) -> None:
        ours, theirs = None, None
        try:
            if companion.take_line is not None:
                ours, theirs = socket.socketpair()
            slot.take(spawn.fork(lambda: self._live(companion, ours, theirs)), 0, now)
        except OSError as error:
            slot.fail(0, now)
            log.warning("companion-died name=%s cause=%s", companion.name, quoted(f"start: {error.strerror}"))
            if ours is not None:
                ours.close()
        else:
            if companion.take_line is not None and ours is not None:
                companion.take_line(ours)
        finally:
            if theirs is not None:
                theirs.close()

    def _live(self, companion: Companion, ours: socket.socket | None, theirs: socket.socket | None) -> None:
        """In the child. INT is the terminal's, and for the master."""
        life_fd = self._begin(companion.keeps)
        if ours is not None:
            ours.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        setproctitle(f"milter-manager: {companion.name}")
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        companion.life(life_fd, theirs)


def _look(slot: Slot, now: float) -> None:
    """A stopped process keeps its line and its socket, and answers nobody."""
    if process_state(slot.pid) != "T":
        slot.clear()
    elif not slot.suspected_at:
        slot.suspect(now)
    elif now - slot.suspected_at >= STOPPED_S and not slot.is_killed:
        slot.kill()
        spawn.send_signal(slot.pid, signal.SIGKILL)


def _end(slot: Slot, now: float) -> None:
    slot.tell(now)
    spawn.send_signal(slot.pid, signal.SIGTERM)
