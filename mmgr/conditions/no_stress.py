"""No Stress: the milter is left out while the pool is short of workers. PURE.

Whether it is short is the master's to say, from the busy workers of the whole pool; see ``Facts.is_stressed``.
"""

from __future__ import annotations

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts


class NoStress(Condition):
    """Lets a milter take part in sessions that began while there were workers enough."""

    name = "No Stress"
    description = "there are workers enough"
    stages = frozenset((Stage.CONNECT,))

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the session if it began under stress."""
        return "too many workers are busy (stress_threshold)" if facts.is_stressed else ""
