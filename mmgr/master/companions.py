"""Processes beside the workers that are kept alive like them: the sample milters of a newcomer's first run."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from setproctitle import setproctitle

from mmgr.log import quoted
from mmgr.master import spawn
from mmgr.master.slots import Slot

log = logging.getLogger(__name__)

END_S = 2.0
"""How long a companion may take to end."""


@dataclass(frozen=True)
class Companion:
    """life(life_fd) serves until TERM or the end of life_fd."""

    name: str
    life: Callable[[int], None]


class Companions:
    """All of them. begin is called in the child first, and gives the descriptor that tells of the master's end."""

    def __init__(self, companions: Sequence[Companion], begin: Callable[[], int]) -> None:
        self._companions = companions
        self._begin = begin
        self._slots = [Slot(index) for index in range(len(companions))]

    @property
    def is_any_alive(self) -> bool:
        """Does one of them still run?"""
        return any(slot.pid for slot in self._slots)

    def bury(self, pid: int, status: int, is_stopping: bool, now: float) -> bool:
        """One of our processes ended; was it one of these?"""
        for slot in self._slots:
            if slot.pid == pid:
                slot.free(now)
                if not is_stopping:
                    name = self._companions[slot.index].name
                    log.warning("companion-died name=%s cause=%s", name, quoted(spawn.cause_of_death(status)))
                return True
        return False

    def act(self, is_stopping: bool, now: float) -> None:
        """Start those that are missing; end all when it is time."""
        for slot in self._slots:
            if is_stopping and slot.pid and not slot.told_at:
                slot.tell(now)
                spawn.send_signal(slot.pid, signal.SIGTERM)
            elif is_stopping and slot.pid and now - slot.told_at > END_S and not slot.is_killed:
                slot.kill()
                spawn.send_signal(slot.pid, signal.SIGKILL)
            elif not is_stopping and not slot.pid and slot.not_before <= now:
                self._start(slot, now)

    def _start(self, slot: Slot, now: float) -> None:
        companion = self._companions[slot.index]
        try:
            slot.take(spawn.fork(lambda: self._live(companion)), 0, now)
        except OSError as error:
            slot.fail(0, now)
            log.warning("companion-died name=%s cause=%s", companion.name, quoted(f"fork: {error.strerror}"))

    def _live(self, companion: Companion) -> None:
        """In the child. INT is the terminal's, and for the master."""
        life_fd = self._begin()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        setproctitle(f"milter-manager: {companion.name}")
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        companion.life(life_fd)
