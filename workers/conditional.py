"""A child that takes part only where its conditions say so: what is kept from it, and what that is called afterwards.

``workers.child`` builds on this, and this on the conversation with the child; ``workers.gate`` asks the conditions.
"""

from __future__ import annotations

from mmgr.conditions.base import Stage
from mmgr.config.model import ChildSettings, FallbackStatus
from mmgr.protocol.constants import Command
from workers import childlog
from workers.correspondent import Correspondent
from workers.gate import NO_RECIPIENT, STAGES, Stop
from workers.message import Message
from workers.plan import Step
from workers.surroundings import Surroundings
from workers.verdict import SESSION_STAGES

_CONNECT, _DATA, _RCPT = int(Command.SMFIC_CONNECT), int(Command.SMFIC_DATA), int(Command.SMFIC_RCPT)
_END = int(Command.SMFIC_BODYEOB)


class Conditional(Correspondent):
    """stopped is what keeps the child out of the session or the message, None if nothing does; decided_at is where."""

    def __init__(self, settings: ChildSettings, around: Surroundings) -> None:
        super().__init__(settings, around)
        self.stopped: Stop | None = None
        self.decided_at = _END
        self._stopped_at = _END
        self._has_let_in = False
        self._why_withheld = ""
        self._is_judged = False
        self._is_data_judged = False
        self._is_kept_back = False

    @property
    def has_conditions(self) -> bool:
        """May it be left out of this session, or of a message?"""
        return self._gate is not None

    @property
    def may_refuse_later(self) -> bool:
        """Did it fail, with a fallback that refuses, while its conditions may not have been decided yet?"""
        is_open = self._gate is not None and self.stopped is None and not (self._is_out or self._is_done)
        return is_open and self._refuses_by_fallback()

    def _refuses_by_fallback(self) -> bool:
        is_refusing = self.settings.fallback_status is not FallbackStatus.ACCEPT
        return self.failure is not None and is_refusing and not self.settings.evaluation_mode

    def _is_spared(self, command: int) -> bool:
        """It failed: do conditions keep it out of this all the same, or may they do so later, which then counts?"""
        gate = self._gate
        if gate is None:
            return False
        return self.stopped is not None or self._is_kept_back or gate.is_open_after(command)

    def was_stopped(self, stop: Stop) -> None:
        """Others found that a condition keeps it out of the session, from connect on."""
        self.stopped = stop
        self.decided_at = self._stopped_at = _CONNECT
        self._is_out = True

    def _is_let_in(self, step: Step) -> bool:
        """Do its conditions let it take part in the step? If not it is out, or is not told of this one recipient."""
        gate, command = self._gate, step.command
        self._is_kept_back = False
        if gate is None or command not in gate.commands or step.is_left_out or step.is_refused:
            return True
        stop = None
        if command == _DATA:
            self._is_data_judged = True
            stop = self._lacks_recipients()
        stop = stop or gate.stop(STAGES[command])
        if stop is None:
            # a recipient that its fallback refuses is not one of the message
            self._has_let_in = self._has_let_in or (command == _RCPT and not self._refuses_by_fallback())
        elif command == _RCPT:
            self._withheld.append(step)
            self._is_kept_back = True
            self._why_withheld = stop.condition
            childlog.child_stopped(self._around.session_id, self.name, command, stop)
        else:
            self._stop(stop, command)
        return stop is None

    def _is_let_have(self, message: Message) -> bool:
        """Do its conditions let it have the message? They are asked once, when its turn has come."""
        gate, witness = self._gate, self._around.witness
        if gate is None or witness is None or self._is_judged or self._is_out or self._is_done:
            return self.stopped is None
        self._is_judged = True
        self._is_kept_back = False
        stop = self._lacks_recipients()
        if stop is None and not self._is_data_judged:
            stop = gate.stop(Stage.DATA)
        if stop is None and gate.is_about_content:
            witness.see_message(message)
            stop = gate.stop(Stage.CONTENT)
        if stop is not None:
            self._stop(stop, _END)
        return stop is None

    def _lacks_recipients(self) -> Stop | None:
        return Stop(self._why_withheld, NO_RECIPIENT) if self._withheld and not self._has_let_in else None

    def _stop(self, stop: Stop, command: int) -> None:
        """It is out: before MAIL for the session, else for this message."""
        childlog.child_stopped(self._around.session_id, self.name, command, stop)
        self.stopped = stop
        self.decided_at = self._stopped_at = command
        if command in SESSION_STAGES:
            self._is_out = True
            if self._link is not None:
                self._link.close(is_polite=self.awaited is None)
                self._link = None
        else:
            self.end_message()
            self._is_done = True
        self._find_short_way()

    def _forget_stops(self) -> None:
        """A new message: what is out for the session stays so."""
        if self._gate is not None:
            self._withheld.clear()
            self._has_let_in = self._is_judged = self._is_data_judged = False
            if self._is_out and self.stopped is not None:
                self.decided_at = self._stopped_at
            else:
                self.stopped = None

    def end_message(self) -> None:
        """The message is over for this child."""
        raise NotImplementedError
