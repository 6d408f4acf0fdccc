"""What an MTA lets a milter say: the offer, the check of its answer, and the replies allowed at each stage. PURE.

As strict as Postfix, and where Postfix is lenient but Sendmail or libmilter is not, a note among the violations. Called
by ``mta``. Source: Postfix src/milter/milter8.c (``milter8_event``, ``milter8_connect``), sendmail/milter.c.
"""

from __future__ import annotations

from typing import cast

from mmgr.peers.stages import stage_name
from mmgr.protocol.constants import SMFI_VERSION_MAX, ActionFlag, Command, ProtocolFlag, flag_names
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import shown
from mmgr.protocol.options import ACTIONS_OF_VERSION, ALL_ACTIONS, ALL_STEPS, STEPS_OF_VERSION, OptionNegotiation
from mmgr.protocol.replies import (
    NEEDED_ACTION,
    Accept,
    ChgHeader,
    Continue,
    Discard,
    Edit,
    InsHeader,
    Progress,
    Reject,
    ReplBody,
    ReplyCode,
    ReplyMessage,
    Shutdown,
    Skip,
    TempFail,
    Verdict,
    malformed,
)

VERDICTS = (Continue, Accept, Reject, TempFail, Discard, ReplyCode, Skip, Shutdown)
EDITS = tuple(NEEDED_ACTION)

HEADER_INDEX_MAX = 2**31 - 2
"""Postfix takes a larger header index for a configuration error (milter8.c, ``milter8_edit_resp``)."""


def offer(version: int = SMFI_VERSION_MAX, actions: int = ALL_ACTIONS, steps: int = ALL_STEPS) -> OptionNegotiation:
    """What an MTA of that version offers: actions and steps without those that the version does not know yet."""
    known = min(max(version, min(ACTIONS_OF_VERSION)), SMFI_VERSION_MAX)
    return OptionNegotiation(version, actions & ACTIONS_OF_VERSION[known], steps & STEPS_OF_VERSION[known])


def check_answer(offered: OptionNegotiation, answer: OptionNegotiation) -> list[str]:
    """What Postfix tolerates in a milter's answer and Sendmail refuses; raises RemoteProtocolError for the rest.

    Source: Postfix milter8_connect (version and actions checked, steps not), sendmail milter_negotiate (all of them).
    """
    if answer.version > offered.version:
        raise RemoteProtocolError(f"it answers version {answer.version}, offered was {offered.version}")
    if answer.actions & ~offered.actions:
        extra = flag_names(ActionFlag, answer.actions & ~offered.actions)
        raise RemoteProtocolError(f"it asks for actions that were not offered: {extra}")
    if answer.steps & ~offered.steps:
        extra = flag_names(ProtocolFlag, answer.steps & ~offered.steps)
        return [f"negotiate: it asks for steps that were not offered: {extra}"]
    return []


class Listening:
    """What came so far in answer to one command. ``take`` each reply until it returns the verdict.

    edits are in the order made, violations what only some MTA would take amiss.
    """

    def __init__(self, command: int, options: OptionNegotiation) -> None:
        self.edits: list[Edit] = []
        self.violations: list[str] = []
        self._stage = stage_name(command)
        self._is_end = command == Command.SMFIC_BODYEOB
        self._options = options
        self._has_body = False
        self._has_whole_body = False

    def take(self, reply: ReplyMessage) -> Verdict | None:
        """The verdict, or None while more has to come. Raises RemoteProtocolError for what Postfix would not take."""
        if isinstance(reply, VERDICTS):
            return self._checked_verdict(reply)
        self._check_contiguous(reply)
        if isinstance(reply, Progress):
            return None
        if not isinstance(reply, EDITS):
            raise self._wrong(reply, "is no reply to this command")
        if not self._is_end:
            raise self._wrong(reply, "before the end of the message")
        self._take_edit(cast(Edit, reply))
        return None

    def _checked_verdict(self, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Skip) and self._is_end:
            raise self._wrong(verdict, "where nothing is left to skip")
        if isinstance(verdict, Skip) and not self._options.steps & ProtocolFlag.SMFIP_SKIP:
            self.violations.append(f"{self._stage}: skip without having asked for SMFIP_SKIP")
        problem = malformed(verdict) if isinstance(verdict, ReplyCode) else None
        if problem:
            raise self._wrong(verdict, f"is malformed: {problem}")
        return verdict

    def _check_contiguous(self, reply: ReplyMessage) -> None:
        """Postfix takes no ``b`` after a packet, even PROGRESS, that interrupted a series of them."""
        is_body = isinstance(reply, ReplBody)
        if is_body and self._has_whole_body:
            raise self._wrong(reply, "a body replacement can't be mixed with other replies")
        self._has_whole_body = self._has_body and not is_body
        self._has_body = self._has_body or is_body

    def _take_edit(self, edit: Edit) -> None:
        needed = NEEDED_ACTION[type(edit)]
        if not self._options.actions & needed:
            self.violations.append(f"{self._stage}: {described(edit)} without having asked for {needed.name}")
        if isinstance(edit, (InsHeader, ChgHeader)) and (not edit.name or edit.index > HEADER_INDEX_MAX):
            raise self._wrong(edit, "has no header name or a bad index")
        self.edits.append(edit)

    def _wrong(self, reply: ReplyMessage, why: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"{self._stage}: {described(reply)}: {why}")


def described(reply: ReplyMessage) -> str:
    """A reply for a human: its name and, cut and escaped, what it holds."""
    fields = [value for value in vars(reply).values() if value is not None]
    texts = [shown(value) if isinstance(value, bytes) else str(value) for value in fields]
    return f"{type(reply).__name__}({', '.join(texts)})" if texts else type(reply).__name__
