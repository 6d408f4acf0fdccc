"""Medians, means, ratios, what /proc says, and the codec's own speed loop."""

from __future__ import annotations

import os

import pytest

from benchmarks import usage
from benchmarks.figures import Run, Spread, mean, ratio, spread
from benchmarks.packets import CODECS, OURS, session_bytes
from benchmarks.pairs import known_keys


def run(each_ms: float, messages: int = 100, manager_cpu_ms: float = 0.0) -> Run:
    return Run(messages, each_ms, 0.0, 0.0, manager_cpu_ms, 2.0, 1.0, 0.1, 0.0)


def test_a_spread_is_median_and_range() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    runs = {"direct": [run(2.0), run(4.0), run(10.0)], "managed": [run(1.0), run(4.0), run(20.0)]}
    assert ratio(runs, "managed", "direct") == Spread(1.0, 0.5, 2.0)


def test_a_ratio_to_nothing_is_equality() -> None:
    assert ratio({"a": [run(1.0)], "b": [run(0.0)]}, "a", "b").median == 1.0


def test_a_mean_weighs_runs_by_their_messages() -> None:
    assert mean([run(1.0, 100, 1.0), run(1.0, 300, 5.0)], "manager_cpu_ms") == pytest.approx(4.0)


def test_the_total_is_what_the_load_does_not_use() -> None:
    assert spread([run(1.0, manager_cpu_ms=0.5)], "total_cpu_ms").median == 3.5


def test_stat_is_read_also_with_a_command_that_looks_like_more_fields() -> None:
    assert usage.stat_fields("17 (a) b (c)) S 1 17")[:2] == ["S", "1"]


def test_cpu_time_and_memory_of_this_process_are_found() -> None:
    assert usage.cpu_s([os.getpid()]) > 0
    assert usage.cpu_s([os.getpid()], with_ended_children=True) >= usage.cpu_s([os.getpid()])
    assert usage.pss_bytes(os.getpid()) > 1_000_000
    assert usage.machine_busy_s() > 0


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = 2**22 + 1  # beyond what Linux gives out
    assert usage.cpu_s([gone]) == 0
    assert usage.pss_bytes(gone) == 0


def test_our_codec_decodes_the_session_that_all_are_measured_with() -> None:
    assert CODECS[OURS].make(session_bytes())() > 30


def test_the_keys_of_the_configuration_are_known() -> None:
    assert {"envelope_dispatch", "connection_spec"} <= known_keys()
