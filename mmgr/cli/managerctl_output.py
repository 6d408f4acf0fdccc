"""What milter-managerctl prints, as lines of text: PURE, from the daemon's answers.

Answers are trusted to be from our daemon, but not to be complete: one of another version may lack a value. Whatever
text stands in them is made fit for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmgr.config.values import one_line
from mmgr.errors import ControlError

Answer = Mapping[str, Any]

_UNITS_S = ((86400, "d"), (3600, "h"), (60, "min"))
_POOL = ("busy", "idle", "starting", "draining", "reserve")


def errors_of(answer: Answer) -> list[str]:
    """Why something was not done; empty if it was. Raises ControlError for what is no answer."""
    if answer.get("is_done") is True and isinstance(answer.get("result"), dict):
        return []
    errors = answer.get("errors")
    if not isinstance(errors, list) or not errors:
        raise ControlError("this is no answer of milter-manager")
    return [str(error) for error in errors]


def printable(value: object) -> str:
    """Text from the daemon on one line, without anything that steers a terminal."""
    return one_line(str(value))


def duration(seconds: float) -> str:
    """``3 d 4 h``, ``4 min 10 s``, ``7 s``: two units at most."""
    left = int(seconds)
    parts: list[str] = []
    for size, unit in (*_UNITS_S, (1, "s")):
        number, left = divmod(left, size)
        if number or (parts and len(parts) < 2):
            parts.append(f"{number} {unit}")
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Columns under their heads; numbers to the right, the last column as long as it is."""
    texts = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *texts)]
    is_right = [bool(texts) and all(_is_number(row[index]) for row in texts) for index in range(len(heads))]
    lines = []
    for row in [list(heads), *texts]:
        cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, is_right)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(".", "", 1).isdigit()


def headline(found: Answer) -> str:
    """Which daemon this is."""
    word = "is stopping" if found.get("is_stopping") else "serves"
    sockets = ", ".join(map(printable, found.get("listeners", [])))
    version, up = printable(found.get("program_version", "?")), duration(found.get("uptime_s", 0))
    return f"milter-manager {version}, pid {found.get('pid', '?')}, {word} {sockets} for {up}"


def pool(found: Answer) -> str:
    """Who of the workers does what."""
    numbers = found.get("pool", {})
    parts = [f"{numbers[state]} {state}" for state in _POOL if numbers.get(state) or state in ("busy", "idle")]
    return f"{', '.join(parts)}; at most {numbers.get('max_workers', '?')}"


def status(found: Answer) -> list[str]:
    """The daemon as a whole, and what is wrong with it."""
    milters = [
        f"{printable(each['milter'])}{'' if each['state'] == 'enabled' else ' (' + each['state'] + ')'}"
        for each in found.get("milters", [])
    ]
    overrides = [f"{printable(name)}: {word}" for name, word in found.get("overrides", {}).items()]
    lines = [
        headline(found),
        f"workers      {pool(found)}",
        f"sessions     {found.get('sessions', '?')}",
        f"generation   {found.get('generation', '?')}{', a reload is on its way' if found.get('is_reloading') else ''}",
        f"milters      {', '.join(milters) or 'none: all mail passes'}",
    ]
    for name, breaker in found.get("breakers", {}).items():
        lines.append(f"breaker      {printable(name)}: {_breaker(breaker)}")
    if overrides:
        lines.append(f"overrides    {', '.join(overrides)} (milter-managerctl reset MILTER takes one back)")
    return [*lines, *_reload(found.get("last_reload")), *_troubles(found)]


def _breaker(breaker: Answer) -> str:
    """Of an open one: since when, and when a session tries."""
    failures = f"{breaker.get('failures', '?')} failures in a row"
    when = "one tries now" if breaker.get("is_probed") else f"one tries in {duration(breaker.get('next_probe_s', 0))}"
    return f"open for {duration(breaker.get('open_s', 0))}, {failures}; sessions do without it, {when}"


def _breaker_cell(breaker: Answer | None) -> str:
    """For a table: ``closed``, ``closed (2)`` after failures, ``open 3 min``, ``off``."""
    if not breaker:
        return "-"
    word = printable(breaker.get("state", "?"))
    if word == "open":
        return f"open {duration(breaker.get('open_s', 0))}"
    return f"{word} ({breaker['failures']})" if breaker.get("failures") else word


def _reload(last: Answer | None) -> list[str]:
    if not last:
        return []
    if last.get("is_done"):
        return ["last reload  done"]
    errors = [printable(error) for error in last.get("errors", [])]
    return ["last reload  refused:", *(f"  {error}" for error in errors)]


def _troubles(found: Answer) -> list[str]:
    """What somebody may want to look at."""
    lines = []
    if found.get("problem"):
        lines.append(f"problem      {printable(found['problem'])}")
    if found.get("is_saturated"):
        lines.append(f"overload     no worker is free and none may start; overload = {found.get('overload')}")
    if found.get("overload_sessions"):
        lines.append(f"overload     {found['overload_sessions']} sessions were answered by the reserve so far")
    if found.get("unanswered"):
        lines.append(f"unanswered   {found['unanswered']} sessions wait too long for their negotiation")
    if found.get("waiting_slots"):
        lines.append(f"restarts     {len(found['waiting_slots'])} workers wait before they are started again")
    if found.get("last_death"):
        lines.append(f"last death   {printable(found['last_death'])}")
    return lines


def workers(found: Answer) -> list[str]:
    """A line for each worker."""
    rows = [
        (
            one["worker"],
            one["pid"],
            one["state"],
            one["generation"],
            one["sessions"],
            duration(one["age_s"]),
            f"{one['memory_bytes'] / 1e6:.1f}" if one["memory_bytes"] else "-",
            one["stage"] or "-",
            duration(one["session_s"]) if one["session_s"] else "-",
            "hung" if one["is_hung"] else one["told"] or "-",
        )
        for one in found["workers"]
    ]
    heads = ("WORKER", "PID", "STATE", "GENERATION", "SESSIONS", "AGE", "MB", "STAGE", "SINCE", "ENDS")
    return table(heads, rows)


def milters(found: Answer) -> list[str]:
    """A line for each milter. What MTAs were told and what the reserve answered are no milters."""
    rows = []
    for one in found["milters"]:
        if one["state"]:
            verdicts = verdicts_of(one["stages"])
            count = sum(verdicts.values())
            seconds = sum(cell["seconds"] for stage in one["stages"].values() for cell in stage.values())
            mean = f"{1000 * seconds / count:.1f}" if count else "-"
            refused = sum(verdicts.get(name, 0) for name in ("reject", "temporary-failure", "discard", "quarantine"))
            sockets = ", ".join(one.get("connection_spec", [])) or "-"
            about = (one["milter"], one["state"], one["override"] or "-", _breaker_cell(one.get("breaker")))
            rows.append((*about, count, mean, refused, verdicts.get("failed", 0), sockets))
    heads = ("MILTER", "STATE", "OVERRIDE", "BREAKER", "ANSWERS", "MEAN_MS", "REFUSED", "FAILED", "SOCKET")
    return table(heads, rows)


def verdicts_of(stages: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, int]:
    """How often each verdict was given, over all stages."""
    found: dict[str, int] = {}
    for verdicts in stages.values():
        for verdict, cell in verdicts.items():
            found[verdict] = found.get(verdict, 0) + cell["count"]
    return found


def ordered(name: str, arguments: Mapping[str, str], result: Answer) -> list[str]:
    """What was done."""
    if name == "stop":
        return ["stopping: sessions that run may finish first"]
    where = f"generation {result.get('generation', '?')} is in force"
    return [f"reloaded: {where}" if name == "reload" else f"{name} {printable(arguments['milter'])}: {where}"]
