"""How many workers were started, and what for. The numbers only grow; they are for people.

What the pool wants does not say whom a new worker stands in for: a death or a hang comes first, and the start that
makes up for it later. Called by ``mmgr.master.crew``.
"""

from __future__ import annotations

from collections import Counter

from mmgr.master.slots import Start

_EXPECTED = (Start.HANG, Start.DEATH)


class Births:
    """counted has a number for each ``Start``."""

    def __init__(self) -> None:
        self.counted: Counter[Start] = Counter(dict.fromkeys(Start, 0))
        self._expected: Counter[Start] = Counter()
        self._is_fresh = False

    def expect(self, start: Start) -> None:
        """A worker is gone, or as good as gone, for this reason; somebody is going to be started for it."""
        self._expected[start] += 1
        self._is_fresh = True

    def look(self, is_calm: bool) -> None:
        """Once a round, ahead of its starts. If it is calm and a round has passed, nobody was needed after all."""
        if is_calm and not self._is_fresh:
            self._expected.clear()
        self._is_fresh = False

    def count(self, start: Start, generation: int) -> None:
        """A worker of this generation was started, by the pool's reckoning for this reason."""
        made_up = next((one for one in _EXPECTED if self._expected[one] > 0), None)
        if start is not Start.RESERVE and made_up is not None:
            self._expected[made_up] -= 1
            start = made_up
        elif start is Start.RELOAD and generation == 1:
            start = Start.START
        self.counted[start] += 1
