"""Real Postfix, real libmilter children, and managers in front of them: each case's ways measured in turns.

One Postfix serves all cases; each way is an smtpd port of its own. A run counts only if every child saw every message
and Postfix took all of them; else its case is given up, and told of. Between runs the queue has to be empty, so that
the deliveries of one do not burden the next. All of it lives in one temporary directory and ends with ``Bench``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Callable

import psutil

from benchmarks import load, mails, usage
from benchmarks.figures import Run
from benchmarks.mtas import MilterMta
from benchmarks.plan import CHILD_KINDS, DIRECT, MANAGED_WAYS, NONE, Case, Plan, available_ways, messages_for, turns
from benchmarks.programs import LibmilterChild, build_child, build_load
from mmgr.config import spec
from tests.support.daemon import Manager
from tests.support.lab import as_postfix_writes
from tests.support.postfix import PostfixInstance
from tests.support.processes import HarnessError, LabDirectory, free_port, group_members, stop_together, wait_for

WORKERS = 64
"""More than any case has sessions, so that no session waits for a worker."""

Say = Callable[[str], None]
CaseRuns = dict[str, list[Run]]

# What keeps Postfix itself from slowing down a load that is faster than its deliveries.
POSTFIX_SETTINGS = {"default_process_limit": "200", "in_flow_delay": "0", "qmgr_message_active_limit": "100000"}


class Bench:
    """A context manager: Postfix runs inside of it. Raises ComponentMissing where something is not installed."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.directory = LabDirectory("mmgr-bench-")
        self.postfix = PostfixInstance(self.directory.path / "postfix")
        self._load_program = Path()
        self._child_program = Path()
        self._children: dict[tuple[str, int], LibmilterChild] = {}
        self._contents: dict[tuple[int, int], Path] = {}
        self._plain_port = 0
        self.failures: list[str] = []

    def __enter__(self) -> Bench:
        try:
            self._load_program = build_load(self.directory.path)
            self._child_program = build_child(self.directory.path)
            self.postfix.directory.mkdir()
            self.postfix.start()
            self.postfix.configure(**POSTFIX_SETTINGS)
            self._plain_port = self.postfix.add_port([])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.postfix.stop()
        finally:
            stop_together(self._children.values())
            self.directory.remove()

    def run(self, plan: Plan, rounds: int) -> dict[Case, CaseRuns]:
        """All cases of a plan but the ``failures``; those with the same children share their managers and ports."""
        results: dict[Case, CaseRuns] = {}
        for (kind, count), group in groupby(plan.cases(), key=lambda case: (case.kind, case.children)):
            cases = list(group)
            wanted = dict.fromkeys(way for case in cases for way in case.ways)
            with self._setting(kind, count, available_ways(wanted, known_keys())) as setting:
                for case in cases:
                    try:
                        results[case] = setting.measure(case, plan.round_s, rounds)
                        self._say(_one_line(case, results[case]))
                    except HarnessError as error:
                        self.failures.append(f"{case.title()}: {error}")
                        self._say(self.failures[-1])
        return results

    @contextmanager
    def _setting(self, kind: str, count: int, ways: Sequence[str]) -> Iterator[Setting]:
        """The children, a manager for each managed way, and a port for every way."""
        children = [self.child(kind, number) for number in range(count)]
        with ExitStack() as stack:
            managers = {way: stack.enter_context(self._manager(way, children)) for way in ways if way in MANAGED_WAYS}
            for manager in managers.values():
                warm_up(manager, has_mail=kind != "slow")
            milters = {way: [as_postfix_writes(manager.spec)] for way, manager in managers.items()}
            milters[DIRECT] = [as_postfix_writes(child.spec) for child in children]
            loaded = [way for way in ways if way != NONE]
            # A child or manager that fails must not make the figures better.
            settings = {"milter_default_action": "tempfail"}
            ports = dict(zip(loaded, self.postfix.add_ports([(milters[way], settings) for way in loaded])))
            ports[NONE] = self._plain_port
            yield Setting(self, children, managers, ports)

    def _manager(self, way: str, children: Iterable[LibmilterChild]) -> Manager:
        keys = MANAGED_WAYS[way]
        sections = {
            f"child{number}": {
                "connection_spec": child.spec,
                "fallback_status": "temporary-failure",
                **keys.child_keys,
            }
            for number, child in enumerate(children, 1)
        }
        directory = self.directory.subdirectory("manager")
        return Manager(directory, sections, n_workers=WORKERS, sections={"manager": keys.manager_keys})

    def child(self, kind: str, number: int) -> LibmilterChild:
        """The number-th child of a kind, started at the first call; it runs until the end."""
        if (kind, number) not in self._children:
            what = CHILD_KINDS[kind]
            port = free_port() if what.is_on_tcp else 0
            child = LibmilterChild(self.directory.subdirectory("child"), self._child_program, what.arguments, port)
            child.start()
            self._children[kind, number] = child
        return self._children[kind, number]

    def content(self, case: Case) -> Path:
        """A file with the mail of a case."""
        key = (case.size_bytes, case.headers)
        if key not in self._contents:
            self._contents[key] = self.directory.path / f"mail-{key[0]}-{key[1]}"
            self._contents[key].write_bytes(mails.content(*key))
        return self._contents[key]

    def send(self, case: Case, port: int, messages: int) -> load.Load:
        """The load of one run, after which the queue may still be full."""
        return load.run(self._load_program, port, case.sessions, messages, case.is_kept, self.content(case))

    def settle(self) -> None:
        """Returns when the queue is empty."""
        wait_for(lambda: not self.postfix.queued(), "end of the deliveries", 120.0, self.postfix.log_tail)

    def postfix_pids(self) -> tuple[int, list[int]]:
        """Its master's, and those of the master's children."""
        master = psutil.Process(int((self.postfix.directory / "spool" / "pid" / "master.pid").read_text()))
        return master.pid, [process.pid for process in master.children(recursive=True)]


class Setting:
    """Children and managers that run, and a port for each way: measures any number of cases with them."""

    def __init__(
        self, bench: Bench, children: list[LibmilterChild], managers: dict[str, Manager], ports: dict[str, int]
    ) -> None:
        self._bench = bench
        self._children = children
        self._managers = managers
        self._ports = ports

    def measure(self, case: Case, round_s: float, rounds: int) -> CaseRuns:
        """By way, the runs of all rounds. Two runs of each way do not count; the second says how many messages."""
        ways = [way for way in case.ways if way in self._ports]
        least = messages_for(case, 0.0, 1.0)
        if case.kind != "slow":
            self._try(case, ways, least)
        messages = messages_for(case, round_s, self._try(case, ways, least))
        runs: CaseRuns = {way: [] for way in ways}
        for number in range(rounds):
            for way in turns(ways, number):
                runs[way].append(self._one_run(case, way, messages))
        return runs

    def _try(self, case: Case, ways: Iterable[str], messages: int) -> float:
        """Milliseconds per message in a run of each way with milters, the mean of them."""
        runs = [self._one_run(case, way, messages) for way in ways if way != NONE]
        return sum(run.each_ms for run in runs) / len(runs)

    def _one_run(self, case: Case, way: str, messages: int) -> Run:
        self._bench.settle()
        seen = [child.messages_seen() for child in self._children]
        before = self._spent_s(way)
        busy = usage.machine_busy_s()
        done = self._bench.send(case, self._ports[way], messages)
        busy = usage.machine_busy_s() - busy
        after = self._spent_s(way)
        self._check(way, messages, seen)
        manager_s, children_s, postfix_s = (late - early for late, early in zip(after, before))
        foreign_s = busy - manager_s - children_s - postfix_s - done.cpu_s
        return Run(
            messages=messages,
            each_ms=done.wall_s * 1000 / messages,
            p50_ms=done.p50_ms,
            p95_ms=done.p95_ms,
            manager_cpu_ms=manager_s * 1000 / messages,
            children_cpu_ms=children_s * 1000 / messages,
            postfix_cpu_ms=postfix_s * 1000 / messages,
            load_cpu_ms=done.cpu_s * 1000 / messages,
            foreign_cores=max(foreign_s, 0.0) / done.wall_s,
        )

    def _spent_s(self, way: str) -> tuple[float, float, float]:
        """CPU time so far of the way's manager, of the children, of Postfix."""
        master, others = self._bench.postfix_pids()
        manager = self._managers.get(way)
        workers = [process.pid for process in group_members(manager.pid)] if manager else []
        return (
            usage.cpu_s(workers),
            usage.cpu_s(child.pid for child in self._children),
            usage.cpu_s([master], with_ended_children=True) + usage.cpu_s(others),
        )

    def _check(self, way: str, messages: int, seen_before: Iterable[int]) -> None:
        """Every child has to have seen every message, or, without milters, none."""
        due = 0 if way == NONE else messages
        for child, before in zip(self._children, seen_before):
            seen = child.messages_seen() - before
            if seen != due:
                log = self._managers[way].log_tail() if way in self._managers else self._bench.postfix.log_tail()
                raise HarnessError(f"{way}: {child.name} saw {seen} messages of {due}\n{log}")


def warm_up(manager: Manager, has_mail: bool) -> None:
    """Has every worker serve a session: workers live long, and the first session of each costs more than later ones.

    All sessions are open at once, so that no worker gets two. The manager serves as soon as its first worker does.
    """
    wait_for(lambda: len(manager.worker_pids()) >= manager.n_workers, "all workers", 60.0, manager.log_tail)
    with ExitStack() as stack:
        for _ in range(manager.n_workers):
            mta = MilterMta(manager.spec)
            stack.callback(mta.close)
            mta.play(mails.session_opening())
            if has_mail:
                mta.send_mail()


def known_keys() -> set[str]:
    """All keys that a configuration of this manager may have, of whatever section."""
    lines = Path(spec.__file__).with_name("spec.ini").read_text("utf-8").splitlines()
    return {line.partition("=")[0].strip() for line in lines if "=" in line and not line.startswith("#")}


def _one_line(case: Case, runs: CaseRuns) -> str:
    shown = ", ".join(f"{way} {sorted(run.each_ms for run in each)[len(each) // 2]:.2f}" for way, each in runs.items())
    return f"{case.title()}: {shown} ms per mail"
