"""What one child is given of a message: blocks of whole frames, with the commands in each that it will answer. PURE.

Pipelined, headers with end of headers are one block and the body with end of message another (cut where it is large);
the second waits for the replies to the first, as a verdict on the headers makes the body needless. In lock-step every
command is a block of its own. One mechanism for both: ``Block.then_waits``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mmgr.protocol.commands import BodyEob, Eoh, encode_command
from mmgr.protocol.constants import Command
from mmgr.protocol.options import ANSWERED, OptionNegotiation
from mmgr.protocol.replies import AddHeader, ChgHeader, Edit, InsHeader
from workers.message import Message

BLOCK_BYTES = 262144
"""A block of body is cut here: four full chunks, more than a unix socket takes at once (208 KiB by default)."""

_HEADER, _END_OF_HEADERS = int(Command.SMFIC_HEADER), int(Command.SMFIC_EOH)
_BODY, _END = int(Command.SMFIC_BODY), int(Command.SMFIC_BODYEOB)
_MAIL, _RCPT = int(Command.SMFIC_MAIL), int(Command.SMFIC_RCPT)
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

    def pipelined(self, waits: bool = True) -> Iterator[Block]:
        """Headers with end of headers, then body with end of message; the latter in several if it is large.

        waits says whether the body waits for the replies to the headers. The rest of a large body waits for the reply
        to its first piece, as a child may want to skip it.
        """
        yield self._head(waits)
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

    def short(self, waits: bool) -> Sequence[Block]:
        """``pipelined``, for a body of a single frame or none."""
        route = self._options.routes[_BODY]
        body = list(self._message.body.frames()) if route else ()
        data = b"".join((*self._ahead(_BODY), *body, *self._ahead(_END), _END_OF_MESSAGE))
        answered = (_BODY, _END) if body and route == ANSWERED else (_END,)
        return self._head(waits), Block(data, answered, False)

    def _head(self, waits: bool) -> Block:
        """Headers and end of headers, the same as their pieces joined."""
        routes = self._options.routes
        headers = self._message.headers.frames(self._drops_spaces) if routes[_HEADER] else ()
        end = (_EOH,) if routes[_END_OF_HEADERS] else ()
        data = b"".join((*self._ahead(_HEADER), *headers, *self._ahead(_END_OF_HEADERS), *end))
        answered = (_HEADER,) * (len(headers) if routes[_HEADER] == ANSWERED else 0)
        if routes[_END_OF_HEADERS] == ANSWERED:
            answered += (_END_OF_HEADERS,)
        return Block(data, answered, waits)

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
        for frame in self._message.headers.frames(self._drops_spaces):
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


def short_blocks(
    message: Message,
    options: OptionNegotiation,
    macros: Callable[[int], bytes | None],
    drops: bool,
    is_hasty: bool,
) -> Sequence[Block]:
    """Both blocks of a message whose body is short; empty if it is not.

    The body goes out behind the headers, without waiting for the replies to them, unless the child is_hasty: known to
    decide on headers alone. One that takes neither senders nor recipients would take the rest of a message on which it
    decided for a new one (libmilter 8.17), so it gets no body before it has answered.

    Children that negotiated the same get the very same blocks, as long as nobody edits.
    """
    if not message.body.is_short:
        return ()
    waits = is_hasty or not (options.routes[_MAIL] or options.routes[_RCPT])
    key = (options.steps, options.version, drops, waits)
    kept = message.derived.get(key)
    if kept is None:
        kept = message.derived[key] = Content(message, options, macros, drops).short(waits)
    return kept


def drops_spaces(told: OptionNegotiation, options: OptionNegotiation) -> bool:
    """Does the MTA send values with the space after the colon while a child with these options does without?"""
    return told.has_leading_space() and not options.has_leading_space()


def with_space(edit: Edit) -> Edit:
    """A child's edit as the MTA expects it. An empty value is given its space too, but for the change that deletes."""
    is_deletion = isinstance(edit, ChgHeader) and not edit.value
    if isinstance(edit, (AddHeader, InsHeader, ChgHeader)) and not is_deletion:
        return dataclasses.replace(edit, value=b" " + edit.value)
    return edit


def _joined(pieces: list[Piece], then_waits: bool) -> Block:
    data = b"".join([frame for piece in pieces for frame in piece.frames])
    return Block(data, tuple(piece.command for piece in pieces if piece.is_answered), then_waits)
