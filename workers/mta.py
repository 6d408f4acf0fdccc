"""The MTA's end of one session: its commands come in here, and every reply to it leaves here, if one is due."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable

from mmgr.errors import MmgrError, PeerClosed, PeerTimeout
from mmgr.protocol.commands import encode_command
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.macros import macro_value
from mmgr.protocol.options import ALWAYS_SILENT, OptionNegotiation
from mmgr.protocol.replies import Progress, Verdict, encode_reply
from mmgr.stream import FrameStream
from workers.verdict import CONTINUE

FIRST_TIMEOUT_S = 30.0
"""How long a fresh connection may take for its negotiation, which an MTA sends at once."""

IDLE_TIMEOUT_S = 7210.0
"""How long the MTA may be silent between commands: libmilter's own patience (MI_TIMEOUT)."""

WRITE_TIMEOUT_S = 300.0
"""How long the MTA may leave a reply unread."""

WRITE_BYTES = 1048576
"""Edits are gathered up to this for one write."""

PROGRESS_EVERY_S = 5.0
"""How often the MTA is asked for patience while a child works; Sendmail's shortest read timeout is 10 s."""

BUDGET_S = 8.0
"""An MTA that takes no progress gets each envelope reply within this; Sendmail's T=R is 10 s."""

MESSAGE_BUDGET_S = 280.0
"""The same for the end of a message: Sendmail's T=E is 300 s for all of it, progress or not."""

QUIET_S = 0.25
"""An MTA that says nothing for longer than this is waited for: titles say so."""

_NONE = OptionNegotiation(0, 0, 0)
_PROGRESS = encode_reply(Progress())
_CONTINUE = encode_reply(CONTINUE)


class MtaLost(MmgrError):
    """The MTA went away while a child was waited for: the session is over, and no child is to blame."""


class Mta:
    """The MTA of one session. command is the one being worked on; answer is what we told it in the negotiation,
    and silent the commands that get no reply because of that."""

    def __init__(self, stream: FrameStream, show_waiting: Callable[[], None] = lambda: None) -> None:
        self._stream = stream
        self._show_waiting = show_waiting
        self._told_last = 0.0
        self._came = 0.0
        self.answer = _NONE
        self.silent = _NONE.silent
        self.command = 0
        self.is_postfix = False

    def read(self) -> list[bytes]:
        """The frames of the next commands, as many as are there. Raises PeerTimeout, PeerClosed, RemoteProtocolError.

        Whoever works on them sets ``command`` for each.
        """
        timeout_s = IDLE_TIMEOUT_S if self.command else FIRST_TIMEOUT_S
        frames = self._stream.read_all(timeout_s, self._show_waiting, QUIET_S)
        self._came = self._told_last = time.monotonic()
        return frames

    def learn(self, connect_macros: bytes) -> None:
        """Find out which MTA this is from the macro frame of the connect stage (macro v: ``Postfix 3.5.8``)."""
        self.is_postfix = is_postfix(connect_macros)

    def go_on(self, answer: OptionNegotiation, rest: bytes) -> None:
        """It was answered already; rest is what it sent since and nobody looked at."""
        self.answer = answer
        self.silent = answer.silent
        if rest:
            self._stream.keep(rest)

    def negotiate(self, answer: OptionNegotiation) -> None:
        """Answer the negotiation; from now on replies are given as declared in it."""
        self.answer = answer
        self.silent = answer.silent
        self.send([_encoded(answer)])

    def told(self) -> OptionNegotiation:
        """What we told it in the negotiation; of version 0 before that."""
        return self.answer

    def tell(self, verdict: Verdict, edits: Iterable[bytes] = ()) -> None:
        """Reply to the command, unless the MTA was told that none comes.

        Edits and verdict go in as few writes as a large new body allows, so that a connection that breaks is least
        likely to leave half of the edits behind. What edits raises is raised, with only part of them sent.
        """
        if self.command in self.silent:
            return None
        if verdict is CONTINUE and not edits and self._stream.write_at_once(_CONTINUE):
            return None
        gathered: list[bytes] = []
        size = 0
        for frame in edits:
            gathered.append(frame)
            size += len(frame)
            if size > WRITE_BYTES:
                self.send(gathered)
                gathered, size = [], 0
        gathered.append(encode_reply(verdict))
        return self.send(gathered)

    def send(self, frames: list[bytes]) -> None:
        """Write frames as they are. Raises PeerClosed, PeerTimeout."""
        self._stream.write(frames, time.monotonic() + WRITE_TIMEOUT_S)

    def be_patient(self) -> None:
        """A child is being waited for: ask for patience when it is time. Raises MtaLost.

        Postfix takes progress before any reply that is due, Sendmail only after the end of a message.
        """
        now = time.monotonic()
        if now < self._told_last + PROGRESS_EVERY_S:
            return
        self._told_last = now
        is_allowed = self.command == Command.SMFIC_BODYEOB or (self.is_postfix and self.command not in ALWAYS_SILENT)
        if self.command == Command.SMFIC_OPTNEG or not is_allowed or not self.answer.answers(self.command):
            return
        try:
            self.send([_PROGRESS])
        except (PeerClosed, PeerTimeout) as error:
            raise MtaLost(str(error)) from error

    def limit(self) -> float | None:
        """When the reply to the current command has to be out, whatever children do; None if progress buys any time.

        In Postfix each progress starts the timer anew, in Sendmail none does so for the message as a whole.
        """
        if self.is_postfix:
            return None
        return self._came + (MESSAGE_BUDGET_S if self.command == Command.SMFIC_BODYEOB else BUDGET_S)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()


def is_postfix(connect_macros: bytes) -> bool:
    """Does the macro frame of the connect stage name Postfix?"""
    return macro_value(connect_macros[PAYLOAD:], b"v").startswith(b"Postfix")


@functools.lru_cache(maxsize=64)
def _encoded(answer: OptionNegotiation) -> bytes:
    return encode_command(answer)
