"""The PID file: one instance holds it, and only its own is removed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgr.errors import ListenError
from mmgr.master.pidfile import PidFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.pid"


@pytest.fixture
def held(path: Path) -> Iterator[PidFile]:
    pid_file = PidFile(str(path))
    yield pid_file
    if path.exists():
        pid_file.close()


def test_it_holds_our_pid_and_a_newline(held: PidFile, path: Path) -> None:
    held.write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_what_an_earlier_instance_left_is_overwritten(path: Path) -> None:
    path.write_text("1234567890123\n")
    pid_file = PidFile(str(path))
    pid_file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    pid_file.close()


@pytest.mark.usefixtures("held")
def test_a_second_instance_is_refused(path: Path) -> None:
    with pytest.raises(ListenError, match="running instance"):
        PidFile(str(path))


def test_a_refused_instance_leaves_the_file_as_it_is(held: PidFile, path: Path) -> None:
    held.write()
    with pytest.raises(ListenError):
        PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"


def test_it_is_removed_at_the_end(path: Path) -> None:
    PidFile(str(path)).close()
    assert not path.exists()


def test_one_that_another_instance_made_meanwhile_stays(path: Path) -> None:
    pid_file = PidFile(str(path))
    path.unlink()
    path.write_text("77\n")
    pid_file.close()
    assert path.read_text() == "77\n"


def test_the_end_is_harmless_if_somebody_removed_it(path: Path) -> None:
    pid_file = PidFile(str(path))
    path.unlink()
    pid_file.close()


def test_the_next_instance_can_have_it_after_the_end(path: Path) -> None:
    PidFile(str(path)).close()
    PidFile(str(path)).close()


def test_the_lock_ends_with_the_process_that_held_it(path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        PidFile(str(path)).write()
        os._exit(0)
    os.waitpid(pid, 0)
    PidFile(str(path)).close()


def test_a_process_that_outlives_the_holder_does_not_hold_it(path: Path) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(20.0)
    holder = os.fork()
    if holder == 0:
        ours.close()
        PidFile(str(path)).write()
        if os.fork() == 0:
            theirs.send(b"r")
            theirs.recv(1)
        os._exit(0)
    os.waitpid(holder, 0)
    with ours, theirs:
        assert ours.recv(1) == b"r"
        PidFile(str(path)).close()


def test_the_holder_keeps_it_when_a_process_that_it_forked_ends(held: PidFile, path: Path) -> None:
    held.write()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(ListenError, match="running instance"):
        PidFile(str(path))


@pytest.mark.parametrize("kind", ["missing directory", "directory", "symbolic link"])
def test_a_file_that_can_not_be_written_is_named(path: Path, kind: str) -> None:
    unusable = path / "m.pid" if kind == "missing directory" else path
    if kind == "directory":
        path.mkdir()
    if kind == "symbolic link":
        path.symlink_to("/etc/passwd")
    with pytest.raises(ListenError, match=f"PID file {unusable}: "):
        PidFile(str(unusable))
