"""What conditions want to know that is not part of the session: the state of the pool, the DNS, the time of day."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Callable, NamedTuple

from mmgr.conditions.facts import LocalTime


def _never() -> bool:
    return False


def _no_answer(name: str) -> Sequence[str]:
    return ()


def _has_answer(name: str) -> bool:
    return False


def local_time() -> LocalTime:
    """The machine's local time."""
    now = time.localtime()
    return LocalTime(now.tm_year, now.tm_mon, now.tm_mday, now.tm_hour, now.tm_min, now.tm_wday)


class Senses(NamedTuple):
    """See ``mmgr.conditions.facts.Facts``, which has the same names."""

    is_stressed: Callable[[], bool] = _never
    look_up: Callable[[str], Sequence[str]] = _no_answer
    clock: Callable[[], LocalTime] = local_time
    is_unanswered: Callable[[str], bool] = _has_answer


SENSELESS = Senses()
"""No pool is short of workers, and the DNS has no answers."""
