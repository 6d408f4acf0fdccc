"""Listening sockets: bound once, with mode, owner and group right before anybody can connect, and unlinked at the end.

A socket of a live instance is never stolen and a stale one is replaced; two instances that start at once are kept apart
by a lock on the directory, which leaves no file behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from mmgr.endpoint import Address, Endpoint, listen_addresses
from mmgr.errors import EndpointError, ListenError
from mmgr.log import quoted

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait; the kernel cuts it at net.core.somaxconn (128 on EL 8, 4,096 later)."""

SOMAXCONN = "/proc/sys/net/core/somaxconn"

UNUSED_HINT = "who connects there is not served: name it in connection_spec, or not in the .socket unit"
"""For a socket that was handed over to us and that no connection_spec names."""

LOCK_PATIENCE_S = 5.0
PROBE_TIMEOUT_S = 2.0

_CREDENTIALS = struct.Struct("@iII")
"""struct ucred: pid, uid, gid; of a unix socket's listener as they were when it called listen (unix(7))."""


@dataclass(frozen=True)
class SocketRights:
    """Mode, owner and group of a unix socket; -1 leaves owner or group as they are."""

    mode: int = 0o660
    uid: int = -1
    gid: int = -1


@dataclass
class Listener:
    """A socket that listens.

    inode is (device, inode) of a unix socket's file, to unlink ours and no other's. directory_fd stays open for that:
    the path to it may be closed to the user that we become. One that was handed over to us (``activation``) is neither
    shut down nor closed nor unlinked here: who gave it listens on.
    """

    endpoint: Endpoint
    socket: socket.socket
    inode: tuple[int, int] | None = None
    directory_fd: int = -1
    is_handed_over: bool = False

    @property
    def is_reachable(self) -> bool:
        """Does the file of a unix socket still lead here? Somebody may have removed it."""
        if self.is_handed_over or self.inode is None:
            return True
        try:
            found = os.lstat(self.endpoint.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.inode

    def stop(self) -> None:
        """Refuse further connections at once, in every process that shares the socket."""
        if self.is_handed_over:
            return
        with contextlib.suppress(OSError):  # a TCP listener without a peer says ENOTCONN on some kernels
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self, removes_file: bool) -> None:
        """Close, and remove a unix socket's file if it is still the one that was made here."""
        if self.is_handed_over:
            return
        self.socket.close()
        if self.directory_fd == -1:
            return
        if removes_file:
            self._unlink()
        os.close(self.directory_fd)
        self.directory_fd = -1

    def _unlink(self) -> None:
        name = os.path.basename(self.endpoint.path)
        try:
            found = os.stat(name, dir_fd=self.directory_fd, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == self.inode:
                os.unlink(name, dir_fd=self.directory_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("socket-left path=%s error=%s", self.endpoint.path, quoted(error.strerror or str(error)))


def listen(endpoint: Endpoint, rights: SocketRights, replaces_stale: bool = True) -> Listener:
    """Bind endpoint and listen on it. Raises ListenError, and then has changed nothing.

    replaces_stale False leaves a stale socket's file alone and says so.
    """
    try:
        if endpoint.kind == "unix":
            return _listen_unix(endpoint, rights, replaces_stale)
        return _listen_inet(endpoint)
    except (OSError, EndpointError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ListenError(f"can't listen on {endpoint}: {reason}{_hint(endpoint, error)}") from error


def stop_with_master(listeners: Sequence[Listener], life_fd: int) -> None:
    """In a worker: stop these once life_fd, the readable end of a pipe, is at its end, even in the middle of a session.

    A port that a worker still listens on could not be had by the next master. The kernel sends SIGIO for it, and only
    to who asked on a description of its own: hence the pipe is opened again. Where that can't be, it is done without.
    This is the one signal function that does anything: a session waits in one system call after another, which a
    wake-up byte would not end. It waits for nothing, and touches nothing that a session uses.
    """

    def stop_if_alone(_number: int, _frame: FrameType | None) -> None:
        poll = select.poll()
        poll.register(life_fd, select.POLLIN)
        if poll.poll(0):  # Linux 4.18 also signals when another reader has gone
            for listener in listeners:
                listener.stop()

    signal.signal(signal.SIGIO, stop_if_alone)
    with contextlib.suppress(OSError):
        own_fd = os.open(f"/proc/self/fd/{life_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(own_fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(own_fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)


def effective_backlog(path: str = SOMAXCONN) -> int:
    """How many connections really may wait, after the kernel's limit; a unix socket refuses those beyond."""
    try:
        with open(path, "rb") as file:
            return min(BACKLOG, int(file.read()))
    except (OSError, ValueError):
        return BACKLOG


def _listen_inet(endpoint: Endpoint) -> Listener:
    address = listen_addresses(endpoint)[0]
    made = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.kind == "inet6":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return _ready(Listener(endpoint, made), address)
    except BaseException:
        made.close()
        raise


def _listen_unix(endpoint: Endpoint, rights: SocketRights, replaces_stale: bool) -> Listener:
    (path,) = listen_addresses(endpoint)
    assert isinstance(path, str)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory_locked(os.path.dirname(path) or "."):
            _make_room(endpoint, replaces_stale)
            return _bind_unix(Listener(endpoint, made), path, rights)
    except BaseException:
        made.close()
        raise


def _bind_unix(listener: Listener, path: str, rights: SocketRights) -> Listener:
    """The file has its mode from birth; nobody can connect before listen, and by then owner and group are right."""
    before = os.umask(0o777 & ~rights.mode)
    try:
        listener.socket.bind(path)
    finally:
        os.umask(before)
    found = os.lstat(path)
    try:
        listener.inode = (found.st_dev, found.st_ino)
        listener.directory_fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if (rights.uid, rights.gid) != (-1, -1):
            os.chown(path, rights.uid, rights.gid)
        return _ready(listener, None)
    except BaseException:
        os.unlink(path)
        raise


def _ready(listener: Listener, address: Address | None) -> Listener:
    if address is not None:
        listener.socket.bind(address)
    listener.socket.listen(BACKLOG)
    listener.socket.setblocking(False)
    return listener


def _make_room(endpoint: Endpoint, replaces_stale: bool) -> None:
    """Remove a stale socket; raise ListenError if a live instance, or anything but a socket, is at the path."""
    try:
        found = os.lstat(endpoint.path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"can't listen on {endpoint}: there is a file at that path, and it is not a socket")
    if _somebody_listens(endpoint.path):
        raise ListenError(
            f"can't listen on {endpoint}: another process listens there already; "
            "stop it first, or choose another path with -s"
        )
    if not replaces_stale:
        raise ListenError(
            f"can't listen on {endpoint}: a stale socket is at that path; "
            "remove it, or set remove_unix_socket_on_create = yes"
        )
    os.unlink(endpoint.path)


def _somebody_listens(path: str) -> bool:
    """Only a refused connection proves that nobody does, or the death of the process that called listen.

    Workers of a killed master hold its socket until their sessions end, and would keep the next master away.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return _is_alive(_CREDENTIALS.unpack(credentials)[0])


def _is_alive(pid: int) -> bool:
    """Does the process run? One that we can't see (0: it is in another PID namespace) may; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it exists, and is another user's
    return process_state(pid) not in ("Z", "X")


def process_state(pid: int) -> str:
    """The letter of proc(5): ``S`` sleeps, ``T`` is stopped, ``Z`` is a zombie; "" if the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return fields[0].decode("ascii", "replace") if fields else ""


@contextlib.contextmanager
def _directory_locked(directory: str) -> Iterator[None]:
    """Keep others of our kind out while a stale socket is told from a live one. Goes on alone after LOCK_PATIENCE_S."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _hint(endpoint: Endpoint, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return "; another process listens there already"
    if endpoint.kind == "unix" and number == errno.ENOENT:
        return f"; the directory {os.path.dirname(endpoint.path) or '.'} does not exist"
    if endpoint.kind == "unix" and number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"; the directory {os.path.dirname(endpoint.path) or '.'} has to be writable for this user"
    if number == errno.EACCES:
        return "; ports below 1024 need root"
    return ""
