"""What the master hands to a worker at its birth: the only thing that both know of each other."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from mmgr.config.model import Config
from mmgr.lessons import Lessons
from mmgr.scoreboard import Scoreboard


@dataclass(frozen=True)
class Assignment:
    """One worker's place. slot counts from 0, number is what people see.

    life_fd is at end of file once the master is gone. tell_master, once the worker serves, and when it finds too few
    others idle, makes the master look at the scoreboard; other changes it sees by itself within a second. What is
    written to stack_fd, if there is one, the master puts into the log. lessons are what workers tell each other.
    """

    slot: int
    generation: int
    config: Config
    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    life_fd: int
    tell_master: Callable[[], None]
    stack_fd: int = -1
    lessons: Lessons | None = None

    @property
    def number(self) -> int:
        """The worker's number in titles and logs."""
        return self.slot + 1


WorkerEntry = Callable[[Assignment], None]
"""A worker's life: called in the forked child, which ends when it returns. Signals are blocked, and those that the
master listens for have its way of taking them, which is to write to a ``WakeUp``; the child needs one of its own."""

Preparation = Callable[[Assignment], None]
"""Called in the master before it forks workers, with the place of the first of them: makes what all inherit."""
