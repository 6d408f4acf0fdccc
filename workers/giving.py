"""Giving a child a whole message the short way: blocks out, nothing but continue in; told how far it came otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from workers.content import Block
from workers.link import CONTINUE_FRAME


class Given(NamedTuple):
    """Where the short way ended: blocks still to come, blocks begun, bytes taken of the last of them, replies in."""

    to_come: Sequence[Block]
    begun: Sequence[Block]
    taken: int
    came: int


class Taker(Protocol):
    """What a child is given it on: a ``FrameStream``, or a link on one."""

    def send_what_fits(self, data: bytes) -> int:
        """How many bytes were sent without waiting."""

    def hears_run(self, frame: bytes, count: int) -> int:
        """How many copies of a frame came, up to count, before anything else did."""


def give(taker: Taker, blocks: Sequence[Block]) -> Given | None:
    """None if the child let the whole message pass with continue; else where the long way has to go on."""
    due = came = 0
    for at, block in enumerate(blocks, 1):
        taken = taker.send_what_fits(block.data)
        due += len(block.answered)
        is_taken = taken == len(block.data)
        if is_taken and (block.then_waits or at == len(blocks)):
            came += taker.hears_run(CONTINUE_FRAME, due - came)
        if not is_taken or (came < due and (block.then_waits or at == len(blocks))):
            return Given(blocks[at:], blocks[:at], taken, came)
    return None
