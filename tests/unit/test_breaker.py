"""The breaker: tables with a clock of the test, processes that race, and holders that die or are stopped."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mmgr import breaker
from mmgr.breaker import LEASE_S, PLACES, Breaker, Breakers, Panel, State
from mmgr.config.model import ChildSettings
from mmgr.endpoint import Endpoint

CHILD = ChildSettings("a", (Endpoint("unix", path="/a"),), breaker_failures=3, breaker_retry_s=10.0)
NOW = 1000.0
OPEN = State(3, False, 0, NOW, NOW + 10.0, 0.0)
PROBED = OPEN._replace(probe_pid=7, probe_until=NOW + 25.0)


def child(name: str, **changed: object) -> ChildSettings:
    return replace(CHILD, name=name, **changed)  # type: ignore[arg-type]


class House:
    """Breakers of one child, and as many workers as are wanted, all in this process."""

    def __init__(self, settings: ChildSettings = CHILD) -> None:
        self.now = NOW
        self.shared = Breakers(lambda: self.now)
        self.shared.extend([settings])
        self.settings = settings

    def worker(self, pid: int = 0) -> Breaker:
        found = Panel(self.shared, [self.settings]).of(self.settings.name)
        assert found is not None
        found._pid = pid or found._pid
        return found

    @property
    def state(self) -> State:
        return self.shared.state(self.shared.place(self.settings))

    def open(self) -> None:
        for _ in range(self.settings.breaker_failures):
            self.worker().failed(needs_message=False)
        assert self.state.is_open


@pytest.fixture
def house() -> House:
    return House()


# ---- the table


@pytest.mark.parametrize(
    ("before", "needs_message", "prober", "now", "after"),
    [
        (State(), False, 0, NOW, State(1)),
        (State(1, True), False, 0, NOW, State(2)),
        (State(1), True, 0, NOW, State(2, True)),
        (State(2), False, 0, NOW, OPEN),
        (State(9), False, 0, NOW, OPEN._replace(failures=10)),
        (OPEN, False, 0, NOW + 1, OPEN._replace(failures=4)),
        (PROBED, False, 7, NOW + 12, OPEN._replace(failures=4, next_probe=NOW + 22)),
        (PROBED, False, 8, NOW + 12, PROBED._replace(failures=4)),
        (PROBED, False, 0, NOW + 12, PROBED._replace(failures=4)),
        (State(2**32 - 1), False, 0, NOW, OPEN._replace(failures=2**32 - 1)),
    ],
)
def test_a_failure(before: State, needs_message: bool, prober: int, now: float, after: State) -> None:
    assert before.after_failure(CHILD, needs_message, prober, now) == after


@pytest.mark.parametrize(
    ("before", "is_message", "is_probe", "is_calm_after"),
    [
        (State(2), False, False, True),
        (State(2), True, False, True),
        (State(2, True), False, False, False),
        (State(2, True), True, False, True),
        (PROBED, True, True, True),
        (PROBED, False, True, True),
        (PROBED, True, False, False),
        (PROBED._replace(needs_message=True), False, True, False),
        (PROBED._replace(needs_message=True), True, True, True),
    ],
)
def test_a_success(before: State, is_message: bool, is_probe: bool, is_calm_after: bool) -> None:
    assert before.after_success(is_message, is_probe) == (State() if is_calm_after else before)


@pytest.mark.parametrize(
    ("state", "now", "may"),
    [
        (State(2), NOW + 60, False),
        (OPEN, NOW + 9.9, False),
        (OPEN, NOW + 10, True),
        (PROBED, NOW + 24.9, False),
        (PROBED, NOW + 25, True),
    ],
)
def test_when_a_session_may_probe(state: State, now: float, may: bool) -> None:
    assert state.may_probe(now) is may


# ---- workers


def test_it_opens_once_however_many_workers_see_failures(house: House) -> None:
    workers = [house.worker() for _ in range(5)]
    opened = [worker.failed(needs_message=False) for worker in workers]
    assert opened == [None, None, OPEN, None, None]
    assert [worker.admits() for worker in workers] == [False] * 5


def test_a_success_of_any_worker_begins_the_count_anew(house: House) -> None:
    one, other = house.worker(), house.worker()
    for _ in range(10):
        one.failed(needs_message=False)
        one.failed(needs_message=False)
        assert not other.is_calm
        assert other.worked(is_message=True) is None
        assert one.is_calm
    assert house.state == State()


def test_one_worker_at_a_time_probes_and_closes_it_for_all(house: House) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    workers = [house.worker(pid) for pid in (1, 2, 3)]
    assert [worker.admits() for worker in workers] == [True, False, False]
    assert [worker.is_probing for worker in workers] == [True, False, False]
    was = workers[0].worked(is_message=True)
    assert was is not None
    assert was.open_since == NOW
    assert [worker.admits() for worker in workers] == [True, True, True]
    assert not any(worker.is_probing for worker in workers)
    assert workers[0].worked(is_message=True) is None


def test_a_probe_that_fails_makes_all_wait_for_another_while(house: House) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    one, other = house.worker(1), house.worker(2)
    assert one.admits()
    assert one.failed(needs_message=False) is None
    assert not other.admits()
    house.now += CHILD.breaker_retry_s
    assert other.admits()


def test_a_probe_that_found_out_nothing_leaves_it_to_the_next_session(house: House) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    one, other = house.worker(1), house.worker(2)
    assert one.admits()
    one.let_go()
    assert other.admits()
    assert other.is_probing


def test_the_claim_of_a_probe_ends_unless_it_waits_for_the_child(house: House) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    one, other = house.worker(1), house.worker(2)
    assert one.admits()
    house.now += CHILD.connection_timeout_s + LEASE_S - 1
    one.keep()
    house.now += LEASE_S - 1
    assert not other.admits()
    house.now += 1
    assert other.admits()
    one.keep()
    one.failed(needs_message=False)
    assert house.state.probe_pid == 2


def test_the_claim_of_a_dead_worker_ends_when_it_is_buried(house: House) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    assert house.worker(1).admits()
    house.shared.bury(3)
    assert not house.worker(2).admits()
    house.shared.bury(1)
    assert house.worker(2).admits()


def test_a_success_of_a_session_from_before_does_not_close_it(house: House) -> None:
    before = house.worker()
    house.open()
    assert before.worked(is_message=True) is None
    assert house.state.is_open


def test_people_close_it_also_under_a_probe(house: House) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    worker = house.worker()
    assert worker.admits()
    was = house.shared.close("a")
    assert was is not None
    assert was.failures == 3
    assert house.state == State()
    assert worker.failed(needs_message=False) is None
    assert house.state == State(1)
    assert house.shared.close("a") is None
    assert house.shared.close("unknown") is None


def test_a_panel_is_calm_whatever_happens_to_children_of_others() -> None:
    shared = Breakers()
    ours, theirs, off = child("ours"), child("theirs"), child("off", breaker_failures=0)
    shared.extend([ours, theirs, off])
    panel, other = Panel(shared, [ours, off]), Panel(shared, [theirs]).of("theirs")
    assert other is not None
    other.failed(needs_message=False)
    assert panel.is_calm()
    assert panel.of("off") is None
    one = panel.of("ours")
    assert one is not None
    one.failed(needs_message=False)
    assert not panel.is_calm()
    one.worked(is_message=True)
    assert panel.is_calm()
    assert Panel().is_calm()


# ---- reloads


def test_a_child_keeps_its_state_as_long_as_its_sockets_are_the_same(house: House) -> None:
    house.open()
    moved = replace(CHILD, connection_spec=(Endpoint("unix", path="/elsewhere"),))
    house.shared.extend([child("b"), replace(CHILD, evaluation_mode=True, breaker_retry_s=1.0)])
    assert house.state.is_open
    house.shared.extend([moved])
    assert not house.shared.state(house.shared.place(moved)).is_open
    assert house.state.is_open  # for those who still have it there


def test_places_of_children_that_are_gone_are_used_again_and_start_closed() -> None:
    shared = Breakers()
    many = [child(f"c{number}") for number in range(PLACES)]
    shared.extend(many)
    gone = Panel(shared, many).of("c5")
    assert gone is not None
    for _ in range(3):
        gone.failed(needs_message=False)
    stays = [one for one in many if one.name != "c5"]
    shared.extend([*stays, child("new"), child("one-too-many")])
    assert shared.state(shared.place(child("new"))) == State()
    assert shared.place(child("one-too-many")) == shared.place(many[5]) == -1
    assert len({shared.place(one) for one in stays}) == PLACES - 1


# ---- processes


def forked(life: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            life()
        finally:
            os._exit(0)
    return pid


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes that are gone after the test."""
    made: list[int] = []
    yield made
    for pid in made:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def hold_the_lock(shared: Breakers, pids: list[int]) -> int:
    """A process that has the lock and keeps it."""
    ours, theirs = os.pipe()

    def life() -> None:
        fcntl.lockf(shared._lock_fd, fcntl.LOCK_EX, 1)
        os.write(theirs, b".")
        signal.pause()

    pids.append(forked(life))
    assert os.read(ours, 1) == b"."
    os.close(ours)
    os.close(theirs)
    return pids[-1]


def test_no_failure_is_lost_and_it_opens_once_when_processes_race(
    pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LOCK_WAIT_S", 60.0)
    house = House(replace(CHILD, breaker_failures=1000))
    ours, theirs = os.pipe()

    def life() -> None:
        worker = house.worker()
        for _ in range(500):
            if worker.failed(needs_message=False) is not None:
                os.write(theirs, b"o")
        os.write(theirs, b".")
        signal.pause()

    pids += [forked(life) for _ in range(4)]
    said = b""
    while said.count(b".") < 4:
        said += os.read(ours, 10)
    os.close(ours)
    os.close(theirs)
    assert house.state.failures == 2000
    assert said.count(b"o") == 1


def test_one_process_gets_the_probe_when_all_want_it(pids: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "LOCK_WAIT_S", 60.0)
    house = House()
    house.open()
    house.now += CHILD.breaker_retry_s
    ours, theirs = os.pipe()

    def life() -> None:
        worker = house.worker()
        os.write(theirs, b"y" if worker.admits() else b"n")
        signal.pause()

    pids += [forked(life) for _ in range(8)]
    said = b""
    while len(said) < 8:
        said += os.read(ours, 10)
    os.close(ours)
    os.close(theirs)
    assert sorted(said) == sorted(b"nnnnnnny")


def test_a_lock_whose_holder_was_killed_is_free(house: House, pids: list[int]) -> None:
    pid = hold_the_lock(house.shared, pids)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert house.worker().failed(needs_message=False) is None
    assert house.state.failures == 1


def test_nobody_waits_long_for_a_holder_that_was_stopped(house: House, pids: list[int]) -> None:
    house.open()
    house.now += CHILD.breaker_retry_s
    hold_the_lock(house.shared, pids)
    worker = house.worker()
    assert not worker.admits()
    assert worker.failed(needs_message=False) is None
    assert worker.worked(is_message=True) is None
    assert house.state == OPEN
    assert house.shared.close("a") == OPEN  # people's word goes without the lock
    assert house.state == State()


def test_it_works_where_there_is_no_such_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "lock_file", lambda: -1)
    house = House()
    house.open()
    house.now += CHILD.breaker_retry_s
    worker = house.worker()
    assert worker.admits()
    assert worker.worked(is_message=True) is not None
    assert house.state == State()


def test_the_lock_file_is_a_plain_one_where_there_is_no_memory_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    house = House()
    house.open()
    assert house.shared._lock_fd >= 0


def test_a_stopped_lock_costs_less_than_a_tenth_of_a_second(house: House, pids: list[int]) -> None:
    hold_the_lock(house.shared, pids)
    waited: list[float] = []
    real = time.sleep

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        real(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(breaker.time, "sleep", sleep)
        house.worker().failed(needs_message=False)
    assert 0 < sum(waited) <= breaker.LOCK_WAIT_S + 0.01
