"""The master's table of workers: which slot has which process, and what that process was told. Named changes only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

YOUNG_S = 10.0
"""A worker that dies before this age may be one that always dies."""

DELAY_FIRST_S = 0.5
DELAY_MAX_S = 60.0


class Reason(Enum):
    """Why a worker was told to end; the words are those of logs and status."""

    NONE = ""
    STOP = "stop"
    RELOAD = "reload"
    SURPLUS = "surplus"
    RECYCLE = "recycle"
    HANG = "hang"


class Start(Enum):
    """Why a worker was started; the words are those of the metrics."""

    START = "start"
    RELOAD = "reload"
    GROWTH = "growth"
    RECYCLE = "recycle"
    DEATH = "death"
    HANG = "hang"
    RESERVE = "reserve"


PATIENT = frozenset((Reason.SURPLUS, Reason.RECYCLE))
"""Reasons for which no session is ever cut off: nobody waits for that worker to be gone."""


@dataclass
class Slot:
    """One place for a worker; pid 0 is a free one. Times are monotonic.

    told_at is when it was told to end, 0 if it was not; suspected_at is when it was first found to be silent for too
    long. early_deaths counts deaths in a row at a young age; not_before is when the next worker of the same generation
    may start here. luck, 0 to 1, spreads what would otherwise happen to all workers at the same time.
    """

    index: int
    pid: int = 0
    generation: int = 0
    started: float = 0.0
    told_at: float = 0.0
    is_killed: bool = False
    early_deaths: int = 0
    not_before: float = 0.0
    reason: Reason = Reason.NONE
    suspected_at: float = 0.0
    is_reserve: bool = False
    luck: float = 0.0

    @property
    def number(self) -> int:
        """The worker's number in titles and logs."""
        return self.index + 1

    def take(self, pid: int, generation: int, now: float, is_reserve: bool = False, luck: float = 0.0) -> None:
        """A worker was forked for this slot."""
        self.pid, self.generation, self.started = pid, generation, now
        self.told_at, self.is_killed, self.reason, self.suspected_at = 0.0, False, Reason.NONE, 0.0
        self.is_reserve, self.luck = is_reserve, luck

    def tell(self, now: float, reason: Reason = Reason.RELOAD) -> None:
        """Its worker was told to end, or is told again for a reason that has less patience."""
        self.told_at, self.reason = now, reason

    def suspect(self, now: float) -> None:
        """Its worker is silent for too long."""
        self.suspected_at = now

    def clear(self) -> None:
        """It was heard of again."""
        self.suspected_at = 0.0

    def kill(self) -> None:
        """Its worker was sent SIGKILL."""
        self.is_killed = True

    def free(self, now: float) -> None:
        """Its worker is gone. One that died young without being told to delays the next, doubling from the second."""
        if self.told_at or now - self.started >= YOUNG_S:
            self.early_deaths = 0
        else:
            self.early_deaths += 1
        self._delay(now)

    def fail(self, generation: int, now: float) -> None:
        """No worker could be forked for this slot: the next try waits as after early deaths."""
        self.generation = generation
        self.early_deaths = max(2, self.early_deaths + 1)
        self._delay(now)

    def _delay(self, now: float) -> None:
        delay_s = 0.0
        if self.early_deaths > 1:
            delay_s = min(DELAY_MAX_S, DELAY_FIRST_S * 2.0 ** min(self.early_deaths - 2, 10))
        self.not_before = now + delay_s
        self.pid = 0
