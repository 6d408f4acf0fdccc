"""Readings as the master gives them, as little or as much as a test wants of them."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mmgr.status.metrics import render
from mmgr.tally import BOUNDS_S

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def total(*seconds: float) -> dict[str, Any]:
    """What was counted of answers that took so long."""
    buckets = [0] * (len(BOUNDS_S) + 1)
    for one in seconds:
        buckets[sum(bound < one for bound in BOUNDS_S)] += 1
    return {"count": len(seconds), "seconds": sum(seconds), "buckets": buckets}


def milter(name: str, **changed: object) -> dict[str, Any]:
    calm = {"state": "enabled", "is_overridden": False, "breaker": "closed", "failures_in_a_row": 0}
    return {"milter": name, **calm, **changed}


def readings(**changed: object) -> dict[str, Any]:
    """An instance that has just been started, but for what is changed."""
    return {
        "program_version": "3.0.0",
        "began_at": 1000.0,
        "generation": 1,
        "is_last_reload_done": True,
        "reloads": {"done": 0, "refused": 0},
        "is_saturated": False,
        "is_stressed": False,
        "max_workers": 10,
        "sessions": 0,
        "starts": {"start": 4, "death": 0},
        "workers": {"idle": 4, "busy": 0},
        "largest_worker_bytes": 0,
        "unanswered": 0,
        "listeners": [{"spec": "unix:/m", "waiting": 0, "limit": 128}],
        "milters": [],
        "bounds_s": list(BOUNDS_S),
        "answers": [],
        "events": [],
        **changed,
    }


def samples(text: str) -> Samples:
    """What a reader of the format makes of a text: by name and labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def shown(**changed: object) -> Samples:
    """The metrics of such an instance, without what all their names begin with."""
    text = render(lambda: readings(**changed)).decode()
    return {(name[len("milter_manager_") :], labels): value for (name, labels), value in samples(text).items()}
