"""The macros that an MTA sent: here its name for the message."""

from __future__ import annotations

import pytest

from mmgr.protocol.commands import Macro, encode_command
from mmgr.protocol.constants import Command
from workers.macrostore import MacroStore


def queue_id_of(frames: dict[int, bytes]) -> bytes:
    """What a store of these frames knows it by."""
    store = MacroStore()
    for frame in frames.values():
        store.take(frame)
    return store.queue_id()


def macros(*stages: int, queue_id: bytes = b"4jXb1Y") -> dict[int, bytes]:
    """The macro frames that an MTA sent at these stages."""
    return {stage: encode_command(Macro(stage, {b"i": queue_id})) for stage in stages}


@pytest.mark.parametrize("stage", [Command.SMFIC_MAIL, Command.SMFIC_RCPT, Command.SMFIC_DATA, Command.SMFIC_BODYEOB])
def test_the_queue_id_is_found_at_whatever_stage_it_came(stage: int) -> None:
    assert queue_id_of(macros(stage)) == b"4jXb1Y"


def test_the_latest_stage_counts() -> None:
    found = {**macros(Command.SMFIC_MAIL, queue_id=b"old"), **macros(Command.SMFIC_EOH, queue_id=b"new")}
    assert queue_id_of(found) == b"new"


def test_a_stage_without_one_does_not_hide_an_earlier_one() -> None:
    later = encode_command(Macro(Command.SMFIC_DATA, {}))
    assert queue_id_of({**macros(Command.SMFIC_RCPT), Command.SMFIC_DATA: later}) == b"4jXb1Y"


@pytest.mark.parametrize("known", [{}, macros(Command.SMFIC_CONNECT), macros(Command.SMFIC_UNKNOWN)])
def test_there_is_none_before_the_transaction(known: dict[int, bytes]) -> None:
    assert queue_id_of(known) == b""
