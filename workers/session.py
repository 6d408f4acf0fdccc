"""One MTA connection from its negotiation to QUIT, straight-line: what the MTA sends, who is asked, what it is told.

The MTA's connection is never closed, and no command that is due a reply left without one, to signal trouble with a
child. Only bytes that are no milter protocol end it. Called by ``workers.main``, one session at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from mmgr.config.model import Config
from mmgr.errors import PeerClosed, PeerTimeout, PeerTruncated
from mmgr.log import shown
from mmgr.protocol.commands import check_command, decode_connect
from mmgr.protocol.constants import STAGE_NAMES, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE, PAYLOAD
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Accept, Discard, TempFail, Verdict
from mmgr.protocol.states import AFTER, IN_TRANSACTION, State, next_state
from mmgr.stream import FrameStream
from workers import dispatch, judging
from workers.child import Child
from workers.dispatch import Decision
from workers.macrostore import MacroStore
from workers.message import Message
from workers.mta import Mta, MtaLost
from workers.negotiation import WANTS_MAIL, answer_to_mta, decode_offer, offer_to_children, options_of_failed
from workers.plan import Step
from workers.sessionlog import SessionLog
from workers.spool import BodySpool, SpoolError
from workers.surroundings import Memory, Surroundings
from workers.title import Title
from workers.transaction import STAGES, Transaction
from workers.verdict import ACCEPT, CONTINUE, SESSION_STAGES, fallback, is_deciding, verdict_name

NEGOTIATION_BUDGET_S = 20.0
"""All children together get this long for connecting and negotiating; Postfix waits 30 s for the answer."""


class Session:
    """One MTA connection. ``run`` blocks until it is over and raises nothing.

    remembered is what earlier sessions learnt of the children; it is read and added to.
    """

    def __init__(
        self,
        stream: FrameStream,
        config: Config,
        session_id: str,
        remembered: Memory,
        title: Title,
    ) -> None:
        self._mta = Mta(stream, title.show)
        self._config = config
        self._ask_all = dispatch.WAYS[config.manager.envelope_dispatch]
        self._id = session_id
        self._remembered = remembered
        self._title = title
        self._offer = OptionNegotiation(0, 0, 0)
        self._children: list[Child] = []
        self._state = State.START
        self._standing: Decision | None = None
        self._is_let_go = False
        self._session_steps: dict[int, Step] = {}
        self._macros = MacroStore()
        self._left_out: Sequence[int] = ()
        self._collecting: list[bytes] | None = None
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
        mta = self._mta
        while True:
            for frame in mta.read():
                command = frame[CODE]
                if command == _HEADER:
                    came = self._collecting
                    if came is not None and not frame[-1] and frame.count(0, PAYLOAD) == 2:  # as ``check_command`` asks
                        came.append(frame)
                        continue
                self._collecting = None
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

    def _is_declined(self, command: int) -> bool:
        return not self._mta.answer.routes[command]

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
        limit = time.monotonic() + NEGOTIATION_BUDGET_S
        for child in self._children:
            child.negotiate(limit)
        wanted = [child.options or options_of_failed(child.settings) for child in self._children]
        self._mta.negotiate(answer_to_mta(message, wanted))
        self._left_out = [stage for stage in _ENVELOPE if self._is_declined(stage)]
        for child in self._children:
            child.connect_early()

    def _start_children(self) -> None:
        around = Surroundings(
            session_id=self._id,
            offer=offer_to_children(self._offer),
            remembered=self._remembered.options,
            hasty=self._remembered.hasty,
            history=self._history,
            macros=self._macros.get,
            patience=self._mta.be_patient,
            tell_wait=self._title.waiting,
            make_body=self._make_body,
            limit=self._mta.limit,
            told=self._mta.told,
        )
        self._children = [Child(settings, around) for settings in self._config.enabled_children]

    def _take_new_connection(self, frame: bytes) -> None:
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
        message = decode_connect(frame[PAYLOAD:])
        address = f"[{shown(message.address)}]" if message.address else ""
        name = shown(message.hostname)
        self._events.client = ("unknown" if name == address else name) + address
        self._take_session_step(frame)

    def _take_session_step(self, frame: bytes) -> None:
        step = self._step(frame)
        decision = self._ask(step)
        self._session_steps[step.command] = step
        if decision is not None:
            self._standing = decision
            self._events.session_refused(self._mta.command, decision, self._children)
        self._mta.tell(decision.verdict if decision else self._let_pass())

    def _take_unknown(self, frame: bytes) -> None:
        decision = self._ask(self._step(frame))
        self._mta.tell(decision.verdict if decision else CONTINUE)
        self._macros.forget(Command.SMFIC_UNKNOWN)

    # ---- one transaction

    def _take_mail(self, frame: bytes) -> None:
        self._begin_transaction().sender = frame[PAYLOAD:].split(b"\0", 1)[0]
        self._take_transaction_step(frame)

    def _take_transaction_step(self, frame: bytes) -> None:
        transaction = self._in_transaction()
        step = self._step(frame)
        decision = self._standing or self._ask(step)
        if decision is None:
            transaction.steps.append(step)
        self._answer_envelope(transaction, decision)

    def _take_rcpt(self, frame: bytes) -> None:
        transaction = self._in_transaction()
        step = self._step(frame)
        decision = self._standing or self._ask(step)
        if decision is None:
            transaction.steps.append(step)
        if decision is not None or step.is_refused:
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

    def _take_header(self, frame: bytes) -> None:
        headers = self._in_transaction().message.headers
        headers.append(frame)
        if _HEADER in self._mta.silent:
            self._collecting = headers.came
        self._mta.tell(CONTINUE)

    def _take_end_of_headers(self, frame: bytes) -> None:
        self._in_transaction()
        self._mta.tell(CONTINUE)

    def _take_body(self, frame: bytes) -> None:
        transaction = self._in_transaction()
        if transaction.spool_failure is None:
            try:
                transaction.message.body.add_frame(frame)
            except SpoolError as error:
                transaction.spool_failure = error
        self._mta.tell(CONTINUE)

    def _take_end_of_message(self, frame: bytes) -> None:
        transaction = self._in_transaction()
        self._title.stage(STAGE_NAMES[self._mta.command], self._events.client)
        try:
            transaction.message.body.add_payload(frame[PAYLOAD:])
            decision = self._standing or judging.judge_transaction(self._children, transaction, self._mta.be_patient)
            verdict, transaction.decided_by = decision or (self._let_pass(), "")
            transaction.edits = 0 if decision else transaction.message.count_edits()
            self._mta.tell(verdict, transaction.message.edit_frames() if transaction.edits else ())
        except SpoolError as error:
            verdict = self._without_body(error, transaction)
            self._mta.tell(verdict)
        is_held = transaction.message.quarantine_reasons and not is_deciding(verdict)
        self._end_transaction("quarantine" if is_held else verdict_name(ACCEPT if verdict is CONTINUE else verdict))

    def _without_body(self, error: SpoolError, transaction: Transaction) -> Verdict:
        """No child can be asked: their fallbacks count, or else our own; edits that may be half made never pass."""
        status = judging.without_body(self._children, self._config.manager.fallback_status, transaction.edits > 0)
        transaction.edits = 0
        self._events.spool_failed(error, status)
        return fallback(status, Command.SMFIC_BODYEOB)

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
        self._title.stage("between messages", self._events.client)
        self._macros.end_transaction(next_begins=self._mta.command in (Command.SMFIC_MAIL, Command.SMFIC_MACRO))

    # ---- asking

    def _step(self, frame: bytes) -> Step:
        return Step(self._mta.command, frame, self._macros.get(self._mta.command))

    def _history(self) -> list[Step]:
        steps = list(self._session_steps.values())
        return steps + self._transaction.steps if self._transaction else steps

    def _ask(self, step: Step) -> Decision | None:
        self._title.stage(STAGE_NAMES[step.command], self._events.client)
        return self._ask_all(self._children, step)

    def _let_pass(self) -> Verdict:
        """What the MTA is told of a step that nobody decided (``dispatch.let_pass``)."""
        is_early = self._mta.command in SESSION_STAGES
        return dispatch.let_pass(self._children, is_early, self._standing is not None)

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


_MACRO, _QUIT = int(Command.SMFIC_MACRO), int(Command.SMFIC_QUIT)
_CONNECT, _HEADER = int(Command.SMFIC_CONNECT), int(Command.SMFIC_HEADER)
_DECODED = (int(Command.SMFIC_OPTNEG), _CONNECT)  # taken apart anyway
_ENVELOPE = tuple(map(int, (*SESSION_STAGES, Command.SMFIC_MAIL, Command.SMFIC_RCPT, Command.SMFIC_DATA)))
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
