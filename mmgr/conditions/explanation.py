"""Which conditions let a milter take part in a session that people describe, and which keep it out, and why. PURE.

``milter-managerctl explain`` prints what ``explain`` gives. Stages are gone through as in a session: what stops a
milter at one is the answer, and later ones are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts


@dataclass(frozen=True)
class Reason:
    """What one condition says: at which stage, about which recipient (b"" for none in particular), in words."""

    condition: str
    stage: Stage
    text: str
    recipient: bytes = b""


@dataclass(frozen=True)
class Explanation:
    """stopped is why the milter is left out, None if it is used.

    passed is what the conditions that apply have to say, withheld why it is not told of some of the recipients,
    undecided the conditions that need the message, if there is none. macros are what the milter is sent besides the
    MTA's own.
    """

    stopped: Reason | None = None
    passed: tuple[Reason, ...] = ()
    withheld: tuple[Reason, ...] = ()
    undecided: tuple[str, ...] = ()
    macros: tuple[tuple[bytes, bytes], ...] = ()


def explain(
    conditions: Sequence[Condition], facts: Facts, recipients: Sequence[bytes], has_message: bool
) -> Explanation:
    """What becomes of a milter with these conditions. facts describe the whole session, but for its recipients."""
    macros: dict[bytes, bytes] = {}
    withheld: list[Reason] = []
    for stage in Stage:
        if stage is Stage.CONTENT and not has_message:
            break
        for condition in conditions:
            if stage in condition.macro_stages:
                macros.update(condition.macros(stage, facts))
        if stage is Stage.RCPT:
            withheld = _withheld(conditions, facts, recipients)
            if recipients and len({reason.recipient for reason in withheld}) == len(set(recipients)):
                return Explanation(withheld[0], withheld=tuple(withheld))
            facts.recipients = recipients
            facts.recipient = b""
            continue
        stopped = _stopped(conditions, stage, facts)
        if stopped is not None:
            return Explanation(stopped)
    undecided = () if has_message else tuple(one.name for one in conditions if Stage.CONTENT in one.stages)
    passed = tuple(_passed(one, facts) for one in conditions if one.name not in undecided)
    return Explanation(None, passed, tuple(withheld), undecided, tuple(macros.items()))


def _stopped(conditions: Sequence[Condition], stage: Stage, facts: Facts) -> Reason | None:
    for condition in conditions:
        text = condition.judge(stage, facts) if stage in condition.stages else ""
        if text:
            return Reason(condition.name, stage, text)
    return None


def _withheld(conditions: Sequence[Condition], facts: Facts, recipients: Sequence[bytes]) -> list[Reason]:
    found = []
    for recipient in recipients:
        facts.recipient = recipient
        stopped = _stopped(conditions, Stage.RCPT, facts)
        if stopped is not None:
            found.append(Reason(stopped.condition, Stage.RCPT, stopped.text, recipient))
    return found


def _passed(condition: Condition, facts: Facts) -> Reason:
    text = condition.explain(facts) or condition.description
    stage = max(condition.stages, default=Stage.CONNECT)
    return Reason(condition.name, stage, text)
