"""What the figures are made of: medians, spreads, ratios within a round. PURE."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A median and the range that it comes from."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Run:
    """One way's part of one round. Times of CPU are milliseconds per message, all processes of a group added."""

    messages: int
    each_ms: float
    p50_ms: float
    p95_ms: float
    manager_cpu_ms: float
    children_cpu_ms: float
    postfix_cpu_ms: float
    load_cpu_ms: float
    foreign_cores: float

    @property
    def total_cpu_ms(self) -> float:
        """What a message costs the machine, the load's own part left out."""
        return self.manager_cpu_ms + self.children_cpu_ms + self.postfix_cpu_ms


Runs = Mapping[str, Sequence[Run]]
"""By way, the runs of all rounds in their order."""


def spread(runs: Sequence[Run], name: str) -> Spread:
    """Of one field of all runs of a way."""
    return Spread.of([getattr(run, name) for run in runs])


def mean(runs: Sequence[Run], name: str) -> float:
    """Of a field that is per message, over the messages of all runs: CPU time comes in ticks too coarse for one run."""
    total: float = sum(getattr(run, name) * run.messages for run in runs)
    return total / sum(run.messages for run in runs)


def ratio(runs: Runs, way: str, base: str, name: str = "each_ms") -> Spread:
    """way divided by base, round by round: below 1 means that way is better. A base of 0 counts as equal."""
    pairs = zip(runs[way], runs[base])
    return Spread.of([getattr(a, name) / getattr(b, name) if getattr(b, name) else 1.0 for a, b in pairs])
