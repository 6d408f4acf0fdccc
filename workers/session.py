"""One MTA connection from its negotiation to QUIT, straight-line: what the MTA sends, who is asked, what it is told.

The MTA's connection is never closed, and no command that is due a reply left without one, to signal trouble with a
child. Only bytes that are no milter protocol end it. Called by ``workers.main``, one session at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mmgr.config.model import Config, FallbackStatus
from mmgr.errors import PeerClosed, PeerTimeout, PeerTruncated
from mmgr.log import shown
from mmgr.protocol.commands import CommandMessage, Connect, Header, decode_command
from mmgr.protocol.constants import STAGE_NAMES, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Accept, Discard, TempFail, Verdict
from mmgr.protocol.states import IN_TRANSACTION, State, next_state
from mmgr.stream import FrameStream
from workers import dispatch, judging
from workers.child import Child
from workers.dispatch import Decision
from workers.macrostore import MacroStore
from workers.message import Message
from workers.mta import Mta, MtaLost
from workers.negotiation import WANTS_MAIL, answer_to_mta, check_offer, offer_to_children, options_of_failed
from workers.plan import Step, is_refused_recipient
from workers.sessionlog import Report, SessionLog
from workers.spool import BodySpool, SpoolError
from workers.surroundings import Surroundings
from workers.transaction import STAGES, Transaction
from workers.verdict import ACCEPT, CONTINUE, SESSION_STAGES, fallback, is_deciding, joint_fallback, verdict_name

NEGOTIATION_BUDGET_S = 20.0
"""All children together get this long for connecting and negotiating; Postfix waits 30 s for the answer."""


class Session:
    """One MTA connection. ``run`` blocks until it is over and raises nothing.

    remembered holds what children negotiated in earlier sessions, by name and offer; it is read and added to.
    """

    def __init__(
        self,
        stream: FrameStream,
        config: Config,
        session_id: str,
        remembered: dict[tuple[str, OptionNegotiation], OptionNegotiation],
        report: Report,
    ) -> None:
        self._mta = Mta(stream)
        self._config = config
        self._id = session_id
        self._remembered = remembered
        self._report = report
        self._offer = OptionNegotiation(0, 0, 0)
        self._children: list[Child] = []
        self._state = State.START
        self._standing: Decision | None = None
        self._is_let_go = False
        self._session_steps: dict[int, Step] = {}
        self._macros = MacroStore()
        self._events = SessionLog(session_id)
        self._transaction: Transaction | None = None

    def run(self) -> None:
        """Serve the MTA until it quits, closes, falls silent or stops speaking the protocol."""
        try:
            self._serve()
        except PeerTimeout as error:
            self._events.mta_misbehaved("went silent", error)
        except (RemoteProtocolError, PeerTruncated) as error:
            self._events.mta_misbehaved("broke the protocol", error)
        except (PeerClosed, MtaLost) as error:
            self._events.mta_gone(error)
        finally:
            self._end_transaction("abort")
            for child in self._children:
                child.close()
            self._mta.close()

    def _serve(self) -> None:
        while True:
            frame = self._mta.next()
            if self._mta.command == Command.SMFIC_QUIT:
                return
            if self._mta.command == Command.SMFIC_MACRO and self._macros.is_repeated(frame):
                continue
            message = decode_command(frame)
            try:
                self._take(frame, message)
            except (PeerClosed, PeerTimeout, MtaLost, RemoteProtocolError):
                raise
            except Exception:  # noqa: BLE001  our own bug must not cost a mail: the MTA is told to try again
                self._events.own_fault(self._mta.command)
                self._give_up()

    def _take(self, frame: bytes, message: CommandMessage) -> None:
        """One command: macros, aborts and new connections at any time, everything else if it is in order."""
        take = _AT_ANY_TIME.get(self._mta.command)
        if take is not None:
            take(self, frame, message)
        elif self._is_in_order():
            _IN_ORDER[self._mta.command](self, frame, message)
        else:
            self._take_out_of_order()

    def _is_in_order(self) -> bool:
        """Move on to the state after the command. What begins anew in mid-message aborts the message."""
        following = next_state(self._state, self._mta.command, self._is_declined)
        if following is None and self._state in IN_TRANSACTION:
            following = next_state(State.HELO, self._mta.command, self._is_declined)
            if following is not None:
                self._end_transaction("abort")
        if following is not None:
            self._state = following
        return following is not None

    def _is_declined(self, command: int) -> bool:
        return not self._mta.answer.wants(command)

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

    def _take_negotiation(self, frame: bytes, message: OptionNegotiation) -> None:
        check_offer(message)
        self._offer = message
        self._start_children()
        limit = time.monotonic() + NEGOTIATION_BUDGET_S
        for child in self._children:
            child.negotiate(limit)
        wanted = [child.options or options_of_failed(child.settings) for child in self._children]
        self._mta.negotiate(answer_to_mta(message, wanted))

    def _start_children(self) -> None:
        around = Surroundings(
            session_id=self._id,
            offer=offer_to_children(self._offer),
            remembered=self._remembered,
            history=self._history,
            macros=self._macros.get,
            patience=self._mta.be_patient,
            tell_wait=self._report.waiting,
            make_body=self._make_body,
            limit=self._mta.limit,
            told=self._mta.told,
        )
        self._children = [Child(settings, around) for settings in self._config.enabled_children]

    def _take_new_connection(self, frame: bytes, message: CommandMessage) -> None:
        """QUIT_NC: another SMTP session on this connection. Children get new ones: few libraries know the command."""
        self._end_transaction("abort")
        for child in self._children:
            child.close()
        self._start_children()
        self._state = State.NEGOTIATED
        self._standing = None
        self._session_steps.clear()
        self._macros.clear()
        self._events.client = ""

    def _take_macros(self, frame: bytes, message: CommandMessage) -> None:
        """Keep the macros of a stage; those of a step that the MTA was told to leave out are passed on at once."""
        stage = self._macros.take(frame)
        if len(frame) > PAYLOAD + 1:
            if stage == Command.SMFIC_CONNECT:
                self._mta.learn(frame)
            if stage in _ENVELOPE and self._is_declined(stage):
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

    def _take_connect(self, frame: bytes, message: Connect) -> None:
        address = f"[{shown(message.address)}]" if message.address else ""
        name = shown(message.hostname)
        self._events.client = ("unknown" if name == address else name) + address
        self._take_session_step(frame, message)

    def _take_session_step(self, frame: bytes, message: CommandMessage) -> None:
        decision = self._ask(frame)
        self._session_steps[self._mta.command] = self._step(frame)
        if decision is not None:
            self._standing = decision
            self._events.session_refused(self._mta.command, decision, self._children)
        self._mta.tell(decision.verdict if decision else self._let_pass())

    def _take_unknown(self, frame: bytes, message: CommandMessage) -> None:
        decision = self._ask(frame)
        self._mta.tell(decision.verdict if decision else CONTINUE)
        self._macros.forget(Command.SMFIC_UNKNOWN)

    # ---- one transaction

    def _take_mail(self, frame: bytes, message: CommandMessage) -> None:
        self._begin_transaction().sender = frame[PAYLOAD:].split(b"\0", 1)[0]
        self._take_transaction_step(frame, message)

    def _take_transaction_step(self, frame: bytes, message: CommandMessage) -> None:
        transaction = self._in_transaction()
        decision = self._standing or self._ask(frame)
        if decision is None:
            transaction.steps.append(self._step(frame))
        self._answer_envelope(transaction, decision)

    def _take_rcpt(self, frame: bytes, message: CommandMessage) -> None:
        transaction = self._in_transaction()
        step = self._step(frame)
        decision = self._standing or self._ask(frame)
        if decision is None:
            transaction.steps.append(step)
        if decision is not None or is_refused_recipient(step):
            transaction.refused += 1
        else:
            transaction.recipients += 1
        if decision is not None and not isinstance(decision.verdict, Discard):
            transaction.decided_by = decision.child
            self._mta.tell(decision.verdict)  # one recipient is refused, the message goes on
        else:
            self._answer_envelope(transaction, decision)

    def _answer_envelope(self, transaction: Transaction, decision: Decision | None) -> None:
        """Tell the MTA; anything but continue is the end of the transaction as far as we are asked."""
        verdict = decision.verdict if decision else self._let_pass()
        self._mta.tell(verdict)
        if decision is not None:
            transaction.decided_by = decision.child
        if verdict is not CONTINUE:
            self._end_transaction(verdict_name(verdict))
            self._is_let_go = isinstance(verdict, Accept)

    def _take_header(self, frame: bytes, message: Header) -> None:
        self._in_transaction().message.headers.append(message, frame)
        self._mta.tell(CONTINUE)

    def _take_end_of_headers(self, frame: bytes, message: CommandMessage) -> None:
        self._in_transaction()
        self._mta.tell(CONTINUE)

    def _take_body(self, frame: bytes, message: CommandMessage) -> None:
        transaction = self._in_transaction()
        if transaction.spool_failure is None:
            try:
                transaction.message.body.add_frame(frame)
            except SpoolError as error:
                transaction.spool_failure = error
        self._mta.tell(CONTINUE)

    def _take_end_of_message(self, frame: bytes, message: CommandMessage) -> None:
        transaction = self._in_transaction()
        self._report.stage(STAGE_NAMES[self._mta.command], self._events.client)
        try:
            transaction.message.body.add_payload(frame[PAYLOAD:])
            decision = self._standing or self._judge(transaction)
            verdict, transaction.decided_by = decision or (self._let_pass(), "")
            transaction.edits = 0 if decision else transaction.message.count_edits()
            self._mta.tell(verdict, () if decision else transaction.message.edit_frames())
        except SpoolError as error:
            verdict = self._without_body(error, transaction)
            self._mta.tell(verdict)
        is_held = transaction.message.quarantine_reasons and not is_deciding(verdict)
        self._end_transaction("quarantine" if is_held else verdict_name(ACCEPT if verdict is CONTINUE else verdict))

    def _judge(self, transaction: Transaction) -> Decision | None:
        """Each child gets the message as edited so far; the first that decides ends it. Raises SpoolError, MtaLost."""
        if transaction.is_broken:
            return Decision(TempFail(), "")
        if transaction.spool_failure is not None:
            raise transaction.spool_failure
        return judging.judge(self._children, transaction.message, self._mta.be_patient)

    def _without_body(self, error: SpoolError, transaction: Transaction) -> Verdict:
        """No child can be asked: their fallbacks count, or else our own; edits that may be half made never pass."""
        asked = [child.settings for child in self._children if child.is_asked]
        status = joint_fallback(asked, self._config.manager.fallback_status)
        if transaction.edits:
            status = FallbackStatus.TEMPORARY_FAILURE
            transaction.edits = 0
        self._events.spool_failed(error, status)
        return fallback(status, Command.SMFIC_BODYEOB)

    def _take_abort(self, frame: bytes, message: CommandMessage) -> None:
        self._end_transaction("abort")

    def _begin_transaction(self) -> Transaction:
        self._end_transaction("abort")
        self._is_let_go = False
        if self._is_declined(Command.SMFIC_MAIL):
            for child in self._children:
                child.begin_message()
        message = Message(self._mta.is_postfix, self._make_body())
        is_counting = not self._is_declined(Command.SMFIC_RCPT)
        self._transaction = Transaction(time.monotonic(), message, is_counting=is_counting)
        return self._transaction

    def _in_transaction(self) -> Transaction:
        """The current one; it begins with whatever command comes first, as MAIL may have been negotiated away."""
        return self._transaction or self._begin_transaction()

    def _end_transaction(self, outcome: str) -> None:
        """Forget the message, tell the children who are still inside it, and write its one line to the log."""
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        if self._state in IN_TRANSACTION:
            self._state = State.END
        for child in self._children:
            child.end_message()
        self._events.transaction(transaction, outcome, self._mta.command, self._macros.queue_id(), self._children)
        transaction.message.close()
        self._report.stage("between messages", self._events.client)
        self._macros.end_transaction(next_begins=self._mta.command in (Command.SMFIC_MAIL, Command.SMFIC_MACRO))

    # ---- asking

    def _step(self, frame: bytes) -> Step:
        return Step(self._mta.command, frame, self._macros.get(self._mta.command))

    def _history(self) -> list[Step]:
        steps = list(self._session_steps.values())
        return steps + self._transaction.steps if self._transaction else steps

    def _ask(self, frame: bytes) -> Decision | None:
        self._report.stage(STAGE_NAMES[self._mta.command], self._events.client)
        return dispatch.ask(self._children, self._step(frame), self._config.manager.envelope_dispatch)

    def _let_pass(self) -> Verdict:
        """Continue while some child is left, accept once every child has let the mail go.

        Before MAIL a failed child or a verdict that stands must not make the MTA leave us out for the whole session.
        """
        if any(child.is_asked for child in self._children):
            return CONTINUE
        is_early = self._mta.command in SESSION_STAGES
        if is_early and (self._standing or any(child.failure for child in self._children)):
            return CONTINUE
        return ACCEPT

    def _make_body(self) -> BodySpool:
        manager = self._config.manager
        return BodySpool(manager.spool_threshold_bytes, manager.spool_directory, manager.chunk_size_bytes)

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


_Take = Callable[..., None]

_ENVELOPE = (*SESSION_STAGES, Command.SMFIC_MAIL, Command.SMFIC_RCPT, Command.SMFIC_DATA)

_AT_ANY_TIME: Mapping[int, _Take] = {
    Command.SMFIC_MACRO: Session._take_macros,
    Command.SMFIC_ABORT: Session._take_abort,
    Command.SMFIC_QUIT_NC: Session._take_new_connection,
}

_IN_ORDER: Mapping[int, _Take] = {
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
