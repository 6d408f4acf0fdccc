"""Which cases a plan has, in which order they are measured, and how much of each."""

from __future__ import annotations

import pytest

from benchmarks.plan import (
    CENTRE,
    DIRECT,
    MANAGED,
    NONE,
    PAIR,
    ROUNDS,
    SCAN_GROUP,
    SLOW_WAYS,
    Case,
    available_ways,
    messages_for,
    plan,
    turns,
)

PLANS = ("quick", "default", "full")


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_has_the_centre_and_at_least_five_rounds(name: str) -> None:
    assert CENTRE in plan(name).cases()
    assert plan(name).rounds == ROUNDS >= 5


@pytest.mark.parametrize("name", PLANS)
def test_no_case_is_measured_twice(name: str) -> None:
    cases = plan(name).cases()
    assert len(cases) == len(set(cases))


@pytest.mark.parametrize("name", PLANS)
def test_every_case_has_a_direct_way_to_compare_with(name: str) -> None:
    assert all(DIRECT in case.ways for case in plan(name).cases())


def test_cases_with_the_same_children_stand_side_by_side() -> None:
    keys = [(case.kind, case.children) for case in plan("default").cases()]
    assert keys == sorted(keys)


def test_a_slice_varies_one_dimension() -> None:
    titles = {section.title: section.cases for section in plan("default").sections}
    assert {case.children for case in titles["Number of children"]} == {1, 2, 3, 5}
    assert {case.sessions for case in titles["Number of children"]} == {CENTRE.sessions}


def test_the_corners_are_all_extremes() -> None:
    titles = {section.title: section.cases for section in plan("default").sections}
    assert len(titles["Corners"]) == 16
    assert Case(1, 1, 2048, 10, ways=(DIRECT, MANAGED)) in titles["Corners"]
    assert Case(5, 50, 1048576, 60, ways=(DIRECT, MANAGED)) in titles["Corners"]


def test_the_full_product_has_every_combination() -> None:
    (product,) = [section for section in plan("full").sections if section.title == "Full product"]
    assert len(set(product.cases)) == 4 * 3 * 3 * 3 * 2


def test_an_unknown_plan_is_no_plan() -> None:
    with pytest.raises(KeyError):
        plan("slow")


def test_a_way_whose_key_nobody_knows_is_left_out() -> None:
    assert available_ways(SLOW_WAYS, ["envelope_dispatch"]) == [way for way in SLOW_WAYS if way != SCAN_GROUP]
    assert available_ways(SLOW_WAYS, ["envelope_dispatch", "scan_group"]) == list(SLOW_WAYS)
    assert available_ways(PAIR, []) == [NONE, DIRECT, MANAGED]


def test_every_other_round_runs_backwards() -> None:
    assert turns(PAIR, 0) == [NONE, DIRECT, MANAGED]
    assert turns(PAIR, 1) == [MANAGED, DIRECT, NONE]


@pytest.mark.parametrize(
    ("case", "each_ms", "expected"),
    [
        (Case(sessions=10), 2.0, 500),
        (Case(sessions=50), 100.0, 100),
        (Case(sessions=1), 1000.0, 10),
        (Case(sessions=1), 0.0, 5000),
        (Case(sessions=10, kind="slow"), 1000.0, 10),
    ],
)
def test_a_run_has_as_many_messages_as_fit_and_some_for_every_session(
    case: Case, each_ms: float, expected: int
) -> None:
    assert messages_for(case, 1.0, each_ms) == expected


def test_a_case_says_what_it_is() -> None:
    assert CENTRE.title() == "3 children (plain), 10 sessions (fresh), 10 KB, 20 headers"
    assert Case(size_bytes=1048576).shown_size() == "1 MB"
