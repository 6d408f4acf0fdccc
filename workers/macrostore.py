"""The macros that the MTA sent, as they came: the latest frame of each stage, as long as it counts. PURE."""

from __future__ import annotations

from mmgr.protocol.constants import Command
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.macros import decode_macros
from workers.transaction import STAGES

_REPEATED = (Command.SMFIC_HEADER, Command.SMFIC_BODY)


class MacroStore:
    """Macro frames by the command they belong to; an empty set is not kept."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}

    def take(self, frame: bytes) -> int:
        """Keep a frame in place of the one before; the command it belongs to."""
        stage = frame[PAYLOAD]
        self._frames.pop(stage, None)
        if len(frame) > PAYLOAD + 1:
            self._frames[stage] = frame
        return stage

    def get(self, command: int) -> bytes | None:
        """The frame for a command, None if there is none."""
        return self._frames.get(command)

    def is_repeated(self, frame: bytes) -> bool:
        """Is this the very frame that is kept? Postfix repeats them ahead of each header and piece of body."""
        return len(frame) > PAYLOAD and frame[PAYLOAD] in _REPEATED and self._frames.get(frame[PAYLOAD]) == frame

    def forget(self, command: int) -> None:
        """The command is over, and its macros with it."""
        self._frames.pop(command, None)

    def end_transaction(self, next_begins: bool) -> None:
        """Forget a transaction's macros; those of MAIL may already be the next one's."""
        for stage in STAGES:
            if stage != Command.SMFIC_MAIL or not next_begins:
                self._frames.pop(stage, None)

    def clear(self) -> None:
        """Another SMTP session."""
        self._frames.clear()

    def queue_id(self) -> bytes:
        """The MTA's queue id, from the latest stage that has one: Postfix knows it from the second recipient on."""
        for stage in reversed(STAGES):
            frame = self._frames.get(stage)
            found = decode_macros(frame[PAYLOAD:])[1].get(b"i") if frame is not None else None
            if found:
                return found
        return b""
