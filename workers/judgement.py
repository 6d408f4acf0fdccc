"""One child at work on one message: blocks out and replies in, never blocking, so that several can work at once.

``advance`` does what can be done now; ``workers.judging`` waits in between. A verdict ahead of the last reply that is
due counts, and leaves the connection out of step: libraries differ in what they do with the rest of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import cast, get_args

from mmgr.config.model import ChildSettings
from mmgr.errors import ChildProtocolError, ChildTimeout, PeerClosed
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import (
    NEEDED_ACTION,
    Continue,
    Edit,
    Progress,
    ReplBody,
    ReplyMessage,
    Skip,
    Verdict,
    decode_reply,
)
from workers.content import Content
from workers.giving import Given
from workers.link import CONTINUE_FRAME, PEER_ERRORS, PROGRESS_EXTENDS, QUICK_S, ChildLink, limited, translated
from workers.message import Body, check_edit

EDITS_MAX = 100_000
"""More edits than this for one message are no milter's work; the largest real header edits are a few hundred."""

_CONTINUE = Continue()
_END = int(Command.SMFIC_BODYEOB)
_VERDICTS = get_args(Verdict)


class Judgement:
    """One child, one message. verdict is None until it is over; edits and new_body count only then."""

    def __init__(
        self,
        settings: ChildSettings,
        link: ChildLink,
        content: Content,
        make_body: Callable[[], Body],
        limit: float | None,
    ) -> None:
        self.verdict: Verdict | None = None
        self.edits: list[Edit] = []
        self.new_body: Body | None = None
        self._settings = settings
        self._link = link
        self._content = content
        self._blocks = content.pipelined() if settings.pipelining else content.lock_step()
        self._decided = 0
        self.is_chattering = False
        self._then_waits = False
        self._is_all_loaded = False
        self._unsent: bytes | memoryview = b""
        self._due: Sequence[int] = ()
        self._came = 0
        self._make_body = make_body
        self._heard = time.monotonic()
        self._last = limited(self._heard + settings.end_of_message_timeout_s * PROGRESS_EXTENDS, limit)
        self._wait_s = min(QUICK_S, settings.reading_timeout_s, settings.end_of_message_timeout_s)

    def fileno(self) -> int:
        """The child's socket."""
        return self._link.fileno()

    @property
    def deadline(self) -> float:
        """When the child has been silent for too long, within the bounds of the whole message."""
        is_at_end = not self._unsent and self._is_awaiting and self._due[self._came] == _END
        timeout_s = self._settings.end_of_message_timeout_s if is_at_end else self._settings.reading_timeout_s
        return min(self._heard + timeout_s, self._last)

    @property
    def wants_to_send(self) -> bool:
        """Is there something that the socket did not take yet?"""
        return bool(self._unsent)

    @property
    def current(self) -> int:
        """The command that the verdict answered, or, while there is none, the one whose reply is due."""
        return self._decided or (self._due[self._came] if self._is_awaiting else _END)

    @property
    def _is_awaiting(self) -> bool:
        return self._came < len(self._due)

    @property
    def is_over(self) -> bool:
        """Has the child given its verdict?"""
        return self.verdict is not None

    @property
    def is_in_step(self) -> bool:
        """Is every reply in and every byte out, so that another message can follow on the connection?"""
        return not self._is_awaiting and not self._unsent and not self.is_chattering

    def advance(self, is_readable: bool, wait_s: float = 0.0) -> None:
        """Read, waiting up to wait_s, count, and send without waiting. Raises ChildError, SpoolError."""
        try:
            if is_readable:
                self._take(self._link.receive_now(wait_s))
            while self.verdict is None and self._send():
                pass
        except PEER_ERRORS as error:
            raise translated(error) from error
        if self.verdict is None and time.monotonic() >= self.deadline:
            raise ChildTimeout("no answer in time")

    def resume(self, given: Given) -> None:
        """Go on where the short way ended."""
        last = given.begun[-1]
        self._blocks = iter(given.to_come)
        self._due = tuple(command for block in given.begun for command in block.answered)
        self._came = given.came
        self._unsent = last.data[given.taken :]
        self._then_waits = last.then_waits

    def work(self) -> bool:
        """Go on, waiting for the child for a moment if that is what there is to do; is there more to do?

        For a child that works alone: ``advance``, in one step. Raises ChildError, SpoolError.
        """
        self.advance(is_readable=not self._unsent, wait_s=self._wait_s)
        return self.verdict is None

    def abandon(self) -> None:
        """Nobody wants to know any more: forget what came."""
        if self.new_body is not None:
            self.new_body.close()
            self.new_body = None

    def _send(self) -> bool:
        """Send what is unsent, or the next block; False when there is nothing to do without waiting."""
        if not self._unsent and not self._load():
            return False
        try:
            taken = self._link.send_now(self._unsent)
        except PeerClosed:
            self._take_last_words()
            if self.verdict is None:
                raise
            return False
        if taken == len(self._unsent):
            self._unsent = b""
            self._heard = time.monotonic()
            return True
        if taken:
            self._unsent = memoryview(self._unsent)[taken:]
            self._heard = time.monotonic()
        return False

    def _take_last_words(self) -> None:
        """It hung up while it was sent more; it may have given its verdict before."""
        while self.verdict is None:
            frames = self._link.receive_now()
            if not frames:
                return
            self._take(frames)

    def _load(self) -> bool:
        """Make the next block the one to be sent, unless it has to wait for replies."""
        if self._is_all_loaded or (self._then_waits and self._is_awaiting):
            return False
        block = next(self._blocks, None)
        if block is None:
            self._is_all_loaded = True
            return False
        self._unsent = block.data
        self._due = (*self._due[self._came :], *block.answered)
        self._came = 0
        self._then_waits = block.then_waits
        return True

    def _take(self, frames: list[bytes]) -> None:
        if not frames:
            return
        due = self._due
        plain = len(due) - self._came
        if plain and due[-1] == _END:
            plain -= 1
        if plain and frames.count(CONTINUE_FRAME) == len(frames):
            self._came += min(plain, len(frames))  # the usual: plain replies that decide nothing
            frames = frames[plain:]
        for frame in frames:
            if self.verdict is not None:
                self.is_chattering = True  # some libraries answer what was sent behind the command they refused
                return
            self._take_reply(_CONTINUE if frame == CONTINUE_FRAME else decode_reply(frame))
        self._heard = time.monotonic()

    def _take_reply(self, reply: ReplyMessage) -> None:
        if isinstance(reply, Progress):
            return
        if not self._is_awaiting:
            raise ChildProtocolError(f"{type(reply).__name__} came unasked")
        command = self._due[self._came]
        if isinstance(reply, _VERDICTS):
            self._came += 1
            self._take_verdict(cast(Verdict, reply), command)
        elif command != _END or type(reply) not in NEEDED_ACTION or len(self.edits) >= EDITS_MAX:
            raise ChildProtocolError(f"{type(reply).__name__} is out of place")
        else:
            self._take_edit(cast(Edit, reply))

    def _take_verdict(self, reply: Verdict, command: int) -> None:
        if isinstance(reply, Skip):
            if command == _END:
                raise ChildProtocolError("skip is no answer to the end of a message")
            self._content.skip(command)
        elif command == _END or not isinstance(reply, Continue):
            self.verdict = reply
            self._decided = command

    def _take_edit(self, edit: Edit) -> None:
        if not self._link.options.actions & NEEDED_ACTION[type(edit)]:
            raise ChildProtocolError(f"{type(edit).__name__} was not negotiated")
        if isinstance(edit, ReplBody):
            self.new_body = self.new_body or self._make_body()
            self.new_body.add_payload(edit.chunk)
        else:
            check_edit(edit)
            self.edits.append(edit)
