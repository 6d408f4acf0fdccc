"""The breaker of the real daemon: a child that fails in session after session is left alone by all workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from mmgr.errors import MmgrError
from mmgr.peers.behaviour import Action, Behaviour, Hang, at_stages
from mmgr.peers.delivery import Outcome, Session, Status
from mmgr.peers.mail import Message
from mmgr.protocol.commands import CommandMessage
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import AddHeader
from tests.integration.daemons import is_marked, session_named, title
from tests.integration.rig import Rig, marking
from tests.integration.test_control import ctl, told
from tests.support.processes import LabDirectory, wait_for

WORKERS = 4
FAILURES = 3
DEADLINE_S = 3.0
NEVER = "600"
"""No probe within a test."""

HANGS = Behaviour(at={Command.SMFIC_OPTNEG: (Hang(),)})
MARK = (AddHeader(b"X-c1", b"seen"),)

MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(lab: LabDirectory) -> Iterator[MakeRig]:
    """Makes a daemon with one child that marks messages; keys are further ones of its section."""
    made: list[Rig] = []

    def make(**keys: str) -> Rig:
        every = {
            "breaker_failures": str(FAILURES),
            "breaker_retry": NEVER,
            "fallback_status": "temporary-failure",
            "reading_timeout": "1",
            **keys,
        }
        rig = Rig(lab.subdirectory("breaker"), ["c1"], {"c1": every}, n_workers=WORKERS)
        rig["c1"].behaviour = marking("c1")
        made.append(rig)
        rig.start()
        rig.wait_for_ends()
        rig["c1"].count = 0  # the start itself takes a session
        return rig

    yield make
    for rig in made:
        rig.__exit__(None, None, None)


def at_the_same_time(rig: Rig, count: int) -> list[Outcome]:
    """What becomes of a message in each of so many sessions, of which each has its own worker."""
    barrier = threading.Barrier(count, timeout=20)

    def deliver() -> Outcome:
        with rig.session() as session:
            session.begin()
            barrier.wait()
            return session.deliver(Message())

    with ThreadPoolExecutor(count) as pool:
        return [each.result() for each in [pool.submit(deliver) for _ in range(count)]]


def opened(rig: Rig) -> None:
    """Have its breaker open, by a child that hangs."""
    rig["c1"].behaviour = HANGS
    outcomes = at_the_same_time(rig, FAILURES)
    assert [outcome.status for outcome in outcomes] == [Status.TEMPORARY_FAILURE] * FAILURES
    rig.manager.wait_for_log("breaker-open ")


def wait_until_due(rig: Rig) -> None:
    """Return when the next session may probe."""
    wait_for(lambda: told(rig, "status")["breakers"]["c1"]["next_probe_s"] == 0, "time to probe")


def events(rig: Rig, name: str) -> list[str]:
    """The lines of an event in the log so far."""
    return [line for line in rig.manager.log_text().splitlines() if f": {name} " in line]


# ---- open


def test_once_it_failed_in_several_workers_no_session_connects_or_waits_any_more(make_rig: MakeRig) -> None:
    rig = make_rig(reading_timeout=str(DEADLINE_S))
    opened(rig)
    assert rig["c1"].count == FAILURES
    assert len({line.split()[1] for line in events(rig, "child-failed")}) == FAILURES
    began = time.monotonic()
    outcomes = [rig.deliver()[0] for _ in range(12)]
    assert time.monotonic() - began < DEADLINE_S
    assert {(outcome.status, outcome.stage) for outcome in outcomes} == {(Status.TEMPORARY_FAILURE, "envelope-from")}
    assert rig["c1"].count == FAILURES
    assert len(events(rig, "breaker-open")) == 1
    assert len(events(rig, "child-failed")) == FAILURES
    (line,) = events(rig, "breaker-open")
    assert f" child=c1 failures={FAILURES} " in line
    assert line.endswith(f" fallback=temporary-failure next_probe_s={NEVER}")


def test_a_session_from_before_goes_on_with_the_child(make_rig: MakeRig) -> None:
    rig = make_rig()
    with session_named(rig, "old.example.net") as old:
        opened(rig)
        assert is_marked(old)
        assert is_marked(old)
    assert rig.deliver()[0].status is Status.TEMPORARY_FAILURE
    assert events(rig, "breaker-closed") == []


def test_it_never_opens_where_it_is_off(make_rig: MakeRig) -> None:
    rig = make_rig(breaker_failures="0", reading_timeout="0.1")
    rig["c1"].behaviour = HANGS
    for _ in range(FAILURES + 3):
        rig.deliver()
    assert rig["c1"].count == FAILURES + 3
    assert events(rig, "breaker-open") == []
    assert told(rig, "milters")["milters"][0]["breaker"]["state"] == "off"


def test_failures_with_successes_between_them_do_not_open_it(make_rig: MakeRig) -> None:
    rig = make_rig(reading_timeout="0.2")
    for _ in range(2):
        for _ in range(FAILURES - 1):
            rig["c1"].behaviour = HANGS
            assert rig.deliver()[0].status is Status.TEMPORARY_FAILURE
        rig["c1"].behaviour = marking("c1")
        assert rig.deliver()[0].edits == MARK
    assert events(rig, "breaker-open") == []
    assert told(rig, "milters")["milters"][0]["breaker"]["failures"] == 0


def test_sessions_without_a_message_say_nothing_of_a_child_that_fails_over_messages(make_rig: MakeRig) -> None:
    rig = make_rig(end_of_message_timeout="0.2")
    rig["c1"].behaviour = Behaviour(at=at_stages(end_of_message=Hang()))
    for _ in range(FAILURES):
        with rig.greeted():
            pass
        rig.deliver()
    rig.manager.wait_for_log("breaker-open ")
    assert len(events(rig, "breaker-open")) == 1


def test_an_evaluated_child_is_left_alone_too(make_rig: MakeRig) -> None:
    rig = make_rig(evaluation_mode="yes", reading_timeout="0.2")
    rig["c1"].behaviour = HANGS
    outcomes = [rig.deliver()[0].status for _ in range(FAILURES + 3)]
    assert outcomes == [Status.ACCEPT] * (FAILURES + 3)
    assert rig["c1"].count == FAILURES


# ---- probes


def test_one_session_at_a_time_probes(make_rig: MakeRig) -> None:
    rig = make_rig(breaker_retry="0.2", reading_timeout="0.7")
    opened(rig)
    together: list[int] = []

    def hang(_message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action]:
        together.append(sum(1 for session in rig["c1"].sessions if not session.ended))
        return (Hang(),)

    rig["c1"].behaviour = Behaviour(responder=lambda: hang)
    until = time.monotonic() + 2.5
    counts: list[int] = []

    def crowd() -> None:
        count = 0
        while time.monotonic() < until:
            rig.deliver()
            count += 1
        counts.append(count)

    with ThreadPoolExecutor(WORKERS) as pool:
        for each in [pool.submit(crowd) for _ in range(WORKERS)]:
            each.result()
    assert len(together) >= 2
    assert set(together) == {1}
    assert sum(counts) > 10 * len(together)
    assert len(events(rig, "breaker-open")) == 1


def test_when_the_child_is_back_a_probe_closes_it_and_all_workers_use_it(make_rig: MakeRig) -> None:
    rig = make_rig(breaker_retry="0.5")
    opened(rig)
    rig["c1"].behaviour = marking("c1")
    wait_for(lambda: rig.deliver()[0].edits == MARK, "session that probes", 5.0, rig.manager.log_tail)
    assert [outcome.edits for outcome in at_the_same_time(rig, WORKERS)] == [MARK] * WORKERS
    assert len(events(rig, "breaker-open")) == 1
    (line,) = events(rig, "breaker-closed")
    assert f" child=c1 failures={FAILURES} " in line
    assert line.endswith(" cause=worked")


def test_a_session_that_asks_nothing_leaves_the_probe_to_the_next(make_rig: MakeRig) -> None:
    rig = make_rig(breaker_retry="0.1")
    opened(rig)
    rig["c1"].behaviour = marking("c1")
    wait_until_due(rig)
    with suppress(MmgrError), rig.connect() as mta:
        mta.negotiate()
    wait_for(lambda: rig.deliver()[0].edits == MARK, "session that probes", 5.0, rig.manager.log_tail)


def test_a_worker_that_is_killed_while_it_probes_holds_up_nobody(make_rig: MakeRig) -> None:
    rig = make_rig(breaker_retry="0.1")
    opened(rig)
    rig.manager.write_config(rig.child_keys(c1={"breaker_retry": "0.1", "reading_timeout": "25"}))
    rig.manager.renew_workers()
    wait_until_due(rig)

    def probe() -> None:
        with suppress(MmgrError, OSError):
            rig.deliver()

    thread = threading.Thread(target=probe)
    thread.start()

    def probing() -> list[int]:
        return [pid for pid in rig.manager.worker_pids() if title(pid).endswith(" waiting for c1")]

    (pid,) = wait_for(probing, "worker that probes", 5.0, rig.manager.log_tail)
    assert told(rig, "status")["breakers"]["c1"]["is_probed"]
    assert rig.deliver()[0].status is Status.TEMPORARY_FAILURE
    os.kill(pid, signal.SIGKILL)
    thread.join()
    rig["c1"].behaviour = marking("c1")
    wait_for(lambda: rig.deliver()[0].edits == MARK, "session that probes", 3.0, rig.manager.log_tail)
    assert len(events(rig, "breaker-closed")) == 1


# ---- people


def test_status_and_milters_show_it_and_a_reset_closes_it(make_rig: MakeRig) -> None:
    rig = make_rig()
    opened(rig)
    found = told(rig, "status")["breakers"]["c1"]
    assert (found["state"], found["failures"], found["is_probed"]) == ("open", FAILURES, False)
    assert 0 < found["open_s"] < 60
    assert 540 < found["next_probe_s"] <= 600
    assert "breaker      c1: open for " in ctl(rig, "status").stdout
    assert told(rig, "milters")["milters"][0]["breaker"]["state"] == "open"
    assert ctl(rig, "milters").stdout.splitlines()[1].split()[:4] == ["c1", "enabled", "-", "open"]
    rig["c1"].behaviour = marking("c1")
    assert rig.deliver()[0].edits == ()
    assert ctl(rig, "reset", "c1").returncode == 0
    assert [outcome.edits for outcome in at_the_same_time(rig, WORKERS)] == [MARK] * WORKERS
    assert told(rig, "status")["breakers"] == {}
    assert ctl(rig, "milters").stdout.splitlines()[1].split()[3] == "closed"
    (line,) = events(rig, "breaker-closed")
    assert " session=- child=c1 " in line
    assert line.endswith(" cause=reset")


def test_it_stays_over_reloads_until_the_child_is_at_another_socket(make_rig: MakeRig, lab: LabDirectory) -> None:
    rig = make_rig()
    opened(rig)
    rig["c1"].behaviour = marking("c1")
    rig.manager.renew_workers()
    assert rig.deliver()[0].edits == ()
    again = lab.subdirectory("moved") / "c1.sock"
    again.symlink_to(rig["c1"].endpoint.path)
    rig.manager.write_config(rig.child_keys(c1={"connection_spec": f"unix:{again}"}))
    rig.manager.renew_workers()
    assert rig.deliver()[0].edits == MARK
    assert told(rig, "status")["breakers"] == {}


def test_a_message_passes_at_once_where_the_fallback_is_accept(make_rig: MakeRig) -> None:
    rig = make_rig(fallback_status="accept", reading_timeout="0.2")
    rig["c1"].behaviour = HANGS
    for _ in range(FAILURES):
        rig.deliver()
    with Session(rig.connect()) as session:
        outcomes = [session.deliver(Message()) for _ in range(2)]
    assert [(outcome.status, outcome.edits) for outcome in outcomes] == [(Status.ACCEPT, ())] * 2
    assert rig["c1"].count == FAILURES


def test_failures_of_sessions_that_began_the_short_way_count(make_rig: MakeRig) -> None:
    rig = make_rig(breaker_retry="0.5", fallback_status="accept", reading_timeout="0.5")
    rig["c1"].behaviour = Behaviour()
    for _ in range(3 * WORKERS):
        assert rig.is_well()
    rig["c1"].behaviour = Behaviour(at=at_stages(envelope_recipient=Hang()))
    for _ in range(FAILURES):
        assert rig.is_well()
    rig.manager.wait_for_log("breaker-open ")
    rig["c1"].behaviour = Behaviour()
    wait_for(lambda: rig.is_well() and events(rig, "breaker-closed"), "probe", 5.0, rig.manager.log_tail)
    assert told(rig, "status")["breakers"] == {}
    assert len(events(rig, "breaker-open")) == 1
