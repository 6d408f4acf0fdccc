"""milter-managerctl and the control sockets of the real daemon: each command, refusals, rights, peers that hang."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from mmgr.control import Line
from mmgr.endpoint import parse_endpoint
from mmgr.peers.delivery import Status
from mmgr.protocol.replies import AddHeader
from tests.integration.daemons import Makers, is_marked, refuses, session_named
from tests.integration.rig import Rig
from tests.support.daemon import CHECKOUT
from tests.support.processes import wait_for

MARKED = (AddHeader(b"X-c1", b"seen"),)
COMMAND = [sys.executable, "-m", "mmgr.cli.managerctl"]


def ctl(rig: Rig, *arguments: str, spec: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command against the rig's daemon."""
    spec = spec or f"unix:{rig.manager.control_path}"
    return subprocess.run(
        [*COMMAND, "-s", spec, *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False
    )


def told(rig: Rig, *arguments: str) -> Any:
    """The object that the command prints."""
    ran = ctl(rig, "--json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def overrides(rig: Rig) -> dict[str, str]:
    found: dict[str, str] = told(rig, "status")["overrides"]
    return found


@pytest.fixture
def rig(make: Makers) -> Rig:
    return make.running()


# ---- questions


def test_the_status_as_an_object(rig: Rig) -> None:
    assert rig.is_well()
    found = told(rig, "status")
    assert found["pid"] == rig.manager.pid
    assert found["listeners"] == [rig.manager.spec]
    assert found["milters"] == [{"milter": "c1", "state": "enabled"}]
    assert (found["generation"], found["overrides"], found["is_stopping"]) == (1, {}, False)
    assert found["sessions"] >= 1
    assert {"busy", "idle", "max_workers"} <= set(found["pool"])


def test_the_status_as_text(rig: Rig) -> None:
    ran = ctl(rig, "status")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"milter-manager 3.0.0, pid {rig.manager.pid}, serves {rig.manager.spec} for ")


def test_the_workers_are_those_that_run(rig: Rig) -> None:
    found = told(rig, "workers")["workers"]
    assert sorted(one["pid"] for one in found) == rig.manager.worker_pids()
    assert len(ctl(rig, "workers").stdout.splitlines()) == 1 + len(found)


def test_the_milters_are_those_of_the_configuration(rig: Rig) -> None:
    (child, manager) = told(rig, "milters")["milters"]
    assert (child["milter"], child["state"], child["override"]) == ("c1", "enabled", "")
    assert child["connection_spec"] == [str(rig["c1"].endpoint)]
    assert manager["milter"] == ""
    assert ctl(rig, "milters").stdout.splitlines()[1].split()[:3] == ["c1", "enabled", "-"]


def test_the_milters_have_what_they_answered(rig: Rig) -> None:
    assert rig.is_well()

    def counted() -> bool:
        (child, *_) = told(rig, "milters")["milters"]
        return sum(cell["count"] for cell in child["stages"].get("end-of-message", {}).values()) == 1

    wait_for(counted, "a counted answer", 3.0, log=rig.manager.log_tail)


def test_top_once_as_text(rig: Rig) -> None:
    ran = ctl(rig, "top", "--once", "--interval", "0.1")
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout
    assert "a second" in ran.stdout.splitlines()[1]


def test_top_on_a_terminal_leaves_it_clean_when_interrupted(rig: Rig) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    command = [*COMMAND, "-s", f"unix:{rig.manager.control_path}", "top", "--interval", "0.1"]
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        # a job in the background ignores it, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as top:
        os.close(theirs)
        seen = b""
        while seen.count(b"\x1b[H") < 2:
            seen += os.read(ours, 100_000)
        top.send_signal(signal.SIGINT)
        while not seen.endswith(b"\x1b[?25h\x1b[?1049l"):
            seen += os.read(ours, 100_000)
        assert top.wait(20) == 0
    os.close(ours)
    assert seen.startswith(b"\x1b[?1049h\x1b[?25l")
    assert b"Traceback" not in seen


def test_without_a_daemon_the_command_ends_with_3(rig: Rig) -> None:
    ran = ctl(rig, "status", spec="unix:/nonexistent/control.sock")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "no daemon answers on unix:/nonexistent/control.sock" in ran.stderr


# ---- reload and stop


def test_a_reload_is_in_force_when_the_command_ends(rig: Rig) -> None:
    rig.manager.write_config({})
    ran = ctl(rig, "reload")
    assert (ran.returncode, ran.stdout) == (0, "reloaded: generation 2 is in force\n")
    assert rig.deliver()[0].edits == ()


def test_a_broken_configuration_is_refused_with_every_fault_and_changes_nothing(rig: Rig) -> None:
    before = rig.manager.worker_pids()
    path = rig.manager.config_directory / "milter-manager.conf"
    path.write_text("[manager]\nno_such_key = 1\n[workers]\nn_workers = x\n[milters]\n[[a]]\n", "utf-8")
    ran = ctl(rig, "reload")
    assert (ran.returncode, ran.stdout) == (1, "")
    places = [line.split(": ")[1:3] for line in ran.stderr.splitlines()]
    assert places == [
        [f"{path}:2", "manager.no_such_key"],
        [f"{path}:4", "workers.n_workers"],
        [f"{path}:6", "milters.a.connection_spec"],
    ]
    assert rig.manager.worker_pids() == before
    assert rig.deliver()[0].edits == MARKED
    assert told(rig, "status")["last_reload"]["errors"][0].startswith(f"{path}:2: ")


def test_two_reloads_at_once_are_both_answered(rig: Rig) -> None:
    answers: list[dict[str, Any]] = []

    def reload() -> None:
        with Line(parse_endpoint(f"unix:{rig.manager.control_path}")) as line:
            answers.append(line.ask("reload", 60.0))

    threads = [threading.Thread(target=reload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    generation = told(rig, "status")["generation"]
    assert [answer["is_done"] for answer in answers] == [True] * 4
    assert max(answer["result"]["generation"] for answer in answers) == generation <= 5
    assert rig.is_well()


def test_the_old_generation_of_a_reload_keeps_its_session(rig: Rig) -> None:
    with session_named(rig, "old.example.net") as old:
        assert ctl(rig, "reload").returncode == 0
        assert is_marked(old)


def test_a_stop_ends_the_daemon_after_its_sessions(rig: Rig) -> None:
    with session_named(rig, "old.example.net") as old:
        assert ctl(rig, "stop").returncode == 0
        wait_for(lambda: refuses(rig), "end of the listening socket")
        assert not rig.manager.control_path.exists()
        assert is_marked(old)
    assert rig.manager.wait() == 0
    rig.manager.assert_nothing_left()


# ---- milters at run time


def test_a_disabled_milter_is_not_asked_until_it_is_reset(rig: Rig) -> None:
    assert ctl(rig, "disable", "c1").returncode == 0
    assert rig.deliver()[0].edits == ()
    assert overrides(rig) == {"c1": "disable"}
    assert ctl(rig, "reset", "c1").returncode == 0
    assert rig.deliver()[0].edits == MARKED
    assert overrides(rig) == {}


def test_an_evaluated_milter_is_asked_and_does_not_count(rig: Rig) -> None:
    assert ctl(rig, "evaluate", "c1").returncode == 0
    rig["c1"].sessions.clear()
    assert rig.deliver()[0].edits == ()
    rig.told("c1")
    assert told(rig, "milters")["milters"][0]["state"] == "evaluated"


def test_a_milter_that_is_configured_to_be_off_can_be_enabled(rig: Rig) -> None:
    rig.manager.write_config(rig.child_keys(c1={"enabled": "no"}))
    assert ctl(rig, "reload").returncode == 0
    assert rig.deliver()[0].edits == ()
    assert ctl(rig, "enable", "c1").returncode == 0
    assert rig.deliver()[0].edits == MARKED


def test_what_was_said_of_a_milter_outlives_reloads(rig: Rig) -> None:
    assert ctl(rig, "disable", "c1").returncode == 0
    assert ctl(rig, "reload").returncode == 0
    assert overrides(rig) == {"c1": "disable"}
    assert rig.deliver()[0].edits == ()


def test_what_was_said_of_a_milter_outlives_its_absence(rig: Rig) -> None:
    assert ctl(rig, "disable", "c1").returncode == 0
    rig.manager.write_config({})
    assert ctl(rig, "reload").returncode == 0
    assert overrides(rig) == {"c1": "disable"}
    rig.manager.write_config(rig.child_keys())
    assert ctl(rig, "reload").returncode == 0
    assert rig.deliver()[0].edits == ()


def test_a_milter_is_disabled_although_the_files_are_broken(rig: Rig) -> None:
    rig.manager.write_config({}, extra_config="[nonsense]\n")
    assert ctl(rig, "disable", "c1").returncode == 0
    assert rig.deliver()[0].edits == ()


def test_an_unknown_milter_is_refused_and_no_reason_for_new_workers(rig: Rig) -> None:
    before = rig.manager.worker_pids()
    ran = ctl(rig, "disable", "no-such")
    assert (ran.returncode, ran.stderr) == (1, "milter-managerctl: there is no milter no-such; there are c1\n")
    assert rig.manager.worker_pids() == before


def test_a_running_session_keeps_a_milter_that_is_disabled(rig: Rig) -> None:
    with session_named(rig, "old.example.net") as old:
        assert ctl(rig, "disable", "c1").returncode == 0
        assert is_marked(old)


def test_an_order_is_logged_with_who_gave_it(rig: Rig) -> None:
    assert ctl(rig, "disable", "c1").returncode == 0
    rig.manager.wait_for_log(f'info: control-request request=disable child="c1" uid={os.getuid()} pid=')


# ---- the sockets


def test_the_control_socket_is_for_its_owner_alone(rig: Rig) -> None:
    found = os.stat(rig.manager.control_path)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == psutil.Process(rig.manager.pid).uids().effective


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_somebody_else_may_not_connect_and_is_told_so(make: Makers) -> None:
    rig = make.running()
    os.chmod(rig.manager.directory, 0o755)
    program = (
        "import os; from mmgr.control import Line; from mmgr.endpoint import parse_endpoint; "
        f"os.setgroups([]); os.setgid(12345); os.setuid(12345); Line(parse_endpoint('unix:{rig.manager.control_path}'))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert "ControlError: we may not connect to " in ran.stderr


def with_reading(make: Makers, **settings: str) -> tuple[Rig, str]:
    rig = make.rig()
    spec = f"unix:{rig.manager.directory}/r.sock"
    control = {"read_only_connection_spec": spec, **settings}
    rig.manager.write_config(rig.child_keys(), {"controller": control})
    rig["c1"].__enter__()
    rig.manager.start()
    return rig, spec


def test_the_socket_for_reading_answers_and_takes_no_orders(make: Makers) -> None:
    rig, spec = with_reading(make)
    assert stat.S_IMODE(os.stat(spec.partition(":")[2]).st_mode) == 0o666
    assert ctl(rig, "status", spec=spec).returncode == 0
    for order in (["reload"], ["stop"], ["disable", "c1"], ["reset", "c1"]):
        ran = ctl(rig, *order, spec=spec)
        reason = f"{order[0]} is not taken on this socket, which is for reading alone"
        assert (ran.returncode, ran.stderr) == (1, f"milter-managerctl: {reason}\n")
    assert rig.is_well()
    rig["c1"].stop()


def test_a_reload_moves_the_control_socket_and_answers_on_the_old_connection(rig: Rig) -> None:
    old, new = rig.manager.control_path, rig.manager.directory / "new.sock"
    rig.manager.write_config(
        rig.child_keys(), {"controller": {"connection_spec": f"unix:{new}", "unix_socket_mode": "0660"}}
    )
    assert ctl(rig, "reload").returncode == 0
    wait_for(lambda: not old.exists(), "end of the old socket")
    assert ctl(rig, "status", spec=f"unix:{new}").returncode == 0
    assert stat.S_IMODE(os.stat(new).st_mode) == 0o660


def test_a_control_socket_that_can_not_be_made_refuses_the_reload(rig: Rig) -> None:
    rig.manager.write_config(rig.child_keys(), {"controller": {"connection_spec": "unix:/nonexistent/c.sock"}})
    ran = ctl(rig, "reload")
    assert ran.returncode == 1
    assert "can't listen on unix:/nonexistent/c.sock" in ran.stderr
    assert rig.is_well()
    assert told(rig, "status")["generation"] == 1


def test_no_worker_keeps_a_control_socket_or_a_connection_to_it(rig: Rig) -> None:
    with Line(parse_endpoint(f"unix:{rig.manager.control_path}")) as line:
        assert line.ask("reload", 60.0)["is_done"]
        paths = {
            connection.laddr
            for pid in rig.manager.worker_pids()
            for connection in psutil.Process(pid).net_connections("unix")
        }
    assert str(rig.manager.control_path) not in paths


def test_the_control_socket_is_gone_after_the_end(rig: Rig) -> None:
    assert rig.manager.stop() == 0
    assert not rig.manager.control_path.exists()


def test_a_daemon_that_was_killed_leaves_no_socket_that_keeps_the_next_one_away(rig: Rig) -> None:
    rig.manager.kill()
    assert rig.manager.control_path.exists()
    rig.manager.start()
    assert ctl(rig, "status").returncode == 0


# ---- peers that hang


def test_peers_that_hang_do_not_keep_the_daemon_from_serving(rig: Rig) -> None:
    with ExitStack() as held:
        for number in range(100):
            peer = held.enter_context(socket.socket(socket.AF_UNIX))
            peer.settimeout(5.0)
            peer.connect(str(rig.manager.control_path))
            peer.sendall((b"", b"{", b"\xff" * 3000, b'{"request": "milters"}\n' * 50)[number % 4])
        for _ in range(5):
            assert rig.deliver()[0].status is Status.ACCEPT
        victim = rig.manager.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(
            lambda: victim not in rig.manager.worker_pids() and len(rig.manager.worker_pids()) == 2, "another worker"
        )
        assert ctl(rig, "status").returncode == 0


def test_a_flood_of_requests_leaves_the_daemon_as_it_was(rig: Rig) -> None:
    process = psutil.Process(rig.manager.pid)
    assert ctl(rig, "status").returncode == 0
    before, descriptors = process.memory_info().rss, process.num_fds()
    for number in range(2000):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(rig.manager.control_path))
            peer.sendall(b'{"request": "workers"}\n' if number % 2 else b"\0" * 2000)
    wait_for(lambda: process.num_fds() <= descriptors, "end of all connections", log=rig.manager.log_tail)
    assert process.memory_info().rss - before < 4_000_000
    assert rig.is_well()
