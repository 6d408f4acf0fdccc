"""Counters that only grow, written by many processes and read by one without a lock."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.protocol.constants import STAGE_NAMES
from mmgr.tally import (
    BOUNDS_S,
    CHILDREN_MAX,
    MANAGER,
    OTHERS,
    OVERLOAD,
    STAGES,
    VERDICTS,
    ChildNames,
    Tallies,
    stage_index,
    verdict_index,
)

MAIL, ACCEPT = stage_index("mail"), verdict_index("accept")
A = 2
"""The first name that a test gives."""


def named(*names: str, slots: int = 3) -> Tallies:
    tallies = Tallies(slots)
    tallies.names.extend(names)
    return tallies


def test_a_new_one_has_counted_nothing() -> None:
    assert named("a").totals(3) == {}


def test_an_answer_is_counted_for_its_child_stage_and_verdict() -> None:
    tallies = named("a", "b")
    tallies.add(0, [(tallies.names.index("b"), MAIL, ACCEPT, 0.25)])
    assert {key: total.count for key, total in tallies.totals(3).items()} == {("b", "mail", "accept"): 1}


def test_answers_of_all_slots_are_added_up() -> None:
    tallies = named("a")
    for slot in range(3):
        tallies.add(slot, [(A, MAIL, ACCEPT, 0.5), (A, MAIL, ACCEPT, 0.25)])
    total = tallies.totals(3)["a", "mail", "accept"]
    assert (total.count, total.seconds) == (6, pytest.approx(2.25))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (-1.0, 0), (BOUNDS_S[0], 0), (0.00011, 1), (1.0, 8), (1.01, 9), (300.0, 13), (301.0, 14), (1e9, 14)],
)
def test_a_time_falls_into_the_first_bucket_whose_bound_is_not_below_it(seconds: float, bucket: int) -> None:
    tallies = named("a")
    tallies.add(1, [(A, MAIL, ACCEPT, seconds)])
    buckets = tallies.totals(3)["a", "mail", "accept"].buckets
    assert [index for index, count in enumerate(buckets) if count] == [bucket]


def test_every_cell_is_a_cell_of_its_own() -> None:
    tallies = named(*(f"c{number}" for number in range(CHILDREN_MAX)), slots=2)
    cells = [(c, s, v) for c in range(CHILDREN_MAX) for s in range(len(STAGES)) for v in range(len(VERDICTS))]
    for number, (child, stage, verdict) in enumerate(cells):
        tallies.add(1, [(child, stage, verdict, 1.0)] * (number % 5 + 1))
    found = tallies.totals(2)
    expected = {
        (tallies.names.name(c), STAGES[s], VERDICTS[v]): number % 5 + 1 for number, (c, s, v) in enumerate(cells)
    }
    assert {key: total.count for key, total in found.items()} == expected


def test_a_stage_or_verdict_that_is_not_told_apart_is_counted_as_other() -> None:
    assert (STAGES[stage_index("abort")], VERDICTS[verdict_index("skip")]) == ("other", "other")


def test_the_stages_are_called_as_everywhere() -> None:
    assert set(STAGES) - {"other"} <= set(STAGE_NAMES.values())


# ---- names


def test_a_name_keeps_its_index_when_others_come() -> None:
    names = ChildNames()
    names.extend(["a", "b"])
    names.extend(["c", "b"])
    assert [names.index(name) for name in (MANAGER, OVERLOAD, "a", "b", "c")] == [0, 1, 2, 3, 4]


def test_names_beyond_the_limit_share_the_last_place() -> None:
    names = ChildNames(5)
    names.extend("abcd")
    assert [names.index(name) for name in "abcd"] == [2, 3, 4, 4]
    assert [names.name(index) for index in range(5)] == [MANAGER, OVERLOAD, "a", "b", OTHERS]


# ---- many processes


def counted_by_a_child(tallies: Tallies, slot: int, number: int) -> None:
    pid = os.fork()
    if pid == 0:
        for _ in range(number):
            tallies.add(slot, [(A, MAIL, ACCEPT, 0.001)])
        os._exit(0)
    os.waitpid(pid, 0)


def test_a_new_worker_of_a_slot_goes_on_adding() -> None:
    tallies = named("a")
    for number in (5, 7):
        counted_by_a_child(tallies, 0, number)
    assert tallies.totals(1)["a", "mail", "accept"].count == 12


def test_the_sum_grows_while_workers_write_and_never_shrinks_when_they_are_killed() -> None:
    tallies = named("a")
    seen = 0
    for _ in range(3):
        pids = [forked_for_ever(tallies, slot) for slot in range(3)]
        for _ in range(50):
            totals = tallies.totals(3)
            count = totals["a", "mail", "accept"].count if totals else 0
            assert count >= seen
            seen = count
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert tallies.totals(3)["a", "mail", "accept"].count >= seen


def forked_for_ever(tallies: Tallies, slot: int) -> int:
    pid = os.fork()
    if pid == 0:
        while True:
            tallies.add(slot, [(A, MAIL, ACCEPT, 0.001)])
    return pid


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7), st.integers(0, 7), st.floats(0, 1000)), max_size=30))
def test_sums_are_those_of_plain_arithmetic(answers: list[tuple[int, int, int, float]]) -> None:
    tallies = named("a", "b", "c")
    for slot, answer in enumerate(answers):
        tallies.add(slot % 3, [answer])
    found = tallies.totals(3)
    assert sum(total.count for total in found.values()) == len(answers)
    assert sum(total.seconds for total in found.values()) == pytest.approx(sum(a[3] for a in answers), abs=1e-4)
