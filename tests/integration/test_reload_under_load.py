"""Reloads while mail flows: no session, process, descriptor or memory is lost."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.integration.daemons import title
from tests.integration.load import Load
from tests.integration.rig import Rig, marking
from tests.support.processes import LabDirectory, wait_for

N_RELOADS = 100
LEAK_BYTES = 4 * 1024 * 1024
"""What the master may have grown by: less than 50 KB a reload, where one configuration takes more."""


class Reloaded:
    """What was seen of a manager that was reloaded many times under load. Counts are before and after."""

    def __init__(self, rig: Rig) -> None:
        rig.is_well()
        wait_for(lambda: title_of_settled(rig), "all workers", log=rig.manager.log_tail)
        self.workers_before = len(rig.manager.worker_pids())
        self.worker_descriptors_before = max(psutil.Process(pid).num_fds() for pid in rig.manager.worker_pids())
        self.descriptors_before = psutil.Process(rig.manager.pid).num_fds()
        self.memory_before = psutil.Process(rig.manager.pid).memory_full_info().uss
        self.problems = problems_of_reloads(rig, N_RELOADS)
        self.last_title = wait_for(lambda: title_of_settled(rig), "end of the old workers", log=rig.manager.log_tail)
        self.workers = len(rig.manager.worker_pids())
        self.descriptors = psutil.Process(rig.manager.pid).num_fds()
        self.memory = psutil.Process(rig.manager.pid).memory_full_info().uss
        self.log = rig.manager.log_text()
        self.worker_descriptors = {psutil.Process(pid).num_fds() for pid in rig.manager.worker_pids()}


def problems_of_reloads(rig: Rig, number: int) -> list[str]:
    """What went wrong with any MTA during so many reloads, each with a session served before the next."""
    with Load(rig) as load:
        for generation in range(2, number + 2):
            served = load.count
            rig.manager.reload()
            rig.manager.wait_for_log(f"reloaded generation={generation} ")
            wait_for(lambda served=served: load.count > served or load.problems, "a session")
    return load.problems


def title_of_settled(rig: Rig) -> str | None:
    """The master's title, once the workers are as many as configured."""
    is_settled = len(rig.manager.worker_pids()) == rig.manager.n_workers
    return title(rig.manager.pid) if is_settled else None


@pytest.fixture(scope="module")
def reloaded(lab: LabDirectory) -> Iterator[Reloaded]:
    rig = Rig(lab.subdirectory("reloaded"), ["c1"], n_workers=8)
    rig["c1"].behaviour = marking("c1")
    with rig:
        yield Reloaded(rig)


def test_a_hundred_reloads_under_load_lose_no_session(reloaded: Reloaded) -> None:
    assert reloaded.problems == []


def test_a_hundred_reloads_under_load_leave_as_many_workers_as_configured(reloaded: Reloaded) -> None:
    assert reloaded.workers == reloaded.workers_before


def test_a_hundred_reloads_under_load_leak_no_descriptor_of_the_master(reloaded: Reloaded) -> None:
    assert reloaded.descriptors <= reloaded.descriptors_before


def test_a_hundred_reloads_under_load_are_counted_in_the_title(reloaded: Reloaded) -> None:
    assert reloaded.last_title.endswith(f"generation {N_RELOADS + 1}")


def test_a_hundred_reloads_under_load_leak_no_descriptor_of_a_worker(reloaded: Reloaded) -> None:
    assert max(reloaded.worker_descriptors) <= reloaded.worker_descriptors_before + 1  # a child's connection


def test_a_hundred_reloads_under_load_leak_no_memory(reloaded: Reloaded) -> None:
    assert reloaded.memory - reloaded.memory_before < LEAK_BYTES


def test_a_hundred_reloads_under_load_end_no_worker_by_force(reloaded: Reloaded) -> None:
    assert "worker-killed" not in reloaded.log


def test_a_pool_that_grows_and_shrinks_loses_no_session_by_reloads_either(lab: LabDirectory) -> None:
    limits = {"min_spare": "2", "max_spare": "4", "max_workers": "40"}
    rig = Rig(lab.subdirectory("elastic"), ["c1"], sections={"workers": limits}, n_workers=0)
    rig["c1"].behaviour = marking("c1")
    with rig:
        assert problems_of_reloads(rig, 20) == []
        wait_for(lambda: len(rig.manager.worker_pids()) <= 4, "a small pool", 60.0, rig.manager.log_tail)
        assert "worker-killed" not in rig.manager.log_text()
