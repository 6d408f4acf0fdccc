"""One transaction: from MAIL to the end of the message, its refusal or an abort."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmgr.protocol.constants import Command
from workers.message import Message
from workers.plan import Step
from workers.spool import SpoolError

STAGES = (
    Command.SMFIC_MAIL,
    Command.SMFIC_RCPT,
    Command.SMFIC_DATA,
    Command.SMFIC_HEADER,
    Command.SMFIC_EOH,
    Command.SMFIC_BODY,
    Command.SMFIC_BODYEOB,
)
"""The commands of a transaction, in order; their macros end with it."""


@dataclass
class Transaction:
    """What is known of the current message.

    started is a monotonic time. recipients counts those that passed, refused the others; nobody counts them if the MTA
    was told not to send them. is_broken: a command of it came out of order and was dropped. edits counts what the MTA
    was told, decided_by names the child that decided last.
    """

    started: float
    message: Message
    sender: bytes | None = None
    steps: list[Step] = field(default_factory=list)
    is_counting: bool = True
    is_broken: bool = False
    recipients: int = 0
    refused: int = 0
    spool_failure: SpoolError | None = None
    edits: int = 0
    decided_by: str = ""
