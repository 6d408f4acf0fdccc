"""milter-performance-check: load on an MTA by SMTP, and a report of how long mails took and what was answered."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mmgr.cli.performance_check_options import ENDLESS, MECHANISMS, PROGRAM, STANDS_FOR, make_parser
from mmgr.cli.writing import Writer
from mmgr.errors import MmgrError
from mmgr.performance import report
from mmgr.performance.load import Load, Running
from mmgr.performance.mails import Senders, read_mails, sample_mail
from mmgr.performance.smtp import ERROR, REJECT, TEMPORARY_FAILURE, Result, Target, shown

EXIT_INTERRUPTED = 130
EXIT_OF_OUTCOME = {ERROR: 1, TEMPORARY_FAILURE: 11, REJECT: 10}
"""The worst comes first."""

CONNECTIONS_WHEN_PACED = 100
BAR_EVERY_S = 0.2


class UsageError(MmgrError):
    """Options that can't be."""


@dataclass(frozen=True)
class Plan:
    """The command line, read."""

    load: Load
    senders: Senders
    target: Target
    given: argparse.Namespace


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    parser = make_parser()
    words = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args([STANDS_FOR.get(word, word) for word in words])
    try:
        plan = _plan(given)
    except MmgrError as error:
        parser.error(str(error))
    with ExitStack() as held:
        data: IO[str] | None = None
        if given.report_statistics_data:
            try:
                data = held.enter_context(open(given.report_statistics_data, "w", encoding="ascii"))
            except OSError as error:
                parser.error(f"can't write {given.report_statistics_data}: {error.strerror}")
        return Check(plan, data).run()


def _plan(given: argparse.Namespace) -> Plan:
    senders = Senders(
        given.senders or ("from@example.com",),
        given.recipients or ("to@example.com",),
        given.force_from,
        given.force_recipient or (),
        given.helo_fqdn,
    )
    mails = read_mails(given.mails) if given.mails else [sample_mail(senders, given.n_additional_lines)]
    if not mails:
        raise UsageError(f"there are no mails in {' '.join(given.mails)}")
    n_mails: int | None = given.n_mails if len(mails) == 1 else len(mails)
    gap_s = given.interval if given.period is None else given.period / (n_mails or 1)
    if given.flood is not None:
        n_mails = None
    load = Load(
        mails,
        n_mails,
        given.n_concurrent_connections or (1 if gap_s is None else CONNECTIONS_WHEN_PACED),
        given.n_workers,
        gap_s,
        None if given.flood in (None, ENDLESS) else given.flood,
        given.shuffle,
    )
    return Plan(load, senders, _target(given), given)


def _target(given: argparse.Namespace) -> Target:
    user, password = given.auth_user, given.auth_password
    if given.auth_map and user is None:
        user, password = _mapped_user(given.auth_map, f"{given.smtp_server}:{given.smtp_port}")
    return Target(
        given.smtp_server,
        given.smtp_port,
        given.reading_timeout,
        given.starttls,
        user,
        password,
        MECHANISMS[given.auth_mechanism],
        given.connect_host,
        given.connect_address,
    )


def _mapped_user(path: str, server: str) -> tuple[str | None, str]:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or ":" not in words[1]:
            raise UsageError(f"{path}:{number}: not SERVER:PORT USER:PASSWORD")
        if words[0] == server:
            user, _, password = words[1].partition(":")
            return user, password
    return None, ""


class Check:
    """One load from its start to its report."""

    def __init__(self, plan: Plan, data: IO[str] | None) -> None:
        self._plan = plan
        self._data = data
        self._tally = report.Tally()
        self._writer = Writer()
        self._row: list[Result] = []
        self._row_began = self._drawn_at = 0.0
        self._has_bar = plan.given.progress and plan.given.report_periodically is None and _is_terminal()

    def run(self) -> int:
        """Send all mails, print the report; the exit code."""
        given = self._plan.given
        if self._data is not None:
            print(report.STATISTICS_HEAD, file=self._data)
        if given.report_periodically is not None:
            self._say(report.TABLE_HEAD)
        was_interrupted = False
        load, senders, target = self._plan.load, self._plan.senders, self._plan.target
        with Running(load, senders, target) as running:
            self._row_began = running.began
            try:
                self._collect(running)
            except KeyboardInterrupt:
                was_interrupted = True
            elapsed_s = time.monotonic() - running.began
        self._end_lines()
        has_files = len(self._plan.load.mails) > 1
        text = report.summary(self._tally, elapsed_s, has_files, given.report_failure_responses)
        self._say(_printable(text).rstrip("\n"))
        codes = [code for outcome, code in EXIT_OF_OUTCOME.items() if self._tally.outcomes[outcome]]
        return EXIT_INTERRUPTED if was_interrupted else next(iter(codes), 0)

    def _say(self, text: str) -> None:
        self._writer.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def _collect(self, running: Running) -> None:
        """All results, unless nobody reads any more what we print of them."""
        for result in running:
            if self._writer.is_broken:
                return
            if result is not None:
                self._take(result)
            now = time.monotonic()
            if self._has_bar and now - self._drawn_at >= BAR_EVERY_S:
                self._draw(now - running.began)
                self._drawn_at = now
            every = self._plan.given.report_periodically
            if every is not None and now - self._row_began >= every:
                self._print_row(now)

    def _take(self, result: Result) -> None:
        self._tally.add(result)
        if self._plan.given.report_periodically is not None:
            self._row.append(result)
        if self._data is not None:
            ended_s = result.started_s + result.elapsed_s
            print(f"{ended_s:.6f},{result.elapsed_s:.6f},{result.size_bytes}", file=self._data)
        if result.outcome == ERROR and self._tally.outcomes[ERROR] <= report.SLOWEST:
            self._clear()
            print(f"{PROGRAM}: {_printable(result.name)}: {result.text}", file=sys.stderr)

    def _print_row(self, now: float) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime())
        self._say(report.table_row(clock, self._row, self._tally.n_mails, now - self._row_began))
        self._row.clear()
        self._row_began = now

    def _draw(self, elapsed_s: float) -> None:
        flood_s = self._plan.load.flood_s
        part = elapsed_s / flood_s if flood_s else None
        print(
            f"\r{report.bar(self._tally.n_mails, self._plan.load.n_mails, elapsed_s, part)}\x1b[K",
            end="",
            file=sys.stderr,
        )
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._has_bar:
            print("\r\x1b[K", end="", file=sys.stderr)

    def _end_lines(self) -> None:
        self._clear()
        if self._plan.given.report_periodically is not None:
            if self._row:
                self._print_row(time.monotonic())
            self._say("")


def _is_terminal() -> bool:
    with suppress(OSError, ValueError):
        return os.isatty(sys.stderr.fileno())
    return False


def _printable(text: str) -> str:
    return "\n".join(shown(line.encode("utf-8", "surrogateescape")) for line in text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())
