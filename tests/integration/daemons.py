"""What tests of the daemon as a process need: rigs of one child, and what ``ps`` says of their processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from mmgr.peers.delivery import Session, SmtpClient, Status
from mmgr.peers.mail import Message
from mmgr.protocol.commands import Connect
from mmgr.protocol.replies import AddHeader
from tests.integration.rig import Rig, marking
from tests.support.processes import LabDirectory, connect_to, wait_for


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
    """The worker that serves the client of that name; titles come a moment late."""

    def found() -> list[int]:
        return [pid for pid in rig.manager.worker_pids() if f" {name}[" in title(pid)]

    return wait_for(found, f"worker of {name}", log=rig.manager.log_tail)[0]


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


def kill_and_wait(rig: Rig, pid: int) -> None:
    """Kill a worker and wait until as many as before are there again."""
    count = len(rig.manager.worker_pids())
    os.kill(pid, signal.SIGKILL)
    wait_for(
        lambda: pid not in rig.manager.worker_pids() and len(rig.manager.worker_pids()) == count,
        "another worker",
        log=rig.manager.log_tail,
    )
