"""Stress Notify: the milter always takes part, and is told when the pool is short of workers. PURE.

milter-greylist 4.3.4 and later can ask for it in an access list: ``sm_macro "no_stress" "{stress}" unset``.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmgr.conditions.base import NO_MACROS, Condition, Stage
from mmgr.conditions.facts import Facts

STRESSED: Mapping[bytes, bytes] = {b"{stress}": b"yes"}


class StressNotify(Condition):
    """Gives the macro {stress}, "yes", to sessions that begin under stress; in others it is not set."""

    name = "Stress Notify"
    description = "always; under stress the macro {stress} is yes"
    macro_stages = frozenset((Stage.CONNECT,))

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Never stopped."""
        return ""

    def macros(self, stage: Stage, facts: Facts) -> Mapping[bytes, bytes]:
        """{stress} at CONNECT, while it lasts."""
        return STRESSED if stage is Stage.CONNECT and facts.is_stressed else NO_MACROS
