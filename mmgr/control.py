r"""The language of the control socket, and how to ask: one JSON object a line each way, request and answer in turn.

``{"version": 1, "request": "disable", "milter": "clamav-milter"}`` is answered by ``{"version": 1, "is_done": true,
"result": {...}}`` or ``{"version": 1, "is_done": false, "errors": ["why not", ...]}``. A request without version is one
of version 1. ``mmgr.master.control`` is the daemon's end; ``Line`` is the other, plain blocking code with a deadline.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmgr.endpoint import Endpoint, connect_addresses
from mmgr.errors import ControlError, ControlUnanswered, EndpointError

VERSION = 1

REQUEST_BYTES_MAX = 4096
"""The longest request with its line end: a name of 255 characters is what may be long in it."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""What somebody who asks puts up with: 2,048 workers are less than a megabyte."""

ERRORS_MAX = 200
"""Of more faults than these only the number is told."""

ASK_TIMEOUT_S = 10.0
"""How long a daemon may take to answer what it knows at once."""

CHANGE_TIMEOUT_S = 240.0
"""The same for what takes a new generation of workers, and may have to wait for the one before."""

_CHUNK_BYTES = 65536
_RETRY_S = 0.02


def encode(message: Mapping[str, Any]) -> bytes:
    """One line, in ASCII."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def done(result: Mapping[str, Any]) -> bytes:
    """The answer to what was done."""
    return encode({"version": VERSION, "is_done": True, "result": result})


def not_done(errors: Sequence[str]) -> bytes:
    """The answer to what was not done, and why."""
    return encode({"version": VERSION, "is_done": False, "errors": cut(errors)})


def cut(errors: Sequence[str]) -> list[str]:
    """A list of faults that is not too long for an answer."""
    if len(errors) <= ERRORS_MAX:
        return list(errors)
    return [*errors[:ERRORS_MAX], f"... and {len(errors) - ERRORS_MAX} more"]


def decode(line: bytes) -> dict[str, Any]:
    """The object of a line. Raises ControlError for anything else, however it was meant."""
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ControlError("not a JSON object in one line") from error
    if not isinstance(message, dict):
        raise ControlError("not a JSON object in one line")
    version = message.get("version", VERSION)
    if version != VERSION:
        raise ControlError(f"version {str(version)[:20]} is not spoken here, {VERSION} is")
    return message


class Line:
    """A connection to a daemon's control socket. A context manager; connects at once, unless it is given a connection.

    Raises ControlUnanswered if nobody answers, ControlError if we may not connect or the answer is none.
    """

    def __init__(
        self, endpoint: Endpoint, timeout_s: float = ASK_TIMEOUT_S, connected: socket.socket | None = None
    ) -> None:
        self._endpoint = endpoint
        self._received = bytearray()
        self._socket = connected or self._connect(timeout_s)

    def ask(self, request: str, timeout_s: float = ASK_TIMEOUT_S, **arguments: str) -> dict[str, Any]:
        """One request and its answer, as it came. Blocks for timeout_s at most."""
        deadline = time.monotonic() + timeout_s
        try:
            self._socket.settimeout(timeout_s)
            with contextlib.suppress(BrokenPipeError):  # whoever refused us has said why before that
                self._socket.sendall(encode({"version": VERSION, "request": request, **arguments}))
            answer = self._read_line(deadline)
        except socket.timeout as error:
            raise ControlUnanswered(f"no answer on {self._endpoint} within {timeout_s:g} s") from error
        except OSError as error:
            raise ControlUnanswered(f"{self._endpoint}: {error.strerror or error}") from error
        return decode(answer)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _connect(self, timeout_s: float) -> socket.socket:
        try:
            address = connect_addresses(self._endpoint)[0]
        except EndpointError as error:
            raise ControlUnanswered(str(error)) from error
        made = socket.socket(self._endpoint.family, socket.SOCK_STREAM)
        deadline = time.monotonic() + timeout_s
        try:
            made.settimeout(timeout_s)
            while True:
                try:
                    made.connect(address)
                    break
                except BlockingIOError:  # a unix socket's queue is full; unlike TCP's it can't be waited for
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_S)
        except PermissionError as error:
            made.close()
            raise ControlError(f"we may not connect to {self._endpoint}: {error.strerror}") from error
        except OSError as error:
            made.close()
            raise ControlUnanswered(f"no daemon answers on {self._endpoint}: {error.strerror or error}") from error
        return made

    def _read_line(self, deadline: float) -> bytes:
        while True:
            end = self._received.find(b"\n")
            if end >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                return line
            if len(self._received) > ANSWER_BYTES_MAX:
                raise ControlError(f"the answer on {self._endpoint} does not end")
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = self._socket.recv(_CHUNK_BYTES)
            if not chunk:
                raise ControlUnanswered(f"{self._endpoint} was closed without an answer")
            self._received += chunk
