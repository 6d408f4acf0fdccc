"""What a session tells of itself: each event one line of the log, named in docs/log-catalogue.md, and its title."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Sequence
from typing import Callable

from mmgr.config.model import FallbackStatus
from mmgr.log import RateLimit, quick_info, quoted, shown
from mmgr.protocol.commands import decode_connect
from mmgr.protocol.constants import STAGE_NAMES
from mmgr.protocol.framing import PAYLOAD
from workers.child import Child
from workers.dispatch import Decision
from workers.gate import Stop
from workers.sessionstatistics import Edited, begin
from workers.transaction import Transaction
from workers.verdict import verdict_name

log = logging.getLogger(__name__)

_BLANK = "\\x20"

_warnings = RateLimit()


class SessionLog:
    """The log of one session. client is the SMTP client as people see it, "" until it is known."""

    def __init__(self, session_id: str) -> None:
        self._id = session_id
        self.client = ""
        self._began = time.monotonic()
        self._is_told_of = False
        self._statistics = begin()

    def transaction(
        self,
        transaction: Transaction,
        outcome: str,
        command: int,
        queue_id: bytes,
        children: str,
        edited: Sequence[Edited] = (),
    ) -> None:
        """The one line of a transaction; child is the one that decided, if one did. children is a ``summary``.

        edited is what each child made of a message whose edits the MTA was told.
        """
        self._is_told_of = True
        quick_info(
            "transaction session=%s queue_id=%s client=%s sender=%s recipients=%s refused=%s stage=%s verdict=%s "
            "child=%s elapsed_s=%.4f size_bytes=%d edits=%d children=%s edited_by=%s",
            self._id,
            shown(queue_id) if queue_id else "-",
            self.client or "-",
            "-" if transaction.sender is None else shown(transaction.sender),
            transaction.recipients if transaction.is_counting else "-",
            transaction.refused if transaction.is_counting else "-",
            STAGE_NAMES.get(command, "-"),
            outcome,
            transaction.decided_by or "-",
            time.monotonic() - transaction.started,
            transaction.message.body.size_bytes,
            transaction.edits,
            children,
            ",".join([f"{name}:{len(edits) + has_body}" for name, edits, has_body in edited]) if edited else "-",
        )
        if self._statistics is not None:
            told = transaction.message.edits if transaction.edits else ()
            self._statistics.transaction(STAGE_NAMES.get(command, "unknown"), outcome, children, edited, told)

    def session_refused(self, command: int, decision: Decision, children: Iterable[Child]) -> None:
        """A child refused the client at connect or helo: there will be no transaction to tell of."""
        text = self._before_mail(command, verdict_name(decision.verdict), children)
        log.info(
            "session-refused session=%s client=%s stage=%s verdict=%s child=%s children=%s",
            self._id,
            self.client or "-",
            STAGE_NAMES[command],
            verdict_name(decision.verdict),
            decision.child or "-",
            text,
        )

    def session_passed(self, command: int, children: Iterable[Child]) -> None:
        """Conditions keep every child out of the session, so the MTA will not tell of its messages."""
        text = self._before_mail(command, "accept", children)
        log.info(
            "session-passed session=%s client=%s stage=%s children=%s",
            self._id,
            self.client or "-",
            STAGE_NAMES[command],
            text,
        )

    def _before_mail(self, command: int, verdict: str, children: Iterable[Child]) -> str:
        """The ``summary``, of which the statistics are told too."""
        self._is_told_of = True
        text = summary(children)
        if self._statistics is not None:
            self._statistics.refused(STAGE_NAMES[command], verdict, text)
        return text

    def ended(self, command: int, children: Callable[[], str]) -> None:
        """The session is over. That is told at debug, and only if nothing else was told of it.

        command is the last one before its first message, 0 if it came to none: a mere negotiation is no session.
        children gives a ``summary``, where it is wanted.
        """
        if not command and not self._is_told_of:
            return
        stage = STAGE_NAMES.get(command, "unknown")
        if not self._is_told_of and log.isEnabledFor(logging.DEBUG):
            elapsed_s = time.monotonic() - self._began
            line = "session-ended session=%s client=%s stage=%s elapsed_s=%.4f children=%s"
            log.debug(line, self._id, self.client or "-", stage, elapsed_s, children() or "-")
        if self._statistics is not None:
            self._statistics.ended(stage, children())

    def mta_misbehaved(self, deed: str, error: Exception) -> None:
        """The MTA, or whatever it is that connected to us, did what no MTA does."""
        repeated = _warnings.allows((deed, _cause(error)))
        if repeated is not None:
            log.warning(
                "mta-misbehaved session=%s client=%s deed=%s error=%s%s",
                self._id,
                self.client or "-",
                quoted(deed),
                quoted(str(error)),
                repeated,
            )

    def mta_gone(self, error: Exception) -> None:
        """It closed without QUIT, as both MTAs do now and then."""
        log.debug("mta-gone session=%s client=%s error=%s", self._id, self.client or "-", quoted(str(error)))

    def spool_failed(self, error: Exception, status: FallbackStatus) -> None:
        """A body could not be kept: somebody has to make room."""
        log.error("spool-failed session=%s error=%s fallback=%s", self._id, quoted(str(error)), status.value)

    def own_fault(self, command: int) -> None:
        """A bug of ours, called while its exception is handled: with the traceback."""
        log.exception("session-fault session=%s stage=%s", self._id, STAGE_NAMES.get(command, "?"))


def client_name(connect: bytes) -> str:
    """The client as people see it, from the frame of the connect step: ``mx.example.net[192.0.2.7]``."""
    message = decode_connect(connect[PAYLOAD:])
    address = f"[{shown(message.address)}]" if message.address else ""
    name = shown(message.hostname)
    return ("unknown" if name == address else name) + address


def _cause(error: Exception) -> str:
    """What kind of fault it was, without what the peer itself put into the text: numbers and its own bytes."""
    return re.sub(r"\d+", "N", str(error)).split(": ", 1)[0]


def summary(children: Iterable[Child]) -> str:
    """``name:verdict:seconds,...``: a failed child says so, one in evaluation mode has its verdict in parentheses."""
    return ",".join(map(_summary_of_one, children)) or "-"


def stopped_name(stop: Stop) -> str:
    """``stopped(Remote_Network)``."""
    return f"stopped({shown(stop.condition.encode()).replace(_BLANK, '_')})"


def _summary_of_one(child: Child) -> str:
    name = "failed" if child.failure else verdict_name(child.verdict)
    if child.stopped is not None:
        name = stopped_name(child.stopped)
    if child.settings.evaluation_mode:
        name = f"({name})"
    return f"{child.name}:{name}:{child.waited_s:.4f}"
