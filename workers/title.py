"""A worker's title, as ``ps`` shows it. Written once a state has lasted for a moment, as nobody could read the others.

Writing one costs as much as a reply of a child, and a worker that is not waited for changes its state a thousand times
a second. What stands there too long is never wrong for longer than ``workers.mta.QUIET_S``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable


def head_of(number: int) -> str:
    """What the titles of a worker begin with."""
    return f"milter-manager: worker {number}"


class Title:
    """The title of one worker. number is the worker's; write is ``setproctitle`` or what a test puts in its place."""

    def __init__(self, number: int, write: Callable[[str], None]) -> None:
        self._head = head_of(number)
        self._write = write
        self._stage = ""
        self._client = ""
        self._is_current = False
        self._says_idle = False

    def stage(self, stage: str, client: str) -> None:
        """A session came to a stage. In place of a state that was shown it is shown at once."""
        self._stage = stage
        self._client = client
        if self._is_current:
            self.show()
            self._is_current = False

    def negotiated(self) -> None:
        """The negotiation of the session was answered. Nothing that a title says."""

    def count(self, answers: Iterable[tuple[str, str, str, float]]) -> None:
        """What children answered: name, stage, verdict, seconds waited for. Nothing that a title says."""

    def show(self) -> None:
        """The state lasts: let people see it."""
        self._put(f"{self._stage} {self._client}".rstrip())
        self._is_current = True
        self._says_idle = False

    def waiting(self, child: str) -> None:
        """It lasts because of a child; "" if the child answered after all."""
        self.show()
        if child:
            self._put(f"{self._stage} {self._client}".rstrip() + f" waiting for {child}")

    def idle(self, sessions: int) -> None:
        """No session is there, and none came for a moment."""
        self._put(f"idle, {sessions} sessions")
        self._is_current = False
        self._says_idle = True

    def _put(self, text: str) -> None:
        self._write(f"{self._head} {text}")
