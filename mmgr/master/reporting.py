"""What the service manager is told, and when: ready, reloading, stopping, status, and signs of life.

Joins the master's loop, never blocks. A sign of life (``WATCHDOG=1``) says that sessions are served, not merely that
this loop goes round: ``health`` decides. All of it but the log line about that is silent without a service manager.
"""

from __future__ import annotations

import logging
import os
import time
from enum import Enum

from mmgr.log import quoted
from mmgr.master import health
from mmgr.master.crew import Crew
from mmgr.master.notify import Notifier
from mmgr.master.reloading import Reloader
from mmgr.master.results import ReloadResult
from mmgr.scoreboard import WorkerState

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

STATUS_EVERY_S = 5.0
"""A status that merely counts workers is told at most so often; a problem at once."""

CONFIRM_S = 5.0
"""So long nothing may have been served before the log says so: a pool that was killed is back long before."""

EXTEND_AFTER_S = 5.0
EXTEND_EVERY_S = 10.0
EXTEND_BY_S = 30.0
"""While sessions end at a stop, the service manager is asked not to lose its patience within this time."""

STOP_MARGIN_S = 15.0
"""So much longer than workers may drain the stop as a whole may take; then the service manager is left to act."""


class Phase(Enum):
    """What the service manager believes."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Reporter:
    """Of one instance. ``act`` once a round."""

    def __init__(self, notifier: Notifier, crew: Crew, reloader: Reloader) -> None:
        self._notifier = notifier
        self._crew = crew
        self._reloader = reloader
        self._phase = Phase.STARTING
        self._reloads = 0
        self._problem = ""
        self._problem_since = 0.0
        self._is_logged = False
        self._looked_at = 0.0
        self._pinged_at = 0.0
        self._status = ""
        self._status_at = 0.0
        self._stopping_since = 0.0
        self._extended_at = 0.0
        watchdog_s = notifier.watchdog_s
        self.tick_s = min(LOOK_EVERY_S, watchdog_s / 8) if watchdog_s else LOOK_EVERY_S

    # ---- what happens

    def reloading(self) -> None:
        """A reload was asked for. Before the first worker serves, nobody is told."""
        self._reloads += 1
        if self._phase in (Phase.READY, Phase.RELOADING):
            self._phase = Phase.RELOADING
            self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS="reloading")

    def reloaded(self) -> None:
        """One that was asked for is through, whatever came of it; the next round says so."""
        self._reloads -= 1

    def stopping(self, now: float) -> None:
        """The daemon begins to end."""
        self._phase, self._stopping_since = Phase.STOPPING, now
        self._extended_at = now + EXTEND_AFTER_S - EXTEND_EVERY_S
        self._status, self._status_at = self._status_text(), now
        self._notifier.send(STOPPING=1, STATUS=self._status)

    # ---- each round

    def act(self, now: float) -> None:
        """Say what is due."""
        self._notifier.flush()
        is_news = self._phase is Phase.STARTING and self._crew.is_serving
        if is_news or now - self._looked_at >= self.tick_s / 2:
            self._look(now)
        if is_news or (self._phase is Phase.RELOADING and not self._reloads):
            self._phase = Phase.READY
            self._status, self._status_at = self._status_text(), now
            self._notifier.send(READY=1, MAINPID=os.getpid(), STATUS=self._status)
        self._tell_status(now)
        self._ping(now)
        self._extend(now)

    def _look(self, now: float) -> None:
        """Is anything served? Said in the log once it is sure."""
        self._looked_at, crew = now, self._crew
        if self._phase is Phase.STOPPING:
            return
        found = health.problem(crew.slots, crew.scoreboard.states(), crew.scoreboard.records(), now)
        if found and not self._problem:
            self._problem_since = now
        self._problem = found
        if found and not self._is_logged and now - self._problem_since >= CONFIRM_S:
            self._is_logged = True
            log.error("not-serving reason=%s watchdog_s=%g", quoted(self._reason(), 500), self._notifier.watchdog_s)
        elif self._is_logged and not found:
            self._is_logged = False
            log.info("serving-again after_s=%.1f", now - self._problem_since)

    def _ping(self, now: float) -> None:
        """The sign of life, at half of the time that the service manager waits; late rather than untrue."""
        watchdog_s = self._notifier.watchdog_s
        if not watchdog_s or self._phase is Phase.STARTING or now - self._pinged_at < watchdog_s / 2 - self.tick_s / 2:
            return
        if self._problem and self._phase is not Phase.STOPPING:
            return
        if self._notifier.send_now(WATCHDOG=1):
            self._pinged_at = now

    def _tell_status(self, now: float) -> None:
        if not self._notifier.is_heard or self._phase is Phase.RELOADING:
            return
        is_urgent = bool(self._problem) and self._problem not in self._status
        if not is_urgent and now - self._status_at < STATUS_EVERY_S:
            return
        text = self._status_text()
        if text != self._status and self._notifier.send_now(STATUS=text):
            self._status, self._status_at = text, now

    def _extend(self, now: float) -> None:
        """A stop may take as long as sessions may drain, whatever ``TimeoutStopSec=`` says."""
        if self._phase is not Phase.STOPPING:
            return
        until = self._stopping_since + self._crew.pool.drain_timeout_s + STOP_MARGIN_S
        if now - self._extended_at >= EXTEND_EVERY_S and now < until:
            self._extended_at = now
            self._notifier.send(EXTEND_TIMEOUT_USEC=int(EXTEND_BY_S * 1_000_000))

    # ---- words

    def _status_text(self) -> str:
        crew = self._crew
        workers = [slot for slot in crew.alive if not slot.is_reserve]
        return status_text(
            self._phase,
            crew.blueprint.generation,
            crew.scoreboard.count(WorkerState.BUSY),
            len(workers),
            self._reason(),
            self._reloader.last_result,
        )

    def _reason(self) -> str:
        died = self._crew.last_death
        return f"{self._problem}; {died}" if self._problem and died else self._problem


def status_text(
    phase: Phase, generation: int, busy: int, workers: int, reason: str = "", last: ReloadResult | None = None
) -> str:
    """What ``systemctl status`` shows: one line, the trouble first. reason is why nothing is served."""
    if phase is Phase.STOPPING:
        return f"stopping, sessions left: {busy}"
    counts = f"{busy} busy of {workers} workers, generation {generation}"
    trouble = "not serving yet" if phase is Phase.STARTING else "NOT serving"
    parts = [f"{trouble}: {reason}"] if reason else []
    if last is not None and not last.is_done:
        more = f" (and {len(last.errors) - 1} more)" if len(last.errors) > 1 else ""
        parts.append(f"last reload refused: {last.errors[0] if last.errors else '?'}{more}")
    return "; ".join([*parts, counts])
