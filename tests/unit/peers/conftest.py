"""A scriptable milter on a socket of its own, and the scriptable MTA connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mmgr.endpoint import Endpoint
from mmgr.peers.behaviour import Actions, Behaviour, at_stages
from mmgr.peers.macros import MacroTable
from mmgr.peers.milter import MilterPeer
from mmgr.peers.mta import Deadlines, MtaPeer, connect_peer
from mmgr.protocol.options import OptionNegotiation

PATIENT = Deadlines(30.0, 30.0, 30.0, 30.0)


class Pair:
    """Makes milters and MTAs that talk to the milter made last; all are gone after the test."""

    def __init__(self, endpoint: Endpoint, stack: ExitStack) -> None:
        self._stack = stack
        self.endpoint = endpoint
        self.milter: MilterPeer | None = None

    def behave(self, behaviour: Behaviour) -> MilterPeer:
        """Start the milter."""
        self.milter = self._stack.enter_context(MilterPeer(self.endpoint, behaviour))
        return self.milter

    def mta(
        self,
        offered: OptionNegotiation | None = None,
        deadlines: Deadlines = PATIENT,
        macros: MacroTable | None = None,
    ) -> MtaPeer:
        """Connect to it; nothing is said yet."""
        return self._stack.enter_context(connect_peer(self.endpoint, offered, deadlines, macros))

    def answering(self, **stages: Actions) -> MtaPeer:
        """A milter that answers this by stage, and an MTA that has negotiated with it."""
        self.behave(Behaviour(at=at_stages(**stages)))
        mta = self.mta()
        mta.negotiate()
        return mta


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """No milter yet; its socket is in tmp_path."""
    with ExitStack() as stack:
        yield Pair(Endpoint("unix", path=str(tmp_path / "milter.sock")), stack)
