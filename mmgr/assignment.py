"""What the master hands to a worker at its birth: the only thing that both know of each other."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from mmgr.config.model import Config
from mmgr.scoreboard import Scoreboard


@dataclass(frozen=True)
class Assignment:
    """One worker's place. slot counts from 0, number is what people see.

    life_fd is at end of file once the master is gone. tell_master, once the worker
    serves, makes the master look at the scoreboard; later changes it sees by itself within a second.
    """

    slot: int
    generation: int
    config: Config
    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    life_fd: int
    tell_master: Callable[[], None]

    @property
    def number(self) -> int:
        """The worker's number in titles and logs."""
        return self.slot + 1


WorkerEntry = Callable[[Assignment], None]
"""A worker's life: called in the forked child with signals blocked and default; the child ends when it returns."""
