"""The harness itself: a daemon that fails is reported with its log, and nothing that was started is left behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Manager
from tests.support.processes import HarnessError, LabDirectory, group_members, negotiates

STAND_IN = """
import os, signal, socket, sys
socket_path, behaviour = sys.argv[1:]
print("started as", behaviour, file=sys.stderr, flush=True)
if behaviour == "fails":
    sys.exit(3)
if behaviour == "leaves a process" and os.fork() == 0:
    signal.pause()
def end(*_):
    if behaviour != "leaves its socket":
        os.unlink(socket_path)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
listener = socket.socket(socket.AF_UNIX)
listener.bind(socket_path)
listener.listen()
while True:
    connection, _ = listener.accept()
    if behaviour != "does not speak":
        connection.sendall(connection.recv(17))
    connection.close()
"""


class StandIn(Manager):
    """Something else in the place of the daemon."""

    start_timeout_s = 3.0
    behaviour = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", STAND_IN, str(self.socket_path), self.behaviour]


@pytest.fixture
def directory() -> Iterator[Path]:
    with LabDirectory() as lab:
        yield lab.subdirectory("stand-in")


def stand_in(directory: Path, behaviour: str) -> StandIn:
    manager = StandIn(directory, {"a": "unix:/nowhere"})
    manager.behaviour = behaviour
    return manager


def test_a_daemon_that_serves_is_ready_and_ends_without_trace(directory: Path) -> None:
    with stand_in(directory, "serves") as manager:
        assert negotiates(manager.spec)
        assert manager.stop() == 0
    assert group_members(manager.pid) == []


def test_a_daemon_that_ends_at_its_start_is_reported_with_code_and_log(directory: Path) -> None:
    with pytest.raises(HarnessError, match=r"ended with 3(.|\n)*started as fails"):
        stand_in(directory, "fails").start()


def test_a_daemon_that_accepts_but_does_not_speak_is_not_ready(directory: Path) -> None:
    manager = stand_in(directory, "does not speak")
    manager.start_timeout_s = 0.5
    with pytest.raises(HarnessError, match=r"no answer to an option negotiation(.|\n)*started as does not speak"):
        manager.start()
    assert group_members(manager.pid) == []


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [("leaves a process", "processes left behind"), ("leaves its socket", "mm.sock was left behind")],
)
def test_what_a_daemon_leaves_behind_is_found_and_removed(directory: Path, behaviour: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        with stand_in(directory, behaviour) as manager:
            pass
    assert group_members(manager.pid) == []
    assert not (directory / "mm.sock").exists()
