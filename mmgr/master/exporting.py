"""Who shows the metrics, as the master sees it: a socket that it holds, and a companion that serves it.

The socket is made before privileges are dropped and stays while the companion is replaced, so that nobody who reads the
metrics is turned away; what the companion shows it asks the master for. It may die at any time: another one is started.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Union

from mmgr.config.model import Config, LogSettings, MetricsSettings
from mmgr.endpoint import Endpoint
from mmgr.master import privileges
from mmgr.master.companions import Companion, Companions
from mmgr.master.controlpeer import Loop
from mmgr.master.listeners import Listener, SocketRights, listen
from mmgr.status.promfile import PromFile

log = logging.getLogger(__name__)

NAME = "metrics"

Life = Callable[[MetricsSettings, Union[socket.socket, None], socket.socket, int], None]
"""Takes settings, the listening socket if there is one, the line to the master, and the descriptor that tells of its
end; called in the child, which ends when it returns."""


@dataclass(frozen=True)
class _Prepared:
    """What a configuration wants; added is a new listener of it."""

    settings: MetricsSettings
    log: LogSettings
    listener: Listener | None = None
    added: Listener | None = None


class Exporter:
    """Of one instance. find gives the life of the companion once metrics are wanted, or raises MmgrError; it is called
    in the master, and first while everything can be read that is installed. Without it there are no metrics."""

    def __init__(self, find: Callable[[], Life] | None = None) -> None:
        self._find = find
        self._life: Life | None = None
        self._settings = MetricsSettings()
        self._log = LogSettings()
        self._listener: Listener | None = None
        self._loop: Loop | None = None
        self._companions: Companions | None = None
        self._take_line: Callable[[socket.socket], None] | None = None

    def open(self, config: Config, identity: privileges.Identity | None) -> None:
        """Make the socket, for whom we are going to become. Raises MmgrError."""
        prepared = self._prepare(config, identity)
        self._settings, self._log, self._listener = prepared.settings, prepared.log, prepared.listener

    def attach(self, loop: Loop, companions: Companions, take_line: Callable[[socket.socket], None]) -> None:
        """From now on have it served. take_line is given the master's end of the companion's line."""
        self._loop, self._companions, self._take_line = loop, companions, take_line
        if self._listener is not None:
            self._show_to_loop(self._listener)
        if self._settings.is_on:
            self._put()

    # ---- reloads

    def prepare(self, config: Config) -> _Prepared:
        """Make what is new in a configuration; nothing else changes yet. Raises MmgrError."""
        return self._prepare(config, None)

    def abandon(self, prepared: _Prepared) -> None:
        """The configuration is not taken after all."""
        if prepared.added is not None:
            self._drop(prepared.added)

    def commit(self, prepared: _Prepared) -> None:
        """The configuration is in force: another companion goes by it, and a socket that it does not want goes."""
        old, self._listener = self._listener, prepared.listener
        if old is not None and old is not prepared.listener:
            log.info("listener-removed spec=%s", old.endpoint)
            self._drop(old)
        if prepared.added is not None:
            log.info("listener-added spec=%s", prepared.added.endpoint)
        if (prepared.settings, prepared.log) != (self._settings, self._log):
            self._settings, self._log = prepared.settings, prepared.log
            self._put()

    # ---- the end

    def stop(self) -> None:
        """No further connections: a new instance may have the socket."""
        if self._listener is not None:
            self._drop(self._listener)
            self._listener = None

    def close(self) -> None:
        """End it; harmless if that was done before. What the file says would be true no more."""
        self.stop()
        if self._companions is not None:
            file, self._settings = self._settings.file, MetricsSettings()
            self._remove(file)

    # ----

    def _prepare(self, config: Config, identity: privileges.Identity | None) -> _Prepared:
        settings, endpoint = config.metrics, config.metrics.connection_spec
        if settings.is_on and self._find is not None:
            self._life = self._find()
        if endpoint is None or self._life is None:
            return _Prepared(settings, config.log)
        if self._listener is not None and self._listener.endpoint == endpoint:
            return _Prepared(settings, config.log, self._listener)
        added = self._listen(endpoint, settings, identity)
        return _Prepared(settings, config.log, added, added)

    def _listen(self, endpoint: Endpoint, settings: MetricsSettings, identity: privileges.Identity | None) -> Listener:
        gid = privileges.group_id(settings.unix_socket_group) if settings.unix_socket_group else -1
        rights = SocketRights(settings.unix_socket_mode, -1, gid)
        if identity is not None:
            rights = SocketRights(settings.unix_socket_mode, identity.uid, identity.gid if gid == -1 else gid)
        listener = listen(endpoint, rights)
        self._show_to_loop(listener)
        return listener

    def _show_to_loop(self, listener: Listener) -> None:
        """So that no forked process but the companion keeps the socket; connections are none of the loop's business."""
        if self._loop is not None:
            self._loop.register(listener.socket.fileno(), lambda _events: None, 0)

    def _drop(self, listener: Listener) -> None:
        if self._loop is not None and listener.socket.fileno() >= 0:
            self._loop.unregister(listener.socket.fileno())
        listener.stop()
        listener.close(removes_file=True)

    def _put(self) -> None:
        """Have a companion that goes by the settings as they are, or none."""
        if self._companions is None or self._life is None:
            return
        companion = None
        if self._settings.is_on:
            keeps = frozenset(() if self._listener is None else (self._listener.socket.fileno(),))
            file = self._settings.file
            companion = Companion(NAME, self._live, self._take_line, keeps, lambda: self._remove(file))
        self._companions.put(NAME, companion, time.monotonic())

    def _live(self, life_fd: int, line: socket.socket | None) -> None:
        """In the child."""
        assert self._life is not None
        assert line is not None
        listening = None if self._listener is None else self._listener.socket
        self._life(self._settings, listening, line, life_fd)

    def _remove(self, file: str) -> None:
        """Take away a file that is not written any more."""
        if file and file != self._settings.file:
            PromFile(file).remove()
