"""The macros that the MTA sent, as they came: the latest frame of each stage, as long as it counts. PURE."""

from __future__ import annotations

from mmgr.protocol.constants import Command
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.macros import macro_value
from workers.transaction import STAGES

_LATEST_FIRST = tuple(map(int, reversed(STAGES)))
_ALL_LATEST_FIRST = (*_LATEST_FIRST, int(Command.SMFIC_HELO), int(Command.SMFIC_CONNECT))
_UNTIL_HELO = frozenset(set(map(int, Command)) - set(_LATEST_FIRST))
_UNTIL_MAIL = _UNTIL_HELO | {int(Command.SMFIC_MAIL)}


class MacroStore:
    """Macro frames by the command they belong to; an empty set is not kept."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}

    def take(self, frame: bytes) -> int:
        """Keep a frame in place of the one before; the command it belongs to."""
        stage = frame[PAYLOAD]
        if len(frame) > PAYLOAD + 1:
            self._frames[stage] = frame
        else:
            self._frames.pop(stage, None)
        return stage

    def get(self, command: int) -> bytes | None:
        """The frame for a command, None if there is none."""
        return self._frames.get(command)

    def value(self, name: bytes) -> bytes | None:
        """The value of a macro, in its form with braces, from the latest stage that has it; None if none has."""
        for stage in _ALL_LATEST_FIRST:
            frame = self._frames.get(stage)
            if frame is not None and name in frame:
                parts = frame[PAYLOAD + 1 : -1].split(b"\0")
                names = parts[::2]
                if name in names:
                    return parts[2 * names.index(name) + 1]
        return None

    def forget(self, command: int) -> None:
        """The command is over, and its macros with it."""
        self._frames.pop(command, None)

    def end_transaction(self, next_begins: bool) -> None:
        """Forget a transaction's macros; those of MAIL may already be the next one's."""
        kept = _UNTIL_MAIL if next_begins else _UNTIL_HELO
        self._frames = {stage: frame for stage, frame in self._frames.items() if stage in kept}

    def clear(self) -> None:
        """Another SMTP session."""
        self._frames.clear()

    def queue_id(self) -> bytes:
        """The MTA's queue id, from the latest stage that has one: Postfix knows it from the second recipient on."""
        for stage in _LATEST_FIRST:
            frame = self._frames.get(stage)
            found = macro_value(frame[PAYLOAD:], b"i") if frame is not None else b""
            if found:
                return found
        return b""
