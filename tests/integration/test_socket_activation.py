"""Sockets that systemd holds: used instead of our own, left as they are, and a restart that no MTA notices."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemons import Makers, session_named
from tests.integration.load import Load
from tests.integration.rig import Rig
from tests.support.daemon import CHECKOUT
from tests.support.processes import LabDirectory, free_port, negotiates, wait_for

N_RESTARTS = 3
TOOL = Path("/usr/bin/systemd-socket-activate")


class SocketUnit:
    """Listens as a .socket unit does, before and after the daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sockets: list[socket.socket] = []
        self.names: list[str] = []

    def unix(self, path: Path, mode: int = 0o666) -> str:
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(path))
        path.chmod(mode)
        return self._listens(made, f"unix:{path}")

    def inet(self) -> str:
        made, port = socket.socket(), free_port()
        made.bind(("127.0.0.1", port))
        return self._listens(made, f"inet:{port}@127.0.0.1")

    def _listens(self, made: socket.socket, spec: str) -> str:
        made.listen(1024)
        self.sockets.append(made)
        self.names.append(f"name{len(self.sockets)}")
        return spec

    def activate(self, rig: Rig) -> Rig:
        """From now on each start of the daemon hands the sockets over."""
        descriptors = [made.fileno() for made in self.sockets]
        script = CHECKOUT / "tests" / "support" / "activate.py"
        numbers = ",".join(map(str, descriptors))
        rig.manager.launcher = [sys.executable, str(script), numbers, ":".join(self.names)]
        rig.manager.inherited = descriptors
        return rig

    def close(self) -> None:
        for made in self.sockets:
            made.close()


@pytest.fixture
def unit(lab: LabDirectory) -> Iterator[SocketUnit]:
    made = SocketUnit(lab.subdirectory("unit"))
    yield made
    made.close()


def activated(make: Makers, unit: SocketUnit, n_workers: int = 2) -> Rig:
    """One that listens on the socket that its configuration names and the unit holds; not started yet."""
    rig = make.rig(n_workers=n_workers)
    unit.unix(rig.manager.socket_path or Path())
    rig["c1"].__enter__()
    return unit.activate(rig)


def waits(spec_path: Path | None) -> bool:
    """Is a connection taken into the queue?"""
    with socket.socket(socket.AF_UNIX) as mta:
        return mta.connect_ex(str(spec_path)) == 0


def test_sessions_come_through_the_socket_that_was_handed_over(make: Makers, unit: SocketUnit) -> None:
    rig = activated(make, unit)
    before = os.stat(rig.manager.socket_path or "").st_ino
    rig.manager.start()
    assert rig.is_well()
    assert os.stat(rig.manager.socket_path or "").st_ino == before
    assert "socket-" not in rig.manager.log_text()


def test_a_socket_of_tcp_is_handed_over_as_well(make: Makers, unit: SocketUnit) -> None:
    rig = make.rig()
    rig.manager.spec = unit.inet()
    rig.manager.write_config(rig.child_keys())
    rig["c1"].__enter__()
    unit.activate(rig).manager.start()
    assert rig.is_well()


def test_the_socket_is_there_after_the_end(make: Makers, unit: SocketUnit) -> None:
    rig = activated(make, unit)
    rig.manager.start()
    assert rig.manager.stop() == 0
    assert waits(rig.manager.socket_path)


def test_connections_wait_while_a_stopped_daemon_ends_its_sessions(make: Makers, unit: SocketUnit) -> None:
    rig = activated(make, unit)
    rig.manager.start()
    with session_named(rig, "mx.example.net"):
        rig.manager.signal(signal.SIGTERM)
        rig.manager.wait_for_log("stopping pid=")
        assert waits(rig.manager.socket_path)
    assert rig.manager.wait() == 0


def test_restarts_under_load_refuse_no_connection_and_lose_no_session(make: Makers, unit: SocketUnit) -> None:
    rig = activated(make, unit, n_workers=8)
    rig.manager.start()
    with Load(rig) as load:
        for _ in range(N_RESTARTS):
            served = load.count
            wait_for(lambda served=served: load.count > served + 20 or load.problems, "sessions")
            assert rig.manager.stop() == 0
            rig.manager.start()
        served = load.count
        wait_for(lambda served=served: load.count > served + 20 or load.problems, "sessions")
    assert load.problems == []
    assert "worker-killed" not in rig.manager.log_text()


def test_a_reload_keeps_the_socket(make: Makers, unit: SocketUnit) -> None:
    rig = activated(make, unit)
    rig.manager.start()
    rig.manager.renew_workers()
    assert rig.is_well()
    assert "listener-" not in rig.manager.log_text()


def test_a_reload_that_leaves_the_socket_out_says_so_and_a_further_one_takes_it_again(
    make: Makers, unit: SocketUnit
) -> None:
    rig = activated(make, unit)
    rig.manager.start()
    other = f"unix:{rig.manager.directory}/other.sock"
    rig.manager.write_config(rig.child_keys(), {"manager": {"connection_spec": other}})
    rig.manager.reload()
    rig.manager.wait_for_log(f"socket-unused spec={rig.manager.spec} ")
    assert negotiates(other)
    rig.manager.write_config(rig.child_keys())
    rig.manager.reload()
    rig.manager.wait_for_log(f"listener-removed spec={other}")
    assert rig.is_well()


def test_a_socket_that_the_configuration_does_not_name_is_reported(make: Makers, unit: SocketUnit) -> None:
    rig = make.rig()
    spec = unit.unix(unit.directory / "spare.sock")
    unit.activate(rig).manager.start()
    found = rig.manager.wait_for_log(f'socket-unused spec={spec} name="name1" hint="(.*)"')
    assert found[1] == "who connects there is not served: name it in connection_spec, or not in the .socket unit"
    assert negotiates(rig.manager.spec)


def test_rights_other_than_the_configured_ones_are_reported(make: Makers, unit: SocketUnit) -> None:
    rig = make.rig()
    spec = unit.unix(rig.manager.socket_path or Path(), mode=0o777)
    unit.activate(rig).manager.start()
    rig.manager.wait_for_log(f'socket-rights spec={spec} hint="SocketMode=0666, not 0777 in the .socket unit"')


def test_a_descriptor_that_does_not_listen_ends_the_start_with_1(make: Makers, unit: SocketUnit) -> None:
    rig = make.rig()
    unit.sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    unit.names.append("journal")
    unit.activate(rig).manager.spawn()
    assert rig.manager.wait() == 1
    assert "descriptor 3 (journal) of LISTEN_FDS is no stream socket that listens" in rig.manager.log_text()


def test_variables_for_another_process_are_ignored(make: Makers) -> None:
    rig = make.rig()
    rig.manager.environment.update(LISTEN_PID="1", LISTEN_FDS="1")
    rig.manager.start()
    assert rig.manager.stop() == 0


@pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not installed (package systemd)")
def test_systemd_socket_activate_starts_it_at_the_first_connection(make: Makers) -> None:
    rig = make.rig()
    path = rig.manager.socket_path
    variables = [f"--setenv=PYTHONPATH={CHECKOUT}", "--setenv=PATH"]
    rig.manager.launcher = [str(TOOL), f"--listen={path}", "--fdname=milter", *variables]
    rig["c1"].__enter__()
    rig.manager.spawn()
    wait_for(lambda: path is not None and path.exists(), "the socket", log=rig.manager.log_tail)
    if os.geteuid() == 0:
        subprocess.run(["chmod", "0666", str(path)], check=True)
    assert rig.is_well()
    assert rig.manager.stop() == 0
    assert path is not None
    assert path.exists()
