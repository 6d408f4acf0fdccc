"""What follows the configuration beside the workers: control sockets, the process that shows the metrics.

Each makes what is new in a configuration first, and can still let go of it; only when new workers serve the change is
carried out. ``mmgr.master.reloading`` goes by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mmgr.config.model import Config
from mmgr.errors import MmgrError

Prepared = Any
"""What a follower made of a configuration, for itself alone; None is nothing."""


class Follower(Protocol):
    """One of them."""

    def prepare(self, config: Config) -> Prepared:
        """Make what is new in a configuration; nothing else changes yet. Raises ListenError, PrivilegeError."""

    def abandon(self, prepared: Prepared) -> None:
        """The configuration is not taken after all."""

    def commit(self, prepared: Prepared) -> None:
        """The configuration is in force."""


class Followers:
    """Several as one."""

    def __init__(self, followers: Sequence[Follower]) -> None:
        self._followers = followers

    def prepare(self, config: Config) -> Prepared:
        """All of them or none."""
        made: list[tuple[Follower, Prepared]] = []
        try:
            for follower in self._followers:
                prepared = follower.prepare(config)
                made.append((follower, prepared))
        except MmgrError:
            self.abandon(made)
            raise
        return made

    def abandon(self, prepared: Prepared) -> None:
        """Let go of what all of them made."""
        for follower, its in prepared or ():
            follower.abandon(its)

    def commit(self, prepared: Prepared) -> None:
        """Carry out what all of them made."""
        for follower, its in prepared or ():
            follower.commit(its)
