"""What a worker reports while it works: its title for people, and its heartbeat, stage and negotiation for the master.

A session tells its title what it is about anyway; here the same calls say how long the worker may be silent from now on
by its own deadlines. The master takes one for hung that is silent for longer (``mmgr.master.policy``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Callable

from mmgr.assignment import Assignment
from mmgr.config.model import Config
from mmgr.protocol.constants import STAGE_NAMES
from mmgr.scoreboard import WorkerState
from mmgr.tally import stage_index, verdict_index
from workers.mta import IDLE_TIMEOUT_S, WRITE_TIMEOUT_S
from workers.notes import Notes
from workers.title import Title, head_of

IDLE_BEAT_S = 5.0
"""An idle worker says so this often, or three times within the master's patience if that is shorter."""

IDLE_GRACE_S = 1.0
"""How late that may be: it first waits for ``QUIET_S`` before it says that it is idle."""

UNCOUNTED_MAX = 64
"""A worker that is never waited for counts that many answers at a time; a killed one takes them with it."""

PROGRESS_MAX = 11
"""A child may start its deadline anew ten times."""

_NEGOTIATE, _MAIL = "negotiate", "mail"
_CODES = {name: int(command) for command, name in STAGE_NAMES.items()}


class Pulse(Title):
    """The title of a worker that lives on the scoreboard, too. What is put into notes is counted there, soon."""

    def __init__(self, assignment: Assignment, write: Callable[[str], None]) -> None:
        super().__init__(assignment.number, write)
        self._board = assignment.scoreboard
        self._slot = assignment.slot
        self._tell_master = assignment.tell_master
        self._is_negotiating = False
        self._uncounted: list[tuple[str, str, str, float]] = []
        self.notes = Notes()
        self._child_s = _patience_with_children(assignment.config)
        self.idle_beat_s = min(IDLE_BEAT_S, assignment.config.workers.hang_timeout_s / 3.0)

    def take_place(self, assignment: Assignment) -> None:
        """This is the pulse of that worker now; it was made for another place in the same generation."""
        self._head = head_of(assignment.number)
        self._slot = assignment.slot
        self._tell_master = assignment.tell_master

    def become(self, state: WorkerState) -> None:
        """Idle or draining, without a session."""
        self._board.set_state(self._slot, state)
        self.beat()

    def begin_session(self) -> None:
        """A connection was accepted. The master is woken if too few others are idle."""
        self._stage, self._client = _NEGOTIATE, ""
        board = self._board
        now = time.monotonic()
        board.begin_session(self._slot, now, now + self._child_s)
        self._is_negotiating = True
        wanted = board.spare_wanted
        if wanted and board.count(WorkerState.IDLE) < wanted:
            self._tell_master()

    def beat(self) -> None:
        """A worker without a session is well."""
        if self._uncounted or self.notes:
            self._count_all()
        self._board.beat(self._slot, time.monotonic(), self.idle_beat_s + IDLE_GRACE_S)

    def stage(self, stage: str, client: str) -> None:
        """The session came to a stage: now it works, which includes waiting for children and for the MTA to read.

        Told to the master once a message, and whenever another state was told before: a worker that is never waited
        for goes through its stages too quickly for anybody to look at them.
        """
        is_told = self._is_current or stage == _MAIL
        super().stage(stage, client)
        if is_told:
            self._put_on_board(time.monotonic(), self._child_s)

    def negotiated(self) -> None:
        """The negotiation of the session was answered."""
        self._is_negotiating = False
        self._board.set_negotiated(self._slot, time.monotonic())

    def count(self, answers: Iterable[tuple[str, str, str, float]]) -> None:
        """Add to the tallies, soon; the name "" stands for what the MTA was told."""
        self._uncounted.extend(answers)
        if len(self._uncounted) >= UNCOUNTED_MAX:
            self._count_all()

    def _count_all(self) -> None:
        index = self._board.tallies.names.index
        counted = [
            (index(name), stage_index(stage), verdict_index(verdict), seconds)
            for name, stage, verdict, seconds in self._uncounted
        ]
        self._uncounted.clear()
        self._board.add(self._slot, counted)
        for name, events in self.notes.take().items():
            self._board.counts.add(self._slot, index(name), events)

    def _put_on_board(self, now: float, within_s: float) -> None:
        self._board.set_stage(self._slot, _CODES.get(self._stage, 0))
        self._board.beat(self._slot, now, within_s)

    def show(self) -> None:
        """The MTA is waited for, or a child, which ``waiting`` says next."""
        super().show()
        if self._uncounted or self.notes:
            self._count_all()
        self._put_on_board(time.monotonic(), IDLE_TIMEOUT_S)

    def waiting(self, child: str) -> None:
        """A child is waited for."""
        super().waiting(child)
        self._put_on_board(time.monotonic(), self._child_s)

    def end_session(self, sessions: int) -> None:
        """The session is over, one of so many of this worker, which is idle now."""
        now = time.monotonic()
        if self._is_negotiating:  # an MTA that wanted nothing beyond it
            self._is_negotiating = False
            self._board.set_negotiated(self._slot, now)
        self._board.end_session(self._slot, sessions, now, now + self.idle_beat_s + IDLE_GRACE_S)
        if not self._says_idle:
            self.idle(sessions)


def _patience_with_children(config: Config) -> float:
    """The longest that a worker may be at one command: what a child is given, or the MTA to read what it is told."""
    limits = [
        child.connection_timeout_s
        + child.writing_timeout_s
        + PROGRESS_MAX * max(child.reading_timeout_s, child.end_of_message_timeout_s)
        for child in config.enabled_children
    ]
    return max([WRITE_TIMEOUT_S, *limits])
