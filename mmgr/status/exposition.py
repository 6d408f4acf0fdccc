"""/metrics by HTTP/1.1, and nothing else: one request a connection, bounded in number, length and time.

Reads a request's head, answers it, closes. Whoever is slow to ask or to read is dropped at a deadline that does not
care how busy it looks; so many are served at a time, and of those that still have to ask the oldest makes room for one
more.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from mmgr.errors import MmgrError

PLACES = 8
"""Connections that are served at a time."""

HEAD_BYTES_MAX = 8192
"""The longest head of a request; Prometheus sends some 300 bytes."""

ASK_S = 5.0
"""How long the head of a request may take."""

ANSWER_S = 10.0
"""How long reading the answer may take."""

PATH = "/metrics"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Exposition:
    """Serves what render makes, which raises MmgrError when there is nothing to show. ``take`` is for one thread."""

    def __init__(self, render: Callable[[], bytes], content_type: str, ask_s: float = ASK_S) -> None:
        self._render = render
        self._content_type = content_type
        self._ask_s = ask_s
        self._lock = threading.Lock()
        self._asking: dict[socket.socket, float] = {}
        self._places = threading.BoundedSemaphore(PLACES)

    def take(self, listening: socket.socket) -> None:
        """Accept one connection, if there is one, and have it served; waits for a place if all are taken. Raises
        OSError if nothing can be accepted."""
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        if not self._places.acquire(blocking=False):
            self._make_room()
            self._places.acquire()
        with self._lock:
            self._asking[connection] = time.monotonic()
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:  # no further thread may be started
            self._part_with(connection)

    def _make_room(self) -> None:
        """Part with the one that takes longest to ask; if none is at that, answers have their time."""
        with self._lock:
            if self._asking:
                oldest = min(self._asking, key=lambda one: self._asking[one])
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        try:
            head = _read_head(connection, time.monotonic() + self._ask_s)
            with self._lock:
                self._asking.pop(connection, None)
            if head is not None:
                _send(connection, self._answer(head), time.monotonic() + ANSWER_S)
        except OSError:
            pass  # it is gone, or too slow
        finally:
            self._part_with(connection)

    def _part_with(self, connection: socket.socket) -> None:
        with self._lock:
            self._asking.pop(connection, None)
        connection.close()
        self._places.release()

    def _answer(self, head: bytes) -> bytes:
        status, method = judge(head)
        text, content_type = f"{_REASONS[status]}\n".encode(), "text/plain; charset=utf-8"
        if status == 200:
            try:
                text, content_type = self._render(), self._content_type
            except MmgrError as error:
                status, text = 503, f"{error}\n".encode("utf-8", "backslashreplace")
        allow = "Allow: GET, HEAD\r\n" if status == 405 else ""
        fields = f"Content-Type: {content_type}\r\nContent-Length: {len(text)}\r\n{allow}Connection: close\r\n"
        start = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{fields}\r\n".encode()
        return start if method == b"HEAD" else start + text


def judge(head: bytes) -> tuple[int, bytes]:
    """The status that the head of a request deserves, and its method."""
    if len(head) > HEAD_BYTES_MAX:
        return 431, b""
    parts = head.split(b"\r\n", 1)[0].split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        return 400, b""
    method, target, _ = parts
    if target.split(b"?", 1)[0] != PATH.encode():
        return 404, method
    return (200 if method in (b"GET", b"HEAD") else 405), method


def _read_head(connection: socket.socket, until: float) -> bytes | None:
    """All up to the empty line, or one byte more than is allowed; None if the peer has gone. Raises OSError."""
    received = bytearray()
    while b"\r\n\r\n" not in received and len(received) <= HEAD_BYTES_MAX:
        connection.settimeout(max(0.001, until - time.monotonic()))
        chunk = connection.recv(HEAD_BYTES_MAX + 1 - len(received))
        if not chunk:
            return None
        received += chunk
        if time.monotonic() > until:
            raise socket.timeout
    return bytes(received)


def _send(connection: socket.socket, data: bytes, until: float) -> None:
    """All of it, by then; the peer's own close is waited for, as ours would cut off what it has not read. Raises
    OSError."""
    connection.settimeout(max(0.001, until - time.monotonic()))
    connection.sendall(data)  # the time that is set counts for all of it
    connection.shutdown(socket.SHUT_WR)
    while time.monotonic() < until:
        connection.settimeout(max(0.001, until - time.monotonic()))
        if not connection.recv(HEAD_BYTES_MAX):
            return
