"""Starting and ending real daemons for tests: unprivileged, on loopback or unix sockets, and gone afterwards.

Here live the directory that all components of a run share, the ``Daemon`` base, free ports and waiting with a deadline.
What a particular program needs is in ``milters.py``, ``postfix.py`` and ``daemon.py``. Nothing here knows pytest.

libmilter programs end late after SIGTERM (up to five seconds) and unlink their socket by its path when they do, so
``Daemon.stop`` returns only when the whole process group is gone.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Callable, TypeVar

import psutil

T = TypeVar("T")

UNPRIVILEGED_USER = "nobody"
UNPRIVILEGED_GROUP = "nogroup"
POLL_INTERVAL_S = 0.005
OPTNEG = bytes.fromhex("0000000d4f00000006000001ff001fffff")  # version 6, every action, every step: what Postfix offers
QUIT = bytes.fromhex("0000000151")
PORTS_BELOW_EPHEMERAL = range(20000, 32000)  # an outgoing connection never takes one of these between choice and bind


class HarnessError(Exception):
    """A component did not do what the test needs; the text carries the end of its log."""


class ComponentMissing(Exception):
    """A program that the test needs is not installed, or the test needs root; the text says which."""


def require_root() -> None:
    """Raises ComponentMissing unless this is root: Postfix's master and ``setuid`` to nobody need it."""
    if os.geteuid() != 0:
        raise ComponentMissing("not root: Postfix and the switch to an unprivileged user need it")


def require_binary(path: str, package: str) -> str:
    """Returns path; raises ComponentMissing naming the Debian package when there is no such program."""
    if not os.access(path, os.X_OK):
        raise ComponentMissing(f"{path} is not installed (package {package})")
    return path


def wait_for(probe: Callable[[], T | None], what: str, timeout_s: float = 20.0, log: Callable[[], str] = str) -> T:
    """Calls probe until it returns something true, and returns that; HarnessError with what and log() if too late."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise HarnessError(f"no {what} within {timeout_s:g} s\n{log()}")
        time.sleep(POLL_INTERVAL_S)


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    while True:
        port = random.choice(PORTS_BELOW_EPHEMERAL)
        with socket.socket() as probe:
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def tail(text: str, lines: int = 40) -> str:
    """The last lines of a log, for a failure message."""
    return "\n".join(text.splitlines()[-lines:])


class LogFile:
    """A log that grows while it is read: each look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""
        self._read_bytes = 0

    def text(self) -> str:
        """Everything so far; empty while there is no file."""
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
            self._read_bytes += len(new)
            self._text += new.decode("utf-8", "replace")
        return self._text


def connect_to(spec: str, timeout_s: float = 2.0) -> socket.socket:
    """A connected socket for ``unix:PATH`` or ``inet:PORT@HOST``; raises OSError."""
    scheme, _, address = spec.partition(":")
    if scheme == "inet":
        port, _, host = address.partition("@")
        return socket.create_connection((host or "127.0.0.1", int(port)), timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def negotiates(spec: str, timeout_s: float = 2.0) -> bool:
    """Whether a milter at spec answers an option negotiation; it is told QUIT, so it has served a whole session."""
    try:
        with connect_to(spec, timeout_s) as connection:
            connection.sendall(OPTNEG)
            length = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "big")
            answer = connection.recv(min(length, 1024), socket.MSG_WAITALL)
            with suppress(OSError):  # the answer counts, even of one that does not wait for the end
                connection.sendall(QUIT)
    except OSError:
        return False
    return answer[:1] == b"O"


def group_members(pgid: int) -> list[psutil.Process]:
    """The processes of a process group that have not ended yet (a zombie has)."""
    members = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getpgid(pid) == pgid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                members.append(psutil.Process(pid))
    return members


class LabDirectory:
    """A directory under /tmp that every user may enter (pytest's own are closed to nobody), removed at the end."""

    def __init__(self, prefix: str = "mmgr-test-") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.path.chmod(0o755)

    def subdirectory(self, name: str) -> Path:
        """A new directory of the unprivileged user (of the caller when not root); numbered if the name is taken."""
        number = 1
        path = self.path / name
        while path.exists():
            number += 1
            path = self.path / f"{name}-{number}"
        path.mkdir(mode=0o755)
        give_to_unprivileged(path)
        return path

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> LabDirectory:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()


def give_to_unprivileged(path: Path) -> None:
    """Makes path belong to the unprivileged user; without effect when not root."""
    if os.geteuid() == 0:
        shutil.chown(path, UNPRIVILEGED_USER, UNPRIVILEGED_GROUP)


class Daemon:
    """One program of a test, as user nobody, in a process group of its own, its output in ``DIRECTORY/output``.

    A subclass says what to run (``command``), what to write before (``prepare``) and when it can do its work
    (``is_ready``): a socket that can be connected is not enough, spamd listens more than a second before it answers.
    """

    binary = ""
    package = ""
    start_timeout_s = 20.0
    patience_s = 8.0  # from SIGTERM to SIGKILL; clamav-milter takes five seconds

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = directory / "output"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def command(self) -> Sequence[str]:
        """The command line; run without a shell."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Writes what the program reads at its start."""

    def is_ready(self) -> bool:
        """Whether the program does its work now; asked again until it does."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the program and returns when it is ready; raises HarnessError with its output, ComponentMissing."""
        require_binary(self.binary, self.package)
        self.prepare()
        as_root = os.geteuid() == 0
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.directory), "LANG": "C.UTF-8"},
                cwd=self.directory,
                user=UNPRIVILEGED_USER if as_root else None,
                group=UNPRIVILEGED_GROUP if as_root else None,
                extra_groups=[] if as_root else None,
                umask=0,  # else Postfix's smtpd (user postfix) can't connect the sockets of spamass-milter and pymilter
                start_new_session=True,
            )
        try:
            wait_for(self._is_up, f"readiness of {self.name}", self.start_timeout_s, self.log_tail)
        except HarnessError:
            self.stop()
            raise

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise HarnessError(f"{self.name} ended with {self.process.returncode} at its start\n{self.log_tail()}")
        return self.is_ready()

    def log_text(self) -> str:
        """What the program has printed so far."""
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""

    def log_tail(self) -> str:
        return tail(self.log_text())

    def terminate(self) -> None:
        """Asks the program to end; does not wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self) -> None:
        """Ends the program, politely first, and returns when every process of its group is gone."""
        if self.process is None:
            return
        self.terminate()
        try:
            self.process.wait(self.patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end_group(self.process.pid, self.name)
        self.process = None

    def kill(self) -> None:
        """Ends the program by SIGKILL, as a crash would, and returns when it is gone; its socket file stays."""
        self.patience_s = 0.0
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.stop()

    def __enter__(self: D) -> D:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


D = TypeVar("D", bound=Daemon)


def end_group(pgid: int, name: str) -> None:
    """Waits until no process of the group is left; what ignores a second of patience is killed."""
    try:
        wait_for(lambda: not group_members(pgid), f"end of {name}'s other processes", 1.0)
    except HarnessError:
        with suppress(ProcessLookupError):
            os.killpg(pgid, signal.SIGKILL)
        wait_for(lambda: not group_members(pgid), f"end of {name}'s process group after SIGKILL")


def stop_together(daemons: Iterable[Daemon]) -> None:
    """Stops several daemons in the time of the slowest."""
    running = list(daemons)
    for daemon in running:
        daemon.terminate()
    for daemon in running:
        daemon.stop()
