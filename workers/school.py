"""What workers tell each other of negotiations: what the MTA offered and was answered, and what each child wanted.

With that a worker goes the short way from its first session on; otherwise each would find out anew, the long way, which
takes longer and costs each a copy of the memory that only the long way touches. What was taught may be wrong by now, as
may what a worker remembers itself: a child that answers differently is noticed either way (``workers.express``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmgr.config.model import Config
from mmgr.lessons import Lessons
from mmgr.protocol.commands import encode_command
from mmgr.protocol.errors import ProtocolError, RemoteProtocolError
from mmgr.protocol.framing import LENGTH_PREFIX, PAYLOAD
from mmgr.protocol.options import OptionNegotiation, decode_options
from mmgr.protocol.replies import encode_reply
from workers.negotiation import decode_offer, offer_to_children
from workers.route import Plan, make_plan

_UNKNOWN = LENGTH_PREFIX.pack(0)
_PREFIX = LENGTH_PREFIX.size

Wishes = Sequence["OptionNegotiation | None"]
"""What each enabled child negotiated, in their order; None for one that nobody has negotiated with."""


class School:
    """Of one generation. Without lessons nobody teaches and nobody learns."""

    def __init__(self, lessons: Lessons | None = None, generation: int = 0, config: Config | None = None) -> None:
        self._lessons = lessons
        self._generation = generation
        self._config = config or Config()
        self._names = [child.name for child in self._config.enabled_children]

    def teach(self, packet: bytes, answer: OptionNegotiation, wishes: Wishes) -> None:
        """An MTA that began with this packet was answered so, and children had these wishes."""
        if self._lessons is not None:
            frames = [encode_command(answer), *(_UNKNOWN if each is None else encode_reply(each) for each in wishes)]
            self._lessons.teach(self._generation, packet, b"".join(frames))

    def packets(self) -> list[bytes]:
        """What MTAs began with of which anything is known."""
        return [] if self._lessons is None else [packet for packet, _ in self._lessons.all(self._generation)]

    def learn(self, packet: bytes) -> Lesson | None:
        """What is known of an MTA that begins with this packet."""
        note = None if self._lessons is None else self._lessons.find(self._generation, packet)
        if not note:
            return None
        try:
            return self._lesson(packet, note)
        except ProtocolError:
            return None

    def _lesson(self, packet: bytes, note: bytes) -> Lesson | None:
        answer, *wishes = _taken_apart(note)
        if answer is None or len(wishes) != len(self._names):
            return None
        offer = decode_offer(packet)
        plan = make_plan(self._config, offer, answer, wishes)
        told = offer_to_children(offer)
        return Lesson(plan, {(name, told): each for name, each in zip(self._names, wishes) if each is not None})


class Lesson(NamedTuple):
    """The short way, None if there is none; and what children answered, by name and what they are offered."""

    plan: Plan | None
    options: Mapping[tuple[str, OptionNegotiation], OptionNegotiation]


def _taken_apart(note: bytes) -> list[OptionNegotiation | None]:
    found: list[OptionNegotiation | None] = []
    while note:
        end = _PREFIX + int.from_bytes(note[:_PREFIX], "big")
        if len(note) < max(end, _PREFIX):
            raise RemoteProtocolError("a lesson breaks off")
        found.append(decode_options(note[PAYLOAD:end]) if end > _PREFIX else None)
        note = note[end:]
    return found
