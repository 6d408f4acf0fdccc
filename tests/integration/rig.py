"""A running manager between a scripted MTA and scripted children: what the tests of this directory talk to.

``Rig`` owns the daemon and its children. One rig serves many tests: ``behave`` says what the children do from now on,
and renews the workers if that changes what they negotiate, as workers remember it. Nothing here knows pytest.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.peers.behaviour import Action, Actions, Behaviour
from mmgr.peers.delivery import Outcome, Session, SmtpClient, Status
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import Message
from mmgr.peers.milter import MilterPeer, MilterSession
from mmgr.peers.mta import Deadlines, MtaPeer, connect_peer
from mmgr.protocol.commands import Body, CommandMessage, Header, encode_command
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import CODE
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import AddHeader, Continue
from tests.support.daemon import ChildKeys, Manager, Sections

TRIO = ("c1", "c2", "c3")
PATIENCE = Deadlines(connection_s=10.0, reading_s=20.0, writing_s=20.0, end_of_message_s=20.0)
"""How long a test waits for what comes at once: only a failing test waits that long."""

POSTFIX = MacroTable({b"v": b"Postfix 3.5.8"})
"""What makes an MTA a Postfix to a milter."""


STAGES = {
    "mail": Command.SMFIC_MAIL,
    "rcpt": Command.SMFIC_RCPT,
    "data": Command.SMFIC_DATA,
    "header": Command.SMFIC_HEADER,
    "end_of_header": Command.SMFIC_EOH,
    "body": Command.SMFIC_BODY,
    "end_of_message": Command.SMFIC_BODYEOB,
}
"""The stages of a message, named as ``at_stages`` takes them."""


class Rig:
    """A manager and its children, each a ``MilterPeer`` by name, in the order to be asked. A context manager.

    keys: further keys of a child's section, by its name; all other arguments are those of ``Manager``. Breakers are off
    unless keys have them on, as many a child here is bad in one test after another.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str] = TRIO,
        keys: Mapping[str, Mapping[str, str]] | None = None,
        sections: Sections | None = None,
        n_workers: int = 2,
        extra_args: Sequence[str] = (),
        spec: str = "",
    ) -> None:
        self.names = tuple(names)
        self.children = {name: self._new_child(directory, name) for name in names}
        self._keys = keys or {}
        self.manager = Manager(
            directory, self.child_keys(), n_workers, sections=sections, extra_args=extra_args, spec=spec
        )
        self._negotiated: object = None
        self._held = ExitStack()

    @staticmethod
    def _new_child(directory: Path, name: str) -> MilterPeer:
        return MilterPeer(Endpoint("unix", path=str(directory / f"{name}.sock")), mode=0o666)

    def child_keys(self, **changed: Mapping[str, str]) -> dict[str, ChildKeys]:
        """The sections of all children for ``Manager.write_config``."""
        return {
            name: {
                "connection_spec": str(self.children[name].endpoint),
                "breaker_failures": "0",
                **self._keys.get(name, {}),
                **changed.get(name, {}),
            }
            for name in self.names
        }

    def __getitem__(self, name: str) -> MilterPeer:
        return self.children[name]

    def __enter__(self) -> Rig:
        self.start()
        return self

    def start(self) -> None:
        """What ``with`` does first; ``__exit__`` ends it."""
        with ExitStack() as held:
            for name, child in self.children.items():
                held.callback(lambda name=name: self.children[name].stop())
                child.__enter__()
            held.enter_context(self.manager)
            self._held = held.pop_all()

    def __exit__(self, *exc_info: object) -> None:
        self._held.__exit__(*exc_info)

    # The children

    def behave(self, **behaviours: Behaviour) -> None:
        """From now on these children behave so, and all others well; what they were told before is forgotten."""
        self.wait_for_ends()
        for name, child in self.children.items():
            child.behaviour = behaviours.get(name, Behaviour())
            child.sessions.clear()
        negotiated = [_negotiation_of(child.behaviour) for child in self.children.values()]
        if negotiated != self._negotiated:
            self._negotiated = negotiated
            self.manager.renew_workers()

    def forget(self) -> None:
        """Have workers that remember nothing."""
        self.manager.renew_workers()

    def wait_for_ends(self) -> None:
        """Wait until every child's every session is over."""
        for child in self.children.values():
            child.wait_until(lambda child=child: all(session.ended for session in child.sessions))

    def told(self, name: str) -> MilterSession:
        """What the only session of a child was told, once it has ended."""
        session = self.children[name].wait_for_end()
        assert len(self.children[name].sessions) == 1, f"{name} was connected more than once"
        assert session.violations == [], f"{name} was spoken to as no milter likes it"
        return session

    @contextmanager
    def down(self, name: str, leaves_socket: bool) -> Iterator[None]:
        """A child is not there: its socket is gone, or nobody listens on it. It is a new one afterwards."""
        self.wait_for_ends()
        endpoint = self.children[name].endpoint
        self.children[name].stop()
        with socket.socket(socket.AF_UNIX) as dead:
            if leaves_socket:
                dead.bind(endpoint.path)
                os.chmod(endpoint.path, 0o666)
            yield
        self.children[name] = MilterPeer(endpoint, self.children[name].behaviour, mode=0o666).__enter__()

    # The MTA

    def connect(self, offered: OptionNegotiation | None = None, macros: MacroTable = POSTFIX) -> MtaPeer:
        """An MTA that is connected and has said nothing."""
        return connect_peer(self.endpoint, offered, PATIENCE, macros)

    @contextmanager
    def greeted(self, offered: OptionNegotiation | None = None) -> Iterator[MtaPeer]:
        """An MTA past HELO; it quits at the end."""
        with self.connect(offered) as mta:
            mta.negotiate()
            mta.connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7")
            mta.helo(b"mx.example.net")
            yield mta
            mta.quit()

    @contextmanager
    def session(self, client: SmtpClient | None = None, offered: OptionNegotiation | None = None) -> Iterator[Session]:
        """One SMTP session of an MTA."""
        with Session(self.connect(offered), client) as session:
            yield session

    def deliver(self, *messages: Message) -> list[Outcome]:
        """What becomes of messages in one SMTP session; one ordinary message if none is given."""
        with self.session() as session:
            return [session.deliver(message) for message in messages or (Message(),)]

    def is_well(self) -> bool:
        """Is a message accepted with the edits that the children make when all is well?"""
        return self.deliver()[0].status is Status.ACCEPT

    @property
    def endpoint(self) -> Endpoint:
        """Where the manager listens."""
        return parse_endpoint(self.manager.spec)


def marking(name: str, **at: object) -> Behaviour:
    """A child that marks each message with a header ``X-NAME``."""
    mark = (AddHeader(f"X-{name}".encode(), b"seen"), Continue())
    return Behaviour(at={Command.SMFIC_BODYEOB: mark, **at})


def turns(command: int, *actions: Actions) -> Behaviour:
    """A child that answers the n-th command of that kind with the n-th actions, and all others well.

    It goes on counting in a new connection, which the manager makes after a verdict ahead of the end of a message.
    """
    left = [tuple(each) if isinstance(each, Sequence) else (each,) for each in actions]

    def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        return left.pop(0) if left and encode_command(message)[CODE] == command else None

    return Behaviour(responder=lambda: respond)


def _negotiation_of(behaviour: Behaviour) -> object:
    at = behaviour.at.get(Command.SMFIC_OPTNEG)
    return behaviour.version, behaviour.actions, behaviour.steps, behaviour.macro_lists, behaviour.is_blunt, at


def numbered(number: int, recipients: int = 1) -> Message:
    """A message that differs from those with other numbers in every part."""
    return Message(
        sender=b"<from%d@example.com>" % number,
        recipients=tuple(b"<to%d-%d@example.org>" % (number, one) for one in range(1, recipients + 1)),
        headers=((b"Subject", b" number %d" % number),),
        chunks=(b"body %d\r\n" % number,),
    )


def kinds(session: MilterSession) -> list[str]:
    """The names of the commands that a child was told, in order."""
    return [type(message).__name__ for message in session.commands]


def only(session: MilterSession, kind: type[CommandMessage]) -> list[CommandMessage]:
    """The commands of one kind that a child was told."""
    return [message for message in session.commands if isinstance(message, kind)]


def headers(session: MilterSession) -> list[tuple[bytes, bytes]]:
    """The headers that a child was told."""
    return [(message.name, message.value) for message in only(session, Header)]


def body(session: MilterSession) -> bytes:
    """The body that a child was told."""
    return b"".join(message.chunk for message in only(session, Body))
