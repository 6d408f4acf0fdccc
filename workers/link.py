"""The connection to one child: opened, negotiated, written, read; every fault of it is a ChildError.

No policy here: what a reply means and what a failure counts as is ``workers.child``'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mmgr import stream
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
from mmgr.protocol.constants import REPLY_LENGTH_MAX
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import ConnFail, Progress, ReplyMessage, decode_reply
from workers.negotiation import check_answer

PROGRESS_EXTENDS = 10
"""Progress starts a child's deadline anew, but all in all it gets no more than this many times its timeout."""

GRACE_S = 0.5
"""What a child gets at least when others used up the time that all share; a healthy one answers in a millisecond."""

_QUIT = encode_command(Quit())

Patience = Callable[[], None]


class _Translation:
    """The edge: whatever goes wrong with a child's socket leaves a ``with translated:`` as one of the ChildErrors.

    A class and no generator, as it is entered some forty times a message.
    """

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            return
        for ours, theirs in _TRANSLATIONS:
            if isinstance(error, theirs):
                raise ours(str(error)) from error


_TRANSLATIONS: tuple[tuple[type[ChildError], tuple[type[Exception], ...]], ...] = (
    (ChildUnavailable, (PeerClosed, EndpointError)),
    (ChildTimeout, (PeerTimeout,)),
    (ChildProtocolError, (RemoteProtocolError,)),
)

translated = _Translation()


class ChildLink:
    """A negotiated connection to one child."""

    def __init__(self, settings: ChildSettings, connected: stream.FrameStream, patience: Patience) -> None:
        self._settings = settings
        self._stream = connected
        self._patience = patience
        self.options = OptionNegotiation(0, 0, 0)

    @classmethod
    def open(
        cls, settings: ChildSettings, offer: OptionNegotiation, patience: Patience, limit: float | None = None
    ) -> ChildLink:
        """Connect to the first endpoint that takes us and negotiate. limit is a deadline for all of it, if given.

        Raises ChildError.
        """
        link = cls(settings, _connect(settings, limit), patience)
        try:
            link._negotiate(offer, limit)
        except BaseException:
            link._stream.close()
            raise
        return link

    def send(self, frames: Sequence[bytes]) -> None:
        """Write frames within the writing timeout. Raises ChildError, also for a reply that nobody asked for."""
        self.expect_silence()
        with translated:
            self._stream.write(frames, time.monotonic() + self._settings.writing_timeout_s)

    def expect_silence(self) -> None:
        """Raise ChildProtocolError if the child said something that nobody asked for; progress is no such thing."""
        with translated:
            while self._stream.has_frame():
                if not isinstance(decode_reply(self._stream.read(None)), Progress):
                    raise RemoteProtocolError("a reply that nobody asked for")

    def reply(self, timeout_s: float, limit: float | None = None) -> ReplyMessage:
        """The next reply but progress, which starts timeout_s anew, within bounds. Raises ChildError."""
        last = limited(time.monotonic() + timeout_s * PROGRESS_EXTENDS, limit)
        with translated:
            while True:
                deadline = min(time.monotonic() + timeout_s, last)
                reply = decode_reply(self._stream.read(deadline, self._patience))
                if isinstance(reply, ConnFail):
                    raise RemoteProtocolError("the child says connection failure, which no milter may")
                if not isinstance(reply, Progress):
                    return reply
                self._patience()

    def fileno(self) -> int:
        """The socket, for waiting on several children."""
        return self._stream.fileno()

    def receive_now(self, wait_s: float = 0.0) -> list[bytes]:
        """What came, waiting up to wait_s for it; empty if nothing. Raises PeerClosed, RemoteProtocolError."""
        return self._stream.receive_now(wait_s)

    def send_now(self, data: memoryview) -> int:
        """How many bytes the socket took; 0 if it takes none now. Raises PeerClosed."""
        return self._stream.send_now(data)

    def close(self, is_polite: bool) -> None:
        """Close; politely means with QUIT first, which is only right when no reply is due."""
        if is_polite:
            self._stream.write_patiently([_QUIT])
        self._stream.close()

    def _negotiate(self, offer: OptionNegotiation, limit: float | None) -> None:
        self.send([encode_command(offer)])
        answer = self.reply(self._settings.reading_timeout_s, limit)
        if not isinstance(answer, OptionNegotiation):
            raise ChildProtocolError(f"answered the negotiation with {type(answer).__name__}")
        with translated:
            check_answer(offer, answer)
        self.options = answer


def limited(deadline: float, limit: float | None) -> float:
    """A deadline within a limit that children share, but never so close that a healthy child could not answer."""
    return deadline if limit is None else min(deadline, max(limit, time.monotonic() + GRACE_S))


def _connect(settings: ChildSettings, limit: float | None) -> stream.FrameStream:
    """The first endpoint of several that can be connected; the last one's failure if none can."""
    deadline = limited(time.monotonic() + settings.connection_timeout_s, limit)
    failure: ChildError = ChildUnavailable("no connection_spec")
    for endpoint in settings.connection_spec:
        try:
            with translated:
                return stream.connect(endpoint, deadline, REPLY_LENGTH_MAX)
        except ChildError as error:
            failure = type(error)(f"{endpoint}: {error}")
    raise failure
