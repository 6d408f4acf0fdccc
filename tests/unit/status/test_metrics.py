"""Metrics under their names: what is read is shown, in a form that every reader of the format understands."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mmgr.counts import EVENTS
from mmgr.errors import ControlError
from mmgr.status.metrics import LABEL_LENGTH_MAX, label, render
from mmgr.tally import MANAGER, OVERLOAD
from tests.support.daemon import CHECKOUT
from tests.unit.status.readings import milter, readings, shown, total

ONE_CHILD = [["a", "mail", "continue", total(0.01, 2.0)], ["a", "mail", "reject", total(0.02)]]
EVERYTHING = {
    "milters": [milter("a")],
    "answers": [
        *ONE_CHILD,
        [MANAGER, "end-of-message", "accept", total(1.0)],
        [OVERLOAD, "connect", "other", total(0.0)],
        [OVERLOAD, "mail", "accept", total(0.0)],
    ],
    "events": [["a", list(event), 1] for event in EVENTS],
}
DOCUMENTED = re.compile(r"^\| `(milter_manager_\w+)`", re.MULTILINE)
USED = re.compile(r"milter_manager_\w+")


def test_a_new_instance_has_its_gauges() -> None:
    found = shown()
    assert found["build_info", (("version", "3.0.0"),)] == 1
    assert found["workers", (("state", "idle"),)] == 4
    assert found["config_last_reload_successful", ()] == 1
    assert found["backlog_connections", (("listener", "unix:/m"),)] == 0


def test_a_queue_that_the_kernel_does_not_tell_of_is_left_out() -> None:
    found = shown(listeners=[{"spec": "unix:/m", "waiting": None, "limit": 128}])
    assert ("backlog_connections", (("listener", "unix:/m"),)) not in found


def test_answers_are_counted_by_child_stage_and_verdict() -> None:
    found = shown(answers=ONE_CHILD)
    labels = (("child", "a"), ("stage", "mail"), ("verdict", "reject"))
    assert found["child_replies_total", labels] == 1


def test_a_histogram_adds_up_all_verdicts() -> None:
    found = shown(answers=ONE_CHILD)
    labels = (("child", "a"), ("stage", "mail"))
    assert found["child_stage_seconds_count", labels] == 3
    assert found["child_stage_seconds_sum", labels] == pytest.approx(2.03)


def test_the_buckets_of_a_histogram_are_cumulative() -> None:
    found = shown(answers=ONE_CHILD)
    bounds = ("0.003", "0.01", "0.03", "1.0", "3.0", "+Inf")
    numbers = [found["child_stage_seconds_bucket", (("child", "a"), ("le", le), ("stage", "mail"))] for le in bounds]
    assert numbers == [0, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("verdict", ["failed", "stopped"])
def test_a_child_that_did_not_answer_has_no_time(verdict: str) -> None:
    found = shown(answers=[["a", "mail", verdict, total(5.0)]])
    assert found["child_replies_total", (("child", "a"), ("stage", "mail"), ("verdict", verdict))] == 1
    assert not any(name.startswith("child_stage_seconds") for name, _ in found)


def test_what_mtas_were_told_is_no_child() -> None:
    found = shown(answers=[[MANAGER, "end-of-message", "accept", total(0.5)]])
    assert found["replies_total", (("stage", "end-of-message"), ("verdict", "accept"))] == 1
    assert found["transaction_seconds_count", (("stage", "end-of-message"),)] == 1
    assert not any(name.startswith("child_") for name, _ in found)


def test_a_session_that_was_refused_is_no_message() -> None:
    found = shown(answers=[[MANAGER, "connect", "reject", total(0.0)]])
    assert found["replies_total", (("stage", "connect"), ("verdict", "reject"))] == 1
    assert not any(name.startswith("transaction_seconds") for name, _ in found)


def test_a_child_that_refused_a_session_has_no_time() -> None:
    found = shown(answers=[["a", "connect", "reject", total(0.0)]])
    assert found["child_replies_total", (("child", "a"), ("stage", "connect"), ("verdict", "reject"))] == 1
    assert not any(name.startswith("child_stage_seconds") for name, _ in found)


def test_what_the_reserve_answered_is_neither() -> None:
    found = shown(answers=[[OVERLOAD, "connect", "other", total(0, 0)], [OVERLOAD, "mail", "accept", total(0)]])
    assert found["overload_sessions_total", ()] == 2
    assert found["overload_messages_total", (("verdict", "accept"),)] == 1
    assert not any(name.startswith("child_") for name, _ in found)


def test_a_configured_child_has_its_zeros_from_the_beginning() -> None:
    found = shown(milters=[milter("a")])
    assert found["child_fallbacks_total", (("child", "a"), ("status", "accept"))] == 0
    assert found["child_connects_total", (("child", "a"), ("result", "timeout"))] == 0


def test_events_are_counted_by_what_they_are() -> None:
    found = shown(
        milters=[milter("a")], events=[["a", ["failure", "mail", "timeout"], 3], ["a", ["fallback", "accept"], 2]]
    )
    assert found["child_failures_total", (("child", "a"), ("kind", "timeout"), ("stage", "mail"))] == 3
    assert found["child_fallbacks_total", (("child", "a"), ("status", "accept"))] == 2


def test_a_breaker_is_open_closed_or_not_there() -> None:
    milters = [milter("a", breaker="open", failures_in_a_row=7), milter("b"), milter("c", breaker="off")]
    found = shown(milters=milters)
    states = {labels: value for (name, labels), value in found.items() if name == "child_breaker_open"}
    assert states == {(("child", "a"),): 1, (("child", "b"),): 0}
    assert found["child_consecutive_failures", (("child", "a"),)] == 7


def test_what_goes_wrong_with_reading_comes_out() -> None:
    def read() -> dict[str, Any]:
        raise ControlError("nobody answers")

    with pytest.raises(ControlError, match="nobody answers"):
        render(read)


# ---- label values


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=())))
def test_any_name_is_shown_so_that_it_can_be_read_back(name: str) -> None:
    found = shown(milters=[milter(name)])
    ((_, labels),) = [key for key in found if key[0] == "child_breaker_open"]
    assert labels == (("child", label(name)),)


@given(st.text(st.characters(exclude_categories=()), min_size=100))
def test_a_label_is_bounded(name: str) -> None:
    assert len(label(name)) <= LABEL_LENGTH_MAX


def test_a_short_name_stays_as_it_is() -> None:
    assert label("milter-greylist") == "milter-greylist"


def test_long_names_that_begin_alike_stay_different() -> None:
    assert label("x" * 500 + "a") != label("x" * 500 + "b")


# ---- names


def names(text: str) -> set[str]:
    """The names of the families of a text, as they stand in queries."""
    return {
        family.name + ("_total" if family.type == "counter" else "") for family in text_string_to_metric_families(text)
    }


@pytest.fixture(scope="module")
def all_names() -> set[str]:
    return names(render(lambda: readings(**EVERYTHING)).decode())


def test_every_metric_is_documented_and_no_other(all_names: set[str]) -> None:
    documented = DOCUMENTED.findall((CHECKOUT / "docs/metrics.md").read_text("utf-8"))
    assert sorted(documented) == sorted(all_names)


@pytest.mark.parametrize("file", ["etc/prometheus/alerts.yml", "etc/grafana/milter-manager.json"])
def test_what_alerts_and_dashboard_ask_for_is_there(file: str, all_names: set[str]) -> None:
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in USED.findall((CHECKOUT / file).read_text("utf-8"))}
    assert used
    assert used <= all_names


def test_the_dashboard_has_a_place_for_every_panel() -> None:
    dashboard = json.loads((CHECKOUT / "etc/grafana/milter-manager.json").read_text("utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
