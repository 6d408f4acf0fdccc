"""milter-manager-import: a configuration of milter manager 2, which is Ruby, in; one of this program out.

What has no equal here is listed on standard error with file and line, and stands in the output as a comment. Exit
codes: 0 all is translated, 1 something is not, or a file can't be read or written, 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence

from mmgr import __version__
from mmgr.cli.writing import Writer
from mmgr.config.files import MAX_FILE_BYTES as LARGEST_BYTES
from mmgr.config.values import one_line
from mmgr.errors import MmgrError
from mmgr.legacy import rendering, translation
from mmgr.legacy.draft import Draft
from mmgr.legacy.following import FileFault
from mmgr.legacy.gathering import MAX_FILE_BYTES, Disk, decoded

PROGRAM = "milter-manager-import"
DEFAULT_SOURCE = "/etc/milter-manager"
STANDARD_INPUT = "-"

EXIT_LEFT = 1
EXIT_INTERRUPTED = 130

_EPILOG = """SOURCE is the configuration directory of milter manager 2, one of its files, the output of its
--show-config, or - for standard input. Exit codes: 0 all is translated; 1 something is not, or a file can't be
read or written; 2 usage."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    given = _parser().parse_args(arguments)
    writer = Writer()
    try:
        return _run(given, writer)
    except FileFault as fault:
        where = f"{fault.path}:{fault.line}" if fault.line else fault.path
        writer.complain(f"{PROGRAM}: {where}: {fault.problem}")
    except MmgrError as error:
        writer.complain(f"{PROGRAM}: {error}")
    except OSError as error:
        writer.complain(f"{PROGRAM}: {one_line(str(error.filename or 'standard input'))}: {error.strerror}")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_LEFT


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Translate a configuration of milter manager 2 into one of this program.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    made.add_argument(
        "source", metavar="SOURCE", nargs="?", default=DEFAULT_SOURCE, help=f"what to translate ({DEFAULT_SOURCE})"
    )
    made.add_argument("-o", "--output", metavar="FILE", help="write there instead of to standard output")
    made.add_argument("-f", "--force", action="store_true", help="overwrite FILE if it is there")
    made.add_argument("-q", "--quiet", action="store_true", help="no remarks, only what is not translated")
    return made


def _run(given: argparse.Namespace, writer: Writer) -> int:
    """Translate, write, report."""
    if given.output:
        check_output(given.output, given.source, given.force)
    draft = translated(given.source)
    name = "standard input" if given.source == STANDARD_INPUT else given.source
    text = rendering.text(draft, name).encode("utf-8", "backslashreplace")
    if not given.output:
        writer.write(text)
    elif draft.left and not draft.has_entries and os.path.lexists(given.output):
        writer.complain(f"{PROGRAM}: {one_line(given.output)} stays as it is, as nothing could be translated")
    else:
        write_file(given.output, text, given.force)
    if len(text) > LARGEST_BYTES:
        writer.complain(f"{PROGRAM}: the output has {len(text)} bytes; a file that is read has at most {LARGEST_BYTES}")
    return _report(draft, given.quiet, writer) or (EXIT_LEFT if len(text) > LARGEST_BYTES else 0)


def _report(draft: Draft, is_quiet: bool, writer: Writer) -> int:
    """List the findings; the exit code that they ask for."""
    for finding in draft.findings:
        if finding.is_left:
            writer.complain(str(finding))
        elif not is_quiet:
            writer.complain(f"note: {finding}")
    left = len(draft.left)
    if left:
        writer.complain(f"{PROGRAM}: {left} {'statement' if left == 1 else 'statements'} not translated")
    return EXIT_LEFT if left else 0


def check_output(path: str, source: str, is_forced: bool) -> None:
    """Raise FileFault where writing would replace a file that is read, or one that is there without is_forced."""
    if not os.path.lexists(path):
        return
    if source != STANDARD_INPUT and _is_inside(path, source):
        problem = "is part of SOURCE and stays; write elsewhere, then move this file away and the new one here"
        raise FileFault(one_line(path), 0, problem)
    if not is_forced:
        raise FileFault(one_line(path), 0, "is there already (--force overwrites it)")


def _is_inside(path: str, source: str) -> bool:
    """Whether a file is the source, or somewhere below it; links are followed, and count themselves too."""
    names = {os.path.realpath(path), os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))}
    top = os.path.realpath(source)
    return any(name == top or os.path.commonpath([name, top]) == top for name in names)


def translated(source: str) -> Draft:
    """The draft of a directory, a file or standard input. Raises FileFault."""
    if source == STANDARD_INPUT:
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if sys.stdin is not None else b""
        return translation.of_text(Disk(""), "standard input", decoded("standard input", data))
    if os.path.isdir(source):
        return translation.of_directory(Disk(source))
    disk = Disk(os.path.dirname(os.path.abspath(source)))
    return translation.of_text(disk, source, disk.text(source))


def write_file(path: str, data: bytes, is_forced: bool) -> None:
    """Write a file as a whole or not at all; one that is there stays unless is_forced. Raises FileFault."""
    directory = os.path.dirname(path) or "."
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".milter-manager-import-", dir=directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        (os.replace if is_forced else os.link)(temporary, path)
    except FileExistsError as error:
        raise FileFault(one_line(path), 0, "is there already (--force overwrites it)") from error
    except OSError as error:
        raise FileFault(one_line(path), 0, f"can't be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _umask() -> int:
    """The process's own; it can be asked for by setting it only."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


if __name__ == "__main__":
    sys.exit(main())
