"""One transaction: from MAIL to the end of the message, its refusal or an abort; and its line in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mmgr.log import shown
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.macros import decode_macros
from workers.child import Child
from workers.message import Message
from workers.plan import Step
from workers.spool import SpoolError
from workers.verdict import verdict_name

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
    """What is known of the current message. started is a monotonic time; recipients counts those that passed."""

    started: float
    message: Message
    sender: bytes | None = None
    steps: list[Step] = field(default_factory=list)
    recipients: int = 0
    refused: int = 0
    spool_failure: SpoolError | None = None

    def fields(self, outcome: str, queue_id: str, client: str, children: Iterable[Child]) -> str:
        """The ``key=value`` part of the transaction's line in the log."""
        elapsed_s = time.monotonic() - self.started
        edits = len(self.message.edits) + self.message.is_body_replaced
        sender = "-" if self.sender is None else shown(self.sender)
        return (
            f"queue_id={queue_id or '-'} client={client or '-'} sender={sender} recipients={self.recipients} "
            f"refused={self.refused} verdict={outcome} elapsed_s={elapsed_s:.4f} "
            f"size_bytes={self.message.body.size_bytes} edits={edits} children={summary(children)}"
        )


def summary(children: Iterable[Child]) -> str:
    """``name:verdict:seconds,...``: a failed child says so, one in evaluation mode has its verdict in parentheses."""
    return ",".join(map(_summary_of_one, children)) or "-"


def _summary_of_one(child: Child) -> str:
    name = "failed" if child.failure else verdict_name(child.verdict)
    if child.settings.evaluation_mode:
        name = f"({name})"
    return f"{child.name}:{name}:{child.waited_s:.4f}"


def queue_id_of(macros: Mapping[int, bytes]) -> str:
    """The MTA's queue id, from the latest stage that has one: Postfix knows it from the second recipient on."""
    for stage in reversed(STAGES):
        frame = macros.get(stage)
        found = decode_macros(frame[PAYLOAD:])[1].get(b"i") if frame is not None else None
        if found:
            return shown(found)
    return ""
