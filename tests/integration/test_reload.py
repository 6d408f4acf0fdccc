"""SIGHUP: a new configuration for new sessions, with nothing lost; a broken one changes nothing."""

from __future__ import annotations

import os
import re
import signal

from mmgr.protocol.replies import AddHeader
from tests.integration.daemons import Makers, is_marked, session_named, title
from tests.integration.rig import Rig
from tests.support.processes import negotiates, wait_for

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


# Listeners


def with_listeners(make: Makers, *names: str) -> tuple[Rig, list[str]]:
    """A manager that listens on these sockets in its own directory."""
    rig = make.rig()
    specs = [f"unix:{rig.manager.directory}/{name}.sock" for name in names]
    listen_on(rig, specs)
    rig.manager.spec = specs[0]
    rig["c1"].__enter__()
    rig.manager.start()
    return rig, specs


def listen_on(rig: Rig, specs: list[str]) -> None:
    rig.manager.write_config(rig.child_keys(), {"manager": {"connection_spec": ", ".join(specs)}})


def test_a_reload_adds_a_listener(make: Makers) -> None:
    rig, (first,) = with_listeners(make, "a")
    second = f"unix:{rig.manager.directory}/b.sock"
    listen_on(rig, [first, second])
    rig.manager.reload()
    rig.manager.wait_for_log(f"info: listener-added spec={second}\n")
    wait_for(lambda: negotiates(second), "an answer on the new socket", log=rig.manager.log_tail)
    assert negotiates(first)
    assert rig.manager.stop() == 0
    rig["c1"].stop()
    assert not os.path.exists(second.partition(":")[2])


def test_a_reload_removes_a_listener_and_a_session_on_it_goes_on(make: Makers) -> None:
    rig, (first, second) = with_listeners(make, "a", "b")
    with session_named(rig, "old.example.net") as old:
        listen_on(rig, [second])
        rig.manager.reload()
        rig.manager.wait_for_log(f"info: listener-removed spec={first}\n")
        wait_for(lambda: not os.path.exists(first.partition(":")[2]), "end of the old socket")
        assert is_marked(old)
    rig.manager.spec = second
    assert rig.is_well()
    assert title(rig.manager.pid).startswith(f"milter-manager: master {second}, ")
    rig["c1"].stop()


def test_a_reload_keeps_the_very_socket_of_a_listener_that_stays(make: Makers) -> None:
    rig, (first, _second) = with_listeners(make, "a", "b")
    path = first.partition(":")[2]
    before = os.stat(path).st_ino
    listen_on(rig, [first])
    rig.manager.reload()
    rig.manager.wait_for_log("listener-removed")
    assert os.stat(path).st_ino == before
    assert rig.is_well()
    rig["c1"].stop()


def test_a_reload_makes_a_socket_anew_whose_file_was_removed(make: Makers) -> None:
    rig = make.running()
    path = rig.manager.socket_path
    assert path is not None
    path.unlink()
    rig.manager.reload()
    rig.manager.wait_for_log("info: reloaded generation=2 ")
    assert rig.is_well()


def test_a_listener_that_can_not_be_made_refuses_the_reload_and_changes_nothing(make: Makers) -> None:
    rig, (first,) = with_listeners(make, "a")
    good, bad = f"unix:{rig.manager.directory}/b.sock", "unix:/nonexistent/c.sock"
    before = rig.manager.worker_pids()
    listen_on(rig, [good, bad])
    rig.manager.reload()
    rig.manager.wait_for_log(f"error: reload-refused generation=1 error=\"can't listen on {bad}: ")
    assert not os.path.exists(good.partition(":")[2])
    assert rig.manager.worker_pids() == before
    assert negotiates(first)
    rig["c1"].stop()


# Quick ones


def test_reloads_in_quick_succession_do_not_pile_up_workers(make: Makers) -> None:
    rig = make.running(n_workers=2)
    for _ in range(30):
        rig.manager.signal(signal.SIGHUP)
        assert len(rig.manager.worker_pids()) <= 3 * 2
    wait_for(lambda: len(rig.manager.worker_pids()) == 2, "end of the old workers", log=rig.manager.log_tail)
    assert rig.is_well()
