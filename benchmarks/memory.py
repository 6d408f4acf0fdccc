"""What the manager's processes weigh: proportional set sizes, idle and with hundreds of sessions open.

The sessions come from an MTA that speaks milter alone, so no Postfix is needed; each has sent one mail and stands in
the middle of the next, with a connection to each of three libmilter children. RSS counts shared pages once per process
and is given only to show that. What the kernel keeps for a process or a socket (page tables, buffers) is in none of it.
"""

from __future__ import annotations

import resource
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Callable

import psutil

from benchmarks import mails, usage
from benchmarks.mtas import MilterMta
from benchmarks.programs import LibmilterChild, build_child
from tests.support.daemon import Manager
from tests.support.processes import LabDirectory, stop_together, wait_for

CHILDREN = 3
GOAL_BYTES = 2**30
"""What the manager may weigh with 500 sessions open."""
DESCRIPTORS = 4096

Say = Callable[[str], None]


@dataclass(frozen=True)
class Weight:
    """Bytes. A worker's figure is the median over all of them, total is master and workers together."""

    master: int
    worker: float
    total: int
    total_rss: int


@dataclass(frozen=True)
class Memory:
    """The same manager before any session, with all sessions open, and after their end."""

    workers: int
    sessions: int
    idle: Weight
    opened: Weight
    after: Weight


def measure(sessions: int, say: Say) -> Memory:
    """A manager with as many workers as sessions. Raises ComponentMissing where there is no libmilter or compiler."""
    _raise_descriptor_limit()
    with LabDirectory("mmgr-bench-") as directory:
        program = build_child(directory.path)
        children = [LibmilterChild(directory.subdirectory("child"), program) for _ in range(CHILDREN)]
        try:
            for child in children:
                child.start()
            specs = {f"child{number}": child.spec for number, child in enumerate(children, 1)}
            with Manager(directory.subdirectory("manager"), specs, n_workers=sessions) as manager:
                memory = _weigh_all(manager, sessions)
        finally:
            stop_together(children)
    say(
        f"{memory.workers} workers: {memory.idle.worker / 1e6:.2f} MB per idle worker, "
        f"{memory.idle.total / 1e6:.0f} MB in total; "
        f"{memory.opened.total / 1e6:.0f} MB with {memory.sessions} sessions open, {memory.opened.worker / 1e6:.2f} MB "
        f"per worker ({memory.opened.total / GOAL_BYTES:.2f} of the goal for 500)"
    )
    return memory


def _weigh_all(manager: Manager, sessions: int) -> Memory:
    # It serves as soon as its first worker does.
    wait_for(lambda: len(manager.worker_pids()) >= sessions, f"{sessions} workers", 60.0, manager.log_tail)
    workers = len(manager.worker_pids())
    idle = weigh(manager)
    with ExitStack() as stack:
        for _ in range(sessions):
            _open_session(manager, stack)
        opened = weigh(manager)
    return Memory(workers, sessions, idle, opened, weigh(manager))


def _open_session(manager: Manager, stack: ExitStack) -> None:
    mta = MilterMta(manager.spec)
    stack.callback(mta.close)
    mta.play(mails.session_opening())
    mta.send_mail()
    mta.play(mails.envelope())


def weigh(manager: Manager) -> Weight:
    """The manager's processes as they are now."""
    pids = manager.worker_pids()
    workers = [usage.pss_bytes(pid) for pid in pids]
    master = usage.pss_bytes(manager.pid)
    rss = sum(psutil.Process(pid).memory_info().rss for pid in [manager.pid, *pids])
    return Weight(master, statistics.median(workers), master + sum(workers), rss)


def _raise_descriptor_limit() -> None:
    """Each session is a descriptor here, and three in each child's process, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
