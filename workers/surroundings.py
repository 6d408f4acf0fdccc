"""What a child is given of its session, and what it gives back of a message. PURE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mmgr.breaker import Panel
from mmgr.conditions.base import Condition
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Edit, Verdict
from mmgr.tally import CHILDREN_MAX
from workers.message import Body
from workers.notes import Notes
from workers.plan import Step
from workers.route import Plan
from workers.school import School
from workers.senses import SENSELESS, Senses
from workers.witness import Witness


class Outcome(NamedTuple):
    """What a child made of a whole message: verdict, edits in the order made, and a new body (None: the old one)."""

    verdict: Verdict
    edits: Sequence[Edit] = ()
    new_body: Body | None = None


OFFERS_MAX = 64
"""An MTA always offers the same; whoever invents new offers all the time is not to fill the memory."""


class Memory:
    """What a worker remembers of its children: options by name and offer, and who decides on headers alone (hasty).

    plans has the short way by the MTA's first packet; None where there is none. panel is what all workers remember of
    those that fail in session after session. senses is what conditions ask for. notes are to be counted.
    school has what other workers know.
    """

    def __init__(
        self,
        panel: Panel | None = None,
        senses: Senses = SENSELESS,
        notes: Notes | None = None,
        school: School | None = None,
    ) -> None:
        self.school = school or School()
        self.notes = Notes() if notes is None else notes
        self.panel = panel or Panel()
        self.senses = senses
        self.plans: dict[bytes, Plan | None] = {}
        self.options: dict[tuple[str, OptionNegotiation], OptionNegotiation] = {}
        self.hasty: set[str] = set()

    def plan_for(self, packet: bytes) -> Plan | None:
        """The short way for an MTA that begins like this, unless a child failed and has not worked since."""
        if not self.panel.is_calm():
            return None
        return self.plans[packet] if packet in self.plans else self._learn(packet)

    def study(self) -> None:
        """Know what other workers have found out by now, and nothing else."""
        self.plans.clear()
        self.options.clear()
        for packet in self.school.packets():
            self._learn(packet)

    def _learn(self, packet: bytes) -> Plan | None:
        """The short way that another worker found, unless we know better."""
        lesson = self.school.learn(packet)
        if lesson is None or any(self.options.get(key, options) != options for key, options in lesson.options.items()):
            return None
        self.options.update(lesson.options)
        self.keep_plan(packet, lesson.plan)
        return lesson.plan

    def keep_plan(self, packet: bytes, plan: Plan | None) -> None:
        """The short way for an MTA that begins like this, from now on."""
        if len(self.plans) >= OFFERS_MAX:
            self.plans.clear()
        self.plans[packet] = plan

    def keep_options(self, name: str, offer: OptionNegotiation, options: OptionNegotiation) -> None:
        """What a child answered to an offer; all plans have to be made anew."""
        if len(self.options) >= OFFERS_MAX * CHILDREN_MAX:
            self.options.clear()
        self.options[name, offer] = options
        self.plans.clear()


class Surroundings(NamedTuple):
    """What a child needs of its session.

    offer is what children are offered here. memory is what earlier sessions learnt of the children. history gives the
    steps so far, which a child that is connected late is told. patience is called while one is waited for, tell_wait
    with the name of the one that is waited for. make_body makes room for a replaced body. told is what the MTA was told
    in the negotiation, of version 0 before it. limit is when the MTA has to have its answer, None if it can be asked
    for patience. witness knows what conditions ask about, None where no child has any; conditions are all by name.
    """

    session_id: str
    offer: OptionNegotiation
    memory: Memory
    history: Callable[[], Sequence[Step]]
    macros: Callable[[int], bytes | None]
    patience: Callable[[], None]
    tell_wait: Callable[[str], None]
    make_body: Callable[[], Body]
    limit: Callable[[], float | None]
    told: Callable[[], OptionNegotiation]
    witness: Witness | None = None
    conditions: Mapping[str, Condition] = {}
