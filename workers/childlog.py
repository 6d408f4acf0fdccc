"""What is told of a child that fails or says what nobody can use: one line of the log for each event."""

from __future__ import annotations

import logging
import time

from mmgr.breaker import State
from mmgr.config.model import ChildSettings
from mmgr.errors import ChildError
from mmgr.log import RateLimit, quoted
from mmgr.protocol.constants import STAGE_NAMES
from mmgr.protocol.replies import Verdict
from workers.gate import Stop
from workers.verdict import verdict_name

log = logging.getLogger(__name__)

_warnings = RateLimit()


def child_failed(session_id: str, settings: ChildSettings, command: int, failure: ChildError) -> None:
    """It is out for the session, and its fallback counts."""
    repeated = _warnings.allows((settings.name, type(failure), command))
    if repeated is not None:
        log.warning(
            "child-failed session=%s child=%s stage=%s kind=%s error=%s fallback=%s%s",
            session_id,
            settings.name,
            STAGE_NAMES.get(command, "?"),
            type(failure).__name__,
            quoted(str(failure)),
            settings.fallback_status.value,
            repeated,
        )


def child_stopped(session_id: str, child: str, command: int, stop: Stop) -> None:
    """A condition keeps it out of the session, of the message, or does so for one recipient."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "child-stopped session=%s child=%s stage=%s condition=%s reason=%s",
            session_id,
            child,
            STAGE_NAMES.get(command, "?"),
            quoted(stop.condition),
            quoted(stop.reason),
        )


def breaker_opened(session_id: str, settings: ChildSettings, state: State, failure: ChildError) -> None:
    """It failed in so many sessions in a row: from now on they do without it, and one at a time tries."""
    log.warning(
        "breaker-open session=%s child=%s failures=%d error=%s fallback=%s next_probe_s=%g",
        session_id,
        settings.name,
        state.failures,
        quoted(str(failure)),
        settings.fallback_status.value,
        settings.breaker_retry_s,
    )


def breaker_closed(session_id: str, name: str, was: State) -> None:
    """A session that tried was answered: all use it again."""
    after_s = time.monotonic() - was.open_since
    log.info(
        "breaker-closed session=%s child=%s failures=%d after_s=%.1f cause=worked",
        session_id,
        name,
        was.failures,
        after_s,
    )


def reply_unusable(session_id: str, name: str, command: int, fault: str, counted: Verdict) -> None:
    """It said what counts as something else."""
    repeated = _warnings.allows((name, command, fault[:20]))
    if repeated is not None:
        log.warning(
            "child-reply-unusable session=%s child=%s stage=%s error=%s counted_as=%s%s",
            session_id,
            name,
            STAGE_NAMES.get(command, "?"),
            quoted(fault),
            verdict_name(counted),
            repeated,
        )
