"""Verdicts: which reply decides a stage, what a reply counts as at which stage, what a failed child counts as. PURE.

One rule: the result is the one that the MTA would have got from the same children listed in the same order. So the
first child in configured order whose reply is not continue decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmgr.config.model import ChildSettings, FallbackStatus
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import (
    Accept,
    Continue,
    Discard,
    Reject,
    ReplyCode,
    Shutdown,
    Skip,
    TempFail,
    Verdict,
    malformed,
)

CONTINUE = Continue()
ACCEPT = Accept()

SESSION_STAGES = frozenset((Command.SMFIC_CONNECT, Command.SMFIC_HELO))
"""Stages whose verdict is final for the whole SMTP connection."""

CONTENT_STAGES = frozenset((Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY, Command.SMFIC_BODYEOB))
"""Stages between DATA and the last reply for a message."""

_FALLBACKS: Mapping[FallbackStatus, Verdict] = {
    FallbackStatus.ACCEPT: CONTINUE,
    FallbackStatus.REJECT: Reject(),
    FallbackStatus.TEMPORARY_FAILURE: TempFail(),
    FallbackStatus.DISCARD: Discard(),
}

_NAMES: Mapping[type, str] = {
    Continue: "continue",
    Accept: "accept",
    Reject: "reject",
    TempFail: "temporary-failure",
    Discard: "discard",
    Skip: "skip",
    Shutdown: "shutdown",
}


def is_deciding(verdict: Verdict) -> bool:
    """Does this reply end the stage for all children, not just for the one that gave it?"""
    return not isinstance(verdict, (Continue, Accept, Skip))


def verdict_name(verdict: Verdict) -> str:
    """The word for logs and titles: continue, accept, reject, temporary-failure, discard, skip, shutdown."""
    if isinstance(verdict, ReplyCode):
        return "reject" if verdict.is_permanent else "temporary-failure"
    return _NAMES[type(verdict)]


def fallback(status: FallbackStatus, command: int) -> Verdict:
    """What a failed child counts as at a stage: its fallback, but never before MAIL.

    An answer to connect or helo is final for the SMTP connection, and one to an unknown command decides nothing.
    """
    if command in SESSION_STAGES or command == Command.SMFIC_UNKNOWN:
        return CONTINUE
    return _FALLBACKS[status]


def joint_fallback(children: Iterable[ChildSettings], otherwise: FallbackStatus) -> FallbackStatus:
    """What counts where none of the children can be asked: the first fallback that refuses, else the other one."""
    refusing = (
        child.fallback_status
        for child in children
        if child.fallback_status is not FallbackStatus.ACCEPT and not child.evaluation_mode
    )
    return next(refusing, otherwise)


def as_counted(verdict: Verdict, command: int) -> tuple[Verdict, str]:
    """A child's reply as it counts at a stage, and what was wrong with it (empty if nothing).

    Discard means nothing before MAIL, and skip nothing outside headers and body: both MTAs go on then. A reply code
    that some MTA would choke on becomes the plain verdict of its class: better to lose its text than its meaning.
    """
    if isinstance(verdict, Discard) and (command in SESSION_STAGES or command == Command.SMFIC_UNKNOWN):
        return CONTINUE, "discard means nothing at this stage"
    if isinstance(verdict, Skip) and command not in CONTENT_STAGES:
        return CONTINUE, "skip means nothing at this stage"
    if isinstance(verdict, ReplyCode):
        fault = malformed(verdict)
        if fault:
            return (Reject() if verdict.is_permanent else TempFail()), f"unusable reply text: {fault}"
    return verdict, ""
