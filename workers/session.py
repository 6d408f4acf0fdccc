"""One MTA connection from its negotiation to QUIT, straight-line: what the MTA sends, who is asked, what it is told.

The MTA's connection is never closed, and no command that is due a reply left without one, to signal trouble with a
child. Only bytes that are no milter protocol end it. Called by ``workers.main``, one session at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mmgr.conditions.base import Condition
from mmgr.config.model import Config
from mmgr.errors import PeerClosed, PeerTimeout, PeerTruncated
from mmgr.protocol.commands import check_command
from mmgr.protocol.constants import STAGE_NAMES, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE, PAYLOAD
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import TempFail
from mmgr.protocol.states import AFTER, IN_TRANSACTION, State, next_state
from mmgr.stream import FrameStream
from workers.child import Child
from workers.dispatch import Decision
from workers.express import Express
from workers.gate import WANTS_ALL, needs_of
from workers.link import CONTINUE_FRAME
from workers.mta import MtaLost
from workers.negotiation import WANTS_MAIL, answer_to_mta, decode_offer, offer_to_children, options_of_failed
from workers.plan import Step
from workers.route import ENVELOPE, make_plan
from workers.sessionlog import client_name, summary
from workers.surroundings import Memory, Surroundings
from workers.title import Title
from workers.transaction import STAGES
from workers.transactions import Transactions
from workers.verdict import ACCEPT, CONTINUE, SESSION_STAGES, verdict_name
from workers.witness import Witness

NEGOTIATION_BUDGET_S = 20.0
"""All children together get this long for connecting and negotiating; Postfix waits 30 s for the answer."""


class Session(Transactions):
    """One MTA connection. ``run`` blocks until it is over and raises nothing.

    memory is what earlier sessions learnt of the children; it is read and added to.
    """

    def run(self, begun: Express | None = None) -> None:
        """Serve the MTA until it quits, closes, falls silent or stops speaking the protocol.

        begun is how far the short way has come with it already.
        """
        try:
            if begun is not None:
                self._take_over(begun)
            self._serve()
        except PeerTimeout as error:
            self._events.mta_misbehaved("went silent", error)
        except (RemoteProtocolError, PeerTruncated) as error:
            self._events.mta_misbehaved("broke the protocol", error)
        except (PeerClosed, MtaLost) as error:
            self._events.mta_gone(error)
        finally:
            self._end_transaction("abort")
            self._events.ended(next(reversed(self._session_steps), 0), lambda: summary(self._children))
            for child in self._children:
                child.close()
            self._mta.close()

    def _serve(self) -> None:
        mta = self._mta
        while True:
            for frame in mta.read():
                if frame == self._repeated:
                    continue
                command = frame[CODE]
                if command == _HEADER:
                    came = self._collecting
                    if came is not None and not frame[-1] and frame.count(0, PAYLOAD) == 2:  # as ``check_command`` asks
                        came.append(frame)
                        continue
                self._collecting, self._repeated = None, b""
                mta.command = command
                if command not in _DECODED:
                    check_command(frame)
                if command == _QUIT:
                    return
                try:
                    self._take(command, frame)
                except (PeerClosed, PeerTimeout, MtaLost, RemoteProtocolError):
                    raise
                except Exception:  # noqa: BLE001  our own bug must not cost a mail: the MTA is told to try again
                    self._events.own_fault(command)
                    self._give_up()

    def _take(self, command: int, frame: bytes) -> None:
        """One command: macros, aborts and new connections at any time, everything else if it is in order."""
        if command == _MACRO:
            return self._take_macros(frame)
        following = AFTER[self._state].get(command)
        if following is not None:
            self._state = following
            _TAKE[command](self, frame)
        elif command in _AT_ANY_TIME or self._is_in_order(command):
            _TAKE[command](self, frame)
        else:
            self._take_out_of_order()
        return None

    def _is_in_order(self, command: int) -> bool:
        """Move on to the state after the command. What begins anew in mid-message aborts the message."""
        following = next_state(self._state, command, self._is_declined)
        if following is None and self._state in IN_TRANSACTION:
            following = next_state(State.HELO, command, self._is_declined)
            if following is not None:
                self._end_transaction("abort")
        self._state = following or self._state
        return following is not None

    def _take_out_of_order(self) -> None:
        """Answer, so that the MTA does not hang: again with accept what follows an accept, else try again later."""
        if self._is_let_go and self._mta.command in STAGES:
            return self._mta.tell(ACCEPT)
        if self._transaction is not None:
            self._transaction.is_broken = True
        what = f"{STAGE_NAMES[self._mta.command]} after {self._state.value}"
        if self._mta.command == Command.SMFIC_OPTNEG or self._state == State.START:
            raise RemoteProtocolError(what)
        self._events.mta_misbehaved("is out of order and gets a temporary failure", RemoteProtocolError(what))
        return self._mta.tell(TempFail())

    # ---- before and between messages

    def _take_negotiation(self, frame: bytes) -> None:
        message = self._offer = decode_offer(frame)
        self._start_children()
        for child in self._children:
            child.consult_breaker()
        limit = time.monotonic() + NEGOTIATION_BUDGET_S
        for child in self._children:
            child.negotiate(limit)
        wanted = [child.options or _needs_of_unknown(child) for child in self._children]
        wanted += needs_of(self._used_conditions(), wanted)
        self._mta.negotiate(answer_to_mta(message, wanted))
        self._title.negotiated()
        self._left_out = [stage for stage in ENVELOPE if self._is_declined(stage)]
        for child in self._children:
            child.connect_early()
        if frame not in self._memory.plans and not any(child.failure for child in self._children):
            options = [child.options for child in self._children]
            self._memory.keep_plan(frame, make_plan(self._config, message, self._mta.answer, options))
            self._memory.school.teach(frame, self._mta.answer, options)

    def _take_over(self, begun: Express) -> None:
        """Go on where the short way ended, in the middle of a command if need be: ``rest`` is looked at anew."""
        plan = begun.plan
        if plan is None:
            return self._mta.go_on(self._mta.answer, begun.rest)
        self._offer, self._state, self._macros = plan.offer, begun.state, begun.macros
        self._mta.learn(self._macros.get(_CONNECT) or b"")
        self._left_out = tuple(plan.left_out)
        self._session_steps, self._transaction = begun.session_steps, begun.transaction
        self._events = begun.events
        self._start_children(begun.selection.witness if begun.selection is not None else None)
        self._mta.go_on(plan.answer, begun.rest)
        stage = "between messages" if begun.state is State.END else begun.state.value
        self._title.stage(stage, self._events.client)
        begun.hand_over(self._children)
        if begun.selection is not None and not begun.children:
            for child in self._children:
                child.connect_early()
        self._mta.command = begun.command
        if begun.is_owed:
            self._mta.send([CONTINUE_FRAME])
        if begun.step is not None:
            untold = begun.chosen(self._children)[begun.told :]
            self._ask_all = lambda children, step: self._ask_rest(step, untold)
        return None

    def _used_conditions(self) -> list[Condition]:
        names = (
            name for child in self._children if child.has_conditions for name in child.settings.applicable_conditions
        )
        return [self._config.compiled[name] for name in dict.fromkeys(names)]

    def _start_children(self, witness: Witness | None = None) -> None:
        """Have children that know nothing yet; witness is what was seen of the session before."""
        if self._config.has_conditions:
            self._witness = witness or Witness(self._macros, self._memory.senses)
        around = Surroundings(
            session_id=self._id,
            offer=offer_to_children(self._offer),
            memory=self._memory,
            history=self._history,
            macros=self._macros.get,
            patience=self._mta.be_patient,
            tell_wait=self._title.waiting,
            make_body=self._make_body,
            limit=self._mta.limit,
            told=self._mta.told,
            witness=self._witness,
            conditions=self._config.compiled,
        )
        self._children = [Child(settings, around) for settings in self._config.enabled_children]

    def _history(self) -> list[Step]:
        steps = list(self._session_steps.values())
        return steps + self._transaction.steps if self._transaction else steps

    def _take_new_connection(self, frame: bytes) -> None:
        """QUIT_NC: another SMTP session on this connection. Children get new ones: few libraries know the command."""
        self._end_transaction("abort")
        for child in self._children:
            child.close()
        self._start_children()
        for child in self._children:
            child.consult_breaker()
        self._state = State.NEGOTIATED
        self._standing = None
        self._is_passed = False
        self._session_steps.clear()
        self._macros.clear()
        self._events.client = ""

    def _take_macros(self, frame: bytes) -> None:
        """Keep the macros of a stage; those of a step that the MTA was told to leave out are passed on at once."""
        stage = self._macros.take(frame)
        if stage == _CONNECT:
            self._mta.learn(frame)
        if stage in self._left_out and len(frame) > PAYLOAD + 1:
            self._pass_on_macros(Step(stage, b"", frame, is_left_out=True))

    def _pass_on_macros(self, step: Step) -> None:
        """The MTA leaves this command out, as no child wants it, and sends its macros all the same: so do we."""
        if step.command in SESSION_STAGES:
            self._session_steps[step.command] = step
        elif step.command == Command.SMFIC_MAIL:
            self._begin_transaction().steps.append(step)
        else:
            self._in_transaction().steps.append(step)
        for child in self._children:
            child.send(step)

    def _take_connect(self, frame: bytes) -> None:
        self._events.client = client_name(frame)
        self._take_session_step(frame)

    def _take_session_step(self, frame: bytes) -> None:
        step = self._step(frame)
        decision = self._ask(step)
        self._session_steps[step.command] = step
        if decision is not None:
            self._standing = decision
            self._events.session_refused(self._mta.command, decision, self._children)
            stage, name = STAGE_NAMES[self._mta.command], verdict_name(decision.verdict)
            self._title.count([(decision.child, stage, name, 0.0), ("", stage, name, 0.0)])
        verdict = decision.verdict if decision else self._let_pass()
        self._mta.tell(verdict)
        if verdict is ACCEPT and not self._is_passed and any(child.stopped for child in self._children):
            self._is_passed = True
            self._events.session_passed(self._mta.command, self._children)
            stopped = [child.answer() for child in self._children if child.stopped and not child.failure]
            self._title.count([*stopped, ("", STAGE_NAMES[self._mta.command], "accept", 0.0)])

    def _take_unknown(self, frame: bytes) -> None:
        decision = self._ask(self._step(frame))
        self._mta.tell(decision.verdict if decision else CONTINUE)
        self._macros.forget(Command.SMFIC_UNKNOWN)

    # ---- asking

    def _give_up(self) -> None:
        """After a bug of ours: this command and every later message of the session get a temporary failure."""
        for child in self._children:
            child.close()
        self._children = []
        self._standing = Decision(TempFail(), "")
        if self._mta.command == Command.SMFIC_OPTNEG:
            self._mta.negotiate(answer_to_mta(self._offer, [WANTS_MAIL]))
            return
        self._mta.tell(CONTINUE if self._mta.command in SESSION_STAGES else self._standing.verdict)


def _needs_of_unknown(child: Child) -> OptionNegotiation:
    """What the MTA has to send for a child that did not negotiate: it failed, or its conditions are not decided yet."""
    return WANTS_ALL if child.has_conditions and not child.failure else options_of_failed(child.settings)


_MACRO, _QUIT = int(Command.SMFIC_MACRO), int(Command.SMFIC_QUIT)
_CONNECT, _HEADER = int(Command.SMFIC_CONNECT), int(Command.SMFIC_HEADER)
_DECODED = (int(Command.SMFIC_OPTNEG), _CONNECT)  # taken apart anyway
_AT_ANY_TIME = (int(Command.SMFIC_ABORT), int(Command.SMFIC_QUIT_NC))

_TAKE: Mapping[int, Callable[[Session, bytes], None]] = {
    Command.SMFIC_ABORT: lambda session, frame: session._end_transaction("abort"),
    Command.SMFIC_QUIT_NC: Session._take_new_connection,
    Command.SMFIC_OPTNEG: Session._take_negotiation,
    Command.SMFIC_CONNECT: Session._take_connect,
    Command.SMFIC_HELO: Session._take_session_step,
    Command.SMFIC_MAIL: Session._take_mail,
    Command.SMFIC_RCPT: Session._take_rcpt,
    Command.SMFIC_DATA: Session._take_transaction_step,
    Command.SMFIC_HEADER: Session._take_header,
    Command.SMFIC_EOH: Session._take_end_of_headers,
    Command.SMFIC_BODY: Session._take_body,
    Command.SMFIC_BODYEOB: Session._take_end_of_message,
    Command.SMFIC_UNKNOWN: Session._take_unknown,
}


def serve(stream: FrameStream, config: Config, session_id: str, memory: Memory, title: Title) -> None:
    """One MTA connection, from its first byte to its last: the short way as far as that goes, then the long one."""
    express = Express(stream, config, session_id, memory, title)
    if not express.run():
        Session(stream, config, session_id, memory, title).run(express)
