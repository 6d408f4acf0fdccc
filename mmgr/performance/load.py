"""Sends the mails of a load: processes with threads, each mail over a connection of its own, when it is due.

The parent only collects, so that the table and the progress bar do not wait for Python's lock.
"""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

from mmgr.performance.mails import Mail, Senders
from mmgr.performance.smtp import Result, Target, deliver

TICK_S = 0.1
GOODBYE_S = 5.0


@dataclass(frozen=True)
class Load:
    """What is sent and how fast. gap_s is the time from one mail to the next, None for as fast as it goes.

    n_mails is None for a flood, which ends after flood_s (None: never).
    """

    mails: Sequence[Mail]
    n_mails: int | None
    n_connections: int = 1
    n_workers: int = 1
    gap_s: float | None = None
    flood_s: float | None = None
    shuffles: bool = False


class Running:
    """A load that is under way. A context manager; iterate over it for results, None when a tick passes without one."""

    def __init__(self, load: Load, senders: Senders, target: Target) -> None:
        self._load = load
        forks = multiprocessing.get_context("fork")
        self._results: Any = forks.Queue()
        self._stop: Event = forks.Event()
        self.began = time.monotonic()
        n_workers = max(1, min(load.n_workers, load.n_connections, load.n_mails or load.n_workers))
        self._processes = [
            forks.Process(target=_work, args=(load, senders, target, number, n_workers, self), daemon=True)
            for number in range(n_workers)
        ]
        self._alive = n_workers

    def __enter__(self) -> Running:
        self.began = time.monotonic()
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        ends = time.monotonic() + GOODBYE_S
        for process in self._processes:
            process.join(max(0.0, ends - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def stop(self) -> None:
        """No further mails; those under way go on to their ends."""
        self._stop.set()

    def __iter__(self) -> Iterator[Result | None]:
        while self._alive:
            try:
                result = self._results.get(timeout=TICK_S)
            except queue.Empty:
                if not any(process.is_alive() for process in self._processes) and self._results.empty():
                    return
                yield None
                continue
            if result is None:
                self._alive -= 1
            else:
                yield Result(*result)


def _work(load: Load, senders: Senders, target: Target, number: int, n_workers: int, running: Running) -> None:
    """One process: takes every n-th mail, and its part of the connections."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    n_threads = load.n_connections // n_workers + (number < load.n_connections % n_workers)
    jobs = _jobs(load, senders, number, n_workers)
    lock = threading.Lock()

    def deliver_all() -> None:
        while not running._stop.is_set():
            with lock:
                job = next(jobs, None)
            if job is None or not _is_time(load, running, job[0]):
                return
            running._results.put(tuple(deliver(target, job[1], running.began)))

    threads = [threading.Thread(target=deliver_all, daemon=True) for _ in range(max(1, n_threads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running._results.put(None)


def _is_time(load: Load, running: Running, due_s: float | None) -> bool:
    """Wait until a mail is due; False if the load ended before that."""
    if load.flood_s is not None and time.monotonic() - running.began >= load.flood_s:
        return False
    if due_s is None:
        return True
    return not running._stop.wait(max(0.0, running.began + due_s - time.monotonic()))


def _jobs(load: Load, senders: Senders, number: int, n_workers: int) -> Iterator[tuple[float | None, Mail]]:
    """(when it is due since the start, mail with its envelope) of one process."""
    order = list(load.mails)
    if load.shuffles:
        random.Random(0).shuffle(order)  # the same in every process: together they send each mail once
    numbers = itertools.count() if load.n_mails is None else range(load.n_mails)
    for n in itertools.islice(numbers, number, None, n_workers):
        mail = senders.applied(order[n % len(order)], n)
        yield (None if load.gap_s is None else n * load.gap_s), mail
