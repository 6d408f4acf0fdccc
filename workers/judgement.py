"""One child at work on one message: blocks out and replies in, never blocking, so that several can work at once.

``advance`` does what can be done now; ``workers.judging`` waits in between. A verdict ahead of the last reply that is
due counts, and leaves the connection out of step: libraries differ in what they do with the rest of a batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
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
from workers.content import Block, Content
from workers.link import PROGRESS_EXTENDS, ChildLink, limited, translated
from workers.message import Body, check_edit

EDITS_MAX = 100_000
"""More edits than this for one message are no milter's work; the largest real header edits are a few hundred."""

_CONTINUE = b"\0\0\0\1c"
_VERDICTS = get_args(Verdict)


class Judgement:
    """One child, one message. verdict is None until it is over; edits and new_body count only then.

    deadline is when the child has been silent for too long.
    """

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
        self._blocks: Iterator[Block] = content.pipelined() if settings.pipelining else content.lock_step()
        self._decided = 0
        self._is_chattering = False
        self._then_waits = False
        self._is_all_loaded = False
        self._unsent = memoryview(b"")
        self._awaited: deque[int] = deque()
        self._make_body = make_body
        self._last = time.monotonic() + settings.end_of_message_timeout_s * PROGRESS_EXTENDS
        self._last = limited(self._last, limit)
        self.deadline = 0.0
        self._touch()

    def fileno(self) -> int:
        """The child's socket."""
        return self._link.fileno()

    @property
    def wants_to_send(self) -> bool:
        """Is there something that the socket did not take yet?"""
        return bool(self._unsent)

    @property
    def current(self) -> int:
        """The command that the verdict answered, or, while there is none, the one whose reply is due."""
        return self._decided or (self._awaited[0] if self._awaited else Command.SMFIC_BODYEOB)

    @property
    def is_over(self) -> bool:
        """Has the child given its verdict?"""
        return self.verdict is not None

    @property
    def is_in_step(self) -> bool:
        """Is every reply in and every byte out, so that another message can follow on the connection?"""
        return not self._awaited and not self._unsent and not self._is_chattering

    def advance(self, is_readable: bool, wait_s: float = 0.0) -> None:
        """Read, waiting up to wait_s, count, and send without waiting. Raises ChildError, SpoolError."""
        with translated:
            if is_readable:
                self._take(self._link.receive_now(wait_s))
            while self.verdict is None and self._send():
                pass
        if self.verdict is None and time.monotonic() >= self.deadline:
            raise ChildTimeout("no answer in time")

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
        if taken:
            self._unsent = self._unsent[taken:]
            self._touch()
        return not self._unsent

    def _take_last_words(self) -> None:
        """It hung up while it was sent more; it may have given its verdict before."""
        while self.verdict is None:
            frames = self._link.receive_now()
            if not frames:
                return
            self._take(frames)

    def _load(self) -> bool:
        """Make the next block the one to be sent, unless it has to wait for replies."""
        if self._is_all_loaded or (self._then_waits and self._awaited):
            return False
        block = next(self._blocks, None)
        if block is None:
            self._is_all_loaded = True
            return False
        self._unsent = memoryview(block.data)
        self._awaited.extend(block.answered)
        self._then_waits = block.then_waits
        return True

    def _take(self, frames: list[bytes]) -> None:
        for frame in frames:
            if self.verdict is not None:
                self._is_chattering = True  # some libraries answer what was sent behind the command they refused
                return
            if frame == _CONTINUE and self._awaited and self._awaited[0] != Command.SMFIC_BODYEOB:
                self._awaited.popleft()
            else:
                self._take_reply(decode_reply(frame))
        if frames:
            self._touch()

    def _take_reply(self, reply: ReplyMessage) -> None:
        if isinstance(reply, Progress):
            return
        if not self._awaited:
            raise ChildProtocolError(f"{type(reply).__name__} came unasked")
        command = self._awaited[0]
        if isinstance(reply, _VERDICTS):
            self._awaited.popleft()
            self._take_verdict(cast(Verdict, reply), command)
        elif command != Command.SMFIC_BODYEOB or type(reply) not in NEEDED_ACTION or len(self.edits) >= EDITS_MAX:
            raise ChildProtocolError(f"{type(reply).__name__} is out of place")
        else:
            self._take_edit(cast(Edit, reply))

    def _take_verdict(self, reply: Verdict, command: int) -> None:
        if isinstance(reply, Skip):
            if command == Command.SMFIC_BODYEOB:
                raise ChildProtocolError("skip is no answer to the end of a message")
            self._content.skip(command)
        elif command == Command.SMFIC_BODYEOB or not isinstance(reply, Continue):
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

    def _touch(self) -> None:
        """The child showed life: its deadline starts anew, within the bounds of the whole message."""
        is_at_end = not self._unsent and bool(self._awaited) and self._awaited[0] == Command.SMFIC_BODYEOB
        timeout_s = self._settings.end_of_message_timeout_s if is_at_end else self._settings.reading_timeout_s
        self.deadline = min(time.monotonic() + timeout_s, self._last)
