"""Which child gets which event. PURE."""

from __future__ import annotations

from typing import NamedTuple

from mmgr.protocol.constants import ActionFlag, Command, ProtocolFlag
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import NO_STEP, OptionNegotiation

_NEEDED = tuple(set(map(int, NO_STEP)) - {Command.SMFIC_UNKNOWN, Command.SMFIC_CONNECT, Command.SMFIC_HELO})
_SETSYMLIST = int(ActionFlag.SMFIF_SETSYMLIST)
_REFUSED_RECIPIENT = b"{rcpt_mailer}\0error\0"


class Step(NamedTuple):
    """One command as the MTA sent it: its code, its frame, and the macro frame ahead of it (or None).

    is_left_out: the MTA was told not to send it, and there is no frame; its macros come all the same.
    """

    command: int
    frame: bytes
    macros: bytes | None
    is_left_out: bool = False


def is_refused_recipient(step: Step) -> bool:
    """Did the MTA itself refuse this recipient? Sent only to milters that asked for those (SMFIP_RCPT_REJ)."""
    return (
        step.command == Command.SMFIC_RCPT and step.macros is not None and _REFUSED_RECIPIENT in step.macros[PAYLOAD:]
    )


def lacks(wanted: OptionNegotiation, told: OptionNegotiation) -> bool:
    """Does a child want what the MTA was told not to send or do? Unknown commands and connects are no great loss."""
    is_short = any(wanted.wants(command) and not told.wants(command) for command in _NEEDED)
    return is_short or bool(wanted.actions & ~told.actions & ~_SETSYMLIST)


def is_wanted(step: Step, options: OptionNegotiation, has_recipient: bool) -> bool:
    """Is a child that negotiated options to be sent this step? has_recipient: a recipient of the message came before.

    libmilter (8.18) drops the headers and the end of a message, without a reply, if an unknown command came between
    recipients and headers and the child declined DATA: such a child is spared the unknown command there.
    """
    if step.is_left_out or not options.wants(step.command):
        return False
    if is_refused_recipient(step):
        return bool(options.steps & ProtocolFlag.SMFIP_RCPT_REJ)
    if step.command == Command.SMFIC_UNKNOWN and has_recipient:
        return options.wants(Command.SMFIC_DATA)
    return True
