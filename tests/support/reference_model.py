"""The rule that decides every verdict, written down as plainly as possible: an MTA asks its milters one after another.

What the manager does has to come to the same. One connection to each milter, in order; each is given the message as
those before it left it; the first that does not let a stage pass ends it. One deliberate exception: behind a quarantine
the others are still asked, where Postfix stops, and the reasons are joined. Nothing here is shared with ``workers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Callable

from mmgr.peers.apply import apply_edits
from mmgr.peers.delivery import SmtpClient, Status, hangs_up, is_refusal, status_of
from mmgr.peers.mail import HeaderField, Message, without_one_space
from mmgr.peers.mta import MtaPeer
from mmgr.peers.stages import stage_name
from mmgr.protocol.constants import CHUNK_BYTES_MAX, Command
from mmgr.protocol.replies import Accept, Continue, Discard, Edit, Quarantine, Skip, Verdict

OWN_HEADER: HeaderField = (b"(the MTA's own)", b"")
"""Stands for the Received that Postfix puts on top: it counts for insertions, and no milter sees it."""

Refusal = tuple[str, Verdict]
"""A stage and the verdict that was given there."""


@dataclass(frozen=True)
class Result:
    """What becomes of one message, as the SMTP client and the queue see it.

    decision is None for a message that is let pass; then message is what lies in the queue, with OWN_HEADER on top, and
    quarantine the reason to hold it. One without recipients is given up before DATA, and there is no message.
    """

    decision: Refusal | None
    refused: tuple[tuple[bytes, Verdict], ...]
    message: Message | None = None
    quarantine: bytes | None = None


class _Refused(Exception):
    """The stage and the verdict that ended the transaction."""


class SequentialMta:
    """One SMTP session of an MTA with these milters, in this order. Owns the peers."""

    def __init__(self, peers: Sequence[MtaPeer], client: SmtpClient) -> None:
        self._peers = list(peers)
        self._left = list(peers)
        self._client = client
        self._standing: Refusal | None = None
        self._has_mail = False

    def begin(self) -> None:
        """Negotiate, connect, helo. A verdict here is that of every message."""
        for peer in self._peers:
            peer.negotiate()
        caller = self._client.connect
        try:
            self._ask_client(Command.SMFIC_CONNECT, lambda peer: peer.connect(*vars(caller).values()))
            self._ask_client(Command.SMFIC_HELO, lambda peer: peer.helo(self._client.helo))
        except _Refused as refused:
            self._standing = refused.args[0]

    def deliver(self, message: Message) -> Result:
        """One message, as far as it gets."""
        if self._standing is not None:
            return Result(self._standing, ())
        if self._has_mail:
            for peer in self._peers:
                peer.abort()
        self._has_mail = True
        refused: list[tuple[bytes, Verdict]] = []
        try:
            return self._transaction(message, refused)
        except _Refused as end:
            stage, verdict = end.args[0]
            if hangs_up(verdict):
                self._standing = (stage, verdict)
            return Result((stage, verdict), tuple(refused))

    def end(self) -> None:
        """QUIT to everybody."""
        for peer in self._peers:
            peer.quit()
            peer.close()

    def _ask_client(self, stage: int, ask: Callable[[MtaPeer], Verdict | None]) -> None:
        """Accept ends a milter for the session; discard means nothing where there is no message."""
        for peer in list(self._left):
            verdict = ask(peer)
            if isinstance(verdict, Accept):
                self._left.remove(peer)
            elif _refuses(verdict) and not isinstance(verdict, Discard):
                raise _Refused((stage_name(stage), verdict))

    def _transaction(self, message: Message, refused: list[tuple[bytes, Verdict]]) -> Result:
        asked = list(self._left)
        self._ask(asked, Command.SMFIC_MAIL, lambda peer: peer.mail(message.sender, *message.sender_parameters))
        kept = []
        for recipient in message.recipients:
            try:
                self._ask(asked, Command.SMFIC_RCPT, lambda peer, one=recipient: peer.rcpt(one))
                kept.append(recipient)
            except _Refused as end:
                if not is_refusal(end.args[0][1]):
                    raise
                refused.append((recipient, end.args[0][1]))
        if refused and not kept:
            verdicts = [verdict for _, verdict in refused]
            temporary = [verdict for verdict in verdicts if status_of(verdict) is Status.TEMPORARY_FAILURE]
            raise _Refused((stage_name(Command.SMFIC_RCPT), (temporary or verdicts)[0]))
        if not kept:
            return Result(None, ())
        if self._client.unknown is not None:
            for peer in asked:
                peer.unknown(self._client.unknown)
        self._ask(asked, Command.SMFIC_DATA, lambda peer: peer.data())
        return self._content(asked, replace(message, recipients=tuple(kept)), tuple(refused))

    def _ask(self, asked: list[MtaPeer], stage: int, ask: Callable[[MtaPeer], Verdict | None]) -> None:
        """Accept ends a milter for the message."""
        for peer in list(asked):
            verdict = ask(peer)
            if isinstance(verdict, Accept):
                asked.remove(peer)
            elif _refuses(verdict):
                raise _Refused((stage_name(stage), verdict))

    def _content(
        self, asked: Sequence[MtaPeer], message: Message, refused: tuple[tuple[bytes, Verdict], ...]
    ) -> Result:
        """Each milter gets the message with the edits of those before it."""
        message = replace(message, headers=(OWN_HEADER, *message.headers))
        reasons: list[bytes] = []
        for peer in asked:
            edits = _judge(peer, message)
            message = apply_edits(message, edits, peer.options.has_leading_space())
            reasons += [edit.reason for edit in edits if isinstance(edit, Quarantine)]
        return Result(None, refused, message, b"; ".join(dict.fromkeys(reasons)) if reasons else None)


def _judge(peer: MtaPeer, message: Message) -> list[Edit]:
    """The edits that count of one milter, none if it let the message go early; raises _Refused.

    The SMTP client sees a refusal behind the final dot, at whatever command of the content it was given.
    """
    for verdict in _steps(peer, message):
        if isinstance(verdict, Accept):
            return []
        if _refuses(verdict):
            raise _Refused((stage_name(Command.SMFIC_BODYEOB), verdict))
    verdict = peer.end_of_message()
    if _refuses(verdict):
        raise _Refused((stage_name(Command.SMFIC_BODYEOB), verdict))
    return peer.edits


def _steps(peer: MtaPeer, message: Message) -> Iterator[Verdict | None]:
    """What it says to each command of the content but the last."""
    spaced = peer.options.has_leading_space()
    for name, value in message.headers:
        if (name, value) != OWN_HEADER:
            yield peer.header(name, value if spaced else without_one_space(value))
    yield peer.eoh()
    for chunk in message.chunks:
        for start in range(0, len(chunk), CHUNK_BYTES_MAX):
            yield peer.body(chunk[start : start + CHUNK_BYTES_MAX])


def _refuses(verdict: Verdict | None) -> bool:
    return verdict is not None and not isinstance(verdict, (Continue, Skip, Accept))
