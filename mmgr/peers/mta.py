"""A scriptable MTA, one step at a time: the MTA's side of one milter connection, as strict as Postfix.

``MtaPeer`` speaks; what it says is up to the caller: tests write conversations with it, ``delivery`` sends whole
messages. A milter that closes, is late or breaks the protocol raises PeerClosed, PeerTimeout or RemoteProtocolError,
each with the stage in its text; nothing of that is ever taken for a verdict. What Postfix lets pass and another MTA
would not is noted in ``violations``. Source: Postfix src/milter/milter8.c, sendmail/milter.c.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mmgr.connecting import connect
from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed, PeerTimeout
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import without_brackets
from mmgr.peers.stages import stage_name
from mmgr.peers.strict import Listening, check_answer, described, offer
from mmgr.protocol.commands import (
    Abort,
    Body,
    BodyEob,
    CommandMessage,
    Connect,
    Data,
    Eoh,
    Header,
    Helo,
    Macro,
    Mail,
    Quit,
    QuitNc,
    Rcpt,
    Unknown,
    encode_command,
)
from mmgr.protocol.constants import REPLY_LENGTH_MAX, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import shown
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import (
    Edit,
    Progress,
    Reject,
    ReplyCode,
    ReplyMessage,
    Skip,
    TempFail,
    Verdict,
    decode_reply,
)
from mmgr.stream import FrameStream


@dataclass(frozen=True)
class Deadlines:
    """How long each thing may take, in seconds; the incumbent's defaults. Every packet received starts it again."""

    connection_s: float = 300.0
    reading_s: float = 10.0
    writing_s: float = 10.0
    end_of_message_s: float = 300.0


def connect_peer(
    endpoint: Endpoint,
    offered: OptionNegotiation | None = None,
    deadlines: Deadlines | None = None,
    macros: MacroTable | None = None,
) -> MtaPeer:
    """Connect to a milter; nothing is said yet. Raises PeerTimeout, PeerClosed, EndpointError."""
    limits = deadlines or Deadlines()
    stream = connect(endpoint, time.monotonic() + limits.connection_s, REPLY_LENGTH_MAX)
    return MtaPeer(stream, offered, limits, macros)


class MtaPeer:
    """One connection to a milter, driven step by step. Owns the stream; a context manager that closes it.

    Every step returns the milter's verdict, or None when there is none to wait for: the milter declined the step, wants
    to send no reply to it, or said skip. ``edits`` are those of the message whose end was sent last. queue_id is macro
    ``i`` from the first accepted recipient on, as in Postfix.
    """

    def __init__(
        self,
        stream: FrameStream,
        offered: OptionNegotiation | None = None,
        deadlines: Deadlines | None = None,
        macros: MacroTable | None = None,
        queue_id: bytes = b"i",
    ) -> None:
        self.stream = stream
        self.offered = offered or offer()
        self.options = OptionNegotiation(self.offered.version, 0, 0)
        self.deadlines = deadlines or Deadlines()
        self.macros = macros or MacroTable()
        self.queue_id = queue_id
        self.edits: list[Edit] = []
        self.sent: list[int] = []
        self.violations: list[str] = []
        self.progress_count = 0
        self._skipped = 0
        self._live: dict[bytes, bytes] = {}

    def __enter__(self) -> MtaPeer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Steps

    def negotiate(self) -> OptionNegotiation:
        """Offer, and keep what the milter answers; every later step obeys it. Has to come first."""
        stage = "negotiate"
        self._write([encode_command(self.offered)], stage)
        reply = self._read(stage, self.deadlines.reading_s, "reading")
        if not isinstance(reply, OptionNegotiation):
            raise RemoteProtocolError(f"{stage}: {described(reply)} instead of an answer to the offer")
        with _at(stage):
            self.violations += check_answer(self.offered, reply)
        self.options = reply
        return reply

    def connect(self, hostname: bytes, family: int = ord("U"), port: int = 0, address: bytes = b"") -> Verdict | None:
        """The SMTP client: family is ``ord`` of one of U, L, 4 and 6; U has neither port nor address."""
        return self.step(Connect(hostname, family, port, address))

    def helo(self, name: bytes) -> Verdict | None:
        """HELO or EHLO."""
        return self.step(Helo(name))

    def mail(self, sender: bytes, *parameters: bytes) -> Verdict | None:
        """MAIL, brackets and all; a new transaction, so earlier edits and the queue id are forgotten."""
        self.edits = []
        self._live = {b"mail_addr": without_brackets(sender)}
        return self.step(Mail(sender, parameters))

    def rcpt(self, recipient: bytes, *parameters: bytes) -> Verdict | None:
        """RCPT, brackets and all."""
        self._live[b"rcpt_addr"] = without_brackets(recipient)
        verdict = self.step(Rcpt(recipient, parameters))
        if not isinstance(verdict, (Reject, TempFail, ReplyCode)):
            self._live[b"i"] = self.queue_id
        return verdict

    def data(self) -> Verdict | None:
        """DATA; known since version 4."""
        self._live.pop(b"rcpt_addr", None)
        self._live[b"i"] = self.queue_id
        return self.step(Data())

    def unknown(self, line: bytes) -> Verdict | None:
        """An SMTP command that the MTA does not know; known since version 3."""
        return self.step(Unknown(line))

    def header(self, name: bytes, value: bytes) -> Verdict | None:
        """One header; the caller takes care of the leading space (``options.has_leading_space``)."""
        return self.step(Header(name, value))

    def eoh(self) -> Verdict | None:
        """End of headers."""
        return self.step(Eoh())

    def body(self, chunk: bytes) -> Verdict | None:
        """1 to 65,535 bytes of the body."""
        return self.step(Body(chunk))

    def end_of_message(self, chunk: bytes = b"") -> Verdict:
        """End of message; collects ``edits`` until the final verdict, which always comes."""
        self._send_step(BodyEob(chunk))
        return self._read_verdict(Command.SMFIC_BODYEOB)

    def abort(self) -> None:
        """Forget this message; never answered."""
        self._live = {}
        self._send_step(Abort())

    def quit(self) -> None:
        """The session is over; never answered."""
        self._send_step(Quit())

    def quit_nc(self) -> None:
        """The session is over, another one follows on this connection; never answered."""
        self._live = {}
        self._send_step(QuitNc())

    def step(self, message: CommandMessage) -> Verdict | None:
        """Any command but the end of message: its macros and itself in one write, then the verdict if one is due."""
        code = self._send_step(message)
        if code is None or not self.options.answers(code):
            return None
        return self._read_verdict(code)

    # Raw

    def send(self, *messages: CommandMessage) -> None:
        """Exactly these commands in one write: no macros, no regard for what was negotiated, no reply awaited."""
        frames = [encode_command(message) for message in messages]
        self.sent += [frame[CODE] for frame in frames]
        self._write(frames, "raw command")

    def send_bytes(self, data: bytes) -> None:
        """Any bytes at all."""
        self._write([data], "raw bytes")

    def read_reply(self, reading_s: float | None = None) -> ReplyMessage:
        """The next reply whatever it is, progress and edits included; raises as a step does."""
        return self._read("reply", self.deadlines.reading_s if reading_s is None else reading_s, "reading")

    def expect_silence(self) -> None:
        """Raise RemoteProtocolError if a reply lies there that nobody asked for, PeerClosed if the milter went."""
        try:
            frame = self.stream.read(deadline=0.0)
        except PeerTimeout:
            return
        raise RemoteProtocolError(f"a reply that nobody asked for: {shown(frame[CODE:])}")

    def expect_close(self, within_s: float) -> None:
        """Wait for the milter to close. Raises PeerTimeout if it does not, RemoteProtocolError if it says something."""
        try:
            frame = self.stream.read(time.monotonic() + within_s)
        except PeerClosed:
            return
        raise RemoteProtocolError(f"a reply instead of a close: {shown(frame[CODE:])}")

    def farewell(self, *messages: CommandMessage) -> None:
        """Send these (abort, quit) if the milter still takes them, and close; never raises, never waits."""
        self.stream.write_patiently([encode_command(message) for message in messages])
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    # The rest

    def _send_step(self, message: CommandMessage) -> int | None:
        """Send macros and command as far as the milter wants them; the command's code, or None if it was left out."""
        frame = encode_command(message)
        code = frame[CODE]
        if code == self._skipped:
            return None
        self._skipped = 0
        frames = []
        pairs = self.macros.pairs(code, self.options.macro_lists, self._live)
        if pairs:
            frames.append(encode_command(Macro(code, dict(pairs))))
        is_wanted = self.options.wants(code)
        if is_wanted:
            frames.append(frame)
            self.sent.append(code)
        if frames:
            self._write(frames, stage_name(code))
        return code if is_wanted else None

    def _read_verdict(self, code: int) -> Verdict:
        limit_s, kind = self.deadlines.reading_s, "reading"
        if code == Command.SMFIC_BODYEOB:
            limit_s, kind = self.deadlines.end_of_message_s, "end-of-message"
        heard = Listening(code, self.options)
        verdict = None
        while verdict is None:
            verdict = heard.take(self._read(stage_name(code), limit_s, kind))
        self.edits += heard.edits
        self.violations += heard.violations
        if isinstance(verdict, Skip):
            self._skipped = code
        return verdict

    def _read(self, stage: str, limit_s: float, kind: str) -> ReplyMessage:
        try:
            with _at(stage):
                reply = decode_reply(self.stream.read(time.monotonic() + limit_s))
        except PeerTimeout as error:
            raise PeerTimeout(f"{kind} timeout: {stage}: no answer within {limit_s:g} seconds") from error
        if isinstance(reply, Progress):
            self.progress_count += 1
        return reply

    def _write(self, frames: Sequence[bytes], stage: str) -> None:
        limit_s = self.deadlines.writing_s
        try:
            with _at(stage):
                self.expect_silence()
                self.stream.write(frames, time.monotonic() + limit_s)
        except PeerTimeout as error:
            raise PeerTimeout(f"writing timeout: {stage}: not taken within {limit_s:g} seconds") from error


@contextmanager
def _at(stage: str) -> Iterator[None]:
    """Put the stage in front of what went wrong."""
    try:
        yield
    except PeerClosed as error:
        raise PeerClosed(f"{stage}: {error}") from error
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{stage}: {error}") from error
