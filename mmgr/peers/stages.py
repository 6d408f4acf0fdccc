"""The names of the stages, as the test tools write and read them, and which command each one is. PURE.

The long names are the incumbent's (``envelope-from``), the short ones SMTP's and libmilter's (``mail``, ``eom``).
"""

from __future__ import annotations

from collections.abc import Mapping

from mmgr.protocol.constants import Command
from mmgr.protocol.options import ALWAYS_SILENT

STAGE_NAMES: Mapping[int, str] = {
    Command.SMFIC_OPTNEG: "negotiate",
    Command.SMFIC_CONNECT: "connect",
    Command.SMFIC_HELO: "helo",
    Command.SMFIC_MAIL: "envelope-from",
    Command.SMFIC_RCPT: "envelope-recipient",
    Command.SMFIC_DATA: "data",
    Command.SMFIC_UNKNOWN: "unknown",
    Command.SMFIC_HEADER: "header",
    Command.SMFIC_EOH: "end-of-header",
    Command.SMFIC_BODY: "body",
    Command.SMFIC_BODYEOB: "end-of-message",
    Command.SMFIC_ABORT: "abort",
    Command.SMFIC_QUIT: "quit",
    Command.SMFIC_QUIT_NC: "quit-nc",
}
"""The name of each command; macros have none, as they belong to another one."""

COMMAND_OF_STAGE: Mapping[str, int] = {
    **{name: command for command, name in STAGE_NAMES.items()},
    "from": Command.SMFIC_MAIL,
    "mail": Command.SMFIC_MAIL,
    "recipient": Command.SMFIC_RCPT,
    "rcpt": Command.SMFIC_RCPT,
    "eoh": Command.SMFIC_EOH,
    "eom": Command.SMFIC_BODYEOB,
}
"""Every name that a person may type for a stage."""

ANSWERED_STAGES = tuple(name for command, name in STAGE_NAMES.items() if command not in ALWAYS_SILENT)
"""The long names of the stages that a milter answers, in the order of a session."""


def stage_name(command: int) -> str:
    """The long name of a command, for messages; an unknown byte in hex."""
    return STAGE_NAMES.get(command, f"command {command:#04x}")
