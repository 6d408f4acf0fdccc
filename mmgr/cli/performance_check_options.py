"""The options of milter-performance-check, with the incumbent's names."""

from __future__ import annotations

import argparse
import re
from functools import partial

from mmgr import __version__
from mmgr.cli import values

PROGRAM = "milter-performance-check"

EXIT_CODES = """\
times are numbers with s, m or h behind them, seconds without: 30, 1.5s, 5m, 1h.

exit codes:
   0  every mail was accepted
   1  a mail met with an error: no connection, a timeout, an answer that nobody expects
   2  usage: wrong options, or a mail file that can't be read
  10  a mail was rejected
  11  a mail met with a temporary failure
 130  interrupted from the keyboard; the report is printed
The worst that occurred counts: 0, 10, 11, 1 from good to bad.
"""
_UNITS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60}
_UNITS.update({"h": 3600, "hour": 3600, "hours": 3600, "": 1})
MECHANISMS = {"auto": None, "plain": "PLAIN", "login": "LOGIN", "cram_md5": "CRAM-MD5", "cram-md5": "CRAM-MD5"}
ENDLESS = float("inf")
STANDS_FOR = {"--flood": "--flood=endless", "--report-periodically": "--report-periodically=1s"}
"""Options whose value may be left out take it behind ``=`` alone, so that a mail file may follow."""


def period(text: str) -> float:
    """``5``, ``1.5s``, ``5m`` or ``1h`` in seconds."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", text)
    if found is None or found[2] not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30, 1.5s, 5m or 1h")
    return values.seconds(found[1]) * _UNITS[found[2]]


def flood_period(text: str) -> float:
    """A period, or ``endless``."""
    return ENDLESS if text == "endless" else period(text)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [OPTION...] [MAIL...]",
        description="Sends mails to an MTA, many at once if wanted, and tells how long it took.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument(
        "mails",
        nargs="*",
        metavar="MAIL",
        help="mail files, directories of them, or - for standard input; one or none is sent --n-mails times",
    )
    _add_smtp(parser.add_argument_group("connection options"))
    _add_envelope(parser.add_argument_group("envelope options"))
    _add_load(parser.add_argument_group("load options"))
    _add_report(parser.add_argument_group("report options"))
    return parser


def _add_smtp(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--smtp-server", default="localhost", metavar="SERVER", help="the MTA (%(default)s)")
    add(
        "--smtp-port", type=partial(values.count, least=1, most=65535), default=25, metavar="PORT", help="its port (25)"
    )
    add("--connect-host", metavar="HOST", help="be this client: XCLIENT NAME (see smtpd_authorized_xclient_hosts)")
    add("--connect-address", metavar="ADDRESS", help="be at this address: XCLIENT ADDR")
    add("--helo-fqdn", default="localhost.localdomain", metavar="FQDN", help="the name for HELO (%(default)s)")
    add("--starttls", choices=("auto", "always", "disable"), default="auto", help="use STARTTLS (auto: if offered)")
    add("--auth-user", metavar="USER", help="log in as USER")
    add("--auth-password", default="", metavar="PASSWORD", help="its password")
    add("--auth-mechanism", choices=MECHANISMS, default="auto", help="how to log in (auto)")
    add("--auth-map", metavar="FILE", help="users by server, in lines of SERVER:PORT USER:PASSWORD")
    add("--reading-timeout", type=values.seconds, default=60.0, metavar="SECONDS", help="the limit on an answer (60)")


def _add_envelope(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--from",
        dest="senders",
        action="append",
        metavar="FROM",
        help="the sender; several take turns (from@example.com)",
    )
    add("--force-from", metavar="FROM", help="the sender, whatever a mail file says")
    add(
        "--recipient",
        dest="recipients",
        action="append",
        metavar="RECIPIENT",
        help="a recipient; repeatable (to@example.com)",
    )
    add(
        "--force-recipient",
        action="append",
        metavar="RECIPIENT",
        help="a recipient, whatever a mail file says; repeatable",
    )


def _add_load(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    many = partial(values.count, least=1, most=10_000_000)
    add("--n-mails", type=many, default=100, metavar="N", help="send the mail N times (100)")
    add(
        "--n-additional-lines",
        type=partial(values.count, most=10_000_000),
        default=0,
        metavar="N",
        help="lines of 65 bytes more in the test mail (0)",
    )
    add(
        "--n-concurrent-connections",
        type=values.count,
        metavar="N",
        help="connections at a time (1; 100 with --period and --interval)",
    )
    add(
        "--n-workers", type=partial(values.count, least=1), default=1, metavar="N", help="processes that share them (1)"
    )
    pace = group.add_mutually_exclusive_group()
    pace.add_argument("--period", type=period, metavar="PERIOD", help="spread the mails over this time")
    pace.add_argument("--interval", type=period, metavar="INTERVAL", help="begin a mail every so often")
    pace.add_argument(
        "--flood", type=flood_period, nargs="?", metavar="PERIOD", help="send for so long, or without end"
    )
    add("--shuffle", action="store_true", default=False, help="send the mails in a mixed order")
    add("--no-shuffle", dest="shuffle", action="store_false", help="send them in their order (the default)")


def _add_report(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--report-statistics-data", metavar="FILE", help="write the time of each mail into FILE")
    add("--report-failure-responses", action="store_true", help="list what the MTA answered to mails that failed")
    add("--no-report-failure-responses", dest="report_failure_responses", action="store_false", help="do not")
    add(
        "--report-periodically",
        type=period,
        nargs="?",
        metavar="INTERVAL",
        help="a table with a row for each interval (1s)",
    )
    add("--no-progress", dest="progress", action="store_false", help="no progress bar on a terminal")
