"""How a scriptable milter behaves: what it negotiates, and what it does in answer to each command. PURE.

A ``Behaviour`` is a table of actions by command, and, where a table is not enough, a responder that is made anew for
each session. ``milter`` carries the actions out. Actions are replies in any order, sensible or not, and misdeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable, Optional, Union

from mmgr.peers.stages import COMMAND_OF_STAGE
from mmgr.protocol.commands import CommandMessage
from mmgr.protocol.constants import ActionFlag, MacroStage
from mmgr.protocol.options import ALL_ACTIONS, OptionNegotiation
from mmgr.protocol.replies import ReplyMessage


@dataclass(frozen=True)
class Raw:
    """Send these bytes as they are: garbage, or half a packet."""

    data: bytes


@dataclass(frozen=True)
class Delay:
    """Wait that long before the next action; cut short when the milter stops."""

    delay_s: float


@dataclass(frozen=True)
class Hang:
    """Do nothing more until the MTA goes or the milter stops."""


@dataclass(frozen=True)
class Close:
    """Close the connection at once."""


Action = Union[ReplyMessage, Raw, Delay, Hang, Close]
Actions = Union[Action, Sequence[Action]]

Responder = Callable[[CommandMessage, Mapping[bytes, bytes]], Optional[Sequence[Action]]]
"""(command, all macros known by now, by bare name) -> what to do; None leaves it to the table, () does nothing."""


@dataclass(frozen=True)
class Behaviour:
    """What a scriptable milter does; without arguments it wants everything and continues.

    version, actions, steps, macro_lists: what it asks for; restricted to what the MTA offers unless is_blunt.
    at: actions by command (``Command.SMFIC_OPTNEG`` included, where they replace the answer to the offer). Where the
    table says nothing, the answer is continue, or none if none is due. responder makes the responder of a new session.
    """

    version: int = 6
    actions: int = ALL_ACTIONS
    steps: int = 0
    macro_lists: Mapping[MacroStage, tuple[bytes, ...]] = field(default_factory=dict)
    is_blunt: bool = False
    at: Mapping[int, Sequence[Action]] = field(default_factory=dict)
    responder: Callable[[], Responder] | None = None

    def answer_to(self, offered: OptionNegotiation) -> OptionNegotiation:
        """The answer to an MTA's offer; macro lists only if the MTA takes them."""
        if self.is_blunt:
            return OptionNegotiation(self.version, self.actions, self.steps, self.macro_lists)
        actions = self.actions & offered.actions
        lists = self.macro_lists if actions & ActionFlag.SMFIF_SETSYMLIST else {}
        return OptionNegotiation(min(self.version, offered.version), actions, self.steps & offered.steps, lists)


def at_stages(**stages: Actions) -> dict[int, tuple[Action, ...]]:
    """A table for ``Behaviour.at`` by stage name: one action or several; ``_`` stands for ``-``.

    >>> at_stages(rcpt=Hang(), end_of_message=[Delay(1.0), Close()])[ord("R")]
    (Hang(),)
    """
    return {
        COMMAND_OF_STAGE[name.replace("_", "-")]: tuple(actions) if isinstance(actions, Sequence) else (actions,)
        for name, actions in stages.items()
    }
