"""A whole session the short way, as long as all goes as it nearly always does: every child says continue, at once.

Bytes are passed on as they came, by one straight loop and with nothing kept but what ``workers.session`` needs to go
on. Whatever is unusual (another verdict, an edit, a failure, a wait, a command out of the ordinary) ends the short way
at that point, even in the middle of a command: ``Express`` then holds all that was said so far, and the session takes
over from there (``Session.take_over``). So there is one place that decides, and this is not it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

from mmgr.config.model import Config
from mmgr.connecting import connect_at_once
from mmgr.counts import CONNECTED
from mmgr.protocol.commands import Abort, Quit, check_command, encode_command
from mmgr.protocol.constants import REPLY_LENGTH_MAX, STAGE_NAMES, Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE, LENGTH_PREFIX, PAYLOAD
from mmgr.protocol.states import AFTER, State
from mmgr.stream import MSG_DONTWAIT, READ_BYTES, FrameStream
from workers.child import Child
from workers.content import short_blocks
from workers.giving import Given, give
from workers.headers import CONTENT, take_content
from workers.link import CONTINUE_FRAME, QUICK_S
from workers.macrostore import MacroStore
from workers.message import Message
from workers.mta import QUIET_S, is_postfix
from workers.plan import Step
from workers.route import Plan
from workers.selection import Selection
from workers.sessionlog import SessionLog, client_name
from workers.spool import body_spool
from workers.surroundings import Memory
from workers.title import Title
from workers.transaction import Transaction

CONTENT_BYTES_MAX = 262144
"""A message that is longer than this goes the long way; so does one whose body has several pieces."""

_CONNECT, _MAIL, _RCPT = int(Command.SMFIC_CONNECT), int(Command.SMFIC_MAIL), int(Command.SMFIC_RCPT)
_MACRO, _END = int(Command.SMFIC_MACRO), int(Command.SMFIC_BODYEOB)
_ABORT, _QUIT = encode_command(Abort()), encode_command(Quit())
_STAGE = STAGE_NAMES[Command.SMFIC_BODYEOB]
_END_FRAME = LENGTH_PREFIX.pack(1) + bytes((_END,))
_unpack = LENGTH_PREFIX.unpack_from


class Express:
    """One MTA connection. ``run`` says whether it could be served to its end; if not, the attributes say how far.

    rest is what the MTA sent and what has to be looked at again; is_owed, that it is still to be told continue. state
    is where the session stands before rest, command the last one before it. told is the number of children that were
    told of the command in rest, awaited those of them whose reply is due. Of a message passed is the number of children
    that let it pass, and given what the next one was given of it.
    """

    def __init__(self, mta: FrameStream, config: Config, session_id: str, memory: Memory, title: Title) -> None:
        self.mta = mta
        self.plan: Plan | None = None
        self.children: list[FrameStream] = []
        self.waited_s: list[float] = []
        self.is_greeting: list[bool] = []
        self.macros = MacroStore()
        self.session_steps: dict[int, Step] = {}
        self.state = State.START
        self.command = int(Command.SMFIC_OPTNEG)
        self.rest = b""
        self.is_owed = False
        self.step: Step | None = None
        self.told = 0
        self.awaited: set[int] = set()
        self.transaction: Transaction | None = None
        self.passed = 0
        self.given: Given | None = None
        self.events = SessionLog(session_id)
        self._config = config
        self._memory = memory
        self._title = title
        self.selection: Selection | None = None
        self._is_postfix = False
        self._began = 0.0

    def run(self) -> bool:
        """Serve the session; False if the long way has to be gone from here. Never raises because of a peer."""
        mta = self.mta
        mta.let_wait(QUIET_S)
        try:
            self.rest = mta.receive_raw(READ_BYTES)
            plan = self.plan = self._memory.plan_for(self.rest)
            if plan is None:
                return False
            self.rest, self.state = b"", State.NEGOTIATED
            mta.send_raw(plan.answer_frame, MSG_DONTWAIT)
            self._title.negotiated()
            if plan.is_conditional:
                self.selection = Selection(plan, self.macros, self._memory.senses)
            if plan.is_conditional or self._connect(plan):
                while self._take(mta.receive_raw(READ_BYTES)):
                    self.rest = b""
        except (OSError, RemoteProtocolError, struct.error):
            return False
        except Exception:  # noqa: BLE001  a bug of ours: the long way may know better
            self.events.own_fault(self.step.command if self.step else 0)
            return False
        return self._is_over()

    def hand_over(self, children: Sequence[Child]) -> None:
        """Give the connections and what is known of them to the children of the session that takes over."""
        assert self.plan is not None
        if self.selection is not None and (self.step is not None or self.session_steps):
            for place, stop in self.selection.stops.items():
                children[place].was_stopped(stop)
        children = self.chosen(children)
        for at, stream in enumerate(self.children):
            child = children[at]
            child.is_inside = self.transaction is not None
            child.waited_s = self.waited_s[at]
            child.adopt(stream, self.plan.children[at].options, self.is_greeting[at])
            if self.step is not None and at < self.told:
                child.note_sent(self.step.command)
            if self.transaction is not None and self.transaction.recipients:
                child.note_sent(_RCPT)
            if at in self.awaited:
                child.awaited = self.step
            if at < self.passed or (at == self.passed and self.given is not None):
                child.was_given(self.given if at == self.passed else None)

    def chosen(self, children: Sequence[Child]) -> Sequence[Child]:
        """Those that take part on the short way, in the order of ``children`` here."""
        return children if self.selection is None else [children[at] for at in self.selection.chosen]

    def _is_over(self) -> bool:
        if self.rest != _QUIT or self.transaction is not None:
            return False
        self.events.ended(next(reversed(self.session_steps), 0), self._summary)
        for child in self.children:
            child.write_patiently((_QUIT,))
            child.close()
        self.mta.close()
        return True

    def _connect(self, plan: Plan) -> bool:
        for child in plan.children:
            stream = connect_at_once(child.endpoint, REPLY_LENGTH_MAX, CONTINUE_FRAME)
            if stream is None or not stream.write_at_once(plan.offer_frame):
                return False
            stream.let_wait(QUICK_S)
            self.children.append(stream)
            self._memory.notes.add(child.settings.name, CONNECTED)
            self.waited_s.append(0.0)
            self.is_greeting.append(True)
        return True

    def _take(self, data: bytes) -> bool:
        """One read of the MTA; False if it is the end of the session, or of the short way."""
        plan = self.plan
        assert plan is not None
        if self.state is State.END and data:
            while data.startswith(_ABORT):
                data = data[len(_ABORT) :]
            if not data:
                return True
        self.rest = data
        if len(data) < PAYLOAD or data == _QUIT:
            return False
        macros, frame = None, data
        if data[CODE] == _MACRO:
            cut = CODE + _unpack(data)[0]
            if not PAYLOAD < cut <= len(data):
                return False
            macros, frame = data[:cut], data[cut:]
        command = frame[CODE] if len(frame) > CODE else 0
        if plan.is_conditional:
            chosen = self._choose(macros, frame) if command == _CONNECT else None
            if chosen is None:
                return False
            plan = chosen
        route = plan.routes.get(command)
        if route is None or (macros is not None and macros[PAYLOAD] != command):
            return self._take_content(plan, data)
        following = AFTER[self.state].get(command)
        if following is None or _unpack(frame)[0] != len(frame) - CODE:
            return False
        if command == _CONNECT:
            self.events.client = client_name(frame)
        else:
            check_command(frame)
        if macros is not None:
            if macros[-1] or macros.count(0, PAYLOAD + 1) % 2:
                check_command(macros)
            self.macros.take(macros)
            macros = macros if len(macros) > PAYLOAD + 1 else None
        else:
            macros = self.macros.get(command)
        step = Step(command, frame, macros)
        if self.selection is not None and command != _CONNECT and not self.selection.lets_all_have(step):
            return False
        if step.is_refused or not self._ask(plan, step, route):
            return False
        self._note(step)
        self.state = following
        return self._let_pass()

    def _choose(self, macros: bytes | None, connect: bytes) -> Plan | None:
        """Find out who takes part, and connect them; None if that is not known, or one can't be reached."""
        assert self.selection is not None
        if macros is not None:
            check_command(macros)
            if macros[PAYLOAD] != _CONNECT:
                return None
            self.macros.take(macros)
        plan = self.selection.choose(connect)
        if plan is not None:
            self.plan = plan
            return plan if self._connect(plan) else None
        return None

    def _let_pass(self) -> bool:
        """Tell the MTA; if it takes nothing now, it is still owed that."""
        self.rest = b""
        self.is_owed = not self.mta.write_at_once(CONTINUE_FRAME)
        return not self.is_owed

    def _ask(self, plan: Plan, step: Step, route: tuple[tuple[bool, bool], ...]) -> bool:
        """Tell all children, then hear them; False as soon as one says anything but continue."""
        self.step = step
        children, waited_s, awaited = self.children, self.waited_s, self.awaited
        before = time.monotonic()
        if step.command == _MAIL:
            self._began = before
            waited_s[:] = [0.0] * len(children)
            if self.state is State.END and not all(child.is_quiet() for child in children):
                return False
        if step.command in plan.wanted_by_all and step.command != _CONNECT:
            return self._ask_alike(step, before)
        for (wants, answers), child in zip(route, children):
            told = step if self.selection is None else self.selection.adapted(self.told, step)
            data = told.joined if wants else told.macros
            if data is not None and child.send_raw(data, MSG_DONTWAIT) != len(data):
                child.close()  # half a command is out
                return False
            if answers:
                awaited.add(self.told)
            self.told += 1
        for at, child in enumerate(children):
            if self.is_greeting[at]:
                expected = plan.children[at].expected
                if not (child.hears_both(expected, CONTINUE_FRAME) if at in awaited else child.hears(expected)):
                    return False
                self.is_greeting[at] = False
            elif at not in awaited:
                continue
            elif not child.hears(CONTINUE_FRAME):
                return False
            awaited.discard(at)
            now = time.monotonic()
            waited_s[at] += now - before
            before = now
        self.step = None
        self.told = 0
        return True

    def _ask_alike(self, step: Step, before: float) -> bool:
        """``_ask`` for what every child wants and replies to."""
        data = step.joined
        size = len(data)
        waited_s = self.waited_s
        told = heard = 0
        try:
            for child in self.children:
                if child.send_raw(data, MSG_DONTWAIT) != size:
                    child.close()
                    return False
                told += 1
            for child in self.children:
                if not child.hears(CONTINUE_FRAME):
                    return False
                now = time.monotonic()
                waited_s[heard] += now - before
                before = now
                heard += 1
            self.step = None
            told = 0
            return True
        finally:
            self.told = told
            self.awaited.update(range(heard, told))

    def _note(self, step: Step) -> None:
        """All children let the step pass."""
        command = self.command = step.command
        transaction = self.transaction
        if command == _MAIL:
            body = body_spool(self._config.manager)
            transaction = self.transaction = Transaction(self._began, Message(self._is_postfix, body))
            transaction.sender = step.frame[PAYLOAD:].split(b"\0", 1)[0]
            self._title.stage("mail", self.events.client)
        elif command == _RCPT and transaction is not None:
            transaction.recipients += 1
        if transaction is not None:
            transaction.steps.append(step)
            return
        self.session_steps[command] = step
        if command == _CONNECT:
            self._is_postfix = step.macros is not None and is_postfix(step.macros)

    def _take_content(self, plan: Plan, data: bytes) -> bool:
        """From the headers to the end of the message; False leaves all of it in ``rest``, or in the transaction."""
        transaction = self.transaction
        if transaction is None:
            return False
        while data[CODE] == _MACRO and data[PAYLOAD] in plan.left_out:
            cut = CODE + _unpack(data)[0]
            if not PAYLOAD < cut <= len(data):
                return False
            self._pass_on(data[:cut], transaction)
            self.rest = data = data[cut:]
            if len(data) <= PAYLOAD:
                return not data
        if (data[PAYLOAD] if data[CODE] == _MACRO else data[CODE]) not in CONTENT:
            return False
        while not data.endswith(_END_FRAME) and len(data) < CONTENT_BYTES_MAX:
            more = self.mta.receive_raw(READ_BYTES)
            if not more:
                return False
            self.rest = data = data + more
        longest = self._config.manager.spool_threshold_bytes
        if len(data) > longest or not take_content(data, self.state, longest, self.macros, transaction.message):
            return False
        self.rest = _END_FRAME
        self.state = State.BODY
        if not self._give(plan, transaction.message):
            return False
        if not self._let_pass():
            self.rest, self.is_owed = _END_FRAME, False  # the session tells it, and asks nobody again
            return False
        self.events.transaction(transaction, "accept", _END, self.macros.queue_id(), self._summary())
        answers = [
            (child.settings.name, _STAGE, "continue", waited_s) for child, waited_s in zip(plan.children, self.waited_s)
        ]
        if self.selection is not None:
            answers = self.selection.answers(answers)
        self._title.count([*answers, ("", _STAGE, "accept", time.monotonic() - transaction.started)])
        transaction.message.close()
        self.transaction = None
        self.state = State.END
        self.command = _END
        self.passed = 0
        self.macros.end_transaction(next_begins=False)
        return True

    def _summary(self) -> str:
        assert self.plan is not None
        said = zip(self.plan.children, self.waited_s)
        texts = [f"{child.settings.name}:continue:{waited_s:.4f}" for child, waited_s in said]
        return ",".join(texts) if self.selection is None else self.selection.summary(texts)

    def _pass_on(self, macros: bytes, transaction: Transaction) -> None:
        """The macros of a command that the MTA leaves out; ``Session`` has the reason."""
        check_command(macros)
        self.command = _MACRO
        self.macros.take(macros)
        if len(macros) > PAYLOAD + 1:
            for child in self.children:
                if child.send_what_fits(macros) != len(macros):
                    child.close()  # it fails when it is given the message
            transaction.steps.append(Step(macros[PAYLOAD], b"", macros, is_left_out=True))

    def _give(self, plan: Plan, message: Message) -> bool:
        """Each child in turn; False as soon as one says anything but continue."""
        for child, stream in zip(plan.children, self.children):
            is_hasty = child.settings.name in self._memory.hasty
            blocks = short_blocks(message, child.options, self.macros.get, child.drops, is_hasty)
            if not blocks:
                return False
            before = time.monotonic()
            self.given = give(stream, blocks)
            self.waited_s[self.passed] += time.monotonic() - before
            if self.given is not None:
                return False
            self.passed += 1
        return True
