"""Whole messages through the scriptable MTA: one SMTP session with any number of transactions, each with its outcome.

What an MTA makes of each verdict is decided here; how it is said to the milter is in ``mta``. Called by
``milter-test-server`` and by tests. Source: Postfix src/smtpd/smtpd_milter.c and src/cleanup/cleanup_milter.c.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from mmgr.peers.apply import apply_edits, quarantine_reason
from mmgr.peers.mail import Message, without_one_space
from mmgr.peers.mta import MtaPeer
from mmgr.peers.stages import stage_name
from mmgr.protocol.commands import FAMILY_INET, Abort, Connect, Quit
from mmgr.protocol.constants import CHUNK_BYTES_MAX, Command
from mmgr.protocol.replies import (
    Accept,
    Continue,
    Discard,
    Edit,
    Reject,
    ReplyCode,
    Shutdown,
    Skip,
    TempFail,
    Verdict,
)

DEFAULT_CONNECT = Connect(b"mx.example.net", FAMILY_INET, 50443, b"192.168.123.123")
DEFAULT_HELO = b"delian"
"""The incumbent's milter-test-server introduces itself like this."""


class Status(str, Enum):
    """What becomes of a message, in the words that the test tools print."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    DISCARD = "discard"
    TEMPORARY_FAILURE = "temporary-failure"
    REJECT = "reject"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class SmtpClient:
    """Who talks to the MTA: the same for all messages of a session. unknown is a command sent before each DATA."""

    connect: Connect = DEFAULT_CONNECT
    helo: bytes = DEFAULT_HELO
    unknown: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one message, at which stage, by which verdict.

    refused holds the recipients that were refused with their verdicts; quarantine the reason or None. original is
    the message as sent, message the one with the milter's edits, without the refused recipients.
    """

    status: Status
    stage: str
    verdict: Verdict
    refused: tuple[tuple[bytes, Verdict], ...]
    edits: tuple[Edit, ...]
    quarantine: bytes | None
    original: Message
    message: Message
    elapsed_s: float


def status_of(verdict: Verdict) -> Status:
    """The status that a verdict alone makes; continue is acceptance too, as at the end of a message."""
    if isinstance(verdict, ReplyCode):
        return Status.REJECT if verdict.is_permanent else Status.TEMPORARY_FAILURE
    return _STATUS[type(verdict)]


_STATUS: dict[type[object], Status] = {
    Continue: Status.ACCEPT,
    Skip: Status.ACCEPT,
    Accept: Status.ACCEPT,
    Reject: Status.REJECT,
    TempFail: Status.TEMPORARY_FAILURE,
    Discard: Status.DISCARD,
    Shutdown: Status.SHUTDOWN,
}


def hangs_up(verdict: Verdict | None) -> bool:
    """Does the MTA close the SMTP session after this? 421 and shutdown do that."""
    return isinstance(verdict, Shutdown) or (isinstance(verdict, ReplyCode) and verdict.text.startswith(b"421"))


def is_refusal(verdict: Verdict | None) -> bool:
    """Does this refuse a recipient and let the others go on?"""
    return isinstance(verdict, (Reject, TempFail, ReplyCode)) and not hangs_up(verdict)


class Session:
    """One SMTP session over one connection to a milter. Owns the peer; a context manager that says goodbye.

    ``deliver`` begins the session by itself. A verdict at connect or helo is that of every message. Raises what
    ``MtaPeer`` raises; the session is over then.
    """

    def __init__(self, peer: MtaPeer, client: SmtpClient | None = None) -> None:
        self.peer = peer
        self.client = client or SmtpClient()
        self._decided: tuple[int, Verdict] | None = None
        self._has_begun = False
        self._has_mail = False
        self._queue_ids = _queue_ids(peer.queue_id)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def begin(self) -> None:
        """Negotiate, connect, helo; nothing when that is done already."""
        if self._has_begun:
            return
        self._has_begun = True
        self.peer.negotiate()
        for code, verdict in self._greeting():
            if isinstance(verdict, Discard):
                self.peer.violations.append(f"{stage_name(code)}: discard, where there is no message yet")
            elif verdict is not None and _decides(verdict):
                self._decided = (code, verdict)
                return

    def deliver(self, message: Message) -> Outcome:
        """Send one message as far as the milter lets it go. An earlier one is aborted first, as Postfix does."""
        started = time.monotonic()
        self.begin()
        refused: list[tuple[bytes, Verdict]] = []
        code, verdict = self._decided or self._transaction(message, refused)
        if hangs_up(verdict):
            self._decided = (code, verdict)
        return self._outcome(message, code, verdict, refused, time.monotonic() - started)

    def end(self) -> None:
        """Abort what there is to abort, quit, close; never raises."""
        self.peer.farewell(*([Abort()] if self._has_mail else []), *([Quit()] if self._has_begun else []))

    def _greeting(self) -> Iterator[tuple[int, Verdict | None]]:
        caller = self.client.connect
        connected = self.peer.connect(caller.hostname, caller.family, caller.port, caller.address)
        yield Command.SMFIC_CONNECT, connected
        yield Command.SMFIC_HELO, self.peer.helo(self.client.helo)

    def _transaction(self, message: Message, refused: list[tuple[bytes, Verdict]]) -> tuple[int, Verdict]:
        if self._has_mail:
            self.peer.abort()
        self._has_mail = True
        self.peer.queue_id = next(self._queue_ids)
        for code, verdict in self._stages(message, refused):
            if verdict is not None and _decides(verdict):
                return code, verdict
        return Command.SMFIC_BODYEOB, self.peer.end_of_message()

    def _stages(self, message: Message, refused: list[tuple[bytes, Verdict]]) -> Iterator[tuple[int, Verdict | None]]:
        """Each step up to the end of the message; a verdict that decides ends the iteration from outside."""
        peer = self.peer
        yield Command.SMFIC_MAIL, peer.mail(message.sender, *message.sender_parameters)
        yield from self._recipients(message, refused)
        if self.client.unknown is not None:
            peer.unknown(self.client.unknown)
        yield Command.SMFIC_DATA, peer.data()
        has_leading_space = peer.options.has_leading_space()
        for name, value in message.headers:
            yield Command.SMFIC_HEADER, peer.header(name, value if has_leading_space else without_one_space(value))
        yield Command.SMFIC_EOH, peer.eoh()
        for chunk in _cut(message.chunks):
            yield Command.SMFIC_BODY, peer.body(chunk)

    def _recipients(
        self, message: Message, refused: list[tuple[bytes, Verdict]]
    ) -> Iterator[tuple[int, Verdict | None]]:
        """A refused recipient is left out; when none is left, the first temporary refusal decides, else the first."""
        for recipient in message.recipients:
            verdict = self.peer.rcpt(recipient, *message.recipient_parameters)
            if verdict is not None and is_refusal(verdict):
                refused.append((recipient, verdict))
            else:
                yield Command.SMFIC_RCPT, verdict
        if refused and len(refused) == len(message.recipients):
            verdicts = [verdict for _, verdict in refused]
            temporary = [one for one in verdicts if status_of(one) is Status.TEMPORARY_FAILURE]
            yield Command.SMFIC_RCPT, (temporary or verdicts)[0]

    def _outcome(
        self, message: Message, code: int, verdict: Verdict, refused: list[tuple[bytes, Verdict]], elapsed_s: float
    ) -> Outcome:
        edits = tuple(self.peer.edits) if code == Command.SMFIC_BODYEOB else ()
        status = status_of(verdict)
        reason = quarantine_reason(edits) if status is Status.ACCEPT else None
        if reason is not None:
            status = Status.QUARANTINE
        changed = _without(message, refused)
        if status in (Status.ACCEPT, Status.QUARANTINE):
            changed = apply_edits(changed, edits, self.peer.options.has_leading_space())
        return Outcome(status, stage_name(code), verdict, tuple(refused), edits, reason, message, changed, elapsed_s)


def deliver(peer: MtaPeer, messages: Iterable[Message], client: SmtpClient | None = None) -> list[Outcome]:
    """Send all messages in one session over peer and say goodbye. Raises what ``MtaPeer`` raises."""
    with Session(peer, client) as session:
        return [session.deliver(message) for message in messages]


def _decides(verdict: Verdict) -> bool:
    return not isinstance(verdict, (Continue, Skip))


def _queue_ids(first: bytes) -> Iterator[bytes]:
    """One for each message of a session: ``i``, ``i2``, ``i3``."""
    yield first
    yield from (b"%s%d" % (first, number) for number in itertools.count(2))


def _cut(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks as they may be sent: none empty, none longer than a packet holds."""
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK_BYTES_MAX):
            yield chunk[start : start + CHUNK_BYTES_MAX]


def _without(message: Message, refused: list[tuple[bytes, Verdict]]) -> Message:
    gone = [recipient for recipient, _ in refused]
    return replace(message, recipients=tuple(one for one in message.recipients if one not in gone))
