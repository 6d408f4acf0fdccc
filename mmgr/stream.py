"""The only recv and send of milter bytes: whole frames over a connected socket, with deadlines.

Blocking code in small steps: wait with poll, then one recv or send on a non-blocking socket. A deadline is a point of
``time.monotonic()``; None waits for ever. ``OSError`` ends here: it becomes PeerClosed, and a deadline PeerTimeout.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Optional

from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed, PeerTimeout
from mmgr.protocol.framing import FrameBuffer

READ_BYTES = 262144
"""One read takes up to this: four full body chunks."""

IOV_MAX = 512
"""Pieces of one vectored write; POSIX promises 16, Linux takes 1,024."""

Patience = Callable[[], None]
"""What is called each time that a read has waited for another ``tick_s`` without a byte."""


class FrameStream:
    """One connected socket as a sequence of frames each way. Owns the socket; ``close`` is idempotent.

    length_max is the largest packet length that the peer may announce.
    """

    def __init__(self, connected: socket.socket, length_max: int) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._buffer = FrameBuffer(length_max)
        self._frames: deque[bytes] = deque()
        self._readable = select.poll()
        self._readable.register(connected, select.POLLIN)
        self._is_tcp = connected.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """The descriptor, for waiting on several streams; -1 once closed."""
        return self._socket.fileno()

    def has_frame(self) -> bool:
        """Would ``read`` return without waiting?"""
        return bool(self._frames)

    def read(
        self, deadline: Optional[float], patience: Optional[Patience] = None, tick_s: float = 5.0
    ) -> bytes:
        """The next frame. patience is called about every tick_s while nothing comes.

        Raises PeerTimeout at the deadline, PeerClosed at the end of the stream (also in the middle of a frame), and
        RemoteProtocolError for a length that no peer may announce.
        """
        while not self._frames:
            self._wait_readable(deadline, patience, tick_s)
            self._frames.extend(self._buffer.feed(self._receive()))
        return self._frames.popleft()

    def write(self, frames: Sequence[bytes], deadline: Optional[float]) -> None:
        """Send frames in as few writes as the kernel allows. Raises PeerTimeout, PeerClosed."""
        for start in range(0, len(frames), IOV_MAX):
            self._send_all(b"".join(frames[start : start + IOV_MAX]), deadline)

    def write_patiently(self, frames: Iterable[bytes]) -> bool:
        """Try to send without waiting at all; False if the peer went or takes no more. For farewells only."""
        data = b"".join(frames)
        try:
            return self._socket.send(data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket; what was not read is lost."""
        self._socket.close()

    def _wait_readable(self, deadline: Optional[float], patience: Optional[Patience], tick_s: float) -> None:
        while True:
            wait_s = tick_s if patience else None
            if deadline is not None:
                left_s = deadline - time.monotonic()
                if left_s <= 0 and not self._readable.poll(0):
                    raise PeerTimeout("no answer in time")
                wait_s = max(left_s, 0.0) if wait_s is None else max(min(left_s, wait_s), 0.0)
            if self._readable.poll(None if wait_s is None else wait_s * 1000 + 1):
                return
            if patience and (deadline is None or time.monotonic() < deadline):
                patience()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv(READ_BYTES)
            if self._is_tcp:
                self._acknowledge_at_once()
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PeerClosed(f"connection lost: {error.strerror or error}") from error
        if not data:
            held = len(self._buffer)
            raise PeerClosed(f"connection closed in the middle of a packet ({held} bytes)" if held else "connection closed")
        return data

    def _acknowledge_at_once(self) -> None:
        """Linux forgets TCP_QUICKACK after use; without it libmilter's small replies stall 40 ms each (Nagle)."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _send_all(self, data: bytes, deadline: Optional[float]) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait_writable(deadline)
            except OSError as error:
                raise PeerClosed(f"connection lost: {error.strerror or error}") from error

    def _wait_writable(self, deadline: Optional[float]) -> None:
        writable = select.poll()
        writable.register(self._socket, select.POLLOUT)
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise PeerTimeout("nothing was taken in time")
        if not writable.poll(None if left_s is None else left_s * 1000 + 1):
            raise PeerTimeout("nothing was taken in time")


def connect(endpoint: Endpoint, deadline: float, length_max: int) -> FrameStream:
    """A stream to endpoint. Raises PeerTimeout at the deadline, PeerClosed if nobody listens there or it is full.

    A unix socket whose backlog is full refuses at once with EAGAIN; it is tried again until the deadline.
    """
    raise NotImplementedError
