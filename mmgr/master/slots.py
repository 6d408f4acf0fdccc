"""The master's table of workers: which slot has which process, and what that process was told. Named changes only."""

from __future__ import annotations

from dataclasses import dataclass

YOUNG_S = 10.0
"""A worker that dies before this age may be one that always dies."""

DELAY_FIRST_S = 0.5
DELAY_MAX_S = 60.0


@dataclass
class Slot:
    """One place for a worker; pid 0 is a free one. Times are monotonic.

    told_at is when it was told to drain, 0 if it was not. early_deaths counts deaths in a row at a young age;
    not_before is when the next worker may start here.
    """

    index: int
    pid: int = 0
    generation: int = 0
    started: float = 0.0
    told_at: float = 0.0
    is_killed: bool = False
    early_deaths: int = 0
    not_before: float = 0.0

    @property
    def number(self) -> int:
        """The worker's number in titles and logs."""
        return self.index + 1

    def take(self, pid: int, generation: int, now: float) -> None:
        """A worker was forked for this slot."""
        self.pid, self.generation, self.started = pid, generation, now
        self.told_at, self.is_killed = 0.0, False

    def tell(self, now: float) -> None:
        """Its worker was told to drain."""
        self.told_at = now

    def kill(self) -> None:
        """Its worker was sent SIGKILL."""
        self.is_killed = True

    def free(self, now: float) -> None:
        """Its worker is gone. One that died young without being told to delays the next, doubling from the second."""
        if self.told_at or now - self.started >= YOUNG_S:
            self.early_deaths = 0
        else:
            self.early_deaths += 1
        delay_s = 0.0
        if self.early_deaths > 1:
            delay_s = min(DELAY_MAX_S, DELAY_FIRST_S * 2.0 ** min(self.early_deaths - 2, 10))
        self.not_before = now + delay_s
        self.pid = 0
