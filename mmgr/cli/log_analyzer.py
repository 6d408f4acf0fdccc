"""milter-manager-log-analyzer: mail logs in; RRD databases, graphs and a page of what milter manager did out."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from mmgr import __version__
from mmgr.analyzer.faults import AlreadyRunning, AnalyzerError, LogUnreadable, OutputUnwritable, RrdtoolMissing
from mmgr.analyzer.run import Summary, Wishes, analyze
from mmgr.analyzer.sources import STANDARD_INPUT
from mmgr.cli.writing import Writer

PROGRAM = "milter-manager-log-analyzer"

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_OF_FAULT: dict[type[AnalyzerError], int] = {
    LogUnreadable: 66,
    RrdtoolMissing: 69,
    OutputUnwritable: 74,
    AlreadyRunning: 75,
}

_EPILOG = """\
logs: what syslog writes (maillog), our own log files, and the output of journalctl -o json --all -t milter-manager;
files may be compressed by gzip, bzip2 or xz. A file is read from where the last run stopped, also after it was rotated.

exit codes: 0 done; 1 rrdtool failed; 2 usage; 66 a log can't be read; 69 there is no rrdtool; 74 the output can't be
written (the databases are whole, and the next run goes on); 75 another run is at work there; 130 interrupted.
"""


def make_parser() -> argparse.ArgumentParser:
    """The incumbent's options with their names, and a few more."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Reads mail logs and makes RRD databases, graphs and a page of what milter manager did.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    add("--log", action="append", metavar="FILE", help="a log, - for standard input (the default); repeatable")
    add("--output-directory", default=".", metavar="DIR", help="where everything is put; made if missing (.)")
    add("--update-db", action="store_true", default=True, help="read logs into the databases (the default)")
    add("--no-update-db", dest="update_db", action="store_false", help="draw graphs from the databases as they are")
    add("--no-graphs", dest="draws", action="store_false", help="update the databases alone: no graphs, no page")
    add(
        "--statistics",
        action="store_true",
        help="count the [statistics] lines of milter manager 2 instead of our own",
    )
    add("-v", "--verbose", action="store_true", help="say what was read")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    paths = given.log or [STANDARD_INPUT]
    if given.update_db and STANDARD_INPUT in paths and _is_terminal():
        parser.error("standard input is a terminal: name a log with --log FILE")
    try:
        wishes = Wishes(given.update_db, given.draws, given.statistics)
        summary = analyze(paths, Path(given.output_directory), time.time(), wishes)
    except AnalyzerError as error:
        _complain(str(error))
        return EXIT_OF_FAULT.get(type(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    for warning in summary.warnings:
        _complain(warning)
    if given.verbose:
        _tell(summary)
    return 0


def _is_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False


def _complain(text: str) -> None:
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    print(f"{PROGRAM}: {shown.encode('utf-8', 'backslashreplace').decode('utf-8')}", file=sys.stderr)


def _tell(summary: Summary) -> None:
    said = {
        "lines read": summary.n_lines,
        "counted": summary.n_counted,
        "damaged (cut, or mixed with others)": summary.n_damaged,
        "with a time that can't be, or from too long ago": summary.n_implausible,
        "counts that came too late for their minute": summary.n_late,
        "milters left out, as there are too many or their names are too long": summary.n_left_out,
        "graphs": summary.n_graphs,
    }
    Writer().write("".join(f"{what}: {number}\n" for what, number in said.items()).encode())


if __name__ == "__main__":
    sys.exit(main())
