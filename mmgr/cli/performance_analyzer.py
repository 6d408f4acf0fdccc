"""milter-performance-analyzer: a picture of what milter-performance-check measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from mmgr import __version__
from mmgr.cli.writing import Writer
from mmgr.performance.picture import picture, read

PROGRAM = "milter-performance-analyzer"
EXIT_NOTHING = 1
EXIT_USAGE = 2

_EPILOG = """\
Input is the table of milter-performance-check --report-periodically, or what --report-statistics-data wrote. The
picture is SVG, which browsers show. Exit codes: 0 drawn, 1 nothing to draw in the input, 2 usage, or a file that can't
be read or written.
"""


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [OPTION...] [FILE...]",
        description="Draws response times and throughput over time, from what milter-performance-check measured.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("files", nargs="*", metavar="FILE", help="what was measured; - or none for standard input")
    parser.add_argument("--output", metavar="PATH", help="where the picture goes (standard output)")
    parser.add_argument("--title", default="milter-performance-check", metavar="TEXT", help="what stands above it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    try:
        measured = read(_lines(given.files or ["-"]))
        if not measured.rows and not measured.mails:
            print(f"{PROGRAM}: there is no row of a table in the input", file=sys.stderr)
            return EXIT_NOTHING
        text = picture(measured, given.title)
        if given.output:
            with open(given.output, "w", encoding="utf-8") as file:
                file.write(text)
        else:
            Writer().write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{PROGRAM}: {where}{error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def _lines(paths: list[str]) -> Iterator[str]:
    for path in paths:
        if path == "-":
            yield from (raw.decode("latin-1") for raw in sys.stdin.buffer)
            continue
        with open(path, encoding="latin-1") as file:
            yield from file


if __name__ == "__main__":
    sys.exit(main())
