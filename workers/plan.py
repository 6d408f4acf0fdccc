"""Which child gets which event. PURE."""

from __future__ import annotations

from mmgr.protocol.constants import ActionFlag, Command, ProtocolFlag
from mmgr.protocol.options import NO_STEP, OptionNegotiation

_NEEDED = tuple(set(map(int, NO_STEP)) - {Command.SMFIC_UNKNOWN, Command.SMFIC_CONNECT, Command.SMFIC_HELO})
_RCPT, _DATA, _UNKNOWN = int(Command.SMFIC_RCPT), int(Command.SMFIC_DATA), int(Command.SMFIC_UNKNOWN)
_RCPT_REJ = int(ProtocolFlag.SMFIP_RCPT_REJ)
_SETSYMLIST = int(ActionFlag.SMFIF_SETSYMLIST)
_REFUSED_RECIPIENT = b"{rcpt_mailer}\0error\0"


class Step:
    """One command as the MTA sent it: its code, its frame, and the macro frame ahead of it (or None).

    is_left_out: the MTA was told not to send it, and there is no frame; its macros come all the same.
    joined is macros and frame as they are sent together; is_refused, that the MTA itself refused this recipient,
    which it sends only to milters that asked for those (SMFIP_RCPT_REJ). is_plain: who wants the command is sent it.
    """

    __slots__ = ("command", "frame", "is_left_out", "is_plain", "is_refused", "joined", "macros")

    def __init__(
        self,
        command: int,
        frame: bytes,
        macros: bytes | None,
        is_left_out: bool = False,
    ) -> None:
        self.command = command
        self.frame = frame
        self.macros = macros
        self.is_left_out = is_left_out
        self.joined = frame if macros is None else macros + frame
        self.is_refused = command == _RCPT and macros is not None and _REFUSED_RECIPIENT in macros
        self.is_plain = not (is_left_out or self.is_refused or command == _UNKNOWN)


def lacks(wanted: OptionNegotiation, told: OptionNegotiation) -> bool:
    """Does a child want what the MTA was told not to send or do? Unknown commands and connects are no great loss."""
    is_short = any(wanted.wants(command) and not told.wants(command) for command in _NEEDED)
    return is_short or bool(wanted.actions & ~told.actions & ~_SETSYMLIST)


def is_wanted(step: Step, options: OptionNegotiation, has_recipient: bool) -> bool:
    """Is a child that negotiated options to be sent this step? has_recipient: a recipient of the message came before.

    libmilter (8.18) drops the headers and the end of a message, without a reply, if an unknown command came between
    recipients and headers and the child declined DATA: such a child is spared the unknown command there.
    """
    if step.is_left_out or not options.routes[step.command]:
        return False
    if step.is_refused:
        return bool(options.steps & _RCPT_REJ)
    if has_recipient and step.command == _UNKNOWN:
        return options.wants(_DATA)
    return True
