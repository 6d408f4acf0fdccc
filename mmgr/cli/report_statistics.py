"""milter-report-statistics: memory, CPU and descriptors of running processes, one line for each at every tick."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from mmgr import __version__
from mmgr.cli import values
from mmgr.cli.writing import Writer

PROGRAM = "milter-report-statistics"
EXIT_NONE = 1
HEAD = f"{'Time':>8} {'PID':>6} {'VSS':>9} {'RSS':>9} {'%CPU':>5} {'CPU time':>8} {'#FD':>5} command"

_EPILOG = """\
A TARGET is a part of a command line, such as milter-greylist. exit codes: 0 ended from the keyboard or after --count
lines; 1 a PID file can't be read; 2 usage. #FD is - where we may not look: be root, or the process's user.
"""


def make_parser() -> argparse.ArgumentParser:
    """The incumbent's options, and --count."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [OPTION...] TARGET...",
        description="Reports memory, CPU time and open descriptors of running processes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    add("targets", nargs="*", metavar="TARGET", help="report processes with this in their command lines")
    add(
        "--filter",
        action="append",
        default=[],
        type=_pattern,
        metavar="REGEXP",
        help="only those that match; repeatable",
    )
    add("--pid", action="append", default=[], type=_pid, metavar="PID", help="report this process; repeatable")
    add("--pid-directory", action="append", default=[], metavar="DIR", help="report those of the .pid files below DIR")
    add(
        "--interval",
        type=values.seconds,
        default=1.0,
        metavar="SECONDS",
        help="the time from one report to the next (1)",
    )
    add("--count", type=_pid, metavar="N", help="end after N reports")
    return parser


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def _pid(text: str) -> int:
    return values.count(text, least=1, most=2**31 - 1)


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    if not (given.targets or given.pid or given.pid_directory):
        parser.error("name a TARGET, --pid or --pid-directory")
    try:
        pids = [*given.pid, *_pids_below(given.pid_directory)]
    except (OSError, ValueError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_NONE
    watch = Watch(given.targets, pids, given.filter)
    try:
        _report(watch, given.interval, given.count)
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0


def _report(watch: Watch, interval_s: float, count: int | None) -> None:
    writer = Writer()
    writer.write(HEAD.encode() + b"\n")
    due = time.monotonic()
    reported = 0
    while True:
        clock = time.strftime("%H:%M:%S")
        rows = list(watch.rows())
        text = "".join(f"{clock} {row}\n" for row in rows or ["not found"])
        writer.write(text.encode("utf-8", "backslashreplace"))
        reported += 1
        if reported == count or writer.is_broken:
            return
        due = max(due + interval_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _pids_below(directories: list[str]) -> Iterator[int]:
    for directory in directories:
        if not os.path.isdir(directory):
            raise NotADirectoryError(f"{directory} is no directory")
        for path in sorted(Path(directory).rglob("*.pid")):
            text = path.read_text("ascii", "replace").strip()
            if not (text.isascii() and text.isdigit()):
                raise ValueError(f"{path} holds no process id")
            yield int(text)


class Watch:
    """The processes to report. They are looked for anew each time; CPU use is since the last time."""

    def __init__(self, targets: list[str], pids: list[int], patterns: list[re.Pattern[str]]) -> None:
        self._targets = targets
        self._pids = pids
        self._patterns = patterns
        self._known: dict[int, psutil.Process] = {}

    def rows(self) -> Iterator[str]:
        """One line for each process that runs, without the clock."""
        found = {process.pid: process for process in self._wanted()}
        self._known = {pid: self._known.get(pid, process) for pid, process in found.items()}
        for pid, process in sorted(self._known.items()):
            if not process.is_running():
                process = self._known[pid] = found[pid]  # the number was given to another one
            try:
                yield row(process)
            except psutil.NoSuchProcess:
                continue

    def _wanted(self) -> Iterator[psutil.Process]:
        for pid in self._pids:
            try:
                process = psutil.Process(pid)
                if self._matches(_command(process)):
                    yield process
            except psutil.Error:
                continue
        if self._targets:
            for process in psutil.process_iter():
                try:
                    command = _command(process)
                except psutil.Error:
                    continue
                if process.pid != os.getpid() and self._is_target(command) and self._matches(command):
                    yield process

    def _is_target(self, command: str) -> bool:
        return any(target in command for target in self._targets)

    def _matches(self, command: str) -> bool:
        return all(pattern.search(command) for pattern in self._patterns)


def row(process: psutil.Process) -> str:
    """PID, memory, CPU and descriptors. Raises psutil.NoSuchProcess if it has gone."""
    with process.oneshot():
        memory = process.memory_info()
        times = process.cpu_times()
        percent = process.cpu_percent()
        command = _command(process)
    minutes, seconds = divmod(times.user + times.system, 60)
    return (
        f"{process.pid:>6} {memory.vms // 1024:>6} kB {memory.rss // 1024:>6} kB {percent:>5.1f} "
        f"{int(minutes):>5}:{seconds:05.2f} {_descriptors(process):>5} {command}"
    )


def _descriptors(process: psutil.Process) -> str:
    try:
        return str(process.num_fds())
    except psutil.AccessDenied:
        return "-"


def _command(process: psutil.Process) -> str:
    """The command line on one line; processes write it themselves, so nothing in it may steer a terminal."""
    text = " ".join(process.cmdline()) or process.name()
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text).strip()


if __name__ == "__main__":
    sys.exit(main())
