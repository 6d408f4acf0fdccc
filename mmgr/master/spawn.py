"""Birth and death of processes: fork with signals held back, and what a dead one died of."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)
"""The signals that mean something to the master."""

EXIT_FAULT = 70
"""EX_SOFTWARE of sysexits.h: the child ended by an exception."""


def fork(life: Callable[[], None]) -> int:
    """Fork a child that lives life() and then ends; the child's pid. Returns in the parent alone.

    The child starts with all signals blocked, no wake-up descriptor and default handlers, so that none can be taken for
    one of the parent's; life() unblocks them when it is ready for them.
    """
    gc.freeze()
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _live(life)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork_each(lives: Sequence[Callable[[], None]]) -> tuple[list[int], OSError | None]:
    """Fork a child for each life, one right behind the other; their pids, and what kept the rest from being forked.

    What the parent writes to between two forks, each child has a copy of its own of for ever: hence so little is done
    here. For the same reason the children keep the parent's way of taking signals (``mmgr.wakeup``); these are blocked,
    and a life that listens for them needs a ``WakeUp`` of its own before it unblocks them.
    """
    gc.freeze()
    pids: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        for life in lives:
            pid = os.fork()
            if pid == 0:
                _end_after(life)
            pids.append(pid)
    except OSError as error:
        return pids, error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pids, None


def _live(life: Callable[[], None]) -> None:
    """The child's whole life; never returns."""

    def begin() -> None:
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        life()

    _end_after(begin)


def _end_after(life: Callable[[], None]) -> None:
    """End the process when life() does, however that ends; never returns."""
    code = EXIT_FAULT
    try:
        life()
        code = 0
    except BaseException:
        log.exception("process-fault pid=%d", os.getpid())
    finally:
        logging.shutdown()
        os._exit(code)


def reap() -> list[tuple[int, int]]:
    """All children that ended since the last call, as (pid, wait status). Does not block."""
    dead: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead.append((pid, status))


def cause_of_death(status: int) -> str:
    """``exit 0``, ``signal SIGKILL``: for the log."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {signal.Signals(number).name}"
        except ValueError:
            return f"signal {number}"
    return f"exit {os.WEXITSTATUS(status)}"


def send_signal(pid: int, number: int) -> None:
    """Signal one of our own processes; one that is gone already is reaped in the next round."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
