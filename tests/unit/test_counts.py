"""Counters of events that only grow, written by many processes and read by one without a lock."""

from __future__ import annotations

import os
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.config.model import FallbackStatus
from mmgr.counts import (
    CONNECTED,
    EVENTS,
    FAILURE,
    FAILURE_KINDS,
    FAILURE_STAGES,
    STATUSES,
    Counts,
    failure,
    refused_recipient,
)
from mmgr.protocol.constants import STAGE_NAMES
from mmgr.tally import CHILDREN_MAX, STAGES

SLOTS = 4


def test_a_new_one_has_counted_nothing() -> None:
    assert Counts(SLOTS, CHILDREN_MAX).totals(SLOTS) == {}


def test_numbers_of_all_slots_are_added_up() -> None:
    counts = Counts(SLOTS, CHILDREN_MAX)
    for slot in range(SLOTS):
        counts.add(slot, 2, {CONNECTED: slot + 1})
    assert counts.totals(SLOTS) == {(2, CONNECTED): 10}


def test_what_processes_that_are_gone_have_counted_stays() -> None:
    counts = Counts(SLOTS, CHILDREN_MAX)
    for slot in range(SLOTS):
        pid = os.fork()
        if not pid:
            counts.add(slot, 1, {CONNECTED: 5})
            os._exit(0)
        os.waitpid(pid, 0)
    assert counts.totals(SLOTS) == {(1, CONNECTED): 5 * SLOTS}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, SLOTS - 1),
            st.integers(0, CHILDREN_MAX - 1),
            st.dictionaries(st.sampled_from(EVENTS), st.integers(1, 2**40), max_size=5),
        ),
        max_size=20,
    )
)
def test_every_counter_is_its_own(added: list[tuple[int, int, dict[tuple[str, ...], int]]]) -> None:
    counts = Counts(SLOTS, CHILDREN_MAX)
    expected: dict[tuple[int, tuple[str, ...]], int] = {}
    for slot, child, events in added:
        counts.add(slot, child, events)
        for event, number in events.items():
            expected[child, event] = expected.get((child, event), 0) + number
    assert counts.totals(SLOTS) == expected


@pytest.mark.parametrize("stage", [*STAGE_NAMES.values(), "?", ""])
def test_a_failure_at_any_stage_can_be_counted(stage: str) -> None:
    assert failure(stage, "timeout") in EVENTS


def test_stages_that_are_told_apart_stay_so() -> None:
    events = {failure(stage, kind) for stage, kind in product(FAILURE_STAGES, FAILURE_KINDS)}
    assert len(events) == len(FAILURE_STAGES) * len(FAILURE_KINDS) == sum(event[0] == FAILURE for event in EVENTS)


def test_a_stage_without_a_place_of_its_own_is_another_one() -> None:
    assert failure("body", "timeout") == failure("other", "timeout") == (FAILURE, STAGES[-1], "timeout")


def test_the_statuses_are_those_of_the_configuration() -> None:
    assert list(STATUSES) == [status.value for status in FallbackStatus]


@pytest.mark.parametrize("verdict", ["reject", "temporary-failure", "shutdown", "anything"])
def test_a_recipient_that_is_refused_in_any_way_can_be_counted(verdict: str) -> None:
    assert refused_recipient(verdict) in EVENTS
