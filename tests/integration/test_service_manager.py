"""What systemd hears of the daemon: the test holds the other end of ``NOTIFY_SOCKET``."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.daemons import Makers, session_named
from tests.integration.rig import Rig
from tests.support.processes import LabDirectory, wait_for
from tests.support.servicemanager import ServiceManager

PHASES = ("READY", "RELOADING", "STOPPING")
BROKEN = "[workers]\nn_workers = many\n"


@pytest.fixture
def systemd(lab: LabDirectory) -> Iterator[ServiceManager]:
    with ServiceManager(lab.subdirectory("systemd") / "notify") as manager:
        yield manager


def start(make: Makers, systemd: ServiceManager, watchdog_s: float = 0.0, **sections: dict[str, str]) -> Rig:
    """A manager of two workers that has told systemd that it is ready."""
    rig = make.rig(sections=sections)
    rig["c1"].__enter__()
    rig.manager.environment["NOTIFY_SOCKET"] = systemd.address
    if watchdog_s:
        rig.manager.environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1_000_000))
    rig.manager.spawn()
    systemd.wait_for(lambda told: "READY" in told, "READY=1")
    return rig


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_ready_means_that_it_serves(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    assert rig.is_well()


def test_ready_names_the_master(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    assert systemd.told("MAINPID") == [f"MAINPID={rig.manager.pid}"]


def test_a_reload_is_between_reloading_and_ready(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    rig.manager.reload()
    wait_for(lambda: len(systemd.told("READY")) == 2, "READY=1 again", log=rig.manager.log_tail)
    assert systemd.told(*PHASES) == ["READY=1", "RELOADING=1", "READY=1"]
    assert systemd.messages[-1]["STATUS"].endswith("generation 2")


def test_a_refused_reload_is_ready_again_with_the_reason(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    rig.manager.write_config(rig.child_keys(), extra_config=BROKEN)
    rig.manager.reload()
    wait_for(lambda: len(systemd.told("READY")) == 2, "READY=1 again", log=rig.manager.log_tail)
    status = [told["STATUS"] for told in systemd.messages if "READY" in told][-1]
    assert systemd.told(*PHASES) == ["READY=1", "RELOADING=1", "READY=1"]
    assert re.fullmatch(
        r"last reload refused: \S+conf:\d+: workers\.n_workers: .*; 0 busy of 2 workers, generation 1", status
    )


def test_a_stop_begins_with_stopping(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    rig.manager.stop()
    assert systemd.told(*PHASES) == ["READY=1", "STOPPING=1"]


def test_the_status_tells_of_busy_workers(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    with session_named(rig, "mx.example.net"):
        systemd.wait_for(lambda told: "1 busy of 2 workers" in told.get("STATUS", ""), "a busy worker")


def test_without_a_watchdog_there_are_no_signs_of_life(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd)
    rig.manager.stop()
    assert systemd.told("WATCHDOG") == []


def test_signs_of_life_go_on_while_all_workers_are_busy(make: Makers, systemd: ServiceManager, held: ExitStack) -> None:
    rig = start(make, systemd, watchdog_s=1.0)
    for number in range(2):
        held.enter_context(session_named(rig, f"mx{number}.example.net"))
    before = len(systemd.told("WATCHDOG"))
    wait_for(lambda: len(systemd.told("WATCHDOG")) >= before + 3, "signs of life", log=rig.manager.log_tail)


def test_signs_of_life_go_on_through_reloads(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd, watchdog_s=1.0)
    for _ in range(3):
        before = len(systemd.told("WATCHDOG"))
        rig.manager.renew_workers()
        wait_for(lambda before=before: len(systemd.told("WATCHDOG")) > before, "a sign of life")


def test_there_is_no_sign_of_life_while_no_worker_can_serve(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd, watchdog_s=1.0, workers={"hang_timeout": "60"})
    systemd.wait_for(lambda told: "WATCHDOG" in told, "a sign of life")
    workers = rig.manager.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    reason = 'not-serving reason="no worker is well (2 silent)" watchdog_s=1'
    wait_for(lambda: systemd.messages and reason in rig.manager.log_text(), reason, log=rig.manager.log_tail)
    told = systemd.messages
    since = next(number for number, each in enumerate(told) if each.get("STATUS", "").startswith("NOT serving"))
    assert not [each for each in told[since:] if "WATCHDOG" in each], "five seconds passed, five times the watchdog's"
    number = len(told)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    systemd.wait_for(lambda told: "WATCHDOG" in told, "a sign of life", since=number)
    rig.manager.wait_for_log("serving-again after_s=")


def test_workers_that_are_replaced_in_time_bring_back_the_signs_of_life(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd, watchdog_s=1.0)
    for pid in rig.manager.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(systemd.told("WATCHDOG")) >= 4, "signs of life", log=rig.manager.log_tail)
    assert "not-serving" not in rig.manager.log_text()


def test_a_service_manager_that_is_gone_stops_nothing(make: Makers, systemd: ServiceManager) -> None:
    rig = start(make, systemd, watchdog_s=1.0)
    os.unlink(systemd.address)
    rig.manager.wait_for_log("notify-failed socket=")
    assert rig.is_well()
    assert rig.manager.stop() == 0
