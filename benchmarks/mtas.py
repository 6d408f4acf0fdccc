"""An MTA that speaks milter alone: opens sessions with a manager and sends it mails in lock-step, as Postfix would.

Used where Postfix would be in the way: for memory with hundreds of open sessions, and for the profile of a worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmarks import mails
from mmgr.connecting import connect
from mmgr.endpoint import parse_endpoint
from mmgr.protocol.commands import CommandMessage, Macro, Quit, encode_command
from mmgr.protocol.constants import REPLY_LENGTH_MAX, Command, Reply
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import decode_reply
from tests.support.processes import HarnessError

PATIENCE_S = 60.0
_GOING_ON = (Reply.SMFIR_CONTINUE, Reply.SMFIR_ACCEPT)
_SILENT = (Command.SMFIC_MACRO, Command.SMFIC_ABORT, Command.SMFIC_QUIT)


class MilterMta:
    """One milter session, negotiated as Postfix does. Raises PeerClosed, PeerTimeout, HarnessError for a refusal."""

    def __init__(self, spec: str) -> None:
        self._stream = connect(parse_endpoint(spec), time.monotonic() + PATIENCE_S, REPLY_LENGTH_MAX)
        self._write(encode_command(mails.POSTFIX_OFFER))
        answer = decode_reply(self._read())
        if not isinstance(answer, OptionNegotiation):
            raise HarnessError(f"the negotiation was answered with {answer}")
        self._options = answer

    def play(self, messages: Iterable[CommandMessage]) -> None:
        """Sends each command that was not declined, with its macros, and waits for the answers that are due."""
        held = b""  # sent with the next command that is answered, as Postfix does
        for message in messages:
            frame = encode_command(message)
            command = frame[CODE]
            if isinstance(message, Macro) or self._options.wants(command):
                held += frame
                if command not in _SILENT and self._options.answers(command):
                    self._write(held)
                    held = b""
                    self._take_answer()
        if held:
            self._write(held)

    def send_mail(self, size_bytes: int = 10240, headers: int = 20) -> None:
        """One whole message on a session that is open."""
        self.play([*mails.envelope(), *mails.message_part(size_bytes, headers)])

    def close(self) -> None:
        """QUIT, and the end."""
        self.play([Quit()])
        self._stream.close()

    def _take_answer(self) -> None:
        """Edits may come ahead of the verdict; they are nothing to us."""
        while True:
            code = self._read()[CODE]
            if code in _GOING_ON:
                return
            if code in (Reply.SMFIR_REJECT, Reply.SMFIR_TEMPFAIL, Reply.SMFIR_REPLYCODE, Reply.SMFIR_DISCARD):
                raise HarnessError(f"refused: {chr(code)}")

    def _read(self) -> bytes:
        return self._stream.read(time.monotonic() + PATIENCE_S)

    def _write(self, frame: bytes) -> None:
        self._stream.write([frame], time.monotonic() + PATIENCE_S)
