"""The options of milter-test-server, with the incumbent's names and defaults, and what its exit codes mean."""

from __future__ import annotations

import argparse
from functools import partial

from mmgr import __version__
from mmgr.cli import values
from mmgr.peers.delivery import DEFAULT_HELO
from mmgr.peers.mta import Deadlines
from mmgr.protocol.constants import SMFI_VERSION_MAX, Command

PROGRAM = "milter-test-server"

EXIT_CODES = """\
exit codes:
   0  accept: the milter let the message through
   1  no connection to the milter
   2  usage: wrong options, or a mail file that can't be read
   3  the milter closed the connection or broke the protocol
   4  timeout: connecting, reading, writing or at the end of the message
  10  reject (for every recipient, if it was said to recipients)
  11  temporary failure (for every recipient, if it was said to recipients)
  12  discard
  13  quarantine
  14  shutdown: the milter wants the SMTP connection closed (421)
 130  interrupted from the keyboard
With several messages or sessions it is the worst that occurred: 0, 13, 12, 11, 10, 14, 4, 1, 3 from good to bad.
"""

MACRO_STAGES = {
    "connect": (Command.SMFIC_CONNECT, "xxfi_connect()"),
    "helo": (Command.SMFIC_HELO, "xxfi_helo()"),
    "envelope-from": (Command.SMFIC_MAIL, "xxfi_envfrom()"),
    "envelope-recipient": (Command.SMFIC_RCPT, "xxfi_envrcpt()"),
    "data": (Command.SMFIC_DATA, "xxfi_data()"),
    "end-of-header": (Command.SMFIC_EOH, "xxfi_eoh()"),
    "end-of-message": (Command.SMFIC_BODYEOB, "xxfi_eom()"),
}
AUTHENTICATION_MACROS = {"name": "auth_authen", "type": "auth_type", "author": "auth_author"}
COLOURS = {"yes": True, "true": True, "no": False, "false": False, "auto": None}
_SPECS = "unix:PATH|inet:PORT[@HOST]|inet6:PORT[@HOST]"


def make_parser() -> argparse.ArgumentParser:
    """The incumbent's options with their names; -h is a header, so help is -? and --help."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s -s SPEC [OPTION...]",
        description="Plays the MTA against one milter and prints what became of each message.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-?", "--help", action="help", help="show this help and exit")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    _add_session_options(parser)
    _add_message_options(parser)
    _add_macro_options(parser)
    _add_run_options(parser)
    return parser


def _add_session_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--name", default=PROGRAM, help="the name of this MTA, {daemon_name} (default: %(default)s)")
    add(
        *("-s", "--connection-spec"),
        required=True,
        type=values.endpoint,
        metavar="SPEC",
        help=f"the milter's socket ({_SPECS}, or an absolute path)",
    )
    add(
        "--negotiate-version",
        type=partial(values.count, most=0xFFFFFFFF),
        default=SMFI_VERSION_MAX,
        metavar="VERSION",
        help="the protocol version to offer (default: %(default)s)",
    )
    add("--connect-host", default="mx.example.net", metavar="HOST", help="the SMTP client's name (%(default)s)")
    add(
        "--connect-address",
        default="inet:50443@[192.168.123.123]",
        metavar="SPEC",
        help=f"the SMTP client's address ({_SPECS}, or unknown; default: %(default)s)",
    )
    add("--helo-fqdn", default=DEFAULT_HELO.decode(), metavar="FQDN", help="what it says in HELO (%(default)s)")
    add("--unknown", metavar="COMMAND", help="an unknown SMTP command, sent before DATA")


def _add_message_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-f", "--envelope-from", metavar="FROM", help="the sender")
    add("-r", "--envelope-recipient", action="append", metavar="RECIPIENT", help="a recipient; repeatable")
    add(
        *("-h", "--header"),
        action="append",
        default=[],
        type=values.name_and_value,
        metavar="NAME:VALUE",
        help="a header, in front of all others; repeatable",
    )
    add("-b", "--body", action="append", metavar="CHUNK", help="a piece of the body, sent by itself; repeatable")
    add(
        *("-m", "--mail-file"),
        action="append",
        metavar="PATH",
        help="send the mail in PATH; repeatable, then each is a message of the same session",
    )
    add(
        "--n-messages",
        type=partial(values.count, least=1, most=1000000),
        default=1,
        metavar="N",
        help="send everything N times in each session (default: %(default)s)",
    )


def _add_macro_options(parser: argparse.ArgumentParser) -> None:
    for stage, (_, callback) in MACRO_STAGES.items():
        parser.add_argument(
            f"--{stage}-macro",
            action="append",
            default=[],
            type=values.name_and_value,
            metavar="NAME:VALUE",
            help=f"a macro at {callback}; repeatable",
        )
    for name, macro in AUTHENTICATION_MACROS.items():
        parser.add_argument(f"--authenticated-{name}", metavar=name.upper(), help=f"the macro {{{macro}}}")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--output-message", action="store_true", help="print the message with the milter's changes")
    add(
        "--color",
        nargs="?",
        choices=COLOURS,
        default="auto",
        const="yes",
        help="colours in that message (default: %(default)s, on a terminal)",
    )
    default = Deadlines()
    for name, default_s in (
        ("connection", default.connection_s),
        ("reading", default.reading_s),
        ("writing", default.writing_s),
        ("end-of-message", default.end_of_message_s),
    ):
        limit = f"the limit on {name}; each packet from the milter starts it again (default: {default_s:g})"
        add(f"--{name}-timeout", type=values.seconds, metavar="SECONDS", help=limit)
    add("--all-timeouts", type=values.seconds, metavar="SECONDS", help="all four of them")
    add("-t", "--threads", type=values.count, default=0, metavar="N", help="run N sessions at once")
    add("-v", "--verbose", action="store_true", help="print more: the stage that decided, each refused recipient")
