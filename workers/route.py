"""The plan of the short way: which child is told what, worked out once for an offer of the MTA. PURE.

Not every set of children has one: the short way is for children that negotiated before, that are connected for every
session anyway, and that may be told at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmgr.conditions.base import Condition, Stage
from mmgr.config.model import ChildSettings, Config, EnvelopeDispatch
from mmgr.endpoint import Endpoint
from mmgr.protocol.commands import encode_command
from mmgr.protocol.constants import Command
from mmgr.protocol.options import ANSWERED, DECLINED, OptionNegotiation
from mmgr.protocol.replies import encode_reply
from workers.content import drops_spaces
from workers.negotiation import COLLECTED, offer_to_children

ENVELOPE = tuple(
    map(
        int,
        (Command.SMFIC_CONNECT, Command.SMFIC_HELO, Command.SMFIC_MAIL, Command.SMFIC_RCPT, Command.SMFIC_DATA),
    )
)
_CONNECT, _MAIL, _RCPT = int(Command.SMFIC_CONNECT), int(Command.SMFIC_MAIL), int(Command.SMFIC_RCPT)


SUBSETS_MAX = 64
_SELECTABLE = frozenset((Stage.CONNECT, Stage.MAIL))
"""Where conditions may have a say on the short way; what stops a child at MAIL ends it."""


@dataclass(frozen=True)
class PlannedChild:
    """options are None as long as nobody has negotiated with it. conditions are those that it depends on.

    expected is the answer to the offer as it was given before; drops says whether it gets no space after a colon.
    """

    settings: ChildSettings
    endpoint: Endpoint
    options: OptionNegotiation
    expected: bytes
    drops: bool
    conditions: tuple[Condition, ...] = ()
    is_known: bool = True


@dataclass(frozen=True)
class Plan:
    """routes has, by command, whether each child wants it and whether it replies; wanted_by_all are the commands for
    which all do both, left_out those that the MTA was told to leave out while it sends their macros.

    One that is_conditional is for no child yet: ``among`` gives the plan for those that take part in a session.
    """

    offer: OptionNegotiation
    offer_frame: bytes
    answer: OptionNegotiation
    answer_frame: bytes
    children: tuple[PlannedChild, ...]
    routes: Mapping[int, tuple[tuple[bool, bool], ...]]
    wanted_by_all: frozenset[int]
    left_out: frozenset[int]
    is_conditional: bool = False
    _subsets: dict[tuple[int, ...], Plan | None] = field(default_factory=dict, compare=False, repr=False)

    def among(self, chosen: tuple[int, ...]) -> Plan | None:
        """The plan for these children, by their places; None if they have to go the long way."""
        if chosen not in self._subsets:
            if len(self._subsets) >= SUBSETS_MAX:
                self._subsets.clear()
            self._subsets[chosen] = _plan_of(self, tuple(self.children[at] for at in chosen))
        return self._subsets[chosen]


def make_plan(
    config: Config, offer: OptionNegotiation, answer: OptionNegotiation, options: Sequence[OptionNegotiation | None]
) -> Plan | None:
    """The plan for an MTA that offers and was answered this, and children that negotiated options; None for none."""
    children = config.enabled_children
    is_at_once = config.manager.envelope_dispatch is EnvelopeDispatch.PARALLEL
    if not children or not is_at_once or not all(map(_is_plain, children)):
        return None
    if not set(map(int, COLLECTED)) <= answer.silent:
        return None
    planned = tuple(_planned(config, settings, answer, each) for settings, each in zip(children, options))
    conditions = [condition for child in planned for condition in child.conditions]
    if not all({*condition.stages, *condition.macro_stages} <= _SELECTABLE for condition in conditions):
        return None
    left_out = frozenset(command for command in ENVELOPE if answer.routes[command] == DECLINED)
    offered, answered = encode_command(offer_to_children(offer)), encode_command(answer)
    whole = Plan(offer, offered, answer, answered, planned, {}, frozenset(), left_out, is_conditional=True)
    return whole if conditions else _plan_of(whole, planned)


def _plan_of(whole: Plan, children: tuple[PlannedChild, ...]) -> Plan | None:
    """The plan for some of the children; None if nobody knows what one wants, or if one has no use for connects."""
    if not children or not all(child.is_known and child.options.routes[_CONNECT] for child in children):
        return None
    routes = {
        command: tuple(
            (child.options.routes[command] != DECLINED, child.options.routes[command] == ANSWERED) for child in children
        )
        for command in ENVELOPE
        if whole.answer.routes[command] == ANSWERED
    }
    if not {_CONNECT, _MAIL, _RCPT} <= routes.keys():
        return None
    is_alike = not any(Stage.MAIL in one.macro_stages for child in children for one in child.conditions)
    by_all = frozenset(
        command for command, each in routes.items() if all(map(all, each)) and (is_alike or command != _MAIL)
    )
    return replace(whole, children=children, routes=routes, wanted_by_all=by_all, is_conditional=False, _subsets={})


def _planned(
    config: Config, settings: ChildSettings, answer: OptionNegotiation, options: OptionNegotiation | None
) -> PlannedChild:
    conditions = tuple(config.compiled[name] for name in settings.applicable_conditions)
    known = options or answer
    drops = drops_spaces(answer, known)
    endpoint = settings.connection_spec[0]
    return PlannedChild(settings, endpoint, known, encode_reply(known), drops, conditions, options is not None)


def _is_plain(child: ChildSettings) -> bool:
    is_simple = child.pipelining and not child.scan_group and not child.evaluation_mode
    return is_simple and len(child.connection_spec) == 1 and child.connection_spec[0].kind == "unix"
