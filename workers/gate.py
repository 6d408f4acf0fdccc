"""What the conditions of one milter make of one session: whether it takes part, and what macros it is sent besides."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.log import RateLimit, quoted
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import PAYLOAD, encode_frame
from mmgr.protocol.macros import DEFAULT_MACROS, STAGE_OF_COMMAND, braced, encode_macros
from mmgr.protocol.options import ALL_ACTIONS, NO_STEP, OptionNegotiation
from workers.negotiation import ONLY_WITH_THE_MTA
from workers.plan import Step

log = logging.getLogger(__name__)

_warnings = RateLimit()

COMMANDS: Mapping[Stage, int] = {
    Stage.CONNECT: int(Command.SMFIC_CONNECT),
    Stage.HELO: int(Command.SMFIC_HELO),
    Stage.MAIL: int(Command.SMFIC_MAIL),
    Stage.RCPT: int(Command.SMFIC_RCPT),
    Stage.DATA: int(Command.SMFIC_DATA),
}
STAGES: Mapping[int, Stage] = {command: stage for stage, command in COMMANDS.items()}

WANTS_ALL = OptionNegotiation(6, ALL_ACTIONS, ONLY_WITH_THE_MTA)
"""A milter that nobody knows yet, and that is connected only once its conditions let it take part."""

_CONTENT = (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY)
_NO_STEPS = int(sum(NO_STEP.values()))


class Stop(NamedTuple):
    """Which condition stopped a milter, and why."""

    condition: str
    reason: str


NO_RECIPIENT = "none of the recipients is for it"


class Gate:
    """The conditions of one milter in one session.

    commands are those at which ``stop`` or ``adapted`` may say anything.
    """

    def __init__(self, conditions: Sequence[Condition], facts: Facts) -> None:
        self._conditions = conditions
        self._facts = facts
        stages = {stage for one in conditions for stage in (*one.stages, *one.macro_stages)}
        self._last = max((stage for one in conditions for stage in one.stages), default=Stage.CONNECT)
        macro_stages = {stage for one in conditions for stage in one.macro_stages}
        self._has_macros = frozenset(COMMANDS[stage] for stage in macro_stages if stage is not Stage.CONTENT)
        is_of_recipients = Stage.RCPT in stages  # without one that is for it, it is not told of DATA either
        asked = stages | {Stage.DATA} if is_of_recipients else stages
        self.commands = frozenset(COMMANDS[stage] for stage in asked if stage is not Stage.CONTENT)
        self.is_about_content = Stage.CONTENT in stages

    def stop(self, stage: Stage) -> Stop | None:
        """The first condition that keeps the milter out at this stage; None if it takes part."""
        for condition in self._conditions:
            if stage in condition.stages:
                try:
                    reason = condition.judge(stage, self._facts)
                except Exception as error:  # noqa: BLE001  a fault of a condition must not leave mail unfiltered
                    _report(condition, stage, error)
                    continue
                if reason:
                    return Stop(condition.name, reason)
        return None

    def is_open_after(self, command: int) -> bool:
        """May a condition still stop the milter once this command is decided?"""
        stage = STAGES.get(command)
        return stage is not None and stage < self._last

    def adapted(self, step: Step) -> Step:
        """The step with the macros that the conditions add; the MTA's own values win."""
        if step.command not in self._has_macros:
            return step
        had = step.macros[PAYLOAD + 1 :].split(b"\0")[:-1] if step.macros else []
        pairs = dict(zip(had[::2], had[1::2]))
        size = len(pairs)
        for name, value in self._added(STAGES[step.command]):
            if b"\0" not in name + value:
                pairs.setdefault(braced(name), value)
        if len(pairs) == size:
            return step
        macros = encode_frame(Command.SMFIC_MACRO, encode_macros(step.command, pairs.items()))
        return Step(step.command, step.frame, macros, step.is_left_out)

    def _added(self, stage: Stage) -> Iterable[tuple[bytes, bytes]]:
        for condition in self._conditions:
            if stage in condition.macro_stages:
                try:
                    yield from condition.macros(stage, self._facts).items()
                except Exception as error:  # noqa: BLE001  the milter does without
                    _report(condition, stage, error)


def needs_of(conditions: Iterable[Condition], wanted: Sequence[OptionNegotiation]) -> list[OptionNegotiation]:
    """What the MTA has to send so that the conditions can judge, as if they were one more milter; [] if nothing.

    Macros are asked for only where milters ask for lists, and beside the MTA's defaults: without lists the MTA sends
    what its administrator configured.
    """
    used = list(conditions)
    stages = {stage for one in used for stage in (*one.stages, *one.macro_stages)}
    if not stages:
        return []
    commands = [COMMANDS[stage] for stage in stages if stage is not Stage.CONTENT]
    commands += _CONTENT if Stage.CONTENT in stages else ()
    steps = _NO_STEPS & ~sum(int(NO_STEP[command]) for command in commands)
    listed = {stage for one in wanted for stage in one.macro_lists}
    lists = {}
    for stage, command in COMMANDS.items():
        reads = tuple(name for one in used for name in one.reads.get(stage, ()))
        asked = STAGE_OF_COMMAND[command]
        if reads and asked in listed:
            lists[asked] = (*DEFAULT_MACROS[asked], *reads)
    return [OptionNegotiation(6, 0, steps, lists)]


def _report(condition: Condition, stage: Stage, error: Exception) -> None:
    repeated = _warnings.allows((condition.name, stage, type(error)))
    if repeated is not None:
        log.error(
            "condition-failed condition=%s stage=%s error=%s%s",
            quoted(condition.name),
            stage.name.lower(),
            quoted(f"{type(error).__name__}: {error}"),
            repeated,
        )
