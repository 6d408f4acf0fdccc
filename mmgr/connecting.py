"""Connecting to an endpoint: a ``FrameStream`` to whoever listens there."""

from __future__ import annotations

import socket
import time

from mmgr.endpoint import Address, Endpoint, connect_addresses
from mmgr.errors import PeerClosed, PeerTimeout
from mmgr.stream import FrameStream

BACKLOG_RETRY_S = 0.02
"""How soon a unix socket with a full backlog is tried again."""


def connect(endpoint: Endpoint, deadline: float, length_max: int, usual: bytes = b"") -> FrameStream:
    """A stream to endpoint. Blocks until connected or until the deadline.

    Raises PeerTimeout at the deadline, PeerClosed if nobody listens there (all addresses of a host name are tried),
    EndpointError if its host has no address. A unix socket whose backlog is full says so at once with EAGAIN; it is
    tried again until the deadline.
    """
    failure: OSError | None = None
    for address in connect_addresses(endpoint):
        candidate = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            _connect(candidate, address, deadline)
            return FrameStream(candidate, length_max, usual)
        except (TimeoutError, socket.timeout) as error:
            candidate.close()
            raise PeerTimeout("not connected in time") from error
        except OSError as error:
            candidate.close()
            failure = error
        except BaseException:
            candidate.close()
            raise
    assert failure is not None, "an endpoint has at least one address"
    raise PeerClosed(failure.strerror or str(failure)) from failure


def connect_at_once(endpoint: Endpoint, length_max: int, usual: bytes = b"") -> FrameStream | None:
    """A stream to a unix socket that takes us without any wait; None otherwise, for whatever reason."""
    if endpoint.family != socket.AF_UNIX:
        return None
    candidate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        candidate.connect(endpoint.path)
    except OSError:
        candidate.close()
        return None
    return FrameStream(candidate, length_max, usual, is_tcp=False)


def _connect(candidate: socket.socket, address: Address, deadline: float) -> None:
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        candidate.settimeout(left_s)
        try:
            return candidate.connect(address)
        except BlockingIOError:
            time.sleep(min(BACKLOG_RETRY_S, left_s))
