"""A log that can't be written, under a running daemon: a pipe that nobody drains, a disk that is full. Mail goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mmgr.peers.delivery import Status
from tests.integration.rig import Rig
from tests.support.processes import LabDirectory, wait_for

MESSAGES = 400
"""Their lines are more than a pipe of 64 KiB has room for."""


# ---- standard error is a pipe


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The end to read, which does not block, and the end to write."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def piped(lab: LabDirectory, pipe: tuple[int, int]) -> Iterator[Rig]:
    """A manager whose standard error is that pipe."""
    rig = Rig(lab.subdirectory("piped"), ("only",))
    rig.manager.launcher = ["bash", "-c", f'exec "$@" 2>&{pipe[1]}', "bash"]
    rig.manager.inherited = [pipe[1]]
    with rig:
        yield rig


def drained(reading: int) -> str:
    """What is in the pipe now."""
    found = b""
    while True:
        try:
            found += os.read(reading, 1 << 20)
        except BlockingIOError:
            return found.decode()


def test_a_pipe_that_nobody_drains_costs_lines_and_no_mail(piped: Rig, pipe: tuple[int, int]) -> None:
    assert {piped.deliver()[0].status for _ in range(MESSAGES)} == {Status.ACCEPT}
    piped.manager.renew_workers()
    assert piped.deliver()[0].status is Status.ACCEPT
    assert drained(pipe[0]).count("transaction ") < MESSAGES


def test_once_it_is_drained_the_loss_is_told(piped: Rig, pipe: tuple[int, int]) -> None:
    for _ in range(MESSAGES):
        piped.deliver()
    drained(pipe[0])

    def is_told() -> bool:
        piped.deliver()
        return "log-lines-lost lines=" in drained(pipe[0])

    wait_for(is_told, "log-lines-lost in the pipe")


# ---- the disk is full


@pytest.fixture
def disk(lab: LabDirectory) -> Iterator[Path]:
    """A file system of its own, small enough to be filled."""
    path = lab.subdirectory("disk")
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "none", str(path)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can't be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def on_disk(lab: LabDirectory, disk: Path) -> Iterator[Rig]:
    with Rig(lab.subdirectory("full"), ("only",), sections={"log": {"path": f"{disk}/mm.log"}}) as rig:
        yield rig


def fill(disk: Path) -> Path:
    """Takes all the room that is left; returns the file that has it."""
    path = disk / "fill"
    try:
        with path.open("wb", buffering=0) as file:
            while file.write(b"x" * 1024):
                pass
    except OSError:
        return path
    raise AssertionError("the disk never fills")


def open_files(pids: list[int]) -> set[str]:
    found = set()
    for link in (link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):  # closed just now
            found.add(os.readlink(link))
    return found


def test_usr1_on_a_full_disk_silences_nobody(on_disk: Rig, disk: Path) -> None:
    filling, old = fill(disk), disk / "mm.log.1"
    for _ in range(40):
        on_disk.deliver()
    (disk / "mm.log").rename(old)
    on_disk.manager.signal(signal.SIGUSR1)
    pids = [on_disk.manager.pid, *on_disk.manager.worker_pids()]
    wait_for(lambda: str(old) not in open_files(pids), "processes with the new log file")
    filling.unlink()
    before = (disk / "mm.log").read_text()
    on_disk.deliver()
    wait_for(lambda: "transaction " in (disk / "mm.log").read_text()[len(before) :], "a line of a worker")
    on_disk.manager.reload()
    wait_for(lambda: "reloaded " in (disk / "mm.log").read_text(), "a line of the master")


def test_a_reload_succeeds_on_a_full_disk(on_disk: Rig, disk: Path) -> None:
    fill(disk)
    for _ in range(40):
        on_disk.deliver()
    on_disk.manager.renew_workers()
    assert on_disk.deliver()[0].status is Status.ACCEPT
