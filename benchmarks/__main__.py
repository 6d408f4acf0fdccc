"""``make bench``: measures everything that can be measured here, prints tables and ratios, asserts nothing.

Ends with 0 also where parts are left out because the machine can't run them, with 1 if a case broke.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import expressions, machine, memory, packets, report, sessionprofile
from benchmarks.pairs import Bench
from benchmarks.plan import ROUNDS, Plan, plan
from tests.support.daemon import CHECKOUT
from tests.support.processes import ComponentMissing

PLANS = ("quick", "default", "full")
PARTS = ("pairs", "memory", "codecs", "expressions", "profile")
DOCUMENT = CHECKOUT / "docs" / "performance.md"
PICTURES = CHECKOUT / "benchmarks" / "results"


@dataclass(frozen=True)
class Sizes:
    """How much of the parts without Postfix is done."""

    open_sessions: int
    profiled_sessions: int
    codec_rounds: int


SIZES = {"quick": Sizes(200, 100, 3), "default": Sizes(500, 300, 5), "full": Sizes(500, 300, 5)}


def say(text: str) -> None:
    """A line of progress, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line; the environment variable BENCH chooses the plan as well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    chosen = os.environ.get("BENCH") or "default"
    parser.add_argument("--plan", choices=PLANS, default=chosen, help="quick, default or full (BENCH=; %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each case (%(default)s)")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given several times")
    parser.add_argument("--output", type=Path, default=CHECKOUT / "build" / "bench", help="directory (build/bench)")
    parser.add_argument("--offline", action="store_true", help="install no other codecs to compare with")
    parser.add_argument("--publish", action="store_true", help="put the figures into docs/performance.md as well")
    given = parser.parse_args(argv)
    if given.plan not in PLANS:
        parser.error(f"BENCH={given.plan} is none of {', '.join(PLANS)}")
    return given


class _Parts:
    """The parts of a run, each of which may be left out with a reason."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._sizes = SIZES[given.plan]
        chosen: Plan = plan(given.plan)
        self.failures: list[str] = []
        self.results = report.Results(chosen, given.rounds, machine.describe(), machine.load_average())

    def run(self) -> None:
        """All that are wanted, one after another."""
        takes: dict[str, Callable[[], None]] = {
            "pairs": self._pairs,
            "memory": self._memory,
            "codecs": self._codecs,
            "expressions": self._expressions,
            "profile": self._profile,
        }
        for part in self._given.only or PARTS:
            say(f"== {part}")
            started = time.monotonic()
            try:
                takes[part]()
            except ComponentMissing as missing:
                self.results.skipped[part] = str(missing)
                say(f"left out: {missing}")
            say(f"   {time.monotonic() - started:.0f} s")

    def _pairs(self) -> None:
        machine.require(machine.why_not_postfix() or machine.why_not_libmilter())
        with Bench(say) as bench:
            self.results.runs = bench.run(self.results.plan, self._given.rounds)
            self.failures = bench.failures

    def _memory(self) -> None:
        machine.require(machine.why_not_libmilter())
        self.results.memory = memory.measure(self._sizes.open_sessions, say)

    def _codecs(self) -> None:
        self.results.speeds = packets.compare(self._sizes.codec_rounds, not self._given.offline, say)

    def _expressions(self) -> None:
        self.results.expressions = expressions.measure(self._sizes.codec_rounds, say)

    def _profile(self) -> None:
        machine.require(machine.why_not_libmilter())
        self.results.profile = sessionprofile.measure(self._sizes.profiled_sessions, say)


def main(argv: list[str]) -> int:
    """Measures, prints, writes; the exit code."""
    given = parsed(argv)
    parts = _Parts(given)
    parts.run()
    say("\n" + report.as_markdown(parts.results))
    report.write(parts.results, given.output)
    say(f"written: {given.output}/results.json, report.md and the charts")
    if given.publish:
        report.publish(parts.results, DOCUMENT, PICTURES)
        say(f"published: {DOCUMENT}")
    for failure in parts.failures:
        say(f"failed: {failure}")
    return 1 if parts.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
