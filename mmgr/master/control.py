"""The control sockets: an administrative one and one for reading alone, served inside the master's loop.

Made before privileges are dropped, kept, changed and replaced by reloads, gone with the stop. Each has so many places
and no more; of those that hold one and ask nothing the oldest makes room, so that nobody can keep others out by sitting
there. Who may connect, the file system says: mode and group of a unix socket.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmgr.config.model import Config, ControllerSettings
from mmgr.endpoint import Endpoint
from mmgr.errors import ListenError, MmgrError
from mmgr.log import RateLimit, quoted
from mmgr.master import privileges
from mmgr.master.controldesk import Asker, Desk, Instance
from mmgr.master.controlpeer import Loop, Peer
from mmgr.master.listeners import Listener, SocketRights, listen

log = logging.getLogger(__name__)

PLACES = 16
"""Peers of one socket at a time."""

ACCEPTS = 16
"""Connections that are taken from one socket in one round of the loop."""

REST_S = 1.0
"""How long no connection is taken after one could not be, for want of descriptors."""

_CREDENTIALS = struct.Struct("@iII")


@dataclass(frozen=True)
class _Wish:
    """A socket that the configuration wants. An optional one stands there by default alone: nobody misses it."""

    endpoint: Endpoint
    is_read_only: bool
    mode: int
    group: str
    is_optional: bool


@dataclass
class _Door:
    """A socket that is there, as it was wished. rests_until is when connections are taken again."""

    listener: Listener
    wish: _Wish
    peers: list[Peer] = field(default_factory=list)
    rests_until: float = 0.0


@dataclass(frozen=True)
class Preparation:
    """What a configuration makes of the sockets: those that are to be there, some of them new."""

    doors: tuple[tuple[_Door, _Wish], ...] = ()
    added: tuple[_Door, ...] = ()
    missing: tuple[str, ...] = ()


class _Master(Loop, Instance, Protocol):
    """The ``Supervisor``, as it is seen from here."""


class Control:
    """All control sockets of one instance, and those who are connected. Nothing here blocks but the making of one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._doors: list[_Door] = []
        self._peers: list[Peer] = []
        self._missing: tuple[str, ...] = ()
        self._loop: Loop | None = None
        self._desk: Desk | None = None
        self._warnings = RateLimit()

    def open(self, config: Config, identity: privileges.Identity | None) -> None:
        """Make the sockets, for whom we are going to become. Raises ListenError, PrivilegeError."""
        preparation = self.prepare(config, identity)
        self._missing, self._doors = preparation.missing, [door for door, _ in preparation.doors]

    def attach(self, master: _Master) -> None:
        """Serve from now on, in the loop of this master and about it."""
        self._loop, self._desk = master, Desk(master, self._clock)
        for door in self._doors:
            self._watch(door)
        self._tell_of_missing()

    def admit(self, connection: socket.socket) -> None:
        """Answer the questions of one of our own processes, which may take its time between them."""
        assert self._loop is not None
        assert self._desk is not None
        desk, asker = self._desk, Asker(True)
        connection.setblocking(False)
        peer = Peer(
            connection, self._loop, self._clock, lambda peer, line: desk.take(line, asker, peer.answer), math.inf
        )
        self._peers.append(peer)

    # ---- reloads

    def prepare(self, config: Config, identity: privileges.Identity | None = None) -> Preparation:
        """Make what is new in a configuration; nothing else changes yet. Raises ListenError, PrivilegeError."""
        present = {door.wish.endpoint: door for door in self._doors}
        doors: list[tuple[_Door, _Wish]] = []
        added: list[_Door] = []
        missing: list[str] = []
        try:
            for wish in _wishes(config):
                rights = _rights(wish, identity)
                if wish.endpoint not in present:
                    try:
                        added.append(_Door(listen(wish.endpoint, rights), wish))
                    except ListenError as error:
                        if not wish.is_optional:
                            raise
                        missing.append(str(error))
                        continue
                    present[wish.endpoint] = added[-1]
                    self._watch_later(added[-1])
                doors.append((present[wish.endpoint], wish))
        except MmgrError:
            self._drop(added)
            raise
        return Preparation(tuple(doors), tuple(added), tuple(missing))

    def abandon(self, preparation: Preparation) -> None:
        """The configuration is not taken after all."""
        self._drop(preparation.added)

    def commit(self, preparation: Preparation) -> None:
        """The configuration is in force: what it does not want goes, rights change, new sockets are served."""
        kept = [door for door, _ in preparation.doors]
        for door in self._doors:
            if door not in kept:
                log.info("listener-removed spec=%s", door.wish.endpoint)
                self._drop([door])
        for door, wish in preparation.doors:
            if door in preparation.added:
                log.info("listener-added spec=%s", wish.endpoint)
                self._watch(door)
            elif door.wish != wish:
                _change_rights(door, wish)
            door.wish = wish
        self._doors, self._missing = kept, preparation.missing
        self._tell_of_missing()

    # ---- each round

    def act(self) -> None:
        """Part with those whose time is up; take connections again where that had to rest."""
        now = self._clock()
        for peer in self._peers:
            if peer.expires < now:
                peer.close()
        self._forget_closed()
        for door in self._doors:
            if 0.0 < door.rests_until <= now:
                door.rests_until = 0.0
                self._watch(door)

    # ---- the end

    def stop(self) -> None:
        """No further connections: a new instance may have the sockets. Those who are connected may go on."""
        self._drop(self._doors)
        self._doors = []

    def close(self) -> None:
        """End everything. Harmless if that was done before."""
        self.stop()
        for peer in self._peers:
            peer.close()
        self._forget_closed()

    # ---- connections

    def _watch(self, door: _Door) -> None:
        if self._loop is not None:
            self._loop.register(door.listener.socket.fileno(), lambda _events: self._accept_some(door))

    def _watch_later(self, door: _Door) -> None:
        """Connections have to wait. The loop knows the socket all the same, so that no forked process keeps it."""
        if self._loop is not None:
            self._loop.register(door.listener.socket.fileno(), lambda _events: None, 0)

    def _drop(self, doors: Sequence[_Door]) -> None:
        for door in doors:
            if self._loop is not None and door.listener.socket.fileno() >= 0:
                self._loop.unregister(door.listener.socket.fileno())
            door.listener.stop()
            door.listener.close(removes_file=True)

    def _accept_some(self, door: _Door) -> None:
        for _ in range(ACCEPTS):
            try:
                connection, _address = door.listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(door, error)
                return
            self._admit(door, connection)

    def _rest(self, door: _Door, error: OSError) -> None:
        """Without descriptors the same connection would be offered again at once, and for ever."""
        repeated = self._warnings.allows("accept")
        if repeated is not None:
            text = quoted(error.strerror or str(error))
            log.warning("control-accept-failed spec=%s error=%s%s", door.wish.endpoint, text, repeated)
        self._watch_later(door)
        door.rests_until = self._clock() + REST_S

    def _admit(self, door: _Door, connection: socket.socket) -> None:
        assert self._loop is not None
        assert self._desk is not None
        desk, asker = self._desk, _asker(door, connection)
        connection.setblocking(False)
        peer = Peer(connection, self._loop, self._clock, lambda peer, line: desk.take(line, asker, peer.answer))
        if self._has_room(door):
            door.peers.append(peer)
            self._peers.append(peer)
            return
        repeated = self._warnings.allows("full")
        if repeated is not None:
            log.warning("control-full spec=%s peers=%d%s", door.wish.endpoint, PLACES, repeated)
        peer.refuse("too many others are connected; try again")

    def _has_room(self, door: _Door) -> bool:
        """Also made by parting with the one that has asked nothing for the longest time."""
        door.peers = [peer for peer in door.peers if peer.is_open]
        if len(door.peers) < PLACES:
            return True
        idle = [peer for peer in door.peers if peer.is_idle]
        if idle:
            min(idle, key=lambda peer: peer.expires).close()
            self._forget_closed()
        return bool(idle)

    def _forget_closed(self) -> None:
        self._peers = [peer for peer in self._peers if peer.is_open]
        for door in self._doors:
            door.peers = [peer for peer in door.peers if peer.is_open]

    def _tell_of_missing(self) -> None:
        for reason in self._missing:
            hint = quoted("set controller.connection_spec, or make it empty")
            log.warning("control-unavailable error=%s hint=%s", quoted(reason, 500), hint)


def _wishes(config: Config) -> list[_Wish]:
    settings: ControllerSettings = config.controller
    found = []
    if settings.connection_spec is not None:
        is_default = "controller.connection_spec" not in config.origins
        mode, group = settings.unix_socket_mode, settings.unix_socket_group
        found.append(_Wish(settings.connection_spec, False, mode, group, is_default))
    if settings.read_only_connection_spec is not None:
        mode, group = settings.read_only_unix_socket_mode, settings.read_only_unix_socket_group
        found.append(_Wish(settings.read_only_connection_spec, True, mode, group, False))
    return found


def _rights(wish: _Wish, identity: privileges.Identity | None) -> SocketRights:
    gid = privileges.group_id(wish.group) if wish.group else -1
    if identity is None:
        return SocketRights(wish.mode, -1, gid)
    return SocketRights(wish.mode, identity.uid, identity.gid if gid == -1 else gid)


def _change_rights(door: _Door, wish: _Wish) -> None:
    """The same socket with another mode or group. In this order nobody has more rights than either of the two gives."""
    listener = door.listener
    if listener.directory_fd == -1:
        return
    name = os.path.basename(wish.endpoint.path)
    try:
        found = os.stat(name, dir_fd=listener.directory_fd, follow_symlinks=False)
        if (found.st_dev, found.st_ino) != listener.inode:
            raise FileNotFoundError(2, "the file of the socket is another one now")
        gid = privileges.group_id(wish.group) if wish.group else os.getegid()
        os.chmod(name, wish.mode & door.wish.mode, dir_fd=listener.directory_fd)
        os.chown(name, -1, gid, dir_fd=listener.directory_fd, follow_symlinks=False)
        os.chmod(name, wish.mode, dir_fd=listener.directory_fd)
    except (OSError, MmgrError) as error:
        log.error("control-rights-failed spec=%s error=%s", wish.endpoint, quoted(str(error)))


def _asker(door: _Door, connection: socket.socket) -> Asker:
    if door.wish.endpoint.kind == "unix":
        with contextlib.suppress(OSError):
            data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _gid = _CREDENTIALS.unpack(data)
            return Asker(door.wish.is_read_only, uid, pid)
    return Asker(door.wish.is_read_only)
