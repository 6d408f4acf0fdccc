"""The transactions of a session, from MAIL to the end of a message, its refusal or an abort. See ``Session``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mmgr.config.model import Config
from mmgr.counts import refused_recipient
from mmgr.protocol.constants import STAGE_NAMES, Command
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Accept, Discard, Verdict
from mmgr.protocol.states import IN_TRANSACTION, State
from mmgr.stream import FrameStream
from workers import dispatch, judging
from workers.child import Child
from workers.dispatch import Decision
from workers.macrostore import MacroStore
from workers.message import Message
from workers.mta import Mta
from workers.plan import Step
from workers.sessionlog import SessionLog, summary
from workers.spool import BodySpool, SpoolError, body_spool
from workers.surroundings import Memory
from workers.title import Title
from workers.transaction import Transaction
from workers.verdict import ACCEPT, CONTINUE, SESSION_STAGES, fallback, is_deciding, verdict_name
from workers.witness import Witness

_HEADER = int(Command.SMFIC_HEADER)


class Transactions:
    """What a session knows, and what it does with the commands of a message."""

    def __init__(
        self,
        stream: FrameStream,
        config: Config,
        session_id: str,
        memory: Memory,
        title: Title,
    ) -> None:
        self._mta = Mta(stream, title.show)
        self._config = config
        self._ask_all = dispatch.WAYS[config.manager.envelope_dispatch]
        self._id = session_id
        self._memory = memory
        self._title = title
        self._offer = OptionNegotiation(0, 0, 0)
        self._children: list[Child] = []
        self._state = State.START
        self._standing: Decision | None = None
        self._is_let_go = self._is_passed = False
        self._session_steps: dict[int, Step] = {}
        self._macros = MacroStore()
        self._left_out: Sequence[int] = ()
        self._collecting: list[bytes] | None = None
        self._repeated = b""
        self._events = SessionLog(session_id)
        self._transaction: Transaction | None = None
        self._witness: Witness | None = None

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
            if self._witness is not None:
                self._witness.take_recipient()
        if decision is not None and not isinstance(decision.verdict, Discard):
            transaction.decided_by = decision.child
            if decision.child:
                self._memory.notes.add(decision.child, refused_recipient(verdict_name(decision.verdict)))
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
            self._repeated = self._macros.get(_HEADER) or b""
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
        if self._witness is not None:
            self._witness.begin_message()
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
        said = summary(self._children)
        edited = [child.edited for child in self._children if any(child.edited[1:])] if transaction.edits else ()
        self._events.transaction(transaction, outcome, self._mta.command, self._macros.queue_id(), said, edited)
        if outcome != "abort":
            answers = [child.answer() for child in self._children]
            stage = STAGE_NAMES.get(self._mta.command, "other")
            self._title.count([*answers, ("", stage, outcome, time.monotonic() - transaction.started)])
        transaction.message.close()
        self._title.stage("between messages", self._events.client)
        self._macros.end_transaction(next_begins=self._mta.command in (Command.SMFIC_MAIL, Command.SMFIC_MACRO))

    # ---- asking

    def _is_declined(self, command: int) -> bool:
        return not self._mta.answer.routes[command]

    def _step(self, frame: bytes) -> Step:
        if self._witness is not None:
            self._witness.see(self._mta.command, frame)
        return Step(self._mta.command, frame, self._macros.get(self._mta.command))

    def _ask(self, step: Step) -> Decision | None:
        self._title.stage(STAGE_NAMES[step.command], self._events.client)
        return self._ask_all(self._children, step)

    def _ask_rest(self, step: Step, untold: Sequence[Child]) -> Decision | None:
        self._ask_all = dispatch.WAYS[self._config.manager.envelope_dispatch]
        return dispatch.collect(self._children, step, untold)

    def _let_pass(self) -> Verdict:
        """What the MTA is told of a step that nobody decided (``dispatch.let_pass``)."""
        is_early = self._mta.command in SESSION_STAGES
        return dispatch.let_pass(self._children, is_early, self._standing is not None)

    def _make_body(self) -> BodySpool:
        return body_spool(self._config.manager)
