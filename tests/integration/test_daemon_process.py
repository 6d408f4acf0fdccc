"""The daemon as processes: signals, workers that die, reload under load, titles, privileges, the background."""

from __future__ import annotations

import ast
import os
import pwd
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from mmgr.errors import PeerClosed
from mmgr.peers.behaviour import Behaviour
from mmgr.peers.delivery import Session, SmtpClient, Status
from mmgr.peers.mail import Message
from mmgr.protocol.commands import CommandMessage, Connect
from mmgr.protocol.replies import AddHeader, Continue
from tests.integration.rig import Rig, marking
from tests.support.daemon import CHECKOUT, Manager
from tests.support.processes import LabDirectory, connect_to, group_members, negotiates, wait_for

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="privileges are dropped by root only")


class Makers:
    """Makes rigs of one child that are gone after the test, whatever became of them."""

    def __init__(self, lab: LabDirectory, held: ExitStack) -> None:
        self._lab = lab
        self._held = held

    def rig(
        self, n_workers: int = 2, sections: dict[str, dict[str, str]] | None = None, extra_args: tuple[str, ...] = ()
    ) -> Rig:
        """One that is not started yet; its child marks every message."""
        rig = Rig(self._lab.subdirectory("daemon"), ["c1"], {}, sections, n_workers, extra_args)
        rig["c1"].behaviour = marking("c1")
        self._held.callback(rig.manager.kill)
        return rig

    def running(self, *args: object, **kwargs: object) -> Rig:
        """One that serves; nothing is asserted about its end."""
        rig = self.rig(*args, **kwargs)  # type: ignore[arg-type]
        rig["c1"].__enter__()
        self._held.callback(rig["c1"].stop)
        rig.manager.start()
        return rig


@pytest.fixture
def make(lab: LabDirectory) -> Iterator[Makers]:
    with ExitStack() as held:
        yield Makers(lab, held)


def title(pid: int) -> str:
    """What ``ps`` shows of a process."""
    return " ".join(psutil.Process(pid).cmdline()).strip()


def titles(rig: Rig) -> list[str]:
    """Of all workers, in the order of their numbers."""
    found = [title(pid) for pid in rig.manager.worker_pids()]
    return sorted(found, key=lambda text: int(text.split()[2]))


@contextmanager
def session_named(rig: Rig, name: str) -> Iterator[Session]:
    """An open SMTP session whose worker can be found by the client's name."""
    client = SmtpClient(connect=Connect(name.encode(), ord("4"), 25, b"192.0.2.7"))
    with Session(rig.connect(), client) as session:
        session.begin()
        yield session


def worker_of(rig: Rig, name: str) -> int:
    """The worker that serves the client of that name."""
    (pid,) = (pid for pid in rig.manager.worker_pids() if f" {name}[" in title(pid))
    return pid


def is_marked(session: Session) -> bool:
    """Is a message accepted, with the edit of the child?"""
    outcome = session.deliver(Message())
    return outcome.status is Status.ACCEPT and outcome.edits == (AddHeader(b"X-c1", b"seen"),)


def refuses(rig: Rig) -> bool:
    """Does nobody take connections?"""
    try:
        connect_to(rig.manager.spec).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


# TERM


def test_term_lets_an_open_session_finish_its_message(make: Makers) -> None:
    rig = make.running()
    with rig.greeted() as mta:
        mta.mail(b"<a@example.com>")
        mta.rcpt(b"<b@example.org>")
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
        mta.data()
        mta.header(b"Subject", b"1")
        mta.eoh()
        mta.body(b"body\r\n")
        assert isinstance(mta.end_of_message(), Continue)
        assert mta.edits == [AddHeader(b"X-c1", b"seen")]
    rig.manager.wait()


def test_term_refuses_new_connections_while_a_session_is_open(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net"):
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
        assert len(rig.manager.worker_pids()) >= 1
    rig.manager.wait()


def test_term_ends_with_0_and_leaves_nothing(make: Makers) -> None:
    rig = make.running()
    assert rig.manager.stop() == 0
    rig.manager.assert_nothing_left()


def test_term_ends_with_0_after_an_open_session_has_ended(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net"):
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
    assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


def test_a_session_that_does_not_end_is_cut_off_after_the_drain_timeout(make: Makers) -> None:
    rig = make.running(sections={"workers": {"drain_timeout": "0.2"}})
    with session_named(rig, "stays.example.net"):
        assert rig.manager.stop() == 0
    rig.manager.assert_nothing_left()
    assert "warning: worker-killed " in rig.manager.log_text()


def test_term_twice_is_like_term_once(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net") as session:
        rig.manager.signal(signal.SIGTERM)
        rig.manager.signal(signal.SIGTERM)
        wait_for(lambda: refuses(rig), "end of listening")
        assert is_marked(session)
    assert rig.manager.wait() == 0


# INT and QUIT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_a_signal_of_the_terminal_to_the_whole_group_ends_all_and_leaves_nothing(make: Makers, number: int) -> None:
    rig = make.running()
    os.killpg(rig.manager.pid, number)
    assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


def test_int_does_not_wait_for_an_open_session(make: Makers) -> None:
    """The drain timeout is five minutes."""
    rig = make.running()
    with session_named(rig, "stays.example.net"):
        os.killpg(rig.manager.pid, signal.SIGINT)
        assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


def test_int_twice_has_no_patience_at_all(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "stays.example.net"):
        rig.manager.signal(signal.SIGINT)
        wait_for(lambda: refuses(rig), "end of listening")
        rig.manager.signal(signal.SIGINT)
        assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


# Workers that die


def kill_and_wait(rig: Rig, pid: int) -> None:
    """Kill a worker and wait until as many as before are there again."""
    count = len(rig.manager.worker_pids())
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: pid not in rig.manager.worker_pids() and len(rig.manager.worker_pids()) == count,
        "another worker",
        log=rig.manager.log_tail,
    )


def test_a_killed_idle_worker_is_replaced(make: Makers) -> None:
    rig = make.running()
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert rig.is_well()


def test_a_killed_only_worker_is_replaced_and_serves(make: Makers) -> None:
    rig = make.running(n_workers=1)
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert rig.is_well()


def test_a_killed_busy_worker_is_replaced_and_serves(make: Makers) -> None:
    rig = make.running(n_workers=1)
    with session_named(rig, "doomed.example.net"):
        kill_and_wait(rig, worker_of(rig, "doomed.example.net"))
        assert rig.is_well()


def test_a_killed_worker_takes_its_own_session_with_it(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "doomed.example.net") as session:
        kill_and_wait(rig, worker_of(rig, "doomed.example.net"))
        with pytest.raises(PeerClosed):
            session.deliver(Message())


def test_a_killed_worker_leaves_other_sessions_alone(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "doomed.example.net"), session_named(rig, "other.example.net") as other:
        kill_and_wait(rig, worker_of(rig, "doomed.example.net"))
        assert is_marked(other)


def test_connections_that_wait_while_all_workers_are_dead_are_served(make: Makers) -> None:
    rig = make.running(n_workers=1)
    os.kill(rig.manager.worker_pids()[0], signal.SIGKILL)
    assert rig.is_well()


def test_a_worker_that_dies_again_and_again_is_started_again_with_patience(make: Makers) -> None:
    rig = make.running(n_workers=1)
    for _ in range(3):
        pid = wait_for(rig.manager.worker_pids, "a worker")[0]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: pid not in rig.manager.worker_pids(), "end of the worker")
    waits = re.findall(r"worker-died .* next_in_s=(\S+)", wait_for_deaths(rig, 3))
    assert [float(wait) for wait in waits] == sorted(float(wait) for wait in waits)
    assert float(waits[-1]) > 0.0


def wait_for_deaths(rig: Rig, count: int) -> str:
    rig.manager.wait_for_log(r"worker-died .* next_in_s=\S+\n", count)
    return rig.manager.log_text()


def test_while_one_worker_dies_again_and_again_the_others_serve(make: Makers) -> None:
    rig = make.running()
    for _ in range(3):
        os.kill(rig.manager.worker_pids()[-1], signal.SIGKILL)
        assert rig.is_well()


def test_the_death_of_a_worker_is_a_warning_that_says_what_it_died_of(make: Makers) -> None:
    rig = make.running()
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert rig.manager.wait_for_log(r'warning: worker-died worker=1 cause="signal SIGKILL" ')


# The master dies


def kill_master(rig: Rig) -> list[psutil.Process]:
    """Kill the master alone; its workers."""
    workers = [psutil.Process(pid) for pid in rig.manager.worker_pids()]
    rig.manager.signal(signal.SIGKILL)
    rig.manager.wait()
    return workers


def test_idle_workers_end_with_their_master(make: Makers) -> None:
    rig = make.running(n_workers=3)
    kill_master(rig)
    wait_for(lambda: not group_members(rig.manager.pid), "end of the workers")


def test_a_busy_worker_finishes_its_session_and_ends_with_its_master(make: Makers) -> None:
    rig = make.running()
    with session_named(rig, "open.example.net") as session:
        kill_master(rig)
        assert is_marked(session)
    wait_for(lambda: not group_members(rig.manager.pid), "end of the workers")


def test_a_new_master_takes_the_socket_of_a_killed_one(make: Makers) -> None:
    rig = make.running()
    kill_master(rig)
    wait_for(lambda: not group_members(rig.manager.pid), "end of the workers")
    rig.manager.start()
    assert rig.is_well()


@pytest.mark.parametrize("n_workers", [1, 2], ids=["all workers busy", "an idle worker"])
def test_a_new_master_takes_the_socket_at_once_though_a_worker_of_the_killed_one_is_busy(
    make: Makers, n_workers: int
) -> None:
    rig = make.running(n_workers=n_workers)
    with session_named(rig, "old.example.net") as old:
        orphans = group_members(rig.manager.pid)
        kill_master(rig)
        with ended_afterwards(orphans):
            rig.manager.start()
            assert rig.is_well()
            assert is_marked(old)


@contextmanager
def ended_afterwards(processes: list[psutil.Process]) -> Iterator[None]:
    """Processes that a failing test must not leave behind."""
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()


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


# Titles


def test_the_title_of_the_master_says_what_goes_on(make: Makers) -> None:
    rig = make.running(n_workers=3)
    expected = f"milter-manager: master {rig.manager.spec}, 0 busy of 3 workers, generation 1"
    wait_for(lambda: title(rig.manager.pid) == expected, "title of the master")


def test_the_title_of_the_master_counts_the_busy_workers(make: Makers) -> None:
    rig = make.running(n_workers=3)
    with session_named(rig, "one.example.net"), session_named(rig, "two.example.net"):
        wait_for(lambda: ", 2 busy of 3 workers, " in title(rig.manager.pid), "title of the master")


def test_the_title_of_an_idle_worker_counts_its_sessions(make: Makers) -> None:
    rig = make.running(n_workers=1)
    rig.deliver()
    rig.deliver()
    started = 1  # the probe that waited for the start
    wait_for(lambda: titles(rig) == [f"milter-manager: worker 1 idle, {started + 2} sessions"], "title of the worker")


def test_the_title_of_a_busy_worker_says_stage_and_client(make: Makers) -> None:
    rig = make.running(n_workers=1)
    with session_named(rig, "mx.example.net") as session:
        assert titles(rig) == ["milter-manager: worker 1 helo mx.example.net[192.0.2.7]"]
        session.peer.mail(b"<a@example.com>")
        session.peer.rcpt(b"<b@example.org>")
        assert titles(rig) == ["milter-manager: worker 1 rcpt mx.example.net[192.0.2.7]"]


@pytest.mark.parametrize("stage", ["rcpt", "end-of-message"])
def test_the_title_of_a_waiting_worker_names_the_child(make: Makers, stage: str) -> None:
    rig = make.rig(n_workers=1)
    goes_on = threading.Event()
    kind = {"rcpt": "Rcpt", "end-of-message": "BodyEob"}[stage]

    def respond(message: CommandMessage, _macros: object) -> None:
        if type(message).__name__ == kind:
            assert goes_on.wait(30.0)

    rig["c1"].behaviour = Behaviour(responder=lambda: respond)
    expected = [f"milter-manager: worker 1 {stage} mx.example.net[192.168.123.123] waiting for c1"]
    with rig, rig.session() as session:
        delivering = threading.Thread(target=lambda: session.deliver(Message()), daemon=True)
        delivering.start()
        try:
            wait_for(lambda: titles(rig) == expected, "title of the worker", log=lambda: str(titles(rig)))
        finally:
            goes_on.set()
            delivering.join(30.0)


def test_a_client_with_a_wild_name_does_not_make_a_wild_title(make: Makers) -> None:
    rig = make.running(n_workers=1)
    name = b"\x1b[31m \xff" + b"x" * 500
    with rig.session(SmtpClient(connect=Connect(name, ord("4"), 25, b"192.0.2.7"))) as session:
        session.begin()
        (shown,) = titles(rig)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) < 200


# The processes


def test_the_started_process_is_the_master(make: Makers) -> None:
    rig = make.running()
    assert title(rig.manager.pid).startswith("milter-manager: master ")


def test_workers_are_direct_children_of_the_started_process(make: Makers) -> None:
    rig = make.running(n_workers=3)
    wait_for(lambda: len(rig.manager.worker_pids()) == 3, "three workers")
    others = {process.pid for process in group_members(rig.manager.pid)} - {rig.manager.pid}
    assert others == set(rig.manager.worker_pids())


def test_there_are_at_least_four_workers_if_nothing_is_said_of_their_number(make: Makers) -> None:
    rig = make.running(n_workers=0)
    wait_for(lambda: len(rig.manager.worker_pids()) >= 4, "four workers")


def identity_of(pid: int) -> dict[str, list[int]]:
    """Real, effective, saved and file system ids, and supplementary groups, by their names in ``/proc/PID/status``."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    pairs = (line.split(":", 1) for line in text.splitlines())
    return {name: [int(one) for one in value.split()] for name, value in pairs if name in ("Uid", "Gid", "Groups")}


@needs_root
@pytest.mark.parametrize("who", ["master", "worker"])
def test_all_ids_and_groups_of_root_are_given_up(make: Makers, who: str) -> None:
    rig = make.running()
    pid = rig.manager.pid if who == "master" else rig.manager.worker_pids()[0]
    groups = os.getgrouplist("nobody", NOBODY.pw_gid)
    assert identity_of(pid) == {"Uid": [NOBODY.pw_uid] * 4, "Gid": [NOBODY.pw_gid] * 4, "Groups": sorted(groups)}


@needs_root
def test_the_group_of_the_command_line_is_taken(make: Makers) -> None:
    rig = make.running(extra_args=("-g", "mail"))
    mail = psutil.Process(rig.manager.pid).gids()
    assert {mail.real, mail.effective, mail.saved} == {8}


@needs_root
def test_a_worker_that_is_started_late_is_not_root_either(make: Makers) -> None:
    rig = make.running(n_workers=1)
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    assert identity_of(rig.manager.worker_pids()[0])["Uid"] == [NOBODY.pw_uid] * 4


# Signal handlers


def handlers_set_in(path: Path) -> list[str]:
    """What a module sets as handlers of signals, as written."""
    calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
    return [ast.unparse(call.args[1]) for call in calls if ast.unparse(call.func) == "signal.signal"]


@pytest.mark.parametrize("room", ["mmgr/master", "mmgr", "workers"])
def test_handlers_of_signals_do_nothing_but_let_the_wake_up_descriptor_be_written(room: str) -> None:
    modules = (CHECKOUT / room).glob("*.py")
    handlers = {handler for module in modules for handler in handlers_set_in(module)}
    assert handlers <= {"signal.SIG_IGN", "signal.SIG_DFL", "_do_nothing"}


def test_signals_that_come_in_great_numbers_are_survived(make: Makers) -> None:
    rig = make.running()
    for _ in range(2000):
        rig.manager.signal(signal.SIGCHLD)
        rig.manager.signal(signal.SIGUSR1)
    assert rig.is_well()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE])
def test_a_worker_minds_no_signal_but_term(make: Makers, number: int) -> None:
    rig = make.running(n_workers=1)
    before = rig.manager.worker_pids()
    with session_named(rig, "open.example.net") as session:
        os.kill(before[0], number)
        assert is_marked(session)
    assert rig.manager.worker_pids() == before


def test_a_worker_that_is_sent_term_finishes_its_session_and_is_replaced(make: Makers) -> None:
    rig = make.running(n_workers=1)
    (before,) = rig.manager.worker_pids()
    with session_named(rig, "open.example.net") as session:
        os.kill(before, signal.SIGTERM)
        assert is_marked(session)
    wait_for(lambda: before not in rig.manager.worker_pids(), "end of the worker")
    assert rig.is_well()


def test_usr1_begins_a_new_log_file(make: Makers) -> None:
    rig = make.rig()
    log = rig.manager.directory / "manager.log"
    rig.manager.write_config(rig.child_keys(), {"log": {"path": str(log)}})
    with rig:
        rig.deliver()
        log.rename(rig.manager.directory / "manager.log.1")
        rig.manager.signal(signal.SIGUSR1)
        wait_for(log.exists, "new log file", log=rig.manager.log_tail)
        rig.deliver()
        wait_for(lambda: " transaction " in log.read_text(), "a line in the new file")


# The PID file and the background


def test_the_pid_file_holds_the_pid_of_the_master(make: Makers) -> None:
    rig = make.rig()
    pid_file = rig.manager.directory / "manager.pid"
    rig.manager.extra_args = ["--pid-file", str(pid_file)]
    with rig:
        assert pid_file.read_text() == f"{rig.manager.pid}\n"


def test_the_pid_file_is_gone_at_the_end(make: Makers) -> None:
    rig = make.rig()
    pid_file = rig.manager.directory / "manager.pid"
    rig.manager.extra_args = ["--pid-file", str(pid_file)]
    with rig:
        assert pid_file.exists()
    assert not pid_file.exists()


def test_the_pid_file_of_a_killed_master_is_taken_over(make: Makers) -> None:
    rig = make.rig()
    pid_file = rig.manager.directory / "manager.pid"
    rig.manager.extra_args = ["--pid-file", str(pid_file)]
    rig.manager.start()
    rig.manager.kill()
    assert pid_file.exists()
    with rig:
        assert pid_file.read_text() == f"{rig.manager.pid}\n"


def test_a_pid_file_that_a_running_instance_holds_ends_the_start_with_1(make: Makers) -> None:
    first, second = make.rig(), make.rig()
    pid_file = str(first.manager.directory / "manager.pid")
    first.manager.extra_args = second.manager.extra_args = ["--pid-file", pid_file]
    with first:
        second.manager.spawn()
        assert second.manager.wait() == 1
    assert f"the PID file {pid_file} is held by a running instance" in second.manager.log_text()


@contextmanager
def in_background(manager: Manager) -> Iterator[int]:
    """Start a daemon in the background; its PID, once the command has ended with 0."""
    pid_file = manager.directory / "manager.pid"
    manager.extra_args = ["--daemon", "--pid-file", str(pid_file)]
    manager.spawn()
    code = manager.wait()
    pid = int(pid_file.read_text()) if pid_file.exists() else 0
    try:
        assert code == 0, manager.log_tail()
        yield pid
    finally:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not group_members(pid), "end of the daemon")


def test_daemon_returns_0_only_when_it_serves(make: Makers) -> None:
    manager = make.rig().manager
    with in_background(manager):
        assert negotiates(manager.spec)


def test_the_pid_file_holds_the_pid_of_the_daemon_in_the_background(make: Makers) -> None:
    manager = make.rig().manager
    with in_background(manager) as pid:
        assert pid != manager.pid
        wait_for(lambda: title(pid).startswith("milter-manager: master "), "title of the master")


def test_a_daemon_in_the_background_has_no_terminal_and_a_session_of_its_own(make: Makers) -> None:
    manager = make.rig().manager
    with in_background(manager) as pid:
        process = psutil.Process(pid)
        assert (process.terminal(), os.getsid(pid)) == (None, pid)


def test_daemon_leaves_nothing_when_it_ends(make: Makers) -> None:
    manager = make.rig().manager
    with in_background(manager):
        pass
    assert manager.socket_path is not None
    assert not manager.socket_path.exists()
    assert not (manager.directory / "manager.pid").exists()


def test_daemon_on_a_taken_socket_returns_1_and_the_reason(make: Makers) -> None:
    with make.rig() as first:
        second = Manager(make.rig().manager.directory, spec=first.manager.spec, extra_args=["--daemon"])
        second.spawn()
        assert second.wait() == 1
        assert "another process listens there already" in second.log_text()


def test_daemon_with_a_broken_configuration_returns_78_and_the_reason(make: Makers) -> None:
    manager = make.rig(extra_args=("--daemon",)).manager
    manager.write_config({}, extra_config="[nonsense]\n")
    manager.spawn()
    assert manager.wait() == 78
    assert "there is no section [nonsense]" in manager.log_text()


def test_daemon_whose_log_can_not_be_written_returns_1_and_the_reason(make: Makers) -> None:
    manager = make.rig(extra_args=("--daemon", "--log-path", "/nonexistent/manager.log")).manager
    manager.spawn()
    assert manager.wait() == 1
    assert "/nonexistent/manager.log" in manager.log_text()
    manager.assert_nothing_left()
