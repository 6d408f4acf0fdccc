"""Which child gets which event. PURE."""

from __future__ import annotations

from typing import NamedTuple

from mmgr.protocol.constants import Command, ProtocolFlag
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import OptionNegotiation

_REFUSED_RECIPIENT = b"{rcpt_mailer}\0error\0"


class Step(NamedTuple):
    """One command as the MTA sent it: its code, its frame, and the macro frame ahead of it (or None)."""

    command: int
    frame: bytes
    macros: bytes | None


def is_refused_recipient(step: Step) -> bool:
    """Did the MTA itself refuse this recipient? Sent only to milters that asked for those (SMFIP_RCPT_REJ)."""
    return (
        step.command == Command.SMFIC_RCPT and step.macros is not None and _REFUSED_RECIPIENT in step.macros[PAYLOAD:]
    )


def is_wanted(step: Step, options: OptionNegotiation, has_recipient: bool) -> bool:
    """Is a child that negotiated options to be sent this step? has_recipient: a recipient of the message came before.

    libmilter (8.18) drops the headers and the end of a message, without a reply, if an unknown command came between
    recipients and headers and the child declined DATA: such a child is spared the unknown command there.
    """
    if not options.wants(step.command):
        return False
    if is_refused_recipient(step):
        return bool(options.steps & ProtocolFlag.SMFIP_RCPT_REJ)
    if step.command == Command.SMFIC_UNKNOWN and has_recipient:
        return options.wants(Command.SMFIC_DATA)
    return True
