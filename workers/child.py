"""One child as one session sees it: connected when first needed, asked, counted, out for the session once it fails.

Nothing that a child does escapes from here as an exception: a failure turns into the child's fallback. Called by
``workers.dispatch`` (envelope) and ``workers.judging`` (message).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import cast, get_args

from mmgr.config.model import ChildSettings
from mmgr.errors import ChildError, ChildProtocolError, ChildUnavailable
from mmgr.log import RateLimit, quoted
from mmgr.protocol.commands import Abort, encode_command
from mmgr.protocol.constants import STAGE_NAMES, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import AddHeader, ChgHeader, Continue, Edit, InsHeader, ReplyMessage, Skip, Verdict
from workers.content import Content
from workers.judgement import Judgement
from workers.link import ChildLink
from workers.message import Message
from workers.plan import Step, is_refused_recipient, is_wanted, lacks
from workers.spool import SpoolError
from workers.surroundings import Outcome, Surroundings
from workers.verdict import CONTINUE, SESSION_STAGES, as_counted, fallback, is_deciding, verdict_name

log = logging.getLogger(__name__)

SHOWN_AFTER_S = 1.0
"""A child that is being waited for stands in the process title after this long."""

_ABORT = encode_command(Abort())
_VERDICTS = get_args(Verdict)

_warnings = RateLimit()


class _Failing:
    """Turns what a child does wrong into its failure. A class and no generator: entered some thirty times a message."""

    __slots__ = ("_child", "_command")

    def __init__(self, child: Child, command: int) -> None:
        self._child = child
        self._command = command

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, (ChildError, RemoteProtocolError)):
            self._child.fail(error, self._command)
            return True
        if isinstance(error, SpoolError):
            self._child.fail(ChildProtocolError(f"cut off: {error}"), self._command)
        return False


class Child:
    """One child in one session. verdict is the last that decided something in the current transaction, for the log."""

    def __init__(self, settings: ChildSettings, around: Surroundings) -> None:
        self.settings = settings
        self.name = settings.name
        self.verdict: Verdict = CONTINUE
        self.failure: ChildError | None = None
        self.waited_s = 0.0
        self._around = around
        self._link: ChildLink | None = None
        self._awaited: Step | None = None
        self._said: Verdict = CONTINUE
        self._is_out = False
        self._is_done = False
        self._is_inside = False
        self._has_recipient = False
        self._judgement: Judgement | None = None
        self._began = 0.0
        self._is_shown_waiting = False

    @property
    def options(self) -> OptionNegotiation | None:
        """What it negotiated; while it is not connected, what it did in an earlier session with the same offer."""
        if self._link is not None:
            return self._link.options
        return self._around.remembered.get((self.name, self._around.offer))

    @property
    def is_asked(self) -> bool:
        """Does it take part in the current message, or, between messages, in the session?"""
        return not (self._is_out or self._is_done or self.failure)

    def negotiate(self, limit: float) -> None:
        """Connect and negotiate until limit, unless what it wants is remembered. Never raises; see ``failure``."""
        if self.options is None:
            with self._failing(Command.SMFIC_OPTNEG):
                self._open(limit)

    # ---- envelope

    def send(self, step: Step) -> None:
        """Send one envelope step if this child is to have it, connecting first if need be. Never raises."""
        if step.command == Command.SMFIC_MAIL:
            self.begin_message()
        self._said = CONTINUE
        if self.is_asked:
            with self._failing(step.command):
                self._send(step)

    def receive(self, step: Step) -> Verdict:
        """What this child says to the step sent last, as it counts; continue if it was not asked. Never raises."""
        if self._awaited is not None:
            with self._failing(step.command):
                self._settle(self._reply(), step.command)
        return self._counted(step.command)

    def begin_message(self) -> None:
        """A new transaction: what was said of the last one is forgotten."""
        self.end_message()
        self.verdict = CONTINUE
        self.waited_s = 0.0
        self._is_done = self._has_recipient = False

    def end_message(self) -> None:
        """The transaction is over, however; a child that is still inside it is told to forget it. Never raises."""
        if self._is_inside and self._link is not None:
            with self._failing(Command.SMFIC_ABORT):
                self._link.send([_ABORT])
        self._is_inside = False

    def close(self) -> None:
        """The session is over."""
        if self._link is not None:
            self._link.close(is_polite=self._awaited is None)
            self._link = None

    def _send(self, step: Step) -> None:
        options = self.options
        if self._link is None and (options is None or is_wanted(step, options, self._has_recipient)):
            self._open()
        if self._link is not None and self.is_asked:
            self._transmit(step)

    def _open(self, limit: float | None = None) -> None:
        """Connect, negotiate, and tell it what it missed; what it says to that counts now."""
        started = time.monotonic()
        try:
            limit = self._around.limit() if limit is None else limit
            self._link = ChildLink.open(self.settings, self._around.offer, self._be_patient, limit)
        finally:
            self.waited_s += time.monotonic() - started
            self._end_waiting()
        self._remember(self._link.options)
        for step in self._around.history():
            if not self.is_asked:
                break
            self._transmit(step)
            if self._awaited is not None:
                self._settle(self._reply(), step.command)

    def _remember(self, options: OptionNegotiation) -> None:
        """Keep what it negotiated for later sessions. Raises ChildUnavailable if it came back wanting more than before.

        In this session the MTA was told to leave that out, and half a message is worse than none.
        """
        self._around.remembered[self.name, self._around.offer] = options
        told = self._around.told()
        if told.version and lacks(options, told):
            raise ChildUnavailable("it negotiated anew and wants more than the MTA was told to send in this session")

    def _transmit(self, step: Step) -> None:
        """Send a step's macros, which go out even for a command that the child declined, and the command if wanted.

        Of a recipient that the MTA refused a child that did not ask for those is told nothing at all, as by the MTA.
        """
        assert self._link is not None
        options = self._link.options
        frames = [step.macros] if step.macros is not None else []
        is_sent = is_wanted(step, options, self._has_recipient)
        if not is_sent and is_refused_recipient(step):
            return
        if is_sent:
            frames.append(step.frame)
            if options.answers(step.command):
                self._awaited = step
        if step.command in (Command.SMFIC_MAIL, Command.SMFIC_RCPT):
            self._is_inside = True
        if step.command == Command.SMFIC_RCPT:
            self._has_recipient = True
        if frames:
            self._link.send(frames)

    def _reply(self) -> Verdict:
        """The verdict that is awaited, within the reading timeout. Raises ChildError."""
        reply = self._next(self.settings.reading_timeout_s)
        self._awaited = None
        if not isinstance(reply, _VERDICTS):
            raise ChildProtocolError(f"{type(reply).__name__} came before the end of the message")
        return cast(Verdict, reply)

    def _next(self, timeout_s: float) -> ReplyMessage:
        assert self._link is not None
        started = time.monotonic()
        try:
            return self._link.reply(timeout_s, self._around.limit())
        finally:
            self.waited_s += time.monotonic() - started
            self._end_waiting()

    def _settle(self, reply: Verdict, command: int) -> None:
        """Take a reply: what it counts as, and whether the child is asked any further."""
        counted, fault = as_counted(reply, command)
        if fault:
            self._warn_of_reply(command, fault)
        self._said = counted
        if command == Command.SMFIC_BODYEOB or not isinstance(counted, (Continue, Skip)):
            self.verdict = counted
        if isinstance(counted, (Continue, Skip)):
            return
        if command in SESSION_STAGES:
            self._is_out = True
        elif command in (Command.SMFIC_RCPT, Command.SMFIC_UNKNOWN):
            self._is_done = not is_deciding(counted)
            self._is_inside = self._is_inside and not self._is_done
        else:
            self._is_done = True
            self._is_inside = False

    def _be_patient(self) -> None:
        """It has been waited for for another second: the title says so, and the MTA may be asked for patience."""
        if not self._is_shown_waiting:
            self._is_shown_waiting = True
            self._around.tell_wait(self.name)
        self._around.patience()

    def _end_waiting(self) -> None:
        if self._is_shown_waiting:
            self._is_shown_waiting = False
            self._around.tell_wait("")

    def _counted(self, command: int) -> Verdict:
        if self.settings.evaluation_mode:
            return CONTINUE
        if self.failure is not None:
            return fallback(self.settings.fallback_status, command)
        return self._said

    # ---- the message

    def begin_judgement(self, message: Message) -> bool:
        """Start giving it the message as it stands; is there anything to wait for? Never raises.

        What it said is then ``outcome``. A child that does not take part has none to wait for.
        """
        self._said = CONTINUE
        self._judgement = None
        self._began = time.monotonic()
        if self.is_asked:
            with self._failing(Command.SMFIC_BODYEOB):
                if self._link is None:
                    self._open()
                if self._link is not None and self.is_asked:
                    self._link.expect_silence()
                    self._is_inside = True
                    content = Content(message, self._link.options, self._around.macros, self._drops_spaces())
                    self._judgement = Judgement(
                        self.settings, self._link, content, self._around.make_body, self._around.limit()
                    )
        return self.advance(is_readable=False)

    def advance(self, is_readable: bool, wait_s: float = 0.0) -> bool:
        """Go on as far as possible, waiting up to wait_s to read; is there more to do? Raises SpoolError alone."""
        judgement = self._judgement
        if judgement is None or self.failure is not None:
            return False
        with self._failing(judgement.current):
            judgement.advance(is_readable, wait_s)
        if self.failure is None and not judgement.is_over:
            if time.monotonic() - self._began >= SHOWN_AFTER_S:
                self._be_patient()
            return True
        self._end_waiting()
        self.waited_s += time.monotonic() - self._began
        if self.failure is None:
            self._conclude(judgement)
        return False

    def cancel(self) -> None:
        """An earlier child decided: nobody wants to know any more what this one thinks of the message."""
        self._end_waiting()
        self._drop_judgement()
        self._is_done = True
        self._said = CONTINUE

    def outcome(self) -> Outcome:
        """What it made of the message, once nothing is left to wait for; edits that do not count are forgotten."""
        counted = self._counted(Command.SMFIC_BODYEOB)
        judgement, self._judgement = self._judgement, None
        if judgement is None:
            return Outcome(counted)
        if self.failure is not None or self.settings.evaluation_mode or is_deciding(counted):
            judgement.abandon()
            return Outcome(counted)
        return Outcome(counted, [self._with_spaces(edit) for edit in judgement.edits], judgement.new_body)

    @property
    def said(self) -> Verdict:
        """What it says to the message so far, as it counts."""
        return self._counted(Command.SMFIC_BODYEOB)

    @property
    def judgement(self) -> Judgement | None:
        """Its work on the current message, for whoever waits for it."""
        return self._judgement

    def _conclude(self, judgement: Judgement) -> None:
        """Take the verdict. A connection that is out of step is closed; a further message opens another."""
        assert judgement.verdict is not None
        self._is_inside = False
        self._settle(judgement.verdict, judgement.current)
        if not judgement.is_in_step:
            self._close_link()

    def _drop_judgement(self) -> None:
        if self._judgement is not None:
            self._judgement.abandon()
            self._judgement = None
            self._close_link()
        self._is_inside = False

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close(is_polite=False)
            self._link = None

    def _drops_spaces(self) -> bool:
        """Does the MTA send values with the space after the colon while this child does without?"""
        options = self.options
        return self._around.told().has_leading_space() and options is not None and not options.has_leading_space()

    def _with_spaces(self, edit: Edit) -> Edit:
        """An edit as the MTA expects it. An empty value is given its space too, but for the change that deletes."""
        is_deletion = isinstance(edit, ChgHeader) and not edit.value
        if isinstance(edit, (AddHeader, InsHeader, ChgHeader)) and not is_deletion and self._drops_spaces():
            return dataclasses.replace(edit, value=b" " + edit.value)
        return edit

    # ---- failure

    def _failing(self, command: int) -> _Failing:
        """Whatever the child does wrong in here ends it for the session; its fallback counts from then on."""
        return _Failing(self, command)

    def fail(self, error: Exception, command: int) -> None:
        """It did something wrong at this command: end it for the session."""
        self._fail(error if isinstance(error, ChildError) else ChildProtocolError(str(error)), command)

    def _fail(self, failure: ChildError, command: int) -> None:
        self.failure = failure
        self._awaited = None
        self._is_inside = False
        self._close_link()
        repeated = _warnings.allows((self.name, type(failure), command))
        if repeated is not None:
            log.warning(
                "child-failed session=%s child=%s stage=%s kind=%s error=%s fallback=%s%s",
                self._around.session_id,
                self.name,
                STAGE_NAMES.get(command, "?"),
                type(failure).__name__,
                quoted(str(failure)),
                self.settings.fallback_status.value,
                repeated,
            )

    def _warn_of_reply(self, command: int, fault: str) -> None:
        repeated = _warnings.allows((self.name, command, fault[:20]))
        if repeated is not None:
            log.warning(
                "child-reply-unusable session=%s child=%s stage=%s error=%s counted_as=%s%s",
                self._around.session_id,
                self.name,
                STAGE_NAMES.get(command, "?"),
                quoted(fault),
                verdict_name(self._said),
                repeated,
            )
