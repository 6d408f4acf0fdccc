"""``milter-managerctl doctor``: what it is given, and its findings as lines of text or as JSON.

Exit codes: 0 fine, 1 warnings, 4 errors; 2 stays usage and 3 stays that no daemon answers, which the doctor never says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import groupby

from mmgr.cli import values
from mmgr.cli.options import DEFAULT_DIRECTORY, configuration_directory
from mmgr.cli.writing import Writer
from mmgr.config.values import one_line
from mmgr.doctor.findings import ERROR, NOTE, OK, WARNING, Finding, worst

COMMAND = "doctor"
MEANING = "look at every milter, our own socket and Postfix, and say what to type where something is wrong"
DESCRIPTION = """Look at the sockets of all milters, who may connect to them, who answers there, what SELinux says, and
whether Postfix asks us and waits long enough. Nothing is changed, and no daemon has to run. Run it as root: others do
not see everything."""
EPILOG = "exit codes: 0 fine, notes included; 1 warnings; 2 usage; 4 errors."

EXIT_CODES = {OK: 0, NOTE: 0, WARNING: 1, ERROR: 4}
MARKS = {OK: "OK", NOTE: "--", WARNING: "WARN", ERROR: "ERR"}
_COLOURS = {OK: "32", NOTE: "2", WARNING: "33", ERROR: "31"}
_MARK_WIDTH = 4
_TIMEOUT_S = 5.0


def add_options(to: argparse.ArgumentParser) -> None:
    """The options of the sub-command."""
    to.add_argument("--root", metavar="DIRECTORY", help="look at the tree below it, by its files alone")
    to.add_argument("--user", metavar="NAME", default="", help="the daemon's user (the configured one)")
    to.add_argument(
        "--postfix-dir",
        metavar="DIRECTORY",
        default="/etc/postfix",
        help="where main.cf is, as for postconf -c; below --root if that is given (/etc/postfix)",
    )
    to.add_argument("--no-probe", dest="is_probing", action="store_false", help="connect to nobody")
    to.add_argument(
        "--timeout",
        type=values.seconds,
        default=_TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long each peer may take to answer ({_TIMEOUT_S:g})",
    )


def run(given: argparse.Namespace, writer: Writer) -> int:
    """Examine, print, and return the exit code."""
    from mmgr.doctor.examination import Request, examine  # most of a start, which no other sub-command needs

    if given.root is not None and not os.path.isdir(given.root):
        writer.complain(f"milter-managerctl: --root {one_line(given.root)} is not a directory")
        return 2
    root = os.path.abspath(given.root).rstrip("/") if given.root else ""
    request = Request(
        directory=_directory(given, root),
        root=root,
        user=given.user,
        is_probing=given.is_probing,
        timeout_s=given.timeout,
        postfix_directory=_postfix_directory(given.postfix_dir, root),
    )
    findings = examine(request)
    if given.is_json:
        writer.write(json.dumps(as_object(findings)).encode("ascii") + b"\n")
    else:
        lines = text(findings, is_coloured())
        writer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    return EXIT_CODES[worst(findings)]


def _directory(given: argparse.Namespace, root: str) -> str | None:
    """Where the configuration is: as asked, else in the usual place, which of another tree is below its root."""
    if not root or given.config_dir:
        return configuration_directory(given)
    inside = root + DEFAULT_DIRECTORY
    return inside if os.path.isdir(inside) else None


def _postfix_directory(given: str, root: str) -> str:
    """As an absolute path: one that is not counts from here, in another tree from its root."""
    return os.path.normpath(f"/{given}") if root else os.path.abspath(given)


def is_coloured() -> bool:
    """On a terminal, unless NO_COLOR (no-color.org) is set to anything or the terminal is a dumb one."""
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and sys.stdout is not None and sys.stdout.isatty()


def text(findings: Sequence[Finding], has_colour: bool = False) -> list[str]:
    """Lines: each subject, below it a mark and what was found, below that what to type; at the end how many of what."""
    lines = []
    for subject, group in groupby(findings, key=lambda finding: finding.subject):
        lines.append(one_line(subject))
        for finding in group:
            lines.append(f"  {_mark(finding.level, has_colour)}  {one_line(finding.text)}")
            indent = " " * (_MARK_WIDTH + 8)
            lines += [indent + one_line(line) for line in finding.hint.split("\n") if line]
    return [*lines, "", _summary(findings)]


def _mark(level: str, has_colour: bool) -> str:
    mark = MARKS[level].ljust(_MARK_WIDTH)
    return f"\x1b[{_COLOURS[level]}m{mark}\x1b[0m" if has_colour else mark


def _summary(findings: Sequence[Finding]) -> str:
    counts = [(sum(finding.level == level for finding in findings), level) for level in (ERROR, WARNING)]
    parts = [f"{count} {level}{'' if count == 1 else 's'}" for count, level in counts if count]
    return ", ".join(parts) or "nothing is wrong"


def as_object(findings: Sequence[Finding]) -> dict[str, object]:
    """For ``--json``."""
    rows = [{"subject": one.subject, "level": one.level, "text": one.text, "hint": one.hint} for one in findings]
    return {"worst": worst(findings), "findings": rows}
