"""Milter manager as a process under test: configured, started, watched, and proven to be gone afterwards.

``Manager`` runs the checkout's own code with the interpreter of the tests, so nothing has to be installed. As root it
is started with ``-u nobody`` and drops its privileges itself, as in production; otherwise it runs as the caller.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Union

import psutil

from tests.support.processes import (
    HarnessError,
    LogFile,
    give_to_unprivileged,
    group_members,
    negotiates,
    tail,
    wait_for,
)

CHECKOUT = Path(__file__).resolve().parents[2]
ChildKeys = Union[str, Mapping[str, str]]
Sections = Mapping[str, Mapping[str, str]]


class Manager:
    """A context manager: the daemon serves inside of it; leaving it asserts that no process and no socket is left.

    directory     an existing directory that the daemon's user may enter (``LabDirectory.subdirectory`` makes one);
                  configuration, socket and log are put there
    children      name -> connection_spec, or name -> all keys of that child's section, in the order to be asked
    n_workers     ``--n-workers``
    sections      further keys by section, over the defaults: ``{"manager": {"fallback_status": "accept"}, "log": ...}``
    extra_config  text appended to milter-manager.conf as it is, for what sections can't say
    extra_args    further arguments of the command
    spec          where it listens; ``unix:DIRECTORY/mm.sock`` when not given

    Before the start may be set: ``launcher`` (a command in front of the daemon's own), ``environment`` (further
    variables) and ``inherited`` (descriptors that the command is given).

    with Manager(lab.subdirectory("mm"), {"opendkim": "unix:/run/opendkim.sock"}) as manager:
        ... talk milter to manager.spec ...
    """

    start_timeout_s = 20.0
    stop_timeout_s = 30.0

    def __init__(
        self,
        directory: Path,
        children: Mapping[str, ChildKeys] | None = None,
        n_workers: int = 2,
        sections: Sections | None = None,
        extra_config: str = "",
        extra_args: Sequence[str] = (),
        spec: str = "",
    ) -> None:
        self.directory = directory
        self.spec = spec or f"unix:{directory}/mm.sock"
        self.control_path = directory / "ctl.sock"
        self.config_directory = directory / "config"
        self.stderr = LogFile(directory / "stderr")
        self.n_workers = n_workers
        self.extra_args = list(extra_args)
        self.launcher: list[str] = []
        self.environment: dict[str, str] = {}
        self.inherited: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.config_directory.mkdir(exist_ok=True)
        self.write_config(children or {}, sections, extra_config)

    # Configuration

    def write_config(
        self, children: Mapping[str, ChildKeys], sections: Sections | None = None, extra_config: str = ""
    ) -> None:
        """Replaces milter-manager.conf; a running daemon sees it after ``reload``."""
        merged = {
            "manager": {"connection_spec": self.spec, "unix_socket_mode": "0666"},
            "log": {"use_syslog": "no"},
            "package": {"detection": "no"},
            "controller": {"connection_spec": f"unix:{self.control_path}"},
        }
        for section, keys in (sections or {}).items():
            merged.setdefault(section, {}).update(keys)
        lines = []
        for section, keys in merged.items():
            lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items())]
        lines.append("[milters]")
        for name, keys_or_spec in children.items():
            keys = {"connection_spec": keys_or_spec} if isinstance(keys_or_spec, str) else keys_or_spec
            lines += [f"  [[{name}]]", *(f"  {key} = {value}" for key, value in keys.items())]
        text = "\n".join(lines) + "\n" + extra_config
        (self.config_directory / "milter-manager.conf").write_text(text, "utf-8")

    def command(self) -> list[str]:
        """The command line of the daemon."""
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        options = ["-c", str(self.config_directory), "--no-daemon", *user, "--n-workers", str(self.n_workers)]
        return [*self.launcher, sys.executable, "-m", "mmgr.cli.manager", *options, *self.extra_args]

    # Life

    @property
    def pid(self) -> int:
        """The master's process id."""
        assert self.process is not None, "the manager was not started"
        return self.process.pid

    @property
    def socket_path(self) -> Path | None:
        """The socket file of a unix spec, else None."""
        scheme, _, address = self.spec.partition(":")
        return Path(address) if scheme in ("unix", "local") else None

    def start(self) -> None:
        """Starts the daemon and returns when it has answered an option negotiation; else HarnessError with its log."""
        self.spawn()
        try:
            wait_for(self._is_serving, "answer to an option negotiation", self.start_timeout_s, self.log_tail)
        except HarnessError:
            self.kill()
            raise

    def spawn(self) -> None:
        """Starts the process without waiting for anything: for tests of a start that fails."""
        give_to_unprivileged(self.directory)
        search_path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]))
        with open(self.stderr.path, "ab") as stderr:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": search_path, **self.environment},
                pass_fds=self.inherited,
                start_new_session=True,
            )

    def _is_serving(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise HarnessError(f"milter-manager ended with {self.process.returncode} at its start\n{self.log_tail()}")
        return negotiates(self.spec)

    def wait(self, timeout_s: float = 0.0) -> int:
        """Waits for the end of the master and returns its exit code (negative: the signal)."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s or self.stop_timeout_s)
        except subprocess.TimeoutExpired as expired:
            raise HarnessError(f"milter-manager did not end within {expired.timeout:g} s\n{self.log_tail()}") from None

    def signal(self, number: int) -> None:
        """Sends a signal to the master alone."""
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self) -> None:
        """Asks for a reload (SIGHUP); does not wait. ``wait_for_log`` tells when it is done."""
        self.signal(signal.SIGHUP)

    def renew_workers(self) -> None:
        """Reloads and returns once every worker that ran before is gone and the new ones serve."""
        before = set(self.worker_pids())
        self.reload()
        wait_for(lambda: not before & set(self.worker_pids()), "end of the old workers", log=self.log_tail)

    def stop(self) -> int:
        """Asks for an orderly end (SIGTERM), waits for it and returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Ends everything by SIGKILL and removes what a killed daemon can't: the socket file."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not group_members(self.pid), "end of the manager's process group after SIGKILL")
        if self.socket_path is not None and self.socket_path.is_socket():
            self.socket_path.unlink()

    def assert_nothing_left(self) -> None:
        """After the end: no process of the group lives, the socket file is gone."""
        left = [" ".join(process.cmdline()) for process in group_members(self.pid)]
        assert not left, f"processes left behind: {left}\n{self.log_tail()}"
        path = self.socket_path
        assert path is None or not path.exists(), f"{path} was left behind\n{self.log_tail()}"

    def __enter__(self) -> Manager:
        self.start()
        return self

    def __exit__(self, exc_type: object, *exc_info: object) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
            if exc_type is None:
                self.assert_nothing_left()
        finally:
            self.kill()

    # What can be seen from outside

    def log_text(self) -> str:
        """Everything that the daemon wrote to its standard error (and output) so far."""
        return self.stderr.text()

    def log_tail(self) -> str:
        """The end of the log and the command, for a failure message."""
        return f"$ {' '.join(self.command())}\n{tail(self.log_text())}"

    def wait_for_log(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The count-th match of a regular expression in the log; waits for it."""
        compiled = re.compile(pattern)

        def found() -> tuple[re.Match[str], ...]:
            return tuple(compiled.finditer(self.log_text()))[count - 1 :]

        return wait_for(found, f"{pattern!r} in the manager's log", log=self.log_tail)[0]

    def worker_pids(self) -> list[int]:
        """The process ids of the master's direct children, sorted."""
        return sorted(process.pid for process in psutil.Process(self.pid).children())
