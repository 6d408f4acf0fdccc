"""What one child is given of a message, and in which blocks."""

from __future__ import annotations

import pytest

from mmgr.protocol import options
from mmgr.protocol.commands import Header, Macro, encode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, Command, ProtocolFlag
from mmgr.protocol.framing import split_frames
from mmgr.protocol.options import OptionNegotiation
from tests.unit.workers.company import letters
from workers.content import BLOCK_BYTES, Block, Content
from workers.message import Message
from workers.spool import BodySpool

EVERYTHING = OptionNegotiation(6, 0, 0)
MACROS = {
    command: encode_command(Macro(command, {b"i": b"Q1"}))
    for command in (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY, Command.SMFIC_BODYEOB)
}


def content(steps: int = 0, chunks: int = 1, has_macros: bool = False, n_headers: int = 2) -> Content:
    message = Message(True, BodySpool(100_000_000))
    for number in range(n_headers):
        header = Header(b"X", b" %d" % number)
        message.headers.append(encode_command(header))
    for _ in range(chunks):
        message.body.add_payload(b"x" * 65535)
    macros = MACROS if has_macros else {}
    return Content(message, OptionNegotiation(6, 0, steps), macros.get, drops_spaces=False)


def shown(block: Block) -> str:
    """``L L N: LLN ...``: what is in it, what of it is answered, and three dots if the next waits for that."""
    sent = " ".join(letters(frame) for frame in split_frames(block.data, COMMAND_LENGTH_MAX))
    answered = "".join(map(chr, block.answered))
    return f"{sent}: {answered}{' ...' if block.then_waits else ''}"


NO_BODY = ProtocolFlag.SMFIP_NOBODY
NO_HEADERS = ProtocolFlag.SMFIP_NOHDRS | ProtocolFlag.SMFIP_NOEOH
NO_REPLY = ProtocolFlag.SMFIP_NR_HDR | ProtocolFlag.SMFIP_NR_EOH | ProtocolFlag.SMFIP_NR_BODY

PIPELINED: dict[str, tuple[Content, list[str]]] = {
    "everything": (content(), ["L L N: LLN ...", "B E: BE"]),
    "no headers": (content(n_headers=0), ["N: N ...", "B E: BE"]),
    "an empty body": (content(chunks=0), ["L L N: LLN ...", "E: E"]),
    "a body in two chunks": (content(chunks=2), ["L L N: LLN ...", "B: B ...", "B E: BE"]),
    "with macros": (content(has_macros=True), ["DL L L DN N: LLN ...", "DB B DE E: BE"]),
    "the body declined": (content(NO_BODY, chunks=3), ["L L N: LLN ...", "E: E"]),
    "the body declined, with macros": (content(NO_BODY, has_macros=True), ["DL L L DN N: LLN ...", "DB DE E: E"]),
    "the headers declined, with macros": (content(NO_HEADERS, has_macros=True), ["DL DN:  ...", "DB B DE E: BE"]),
    "no replies": (content(NO_REPLY), ["L L N:  ...", "B E: E"]),
}


@pytest.mark.parametrize("name", PIPELINED)
def test_pipelined_headers_are_a_block_and_the_body_another(name: str) -> None:
    given, expected = PIPELINED[name]
    assert [shown(block) for block in given.pipelined()] == expected


def test_in_lock_step_every_command_is_a_block_that_is_waited_for() -> None:
    blocks = [shown(block) for block in content(has_macros=True).lock_step()]
    assert blocks == ["DL L: L ...", "L: L ...", "DN N: N ...", "DB B: B ...", "DE E: E ..."]


def test_in_lock_step_macros_of_what_is_declined_are_sent_alone() -> None:
    blocks = [shown(block) for block in content(NO_HEADERS | NO_BODY, has_macros=True).lock_step()]
    assert blocks == ["DL:  ...", "DN:  ...", "DB:  ...", "DE E: E ..."]


def test_a_large_body_is_cut_into_blocks_of_a_bounded_size() -> None:
    sizes = [len(block.data) for block in content(chunks=20).pipelined()]
    assert max(sizes) <= BLOCK_BYTES + 65535 + 10


def test_only_the_first_piece_of_a_large_body_is_waited_for() -> None:
    waits = [block.then_waits for block in content(chunks=20).pipelined()]
    assert waits == [True, True, *[False] * (len(waits) - 2)]


def test_a_skipped_body_ends_with_the_end_of_the_message() -> None:
    given = content(chunks=20)
    blocks = given.pipelined()
    begun = [shown(next(blocks)), shown(next(blocks))]
    given.skip(Command.SMFIC_BODY)
    assert [*begun, *map(shown, blocks)] == ["L L N: LLN ...", "B: B ...", "E: E"]


@pytest.mark.parametrize("steps", [0, NO_BODY, NO_HEADERS, NO_REPLY, NO_BODY | NO_HEADERS | NO_REPLY])
def test_both_ways_send_the_same_bytes(steps: int) -> None:
    given = content(steps, chunks=6, has_macros=True)
    pipelined = b"".join(block.data for block in given.pipelined())
    assert pipelined == b"".join(block.data for block in given.lock_step())


@pytest.mark.parametrize("steps", [0, NO_BODY, NO_HEADERS, NO_REPLY])
def test_both_ways_expect_the_same_answers(steps: int) -> None:
    given = content(steps, chunks=6, has_macros=True)
    pipelined = [command for block in given.pipelined() for command in block.answered]
    assert pipelined == [command for block in given.lock_step() for command in block.answered]


# ---- every combination of what a child declines and does not answer


def _combinations() -> list[int]:
    combined = [0]
    for command in (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY):
        combined = [
            bits | more for bits in combined for more in (0, options.NO_STEP[command], options.NO_REPLY[command])
        ]
    return combined


every_combination = pytest.mark.parametrize("steps", _combinations(), ids=hex)
N_HEADERS, N_CHUNKS = 2, 6
"""Of what ``content`` makes below: chunks for more than one block."""


def expected(steps: int, has_macros: bool) -> tuple[list[str], list[int]]:
    """The letters of all frames in order, and the commands that are answered."""
    wanted = OptionNegotiation(6, 0, steps)
    sent: list[str] = []
    answered: list[int] = []
    kinds = ((Command.SMFIC_HEADER, N_HEADERS), (Command.SMFIC_EOH, 1), (Command.SMFIC_BODY, N_CHUNKS))
    for command, count in (*kinds, (Command.SMFIC_BODYEOB, 1)):
        sent += ["D" + chr(command)] if has_macros else []
        sent += [chr(command)] * (count if wanted.wants(command) else 0)
        answered += [command] * (count if wanted.wants(command) and wanted.answers(command) else 0)
    return sent, answered


@pytest.mark.parametrize("has_macros", [True, False])
@every_combination
def test_both_ways_send_what_is_wanted_in_order_each_kind_with_its_macros_ahead(steps: int, has_macros: bool) -> None:
    given = content(steps, N_CHUNKS, has_macros)
    for blocks in (list(given.pipelined()), list(given.lock_step())):
        frames = split_frames(b"".join(block.data for block in blocks), COMMAND_LENGTH_MAX)
        answered = [command for block in blocks for command in block.answered]
        assert ([letters(frame) for frame in frames], answered) == expected(steps, has_macros)


@every_combination
def test_pipelined_the_body_waits_for_the_headers_and_its_rest_for_its_first_piece(steps: int) -> None:
    blocks = list(content(steps, N_CHUNKS).pipelined())
    rest = [True] if OptionNegotiation(6, 0, steps).wants(Command.SMFIC_BODY) else []
    assert [block.then_waits for block in blocks] == [True, *rest, *[False] * (len(blocks) - 1 - len(rest))]


@every_combination
def test_in_lock_step_a_block_has_one_command_at_most_and_is_waited_for(steps: int) -> None:
    blocks = list(content(steps, N_CHUNKS, has_macros=True).lock_step())
    counts = [
        sum(not letters(frame).startswith("D") for frame in split_frames(block.data, COMMAND_LENGTH_MAX))
        for block in blocks
    ]
    assert max(counts) == 1
    assert all(block.data and block.then_waits for block in blocks)
