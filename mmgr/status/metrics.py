"""What the master counted and measured, under the names of Prometheus. docs/metrics.md describes each of them.

A collector of prometheus_client that turns ``mmgr.master.readings`` into families of metrics, and the text of all of
them. Users build on names and label values: these change with a new major version alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from mmgr.counts import CONNECT, EDIT, EVENTS, FAILURE, FALLBACK, RECIPIENT
from mmgr.tally import MANAGER, OVERLOAD

Readings = Mapping[str, Any]
Row = tuple[Sequence[str], float]
"""Label values, and the number that goes with them."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LABEL_LENGTH_MAX = 128
"""Longer values are cut, and told apart by a part of their hash."""

_PREFIX = "milter_manager_"
_HASH_LENGTH = 8
_NO_ANSWERS = ("failed", "stopped")
"""What stands among the verdicts of a child without that it was asked, or that it answered."""

_BEFORE_MAIL = ("connect", "helo")
"""Stages of sessions that were refused, for which no time is counted."""


class Collector:
    """Reads anew at each collection; whatever read raises comes out of that."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """All families."""
        found = self._read()
        yield from _instance(found)
        yield from _workers(found)
        yield from _sessions(found)
        yield from _children(found)
        yield from _answers(found)
        yield from _events(found)

    def describe(self) -> Sequence[Metric]:
        """Nothing is known before it is read."""
        return ()


def render(read: Callable[[], Readings]) -> bytes:
    """All metrics as text, read once."""
    registry = CollectorRegistry()
    registry.register(Collector(read))
    text: bytes = generate_latest(registry)
    return text


def label(value: object) -> str:
    """A label value: text in UTF-8 of a bounded length. prometheus_client escapes what the format needs escaped."""
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= LABEL_LENGTH_MAX:
        return text
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:_HASH_LENGTH]
    return f"{text[: LABEL_LENGTH_MAX - _HASH_LENGTH - 1]}~{digest}"


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, text, labels=labels), rows)


def _counter(name: str, text: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, text, labels=labels), rows)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[Row]) -> Metric:
    for values, number in rows:
        family.add_metric([label(value) for value in values], float(number))
    return family


def _one(number: float) -> list[Row]:
    return [((), number)]


def _by(numbers: Mapping[str, float]) -> list[Row]:
    return [((name,), number) for name, number in numbers.items()]


# ---- the instance


def _instance(found: Readings) -> Iterator[Metric]:
    version = ((found["program_version"],), 1)
    yield _gauge("build_info", "Which version runs; always 1.", ["version"], [version])
    yield _gauge("start_time_seconds", "When the daemon was started, in Unix time.", [], _one(found["began_at"]))
    yield _gauge("config_generation", "How many configurations have been in force.", [], _one(found["generation"]))
    text = "Whether the last reload, or change by milter-managerctl, was carried out (1 before the first)."
    yield _gauge("config_last_reload_successful", text, [], _one(found["is_last_reload_done"]))
    text = "Reloads, and changes by milter-managerctl, by what came of them."
    yield _counter("config_reloads", text, ["result"], _by(found["reloads"]))
    waiting = [((one["spec"],), one["waiting"]) for one in found["listeners"] if one["waiting"] is not None]
    text = "Connections of MTAs that no worker has accepted yet."
    yield _gauge("backlog_connections", text, ["listener"], waiting)
    limits = [((one["spec"],), one["limit"]) for one in found["listeners"]]
    yield _gauge("backlog_limit", "Connections of MTAs that may wait at most.", ["listener"], limits)


def _workers(found: Readings) -> Iterator[Metric]:
    yield _gauge("workers", "Worker processes by what they do.", ["state"], _by(found["workers"]))
    yield _gauge("workers_limit", "Workers that there may be.", [], _one(found["max_workers"]))
    text = "Whether no worker is free and none may be started."
    yield _gauge("workers_saturated", text, [], _one(found["is_saturated"]))
    text = "Whether so many workers are busy that milters may be spared."
    yield _gauge("workers_stressed", text, [], _one(found["is_stressed"]))
    text = "Resident memory of the largest worker."
    yield _gauge("worker_memory_max_bytes", text, [], _one(found["largest_worker_bytes"]))
    text = "Workers that were started, by what for."
    yield _counter("worker_starts", text, ["reason"], _by(found["starts"]))


def _sessions(found: Readings) -> Iterator[Metric]:
    yield _counter("sessions", "Sessions of MTAs that were served to their end.", [], _one(found["sessions"]))
    text = "Sessions that wait for the answer to their negotiation for longer than an MTA does."
    yield _gauge("sessions_unanswered", text, [], _one(found["unanswered"]))
    answers = [(stage, verdict, total) for name, stage, verdict, total in found["answers"] if name == OVERLOAD]
    number = sum(total["count"] for stage, _, total in answers if stage == "connect")
    text = "Sessions that the reserve answered, as no worker was free."
    yield _counter("overload_sessions", text, [], _one(number))
    rows = [((verdict,), total["count"]) for stage, verdict, total in answers if stage == "mail"]
    text = "Messages of such sessions, which no milter saw, by what the MTA was told."
    yield _counter("overload_messages", text, ["verdict"], rows)


def _children(found: Readings) -> Iterator[Metric]:
    milters = found["milters"]
    rows = [((one["milter"], one["state"], str(one["is_overridden"]).lower()), 1) for one in milters]
    text = "How a milter of the configuration is treated, and whether milter-managerctl said so; always 1."
    yield _gauge("child_info", text, ["child", "state", "overridden"], rows)
    with_breaker = [one for one in milters if one["breaker"] != "off"]
    open_or_not = [((one["milter"],), one["breaker"] == "open") for one in with_breaker]
    text = "Whether sessions do without the milter, as it failed in many of them."
    yield _gauge("child_breaker_open", text, ["child"], open_or_not)
    failures = [((one["milter"],), one["failures_in_a_row"]) for one in with_breaker]
    yield _gauge("child_consecutive_failures", "Sessions in a row in which the milter failed.", ["child"], failures)


# ---- answers and their times


def _answers(found: Readings) -> Iterator[Metric]:
    answers = found["answers"]
    rows = [((stage, verdict), total["count"]) for name, stage, verdict, total in answers if name == MANAGER]
    text = "What the MTA was told of messages, and of sessions that were refused, by where that was decided."
    yield _counter("replies", text, ["stage", "verdict"], rows)
    own = [((stage,), total) for name, stage, _, total in answers if name == MANAGER and stage not in _BEFORE_MAIL]
    text = "From MAIL to the end of a message, its refusal included, by where it ended; the MTA's own time counts, too."
    yield _histogram("transaction_seconds", text, ["stage"], own, found["bounds_s"])
    of_children = [one for one in answers if one[0] not in (MANAGER, OVERLOAD)]
    words = [((name, stage, verdict), total["count"]) for name, stage, verdict, total in of_children]
    text = "What a milter made of a message, once a message, by the stage of its last word."
    yield _counter("child_replies", text, ["child", "stage", "verdict"], words)
    timed = [
        ((name, stage), total)
        for name, stage, verdict, total in of_children
        if verdict not in _NO_ANSWERS and stage not in _BEFORE_MAIL
    ]
    text = "How long a message waited for a milter in all, by the stage of its last word."
    yield _histogram("child_stage_seconds", text, ["child", "stage"], timed, found["bounds_s"])


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    totals: Iterable[tuple[tuple[str, ...], Any]],
    bounds_s: Sequence[float],
) -> Metric:
    """Totals with the same labels are added up."""
    buckets: dict[tuple[str, ...], list[int]] = {}
    seconds: dict[tuple[str, ...], float] = {}
    for values, total in totals:
        before = buckets.get(values, [0] * len(total["buckets"]))
        buckets[values] = [one + other for one, other in zip(before, total["buckets"])]
        seconds[values] = seconds.get(values, 0.0) + total["seconds"]
    family = HistogramMetricFamily(_PREFIX + name, text, labels=labels)
    for values, numbers in buckets.items():
        family.add_metric([label(value) for value in values], _cumulative(numbers, bounds_s), seconds[values])
    return family


def _cumulative(numbers: Sequence[int], bounds_s: Sequence[float]) -> list[tuple[str, float]]:
    """``[(le, how many were not above it), ...]``, with ``+Inf`` at the end."""
    found, sum_so_far = [], 0
    for bound, number in zip([*map(str, bounds_s), "+Inf"], numbers):
        sum_so_far += number
        found.append((bound, float(sum_so_far)))
    return found


# ---- events


def _events(found: Readings) -> Iterator[Metric]:
    """A milter of the configuration has its zeros from the beginning, or its first failure would be no increase."""
    numbers = {
        (one["milter"], event): 0 for one in found["milters"] for event in EVENTS if event[0] in (CONNECT, FALLBACK)
    }
    numbers.update({(child, tuple(event)): number for child, event, number in found["events"]})
    for kind, name, text, labels in _FAMILIES:
        rows = [((child, *event[1:]), number) for (child, event), number in numbers.items() if event[0] == kind]
        yield _counter(name, text, ["child", *labels], rows)


_FAMILIES = (
    (CONNECT, "child_connects", "Connections to a milter, by what came of them.", ["result"]),
    (
        FAILURE,
        "child_failures",
        "Failures of a milter: it was not there or gone (unavailable), hit a deadline (timeout), broke the protocol.",
        ["stage", "kind"],
    ),
    (FALLBACK, "child_fallbacks", "Messages that a failed milter's fallback status counted for.", ["status"]),
    (RECIPIENT, "child_recipients_refused", "Recipients that a milter refused, by how it did.", ["verdict"]),
    (EDIT, "child_edits", "Changes of messages that a milter asked for, by their kind.", ["kind"]),
)
