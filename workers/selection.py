"""Who takes part in a session that goes the short way, as far as conditions say. See ``workers.express``.

Conditions may stop a child at connect, and add macros. What stops one later makes the session go the long way.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmgr.conditions.base import Stage
from mmgr.protocol.constants import STAGE_NAMES, Command
from workers.gate import Gate, Stop
from workers.macrostore import MacroStore
from workers.plan import Step
from workers.route import Plan
from workers.senses import Senses
from workers.sessionlog import stopped_name
from workers.witness import Witness

_CONNECT, _MAIL = int(Command.SMFIC_CONNECT), int(Command.SMFIC_MAIL)
Answer = tuple[str, str, str, float]
_CONNECT_NAME = STAGE_NAMES[Command.SMFIC_CONNECT]


class Selection:
    """chosen are the places of the children that take part, stops has why each other one does not, by its place."""

    def __init__(self, whole: Plan, macros: MacroStore, senses: Senses) -> None:
        self.witness = Witness(macros, senses)
        self.chosen: tuple[int, ...] = ()
        self.stops: dict[int, Stop] = {}
        self._whole = whole
        facts = self.witness.facts
        self._gates = [Gate(child.conditions, facts) if child.conditions else None for child in whole.children]

    def choose(self, connect: bytes) -> Plan | None:
        """The plan for those that the client of this packet meets; None if the long way has to be gone."""
        self.witness.see(_CONNECT, connect)
        chosen = []
        for at, gate in enumerate(self._gates):
            stop = gate.stop(Stage.CONNECT) if gate is not None else None
            if stop is None:
                chosen.append(at)
            else:
                self.stops[at] = stop
        plan = self._whole.among(tuple(chosen))
        if plan is not None:
            self.chosen = tuple(chosen)
        return plan

    def lets_all_have(self, step: Step) -> bool:
        """Does no condition keep a chosen child from this step? Only MAIL is asked about."""
        witness = self.witness
        if step.command == _MAIL:
            witness.begin_message()
        witness.see(step.command, step.frame)
        if step.command != _MAIL:
            return True
        gates = (self._gates[at] for at in self.chosen)
        return all(gate is None or gate.stop(Stage.MAIL) is None for gate in gates)

    def adapted(self, at: int, step: Step) -> Step:
        """The step as the at-th of the chosen children is told it."""
        gate = self._gates[self.chosen[at]]
        return step if gate is None else gate.adapted(step)

    def summary(self, chosen: Iterable[str]) -> str:
        """What each child said, in the order of the configuration; chosen has it for those that took part."""
        said = iter(chosen)
        children = enumerate(self._whole.children)
        return ",".join(
            f"{child.settings.name}:{stopped_name(self.stops[at])}:0.0000" if at in self.stops else next(said)
            for at, child in children
        )

    def answers(self, chosen: Iterable[Answer]) -> list[Answer]:
        """``summary`` for the counters."""
        said = iter(chosen)
        children = enumerate(self._whole.children)
        return [
            (child.settings.name, _CONNECT_NAME, "stopped", 0.0) if at in self.stops else next(said)
            for at, child in children
        ]
