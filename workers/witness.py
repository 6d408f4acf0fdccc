"""Sees what the MTA says, and keeps what conditions may ask about it. PURE; see ``mmgr.conditions.facts``.

A session has one only if some milter has conditions.
"""

from __future__ import annotations

from mmgr.conditions.facts import Facts
from mmgr.protocol.commands import decode_connect
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import PAYLOAD
from workers.macrostore import MacroStore
from workers.message import Message
from workers.senses import Senses

_IPV6_PREFIX = b"IPv6:"
_SIZE = b"SIZE="
_DIGITS_MAX = 18


class Witness:
    """One SMTP session as conditions see it: ``facts``."""

    def __init__(self, macros: MacroStore, senses: Senses) -> None:
        self._is_stressed = senses.is_stressed
        self._recipients: list[bytes] = []
        self.facts = Facts(macro=macros.value, look_up=senses.look_up, clock=senses.clock)
        self.facts.is_unanswered = senses.is_unanswered

    def see(self, command: int, frame: bytes) -> None:
        """A command that milters are about to be asked about; its frame was checked."""
        if command == Command.SMFIC_CONNECT:
            self._see_connect(frame)
        elif command == Command.SMFIC_HELO:
            self.facts.helo = frame[PAYLOAD:].split(b"\0", 1)[0]
        elif command == Command.SMFIC_MAIL:
            self._see_mail(frame)
        elif command == Command.SMFIC_RCPT:
            self.facts.recipient = frame[PAYLOAD:].split(b"\0", 1)[0]

    def begin_message(self) -> None:
        """Nothing of the message before counts any more."""
        self._recipients = []
        facts = self.facts
        facts.sender = facts.recipient = b""
        facts.sender_arguments = ()
        facts.recipients = self._recipients
        facts.size_bytes = 0

    def take_recipient(self) -> None:
        """Nobody refused the recipient that was asked about last."""
        self._recipients.append(self.facts.recipient)

    def see_message(self, message: Message) -> None:
        """The message is complete; it stands as the next milter would see it."""
        headers = message.headers
        facts = self.facts
        facts.headers = lambda: [(field.name, _unspaced(field.value)) for field in headers]
        facts.size_bytes = message.body.size_bytes + sum(map(len, headers.frames()))

    def _see_connect(self, frame: bytes) -> None:
        connect = decode_connect(frame[PAYLOAD:])
        facts = self.facts
        facts.client_name = connect.hostname
        facts.client_family = bytes((connect.family,))
        facts.client_port = connect.port
        address = connect.address
        facts.client_address = address[len(_IPV6_PREFIX) :] if address.startswith(_IPV6_PREFIX) else address
        facts.is_stressed = self._is_stressed()

    def _see_mail(self, frame: bytes) -> None:
        facts = self.facts
        sender, *arguments = frame[PAYLOAD:].rstrip(b"\0").split(b"\0")
        facts.sender = sender
        facts.sender_arguments = tuple(arguments)
        sizes = [one[len(_SIZE) :] for one in arguments if one[: len(_SIZE)].upper() == _SIZE]
        is_number = bool(sizes) and sizes[0].isdigit() and len(sizes[0]) <= _DIGITS_MAX
        facts.size_bytes = int(sizes[0]) if is_number else 0


def _unspaced(value: bytes) -> bytes:
    return value[1:] if value[:1] == b" " else value
