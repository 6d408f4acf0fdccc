"""The conversation with one child in one session: connected when needed, greeted, told what it missed, told, heard.

What a reply means, and whether the child is asked at all, is ``workers.child``'s, which builds on this.
"""

from __future__ import annotations

import time
from typing import Callable, cast, get_args

from mmgr.config.model import ChildSettings
from mmgr.counts import CONNECTED
from mmgr.errors import ChildError, ChildProtocolError, ChildUnavailable
from mmgr.protocol.constants import Command
from mmgr.protocol.options import ANSWERED, OptionNegotiation
from mmgr.protocol.replies import Verdict
from mmgr.stream import FrameStream
from workers import childlog
from workers.gate import Gate
from workers.link import ChildLink
from workers.plan import Step, is_wanted, lacks
from workers.surroundings import Surroundings
from workers.verdict import CONTINUE

_NOTHING: frozenset[int] = frozenset()
_VERDICTS = get_args(Verdict)
_CONNECT, _MAIL, _RCPT = map(int, (Command.SMFIC_CONNECT, Command.SMFIC_MAIL, Command.SMFIC_RCPT))


class Correspondent:
    """Whom ``Child`` talks to.

    Nearly every command is answered with continue, so ``dispatch`` has a short way: a command in usual goes out by
    write_at_once, and the reply is heard by hears. awaited is the step whose reply is due, is_inside says whether the
    child was told of the current message, waited_s how long it was waited for; the short way keeps them up to date.
    """

    write_at_once: Callable[[bytes], bool]
    hears: Callable[[bytes], bool]

    def __init__(self, settings: ChildSettings, around: Surroundings) -> None:
        self.settings = settings
        self.name = settings.name
        self.failure: ChildError | None = None
        self.waited_s = 0.0
        self.usual = _NOTHING
        self.awaited: Step | None = None
        self.is_inside = False
        self._around = around
        self._link: ChildLink | None = None
        self._is_out = False
        self._is_done = False
        self._has_recipient = False
        self._is_shown_waiting = False
        self._is_to_blame = True
        self._breaker = around.memory.panel.of(settings.name)
        self._assumed = around.memory.options.get((settings.name, around.offer))
        self._gate = _gate_of(settings, around) if settings.applicable_conditions else None
        self._withheld: list[Step] = []

    @property
    def options(self) -> OptionNegotiation | None:
        """What it negotiated; while it is not connected, what it did in an earlier session with the same offer."""
        if self._link is not None:
            return self._link.options
        return self._assumed

    @property
    def is_asked(self) -> bool:
        """Does it take part in the current message, or, between messages, in the session?"""
        return not (self._is_out or self._is_done or self.failure)

    def connect_early(self) -> None:
        """Connect while the MTA is not waiting yet, if the step that comes now needs it anyway. Never raises.

        What it answers to the offer is looked at when its answer to that step is due. If anything is in the way the
        step connects as ever.
        """
        if self._gate is None or _CONNECT not in self._gate.commands:
            self._connect_assuming()

    def _connect_assuming(self) -> None:
        """Connect and offer; that it answers as remembered is found out later."""
        assumed = self._assumed
        if self._link is None and assumed is not None and assumed.routes[_CONNECT] and self.is_asked:
            self._link = ChildLink.begin(self.settings, self._around.offer, self._be_patient, assumed)
            if self._link is not None:
                self._around.memory.notes.add(self.name, CONNECTED)

    def adopt(self, connected: FrameStream, options: OptionNegotiation, is_greeting: bool) -> None:
        """Go on with a connection on which the offer was sent; is_greeting: what it answered is still to be heard."""
        self._link = ChildLink(self.settings, connected, self._be_patient)
        self._link.adopt(options, is_greeting)
        self._find_short_way()

    def close(self) -> None:
        """The session is over. For the breaker it was a good one if the child answered all that it was asked."""
        if self._breaker is not None and not self._breaker.is_calm:
            link = self._link
            if link is not None and not (link.is_greeting or self.awaited or self.is_inside or self.failure):
                self._has_worked(is_message=False)
            self._breaker.let_go()
        if self._link is not None:
            self._link.close(is_polite=self.awaited is None)
            self._link = None
            self.usual = _NOTHING

    def _open(self, limit: float | None = None) -> None:
        """Connect, negotiate, and tell it what it missed; what it says to that counts now."""
        started = time.monotonic()
        try:
            limit = self._around.limit() if limit is None else limit
            self._link = ChildLink.open(self.settings, self._around.offer, self._be_patient, limit)
        finally:
            self.waited_s += time.monotonic() - started
            self._end_waiting()
        self._around.memory.notes.add(self.name, CONNECTED)
        self._remember(self._link.options)
        for step in self._around.history():
            if not self.is_asked:
                break
            if step in self._withheld:
                continue
            self._transmit(step)
            if self.awaited is not None:
                self._settle(self._late_reply(time.monotonic()), step.command)

    def _finish_greeting(self) -> None:
        """Take the answer to the offer. Another than remembered is another program's: begin anew with it."""
        assert self._link is not None
        self._link.finish_greeting(self._around.offer, self._around.limit())
        if self._link.options is self._assumed or self._link.options == self._assumed:
            return
        awaited, self.awaited = self.awaited, None
        self._close_link()
        self._open()
        if awaited is not None and self.is_asked:
            self._transmit(awaited)

    def _remember(self, options: OptionNegotiation) -> None:
        """Keep what it negotiated for later sessions. Raises ChildUnavailable if it came back wanting more than before.

        In this session the MTA was told to leave that out, and half a message is worse than none.
        """
        if options is self._assumed:
            return
        self._assumed = options
        self._around.memory.keep_options(self.name, self._around.offer, options)
        told = self._around.told()
        if told.version and lacks(options, told):
            self._is_to_blame = False
            raise ChildUnavailable("it negotiated anew and wants more than the MTA was told to send in this session")

    def _transmit(self, step: Step) -> None:
        """Send a step's macros, which go out even for a command that the child declined, and the command if wanted.

        Of a recipient that the MTA refused a child that did not ask for those is told nothing at all, as by the MTA.
        """
        link = self._link
        assert link is not None
        command = step.command
        if self._gate is not None:
            step = self._gate.adapted(step)
        if link.is_greeting and command != _CONNECT:
            self._finish_greeting()
            link = self._link
            if link is None or not self.is_asked:
                return
        data: bytes | None = step.macros
        if is_wanted(step, link.options, self._has_recipient):
            data = step.joined
            if link.options.routes[command] == ANSWERED:
                self.awaited = step
        elif step.is_refused:
            return
        self.note_sent(command)
        if data:
            link.send(data)

    def note_sent(self, command: int) -> None:
        """The child was told of this command, or of its macros."""
        if command == _MAIL:
            self.is_inside = True
        elif command == _RCPT:
            self.is_inside = self._has_recipient = True

    def _late_reply(self, started: float) -> Verdict:
        """The verdict that is awaited, within the reading timeout, waited for since started. Raises ChildError."""
        try:
            assert self._link is not None
            if self._link.is_greeting:
                self._finish_greeting()
                if self.awaited is None:
                    return CONTINUE
            reply = self._link.late_reply(started, self._around.limit)
        finally:
            self.waited_s += time.monotonic() - started
            if self._is_shown_waiting:
                self._end_waiting()
        self.awaited = None
        if not isinstance(reply, _VERDICTS):
            raise ChildProtocolError(f"{type(reply).__name__} came before the end of the message")
        return cast(Verdict, reply)

    def _find_short_way(self) -> None:
        """Say which commands may go the short way from now on."""
        link = self._link
        if link is None or link.is_greeting or not (self.is_asked and link.is_clear):
            self.usual = _NOTHING
        else:
            self.usual = link.usual if self._gate is None else link.usual - self._gate.commands
            self.write_at_once = link.write_at_once
            self.hears = link.hears

    def _be_patient(self) -> None:
        """It has been waited for for another second: the title says so, and the MTA may be asked for patience."""
        if not self._is_shown_waiting:
            self._is_shown_waiting = True
            self._around.tell_wait(self.name)
        if self._breaker is not None:
            self._breaker.keep()
        self._around.patience()

    def _end_waiting(self) -> None:
        if self._is_shown_waiting:
            self._is_shown_waiting = False
            self._around.tell_wait("")

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close(is_polite=False)
            self._link = None
            self.usual = _NOTHING

    def _has_worked(self, is_message: bool) -> None:
        """It answered a whole message, or all of a session: that ends its failures in a row."""
        closed = self._breaker.worked(is_message) if self._breaker is not None else None
        if closed is not None:
            childlog.breaker_closed(self._around.session_id, self.name, closed)

    def _settle(self, reply: Verdict, command: int) -> None:
        raise NotImplementedError


def _gate_of(settings: ChildSettings, around: Surroundings) -> Gate | None:
    if around.witness is None:
        return None
    return Gate([around.conditions[name] for name in settings.applicable_conditions], around.witness.facts)
