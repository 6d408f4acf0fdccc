"""The other end of sd_notify: a datagram socket that keeps what it is told, in order, as systemd would hear it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Callable

from tests.support.processes import wait_for

Told = dict[str, str]


class ServiceManager:
    """Listens at address, a path or ``@NAME``; everybody may write. A context manager."""

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self._messages: list[Told] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(self.address.replace("@", "\0", 1) if self.address.startswith("@") else self.address)
        if not self.address.startswith("@"):
            os.chmod(self.address, 0o666)

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    @property
    def messages(self) -> list[Told]:
        """All so far, oldest first."""
        with suppress(BlockingIOError):
            while True:
                lines = self.socket.recv(65536).decode().split("\n")
                self._messages.append(dict(line.split("=", 1) for line in lines))  # type: ignore[misc]
        return self._messages

    def told(self, *names: str) -> list[str]:
        """``NAME=value`` of those names alone, in the order in which they came."""
        found = [(name, told[name]) for told in self.messages for name in names if name in told]
        return [f"{name}={value}" for name, value in found]

    def wait_for(self, is_right: Callable[[Told], bool], what: str, since: int = 0) -> Told:
        """The first message from number since on that is right."""

        def found() -> list[Told]:
            return [told for told in self.messages[since:] if is_right(told)]

        return wait_for(found, what, log=lambda: str(self.messages))[0]
