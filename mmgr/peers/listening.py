"""Listening sockets of the scriptable milters: stale unix sockets are replaced, live ones never stolen.

Nothing here reads or writes milter bytes. Called by ``milter``.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import replace

from mmgr.endpoint import Endpoint, listen_addresses
from mmgr.errors import ListenError

DEFAULT_MODE = 0o660
BACKLOG = 128


class Listener:
    """One listening socket, non-blocking. ``endpoint`` is where it really listens (port 0 becomes the chosen one).

    mode and group are those of a unix socket's file; group -1 leaves it. Raises ListenError, and EndpointError for a
    host without an address.
    """

    def __init__(self, endpoint: Endpoint, mode: int = DEFAULT_MODE, group: int = -1, backlog: int = BACKLOG) -> None:
        self.socket = socket.socket(endpoint.family, socket.SOCK_STREAM)
        self._file: os.stat_result | None = None
        self.endpoint = endpoint
        try:
            if endpoint.kind == "unix":
                self._bind_unix(endpoint.path, mode, group)
            else:
                self._bind_inet(endpoint)
            self.socket.listen(backlog)
            self.socket.setblocking(False)
        except OSError as error:
            self.close()
            raise ListenError(f"can't listen on {endpoint}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening and remove the socket's file if it is still ours. Idempotent."""
        self.socket.close()
        if self._file is None:
            return
        with suppress(OSError):
            if os.path.samestat(os.lstat(self.endpoint.path), self._file):
                os.unlink(self.endpoint.path)
        self._file = None

    def _bind_unix(self, path: str, mode: int, group: int) -> None:
        remove_stale_socket(path)
        os.fchmod(self.socket.fileno(), mode)  # Linux makes the file with this mode, so it is never wider than asked
        self.socket.bind(path)
        self._file = os.lstat(path)
        if group != -1:
            os.chown(path, -1, group)
        os.chmod(path, mode)

    def _bind_inet(self, endpoint: Endpoint) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.kind == "inet6":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.bind(listen_addresses(endpoint)[0])
        self.endpoint = replace(endpoint, port=self.socket.getsockname()[1])


def remove_stale_socket(path: str) -> None:
    """Remove a unix socket that nobody listens on any more; nothing if there is none.

    Raises ListenError for a socket that somebody listens on, and for a file that is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"can't listen on unix:{path}: there is a file that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result in (0, errno.EAGAIN):
        raise ListenError(f"can't listen on unix:{path}: another process listens there")
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result != errno.ENOENT:
        raise ListenError(f"can't listen on unix:{path}: {os.strerror(result)}")
