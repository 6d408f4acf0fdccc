"""One run of the log analyzer: logs in, databases, graphs and the page out."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmgr.analyzer import positions
from mmgr.analyzer.counting import MANAGER, Ledger
from mmgr.analyzer.faults import AlreadyRunning, OutputUnwritable, RrdtoolFailed
from mmgr.analyzer.graphs import PERIODS, Graph, is_png
from mmgr.analyzer.heads import OLDEST_S, HeadReader
from mmgr.analyzer.layout import STEP_S
from mmgr.analyzer.page import page
from mmgr.analyzer.rrdtool import Rrdtool
from mmgr.analyzer.sources import Source, opened
from mmgr.analyzer.store import WORK_NAME, Store, known, last_of

GRACE_S = 60
"""So long after a minute its last lines may come."""

MINUTES_MAX = 600
MINUTES_KEPT = 300
"""When more minutes than the one are at hand, all but the newest of the other go into the databases."""

LOCK_NAME = ".lock"
PAGE_NAME = "index.html"


@dataclass
class Summary:
    """What a run did; for people, and for tests."""

    n_lines: int = 0
    n_counted: int = 0
    n_damaged: int = 0
    n_implausible: int = 0
    n_late: int = 0
    n_left_out: int = 0
    n_graphs: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wishes:
    """What a run is to do; with statistics, the lines of milter manager 2 count instead of our own."""

    updates: bool = True
    draws: bool = True
    statistics: bool = False


def analyze(paths: list[str], directory: Path, now: float, wishes: Wishes = Wishes()) -> Summary:
    """Read the logs ("-" is standard input), update the databases, draw. Raises what ``faults`` lists."""
    summary = Summary()
    with _output(directory) as work, Rrdtool(work) as rrdtool:
        if wishes.updates:
            _update(paths, directory, rrdtool, now, Ledger(wishes.statistics), summary)
        if wishes.draws:
            _draw(directory, work, rrdtool, now, wishes.statistics, summary)
    return summary


@contextmanager
def _output(directory: Path) -> Iterator[Path]:
    """The output directory, locked, and in it an empty folder to work in."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(directory, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(f"another run is at work in {directory}") from error
        work = directory / WORK_NAME
        try:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
        except OSError as error:
            raise _unwritable(directory, error) from error
        yield work
    finally:
        shutil.rmtree(directory / WORK_NAME, ignore_errors=True)
        os.close(lock)


def _update(paths: list[str], directory: Path, rrdtool: Rrdtool, now: float, ledger: Ledger, summary: Summary) -> None:
    state = positions.load(directory)
    store = Store(directory, rrdtool)
    ledger.minutes, ledger.sessions = state.pending, state.sessions
    ledger.children = {each.child for each in known(directory)} - {MANAGER}
    heads = HeadReader(now, state.journal_until_us)
    has_pipe = False
    with opened(paths, state, now) as sources:
        for source in sources:
            is_text = _read(source, state, heads, ledger, store, summary)
            has_pipe = has_pipe or (is_text and not source.is_regular)
    boundary = int(now - GRACE_S) // STEP_S * STEP_S
    for minute, counts in ledger.before(boundary):
        store.write(minute, counts)
    store.publish()
    # what comes through a pipe as text comes again as a whole, so what is not over yet will be counted then
    state.pending = {} if has_pipe else ledger.minutes
    state.sessions = ledger.sessions
    state.journal_until_us = heads.journal_until_us
    try:
        positions.save(state, directory)
    except OSError as error:
        raise _unwritable(directory, error) from error
    summary.n_counted, summary.n_damaged, summary.n_left_out = ledger.n_counted, ledger.n_damaged, ledger.n_left_out
    summary.n_implausible, summary.n_late = heads.n_implausible, store.n_late


def _read(
    source: Source, state: positions.State, heads: HeadReader, ledger: Ledger, store: Store, summary: Summary
) -> bool:
    """One log to its end; True if it was text, not entries of the journal."""
    heads.begin(source.written_at)
    heads.has_journal = False
    read, take = heads.read, ledger.take
    for lines in source.blocks(state):
        summary.n_lines += len(lines)
        for line in lines:
            if b"session=" in line or b"[statistics]" in line or line[:1] == b"{":
                found = read(line)
                if found is not None:
                    take(found)
        if len(ledger.minutes) > MINUTES_MAX:
            limit = sorted(ledger.minutes)[-MINUTES_KEPT]
            for minute, counts in ledger.before(limit):
                store.write(minute, counts)
    summary.warnings += source.warnings
    if source.is_regular:
        state.remember(source.prefix, source.offset, source.identity if source.is_whole() else None)
    return not heads.has_journal


def _draw(directory: Path, work: Path, rrdtool: Rrdtool, now: float, statistics: bool, summary: Summary) -> None:
    """All graphs, then the page; each takes its place when it is whole."""
    end = int(now) // STEP_S * STEP_S
    shown = [each for each in known(directory) if last_of(rrdtool, each) > now - OLDEST_S]
    for database in shown:
        for period in PERIODS:
            _draw_one(Graph(database, period, statistics), directory, work, rrdtool, end)
            summary.n_graphs += 1
    made_at = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(now))
    try:
        positions.replace(directory / PAGE_NAME, page(shown, made_at).encode("utf-8"))
    except OSError as error:
        raise _unwritable(directory, error) from error


def _draw_one(graph: Graph, directory: Path, work: Path, rrdtool: Rrdtool, end: int) -> None:
    rrdtool.ask(*graph.command(end, ".."))
    try:
        if not is_png((work / graph.file).read_bytes()):
            raise RrdtoolFailed(f"rrdtool did not finish {graph.file}: is the disk full?")
        os.replace(work / graph.file, directory / graph.file)
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: Path, error: OSError) -> OutputUnwritable:
    return OutputUnwritable(f"can't write in {directory}: {error.strerror or error}")
