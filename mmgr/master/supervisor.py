"""The master's loop: wait, look at signals and the dead, ask the policy, carry out, repeat.

Single-threaded and boring. It never reads mail, resolves names or talks to a child. Reload: read and check the new
configuration, and only if all of it is well let new workers have it; on any error everything stays as it is.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from setproctitle import setproctitle

from mmgr import log as logs
from mmgr.assignment import Assignment, WorkerEntry
from mmgr.config.model import Config
from mmgr.errors import ConfigErrors
from mmgr.log import quoted
from mmgr.master import policy, spawn
from mmgr.master.listeners import Listener
from mmgr.master.slots import Slot
from mmgr.scoreboard import Scoreboard, WorkerState
from mmgr.wakeup import WakeUp

log = logging.getLogger(__name__)

TICK_S = 1.0
"""The loop looks around at least this often."""

FAST_END_S = 2.0
"""INT and QUIT give the workers this long."""

SLOTS = 2048
"""Workers of all generations together, at most: twice the most that n_workers can be, as a reload overlaps."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


_ONLY_AT_START = {
    "manager": ("connection_spec", "unix_socket_mode", "unix_socket_group", "pid_file", "daemon"),
    "security": ("effective_user", "effective_group"),
}


@dataclass(frozen=True)
class Companion:
    """A process beside the workers that is kept alive like them: life(life_fd) serves until TERM or end of life_fd."""

    name: str
    life: Callable[[int], None]


@dataclass(frozen=True)
class Duties:
    """What the command hands to the supervisor.

    load reads the configuration anew or raises ConfigErrors. on_serving is called once, when the first worker serves.
    """

    load: Callable[[], Config]
    worker: WorkerEntry
    on_serving: Callable[[int], None]
    companions: Sequence[Companion] = ()


class Supervisor:
    """The master of one instance. ``run`` blocks until the end and returns the exit code."""

    def __init__(self, config: Config, listeners: Sequence[Listener], duties: Duties) -> None:
        self._config = config
        self._listeners = listeners
        self._duties = duties
        self._generation = 1
        self._scoreboard = Scoreboard(SLOTS)
        self._slots: list[Slot] = []
        self._companions = [Slot(index) for index in range(len(duties.companions))]
        self._wakeup = WakeUp()
        self._life_read, self._life_write = os.pipe2(os.O_CLOEXEC)
        self._drain_timeout_s = config.workers.drain_timeout_s
        self._is_stopping = False
        self._is_announced = False
        self._title = ""
        self._warnings = logs.RateLimit()

    def run(self) -> int:
        """Serve until TERM, INT or QUIT and until every process is gone."""
        self._wakeup.listen(_SIGNALS)
        waiting = select.poll()
        waiting.register(self._wakeup, select.POLLIN)
        while True:
            for number in self._wakeup.take():
                _ON_SIGNAL.get(number, Supervisor._ignore)(self)
            self._bury()
            self._act()
            self._show()
            if self._is_stopping and not any(slot.pid for slot in (*self._slots, *self._companions)):
                break
            waiting.poll(policy.next_due(self._slots, self._pool(), time.monotonic(), TICK_S) * 1000 + 1)
        log.info("stopped pid=%d", os.getpid())
        return 0

    # ---- signals

    def _ignore(self) -> None:
        """A child's death or nudge: the loop looks around anyway."""

    def _stop(self) -> None:
        """TERM: no new sessions; those that run may finish."""
        if not self._is_stopping:
            log.info("stopping pid=%d drain_timeout_s=%g", os.getpid(), self._drain_timeout_s)
            self._is_stopping = True
            for listener in self._listeners:
                listener.stop()
                listener.close(self._config.manager.remove_unix_socket_on_close)

    def _stop_fast(self) -> None:
        """INT and QUIT: as TERM, with little patience; a second one has none."""
        self._drain_timeout_s = min(self._drain_timeout_s, 0.0 if self._is_stopping else FAST_END_S)
        self._stop()

    def _reload(self) -> None:
        """HUP: new workers get what the files say now; with any fault in them nothing changes."""
        if self._is_stopping:
            return
        try:
            config = self._duties.load()
            logs.set_up(config.log)
        except ConfigErrors as errors:
            for error in errors.errors:
                log.error("reload-refused generation=%d error=%s", self._generation, quoted(str(error), 500))
            return
        except OSError as error:
            log.error("reload-refused generation=%d error=%s", self._generation, quoted(f"log: {error}", 500))
            return
        for key in _changed(self._config, config):
            log.warning("reload-needs-restart key=%s action=%s", key, quoted("the old value stays until then"))
        self._config = config
        self._drain_timeout_s = config.workers.drain_timeout_s
        self._generation += 1
        log.info("reloaded generation=%d children=%d", self._generation, len(config.enabled_children))

    def _reopen_logs(self) -> None:
        """USR1."""
        try:
            logs.set_up(self._config.log)
        except OSError as error:
            log.error("log-not-reopened error=%s", quoted(str(error)))

    # ---- the dead and the living

    def _bury(self) -> None:
        now = time.monotonic()
        for pid, status in spawn.reap():
            for slot in self._slots:
                if slot.pid == pid:
                    self._bury_worker(slot, status, now)
            for slot in self._companions:
                if slot.pid == pid:
                    self._bury_companion(slot, status, now)

    def _bury_worker(self, slot: Slot, status: int, now: float) -> None:
        cause, was_told = spawn.cause_of_death(status), bool(slot.told_at)
        slot.free(now)
        self._scoreboard.set_state(slot.index, WorkerState.FREE)
        if was_told:
            log.debug("worker-ended worker=%d cause=%s", slot.number, quoted(cause))
            return
        log.warning(
            "worker-died worker=%d cause=%s age_s=%.1f sessions=%d next_in_s=%.1f",
            slot.number,
            quoted(cause),
            now - slot.started,
            self._scoreboard.sessions(slot.index),
            slot.not_before - now,
        )

    def _bury_companion(self, slot: Slot, status: int, now: float) -> None:
        slot.free(now)
        if not self._is_stopping:
            name = self._duties.companions[slot.index].name
            log.warning("companion-died name=%s cause=%s", name, quoted(spawn.cause_of_death(status)))

    def _act(self) -> None:
        now = time.monotonic()
        self._make_slots()
        for action in policy.decide(self._slots, self._pool(), now):
            _CARRY_OUT[type(action)](self, self._slots[action.slot], now)
        for slot in self._companions:
            if self._is_stopping and slot.pid and not slot.told_at:
                slot.tell(now)
                spawn.send_signal(slot.pid, signal.SIGTERM)
            elif self._is_stopping and slot.pid and now - slot.told_at > FAST_END_S and not slot.is_killed:
                slot.kill()
                spawn.send_signal(slot.pid, signal.SIGKILL)
            elif not self._is_stopping and not slot.pid and slot.not_before <= now:
                self._spawn_companion(slot, now)

    def _make_slots(self) -> None:
        """Have a slot for every worker of this generation beside those of older ones that still drain."""
        old = sum(1 for slot in self._slots if slot.pid and (slot.told_at or slot.generation != self._generation))
        wanted = min(pool_size(self._config) + old, SLOTS)
        self._slots += [Slot(index) for index in range(len(self._slots), wanted)]

    def _pool(self) -> policy.Pool:
        ready = {
            slot.index
            for slot in self._slots
            if slot.pid and self._scoreboard.state(slot.index) in (WorkerState.IDLE, WorkerState.BUSY)
        }
        return policy.Pool(
            pool_size(self._config), self._generation, self._drain_timeout_s, self._is_stopping, frozenset(ready)
        )

    def _spawn(self, slot: Slot, now: float) -> None:
        self._scoreboard.set_state(slot.index, WorkerState.STARTING)
        self._scoreboard.set_sessions(slot.index, 0)
        assignment = Assignment(
            slot.index,
            self._generation,
            self._config,
            tuple(listener.socket for listener in self._listeners),
            self._scoreboard,
            self._life_read,
            self._wakeup.nudge,
        )
        slot.take(spawn.fork(lambda: self._begin_life(assignment)), self._generation, now)

    def _begin_life(self, assignment: Assignment) -> None:
        """In the child: let go of the master's end of the life pipe, or its end would never be seen."""
        os.close(self._life_write)
        self._duties.worker(assignment)

    def _spawn_companion(self, slot: Slot, now: float) -> None:
        companion = self._duties.companions[slot.index]
        slot.take(spawn.fork(lambda: self._begin_companion(companion)), self._generation, now)

    def _begin_companion(self, companion: Companion) -> None:
        """In the child: a companion has no business with the listeners. INT is the terminal's, and for the master."""
        os.close(self._life_write)
        for listener in self._listeners:
            listener.socket.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        setproctitle(f"milter-manager: {companion.name}")
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        companion.life(self._life_read)

    def _drain(self, slot: Slot, now: float) -> None:
        slot.tell(now)
        spawn.send_signal(slot.pid, signal.SIGTERM)

    def _kill(self, slot: Slot, now: float) -> None:
        log.warning("worker-killed worker=%d reason=%s", slot.number, quoted("did not drain in time"))
        slot.kill()
        spawn.send_signal(slot.pid, signal.SIGKILL)

    # ---- what people see

    def _warn_of_busy(self, busy: int) -> None:
        repeated = self._warnings.allows("busy")
        if repeated is not None:
            hint = quoted("further sessions wait; set workers.n_workers to the number of SMTP sessions at a time")
            log.warning("all-workers-busy workers=%d hint=%s%s", busy, hint, repeated)

    def _show(self) -> None:
        busy = self._scoreboard.count(WorkerState.BUSY)
        total = sum(1 for slot in self._slots if slot.pid)
        specs = ", ".join(str(listener.endpoint) for listener in self._listeners)
        title = f"milter-manager: master {specs}, {busy} busy of {total} workers, generation {self._generation}"
        if busy and busy >= total and not self._is_stopping:
            self._warn_of_busy(busy)
        if title != self._title:
            self._title = title
            setproctitle(title)
        if not self._is_announced and self._scoreboard.count(WorkerState.IDLE) + busy:
            self._is_announced = True
            self._duties.on_serving(pool_size(self._config))


def _changed(old: Config, new: Config) -> Iterator[str]:
    """The keys with another value now that only a start can bring into force."""
    for section, keys in _ONLY_AT_START.items():
        for key in keys:
            if getattr(getattr(old, section), key) != getattr(getattr(new, section), key):
                yield f"{section}.{key}"


def pool_size(config: Config) -> int:
    """How many workers: as configured, else four a CPU and never fewer than four, as a worker mostly waits."""
    return config.workers.n_workers or max(4, 4 * (os.cpu_count() or 1))


_CARRY_OUT: dict[type, Callable[[Supervisor, Slot, float], None]] = {
    policy.Spawn: Supervisor._spawn,
    policy.Drain: Supervisor._drain,
    policy.Kill: Supervisor._kill,
}

_ON_SIGNAL: dict[int, Callable[[Supervisor], None]] = {
    signal.SIGTERM: Supervisor._stop,
    signal.SIGINT: Supervisor._stop_fast,
    signal.SIGQUIT: Supervisor._stop_fast,
    signal.SIGHUP: Supervisor._reload,
    signal.SIGUSR1: Supervisor._reopen_logs,
}
