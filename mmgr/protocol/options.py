"""Option negotiation: versions, the two flag words, macro lists, and what each flag silences. Arithmetic alone.

Sources: libmilter engine.c (``st_optionneg``), sendmail milter.c, Postfix milter8.c (``milter8_connect``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mmgr.protocol.constants import ActionFlag, Command, MacroStage, ProtocolFlag, flag_names
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import UINT32
from mmgr.protocol.macros import decode_macro_lists, encode_macro_lists

ALL_ACTIONS = 0x1FF
"""Every action that exists (SMFI_CURR_ACTS)."""

ALL_STEPS = 0x001FFFFF
"""Every protocol bit but the internal ones for larger data sizes (SMFI_CURR_PROT)."""

ACTIONS_OF_VERSION: Mapping[int, int] = {1: 0x0F, 2: 0x3F, 3: 0x3F, 4: 0x3F, 5: 0x3F, 6: ALL_ACTIONS}
STEPS_OF_VERSION: Mapping[int, int] = {1: 0x3F, 2: 0x7F, 3: 0x17F, 4: 0x37F, 5: 0x37F, 6: ALL_STEPS}
"""What an MTA of that version offers (Postfix's table; it has no entry for 5, sendmail never released one)."""

NO_STEP: Mapping[int, ProtocolFlag] = {
    Command.SMFIC_CONNECT: ProtocolFlag.SMFIP_NOCONNECT,
    Command.SMFIC_HELO: ProtocolFlag.SMFIP_NOHELO,
    Command.SMFIC_MAIL: ProtocolFlag.SMFIP_NOMAIL,
    Command.SMFIC_RCPT: ProtocolFlag.SMFIP_NORCPT,
    Command.SMFIC_DATA: ProtocolFlag.SMFIP_NODATA,
    Command.SMFIC_HEADER: ProtocolFlag.SMFIP_NOHDRS,
    Command.SMFIC_EOH: ProtocolFlag.SMFIP_NOEOH,
    Command.SMFIC_BODY: ProtocolFlag.SMFIP_NOBODY,
    Command.SMFIC_UNKNOWN: ProtocolFlag.SMFIP_NOUNKNOWN,
}
"""The bit that leaves a command out."""

NO_REPLY: Mapping[int, ProtocolFlag] = {
    Command.SMFIC_CONNECT: ProtocolFlag.SMFIP_NR_CONN,
    Command.SMFIC_HELO: ProtocolFlag.SMFIP_NR_HELO,
    Command.SMFIC_MAIL: ProtocolFlag.SMFIP_NR_MAIL,
    Command.SMFIC_RCPT: ProtocolFlag.SMFIP_NR_RCPT,
    Command.SMFIC_DATA: ProtocolFlag.SMFIP_NR_DATA,
    Command.SMFIC_HEADER: ProtocolFlag.SMFIP_NR_HDR,
    Command.SMFIC_EOH: ProtocolFlag.SMFIP_NR_EOH,
    Command.SMFIC_BODY: ProtocolFlag.SMFIP_NR_BODY,
    Command.SMFIC_UNKNOWN: ProtocolFlag.SMFIP_NR_UNKN,
}
"""The bit that takes away a command's reply. End of message has none: it is always answered."""

ALWAYS_SILENT = frozenset(
    (Command.SMFIC_MACRO, Command.SMFIC_ABORT, Command.SMFIC_QUIT, Command.SMFIC_QUIT_NC),
)
"""Commands that nobody ever answers."""

SINCE_VERSION: Mapping[int, int] = {Command.SMFIC_UNKNOWN: 3, Command.SMFIC_DATA: 4, Command.SMFIC_QUIT_NC: 6}
"""Commands that an older peer must not be sent; all others are there since version 2."""


# The same as plain integers: asked some hundred times a message, where arithmetic with flags costs ten times as much.
_NO_STEP_BITS = {int(command): int(bit) for command, bit in NO_STEP.items()}
_NO_REPLY_BITS = {int(command): int(bit) for command, bit in NO_REPLY.items()}
_LEADING_SPACE = int(ProtocolFlag.SMFIP_HDR_LEADSPC)
_SINCE = {int(command): version for command, version in SINCE_VERSION.items()}
_ALWAYS_SILENT = frozenset(int(command) for command in ALWAYS_SILENT)

DECLINED, SILENT, ANSWERED = range(3)
"""What becomes of a command: it is not sent at all, it is sent and gets no reply, it is sent and replied to."""


@dataclass(frozen=True)
class OptionNegotiation:
    """SMFIC_OPTNEG and SMFIR_OPTNEG: the same shape both ways. Bits nobody knows are kept as they came.

    macro_lists is only ever sent by a milter; the MTA's packet has to end after the three words, as rspamd and
    authentication_milter hang up on anything else.
    """

    version: int
    actions: int
    steps: int
    macro_lists: Mapping[MacroStage, tuple[bytes, ...]] = field(default_factory=dict, hash=False)

    def wants(self, command: int) -> bool:
        """Is the milter that answered this to be sent the command?"""
        if self.version < _SINCE.get(command, 0):
            return False
        return not self.steps & _NO_STEP_BITS.get(command, 0)

    def answers(self, command: int) -> bool:
        """Does the milter that answered this reply to the command?"""
        return command not in _ALWAYS_SILENT and not self.steps & _NO_REPLY_BITS.get(command, 0)

    @cached_property
    def routes(self) -> Mapping[int, int]:
        """DECLINED, SILENT or ANSWERED by command, for whoever asks often; looked up in place of both of the above."""
        return {
            command: (ANSWERED if self.answers(command) else SILENT) if self.wants(command) else DECLINED
            for command in map(int, Command)
        }

    @cached_property
    def answered(self) -> frozenset[int]:
        """The commands that the milter that answered this wants and replies to."""
        return frozenset(command for command, route in self.routes.items() if route == ANSWERED)

    @cached_property
    def silent(self) -> frozenset[int]:
        """The commands that the milter that answered this does not reply to, should they be sent."""
        return frozenset(command for command in map(int, Command) if not self.answers(command))

    def has_leading_space(self) -> bool:
        """Do header values travel with the space after their colon?"""
        return bool(self.steps & _LEADING_SPACE)

    def __str__(self) -> str:
        return (
            f"version={self.version} actions={flag_names(ActionFlag, self.actions)} "
            f"steps={flag_names(ProtocolFlag, self.steps)}"
        )


def decode_options(payload: bytes) -> OptionNegotiation:
    r"""Payload = uint32 version | uint32 actions | uint32 steps | macro lists (``decode_macro_lists``).

    Example: Postfix 3.7 offers b"\0\0\0\6\0\0\1\xff\0\x1f\xff\xff". A peer of before version 1 of the flags may leave
    words out; nobody does any more, so less than 12 bytes raise RemoteProtocolError.
    """
    if len(payload) < 12:
        raise RemoteProtocolError(f"negotiation: {len(payload)} bytes where three integers belong")
    version, actions, steps = (UINT32.unpack_from(payload, position)[0] for position in (0, 4, 8))
    return OptionNegotiation(version, actions, steps, decode_macro_lists(payload[12:]))


def encode_options(options: OptionNegotiation) -> bytes:
    """The payload of a negotiation; without macro lists exactly 12 bytes."""
    words = UINT32.pack(options.version) + UINT32.pack(options.actions) + UINT32.pack(options.steps)
    return words + encode_macro_lists(options.macro_lists)
