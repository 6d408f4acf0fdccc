"""What the master knows of its instance, as one dictionary of plain values: for people, not for decisions."""

from __future__ import annotations

from typing import Any

from mmgr.breaker import State
from mmgr.config.model import ChildSettings
from mmgr.master.crew import Crew
from mmgr.master.reloading import Reloader
from mmgr.master.slots import Slot
from mmgr.protocol.constants import STAGE_NAMES
from mmgr.scoreboard import Record, WorkerState
from mmgr.tally import MANAGER, OTHERS, OVERLOAD

UNANSWERED_S = 30.0
"""A connection whose negotiation is not answered by then is unanswered; an MTA waits no longer."""


def snapshot(crew: Crew, reloader: Reloader, backlog: int, now: float) -> dict[str, Any]:
    """Numbers, texts, lists and dictionaries alone. Times are ages in seconds. Costs a few milliseconds."""
    pool, blueprint = crew.pool, crew.blueprint
    records = crew.scoreboard.records()
    workers = [_worker(crew, slot, records[slot.index], now) for slot in crew.alive]
    states = [worker["state"] for worker in workers]
    waiting = [slot for slot in crew.slots if not slot.pid and slot.not_before > now]
    totals = crew.scoreboard.totals()
    return {
        "generation": blueprint.generation,
        "is_stopping": crew.is_stopping,
        "is_reloading": reloader.is_running,
        "last_reload": vars(reloader.last_result) if reloader.last_result else None,
        "overrides": {name: override.value for name, override in blueprint.overrides.items()},
        "milters": [{"milter": child.name, "state": state_of(child)} for child in blueprint.config.children],
        "breakers": {name: told for name, told in breakers(crew).items() if told["state"] == "open"},
        "listeners": [str(listener.endpoint) for listener in blueprint.listeners],
        "backlog": backlog,
        "pool": {
            "min_workers": pool.min_workers,
            "max_workers": pool.max_workers,
            "min_spare": pool.min_spare,
            "max_spare": pool.max_spare,
            **{state.name.lower(): states.count(state.name.lower()) for state in WorkerState if state},
        },
        "is_saturated": crew.is_saturated,
        "overload": blueprint.config.workers.overload.value,
        "overload_sessions": sum(total.count for key, total in totals.items() if key[:2] == (OVERLOAD, "connect")),
        "sessions": crew.scoreboard.sessions_total(),
        "last_negotiated_s": min((now - one.negotiated for one in records if one.negotiated), default=None),
        "unanswered": sum(1 for worker in workers if worker["is_unanswered"]),
        "last_death": crew.last_death,
        "waiting_slots": [
            {"worker": slot.number, "early_deaths": slot.early_deaths, "next_in_s": slot.not_before - now}
            for slot in waiting
        ],
        "workers": workers,
    }


def _worker(crew: Crew, slot: Slot, record: Record, now: float) -> dict[str, Any]:
    state = crew.scoreboard.state(slot.index)
    is_waiting = state is WorkerState.BUSY and record.negotiated < record.accepted
    return {
        "worker": slot.number,
        "pid": slot.pid,
        "state": state.name.lower(),
        "generation": slot.generation,
        "stage": STAGE_NAMES.get(crew.scoreboard.stage(slot.index), ""),
        "sessions": record.sessions,
        "age_s": now - slot.started,
        "session_s": now - record.accepted if state is WorkerState.BUSY else 0.0,
        "silent_s": now - record.beat,
        "memory_bytes": crew.vitals.memory_bytes(slot.pid),
        "told": slot.reason.value,
        "is_hung": bool(slot.suspected_at),
        "is_unanswered": is_waiting and now - record.accepted > UNANSWERED_S,
    }


def milters(crew: Crew) -> list[dict[str, Any]]:
    """Each child in its order, with what it answered at each stage so far; the one without a name is what MTAs got.

    Children that have left the configuration have a state "absent" as long as anything is known of them.
    """
    blueprint, totals = crew.blueprint, crew.scoreboard.totals()
    stages: dict[str, dict[str, dict[str, Any]]] = {MANAGER: {}}
    for (name, stage, verdict), total in totals.items():
        stages.setdefault(name, {}).setdefault(stage, {})[verdict] = {
            "count": total.count,
            "seconds": total.seconds,
            "buckets": total.buckets,
        }
    configured = {child.name: child for child in blueprint.config.children}
    found = breakers(crew)
    names = [*configured, *(name for name in {**blueprint.overrides, **stages} if name not in configured)]
    return [
        {
            **_milter(name, configured.get(name)),
            "override": blueprint.overrides[name].value if name in blueprint.overrides else "",
            "breaker": found.get(name),
            "stages": stages.get(name, {}),
        }
        for name in names
    ]


def breakers(crew: Crew) -> dict[str, dict[str, Any]]:
    """Of each configured child: off, closed or open, its failures in a row, and of an open one since when it is."""
    shared = crew.scoreboard.breakers
    now, found = shared.clock(), {}
    for child in crew.blueprint.config.children:
        place = shared.place(child)
        state = shared.state(place) if place >= 0 else State()
        found[child.name] = {
            "state": "off" if place < 0 else "open" if state.is_open else "closed",
            "failures": state.failures,
            "open_s": now - state.open_since if state.is_open else 0.0,
            "next_probe_s": max(0.0, state.next_probe - now) if state.is_open else 0.0,
            "is_probed": state.is_probed(now),
        }
    return found


def _milter(name: str, child: ChildSettings | None) -> dict[str, Any]:
    if child is None:
        return {"milter": name, "state": "" if name in (MANAGER, OVERLOAD, OTHERS) else "absent"}
    return {
        "milter": name,
        "state": state_of(child),
        "description": child.description,
        "connection_spec": [str(endpoint) for endpoint in child.connection_spec],
        "fallback_status": child.fallback_status.value,
    }


def state_of(child: ChildSettings) -> str:
    """``disabled``, ``evaluated`` or ``enabled``."""
    if not child.enabled:
        return "disabled"
    return "evaluated" if child.evaluation_mode else "enabled"
