"""What comes of a reload, for those who asked for it and those who tell of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ReloadResult:
    """What came of a reload: the generation that is in force now, and what was wrong with the new one."""

    is_done: bool
    generation: int
    errors: tuple[str, ...] = ()


OnResult = Callable[[ReloadResult], None]
