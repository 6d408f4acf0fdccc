"""Who the daemon is: titles, processes, user and group, signal handlers, the PID file, the background."""

from __future__ import annotations

import ast
import os
import pwd
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from mmgr.peers.behaviour import Behaviour
from mmgr.peers.delivery import SmtpClient
from mmgr.peers.mail import Message
from mmgr.protocol.commands import CommandMessage, Connect
from tests.integration.daemons import Makers, is_marked, kill_and_wait, session_named, title, titles
from tests.support.daemon import CHECKOUT, Manager
from tests.support.processes import group_members, negotiates, wait_for

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="privileges are dropped by root only")


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
        wait_for(lambda: titles(rig) == ["milter-manager: worker 1 helo mx.example.net[192.0.2.7]"], "title at helo")
        session.peer.mail(b"<a@example.com>")
        session.peer.rcpt(b"<b@example.org>")
        wait_for(lambda: titles(rig) == ["milter-manager: worker 1 rcpt mx.example.net[192.0.2.7]"], "title at rcpt")


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
    assert handlers <= {"signal.SIG_IGN", "signal.SIG_DFL", "_do_nothing", "stop_if_alone"}  # its docstring says why


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
