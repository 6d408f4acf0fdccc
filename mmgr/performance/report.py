"""What a load came to, as numbers and as text. PURE. The text is that of milter manager 2, with a little more."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mmgr.performance.smtp import ERROR, REJECT, SENT, TEMPORARY_FAILURE, Result

SLOWEST = 10
LISTED_MAX = 1000
BAR_WIDTH = 30
STATISTICS_HEAD = "wall clock time,response time,message size"
_COLUMNS = {"Time": 8, "Sent": 8, "mails/s": 8, "Max(s)": 8, "Min(s)": 8, "Avg(s)": 8, "4XX": 5, "5XX": 5, "Error": 5}
TABLE_HEAD = " ".join(f"{name:>{width}}" for name, width in _COLUMNS.items())

_FAILURES = {TEMPORARY_FAILURE: "Temporary failures", REJECT: "Rejects", ERROR: "Errors"}


@dataclass
class Tally:
    """All results so far; slowest are (seconds, name)."""

    times: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    failures: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """One more mail."""
        self.times.append(result.elapsed_s)
        self.outcomes[result.outcome] += 1
        keep = heapq.heappush if len(self.slowest) < SLOWEST else heapq.heappushpop
        keep(self.slowest, (result.elapsed_s, result.name))
        if result.outcome != SENT:
            listed = self.failures.setdefault(result.outcome, [])
            if len(listed) < LISTED_MAX:
                listed.append((result.name, result.text))

    @property
    def n_mails(self) -> int:
        """How many mails were tried."""
        return len(self.times)


def summary(tally: Tally, elapsed_s: float, has_files: bool, has_responses: bool) -> str:
    """The report at the end."""
    parts: list[str] = []
    if has_files and tally.times:
        parts += ["".join(f"{seconds:5.2f} (sec): {name}\n" for seconds, name in sorted(tally.slowest, reverse=True))]
        parts += [_names("Rejected mails:", tally, REJECT), _names("Temporary failed mails:", tally, TEMPORARY_FAILURE)]
    if has_responses:
        parts += list(_responses(tally))
    parts += [_total(tally, elapsed_s), _per_mail(tally), _status(tally)]
    return "\n".join(part for part in parts if part)


def _names(title: str, tally: Tally, outcome: str) -> str:
    return (
        "".join([f"{title}\n", *(f"  {name}\n" for name, _ in tally.failures[outcome])])
        if outcome in tally.failures
        else ""
    )


def _responses(tally: Tally) -> Iterator[str]:
    for outcome, title in _FAILURES.items():
        texts = [text for _, text in tally.failures.get(outcome, ())]
        if texts:
            yield "".join([f"{title}:\n", *(f"{number:5}: {text}\n" for number, text in enumerate(texts, 1))])


def _total(tally: Tally, elapsed_s: float) -> str:
    throughput = tally.n_mails / elapsed_s if elapsed_s > 0 else 0.0
    return (
        "Total:\n"
        f"{'N mails':>13}: {tally.n_mails:6}\n"
        f"{'Elapsed time':>13}: {elapsed_s:6.2f} (sec)\n"
        f"{'Throughput':>13}: {throughput:6.2f} (mails/sec)\n"
    )


def _per_mail(tally: Tally) -> str:
    times = sorted(tally.times) or [0.0]
    rows = {
        "Max": times[-1],
        "Min": times[0],
        "Average": sum(times) / len(times),
        "Median": times[len(times) // 2],
        "95 percent": times[min(len(times) - 1, len(times) * 95 // 100)],
    }
    return "Per mail:\n" + "".join(f"{name:>13}: {seconds:6.3f} (sec)\n" for name, seconds in rows.items())


def _status(tally: Tally) -> str:
    names = {"Temporary failure": TEMPORARY_FAILURE, "Reject": REJECT, "Error": ERROR}
    counts = {name: tally.outcomes[outcome] for name, outcome in names.items()}
    whole = max(1, tally.n_mails)
    rows = (f"{name:>18}: {count:3} ({100 * count / whole:6.2f}%)\n" for name, count in counts.items())
    return "Status:\n" + "".join(rows)


def table_row(clock: str, results: list[Result], n_sent: int, interval_s: float) -> str:
    """One row of the periodic table: what came in the interval that ended at clock; n_sent is since the start."""
    times = [result.elapsed_s for result in results]
    outcomes = Counter(result.outcome for result in results)
    most, least = (max(times), min(times)) if times else (0.0, 0.0)
    average = sum(times) / len(times) if times else 0.0
    counts = f"{outcomes[TEMPORARY_FAILURE]:>5} {outcomes[REJECT]:>5} {outcomes[ERROR]:>5}"
    rate = len(times) / interval_s
    return f"{clock:>8} {n_sent:>8} {rate:>8.2f} {most:>8.3f} {least:>8.3f} {average:>8.3f} {counts}"


def bar(n_done: int, n_all: int | None, elapsed_s: float, part: float | None = None) -> str:
    """The progress bar; n_all is None where only time decides, and part then how much of it has gone."""
    rate = n_done / elapsed_s if elapsed_s > 0 else 0.0
    share = n_done / n_all if n_all else part
    drawn = (
        "" if share is None else f"[{'#' * int(BAR_WIDTH * min(share, 1)):<{BAR_WIDTH}}] {100 * min(share, 1):3.0f}% "
    )
    left = f", {(n_all - n_done) / rate:.0f} s left" if n_all and rate else ""
    return f"{drawn}{n_done}{f'/{n_all}' if n_all else ''} mails, {rate:.1f}/s{left}"
