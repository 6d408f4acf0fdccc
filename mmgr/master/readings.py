"""What is counted and measured of the instance, as plain values: ``mmgr.status.metrics`` makes Prometheus' names of it.

Milters are those that have a place of their own in the tallies, so that there are never more than ``CHILDREN_MAX``.
"""

from __future__ import annotations

from typing import Any

from mmgr import __version__
from mmgr.master import status
from mmgr.master.backlog import waiting
from mmgr.master.crew import Crew
from mmgr.master.listeners import effective_backlog
from mmgr.master.reloading import Reloader
from mmgr.scoreboard import WorkerState
from mmgr.tally import BOUNDS_S


def readings(crew: Crew, reloader: Reloader, began_at: float, now: float) -> dict[str, Any]:
    """Numbers, texts, lists and dictionaries alone. began_at is by the wall clock. Costs a few milliseconds."""
    board, blueprint = crew.scoreboard, crew.blueprint
    last, limit = reloader.last_result, effective_backlog()
    return {
        "program_version": __version__,
        "began_at": began_at,
        "generation": blueprint.generation,
        "is_last_reload_done": last is None or last.is_done,
        "reloads": {"done": reloader.results[True], "refused": reloader.results[False]},
        "is_saturated": crew.is_saturated,
        "is_stressed": board.is_stressed,
        "max_workers": crew.pool.max_workers,
        "sessions": board.sessions_total(),
        "starts": {start.value: number for start, number in crew.births.counted.items()},
        **_workers(crew, now),
        "listeners": [
            {"spec": str(listener.endpoint), "waiting": waiting(listener.socket), "limit": limit}
            for listener in blueprint.listeners
        ],
        "milters": _milters(crew),
        "bounds_s": BOUNDS_S,
        "answers": [
            [*key, {"count": total.count, "seconds": total.seconds, "buckets": total.buckets}]
            for key, total in board.totals().items()
        ],
        "events": [
            [board.tallies.names.name(child), list(event), number]
            for (child, event), number in board.counts.totals(board.slots_used).items()
        ],
    }


def _workers(crew: Crew, now: float) -> dict[str, Any]:
    board = crew.scoreboard
    states = [board.state(slot.index) for slot in crew.alive]
    records = board.records()
    open_since = [records[slot.index] for slot in crew.alive if board.state(slot.index) is WorkerState.BUSY]
    return {
        "workers": {state.name.lower(): states.count(state) for state in WorkerState if state},
        "largest_worker_bytes": max((crew.vitals.memory_bytes(slot.pid) for slot in crew.alive), default=0),
        "unanswered": sum(
            1
            for record in open_since
            if record.negotiated < record.accepted and now - record.accepted > status.UNANSWERED_S
        ),
    }


def _milters(crew: Crew) -> list[dict[str, Any]]:
    """Of each child of the configuration: how it is treated, and its breaker."""
    names, blueprint = crew.scoreboard.tallies.names, crew.blueprint
    breakers = status.breakers(crew)
    return [
        {
            "milter": child.name,
            "state": status.state_of(child),
            "is_overridden": child.name in blueprint.overrides,
            "breaker": breakers[child.name]["state"],
            "failures_in_a_row": breakers[child.name]["failures"],
        }
        for child in blueprint.config.children
        if names.has(child.name)
    ]
