"""The daemon's sockets: who may connect, never stolen from a live instance, gone at the end.

What a listener does on its own is tested in tests/unit/master; here are whole daemons.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.daemon import Manager
from tests.support.processes import LabDirectory, connect_to, free_port, group_members, negotiates, wait_for

FAILURE = 1
NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket away")


class Makers:
    """Makes managers that are gone after the test."""

    def __init__(self, lab: LabDirectory, held: ExitStack) -> None:
        self._lab = lab
        self._held = held

    def directory(self) -> Path:
        return self._lab.subdirectory("socket")

    def manager(self, spec: str = "", manager: dict[str, str] | None = None, directory: Path | None = None) -> Manager:
        """One that is configured; spec "" is a socket in its own directory."""
        made = Manager(directory or self.directory(), n_workers=1, sections={"manager": manager or {}}, spec=spec)
        self._held.callback(made.kill)
        return made

    def refused(self, spec: str, **keys: str) -> tuple[int, str]:
        """Exit code and output of one that can't start."""
        made = self.manager(spec, keys)
        made.spawn()
        return made.wait(), made.log_text()


@pytest.fixture
def make(lab: LabDirectory) -> Iterator[Makers]:
    with ExitStack() as held:
        yield Makers(lab, held)


def path_of(manager: Manager) -> Path:
    assert manager.socket_path is not None
    return manager.socket_path


# Rights


@pytest.mark.parametrize("mode", ["0600", "0660", "0666", "0777"])
def test_the_socket_has_the_mode_that_was_configured(make: Makers, mode: str) -> None:
    with make.manager(manager={"unix_socket_mode": mode}) as manager:
        assert stat.S_IMODE(path_of(manager).stat().st_mode) == int(mode, 8)


@needs_root
def test_the_socket_belongs_to_the_user_that_the_daemon_becomes(make: Makers) -> None:
    with make.manager() as manager:
        found = path_of(manager).stat()
    assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, NOBODY.pw_gid)


@needs_root
def test_the_socket_has_the_group_that_was_configured(make: Makers) -> None:
    with make.manager(manager={"unix_socket_group": "mail"}) as manager:
        found = path_of(manager).stat()
    assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, grp.getgrnam("mail").gr_gid)


# Taken sockets


def test_a_second_instance_on_the_same_socket_ends_with_a_reason(make: Makers) -> None:
    with make.manager() as first:
        code, said = make.refused(first.spec)
    assert code == FAILURE
    assert f"can't listen on {first.spec}: another process listens there already" in said


def test_a_second_instance_does_no_harm_to_the_first(make: Makers) -> None:
    with make.manager() as first:
        make.refused(first.spec)
        assert negotiates(first.spec)


def test_a_second_instance_does_no_harm_to_a_first_whose_workers_are_all_busy(make: Makers) -> None:
    with make.manager() as first:
        with connect_to(first.spec), connect_to(first.spec):
            code, _ = make.refused(first.spec)
        assert (code, negotiates(first.spec)) == (FAILURE, True)


def test_of_two_that_start_at_the_same_moment_exactly_one_serves(make: Makers) -> None:
    first = make.manager()
    second = make.manager(first.spec)
    first.spawn()
    second.spawn()
    both = (first, second)
    wait_for(lambda: any(one.process is not None and one.process.poll() is not None for one in both), "end of one")
    (loser,) = (one for one in both if one.process is not None and one.process.poll() is not None)
    (winner,) = (one for one in both if one is not loser)
    wait_for(lambda: negotiates(first.spec), "answer of the other", log=winner.log_tail)
    assert (loser.wait(), winner.stop()) == (FAILURE, 0)


def test_a_socket_that_a_killed_instance_left_is_replaced(make: Makers) -> None:
    first = make.manager()
    first.start()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    wait_for(lambda: not group_members(first.pid), "end of the first")
    assert path_of(first).exists()
    with make.manager(first.spec) as second:
        assert negotiates(second.spec)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_not_touched(make: Makers, kind: str) -> None:
    path = make.directory() / "here"
    path.mkdir() if kind == "directory" else path.write_text("precious")
    code, said = make.refused(f"unix:{path}")
    assert code == FAILURE
    assert f"unix:{path}: there is a file at that path, and it is not a socket" in said
    assert path.is_dir() or path.read_text() == "precious"


def test_a_stale_socket_stays_if_it_may_not_be_replaced(make: Makers) -> None:
    path = make.directory() / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    code, said = make.refused(f"unix:{path}", remove_unix_socket_on_create="no")
    assert (code, path.exists()) == (FAILURE, True)
    assert "remove_unix_socket_on_create = yes" in said


# Sockets that can't be


def test_a_directory_that_does_not_exist_is_named(make: Makers) -> None:
    code, said = make.refused("unix:/nonexistent/directory/mm.sock")
    assert code == FAILURE
    assert "unix:/nonexistent/directory/mm.sock" in said
    assert "the directory /nonexistent/directory does not exist" in said


def test_a_path_that_is_too_long_is_named(make: Makers) -> None:
    path = "/tmp/" + "x" * 120
    code, said = make.refused(f"unix:{path}")
    assert code != 0
    assert f"unix:{path[:40]}" in said
    assert "path is 125 bytes long" in said


def test_a_directory_that_is_not_writable_is_named(make: Makers) -> None:
    """Not even for root, which makes the socket before it becomes somebody else."""
    code, said = make.refused("unix:/sys/mm.sock")
    assert code == FAILURE
    assert "can't listen on unix:/sys/mm.sock: " in said
    assert "the directory /sys has to be writable" in said


def test_a_port_that_is_taken_is_named(make: Makers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = f"inet:{taken.getsockname()[1]}@127.0.0.1"
        code, said = make.refused(spec)
    assert code == FAILURE
    assert f"can't listen on {spec}: Address already in use; another process listens there already" in said


def test_a_host_that_does_not_exist_is_named(make: Makers) -> None:
    code, said = make.refused(f"inet:{free_port()}@no-such-host.invalid")
    assert code == FAILURE
    assert "no-such-host.invalid" in said


def test_an_address_of_another_machine_is_named(make: Makers) -> None:
    code, said = make.refused(f"inet:{free_port()}@192.0.2.77")
    assert code == FAILURE
    assert "@192.0.2.77: Cannot assign requested address" in said


def test_when_the_second_of_two_sockets_is_taken_the_first_is_not_left_behind(make: Makers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        manager = make.manager()
        both = f"{manager.spec}, inet:{taken.getsockname()[1]}@127.0.0.1"
        manager.write_config({}, {"manager": {"connection_spec": both}})
        manager.spawn()
        assert manager.wait() == FAILURE
    assert not path_of(manager).exists()


# Kinds of sockets


@pytest.mark.parametrize("form", ["inet:{}@127.0.0.1", "inet:{}@[127.0.0.1]", "inet:{}@localhost", "inet:{}"])
def test_a_port_is_served(make: Makers, form: str) -> None:
    manager, port = make.manager(), free_port()
    manager.write_config({}, {"manager": {"connection_spec": f"{manager.spec}, {form.format(port)}"}})
    with manager:
        assert negotiates(f"inet:{port}@127.0.0.1")


def test_a_port_of_ipv6_is_served(make: Makers) -> None:
    port = free_port()
    manager = make.manager()
    manager.write_config({}, {"manager": {"connection_spec": f"{manager.spec}, inet6:{port}@[::1]"}})
    with manager, socket.create_connection(("::1", port), 5.0) as connection:
        connection.sendall(bytes.fromhex("0000000d4f00000006000001ff001fffff"))
        assert connection.recv(5)[4:] == b"O"


def test_all_of_several_sockets_are_served(make: Makers) -> None:
    manager = make.manager()
    specs = [manager.spec, f"unix:{manager.directory}/second.sock", f"inet:{free_port()}@127.0.0.1"]
    manager.write_config({}, {"manager": {"connection_spec": ", ".join(specs)}})
    with manager:
        assert [negotiates(spec) for spec in specs] == [True] * 3


def test_all_of_several_sockets_are_gone_at_the_end(make: Makers) -> None:
    manager = make.manager()
    second = manager.directory / "second.sock"
    manager.write_config({}, {"manager": {"connection_spec": f"{manager.spec}, unix:{second}"}})
    with manager:
        assert second.exists()
    assert not second.exists()


# The end


def test_the_socket_stays_at_the_end_if_it_is_to_stay(make: Makers) -> None:
    manager = make.manager(manager={"remove_unix_socket_on_close": "no"})
    manager.start()
    assert manager.stop() == 0
    assert path_of(manager).exists()


def test_a_socket_that_another_instance_put_there_stays_at_the_end(make: Makers) -> None:
    with make.manager() as first:
        path_of(first).unlink()
        with make.manager(first.spec) as second:
            assert first.stop() == 0
            assert negotiates(second.spec)


def test_the_socket_is_gone_at_the_end_though_its_directory_is_closed_to_the_daemon(make: Makers) -> None:
    """Root made the socket; at the end the daemon is somebody else."""
    with make.manager() as manager:
        manager.directory.chmod(0o700)
