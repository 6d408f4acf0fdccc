"""The only recv and send of milter bytes: whole frames over a connected socket, with deadlines.

Blocking code in small steps. A read is one recv that the kernel ends by itself after a while (SO_RCVTIMEO), so that a
reply costs one system call and not two; a write never waits in send. A deadline is a point of ``time.monotonic()``,
None waits for ever. ``OSError`` ends here: it becomes PeerClosed, and a deadline PeerTimeout.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mmgr.endpoint import Address, Endpoint, connect_addresses
from mmgr.errors import PeerClosed, PeerTimeout, PeerTruncated
from mmgr.protocol.framing import FrameBuffer

READ_BYTES = 65536
"""One read takes up to this: a full body chunk; above 128 KiB each read would cost malloc a mapping of its own."""

FRAMES_PER_WRITE = 512
"""Frames that are joined for one write."""

HELD_BYTES_MAX = 4194304
"""What is read ahead while a write waits: 800,000 plain replies, more than any one write asks for."""

IDLE_TICK_S = 60.0
"""A read without patience looks at its deadline at least this often."""

BACKLOG_RETRY_S = 0.02
"""How soon a unix socket with a full backlog is tried again."""

_TIMEVAL = struct.Struct("@ll")

Patience = Callable[[], None]
"""What is called each time that a read has waited for another ``tick_s`` without a byte."""


class FrameStream:
    """One connected socket as a sequence of frames each way. Owns the socket; ``close`` is idempotent.

    length_max is the largest packet length that the peer may announce.
    """

    def __init__(self, connected: socket.socket, length_max: int) -> None:
        connected.setblocking(True)
        self._socket = connected
        self._recv_wait_s = 0.0
        self._buffer = FrameBuffer(length_max)
        self._frames: deque[bytes] = deque()
        self._is_tcp = connected.family in (socket.AF_INET, socket.AF_INET6)
        if self._is_tcp:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """The descriptor, for waiting on several streams; -1 once closed."""
        return self._socket.fileno()

    def has_frame(self) -> bool:
        """Would ``read`` return, or raise because of what already came, without waiting?"""
        return bool(self._frames) or self._buffer.is_broken

    def read(self, deadline: float | None, patience: Patience | None = None, tick_s: float = 1.0) -> bytes:
        """The next frame. patience is called about every tick_s while nothing comes.

        Raises PeerTimeout at the deadline, PeerClosed at the end of the stream (also in the middle of a frame), and
        RemoteProtocolError for a length that no peer may announce.
        """
        while not self._frames:
            if self._buffer.is_broken:
                self._buffer.feed(b"")
            self._frames.extend(self._read_some(deadline, tick_s if patience else IDLE_TICK_S))
            if patience and not self._frames:
                patience()
        return self._frames.popleft()

    def write(self, frames: Sequence[bytes], deadline: float | None) -> None:
        """Send frames in as few writes as the kernel allows. What the peer says while it takes no more is kept.

        Raises PeerTimeout, PeerClosed, and RemoteProtocolError for a length that no peer may announce; frames that came
        before are there for ``read`` even then.
        """
        for start in range(0, len(frames), FRAMES_PER_WRITE):
            self._send_all(b"".join(frames[start : start + FRAMES_PER_WRITE]), deadline)

    def write_patiently(self, frames: Iterable[bytes]) -> bool:
        """Try to send without waiting at all; False if the peer went or takes no more. For farewells only."""
        data = b"".join(frames)
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def receive_now(self, wait_s: float = 0.0) -> list[bytes]:
        """The frames that are there, after at most one read, which waits up to wait_s; empty if none is whole yet.

        Raises PeerClosed at the end of the stream, RemoteProtocolError for a length that no peer may announce.
        """
        if not self._frames:
            return self._buffer.feed(b"" if self._buffer.is_broken else self._receive(wait_s))
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def send_now(self, data: memoryview) -> int:
        """Send what the kernel takes without waiting, and say how many bytes that was. Raises PeerClosed."""
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise PeerClosed(f"connection lost: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the socket; what was not read is lost."""
        self._socket.close()
        self._frames.clear()

    def _read_some(self, deadline: float | None, tick_s: float) -> list[bytes]:
        """One read of at most tick_s; raises PeerTimeout if the deadline passes without a byte."""
        if deadline is None:
            return self._buffer.feed(self._receive(tick_s))
        left_s = deadline - time.monotonic()
        data = self._receive(min(left_s, tick_s))
        if not data and time.monotonic() >= deadline:
            raise PeerTimeout("no answer in time")
        return self._buffer.feed(data)

    def _receive(self, wait_s: float) -> bytes:
        """What came, b"" if nothing did within wait_s. Raises PeerClosed."""
        if self._socket.fileno() < 0:
            raise PeerClosed("connection closed on this side")
        try:
            if wait_s > 0:
                self._let_recv_wait(wait_s)
                data = self._socket.recv(READ_BYTES)
            else:
                data = self._socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
            if self._is_tcp and data:
                self._acknowledge_at_once()
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PeerClosed(f"connection lost: {error.strerror or error}") from error
        if not data and len(self._buffer):
            raise PeerTruncated(
                f"connection closed in the middle of a packet; it looks like {self._buffer.looks_like()}"
            )
        if not data:
            raise PeerClosed("connection closed")
        return data

    def _let_recv_wait(self, wait_s: float) -> None:
        """Have the kernel end a recv after wait_s, at most IDLE_TICK_S; told only if it is not so already."""
        wait_s = min(max(wait_s, 0.001), IDLE_TICK_S)
        if wait_s != self._recv_wait_s:
            self._recv_wait_s = wait_s
            seconds = int(wait_s)
            timeval = _TIMEVAL.pack(seconds, int((wait_s - seconds) * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def _acknowledge_at_once(self) -> None:
        """Linux forgets TCP_QUICKACK after use; without it libmilter's small replies stall 40 ms each (Nagle)."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _send_all(self, data: bytes, deadline: float | None) -> None:
        view = memoryview(data)
        room = HELD_BYTES_MAX
        while view:
            try:
                view = view[self._socket.send(view, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                if self._wait_writable(deadline, select.POLLIN if room > 0 else 0):
                    room -= self._read_ahead()
            except OSError as error:
                raise PeerClosed(f"connection lost: {error.strerror or error}") from error

    def _wait_writable(self, deadline: float | None, or_readable: int) -> bool:
        """Wait until the kernel takes more, or there is something to read if or_readable asks for that: then True.

        libmilter (8.17) stops reading while some 280 of its replies lie unread, so who only writes waits for ever.
        """
        either = select.poll()
        either.register(self._socket, select.POLLOUT | or_readable)
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise PeerTimeout("nothing was taken in time")
        events = either.poll(None if left_s is None else left_s * 1000 + 1)
        if not events:
            raise PeerTimeout("nothing was taken in time")
        return bool(events[0][1] & or_readable)

    def _read_ahead(self) -> int:
        """Read once while a write waits; how many bytes came. The end of the stream is left for ``read`` to find."""
        try:
            data = self._receive(0.0)
        except PeerClosed:
            return HELD_BYTES_MAX
        self._frames.extend(self._buffer.feed(data))
        return len(data)


def connect(endpoint: Endpoint, deadline: float, length_max: int) -> FrameStream:
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
            return FrameStream(candidate, length_max)
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
