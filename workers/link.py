"""The connection to one child: opened, negotiated, written, read; every fault of it is a ChildError.

No policy here: what a reply means and what a failure counts as is ``workers.child``'s.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from mmgr import connecting, stream
from mmgr.config.model import ChildSettings
from mmgr.errors import (
    ChildError,
    ChildProtocolError,
    ChildTimeout,
    ChildUnavailable,
    EndpointError,
    PeerClosed,
    PeerTimeout,
)
from mmgr.protocol.commands import Quit, encode_command
from mmgr.protocol.constants import REPLY_LENGTH_MAX, Reply
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import ConnFail, Progress, ReplyMessage, decode_reply, encode_reply
from workers.negotiation import check_answer
from workers.verdict import CONTINUE

PROGRESS_EXTENDS = 10
"""Progress starts a child's deadline anew, but all in all it gets no more than this many times its timeout."""

GRACE_S = 0.5
"""What a child gets at least when others used up the time that all share; a healthy one answers in a millisecond."""

QUICK_S = 0.25
"""A reply that takes longer than this is one that is waited for: titles say so."""

CONTINUE_FRAME = encode_reply(CONTINUE)
_QUIT = encode_command(Quit())
_NONE = OptionNegotiation(0, 0, 0)
_PROGRESS = int(Reply.SMFIR_PROGRESS)

Patience = Callable[[], None]


_TRANSLATIONS: tuple[tuple[type[ChildError], tuple[type[Exception], ...]], ...] = (
    (ChildUnavailable, (PeerClosed, EndpointError)),
    (ChildTimeout, (PeerTimeout,)),
    (ChildProtocolError, (RemoteProtocolError,)),
)

PEER_ERRORS = (PeerClosed, EndpointError, PeerTimeout, RemoteProtocolError)
"""Whatever goes wrong with a child's socket; it leaves this room and its users as ``translated``."""


def translated(error: Exception) -> ChildError:
    """The fault of a socket as that of the child behind it."""
    return next(ours for ours, theirs in _TRANSLATIONS if isinstance(error, theirs))(str(error))


class ChildLink:
    """A connection to one child. is_greeting: the offer is out and its answer not yet looked at (``begin``).

    usual are the commands that it is sent and replies to, once it negotiated.
    """

    def __init__(self, settings: ChildSettings, connected: stream.FrameStream, patience: Patience) -> None:
        self._settings = settings
        self._stream = connected
        self._patience = patience
        connected.let_wait(min(QUICK_S, settings.reading_timeout_s))
        self.write_at_once = connected.write_at_once
        self.hears = connected.hears
        self.hears_run = connected.hears_run
        self.send_what_fits = connected.send_what_fits
        self.is_quiet = connected.is_quiet
        self.receive_now = connected.receive_now
        self.send_now = connected.send_now
        self.fileno = connected.fileno
        self.is_greeting = False
        self.options = _NONE
        self.usual: frozenset[int] = frozenset()

    @classmethod
    def open(
        cls, settings: ChildSettings, offer: OptionNegotiation, patience: Patience, limit: float | None = None
    ) -> ChildLink:
        """Connect to the first endpoint that takes us and negotiate. limit is a deadline for all of it, if given.

        Raises ChildError.
        """
        link = cls(settings, _connect(settings, limit), patience)
        try:
            link.send(_encoded(offer))
            link.finish_greeting(offer, limit)
        except BaseException:
            link._stream.close()
            raise
        return link

    @classmethod
    def begin(
        cls, settings: ChildSettings, offer: OptionNegotiation, patience: Patience, assumed: OptionNegotiation
    ) -> ChildLink | None:
        """Connect and send the offer without waiting, as far as that is possible; assumed is the answer expected."""
        if len(settings.connection_spec) != 1:
            return None
        connected = connecting.connect_at_once(settings.connection_spec[0], REPLY_LENGTH_MAX, CONTINUE_FRAME)
        if connected is None:
            return None
        link = cls(settings, connected, patience)
        link.adopt(assumed, is_greeting=True)
        try:
            link.send(_encoded(offer))
        except ChildError:
            connected.close()
            return None
        return link

    def finish_greeting(self, offer: OptionNegotiation, limit: float | None) -> None:
        """Take the answer to the offer, which is ``options`` from now on. Raises ChildError."""
        frame = self._next(self._settings.reading_timeout_s, limit)
        try:
            self.options = _decoded_answer(offer, frame)
        except RemoteProtocolError as error:
            raise ChildProtocolError(str(error)) from error
        self.usual = self.options.answered
        self.is_greeting = False

    def adopt(self, options: OptionNegotiation, is_greeting: bool) -> None:
        """The offer was sent by others, and options are the answer that came, or is expected if is_greeting."""
        self.options = options
        self.is_greeting = is_greeting
        self.usual = frozenset() if is_greeting else options.answered

    def hears_as_expected(self) -> bool:
        """The short way out of the greeting: the answer as it was assumed, and continue behind it."""
        if not self._stream.hears_both(_expected(self.options), CONTINUE_FRAME):
            return False
        self.adopt(self.options, is_greeting=False)
        return True

    def send(self, data: bytes) -> bool:
        """Write whole frames within the writing timeout; True. Raises ChildError, also for a reply nobody asked for."""
        try:
            if self._stream.has_frame() and not self.is_greeting:
                self.expect_silence()
            self._stream.write_bytes(data, self._settings.writing_timeout_s)
        except PEER_ERRORS as error:
            raise translated(error) from error
        return True

    def expect_silence(self) -> None:
        """Raise ChildProtocolError if the child said something that nobody asked for; progress is no such thing."""
        try:
            while self._stream.has_frame():
                if not isinstance(decode_reply(self._stream.read(None)), Progress):
                    raise RemoteProtocolError("a reply that nobody asked for")
        except PEER_ERRORS as error:
            raise translated(error) from error

    def late_reply(self, started: float, limit: Callable[[], float | None]) -> ReplyMessage:
        """The next reply but progress, within the reading timeout since started, which progress starts anew.

        limit gives a deadline that all children share, if there is one. Raises ChildError.
        """
        if not self._stream.has_frame():
            self._patience()
        return decode_reply_of_child(self._next(self._settings.reading_timeout_s, limit(), started))

    @property
    def is_clear(self) -> bool:
        """Is nothing left that the child said and nobody took yet?"""
        return self._stream.is_clear

    def _next(self, timeout_s: float, limit: float | None, started: float | None = None) -> bytes:
        """The frame of the next reply but progress. started is when the wait for it began, if not now."""
        started = time.monotonic() if started is None else started
        last = limited(started + timeout_s * PROGRESS_EXTENDS, limit)
        deadline = min(started + timeout_s, last)
        try:
            while True:
                frame = self._stream.read(deadline, self._patience, QUICK_S)
                if frame[CODE] != _PROGRESS:
                    return frame
                decode_reply(frame)
                self._patience()
                deadline = min(time.monotonic() + timeout_s, last)
        except PEER_ERRORS as error:
            raise translated(error) from error

    def close(self, is_polite: bool) -> None:
        """Close; politely means with QUIT first, which is only right when no reply is due."""
        if is_polite:
            self._stream.write_patiently([_QUIT])
        self._stream.close()


def decode_reply_of_child(frame: bytes) -> ReplyMessage:
    """``decode_reply``, whose errors are the child's here. Raises ChildProtocolError."""
    try:
        reply = decode_reply(frame)
    except RemoteProtocolError as error:
        raise ChildProtocolError(str(error)) from error
    if isinstance(reply, ConnFail):
        raise ChildProtocolError("the child says connection failure, which no milter may")
    return reply


@functools.lru_cache(maxsize=64)
def _decoded_answer(offer: OptionNegotiation, frame: bytes) -> OptionNegotiation:
    """A child's answer, if it is one that may be given to the offer. Remembered, as it is the same for years.

    Raises RemoteProtocolError, ChildProtocolError.
    """
    answer = decode_reply_of_child(frame)
    if not isinstance(answer, OptionNegotiation):
        raise ChildProtocolError(f"answered the negotiation with {type(answer).__name__}")
    check_answer(offer, answer)
    return answer


@functools.lru_cache(maxsize=64)
def _encoded(offer: OptionNegotiation) -> bytes:
    return encode_command(offer)


@functools.lru_cache(maxsize=64)
def _expected(answer: OptionNegotiation) -> bytes:
    return encode_reply(answer)


def limited(deadline: float, limit: float | None) -> float:
    """A deadline within a limit that children share, but never so close that a healthy child could not answer."""
    return deadline if limit is None else min(deadline, max(limit, time.monotonic() + GRACE_S))


def _connect(settings: ChildSettings, limit: float | None) -> stream.FrameStream:
    """The first endpoint of several that can be connected; the last one's failure if none can."""
    deadline = limited(time.monotonic() + settings.connection_timeout_s, limit)
    failure: ChildError = ChildUnavailable("no connection_spec")
    for endpoint in settings.connection_spec:
        try:
            return connecting.connect(endpoint, deadline, REPLY_LENGTH_MAX, CONTINUE_FRAME)
        except PEER_ERRORS as error:
            fault = translated(error)
            failure = type(fault)(f"{endpoint}: {fault}")
    raise failure
