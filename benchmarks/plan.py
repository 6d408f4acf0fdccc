"""What is measured: cases, and the ways on which the same mail goes through the same children. PURE.

A case names one set of children, one kind of mail and one load. Its ways are measured in turns within one run, so that
whatever else the machine does hits all of them alike. Called by ``__main__``, ``pairs`` and ``report``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

ROUNDS = 5
"""How often each way of a case is measured; all figures are medians over the rounds."""

NONE = "none"
DIRECT = "direct"
MANAGED = "managed"
SEQUENTIAL = "sequential"
PARALLEL = "parallel"
SCAN_GROUP = "scan group"

PAIR = (NONE, DIRECT, MANAGED)
SLOW_WAYS = (DIRECT, SEQUENTIAL, PARALLEL, SCAN_GROUP)


@dataclass(frozen=True)
class ChildKind:
    """What the children of a case do: arguments of child.c, and whether they listen on TCP."""

    arguments: tuple[str, ...] = ()
    is_on_tcp: bool = False


CHILD_KINDS: Mapping[str, ChildKind] = {
    "plain": ChildKind(),
    "few callbacks": ChildKind(("-f",)),
    "slow": ChildKind(("-r", "50", "-e", "300")),
    "editing": ChildKind(("-a",)),
    "editing, TCP": ChildKind(("-a",), is_on_tcp=True),
    "plain, TCP": ChildKind(is_on_tcp=True),
}


@dataclass(frozen=True)
class ManagedWay:
    """Settings of a manager: keys of ``[manager]`` and of each child. Not available unless all of them are known."""

    manager_keys: Mapping[str, str] = field(default_factory=dict)
    child_keys: Mapping[str, str] = field(default_factory=dict)


MANAGED_WAYS: Mapping[str, ManagedWay] = {
    MANAGED: ManagedWay(),
    SEQUENTIAL: ManagedWay({"envelope_dispatch": "sequential"}),
    PARALLEL: ManagedWay({"envelope_dispatch": "parallel"}),
    SCAN_GROUP: ManagedWay({"envelope_dispatch": "parallel"}, {"scan_group": "together"}),
}


@dataclass(frozen=True)
class Case:
    """One row of the tables. is_kept: the SMTP connections stay open, else each message has one of its own."""

    children: int = 3
    sessions: int = 10
    size_bytes: int = 10240
    headers: int = 20
    is_kept: bool = False
    kind: str = "plain"
    ways: tuple[str, ...] = PAIR

    @property
    def connections(self) -> str:
        return "kept" if self.is_kept else "fresh"

    def shown_size(self) -> str:
        """``10 KB``, ``1 MB``."""
        kilobytes = self.size_bytes // 1024
        return f"{kilobytes // 1024} MB" if kilobytes >= 1024 else f"{kilobytes} KB"

    def title(self) -> str:
        """Everything of it in one line."""
        return (
            f"{self.children} children ({self.kind}), {self.sessions} sessions ({self.connections}), "
            f"{self.shown_size()}, {self.headers} headers"
        )


CHILDREN = (1, 2, 3, 5)
SESSIONS = (1, 10, 50)
SIZES_BYTES = (2048, 10240, 1048576)
HEADERS = (10, 20, 60)
MANY_HEADERS = 200
"""A message that came far, or a newsletter; what a header costs must not depend on how many there are."""

CENTRE = Case()
SLOWEST = Case(children=1, kind="slow", sessions=1, ways=(DIRECT, SEQUENTIAL))
"""What the slowest of several costs alone: the measure of those that work at the same time."""


@dataclass(frozen=True)
class Section:
    """One table of the report."""

    title: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Plan:
    """One run of the whole. round_s is how long one way's part of a round is to take, as far as its load allows."""

    name: str
    round_s: float
    sections: tuple[Section, ...]
    rounds: int = ROUNDS

    def cases(self) -> list[Case]:
        """All cases, each once, those that share their children side by side."""
        cases = dict.fromkeys(case for section in self.sections for case in section.cases)
        return sorted(cases, key=lambda case: (case.kind, case.children))


def slices() -> list[Section]:
    """The centre, and one dimension at a time around it."""
    return [
        Section("Number of children", tuple(Case(children=count) for count in CHILDREN)),
        Section("Open sessions", tuple(Case(sessions=count) for count in SESSIONS)),
        Section("Kept connections", tuple(Case(sessions=count, is_kept=True) for count in SESSIONS)),
        Section("Size of the message", tuple(Case(size_bytes=size) for size in SIZES_BYTES)),
        Section("Number of headers", tuple(Case(headers=count) for count in (*HEADERS, MANY_HEADERS))),
    ]


def corners() -> Section:
    """The extremes of all four dimensions together."""
    children, sessions, sizes, headers = ((each[0], each[-1]) for each in (CHILDREN, SESSIONS, SIZES_BYTES, HEADERS))
    return Section("Corners", _product(children, sessions, sizes, headers, (False,), (DIRECT, MANAGED)))


def product() -> Section:
    """Everything with everything."""
    return Section("Full product", _product(CHILDREN, SESSIONS, SIZES_BYTES, HEADERS, (False, True), PAIR))


def _product(
    children: Iterable[int],
    sessions: Iterable[int],
    sizes_bytes: Iterable[int],
    headers: Iterable[int],
    kept: Iterable[bool],
    ways: tuple[str, ...],
) -> tuple[Case, ...]:
    dimensions = itertools.product(children, sessions, sizes_bytes, headers, kept)
    return tuple(Case(*values, ways=ways) for values in dimensions)


def special() -> list[Section]:
    """Children that do more or less than let everything pass, on unix sockets and on TCP."""
    pair = (DIRECT, MANAGED)
    others = [
        Case(kind=kind, sessions=sessions, ways=pair)
        for kind in ("few callbacks", "editing", "plain, TCP", "editing, TCP")
        for sessions in (1, 10)
    ]
    slow = [SLOWEST, *(Case(kind="slow", sessions=sessions, ways=SLOW_WAYS) for sessions in (1, 10))]
    return [Section("Other children", tuple(others)), Section("Slow children", tuple(slow))]


def quick_sections() -> list[Section]:
    """A few cases of each kind."""
    pair = (DIRECT, MANAGED)
    tcp = [Case(kind="editing, TCP", sessions=1, ways=pair)]
    return [
        Section("Number of children", tuple(Case(children=count) for count in (1, 3))),
        Section("Open sessions", tuple(Case(sessions=count) for count in SESSIONS)),
        Section("Kept connections", (Case(is_kept=True),)),
        Section("Size of the message", (CENTRE, Case(size_bytes=SIZES_BYTES[-1]))),
        Section("Other children", tuple(tcp)),
        Section("Slow children", (SLOWEST, Case(kind="slow", sessions=1, ways=SLOW_WAYS))),
    ]


def plan(name: str) -> Plan:
    """The plan of that name: quick, default or full. Raises KeyError for another."""
    return {
        "quick": lambda: Plan("quick", 0.2, tuple(quick_sections())),
        "default": lambda: Plan("default", 0.7, (*slices(), corners(), *special())),
        "full": lambda: Plan("full", 0.7, (*slices(), *special(), product())),
    }[name]()


def available_ways(ways: Iterable[str], known_keys: Iterable[str]) -> list[str]:
    """Those ways that a configuration with these keys can say."""
    known = set(known_keys)
    return [
        way
        for way in ways
        if way not in MANAGED_WAYS or not {*MANAGED_WAYS[way].manager_keys, *MANAGED_WAYS[way].child_keys} - known
    ]


def messages_for(case: Case, round_s: float, each_ms: float) -> int:
    """How many messages take about round_s at each_ms apiece: at least two per session and ten, at most 5,000.

    Slow children take a second per message, so one per session has to do there.
    """
    least = case.sessions if case.kind == "slow" else max(2 * case.sessions, 10)
    return max(least, min(5000, round(round_s * 1000 / max(each_ms, 0.01))))


def turns(ways: Iterable[str], round_number: int) -> list[str]:
    """The order of a round: every other one backwards, so that none is always first."""
    order = list(ways)
    return order[::-1] if round_number % 2 else order
