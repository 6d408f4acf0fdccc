"""The master's loop: wait, look at signals and the dead, let crew and reload do what is due, repeat.

Single-threaded and boring. It never reads mail, resolves names or talks to a child. What has a descriptor of its own,
such as the control sockets, joins the loop by ``register`` and finds here what it may ask for: ``request_reload``,
``request_change``, ``snapshot``, ``milters``, ``adjust`` and ``stop``.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from setproctitle import setproctitle

from mmgr import log as logs
from mmgr.assignment import Assignment, Preparation, WorkerEntry
from mmgr.config.model import Config, Overload
from mmgr.endpoint import Endpoint
from mmgr.errors import MmgrError
from mmgr.log import quoted
from mmgr.master import readings, spawn, status
from mmgr.master.companions import Companion, Companions
from mmgr.master.control import Control
from mmgr.master.crew import Blueprint, Crew, Entries
from mmgr.master.exporting import Exporter
from mmgr.master.followers import Followers
from mmgr.master.listeners import Listener, effective_backlog, stop_with_master
from mmgr.master.notify import Notifier
from mmgr.master.overrides import Change
from mmgr.master.policy import Pool
from mmgr.master.reloading import Reloader
from mmgr.master.reporting import Reporter
from mmgr.master.results import OnResult, ReloadResult
from mmgr.master.sizing import pool_of
from mmgr.scoreboard import WorkerState
from mmgr.wakeup import NUDGE, WakeUp

log = logging.getLogger(__name__)

TICK_S = 1.0
"""The loop looks around at least this often."""

PAUSE_S = 0.005
"""What no signal woke the loop for is done at most so often: neither a busy pool nor those who ask keep it busy."""

FAST_END_S = 2.0
"""INT and QUIT give the workers this long."""

OnReady = Callable[[int], None]
"""Takes the events of poll; must not block."""

_AFTER_OVERLOAD = {
    Overload.WAIT: "further sessions wait",
    Overload.ACCEPT: "further messages are accepted unseen",
    Overload.TEMPORARY_FAILURE: "further messages are told to come later",
}


def _prepare_nothing(assignment: Assignment) -> None:
    """Workers make themselves all that they need."""


@dataclass(frozen=True)
class Duties:
    """What the command hands to the supervisor.

    load reads the configuration anew or raises ConfigErrors; listen binds a further socket or raises ListenError.
    worker and reserve are lives in the forked child. on_serving is called once, when the first worker serves, with the
    pool and how many connections may wait. notifier leads to the service manager, control has the
    control sockets, exporter the metrics. prepare is called before workers are forked.
    """

    load: Callable[[], Config]
    listen: Callable[[Endpoint, Config], Listener]
    worker: WorkerEntry
    reserve: WorkerEntry
    on_serving: Callable[[Pool, int], None]
    companions: Sequence[Companion] = ()
    notifier: Notifier = field(default_factory=Notifier)
    control: Control = field(default_factory=Control)
    exporter: Exporter = field(default_factory=Exporter)
    prepare: Preparation = _prepare_nothing


class Supervisor:
    """The master of one instance. ``run`` blocks until the end and returns the exit code."""

    def __init__(self, config: Config, listeners: Sequence[Listener], duties: Duties) -> None:
        self._duties = duties
        self._wakeup = WakeUp()
        self._poll = select.poll()
        self._registered: dict[int, OnReady] = {}
        self._life_read, self._life_write = os.pipe2(os.O_CLOEXEC)
        entries = Entries(duties.worker, duties.reserve, duties.prepare, self._begin_worker, self._wakeup.nudge)
        self._crew = Crew(Blueprint(1, config, tuple(listeners), pool_of(config, 1), config), entries, self._life_read)
        followers = Followers((duties.control, duties.exporter))
        self._reloader = Reloader(self._crew, self._load, duties.listen, followers)
        self._reporter = Reporter(duties.notifier, self._crew, self._reloader)
        self._companions = Companions(duties.companions, self._begin_companion)
        self._is_announced = False
        self._title = ""
        self._warnings = logs.RateLimit()
        self._backlog = effective_backlog()
        self._began_at = time.time()

    def run(self) -> int:
        """Serve until TERM, INT or QUIT and until every process is gone."""
        self._wakeup.listen(spawn.HANDLED)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self._poll.register(self._wakeup, select.POLLIN)
        self._check_backlog()
        self._duties.control.attach(self)
        self._duties.exporter.attach(self, self._companions, self._duties.control.admit)
        numbers: list[int] = []
        while True:
            for number in numbers:
                _ON_SIGNAL.get(number, Supervisor._ignore)(self)
            now = time.monotonic()
            self._bury(now)
            self._reloader.act(now)
            self._crew.act(now)
            self._companions.act(self._crew.is_stopping, now)
            self._show()
            self._reporter.act(now)
            self._duties.control.act()
            if self._crew.is_stopping and not self._crew.alive and not self._companions.is_any_alive:
                break
            numbers = self._wait(self._crew.next_due(time.monotonic(), min(TICK_S, self._reporter.tick_s)), now)
        self._duties.control.close()
        self._duties.exporter.close()
        log.info("stopped pid=%d", os.getpid())
        return 0

    def _wait(self, wait_s: float, since: float) -> list[int]:
        """The numbers that came through the wake-up. Others that are ready have their turn here."""
        for descriptor, events in self._poll.poll(wait_s * 1000 + 1):
            on_ready = self._registered.get(descriptor)
            if on_ready is not None:
                on_ready(events)
        numbers = self._wakeup.take()
        if numbers in ([], [NUDGE]):
            time.sleep(max(0.0, since + PAUSE_S - time.monotonic()))
        return numbers

    # ---- for a control socket and the like

    def register(self, descriptor: int, on_ready: OnReady, events: int = select.POLLIN) -> None:
        """Have on_ready called in the loop when the descriptor is ready. Every forked process closes it first thing.

        Called again for the same descriptor it changes the events. on_ready must neither block nor raise.
        """
        self._registered[descriptor] = on_ready
        self._poll.register(descriptor, events)

    def unregister(self, descriptor: int) -> None:
        """Forget a descriptor; before it is closed."""
        if self._registered.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def request_reload(self, on_result: OnResult) -> None:
        """As HUP; on_result is called once, with what came of it: at once if refused, else when new workers serve."""
        if self._crew.is_stopping:
            on_result(ReloadResult(False, self._crew.blueprint.generation, ("the daemon is stopping",)))
        else:
            self._reporter.reloading()
            self._reloader.request(lambda result: self._reloaded(result, on_result), time.monotonic())

    def _reloaded(self, result: ReloadResult, on_result: OnResult) -> None:
        self._reporter.reloaded()
        on_result(result)

    def _load(self) -> Config:
        """Raises MmgrError alone: without descriptors a reload is refused, and the loop goes on."""
        try:
            return self._duties.load()
        except OSError as error:
            raise MmgrError(f"the configuration can't be read: {error}") from error

    def request_change(self, change: Change, on_result: OnResult) -> None:
        """Treat a child in another way than configured, or as configured again; on_result as with a reload."""
        if self._crew.is_stopping:
            on_result(ReloadResult(False, self._crew.blueprint.generation, ("the daemon is stopping",)))
        else:
            self._reloader.request(on_result, time.monotonic(), change)

    def close_breaker(self, child: str) -> None:
        """Let sessions use a child again that failed in many of them, and forget its failures."""
        was = self._crew.scoreboard.breakers.close(child)
        if was is not None:
            after_s = time.monotonic() - was.open_since
            log.info(
                "breaker-closed session=- child=%s failures=%d after_s=%.1f cause=reset", child, was.failures, after_s
            )

    def snapshot(self) -> dict[str, Any]:
        """The state of the instance as plain values, see ``mmgr.master.status``."""
        return status.snapshot(self._crew, self._reloader, self._backlog, time.monotonic())

    def milters(self) -> list[dict[str, Any]]:
        """What is known of each child, see ``mmgr.master.status``."""
        return status.milters(self._crew)

    def metrics(self) -> dict[str, Any]:
        """What is counted and measured, see ``mmgr.master.readings``."""
        return readings.readings(self._crew, self._reloader, self._began_at, time.monotonic())

    def adjust(self, by: int) -> int:
        """TTIN and TTOU: so many workers more or fewer until the next reload; how many more it is now in all.

        One that runs is the one before: what comes while its workers do is added to what it wants. If it is taken back,
        so is this.
        """
        blueprint = self._crew.blueprint
        pool = pool_of(blueprint.config, blueprint.generation, self._more + by)
        if pool != blueprint.pool:
            self._crew.blueprint = replace(blueprint, pool=pool)
            log.info(
                "pool-adjusted more=%d min_spare=%d max_spare=%d max_workers=%d",
                self._more,
                pool.min_spare,
                pool.max_spare,
                pool.max_workers,
            )
        return self._more

    @property
    def _more(self) -> int:
        """How many workers more are wanted than the configuration says: the pool alone knows, each generation's own."""
        blueprint = self._crew.blueprint
        return blueprint.pool.max_spare - pool_of(blueprint.config, blueprint.generation).max_spare

    def stop(self) -> None:
        """As TERM: no new sessions; those that run may finish."""
        crew = self._crew
        if not crew.is_stopping:
            log.info("stopping pid=%d drain_timeout_s=%g", os.getpid(), crew.pool.drain_timeout_s)
            crew.is_stopping = True
            self._reporter.stopping(time.monotonic())
            self._reloader.abandon()
            self._duties.control.stop()
            self._duties.exporter.stop()
            for listener in crew.blueprint.listeners:
                listener.stop()
                listener.close(crew.blueprint.config.manager.remove_unix_socket_on_close)

    # ---- signals

    def _ignore(self) -> None:
        """A child's death or nudge: the loop looks around anyway."""

    def _stop_fast(self) -> None:
        """INT and QUIT: as TERM, with little patience; a second one has none."""
        limit_s = 0.0 if self._crew.is_stopping else FAST_END_S
        self.stop()
        self._crew.drain_timeout_s = min(self._crew.pool.drain_timeout_s, limit_s)

    def _reload(self) -> None:
        """HUP: the log says what came of it."""
        self.request_reload(lambda result: None)

    def _reopen_logs(self) -> None:
        """USR1: here, and in every worker once it is between two sessions."""
        try:
            logs.set_up(self._crew.blueprint.config.log)
        except OSError as error:
            log.error("log-not-reopened error=%s", quoted(str(error)))
        for slot in self._crew.alive:
            if self._crew.scoreboard.state(slot.index) is not WorkerState.STARTING:
                spawn.send_signal(slot.pid, signal.SIGUSR1)

    def _more_by_one(self) -> None:
        self.adjust(1)

    def _fewer_by_one(self) -> None:
        self.adjust(-1)

    # ---- processes

    def _bury(self, now: float) -> None:
        for pid, ended in spawn.reap():
            if not self._crew.bury(pid, ended, now):
                self._companions.bury(pid, ended, self._crew.is_stopping, now)

    def _let_go(self, keeps: frozenset[int] = frozenset()) -> None:
        """In a child: what belongs to the master, above all its end of the life pipe, or its end would not be seen."""
        os.close(self._life_write)
        for descriptor in self._registered.keys() - keeps:
            os.close(descriptor)

    def _begin_worker(self) -> None:
        """In the child: it may be in a session when the master ends, and the next one needs the ports."""
        self._let_go()
        stop_with_master(self._crew.blueprint.listeners, self._life_read)

    def _begin_companion(self, keeps: frozenset[int]) -> int:
        """In the child: a companion has no business with the listeners."""
        self._let_go(keeps)
        for listener in self._crew.blueprint.listeners:
            listener.socket.close()
        return self._life_read

    # ---- what people see

    def _check_backlog(self) -> None:
        wanted = self._crew.pool.max_workers
        if self._backlog < wanted:
            hint = quoted(f"sysctl net.core.somaxconn={max(1024, wanted)}, then restart")
            log.warning("backlog-small backlog=%d max_workers=%d hint=%s", self._backlog, wanted, hint)

    def _warn_of_busy(self, busy: int) -> None:
        repeated = self._warnings.allows("busy")
        if repeated is not None:
            settings = self._crew.blueprint.config.workers
            key = "n_workers" if settings.n_workers else "max_workers"
            hint = quoted(f"{_AFTER_OVERLOAD[settings.overload]}; raise workers.{key}")
            log.warning("all-workers-busy workers=%d hint=%s%s", busy, hint, repeated)

    def _show(self) -> None:
        crew = self._crew
        busy = crew.scoreboard.count(WorkerState.BUSY)
        total = sum(1 for slot in crew.alive if not slot.is_reserve)
        generation, listeners = crew.blueprint.generation, crew.blueprint.listeners
        specs = ", ".join(str(listener.endpoint) for listener in listeners)
        title = f"milter-manager: master {specs}, {busy} busy of {total} workers, generation {generation}"
        if crew.is_saturated and busy:
            self._warn_of_busy(busy)
        if title != self._title:
            self._title = title
            setproctitle(title)
        if not self._is_announced and crew.is_serving:
            self._is_announced = True
            self._duties.on_serving(crew.pool, self._backlog)


_ON_SIGNAL: dict[int, Callable[[Supervisor], None]] = {
    signal.SIGTERM: Supervisor.stop,
    signal.SIGINT: Supervisor._stop_fast,
    signal.SIGQUIT: Supervisor._stop_fast,
    signal.SIGHUP: Supervisor._reload,
    signal.SIGUSR1: Supervisor._reopen_logs,
    signal.SIGTTIN: Supervisor._more_by_one,
    signal.SIGTTOU: Supervisor._fewer_by_one,
}
