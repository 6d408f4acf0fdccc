"""What one child is given of a message: blocks of whole frames, with the commands in each that it will answer. PURE.

Pipelined, headers with end of headers are one block and the body with end of message another (cut where it is large);
the second waits for the replies to the first, as a verdict on the headers makes the body needless. In lock-step every
command is a block of its own. One mechanism for both: ``Block.then_waits``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mmgr.protocol.commands import BodyEob, Eoh, encode_command
from mmgr.protocol.constants import Command
from mmgr.protocol.options import OptionNegotiation
from workers.message import Message

BLOCK_BYTES = 262144
"""A block of body is cut here: four full chunks, more than a unix socket takes at once (208 KiB by default)."""

_EOH = encode_command(Eoh())
_END_OF_MESSAGE = encode_command(BodyEob())


class Block(NamedTuple):
    """Bytes to send, the commands among them that are answered, in order, and whether what follows waits for that."""

    data: bytes
    answered: tuple[int, ...]
    then_waits: bool


class Piece(NamedTuple):
    """One command of the content: its code, its frames with the macros ahead, and whether it is answered."""

    command: int
    frames: tuple[bytes, ...]
    is_answered: bool


class Content:
    """One message for one child, in the order sent. skip() ends the pieces of one kind, as SMFIR_SKIP asks for.

    Macros travel even for a command that the child declined, as they do from an MTA.
    """

    def __init__(
        self, message: Message, options: OptionNegotiation, macros: Callable[[int], bytes | None], drops_spaces: bool
    ) -> None:
        self._message = message
        self._options = options
        self._macros = macros
        self._drops_spaces = drops_spaces
        self._skipped = 0

    def skip(self, command: int) -> None:
        """Leave out what is still to come of this kind."""
        self._skipped = command

    def lock_step(self) -> Iterator[Block]:
        """A block for each command, each waiting for the reply to the one before."""
        for piece in self._pieces():
            if piece.command != self._skipped and piece.frames:
                yield Block(b"".join(piece.frames), (piece.command,) if piece.is_answered else (), True)

    def pipelined(self) -> Iterator[Block]:
        """Headers with end of headers, then body with end of message; the latter in several if it is large.

        The rest of a large body waits for the reply to its first piece, as a child may want to skip it.
        """
        yield _joined([*self._header_pieces(), self._end_of_headers()], True)
        gathered: list[Piece] = []
        size = 0
        asks_first = True
        for piece in self._body_pieces():
            if gathered and (asks_first or size >= BLOCK_BYTES):
                yield _joined(gathered, asks_first)
                asks_first, gathered, size = False, [], 0
            if self._skipped == Command.SMFIC_BODY:
                break
            gathered.append(piece)
            size += sum(map(len, piece.frames))
        yield _joined([*gathered, self._end_of_message()], False)

    def _pieces(self) -> Iterator[Piece]:
        yield from self._header_pieces()
        yield self._end_of_headers()
        yield from self._body_pieces()
        yield self._end_of_message()

    def _header_pieces(self) -> Iterator[Piece]:
        ahead = self._ahead(Command.SMFIC_HEADER)
        if not self._options.wants(Command.SMFIC_HEADER):
            yield Piece(Command.SMFIC_HEADER, ahead, False)
            return
        is_answered = self._options.answers(Command.SMFIC_HEADER)
        for field in self._message.headers:
            frame = field.without_leading_space() if self._drops_spaces else field.as_frame()
            yield Piece(Command.SMFIC_HEADER, (*ahead, frame), is_answered)
            ahead = ()

    def _body_pieces(self) -> Iterator[Piece]:
        ahead = self._ahead(Command.SMFIC_BODY)
        if not self._options.wants(Command.SMFIC_BODY):
            yield Piece(Command.SMFIC_BODY, ahead, False)
            return
        is_answered = self._options.answers(Command.SMFIC_BODY)
        for frame in self._message.body.frames():
            yield Piece(Command.SMFIC_BODY, (*ahead, frame), is_answered)
            ahead = ()

    def _end_of_headers(self) -> Piece:
        ahead = self._ahead(Command.SMFIC_EOH)
        if not self._options.wants(Command.SMFIC_EOH):
            return Piece(Command.SMFIC_EOH, ahead, False)
        return Piece(Command.SMFIC_EOH, (*ahead, _EOH), self._options.answers(Command.SMFIC_EOH))

    def _end_of_message(self) -> Piece:
        return Piece(Command.SMFIC_BODYEOB, (*self._ahead(Command.SMFIC_BODYEOB), _END_OF_MESSAGE), is_answered=True)

    def _ahead(self, command: int) -> tuple[bytes, ...]:
        macros = self._macros(command)
        return () if macros is None else (macros,)


def _joined(pieces: list[Piece], then_waits: bool) -> Block:
    data = b"".join([frame for piece in pieces for frame in piece.frames])
    return Block(data, tuple(piece.command for piece in pieces if piece.is_answered), then_waits)
