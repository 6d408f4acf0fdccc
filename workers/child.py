"""One child as one session sees it: connected when first needed, asked, counted, out for the session once it fails.

Nothing that a child does escapes from here as an exception: a failure turns into the child's fallback. Called by
``workers.dispatch`` (envelope) and ``workers.judging`` (message).
"""

from __future__ import annotations

import time
from typing import Callable

from mmgr import counts
from mmgr.config.model import ChildSettings
from mmgr.errors import ChildError, ChildProtocolError, ChildUnavailable
from mmgr.protocol.commands import Abort, encode_command
from mmgr.protocol.constants import STAGE_NAMES, Command
from mmgr.protocol.replies import Continue, Skip, Verdict
from workers import childlog
from workers.conditional import Conditional
from workers.content import Content, drops_spaces, short_blocks, with_space
from workers.giving import Given, give
from workers.judgement import Judgement
from workers.link import PEER_ERRORS, translated
from workers.message import Message
from workers.notes import kind_of
from workers.plan import Step, is_wanted
from workers.sessionstatistics import Edited
from workers.spool import SpoolError
from workers.surroundings import Outcome, Surroundings
from workers.verdict import CONTENT_STAGES, CONTINUE, SESSION_STAGES, as_counted, fallback, is_deciding, verdict_name

SHOWN_AFTER_S = 1.0
"""A child that is being waited for stands in the process title after this long."""

_ABORT = encode_command(Abort())
_CONNECT, _MAIL, _END = int(Command.SMFIC_CONNECT), int(Command.SMFIC_MAIL), int(Command.SMFIC_BODYEOB)
_AHEAD_OF_BODY = frozenset((int(Command.SMFIC_HEADER), int(Command.SMFIC_EOH)))

FAULTS = (ChildError, *PEER_ERRORS)
"""What a child does wrong: it is out for the session then, and its fallback counts."""


class Child(Conditional):
    """One child in one session. verdict is the last that decided something in the current transaction, for the log."""

    def __init__(self, settings: ChildSettings, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.verdict: Verdict = CONTINUE
        self.decided_at = _END
        self.edited = Edited(settings.name)
        self._said: Verdict = CONTINUE
        self._judgement: Judgement | None = None
        self._given: Given | None = None
        self._has_passed = False
        self._began = 0.0

    def consult_breaker(self) -> None:
        """At the start of a session: one that failed in many is as failed from the beginning, but for who probes."""
        if self._breaker is not None and not self._breaker.admits():
            self.failure = ChildUnavailable("it failed in many sessions, and is left alone for a while")

    def negotiate(self, limit: float) -> None:
        """Connect and negotiate until limit, unless what it wants is remembered. Never raises; see ``failure``.

        One with conditions is connected only once they let it take part.
        """
        if self.options is None and self.failure is None and self._gate is None:
            try:
                self._open(limit)
            except FAULTS as error:
                self.fail(error, Command.SMFIC_OPTNEG)

    # ---- envelope

    def send(self, step: Step) -> None:
        """Send one envelope step if this child is to have it, connecting first if need be. Never raises."""
        if step.command == _MAIL:
            self.begin_message()
        self._said = CONTINUE
        if self._is_out or self._is_done or not self._is_let_in(step) or self.failure:
            return
        try:
            if step.command == _CONNECT and self._gate is not None:
                self._connect_assuming()
            if self._link is None and (self._assumed is None or is_wanted(step, self._assumed, self._has_recipient)):
                self._open()
            if self._link is not None and self.is_asked:
                self._transmit(step)
        except FAULTS as error:
            self.fail(error, step.command)
        self._find_short_way()

    def receive(self, step: Step, started: float | None = None) -> Verdict:
        """What this child says to the step sent last, as it counts; continue if it was not asked. Never raises.

        started is a monotonic time since when it is waited for, if not since now.
        """
        if self.awaited is not None:
            started = started or time.monotonic()
            link = self._link
            if link is not None and link.is_greeting and link.is_clear and link.hears_as_expected():
                self.awaited = None
                self.waited_s += time.monotonic() - started
                self._find_short_way()
                return CONTINUE
            try:
                self._settle(self._late_reply(started), step.command)
            except FAULTS as error:
                self.fail(error, step.command)
            self._find_short_way()
        return self._counted(step.command)

    def begin_message(self) -> None:
        """A new transaction: what was said of the last one is forgotten."""
        self.end_message()
        if self._link is not None and not self._link.is_greeting:
            self._link.is_quiet()  # what it said since the last message is no answer to anything of this one
        self.verdict = CONTINUE
        self.decided_at = _END
        self.edited = Edited(self.name)
        self.waited_s = 0.0
        self._is_done = self._has_recipient = False
        self._forget_stops()
        self._find_short_way()

    def end_message(self) -> None:
        """The transaction is over, however; a child that is still inside it is told to forget it. Never raises.

        Between messages it takes part again, whatever it said of the one before.
        """
        if self.is_inside and self._link is not None:
            try:
                self._link.send(_ABORT)
            except FAULTS as error:
                self.fail(error, Command.SMFIC_ABORT)
        self.is_inside = self._has_recipient = self._is_done = False

    def _settle(self, reply: Verdict, command: int) -> None:
        """Take a reply: what it counts as, and whether the child is asked any further."""
        counted, fault = as_counted(reply, command)
        if fault:
            childlog.reply_unusable(self._around.session_id, self.name, command, fault, counted)
        self._said = counted
        if command == Command.SMFIC_BODYEOB or not isinstance(counted, (Continue, Skip)):
            self.verdict = counted
            self.decided_at = command
        if isinstance(counted, (Continue, Skip)):
            return
        if command in SESSION_STAGES:
            self._is_out = True
        elif command in (Command.SMFIC_RCPT, Command.SMFIC_UNKNOWN):
            self._is_done = not is_deciding(counted)
            self.is_inside = self.is_inside and not self._is_done
        else:
            self._is_done = True
            self.is_inside = False

    def _counted(self, command: int) -> Verdict:
        if self.failure is not None and not self.settings.evaluation_mode:
            return CONTINUE if self._is_spared(command) else fallback(self.settings.fallback_status, command)
        return CONTINUE if self.settings.evaluation_mode else self._said

    # ---- the message

    def was_given(self, given: Given | None) -> None:
        """It was given the current message by others already: wholly, with nothing but continue said, or in part."""
        self._given = given
        self._has_passed = given is None

    def passes(self, message: Message) -> bool:
        """The short way for a message: a child that works alone says continue to all of it. Never raises.

        False: what it was given so far and what it said stands in ``judgement``; if there is none, nothing was sent.
        """
        if self._has_passed:
            return self._pass()
        if not self._is_let_have(message):
            return False
        link = self._link
        if link is None or not self.settings.pipelining or not (self.usual or self._given):
            return False
        around = self._around
        drops = drops_spaces(around.told(), link.options)
        given, self._given = self._given, None
        self._said = CONTINUE
        self._began = time.monotonic()
        if given is None:
            is_hasty = self.name in around.memory.hasty
            blocks = short_blocks(message, link.options, around.macros, drops, is_hasty)
            if not blocks:
                return False
            self.is_inside = True
            given = give(link, blocks)
            if given is None:
                self.waited_s += time.monotonic() - self._began
                return self._pass()
        content = Content(message, link.options, around.macros, drops)
        self._judgement = Judgement(self.settings, link, content, around.make_body, around.limit())
        self._judgement.resume(given)
        return False

    def answer(self) -> tuple[str, str, str, float]:
        """For the counters, once a message: name, stage of its last answer, that answer, how long it was waited for."""
        if self.failure is not None and not self.settings.evaluation_mode:
            self._around.memory.notes.add(self.name, (counts.FALLBACK, self.settings.fallback_status.value))
        said = "stopped" if self.stopped else "failed" if self.failure else verdict_name(self.verdict)
        return self.name, STAGE_NAMES.get(self.decided_at, "other"), said, self.waited_s

    def _pass(self) -> bool:
        self._has_passed = self.is_inside = False
        self.verdict = CONTINUE
        self.decided_at = _END
        self._has_worked(is_message=True)
        return True

    def begin_judgement(self, message: Message) -> bool:
        """Start giving it the message as it stands; is there anything to wait for? Never raises.

        What it said is then ``outcome``. A child that does not take part has none to wait for.
        """
        self._said = CONTINUE
        self._judgement = None
        self._began = time.monotonic()
        if self._is_let_have(message) and self.is_asked:
            try:
                self._begin_judgement(message)
            except FAULTS as error:
                self.fail(error, _END)
        return self.advance(is_readable=False)

    def _begin_judgement(self, message: Message) -> None:
        if self._link is None:
            self._open()
        elif self._link.is_greeting:
            self._finish_greeting()
        link = self._link
        if link is not None and self.is_asked:
            link.expect_silence()
            self.is_inside = True
            content = Content(
                message, link.options, self._around.macros, drops_spaces(self._around.told(), link.options)
            )
            self._judgement = Judgement(self.settings, link, content, self._around.make_body, self._around.limit())

    def advance(self, is_readable: bool) -> bool:
        """Go on as far as possible without waiting; is there more to do? Raises SpoolError alone."""
        return self._go_on(lambda judgement: judgement.advance(is_readable))

    def work(self) -> bool:
        """``advance`` for a child that works alone: it waits by itself, for a moment."""
        return self._go_on(Judgement.work)

    def _go_on(self, go: Callable[[Judgement], object]) -> bool:
        judgement = self._judgement
        if judgement is None or self.failure is not None:
            return False
        try:
            go(judgement)
        except FAULTS as error:
            self.fail(error, judgement.current)
        except SpoolError as error:
            self._is_to_blame = False
            self.fail(ChildProtocolError(f"cut off: {error}"), judgement.current)
            raise
        if self.failure is None and judgement.verdict is None:
            if time.monotonic() - self._began >= SHOWN_AFTER_S:
                self._be_patient()
            return True
        if self._is_shown_waiting:
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
        edits = judgement.edits
        if edits or judgement.new_body is not None:
            self.edited = Edited(self.name, edits, judgement.new_body is not None)
            self._around.memory.notes.add_edits(*self.edited)
        options = self.options
        if edits and options is not None and drops_spaces(self._around.told(), options):
            edits = list(map(with_space, edits))
        return Outcome(counted, edits, judgement.new_body)

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
        self.is_inside = False
        if judgement.current in _AHEAD_OF_BODY:
            self._around.memory.hasty.add(self.name)
        self._settle(judgement.verdict, judgement.current)
        if judgement.is_chattering and judgement.current == _END:
            fault = "a reply that nobody asked for"
            childlog.reply_unusable(self._around.session_id, self.name, _END, fault, self._said)
        self._has_worked(is_message=True)
        if not judgement.is_in_step:
            self._close_link()

    def _drop_judgement(self) -> None:
        if self._judgement is not None:
            self._judgement.abandon()
            self._judgement = None
            self._close_link()
        self.is_inside = False

    # ---- failure

    def fail(self, error: Exception, command: int) -> None:
        """It did something wrong at this command: end it for the session; its fallback counts from then on."""
        failure = error if isinstance(error, ChildError) else translated(error)
        self.failure = failure
        self.decided_at = command
        self.awaited = None
        self.is_inside = False
        self._note_failure(failure, command)
        self._close_link()
        breaker = self._breaker if self._is_to_blame else None
        is_known = breaker is not None and breaker.is_open
        if not is_known:
            childlog.child_failed(self._around.session_id, self.settings, command, failure)
        opened = breaker.failed(command in CONTENT_STAGES) if breaker is not None else None
        if opened is not None:
            childlog.breaker_opened(self._around.session_id, self.settings, opened, failure)

    def _note_failure(self, failure: ChildError, command: int) -> None:
        """For the counters, unless it was no fault of the child; what failed without a connection was that."""
        if self._is_to_blame:
            notes, kind = self._around.memory.notes, kind_of(failure)
            notes.add(self.name, counts.failure(STAGE_NAMES.get(command, ""), kind))
            if self._link is None:
                notes.add(self.name, (counts.CONNECT, kind))
