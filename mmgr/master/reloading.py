"""Reload: a new configuration becomes a new generation of workers, or nothing changes and the caller learns why.

Everything new is made first: files read and checked, new sockets bound, the log opened. Then new workers start; those
of the old generation serve on until enough of the new ones do. If these never come up, the old one is taken back. One
reload at a time: a further one waits until this one is through, so that quick ones can't pile up generations.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mmgr import log as logs
from mmgr.config.model import Config
from mmgr.endpoint import Endpoint
from mmgr.errors import ConfigErrors, MmgrError
from mmgr.log import quoted
from mmgr.master.crew import Blueprint, Crew
from mmgr.master.listeners import Listener
from mmgr.master.sizing import pool_of

log = logging.getLogger(__name__)

PATIENCE_S = 90.0
"""How long a new generation may take until it serves; a worker that starts has 60 s."""

DRAINING_MAX = 900
"""With more workers of old generations than this a reload waits until some have ended."""

_ONLY_AT_START = {
    "manager": ("unix_socket_mode", "unix_socket_group", "pid_file", "daemon"),
    "security": ("effective_user", "effective_group"),
}


@dataclass(frozen=True)
class ReloadResult:
    """What came of a reload: the generation that is in force now, and what was wrong with the new one."""

    is_done: bool
    generation: int
    errors: tuple[str, ...] = ()


OnResult = Callable[[ReloadResult], None]


@dataclass
class _Running:
    """A reload whose workers are coming up. removed are the listeners that end with the old generation."""

    old: Blueprint
    since: float
    added: Sequence[Listener]
    removed: Sequence[Listener]
    callers: list[OnResult] = field(default_factory=list)


class Reloader:
    """Of one instance. load reads the configuration or raises ConfigErrors, listen binds or raises ListenError."""

    def __init__(self, crew: Crew, load: Callable[[], Config], listen: Callable[[Endpoint, Config], Listener]) -> None:
        self._crew = crew
        self._load = load
        self._listen = listen
        self._last_generation = crew.blueprint.generation
        self._running: _Running | None = None
        self._waiting: list[OnResult] = []
        self.last_result: ReloadResult | None = None

    @property
    def is_running(self) -> bool:
        """Is a reload on its way or waiting?"""
        return self._running is not None or bool(self._waiting)

    def request(self, on_result: OnResult, now: float) -> None:
        """Reload as soon as the one before is through. on_result is called once, at once or from a later round."""
        self._waiting.append(on_result)
        self.act(now)

    def act(self, now: float) -> None:
        """See how a reload gets along; begin one that waits."""
        if self._running is not None and self._crew.is_settled():
            self._finish(self._running)
        elif self._running is not None and now - self._running.since > PATIENCE_S:
            self._take_back(self._running)
        if self._running is None and self._waiting and self._crew.draining() <= DRAINING_MAX:
            callers, self._waiting = self._waiting, []
            self._begin(callers, now)

    def abandon(self) -> None:
        """The daemon stops: nobody waits for a result any more."""
        running, self._running = self._running, None
        callers, self._waiting = self._waiting + (running.callers if running else []), []
        self._tell(callers, ReloadResult(False, self._crew.blueprint.generation, ("the daemon is stopping",)))
        if running is not None:
            self._close(running.removed)

    # ---- steps

    def _begin(self, callers: list[OnResult], now: float) -> None:
        old, added = self._crew.blueprint, list[Listener]()
        try:
            config = self._load()
            listeners = self._listeners(old, config, added)
            logs.set_up(config.log)
        except (MmgrError, OSError) as error:
            self._close(added)
            self._refuse(callers, error)
            return
        gc.collect()  # what reading left behind would be kept for ever by the next fork
        for key in _changed(old.config, config):
            log.warning("reload-needs-restart key=%s action=%s", key, quoted("the old value stays until then"))
        self._last_generation += 1
        pool = pool_of(config, self._last_generation)
        removed = [listener for listener in old.listeners if listener not in listeners]
        self._crew.scoreboard.tallies.names.extend(child.name for child in config.children)
        self._crew.adopt(Blueprint(self._last_generation, config, tuple(listeners), pool))
        self._running = _Running(old, now, added, removed, callers)
        for listener in added:
            log.info("listener-added spec=%s", listener.endpoint)
        log.info("reloaded generation=%d children=%d", self._last_generation, len(config.enabled_children))

    def _listeners(self, old: Blueprint, config: Config, added: list[Listener]) -> list[Listener]:
        """The listeners of the new configuration: those that are there already are kept as they are."""
        kept = {listener.endpoint: listener for listener in old.listeners}
        found = []
        for endpoint in config.manager.connection_spec:
            if endpoint not in kept:
                added.append(self._listen(endpoint, config))
                kept[endpoint] = added[-1]
            found.append(kept[endpoint])
        return found

    def _refuse(self, callers: list[OnResult], error: Exception) -> None:
        generation = self._crew.blueprint.generation
        errors = [str(each) for each in error.errors] if isinstance(error, ConfigErrors) else [str(error)]
        if isinstance(error, OSError):
            errors = [f"log: {error}"]
        for text in errors:
            log.error("reload-refused generation=%d error=%s", generation, quoted(text, 500))
        self._tell(callers, ReloadResult(False, generation, tuple(errors)))

    def _finish(self, running: _Running) -> None:
        """The old workers were told to end: what only they listened on goes now."""
        self._running = None
        for listener in running.removed:
            log.info("listener-removed spec=%s", listener.endpoint)
        self._close(running.removed)
        self._tell(running.callers, ReloadResult(True, self._crew.blueprint.generation))

    def _take_back(self, running: _Running) -> None:
        self._running = None
        failed = self._crew.blueprint.generation
        self._crew.adopt(running.old)
        self._close(running.added)
        reason = f"no worker came up within {PATIENCE_S:g} s; {self._crew.last_death or 'none died'}"
        try:
            logs.set_up(running.old.config.log)
        except OSError as error:
            reason += f"; log: {error}"
        log.error(
            "reload-taken-back generation=%d failed=%d error=%s", running.old.generation, failed, quoted(reason, 500)
        )
        self._tell(running.callers, ReloadResult(False, running.old.generation, (reason,)))

    def _close(self, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            listener.stop()
            listener.close(self._crew.blueprint.config.manager.remove_unix_socket_on_close)

    def _tell(self, callers: Sequence[OnResult], result: ReloadResult) -> None:
        if callers:
            self.last_result = result
        for on_result in callers:
            on_result(result)


def _changed(old: Config, new: Config) -> Iterator[str]:
    """The keys with another value now that only a start can bring into force."""
    for section, keys in _ONLY_AT_START.items():
        for key in keys:
            if getattr(getattr(old, section), key) != getattr(getattr(new, section), key):
                yield f"{section}.{key}"
