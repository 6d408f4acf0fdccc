"""One connection to a control socket: lines in, lines out, nothing that blocks and nothing that grows.

One request at a time: as long as its answer is not made or not taken nothing more is read, and what a peer sends too
much stays in the kernel. A request has to be complete, and an answer taken, within a deadline that does not care how
busy the peer looks. ``mmgr.master.control`` owns the peers; what requests mean is ``mmgr.master.controldesk``'s.
"""

from __future__ import annotations

import math
import select
import socket
from collections.abc import Callable
from typing import Protocol

from mmgr.control import REQUEST_BYTES_MAX, not_done

REQUEST_S = 10.0
"""How long a request may take from the connection, or from the answer before, to its line end."""

ANSWER_S = 10.0
"""How long a peer may take to read an answer."""

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Loop(Protocol):
    """What of the master's loop is used here."""

    def register(self, descriptor: int, on_ready: Callable[[int], None], events: int = ...) -> None:
        """See ``Supervisor.register``."""

    def unregister(self, descriptor: int) -> None:
        """See ``Supervisor.unregister``."""


class Peer:
    """take(peer, line) is called with each request and sees to it that ``answer`` is called once, now or later.

    request_s is how long a request may take from the one before.
    """

    def __init__(
        self,
        connection: socket.socket,
        loop: Loop,
        clock: Callable[[], float],
        take: Callable[[Peer, bytes], None],
        request_s: float = REQUEST_S,
    ) -> None:
        self._socket = connection
        self._loop = loop
        self._clock = clock
        self._take = take
        self._received = bytearray()
        self._outgoing = memoryview(b"")
        self._is_asking = False
        self._ends = False
        self.is_open = True
        self._request_s = request_s
        self.expires = clock() + request_s
        self._wait_for(select.POLLIN)

    @property
    def is_idle(self) -> bool:
        """Is there no request that waits for its answer, nor an answer that waits to be taken?"""
        return not self._is_asking and not self._outgoing

    def answer(self, line: bytes, is_last: bool = False) -> None:
        """The answer to the request that was taken; nothing happens if the peer has gone meanwhile."""
        if self.is_open and self._is_asking:
            self._is_asking = False
            self._ends = is_last
            self._outgoing = memoryview(line)
            self.expires = self._clock() + ANSWER_S
            self._write()

    def close(self) -> None:
        """End the connection; an answer that comes later is dropped."""
        if self.is_open:
            self.is_open = False
            self._loop.unregister(self._socket.fileno())
            self._socket.close()
            self._received.clear()
            self._outgoing = memoryview(b"")

    def refuse(self, reason: str) -> None:
        """Say why there is no place for this peer, if that can be said at once, and end the connection."""
        self._is_asking = True
        self.answer(not_done([reason]), is_last=True)
        self.close()

    def on_ready(self, events: int) -> None:
        """The loop says that something can be read or written, or that the peer is gone."""
        if not self.is_open:
            return
        if self._is_asking:
            if events & _GONE:
                self.close()
        elif self._outgoing:
            self._write()
        elif b"\n" in self._received:
            self._take_line()
        else:
            self._read()

    def _read(self) -> None:
        try:
            chunk = self._socket.recv(REQUEST_BYTES_MAX - len(self._received))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return
        self._received += chunk
        if b"\n" in self._received:
            self._take_line()
        elif len(self._received) >= REQUEST_BYTES_MAX:
            self._is_asking = True
            self.answer(not_done([f"a request is one line of {REQUEST_BYTES_MAX} bytes at most"]), is_last=True)

    def _take_line(self) -> None:
        """One request; those behind it have their turn in the next round, when it has been answered."""
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        self._is_asking = True
        self.expires = math.inf
        self._take(self, line)
        if self.is_open and self._is_asking:
            self._wait_for(0)  # the end of the connection is told in any case

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        self._outgoing = self._outgoing[sent:]
        if self._outgoing:
            self._wait_for(select.POLLOUT)
        elif self._ends:
            self.close()
        else:
            self.expires = self._clock() + self._request_s
            self._wait_for(select.POLLOUT if b"\n" in self._received else select.POLLIN)

    def _wait_for(self, events: int) -> None:
        self._loop.register(self._socket.fileno(), self.on_ready, events)
