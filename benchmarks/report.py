"""The figures as JSON, as Markdown tables and as charts. PURE but for ``write`` and ``publish``.

All ratios are managed / direct, taken within each round: below 1 means that mail is faster with the manager.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from benchmarks.expressions import Evaluation
from benchmarks.figures import Runs, Spread, mean, ratio, spread
from benchmarks.memory import Memory, Weight
from benchmarks.packets import OURS, Speed
from benchmarks.plan import DIRECT, MANAGED, MANAGED_WAYS, NONE, Case, Plan, Section
from benchmarks.plots import Chart, Line, svg
from benchmarks.sessionprofile import SessionProfile

BEGIN = "<!-- figures: begin (written by `make bench-docs`) -->"
END = "<!-- figures: end -->"
QUIET_CORES = 0.25
"""With more than this used by other programs, in the median over all runs, figures are not to be relied on."""
NOT_QUIET = "**The machine was not quiet: these figures are preliminary.** Ratios rise with what others use; see above."
CHARTED: Mapping[str, tuple[str, Callable[[Case], str]]] = {
    "Number of children": ("children", lambda case: str(case.children)),
    "Open sessions": ("open sessions", lambda case: str(case.sessions)),
    "Kept connections": ("open sessions, kept connections", lambda case: str(case.sessions)),
    "Size of the message": ("size", lambda case: case.shown_size()),
    "Number of headers": ("headers", lambda case: str(case.headers)),
}


@dataclass
class Results:
    """Everything that one run found out. skipped gives the reason for each part that was left out."""

    plan: Plan
    rounds: int
    machine: Mapping[str, str]
    load_average: float
    runs: Mapping[Case, Runs] = field(default_factory=dict)
    memory: Memory | None = None
    speeds: Sequence[Speed] = ()
    expressions: Sequence[Evaluation] = ()
    profile: SessionProfile | None = None
    skipped: dict[str, str] = field(default_factory=dict)


# ---- JSON


def as_json(results: Results) -> dict[str, Any]:
    """All runs of all rounds as they are, for whoever wants to compute something else."""
    return {
        "plan": results.plan.name,
        "rounds": results.rounds,
        "machine": dict(results.machine),
        "load_average_at_start": results.load_average,
        "cases": [
            {
                **dataclasses.asdict(case),
                "ratios": {way: dataclasses.asdict(ratio(runs, way, DIRECT)) for way in managed_ways(runs)},
                "runs": {way: [dataclasses.asdict(run) for run in of_way] for way, of_way in runs.items()},
            }
            for case, runs in results.runs.items()
        ],
        "memory": dataclasses.asdict(results.memory) if results.memory else None,
        "codecs": [speed._asdict() for speed in results.speeds],
        "expressions": [each._asdict() for each in results.expressions],
        "profile": dataclasses.asdict(results.profile) if results.profile else None,
        "skipped": results.skipped,
    }


def managed_ways(runs: Runs) -> list[str]:
    """The ways of a case that went through a manager."""
    return [way for way in runs if way in MANAGED_WAYS]


# ---- Markdown


def as_markdown(results: Results, charts: str = ".") -> str:
    """The whole report; charts is the directory of the pictures, seen from the report."""
    parts = [_about(results)]
    for section in results.plan.sections:
        measured = [case for case in section.cases if case in results.runs]
        if measured:
            parts.append(_section(section, measured, results, charts))
    parts += [_memory(results.memory)] if results.memory else []
    parts += [_codecs(results.speeds)] if results.speeds else []
    parts += [_expressions(results.expressions)] if results.expressions else []
    parts += [_profile(results.profile)] if results.profile else []
    if results.skipped:
        parts.append("### Left out\n\n" + "\n".join(f"- {part}: {why}" for part, why in results.skipped.items()))
    return "\n\n".join(parts) + "\n"


def _about(results: Results) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    lines = [
        f"Machine: {machine}.",
        f"Plan: {results.plan.name}; medians of {results.rounds} rounds, (lowest-highest).",
    ]
    foreign = [run.foreign_cores for runs in results.runs.values() for of_way in runs.values() for run in of_way]
    if foreign:
        used = Spread.of(foreign)
        lines.append(
            f"Other programs used {used.median:.2f} cores meanwhile (median over all runs; at most {used.high:.2f}); "
            f"the load average was {results.load_average:.1f} at the start."
        )
        if used.median > QUIET_CORES:
            lines.append(NOT_QUIET)
    return "\n".join(lines)


def _section(section: Section, cases: Sequence[Case], results: Results, charts: str) -> str:
    parts = [f"### {section.title}"]
    if section.title in CHARTED:
        parts.append(f"![{section.title}]({charts}/{chart_name(section.title)})")
    parts.append(table(cases, results.runs))
    missing = {way for case in cases for way in case.ways if way not in results.runs[case]}
    parts += [f"{way}: not available, the configuration does not know its keys." for way in sorted(missing)]
    return "\n\n".join(parts)


def table(cases: Iterable[Case], all_runs: Mapping[Case, Runs]) -> str:
    """One row per case and managed way."""
    head = (
        "| children | sessions | size | headers | way | no milter | direct | managed | **ratio** "
        "| p95 direct, managed | manager CPU | children CPU direct, managed | total CPU direct, managed |"
    )
    rows = [head, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    rows += [_row(case, all_runs[case], way) for case in cases for way in managed_ways(all_runs[case])]
    return "\n".join(rows)


def _row(case: Case, runs: Runs, way: str) -> str:
    children = str(case.children) if case.kind == "plain" else f"{case.children} {case.kind}"
    cells = [
        children,
        f"{case.sessions} {case.connections}",
        case.shown_size(),
        str(case.headers),
        way,
        number(spread(runs[NONE], "each_ms").median) if NONE in runs else "",
        with_range(spread(runs[DIRECT], "each_ms")),
        with_range(spread(runs[way], "each_ms")),
        f"**{ratio(runs, way, DIRECT).median:.2f}** {_range(ratio(runs, way, DIRECT))}",
        _both(runs, way, "p95_ms"),
        number(mean(runs[way], "manager_cpu_ms")),
        _means(runs, way, "children_cpu_ms"),
        _means(runs, way, "total_cpu_ms"),
    ]
    return "| " + " | ".join(cells) + " |"


def _both(runs: Runs, way: str, name: str) -> str:
    return ", ".join(number(spread(runs[each], name).median) for each in (DIRECT, way))


def _means(runs: Runs, way: str, name: str) -> str:
    return ", ".join(number(mean(runs[each], name)) for each in (DIRECT, way))


def number(value: float) -> str:
    """Three significant digits or so."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def with_range(values: Spread) -> str:
    """``2.55 (2.41-2.90)``."""
    return f"{number(values.median)} ({number(values.low)}-{number(values.high)})"


def _range(values: Spread) -> str:
    return f"({values.low:.2f}-{values.high:.2f})"


def _memory(memory: Memory) -> str:
    about = (
        f"{memory.workers} workers, {memory.sessions} sessions. Proportional set sizes in MB; the sum of the resident "
        "set sizes, which counts shared pages once per process, stands beside them."
    )
    rows = [
        "### Memory",
        "",
        about,
        "",
        "| | a worker (median) | master | total | total resident |",
        "| --- | --- | --- | --- | --- |",
    ]
    named = {"idle, before any session": memory.idle, "all sessions open": memory.opened, "idle again": memory.after}
    return "\n".join([*rows, *(_weight(name, weight) for name, weight in named.items())])


def _weight(name: str, weight: Weight) -> str:
    total, rss = weight.total / 1e6, weight.total_rss / 1e6
    return f"| {name} | {weight.worker / 1e6:.2f} | {weight.master / 1e6:.1f} | {total:.0f} | {rss:.0f} |"


def _codecs(speeds: Sequence[Speed]) -> str:
    rows = [
        "### Codecs",
        "",
        "Packets per second, one core: one session of 10 KB and 20 headers decoded from one read.",
        "",
        "| codec | packets per second | beside ours | what is timed |",
        "| --- | --- | --- | --- |",
    ]
    ours = next((Spread.of(speed.packets_per_s).median for speed in speeds if _is_base(speed)), None)
    for speed in speeds:
        if speed.reason:
            rows.append(f"| {speed.name} | not measured | | {speed.reason} |")
        else:
            each = Spread.of(speed.packets_per_s)
            shown = f"{each.median:,.0f} ({each.low:,.0f}-{each.high:,.0f})"
            beside = f"{each.median / ours:.2f}" if ours else ""
            rows.append(f"| {speed.name} | {shown} | {beside} | {speed.note} |")
    return "\n".join(rows)


def _is_base(speed: Speed) -> bool:
    return speed.name == OURS and bool(speed.packets_per_s)


def _expressions(evaluations: Sequence[Evaluation]) -> str:
    rows = [
        "### Conditions written as expressions",
        "",
        "Microseconds to judge a stage, one core: where the milter takes part, and where it is stopped and told why.",
        "",
        "| expression | takes part | is stopped |",
        "| --- | --- | --- |",
    ]
    rows += [
        f"| {each.name} | {with_range(Spread.of(each.passing_us))} | {with_range(Spread.of(each.stopped_us))} |"
        for each in evaluations
    ]
    return "\n".join(rows)


def _profile(profile: SessionProfile) -> str:
    rooms = "\n".join(f"| {room} | {share:.1f} % |" for room, share in profile.rooms.items())
    lines = "\n".join(
        f"| `{line.name}` | {line.calls_per_mail:.1f} | {line.own_us:.0f} | {line.total_us:.0f} |"
        for line in profile.lines
    )
    return (
        "### Where a worker's time goes\n\n"
        f"One worker, three children, 10 KB, 20 headers, {profile.mails} sessions of one mail each, no Postfix: "
        f"{profile.cpu_ms_per_mail:.2f} ms of CPU and {profile.wall_ms_per_mail:.2f} ms per mail without a profiler. "
        "With cProfile, which makes Python's part look larger, waiting for the MTA's next connection left out:\n\n"
        f"| room | share |\n| --- | --- |\n{rooms}\n\n"
        f"| function | calls per mail | own µs per mail | with callees |\n| --- | --- | --- | --- |\n{lines}"
    )


# ---- charts


def chart_name(title: str) -> str:
    """The file of a section's picture."""
    return title.lower().replace(" ", "-") + ".svg"


def chart_texts(results: Results) -> dict[str, str]:
    """File name to SVG, for each section that is one dimension and was measured."""
    texts = {}
    for section in results.plan.sections:
        cases = [case for case in section.cases if case in results.runs]
        if section.title in CHARTED and len(cases) > 1:
            texts[chart_name(section.title)] = svg(_chart(section.title, cases, results.runs))
    return texts


def _chart(title: str, cases: Sequence[Case], all_runs: Mapping[Case, Runs]) -> Chart:
    x_label, label = CHARTED[title]
    ways = [way for way in (NONE, DIRECT, MANAGED) if all(way in all_runs[case] for case in cases)]
    shown = {NONE: "no milter"}
    lines = [Line(shown.get(way, way), [spread(all_runs[case][way], "each_ms") for case in cases]) for way in ways]
    return Chart(title, x_label, "ms per mail", [label(case) for case in cases], lines)


# ---- files


def write(results: Results, directory: Path) -> None:
    """results.json, report.md and the pictures, into a directory that is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps(as_json(results), indent=1) + "\n", "utf-8")
    (directory / "report.md").write_text("# Figures\n\n" + as_markdown(results), "utf-8")
    for name, text in chart_texts(results).items():
        (directory / name).write_text(text, "utf-8")


def publish(results: Results, document: Path, pictures: Path) -> None:
    """Replaces the figures between the two marks of a document, and the pictures it shows."""
    pictures.mkdir(parents=True, exist_ok=True)
    for name, text in chart_texts(results).items():
        (pictures / name).write_text(text, "utf-8")
    seen_from_there = f"../{pictures.parent.name}/{pictures.name}"
    figures = as_markdown(results, seen_from_there)
    document.write_text(replaced(document.read_text("utf-8"), figures), "utf-8")


def replaced(text: str, figures: str) -> str:
    """text with other figures between its marks. Raises ValueError if it has none."""
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError("the document has no marks to put the figures between")
    return f"{before}{BEGIN}\n\n{figures}\n{END}{after}"
