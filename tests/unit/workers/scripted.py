"""A scripted child of whole sessions: a milter behind a real socket that does at each command what a test says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, Union

from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, Command
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import ALL_ACTIONS, ALL_STEPS, OptionNegotiation
from mmgr.protocol.replies import Continue, encode_reply
from mmgr.stream import FrameStream

OFFER = OptionNegotiation(6, ALL_ACTIONS, ALL_STEPS)
CONTINUE = encode_reply(Continue())
PATIENCE_S = 20.0
AWAY = ".away"
_MARK = b"\0\0\0\1Z"

Move = Union[bytes, float, Callable[[], object], None]
"""What a child does in place of saying continue: bytes in one write, a pause in seconds, a call, None to hang up."""

Script = Mapping[tuple[int, int], Sequence[Move]]
"""Moves by command and which of its kind it is, counted from 0 over all connections of a session."""


class ScriptedChild:
    """A milter that serves one connection after another. heard has the frames of each since ``behave``."""

    def __init__(self, path: Path) -> None:
        self.endpoint = Endpoint("unix", path=str(path))
        self.heard: list[list[bytes]] = []
        self.is_busy = False
        self._options = OFFER
        self._script: Script = {}
        self._counts: dict[int, int] = {}
        self._marked = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def behave(self, options: OptionNegotiation, script: Script) -> None:
        """From now on, with nothing heard yet."""
        self._options, self._script, self._counts, self.heard = options, script, {}, []

    def settle(self) -> list[list[bytes]]:
        """What it heard, once all connections so far are over."""
        self._marked.clear()
        with socket.socket(socket.AF_UNIX) as marking:
            path = Path(self.endpoint.path)
            marking.connect(str(path if path.exists() else path.with_suffix(AWAY)))
            marking.sendall(_MARK)
            assert self._marked.wait(PATIENCE_S), "a connection to a child is not over"
        return self.heard

    def stop(self) -> None:
        """Serve nobody any more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            try:
                self._converse(connected)
            except PeerClosed:
                pass
            finally:
                connected.close()
                self.is_busy = False

    def _converse(self, connected: socket.socket) -> None:
        stream = FrameStream(connected, COMMAND_LENGTH_MAX)
        heard: list[bytes] = []
        while True:
            frame = stream.read(None)
            if frame == _MARK:
                return self._marked.set()
            if not heard:
                self.heard.append(heard)
            heard.append(frame)
            moves = self._moves(frame[CODE])
            self.is_busy = len(moves) > 1
            for move in moves:
                if move is None:
                    return None
                _make(connected, move)
            self.is_busy = False

    def _moves(self, command: int) -> Sequence[Move]:
        which = self._counts.get(command, 0)
        self._counts[command] = which + 1
        found = self._script.get((command, which))
        if found is not None:
            return found
        if command == Command.SMFIC_OPTNEG:
            return [encode_reply(self._options)]
        return [CONTINUE] if self._options.wants(command) and self._options.answers(command) else []


def _make(connected: socket.socket, move: bytes | float | Callable[[], object]) -> None:
    if callable(move):
        move()
    elif isinstance(move, bytes):
        try:
            connected.sendall(move)
        except OSError:
            pass  # who refused a message is hung up on; what is still to be read is read
    else:
        time.sleep(move)


def byte_by_byte(data: bytes) -> list[Move]:
    """Each in a write of its own."""
    return [move for at in range(len(data)) for move in (data[at : at + 1], 0.001)]
