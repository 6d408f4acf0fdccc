"""Socket activation: listening sockets that systemd holds and hands over, so that a restart refuses no connection.

A socket is recognised by its address, used instead of a new one, and never shut down or removed by us: it stays with
who gave it. Source: sd_listen_fds(3), systemd.socket(5).
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass

from mmgr.endpoint import Endpoint, listen_addresses
from mmgr.errors import EndpointError, ListenError
from mmgr.log import quoted
from mmgr.master.listeners import UNUSED_HINT, Listener, SocketRights, listen

log = logging.getLogger(__name__)

VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
FIRST_DESCRIPTOR = 3
DESCRIPTORS_MAX = 1000

_KINDS = {socket.AF_UNIX: "unix", socket.AF_INET: "inet", socket.AF_INET6: "inet6"}


@dataclass(frozen=True)
class Handed:
    """One socket that was handed over. name is its ``FileDescriptorName=``, for people."""

    name: str
    socket: socket.socket

    def __str__(self) -> str:
        return str(_endpoint_of(self.socket))

    def is_for(self, endpoint: Endpoint) -> bool:
        """Is this where endpoint wants to listen? May ask the resolver; raises EndpointError.

        A socket for every address of IPv6 takes those of IPv4 too unless it was told not to (``ListenStream=PORT``).
        """
        if isinstance(self.socket.getsockname(), bytes):
            return False
        ours = _endpoint_of(self.socket)
        if "unix" in (ours.kind, endpoint.kind):
            return ours.kind == endpoint.kind and os.path.realpath(ours.path) == os.path.realpath(endpoint.path)
        if ours.port != endpoint.port:
            return False
        wanted = {str(address[0]) for address in listen_addresses(endpoint)}
        is_dual = ours.kind == "inet6" and not self.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return ours.host in wanted or (is_dual and ours.host == "::" and "0.0.0.0" in wanted)


class HandedSockets:
    """All that were handed over; they stay open to the end, as a reload may come to want another one."""

    def __init__(self, handed: Sequence[Handed] = ()) -> None:
        self._handed = tuple(handed)

    def listener(self, endpoint: Endpoint, rights: SocketRights, replaces_stale: bool = True) -> Listener:
        """The socket that was handed over for endpoint; if there is none, one of our own. Raises ListenError."""
        try:
            found = [each for each in self._handed if each.is_for(endpoint)]
        except EndpointError as error:
            raise ListenError(f"can't listen on {endpoint}: {error}") from error
        if found:
            return Listener(endpoint, found[0].socket, is_handed_over=True)
        try:
            return listen(endpoint, rights, replaces_stale)
        except ListenError as error:
            raise ListenError(f"{error}{self._others()}") from error

    def _others(self) -> str:
        if not self._handed:
            return ""
        names = ", ".join(map(str, self._handed))
        return f"; systemd hands over {names}: make ListenStream= of the .socket unit and connection_spec agree"

    def report(self, listeners: Iterable[Listener], rights: SocketRights) -> None:
        """Log what was handed over to no use, or with rights that differ from the configured ones."""
        used = [listener.socket for listener in listeners]
        for each in self._handed:
            if each.socket not in used:
                log.warning("socket-unused spec=%s name=%s hint=%s", each, quoted(each.name), quoted(UNUSED_HINT))
            elif differing := _other_rights(each.socket, rights):
                log.warning("socket-rights spec=%s hint=%s", each, quoted(f"{differing} in the .socket unit"))


def take_sockets(environ: MutableMapping[str, str], pid: int, first: int = FIRST_DESCRIPTOR) -> HandedSockets:
    """The sockets that the environment speaks of, if they are meant for pid. Its variables are taken out of it.

    Raises ListenError for a descriptor that is no listening stream socket.
    """
    whose, number, names = (environ.pop(name, "") for name in VARIABLES)
    if whose != str(pid) or not (number.isascii() and number.isdigit()):
        return HandedSockets()
    count = min(int(number), DESCRIPTORS_MAX)
    named = [*names.split(":"), *[""] * count][:count]
    for descriptor in range(first, first + count):
        _keep_to_ourselves(descriptor)
    return HandedSockets([_handed(first + index, name or "unknown") for index, name in enumerate(named)])


def _keep_to_ourselves(descriptor: int) -> None:
    try:
        os.set_inheritable(descriptor, False)
    except OSError as error:
        raise ListenError(f"descriptor {descriptor} of LISTEN_FDS: {error.strerror}") from error


def _handed(descriptor: int, name: str) -> Handed:
    fault = f"descriptor {descriptor} ({name}) of LISTEN_FDS is no stream socket that listens; "
    hint = "the .socket unit needs ListenStream=, and Accept=no"
    try:
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"{fault}{hint}") from error
    is_stream = found.type == socket.SOCK_STREAM and found.family in _KINDS
    if not is_stream or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        raise ListenError(f"{fault}{hint}")
    found.setblocking(False)
    return Handed(name, found)


def _endpoint_of(bound: socket.socket) -> Endpoint:
    """Where a socket is bound; an abstract address, which no connection_spec can name, with its NUL as @."""
    address = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        path = address if isinstance(address, str) else "@" + address[1:].decode("utf-8", "replace")
        return Endpoint("unix", path=path)
    return Endpoint(_KINDS[bound.family], host=address[0], port=address[1])


def _other_rights(bound: socket.socket, wanted: SocketRights) -> str:
    """What the .socket unit has to say for a unix socket to have the rights that are configured; "" if it has them."""
    if bound.family != socket.AF_UNIX:
        return ""
    try:
        found = os.stat(_endpoint_of(bound).path)
    except OSError:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    parts = [f"SocketMode={wanted.mode:04o}, not {mode:04o}"] if mode != wanted.mode else []
    if wanted.gid not in (-1, found.st_gid):
        parts.append(f"SocketGroup={wanted.gid}, not {found.st_gid}")
    return " and ".join(parts)
