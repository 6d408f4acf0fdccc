"""The only recv and send of milter bytes: whole frames over a connected socket, with deadlines.

Blocking code in small steps. A read is one recv that the kernel ends by itself after a while (SO_RCVTIMEO), so that a
reply costs one system call and not two; a write never waits in send. A deadline is a point of ``time.monotonic()``,
None waits for ever. ``OSError`` ends here: it becomes PeerClosed, and a deadline PeerTimeout.
"""

from __future__ import annotations

import functools
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mmgr.errors import PeerClosed, PeerTimeout, PeerTruncated
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import FrameBuffer

READ_BYTES = 65536
"""One read takes up to this: a full body chunk; above 128 KiB each read would cost malloc a mapping of its own."""

FRAMES_PER_WRITE = 512
"""Frames that are joined for one write."""

HELD_BYTES_MAX = 4194304
"""What is read ahead while a write waits: 800,000 plain replies, more than any one write asks for."""

READS_MAX = 100
"""After so many reads whoever waits is given the chance to look around."""

IDLE_TICK_S = 60.0
"""A read without patience looks at its deadline at least this often."""

MSG_DONTWAIT = int(socket.MSG_DONTWAIT)  # a plain integer: the module's own is an enum, which costs more to pass

_TIMEVAL = struct.Struct("@ll")

Patience = Callable[[], None]
"""What is called each time that a read has waited for another ``tick_s`` without a byte."""


class FrameStream:
    """One connected socket as a sequence of frames each way. Owns the socket; ``close`` is idempotent.

    receive_raw and send_raw are the socket's own recv and send, for who knows what comes; ``keep`` gives back to the
    stream what it turns out not to be.

    length_max is the largest packet length that the peer may announce, usual the packet that it sends most.
    """

    def __init__(
        self, connected: socket.socket, length_max: int, usual: bytes = b"", is_tcp: bool | None = None
    ) -> None:
        if connected.gettimeout() is not None:
            connected.setblocking(True)
        self._socket = connected
        self._recv = self.receive_raw = connected.recv
        self._send = self.send_raw = connected.send
        self._recv_wait_s = 0.0
        self._buffer = FrameBuffer(length_max, usual)
        self._held = self._buffer.held
        self._frames: deque[bytes] = deque()
        self._is_tcp = connected.family in (socket.AF_INET, socket.AF_INET6) if is_tcp is None else is_tcp
        if self._is_tcp:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """The descriptor, for waiting on several streams; -1 once closed."""
        return self._socket.fileno()

    def has_frame(self) -> bool:
        """Would ``read`` return, or raise because of what already came, without waiting?"""
        return bool(self._frames or (self._held and self._buffer.is_broken))

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

    def read_all(self, timeout_s: float, patience: Patience, tick_s: float) -> list[bytes]:
        """All frames that are there, at least one, after as few reads as possible. Raises as ``read`` does.

        patience is called once, when nothing has come for tick_s; a wait that goes on is not told of again.
        """
        frames: list[bytes] = []
        if self._frames or self._held or self._is_tcp or tick_s != self._recv_wait_s:
            frames = self.receive_now(tick_s)
        else:
            try:
                data = self._recv(READ_BYTES)
            except BlockingIOError:
                pass
            except OSError as error:
                raise _lost(error) from error
            else:
                if not data:
                    self._raise_end()
                frames = self._buffer.feed(data)
        if frames:
            return frames
        deadline = time.monotonic() + timeout_s - tick_s
        patience()
        while not frames:
            frames = self._read_some(deadline, IDLE_TICK_S)
        return frames

    # The short ways, for what nearly always happens. They rely on ``is_clear``, wait for ``let_wait`` at the most,
    # raise nothing, and leave whatever is unusual to be found again by the methods above and below.

    @property
    def is_clear(self) -> bool:
        """Is nothing left that came and was not read yet?"""
        return not self._frames and not self._held

    def let_wait(self, wait_s: float) -> None:
        """How long the short ways wait for something to read; other reads may change it."""
        if wait_s != self._recv_wait_s:
            try:
                self._let_recv_wait(wait_s)
            except OSError:
                pass  # closed: the next read says so

    def hears(self, expected: bytes) -> bool:
        """Read once: did exactly these bytes come? Anything else is kept for ``read``."""
        try:
            data = self._recv(READ_BYTES)
        except OSError:
            return False
        if data == expected:
            if self._is_tcp:
                self._acknowledge_at_once()
            return True
        self.keep(data)
        return False

    def hears_run(self, frame: bytes, count: int) -> int:
        """Read until so many copies of a frame came, or anything else, which is kept for ``read``; how many came."""
        size = len(frame)
        run = frame * count
        came = 0
        for _ in range(READS_MAX):
            if came == len(run):
                break
            try:
                data = self._recv(READ_BYTES)
            except OSError:
                break
            if self._is_tcp:
                self._acknowledge_at_once()
            if not data or len(data) % size or data != run[came : came + len(data)]:
                self.keep(data)
                break
            came += len(data)
        return came // size

    def hears_both(self, first: bytes, second: bytes) -> bool:
        """Read until both came, one behind the other. Anything else is kept for ``read``, with what came before it."""
        data = b""
        while len(data) < len(first) + len(second):
            try:
                more = self._recv(READ_BYTES)
            except OSError:
                break
            data += more
            if not more or data != (first + second)[: len(data)]:
                break
        else:
            return True
        self.keep(data)
        return False

    def write_at_once(self, data: bytes) -> bool:
        """Send a short packet; False if nothing was sent, or if the connection broke over it."""
        try:
            taken = self._send(data, MSG_DONTWAIT)
            if taken < len(data):
                self._send_rest(memoryview(data)[taken:], time.monotonic() + IDLE_TICK_S)
        except BlockingIOError:
            return False
        except (OSError, PeerClosed, PeerTimeout, RemoteProtocolError):
            self.close()  # half a packet may be out
            return False
        return True

    def is_quiet(self) -> bool:
        """Has nothing come that nobody waits for? What did is kept for ``read``; so is the end of the stream."""
        try:
            self.keep(self._recv(READ_BYTES, MSG_DONTWAIT))
        except OSError:
            return self.is_clear
        return False

    def send_what_fits(self, data: bytes) -> int:
        """Send what the kernel takes without waiting; how many bytes that was, 0 if the connection broke."""
        try:
            return self._send(data, MSG_DONTWAIT)
        except OSError:
            return 0

    def keep(self, data: bytes) -> None:
        """Bytes that came and are for ``read``."""
        try:
            self._frames.extend(self._buffer.feed(data))
        except RemoteProtocolError:
            pass  # it stays broken, and the next read says so

    def write(self, frames: Sequence[bytes], deadline: float | None) -> None:
        """Send frames in as few writes as the kernel allows. What the peer says while it takes no more is kept.

        Raises PeerTimeout, PeerClosed, and RemoteProtocolError for a length that no peer may announce; frames that came
        before are there for ``read`` even then.
        """
        for start in range(0, len(frames), FRAMES_PER_WRITE):
            data = b"".join(frames[start : start + FRAMES_PER_WRITE])
            taken = self.send_now(data)
            if taken < len(data):
                self._send_rest(memoryview(data)[taken:], deadline)

    def write_bytes(self, data: bytes, timeout_s: float) -> None:
        """``write`` of frames that are joined already."""
        taken = self.send_now(data)
        if taken < len(data):
            self._send_rest(memoryview(data)[taken:], time.monotonic() + timeout_s)

    def write_patiently(self, frames: Iterable[bytes]) -> bool:
        """Try to send without waiting at all; False if the peer went or takes no more. For farewells only."""
        data = b"".join(frames)
        try:
            return self._socket.send(data, MSG_DONTWAIT) == len(data)
        except OSError:
            return False

    def receive_now(self, wait_s: float = 0.0) -> list[bytes]:
        """The frames that are there, after at most one read, which waits up to wait_s; empty if none is whole yet.

        Raises PeerClosed at the end of the stream, RemoteProtocolError for a length that no peer may announce.
        """
        if not self._frames:
            is_broken = self._held and self._buffer.is_broken
            return self._buffer.feed(b"" if is_broken else self._receive(wait_s))
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes without waiting, and say how many bytes that was. Raises PeerClosed."""
        try:
            return self._send(data, MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _lost(error) from error

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
        try:
            if wait_s > 0:
                if wait_s != self._recv_wait_s:
                    self._let_recv_wait(wait_s)
                data = self._recv(READ_BYTES)
            else:
                data = self._recv(READ_BYTES, MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise _lost(error) from error
        if self._is_tcp and data:
            self._acknowledge_at_once()
        if not data:
            self._raise_end()
        return data

    def _raise_end(self) -> None:
        if self._held:
            raise PeerTruncated(
                f"connection closed in the middle of a packet; it looks like {self._buffer.looks_like()}"
            )
        raise PeerClosed("connection closed")

    def _let_recv_wait(self, wait_s: float) -> None:
        """Have the kernel end a recv after wait_s, at most IDLE_TICK_S."""
        wait_s = min(max(wait_s, 0.001), IDLE_TICK_S)
        self._recv_wait_s = wait_s
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(wait_s))

    def _acknowledge_at_once(self) -> None:
        """Linux forgets TCP_QUICKACK after use; without it libmilter's small replies stall 40 ms each (Nagle)."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _send_rest(self, view: memoryview, deadline: float | None) -> None:
        room = HELD_BYTES_MAX
        while view:
            if self._wait_writable(deadline, select.POLLIN if room > 0 else 0):
                room -= self._read_ahead()
            view = view[self.send_now(view) :]

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


def _lost(error: OSError) -> PeerClosed:
    return PeerClosed(f"connection lost: {error.strerror or error}")


@functools.lru_cache(maxsize=16)
def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
