"""Reload: a new configuration becomes a new generation of workers, or nothing changes and the caller learns why.

Everything new is made first: files read and checked, new sockets bound, the log opened. Then new workers start; those
of the old generation serve on until enough of the new ones do. If these never come up, the old one is taken back. One
reload at a time: a further one waits until this one is through, so that quick ones can't pile up generations.

A change of how a child is treated takes the same way, but reads no file: what people say in an emergency must not
depend on what somebody else has half written.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from mmgr import log as logs
from mmgr.config.model import Config
from mmgr.endpoint import Endpoint
from mmgr.errors import ConfigErrors, ControlError, MmgrError
from mmgr.log import quoted
from mmgr.master.crew import Blueprint, Crew
from mmgr.master.followers import Follower, Prepared
from mmgr.master.listeners import UNUSED_HINT, Listener
from mmgr.master.overrides import Change, Overrides, changed, overridden
from mmgr.master.results import OnResult, ReloadResult
from mmgr.master.sizing import pool_of

log = logging.getLogger(__name__)

PATIENCE_S = 90.0
"""How long a new generation may take until it serves; a worker that starts has 60 s."""

DRAINING_MAX = 900
"""With more workers of old generations than this a reload waits until some have ended."""

WAITING_MAX = 100
"""So many may wait for a reload to be through; further ones are refused."""

_ONLY_AT_START = {
    "manager": ("unix_socket_mode", "unix_socket_group", "pid_file", "daemon"),
    "security": ("effective_user", "effective_group"),
    "metrics": ("unix_socket_mode", "unix_socket_group"),
}


@dataclass(frozen=True)
class _Order:
    """Somebody wants a new generation: of what the files say now, or with one change of what is in force."""

    on_result: OnResult
    change: Change | None = None


@dataclass
class _Running:
    """A reload whose workers are coming up. removed are the listeners that end with the old generation."""

    old: Blueprint
    since: float
    added: Sequence[Listener]
    removed: Sequence[Listener]
    prepared: Prepared
    callers: list[OnResult] = field(default_factory=list)


class Reloader:
    """Of one instance. load reads the configuration or raises ConfigErrors, listen binds or raises ListenError.

    follower is what follows the configuration beside the workers. results counts what came of reloads and changes.
    """

    def __init__(
        self, crew: Crew, load: Callable[[], Config], listen: Callable[[Endpoint, Config], Listener], follower: Follower
    ) -> None:
        self._crew = crew
        self._follower = follower
        self._load = load
        self._listen = listen
        self._last_generation = crew.blueprint.generation
        self._running: _Running | None = None
        self._waiting: list[_Order] = []
        self.last_result: ReloadResult | None = None
        self.results = {True: 0, False: 0}

    @property
    def is_running(self) -> bool:
        """Is a reload on its way or waiting?"""
        return self._running is not None or bool(self._waiting)

    def request(self, on_result: OnResult, now: float, change: Change | None = None) -> None:
        """Reload, or change, once the one before is through. on_result is called once, now or in a later round."""
        if len(self._waiting) >= WAITING_MAX:
            on_result(self._refusal(f"{WAITING_MAX} others wait for the reload that runs"))
            return
        self._waiting.append(_Order(on_result, change))
        self.act(now)

    def act(self, now: float) -> None:
        """See how a reload gets along; begin one that waits."""
        if self._running is not None and self._crew.is_settled():
            self._finish(self._running)
        elif self._running is not None and now - self._running.since > PATIENCE_S:
            self._take_back(self._running)
        if self._running is None and self._waiting and self._crew.draining() <= DRAINING_MAX:
            is_reading = self._waiting[0].change is None
            orders = list(takewhile(lambda order: (order.change is None) == is_reading, self._waiting))
            del self._waiting[: len(orders)]
            if is_reading:
                self._reload([order.on_result for order in orders], now)
            else:
                self._change(orders, now)

    def abandon(self) -> None:
        """The daemon stops: nobody waits for a result any more."""
        running, self._running = self._running, None
        callers = [order.on_result for order in self._waiting] + (running.callers if running else [])
        self._waiting = []
        self._tell(callers, self._refusal("the daemon is stopping"))
        if running is not None:
            self._close(running.removed)
            self._follower.abandon(running.prepared)

    # ---- steps

    def _reload(self, callers: list[OnResult], now: float) -> None:
        """Read the files and go by what they say, and by the overrides that there are."""
        try:
            base = self._load()
        except MmgrError as error:
            self._refuse(callers, error)
            return
        gc.collect()  # what reading left behind would be kept for ever by the next fork
        self._begin(callers, base, self._crew.blueprint.overrides, now)

    def _change(self, orders: list[_Order], now: float) -> None:
        """Go by what is in force, with these changes; one that is refused does not spoil the others."""
        old = self._crew.blueprint
        overrides, callers = old.overrides, list[OnResult]()
        for order in orders:
            assert order.change is not None
            try:
                overrides = changed(overrides, order.change, old.base)
            except ControlError as error:
                order.on_result(self._refusal(str(error)))
            else:
                callers.append(order.on_result)
        if overrides != old.overrides:
            self._begin(callers, old.base, overrides, now)
        else:
            for on_result in callers:
                on_result(ReloadResult(True, old.generation))

    def _begin(self, callers: list[OnResult], base: Config, overrides: Overrides, now: float) -> None:
        old, added, prepared = self._crew.blueprint, list[Listener](), None
        config = overridden(base, overrides)
        try:
            listeners = self._listeners(old, config, added)
            prepared = self._follower.prepare(config)
            logs.set_up(config.log)
        except (MmgrError, OSError) as error:
            self._close(added)
            self._follower.abandon(prepared)
            self._refuse(callers, error)
            return
        for key in _changed(old.config, config):
            log.warning("reload-needs-restart key=%s action=%s", key, quoted("the old value stays until then"))
        self._last_generation += 1
        pool = replace(old.pool, generation=self._last_generation)  # a change of a child is none of the pool
        if base is not old.base:
            pool = pool_of(config, self._last_generation)
        removed = [listener for listener in old.listeners if listener not in listeners]
        self._crew.scoreboard.tallies.names.extend(child.name for child in config.children)
        self._crew.scoreboard.breakers.extend(config.children)
        self._crew.adopt(Blueprint(self._last_generation, config, tuple(listeners), pool, base, overrides))
        self._running = _Running(old, now, added, removed, prepared, callers)
        for listener in added:
            log.info("listener-added spec=%s", listener.endpoint)
        words = ",".join(f"{name}:{override.value}" for name, override in sorted(overrides.items())) or "-"
        children = len(config.enabled_children)
        log.info("reloaded generation=%d children=%d overrides=%s", self._last_generation, children, words)

    def _listeners(self, old: Blueprint, config: Config, added: list[Listener]) -> list[Listener]:
        """The listeners of the new configuration: those that are there already are kept as they are.

        One whose file was removed is made anew: nobody finds the old one.
        """
        kept = {listener.endpoint: listener for listener in old.listeners if listener.is_reachable}
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
            if listener.is_handed_over:
                log.warning("socket-unused spec=%s name=- hint=%s", listener.endpoint, quoted(UNUSED_HINT))
        self._close(running.removed)
        self._follower.commit(running.prepared)
        self._tell(running.callers, ReloadResult(True, self._crew.blueprint.generation))

    def _take_back(self, running: _Running) -> None:
        self._running = None
        failed = self._crew.blueprint.generation
        self._crew.adopt(running.old)
        self._close(running.added)
        self._follower.abandon(running.prepared)
        reason = f"no worker came up within {PATIENCE_S:g} s; {self._crew.last_death or 'none died'}"
        try:
            logs.set_up(running.old.config.log)
        except OSError as error:
            reason += f"; log: {error}"
        log.error(
            "reload-taken-back generation=%d failed=%d error=%s", running.old.generation, failed, quoted(reason, 500)
        )
        self._tell(running.callers, ReloadResult(False, running.old.generation, (reason,)))

    def _refusal(self, reason: str) -> ReloadResult:
        return ReloadResult(False, self._crew.blueprint.generation, (reason,))

    def _close(self, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            listener.stop()
            listener.close(self._crew.blueprint.config.manager.remove_unix_socket_on_close)

    def _tell(self, callers: Sequence[OnResult], result: ReloadResult) -> None:
        if callers:
            self.last_result = result
            self.results[result.is_done] += 1
        for on_result in callers:
            on_result(result)


def _changed(old: Config, new: Config) -> Iterator[str]:
    """The keys with another value now that only a start can bring into force."""
    for section, keys in _ONLY_AT_START.items():
        for key in keys:
            if getattr(getattr(old, section), key) != getattr(getattr(new, section), key):
                yield f"{section}.{key}"
