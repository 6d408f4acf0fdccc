"""The breakers: which children fail in session after session, known to all workers, so that not each finds out anew.

Shared anonymous memory made by the master before the first fork. After ``breaker_failures`` failing sessions in a row
the breaker of a child is open: sessions do without it at once, but for one at a time that probes, which is an ordinary
session that uses the child. If the child works through, it is closed.

Layout: ``uint64 bits``, one for each record that is not calm, so that a healthy session needs one look at one number;
from 64 on one record of 64 bytes per breaker (``State``, in its order). Times are monotonic seconds. Whoever writes
holds a lock that the kernel takes back from the dead; it is needed for failures and while a child is not calm, never on
the way of a healthy session, and nobody waits long for it. Called by ``workers.child`` and the master.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, NamedTuple

from mmgr.config.model import ChildSettings

PLACES = 64
"""Breakers, at most; a child for which there is none left has none, and is asked in every session."""

LEASE_S = 5.0
"""A session that probes keeps the others from it for so long after it last waited for the child."""

LOCK_WAIT_S = 0.05
"""How long the lock is waited for; it is held for microseconds, unless its holder was stopped."""

_LOCK_PAUSE_S = 0.0005
_FAILURES_MAX = 2**32 - 1
_RECORD = struct.Struct("@I?iddd")
_RECORD_BYTES = 64
_FIRST = 64
_TIME = struct.Struct("@d")
_UNTIL = 32


class State(NamedTuple):
    """One breaker at one moment. open_since is 0 while it is closed, probe_pid while nobody probes.

    needs_message: the last failure was over a message, so that a session without one proves nothing.
    """

    failures: int = 0
    needs_message: bool = False
    probe_pid: int = 0
    open_since: float = 0.0
    next_probe: float = 0.0
    probe_until: float = 0.0

    @property
    def is_open(self) -> bool:
        """Do sessions go without the child?"""
        return self.open_since > 0.0

    def is_probed(self, now: float) -> bool:
        """Does a session probe?"""
        return self.probe_pid != 0 and now < self.probe_until

    def may_probe(self, now: float) -> bool:
        """Is it open, and time for the next session to try?"""
        return self.is_open and now >= self.next_probe and not self.is_probed(now)

    def after_claim(self, pid: int, now: float, until: float) -> State:
        """This process wants to probe."""
        return self._replace(probe_pid=pid, probe_until=until) if self.may_probe(now) else self

    def after_failure(self, settings: ChildSettings, needs_message: bool, prober: int, now: float) -> State:
        """A session failed; prober is its process if it probed, else 0."""
        state = self._replace(failures=min(self.failures + 1, _FAILURES_MAX), needs_message=needs_message)
        if not self.is_open:
            is_enough = state.failures >= settings.breaker_failures
            return state._replace(open_since=now, next_probe=now + settings.breaker_retry_s) if is_enough else state
        if prober and prober == self.probe_pid:
            return state.without_claim()._replace(next_probe=now + settings.breaker_retry_s)
        return state

    def after_success(self, is_message: bool, is_probe: bool) -> State:
        """A child answered a whole message, or else all that a session asked it. An open one takes a probe for that."""
        if (self.needs_message and not is_message) or (self.is_open and not is_probe):
            return self
        return State()

    def without_claim(self) -> State:
        """Nobody probes any more, without a result."""
        return self._replace(probe_pid=0, probe_until=0.0)


Change = Callable[[State], State]


class Breakers:
    """All of an instance. The master makes them, gives them places, and closes one if people say so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._map = mmap.mmap(-1, _FIRST + PLACES * _RECORD_BYTES)
        self.bits = memoryview(self._map).cast("Q")
        self._places: dict[tuple[object, ...], int] = {}
        self._lock_fd = lock_file()
        if self._lock_fd >= 0:
            weakref.finalize(self, os.close, self._lock_fd).atexit = False

    # ---- by the master

    def extend(self, children: Iterable[ChildSettings]) -> None:
        """Give places to those that have none. A child on another socket is another one; the old place is kept for
        sessions that still use it, and for the case that it comes back, until places run short."""
        keys = list(map(_key, children))
        for key in keys:
            if key in self._places:
                continue
            unused = [place for old, place in self._places.items() if old not in keys]
            if len(self._places) < PLACES:
                self._places[key] = len(self._places)
            elif unused:
                self._places = {old: place for old, place in self._places.items() if place != unused[0]}
                self._places[key] = unused[0]
                self.change(unused[0], lambda state: State(), is_urgent=True)

    def close(self, name: str) -> State | None:
        """Close all of that name, and forget failures; what was open, if anything was."""
        found = None
        for key, place in self._places.items():
            if key[0] == name:
                old, _ = self.change(place, lambda state: State(), is_urgent=True)
                found = old if old.is_open else found
        return found

    def bury(self, pid: int) -> None:
        """A process ended; it does not probe any more."""
        if self.bits[0]:
            for place in self._places.values():
                if self.state(place).probe_pid == pid:
                    self.change(place, lambda state: state.without_claim() if state.probe_pid == pid else state)

    # ---- by anybody

    def place(self, child: ChildSettings) -> int:
        """Where the child's record is; -1 if it has none, or wants none."""
        return self._places.get(_key(child), -1) if child.breaker_failures else -1

    def state(self, place: int) -> State:
        """A record as it is."""
        return State._make(_RECORD.unpack_from(self._map, _FIRST + place * _RECORD_BYTES))

    def change(self, place: int, change: Change, is_urgent: bool = False) -> tuple[State, State]:
        """Make of a record what change says; before and after. Unchanged if the lock can't be had, unless is_urgent."""
        with self._lock() as is_held:
            old = self.state(place)
            new = change(old) if is_held or is_urgent else old
            if new is not old:
                self._put(_FIRST + place * _RECORD_BYTES, _RECORD.pack(*new))
                bit = 1 << place
                self.bits[0] = self.bits[0] & ~bit if new == State() else self.bits[0] | bit
        return old, new

    def keep_claim(self, place: int, until: float) -> None:
        """The probe goes on, says who probes."""
        self._put(_FIRST + place * _RECORD_BYTES + _UNTIL, _TIME.pack(until))

    def _put(self, at: int, data: bytes) -> None:
        """Write whole aligned words: ``pack_into`` clears them first, and readers, who take no lock, would see that."""
        self._map[at : at + len(data)] = data

    @contextlib.contextmanager
    def _lock(self) -> Iterator[bool]:
        """Is it held? Where the system has no such lock it is done without: a lost failure is no harm."""
        if self._lock_fd < 0:
            yield True
            return
        is_held = self._take_lock()
        try:
            yield is_held
        finally:
            if is_held:
                fcntl.lockf(self._lock_fd, fcntl.LOCK_UN, 1)

    def _take_lock(self) -> bool:
        last = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.lockf(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
                return True
            except OSError:
                if time.monotonic() >= last:
                    return False
                time.sleep(_LOCK_PAUSE_S)


class Breaker:
    """One child's, in one worker, which has one session at a time. is_probing: that one probes."""

    def __init__(self, shared: Breakers, place: int, settings: ChildSettings) -> None:
        self.is_probing = False
        self._shared = shared
        self._place = place
        self._settings = settings
        self._bit = 1 << place
        self._pid = 0

    def _who(self) -> int:
        """The process that probes: asked for when it does, as this may have been made before the fork."""
        return self._pid or os.getpid()

    @property
    def is_calm(self) -> bool:
        """Closed, and no failure since the child last worked; costs next to nothing."""
        return not self._shared.bits[0] & self._bit

    @property
    def is_open(self) -> bool:
        """Do sessions go without the child?"""
        return not self.is_calm and self._shared.state(self._place).is_open

    def admits(self) -> bool:
        """May a session that begins now use the child? It probes if it was its turn."""
        self.is_probing = False
        if self.is_calm:
            return True
        state = self._shared.state(self._place)
        now = self._shared.clock()
        if not state.may_probe(now):
            return not state.is_open
        until = now + self._settings.connection_timeout_s + LEASE_S
        old, new = self._shared.change(self._place, lambda state: state.after_claim(self._who(), now, until))
        self.is_probing = new is not old
        return self.is_probing or not old.is_open

    def keep(self) -> None:
        """The child is waited for: the claim to probe stands as long as that lasts."""
        if self.is_probing and self._shared.state(self._place).probe_pid == self._who():
            self._shared.keep_claim(self._place, self._shared.clock() + LEASE_S)

    def failed(self, needs_message: bool) -> State | None:
        """The child failed in this session; once a session at most. The new state if that has opened it."""
        prober = self._who() if self.is_probing else 0
        self.is_probing = False
        now, settings = self._shared.clock(), self._settings
        old, new = self._shared.change(
            self._place, lambda state: state.after_failure(settings, needs_message, prober, now)
        )
        return new if new.is_open and not old.is_open else None

    def worked(self, is_message: bool) -> State | None:
        """The child answered a whole message, or, at the end of a session, all that it was asked.

        The state of before if that has closed it.
        """
        if self.is_calm:
            return None
        is_probe = self.is_probing
        old, new = self._shared.change(self._place, lambda state: state.after_success(is_message, is_probe))
        if new is old:
            return None
        self.is_probing = False
        return old if old.is_open else None

    def let_go(self) -> None:
        """The session is over; if it probed and has found out nothing, the next one may."""
        if self.is_probing:
            self.is_probing = False
            pid = self._who()
            self._shared.change(self._place, lambda state: state.without_claim() if state.probe_pid == pid else state)


class Panel:
    """The breakers of the children of one configuration, in one worker; without any it is always calm."""

    def __init__(self, shared: Breakers | None = None, children: Iterable[ChildSettings] = ()) -> None:
        self._bits: Sequence[int] = [0] if shared is None else shared.bits
        self._breakers: dict[str, Breaker] = {}
        self._mask = 0
        for child in children:
            place = -1 if shared is None else shared.place(child)
            if shared is not None and place >= 0:
                self._breakers[child.name] = Breaker(shared, place, child)
                self._mask |= 1 << place

    def of(self, name: str) -> Breaker | None:
        """That of a child; None for one without."""
        return self._breakers.get(name)

    def is_calm(self) -> bool:
        """Are all closed, and did no child fail since it last worked?"""
        return not self._bits[0] & self._mask


def _key(child: ChildSettings) -> tuple[object, ...]:
    return (child.name, child.connection_spec)


def lock_file() -> int:
    """A file without a name, to be locked; -1 if there can be none."""
    try:
        if hasattr(os, "memfd_create"):
            return os.memfd_create("breakers")
    except OSError:
        pass
    try:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    except OSError:
        return -1
