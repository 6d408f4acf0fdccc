"""What the master does next, as tables of (slots, what is seen of them, pool, past, now) -> actions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from mmgr.master.policy import (
    BRAKE_DEATHS,
    HANG_END_S,
    STACKS_S,
    STARTS_MAX,
    Action,
    Clear,
    Drain,
    Dump,
    Kill,
    Past,
    Pool,
    Seen,
    Spawn,
    decide,
    is_saturated,
    next_due,
)
from mmgr.master.slots import Reason, Slot
from mmgr.scoreboard import WorkerState

NOW = 1000.0
LIMIT_S = 1.0
TWO = Pool(generation=1, min_workers=2, max_workers=2)
SPARE = Pool(generation=1, min_workers=0, max_workers=20, min_spare=2, max_spare=4)

STATES = {
    "s": WorkerState.STARTING,
    "i": WorkerState.IDLE,
    "b": WorkerState.BUSY,
    "r": WorkerState.RESERVE,
}


@dataclass
class Case:
    """Slots in a row, written as letters: free (.), starting, idle, busy, reserve; what is special by index."""

    letters: str
    pool: Pool = TWO
    slots: dict[int, dict[str, object]] = field(default_factory=dict)
    seen: dict[int, dict[str, object]] = field(default_factory=dict)
    past: Past = field(default_factory=Past)

    def table(self) -> list[Slot]:
        made = [
            Slot(index) if letter == "." else Slot(index, 100 + index, 1, NOW - 50.0, is_reserve=letter == "r")
            for index, letter in enumerate(self.letters)
        ]
        return [replace(slot, **self.slots.get(slot.index, {})) for slot in made]  # type: ignore[arg-type]

    def view(self) -> dict[int, Seen]:
        return {
            index: replace(Seen(STATES[letter], beat=NOW, due=NOW), **self.seen.get(index, {}))  # type: ignore[arg-type]
            for index, letter in enumerate(self.letters)
            if letter != "."
        }

    def decided(self) -> list[Action]:
        return decide(self.table(), self.view(), self.pool, self.past, NOW)


def waiting(**changes: object) -> dict[str, object]:
    return {"not_before": NOW + 9.0, "generation": 1, **changes}


def told(before_s: float = 1.0, reason: Reason = Reason.RELOAD) -> dict[str, object]:
    return {"told_at": NOW - before_s, "reason": reason}


def spawns(*slots: int) -> list[Action]:
    return [Spawn(slot) for slot in slots]


def drains(reason: Reason, *slots: int) -> list[Action]:
    return [Drain(slot, reason) for slot in slots]


SECOND = replace(TWO, generation=2)
NEW = {"generation": 2}
STOPPING = replace(TWO, is_stopping=True)

FIXED: dict[str, tuple[Case, list[Action]]] = {
    "nothing runs yet": (Case(".."), spawns(0, 1)),
    "all is as wanted": (Case("ii"), []),
    "all are busy": (Case("bb.."), []),
    "one that starts counts": (Case("is"), []),
    "one died": (Case("i."), spawns(1)),
    "one died and waits for its next try": (Case("i.", slots={1: waiting()}), []),
    "the wait is over": (Case("i.", slots={1: waiting(not_before=NOW)}), spawns(1)),
    "no other slot is tried meanwhile": (Case("i..", slots={1: waiting()}), []),
    "a wait of an older generation does not count": (
        Case("i..", SECOND, {0: NEW, 1: waiting()}),
        spawns(1),
    ),
    "more slots than workers": (Case("..."), spawns(0, 1)),
    "a drained one is replaced": (Case("ib.", slots={1: told()}), spawns(2)),
    "a drained one in the only other slot": (Case("ib", slots={1: told()}), []),
    "fewer workers at once": (Case("iii"), drains(Reason.SURPLUS, 2)),
    "fewer workers, one that serves stays": (
        Case("ssi", replace(TWO, min_workers=1, max_workers=1)),
        drains(Reason.SURPLUS, 0, 1),
    ),
    "more workers": (Case("ii.", replace(TWO, min_workers=3, max_workers=3)), spawns(2)),
}

RELOAD: dict[str, tuple[Case, list[Action]]] = {
    "begins": (Case("ii..", SECOND), spawns(2, 3)),
    "the new are not ready": (Case("iiss", SECOND, {2: NEW, 3: NEW}), []),
    "one of the new is ready": (Case("iiis", SECOND, {2: NEW, 3: NEW}), []),
    "all of the new are ready": (Case("ibib", SECOND, {2: NEW, 3: NEW}), drains(Reason.RELOAD, 0, 1)),
    "a new one died again": (Case("iii.", SECOND, {2: NEW, 3: waiting(generation=2)}), []),
    "an old one died": (Case(".iis", SECOND, {2: NEW, 3: NEW}), []),
    "during a reload": (Case("iiss..", replace(TWO, generation=3), {2: NEW, 3: NEW}), spawns(4, 5)),
    "both older generations drain": (
        Case("iiii", replace(TWO, generation=3), {1: NEW, 2: {"generation": 3}, 3: {"generation": 3}}),
        drains(Reason.RELOAD, 0, 1),
    ),
    "to fewer workers": (
        Case("iii", replace(SECOND, min_workers=1, max_workers=1), {2: NEW}),
        drains(Reason.RELOAD, 0, 1),
    ),
    "spare workers are enough": (
        Case("bbbiii", replace(SPARE, generation=2), {4: NEW, 5: NEW}),
        drains(Reason.RELOAD, 0, 1, 2, 3),
    ),
    "old sessions count against the limit": (
        Case("b" * 19 + "ib......", replace(SPARE, generation=2), {19: NEW, 20: NEW} | {n: told() for n in range(19)}),
        [],
    ),
    "old sessions never keep the floor from starting": (
        Case("b" * 20 + "...", replace(SPARE, generation=2), {n: told() for n in range(20)}),
        spawns(20, 21),
    ),
    "the reserve goes with its generation": (
        Case("iiiir.", replace(SECOND, has_reserve=True), {2: NEW, 3: NEW}),
        [Spawn(5, is_reserve=True), Drain(0), Drain(1), Drain(4)],
    ),
}

STOP: dict[str, tuple[Case, list[Action]]] = {
    "all are told": (Case("ib.", STOPPING), drains(Reason.STOP, 0, 1)),
    "told already": (Case("i.", STOPPING, {0: told()}), []),
    "told with patience, and now without": (
        Case("b.", STOPPING, {0: told(900.0, Reason.RECYCLE)}),
        drains(Reason.STOP, 0),
    ),
    "a death is no reason to spawn": (Case("..", STOPPING), []),
    "in mid-reload": (Case("ii", replace(STOPPING, generation=2), {0: told(), 1: NEW}), drains(Reason.STOP, 1)),
    "the reserve, too": (Case("r", STOPPING), drains(Reason.STOP, 0)),
    "killed while stopping": (Case("bb", STOPPING, {0: told(300.0), 1: told()}), [Kill(0)]),
    "no patience at all": (Case("b", replace(STOPPING, drain_timeout_s=0.0), {0: told(0.0)}), [Kill(0)]),
}

DRAIN: dict[str, tuple[Case, list[Action]]] = {
    "too long": (Case("iib", slots={2: told(300.0)}), [Kill(2)]),
    "nearly too long": (Case("iib", slots={2: told(299.9)}), []),
    "killed once": (Case("iib", slots={2: {**told(900.0), "is_killed": True}}), []),
    "a surplus worker has all the time of its session": (Case("iib", slots={2: told(9000.0, Reason.SURPLUS)}), []),
    "a recycled worker has all the time of its session": (Case("iib", slots={2: told(9000.0, Reason.RECYCLE)}), []),
}

GROWTH: dict[str, tuple[Case, list[Action]]] = {
    "nothing runs yet": (Case("....", SPARE), spawns(0, 1)),
    "enough spare": (Case("bii.", SPARE), []),
    "spare workers run short": (Case("bbi...", SPARE), spawns(3)),
    "those that start are spare": (Case("bis..", SPARE), []),
    "spare workers run out: doubled": (Case("bbbb......", SPARE), spawns(4, 5, 6, 7)),
    "doubled once, not again while they start": (Case("bbbbssss....", SPARE), []),
    "not beyond the limit": (Case("b" * 18 + "....", SPARE), spawns(18, 19)),
    "at the limit": (Case("b" * 20 + "....", SPARE), []),
    "waiting slots count against the limit": (
        Case("b" * 18 + "....", SPARE, {18: waiting(), 19: waiting()}),
        [],
    ),
    "waiting slots are as good as starting": (Case("b....", SPARE, {1: waiting(), 2: waiting()}), []),
    "not all at once": (
        Case("b" * 60 + "." * 60, replace(SPARE, max_workers=200)),
        spawns(*range(60, 60 + STARTS_MAX)),
    ),
    "a reserve is no worker": (Case("rii.", replace(SPARE, has_reserve=True)), []),
    "a reserve is wanted": (Case("ii..", replace(SPARE, has_reserve=True)), [Spawn(2, is_reserve=True)]),
    "a reserve that died early waits": (
        Case("ii..", replace(SPARE, has_reserve=True), {2: waiting(is_reserve=True)}),
        [],
    ),
}

CALM = Past(spawned_at=NOW - 60.0, shrunk_at=NOW - 60.0)
SHRINK: dict[str, tuple[Case, list[Action]]] = {
    "as many spare as may be": (Case("biiii", SPARE, past=CALM), []),
    "one more": (Case("biiiii", SPARE, past=CALM), drains(Reason.SURPLUS, 5)),
    "a fifth of many": (
        Case("i" * 64, replace(SPARE, max_workers=100), past=CALM),
        drains(Reason.SURPLUS, *range(52, 64)),
    ),
    "slowly": (Case("b" + "i" * 9, SPARE, past=replace(CALM, shrunk_at=NOW - 0.5)), []),
    "not just after growing": (Case("b" + "i" * 9, SPARE, past=replace(CALM, spawned_at=NOW - 3.0)), []),
    "never a busy one": (Case("iiiiib", SPARE, past=CALM), drains(Reason.SURPLUS, 4)),
    "a fixed pool never": (Case("iiiiii", replace(TWO, min_workers=6, max_workers=6), past=CALM), []),
}

WORN = {"sessions": 1000}
RECYCLING = replace(TWO, max_sessions=1000, max_age_s=500.0, max_memory_bytes=10**8)
RECYCLE: dict[str, tuple[Case, list[Action]]] = {
    "below all limits": (Case("ii.", RECYCLING, seen={0: {"sessions": 999, "memory_bytes": 10**8 - 1}}), []),
    "sessions: the replacement first": (Case("ii.", RECYCLING, seen={0: WORN}), spawns(2)),
    "age": (Case("ii.", RECYCLING, {1: {"started": NOW - 500.0}}), spawns(2)),
    "memory": (Case("ii.", RECYCLING, seen={1: {"memory_bytes": 10**8}}), spawns(2)),
    "with luck earlier": (Case("ii.", RECYCLING, {0: {"luck": 1.0}}, {0: {"sessions": 800}}), spawns(2)),
    "without luck not": (Case("ii.", RECYCLING, seen={0: {"sessions": 999}}), []),
    "the replacement is not ready": (Case("iis", RECYCLING, seen={0: WORN}), []),
    "the replacement is ready": (Case("bii", RECYCLING, seen={0: WORN}), drains(Reason.RECYCLE, 0)),
    "one at a time": (Case("iii", RECYCLING, seen={0: WORN, 1: WORN}), drains(Reason.RECYCLE, 0)),
    "the next one a while later": (
        Case("bii.", RECYCLING, {0: told(1.0, Reason.RECYCLE)}, {0: WORN, 1: WORN}),
        [],
    ),
    "one that goes on and on does not hold up the next": (
        Case("bii.", RECYCLING, {0: told(60.0, Reason.RECYCLE)}, {0: WORN, 1: WORN}),
        spawns(3),
    ),
    "among spare ones there need not be a replacement": (
        Case("iii.", replace(SPARE, max_sessions=1000), seen={0: WORN}),
        drains(Reason.RECYCLE, 0),
    ),
    "in a full pool one more": (
        Case("b" * 20 + ".", replace(SPARE, max_sessions=1000), seen={3: WORN}),
        spawns(20),
    ),
    "in a full pool, replaced": (
        Case("b" * 21 + ".", replace(SPARE, max_sessions=1000), seen={3: WORN}),
        drains(Reason.RECYCLE, 3),
    ),
    "one that starts is not": (Case("is.", RECYCLING, seen={1: WORN}), []),
}

SILENT = {"beat": NOW - 30.0, "due": NOW - 30.0}
SUSPECTED = {"suspected_at": NOW - STACKS_S}
HANG: dict[str, tuple[Case, list[Action]]] = {
    "first the stacks": (Case("bi", seen={0: SILENT}), [Dump(0)]),
    "not silent long enough": (Case("bi", seen={0: {"beat": NOW - 29.9, "due": NOW - 29.9}}), []),
    "within its own deadlines": (Case("bi", seen={0: {"beat": NOW - 900.0, "due": NOW - 29.9}}), []),
    "a stopped process has none": (Case("bi", seen={0: {**SILENT, "due": NOW + 900.0, "is_stopped": True}}), [Dump(0)]),
    "stopped, but only just": (Case("bi", seen={0: {"due": NOW + 900.0, "is_stopped": True}}), []),
    "then it is replaced": (Case("bi.", slots={0: {"suspected_at": NOW}}, seen={0: SILENT}), spawns(2)),
    "then it is told to end": (
        Case("bis", slots={0: SUSPECTED}, seen={0: SILENT}),
        drains(Reason.HANG, 0),
    ),
    "then it is killed": (
        Case("bii", slots={0: {**SUSPECTED, **told(HANG_END_S, Reason.HANG)}}, seen={0: SILENT}),
        [Kill(0)],
    ),
    "told to end a moment ago": (
        Case("bii", slots={0: {**SUSPECTED, **told(0.1, Reason.HANG)}}, seen={0: SILENT}),
        [],
    ),
    "killed once": (
        Case("bii", slots={0: {**SUSPECTED, **told(9.0, Reason.HANG), "is_killed": True}}, seen={0: SILENT}),
        [],
    ),
    "it is heard of again": (Case("bi", slots={0: {"suspected_at": NOW - 0.5}}), [Clear(0)]),
    "one that drains and hangs": (
        Case(
            "biii",
            slots={0: {**SUSPECTED, **told(9.0)}},
            seen={0: SILENT},
            pool=replace(TWO, min_workers=3, max_workers=3),
        ),
        drains(Reason.HANG, 0),
    ),
    "one that starts has its own limit": (Case("si", slots={0: {"started": NOW - 59.9}}, seen={0: SILENT}), []),
    "one that never starts": (Case("si", slots={0: {"started": NOW - 60.0}}, seen={0: SILENT}), [Dump(0)]),
    "the master was late itself": (Case("bi", seen={0: SILENT}, past=Past(resumed_at=NOW - 1.0)), []),
    "the reserve": (Case("iir", replace(TWO, has_reserve=True), seen={2: SILENT}), [Dump(2)]),
}

MANY = tuple(NOW - 1.0 for _ in range(BRAKE_DEATHS + 1))
BRAKE: dict[str, tuple[Case, list[Action]]] = {
    "few deaths": (Case("....", SPARE, past=Past(deaths=MANY[1:], spawned_at=NOW)), spawns(0, 1)),
    "many deaths": (Case("....", SPARE, past=Past(deaths=MANY, spawned_at=NOW - 0.9)), []),
    "one by one": (Case("....", SPARE, past=Past(deaths=MANY, spawned_at=NOW - 1.0)), spawns(0)),
    "many, but of a large pool": (
        Case("b" * 15 + "i....", SPARE, past=Past(deaths=MANY, spawned_at=NOW)),
        spawns(16),
    ),
    "many, but long ago": (
        Case("....", SPARE, past=Past(deaths=tuple(NOW - 10.0 for _ in MANY), spawned_at=NOW)),
        spawns(0, 1),
    ),
}

TABLES = {
    "fixed": FIXED,
    "reload": RELOAD,
    "stop": STOP,
    "drain": DRAIN,
    "growth": GROWTH,
    "shrink": SHRINK,
    "recycle": RECYCLE,
    "hang": HANG,
    "brake": BRAKE,
}
ROWS = [pytest.param(*row, id=f"{table}: {name}") for table, rows in TABLES.items() for name, row in rows.items()]


@pytest.mark.parametrize(("case", "actions"), ROWS)
def test_the_actions_that_are_due_are_those_of_the_table(case: Case, actions: list[Action]) -> None:
    assert case.decided() == actions


DUE: dict[str, tuple[Case, float]] = {
    "nothing": (Case("ii"), LIMIT_S),
    "a free slot that may be used already": (Case("."), LIMIT_S),
    "a slot that waits": (Case(".", slots={0: waiting(not_before=NOW + 0.25)}), 0.25),
    "the first of two": (
        Case("..", slots={0: waiting(not_before=NOW + 0.5), 1: waiting(not_before=NOW + 0.25)}),
        0.25,
    ),
    "a wait beyond the limit": (Case(".", slots={0: waiting()}), LIMIT_S),
    "the wait of a slot that is taken": (Case("i", slots={0: {"not_before": NOW + 0.25}}), LIMIT_S),
    "a draining worker's deadline": (Case("b", slots={0: told(299.5)}), 0.5),
    "a deadline that has passed": (Case("b", slots={0: told(400.0)}), 0.0),
    "a killed one": (Case("b", slots={0: {**told(400.0), "is_killed": True}}), LIMIT_S),
    "one without a deadline": (Case("b", slots={0: told(400.0, Reason.RECYCLE)}), LIMIT_S),
    "a hung one's end": (Case("b", slots={0: {**SUSPECTED, **told(HANG_END_S - 0.5, Reason.HANG)}}), 0.5),
    "a silent one's next step": (Case("b", slots={0: {"suspected_at": NOW - STACKS_S + 0.25}}), 0.25),
}


@pytest.mark.parametrize("name", DUE)
def test_time_alone_wakes_the_loop_when_the_table_says(name: str) -> None:
    case, expected = DUE[name]
    assert next_due(case.table(), case.pool, NOW, LIMIT_S) == pytest.approx(expected)


SATURATED: dict[str, tuple[Case, bool]] = {
    "all are busy": (Case("bb"), True),
    "one is idle": (Case("bi"), False),
    "one starts": (Case("bs"), False),
    "more may be started": (Case("bb", SPARE), False),
    "no more may be started": (Case("b" * 20, SPARE), True),
    "the reserve does not count": (Case("bbr"), True),
    "an idle one that was told to end does not count": (Case("bbi", slots={2: told()}), True),
    "an idle one of an older generation does": (Case("bbi", SECOND, {0: NEW, 1: NEW}), False),
    "none lives and all wait": (Case("..", SPARE, {0: waiting(), 1: waiting()}), True),
}


@pytest.mark.parametrize("name", SATURATED)
def test_all_is_busy_when_the_table_says(name: str) -> None:
    case, expected = SATURATED[name]
    assert is_saturated(case.table(), case.view(), case.pool, NOW) is expected


def test_a_worker_that_drained_too_long_is_killed_at_the_moment_that_was_announced() -> None:
    case = Case("b", replace(STOPPING, drain_timeout_s=0.5), {0: told(0.0)})
    later = NOW + next_due(case.table(), case.pool, NOW, LIMIT_S)
    assert decide(case.table(), case.view(), case.pool, Past(), later) == [Kill(0)]
