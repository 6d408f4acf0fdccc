"""Where a worker's time goes: cProfile over one that serves scripted sessions, and the same without a profiler.

The worker is the real one (``workers.main.run``), in a process of its own; this process is its MTA, libmilter children
answer. So no Postfix is needed. cProfile makes Python code look slower than it is, the kernel's part stays as it is:
read the shares as such, and the CPU time per mail from the run without.
"""

from __future__ import annotations

import cProfile
import logging
import os
import pstats
import socket
import sys
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NoReturn

from benchmarks import mails, usage
from benchmarks.mtas import MilterMta
from benchmarks.programs import LibmilterChild, build_child
from mmgr.assignment import Assignment
from mmgr.config.model import ChildSettings, Config
from mmgr.endpoint import parse_endpoint
from mmgr.scoreboard import Scoreboard
from tests.support.processes import LabDirectory, stop_together
from workers.main import run

CHILDREN = 3
SHOWN = 25

Say = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """One function in the profile, by its own time per mail, in microseconds."""

    name: str
    calls_per_mail: float
    own_us: float
    total_us: float


@dataclass(frozen=True)
class SessionProfile:
    """lines are the costliest functions; rooms is the share of each file or kind of C function, in percent.

    cpu_ms_per_mail and wall_ms_per_mail are of the run without a profiler.
    """

    mails: int
    cpu_ms_per_mail: float
    wall_ms_per_mail: float
    lines: list[Line]
    rooms: dict[str, float]


def measure(sessions: int, say: Say) -> SessionProfile:
    """Sessions of one mail each, first unprofiled, then profiled. Raises ComponentMissing without libmilter."""
    with LabDirectory("mmgr-bench-") as directory:
        program = build_child(directory.path)
        children = [LibmilterChild(directory.subdirectory("child"), program) for _ in range(CHILDREN)]
        try:
            for child in children:
                child.start()
            worker = _Worker(directory, children)
            cpu_ms, wall_ms = worker.serve(sessions, "")
            stats_file = directory.path / "stats"
            worker.serve(sessions, str(stats_file))
            profile = _read(stats_file, sessions, cpu_ms, wall_ms)
        finally:
            stop_together(children)
    say(f"one worker: {cpu_ms:.2f} ms of CPU per mail, {wall_ms:.2f} ms until it is through")
    return profile


class _Worker:
    """Forks a worker that serves until this process closes its life pipe, and plays its MTA."""

    def __init__(self, directory: LabDirectory, children: list[LibmilterChild]) -> None:
        self._path = directory.path / "worker.sock"
        self._config = Config(
            children=tuple(
                ChildSettings(f"child{number}", (parse_endpoint(child.spec),))
                for number, child in enumerate(children, 1)
            )
        )

    def serve(self, sessions: int, stats_path: str) -> tuple[float, float]:
        """CPU and wall time per mail in milliseconds. stats_path is where the profile goes, "" for none."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._path))
            listener.listen()
            listener.setblocking(False)
            life_read, life_write = os.pipe()
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                os.close(life_write)
                self._be_worker(listener, life_read, stats_path)
            os.close(life_read)
            try:
                figures = self._play(pid, sessions)
            finally:
                os.close(life_write)
                os.waitpid(pid, 0)
        return figures

    def _be_worker(self, listener: socket.socket, life_fd: int, stats_path: str) -> NoReturn:
        """The forked process; never returns, whatever happens."""
        code = 1
        try:
            # A log line per mail is part of the work; where it goes is not.
            logging.basicConfig(level=logging.INFO, filename=os.devnull, force=True)
            board = Scoreboard(1)
            place = Assignment(0, 1, self._config, (listener,), board, life_fd, lambda: None)
            if stats_path:
                profiler = cProfile.Profile()
                profiler.runcall(run, place)
                profiler.dump_stats(stats_path)
            else:
                run(place)
            code = 0
        except BaseException:  # noqa: BLE001  a fork of ours must not run on as a second benchmark
            traceback.print_exc()
        finally:
            os._exit(code)

    def _play(self, pid: int, sessions: int) -> tuple[float, float]:
        self._play_one()
        started_s, started_cpu_s = usage.monotonic_s(), usage.cpu_s([pid])
        for _ in range(sessions):
            self._play_one()
        wall_s = usage.monotonic_s() - started_s
        return (usage.cpu_s([pid]) - started_cpu_s) * 1000 / sessions, wall_s * 1000 / sessions

    def _play_one(self) -> None:
        mta = MilterMta(f"unix:{self._path}")
        mta.play(mails.session_opening())
        mta.send_mail()
        mta.close()


def _read(path: Path, sessions: int, cpu_ms: float, wall_ms: float) -> SessionProfile:
    """The profile, per mail; waiting for the MTA between sessions (epoll) is left out."""
    stats: Any = vars(pstats.Stats(str(path)))["stats"]
    lines = []
    rooms: Counter[str] = Counter()
    for (file, line, function), (_, calls, own_s, total_s, _) in stats.items():
        if "epoll" in function:
            continue
        name = f"{_room(file)}:{line} {function}" if line else function
        lines.append(Line(name, calls / sessions, own_s * 1e6 / sessions, total_s * 1e6 / sessions))
        rooms[_room(file) if line else _kind(function)] += own_s
    all_s = sum(rooms.values())
    shares = {room: 100 * own_s / all_s for room, own_s in rooms.most_common(14)}
    lines.sort(key=lambda line: -line.own_us)
    return SessionProfile(sessions, cpu_ms, wall_ms, lines[:SHOWN], shares)


def _room(file: str) -> str:
    """A file by its last two parts: ``workers/child.py``."""
    return "/".join(Path(file).parts[-2:])


_KINDS = (
    ("poll", "waiting (poll)"),
    ("socket.socket", "socket calls"),
    ("connect", "socket calls"),
    ("accept", "socket calls"),
    ("setproctitle", "setproctitle"),
)


def _kind(function: str) -> str:
    """What a C function counts as."""
    return next((kind for part, kind in _KINDS if part in function), "other C functions")
