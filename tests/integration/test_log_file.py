"""The daemon's own log file: written as the user that it becomes, through reloads, USR1 and logrotate."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mmgr.peers.delivery import Status
from tests.integration.rig import Rig
from tests.support.processes import LabDirectory, wait_for


class Logged:
    """A manager with one child and a log file."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig = rig
        self.directory = directory
        self.path = directory / "mm.log"

    def wait_for(self, text: str, path: Path | None = None) -> None:
        """Until the text stands in the log."""
        wait_for(lambda: text in (path or self.path).read_text(), f"{text!r} in the log")


@pytest.fixture
def logged(lab: LabDirectory) -> Iterator[Logged]:
    directory = lab.subdirectory("log")
    with Rig(lab.subdirectory("logged"), ("only",), sections={"log": {"path": f"{directory}/mm.log"}}) as rig:
        yield Logged(rig, directory)


def test_a_message_is_logged_there(logged: Logged) -> None:
    logged.rig.deliver()
    logged.wait_for("transaction ")


def test_a_reload_goes_on_writing_it(logged: Logged) -> None:
    logged.rig.manager.reload()
    logged.wait_for("reloaded generation=2")


def test_usr1_makes_it_anew(logged: Logged) -> None:
    logged.path.rename(logged.directory / "mm.log.1")
    logged.rig.manager.signal(signal.SIGUSR1)
    wait_for(logged.path.exists, "a new log file")


def test_usr1_makes_every_worker_let_go_of_the_old_one(logged: Logged) -> None:
    old = str(logged.directory / "mm.log.1")
    logged.path.rename(old)
    logged.rig.manager.signal(signal.SIGUSR1)
    wait_for(lambda: old not in open_files(logged.rig.manager.worker_pids()), "workers with the new log file")
    assert len(logged.rig.manager.worker_pids()) == 2


def open_files(pids: list[int]) -> set[str]:
    found = set()
    for link in (link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(link))
    return found


def test_a_file_that_was_moved_away_is_made_anew_by_the_next_line(logged: Logged) -> None:
    logged.path.rename(logged.directory / "mm.log.1")
    logged.rig.deliver()
    wait_for(logged.path.exists, "a new log file")
    logged.wait_for("transaction ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a directory away from the daemon's user")
def test_where_it_can_not_be_made_anew_the_daemon_serves_on_and_uses_the_old_one(logged: Logged) -> None:
    moved = logged.directory / "mm.log.1"
    logged.path.rename(moved)
    os.chown(logged.directory, 0, 0)
    logged.directory.chmod(0o755)
    assert logged.rig.deliver()[0].status is Status.ACCEPT
    logged.wait_for("transaction ", moved)
    assert logged.rig.deliver()[0].status is Status.ACCEPT
