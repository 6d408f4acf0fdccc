"""The plan of the short way: which child is told what, worked out once for an offer of the MTA. PURE.

Not every set of children has one: the short way is for children that negotiated before, that are connected for every
session anyway, and that may be told at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class PlannedChild:
    """expected is the answer to the offer as it was given before; drops says whether it gets no space after a colon."""

    settings: ChildSettings
    endpoint: Endpoint
    options: OptionNegotiation
    expected: bytes
    drops: bool


@dataclass(frozen=True)
class Plan:
    """routes has, by command, whether each child wants it and whether it replies; wanted_by_all are the commands for
    which all do both, left_out those that the MTA was told to leave out while it sends their macros."""

    offer: OptionNegotiation
    offer_frame: bytes
    answer: OptionNegotiation
    answer_frame: bytes
    children: tuple[PlannedChild, ...]
    routes: Mapping[int, tuple[tuple[bool, bool], ...]]
    wanted_by_all: frozenset[int]
    left_out: frozenset[int]


def make_plan(
    config: Config, offer: OptionNegotiation, answer: OptionNegotiation, options: Sequence[OptionNegotiation]
) -> Plan | None:
    """The plan for an MTA that offers and was answered this, and children that negotiated options; None for none."""
    children = config.enabled_children
    is_at_once = config.manager.envelope_dispatch is EnvelopeDispatch.PARALLEL
    if not children or not is_at_once or not all(map(_is_plain, children)):
        return None
    if not all(each.routes[_CONNECT] for each in options) or not set(map(int, COLLECTED)) <= answer.silent:
        return None
    routes = {
        command: tuple((each.routes[command] != DECLINED, each.routes[command] == ANSWERED) for each in options)
        for command in ENVELOPE
        if answer.routes[command] == ANSWERED
    }
    by_all = frozenset(command for command, each in routes.items() if all(map(all, each)))
    left_out = frozenset(command for command in ENVELOPE if answer.routes[command] == DECLINED)
    if not {_CONNECT, _MAIL, _RCPT} <= routes.keys():
        return None
    planned = tuple(
        PlannedChild(settings, settings.connection_spec[0], each, encode_reply(each), drops_spaces(answer, each))
        for settings, each in zip(children, options)
    )
    offered = encode_command(offer_to_children(offer))
    return Plan(offer, offered, answer, encode_command(answer), planned, routes, by_all, left_out)


def _is_plain(child: ChildSettings) -> bool:
    is_simple = child.pipelining and not (child.scan_group or child.evaluation_mode or child.applicable_conditions)
    return is_simple and len(child.connection_spec) == 1 and child.connection_spec[0].kind == "unix"
