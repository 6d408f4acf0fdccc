"""SIGHUP: a new configuration for new sessions, with nothing lost; a broken one changes nothing."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import psutil
import pytest

from mmgr.protocol.replies import AddHeader
from tests.integration.daemons import Makers, is_marked, session_named, title
from tests.integration.rig import Rig, marking
from tests.support.processes import LabDirectory, wait_for

# HUP


def test_new_sessions_use_the_children_of_a_new_configuration(make: Makers) -> None:
    rig = make.running()
    rig.manager.write_config({})
    rig.manager.renew_workers()
    assert rig.deliver()[0].edits == ()


def test_a_running_session_keeps_the_children_it_has(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "old.example.net") as old:
        rig.manager.write_config({})
        rig.manager.reload()
        wait_for(lambda: rig.deliver()[0].edits == (), "sessions without children")
        assert [is_marked(old) for _ in range(3)] == [True] * 3


def test_a_session_that_runs_across_several_reloads_is_not_lost(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "old.example.net") as old:
        for number in range(2, 5):
            rig.manager.reload()
            rig.manager.wait_for_log(f"reloaded generation={number} ")
            assert is_marked(old)


def test_a_broken_configuration_keeps_workers_and_children_as_they_are(make: Makers) -> None:
    rig = make.running()
    before = rig.manager.worker_pids()
    rig.manager.write_config({}, extra_config="[manager]\nno_such_key = 1\n")
    rig.manager.reload()
    rig.manager.wait_for_log("error: reload-refused ")
    assert rig.deliver()[0].edits == (AddHeader(b"X-c1", b"seen"),)
    assert rig.manager.worker_pids() == before


def test_every_fault_of_a_broken_configuration_is_logged_with_file_line_and_key(make: Makers) -> None:
    rig = make.running()
    path = rig.manager.config_directory / "milter-manager.conf"
    path.write_text("[manager]\nno_such_key = 1\n[workers]\nn_workers = x\n[milters]\n[[a]]\n", "utf-8")
    rig.manager.reload()
    rig.manager.wait_for_log("error: reload-refused ", 3)
    places = re.findall(r'reload-refused generation=1 error="(\S+):(\d+): (\S+): ', rig.manager.log_text())
    assert places == [
        (str(path), "2", "manager.no_such_key"),
        (str(path), "4", "workers.n_workers"),
        (str(path), "6", "milters.a.connection_spec"),
    ]


def test_after_a_broken_configuration_a_mended_one_is_taken(make: Makers) -> None:
    rig = make.running()
    rig.manager.write_config({}, extra_config="[nonsense]\n")
    rig.manager.reload()
    rig.manager.wait_for_log("error: reload-refused ")
    rig.manager.write_config({})
    rig.manager.renew_workers()
    assert rig.deliver()[0].edits == ()


def test_a_configuration_directory_that_vanished_keeps_everything_as_it_is(make: Makers) -> None:
    rig = make.running()
    rig.manager.config_directory.rename(rig.manager.directory / "gone")
    rig.manager.reload()
    rig.manager.wait_for_log("error: reload-refused ")
    assert rig.deliver()[0].edits == (AddHeader(b"X-c1", b"seen"),)


def test_another_number_of_workers_is_taken_by_a_reload(make: Makers) -> None:
    rig = make.rig(n_workers=0, sections={"workers": {"n_workers": "5"}})
    command = rig.manager.command()
    position = command.index("--n-workers")
    rig.manager.command = lambda: command[:position] + command[position + 2 :]  # type: ignore[method-assign]
    with rig:
        wait_for(lambda: len(rig.manager.worker_pids()) == 5, "five workers")
        rig.manager.write_config(rig.child_keys(), {"workers": {"n_workers": "2"}})
        rig.manager.reload()
        wait_for(lambda: len(rig.manager.worker_pids()) == 2, "two workers")
        assert rig.is_well()


def test_children_of_different_generations_serve_side_by_side(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "old.example.net") as old:
        rig.manager.write_config(rig.child_keys(c1={"evaluation_mode": "yes"}))
        rig.manager.reload()
        wait_for(lambda: rig.deliver()[0].edits == (), "sessions that only evaluate the child")
        assert is_marked(old)


# Reload under load


N_MTAS = 4
N_RELOADS = 20


class Load:
    """MTAs that deliver until told to stop; problems holds what went wrong with any of them."""

    def __init__(self, rig: Rig) -> None:
        self.problems: list[str] = []
        self.count = 0
        self._rig = rig
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._deliver, daemon=True) for _ in range(N_MTAS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60.0)

    def _deliver(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._rig.session() as session:
                    good = [is_marked(session) for _ in range(3)]
                self.count += 1
                if not all(good):
                    self.problems.append(f"not accepted with the child's edit: {good}")
            except Exception as error:  # noqa: BLE001  whatever went wrong is what the test is after
                self.problems.append(repr(error))


class Reloaded:
    """What was seen of a manager that was reloaded many times under load. Counts are before and after."""

    def __init__(self, rig: Rig) -> None:
        rig.is_well()
        self.workers_before = len(rig.manager.worker_pids())
        self.descriptors_before = psutil.Process(rig.manager.pid).num_fds()
        with Load(rig) as load:
            for number in range(2, N_RELOADS + 2):
                served = load.count
                rig.manager.reload()
                rig.manager.wait_for_log(f"reloaded generation={number} ")
                wait_for(lambda served=served: load.count > served or load.problems, "a session")
        self.problems = load.problems
        self.last_title = wait_for(lambda: title_of_settled(rig), "end of the old workers", log=rig.manager.log_tail)
        self.workers = len(rig.manager.worker_pids())
        self.descriptors = psutil.Process(rig.manager.pid).num_fds()
        self.worker_descriptors = {psutil.Process(pid).num_fds() for pid in rig.manager.worker_pids()}


def title_of_settled(rig: Rig) -> str | None:
    """The master's title, once the workers are as many as configured."""
    is_settled = len(rig.manager.worker_pids()) == rig.manager.n_workers
    return title(rig.manager.pid) if is_settled else None


@pytest.fixture(scope="module")
def reloaded(lab: LabDirectory) -> Iterator[Reloaded]:
    rig = Rig(lab.subdirectory("reloaded"), ["c1"], n_workers=3)
    rig["c1"].behaviour = marking("c1")
    with rig:
        yield Reloaded(rig)


def test_twenty_reloads_under_load_lose_no_session(reloaded: Reloaded) -> None:
    assert reloaded.problems == []


def test_twenty_reloads_under_load_leave_as_many_workers_as_configured(reloaded: Reloaded) -> None:
    assert reloaded.workers == reloaded.workers_before


def test_twenty_reloads_under_load_leak_no_descriptor_of_the_master(reloaded: Reloaded) -> None:
    assert reloaded.descriptors <= reloaded.descriptors_before


def test_twenty_reloads_under_load_are_counted_in_the_title(reloaded: Reloaded) -> None:
    assert reloaded.last_title.endswith(f"generation {N_RELOADS + 1}")
