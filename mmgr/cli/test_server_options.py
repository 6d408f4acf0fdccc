"""The options of milter-test-server, and the plan that they make: what to send to whom, and how long to wait."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from functools import partial

from mmgr import __version__
from mmgr.cli import values
from mmgr.endpoint import Endpoint, connect_addresses, parse_endpoint
from mmgr.errors import EndpointError
from mmgr.peers.delivery import DEFAULT_HELO, SmtpClient
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import (
    DEFAULT_CHUNK,
    DEFAULT_RECIPIENT,
    DEFAULT_SENDER,
    HeaderField,
    Message,
    addresses,
    in_brackets,
    parse_mail,
)
from mmgr.peers.mta import Deadlines
from mmgr.protocol.commands import FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILY_UNKNOWN, Connect
from mmgr.protocol.constants import SMFI_VERSION_MAX, Command
from mmgr.protocol.macros import bare

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
_COLOURS = {"yes": True, "true": True, "no": False, "false": False, "auto": None}
_SPECS = "unix:PATH|inet:PORT[@HOST]|inet6:PORT[@HOST]"
_LONE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True)
class Plan:
    """One run: every session sends all messages. has_colours None means: if standard output is a terminal."""

    endpoint: Endpoint
    version: int
    client: SmtpClient
    macros: MacroTable
    deadlines: Deadlines
    messages: tuple[Message, ...]
    session_count: int
    is_verbose: bool
    shows_message: bool
    has_colours: bool | None


def read_plan(arguments: list[str] | None) -> Plan:
    """The plan that the command line asks for. Ends the program with 2 and a reason if it makes no sense."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        messages = [_message(options, path) for path in options.mail_file or [None]]
    except OSError as error:
        parser.error(f"can't read {error.filename}: {error.strerror}")
    return Plan(
        endpoint=options.connection_spec,
        version=options.negotiate_version,
        client=SmtpClient(_connect(options), os.fsencode(options.helo_fqdn), _encoded(options.unknown)),
        macros=_macros(options),
        deadlines=_deadlines(options),
        messages=tuple(messages * options.n_messages),
        session_count=max(options.threads, 1),
        is_verbose=options.verbose,
        shows_message=options.output_message,
        has_colours=_COLOURS[options.color],
    )


def make_parser() -> argparse.ArgumentParser:
    """The incumbent's options with their names; -h is a header, so help is -? and --help."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
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
    for name, macro in (("name", "auth_authen"), ("type", "auth_type"), ("author", "auth_author")):
        parser.add_argument(f"--authenticated-{name}", metavar=name.upper(), help=f"the macro {{{macro}}}")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--output-message", action="store_true", help="print the message with the milter's changes")
    add("--color", choices=_COLOURS, default="auto", help="colours in that message (default: %(default)s, on a terminal)")
    default = Deadlines()
    for name, default_s in (
        ("connection", default.connection_s),
        ("reading", default.reading_s),
        ("writing", default.writing_s),
        ("end-of-message", default.end_of_message_s),
    ):
        add(
            f"--{name}-timeout",
            type=values.seconds,
            metavar="SECONDS",
            help=f"how long {name} may take (default: {default_s:g})",
        )
    add("--all-timeouts", type=values.seconds, metavar="SECONDS", help="all four of them")
    add("-t", "--threads", type=values.count, default=0, metavar="N", help="run N sessions at once")
    add("-v", "--verbose", action="store_true", help="print more: the stage that decided, each refused recipient")


def _message(options: argparse.Namespace, path: str | None) -> Message:
    """One message; what the options leave open comes from the mail file, and from the defaults without one."""
    headers: tuple[HeaderField, ...] = ()
    chunks: tuple[bytes, ...] = (DEFAULT_CHUNK,)
    if path is not None:
        with open(path, "rb") as file:
            headers, body = parse_mail(file.read())
        chunks = (body,)
    if options.body is not None:
        chunks = tuple(_LONE_LF.sub(b"\r\n", os.fsencode(chunk)) for chunk in options.body)
    sender, recipients = _envelope(options, headers)
    headers = (*options.header, *headers)
    if path is None:
        headers += _missing_headers(headers, sender, recipients)
    return Message(sender, recipients, headers, chunks)


def _envelope(options: argparse.Namespace, headers: tuple[HeaderField, ...]) -> tuple[bytes, tuple[bytes, ...]]:
    sender = (addresses(headers, b"From") or (DEFAULT_SENDER,))[0]
    if options.envelope_from is not None:
        sender = in_brackets(os.fsencode(options.envelope_from))
    recipients = addresses(headers, b"To") or (DEFAULT_RECIPIENT,)
    if options.envelope_recipient is not None:
        recipients = tuple(in_brackets(os.fsencode(recipient)) for recipient in options.envelope_recipient)
    return sender, recipients


def _missing_headers(
    headers: tuple[HeaderField, ...], sender: bytes, recipients: tuple[bytes, ...]
) -> tuple[HeaderField, ...]:
    """From and To, as far as they are not there."""
    present = {name.lower() for name, _ in headers}
    defaults = ((b"From", b" " + sender), (b"To", b" " + b", ".join(recipients)))
    return tuple((name, value) for name, value in defaults if name.lower() not in present)


def _connect(options: argparse.Namespace) -> Connect:
    host = os.fsencode(options.connect_host)
    try:
        if options.connect_address == "unknown":
            return Connect(host, FAMILY_UNKNOWN)
        endpoint = parse_endpoint(options.connect_address)
        if endpoint.kind == "unix":
            return Connect(host, FAMILY_UNIX, 0, os.fsencode(endpoint.path))
        family = FAMILY_INET6 if endpoint.kind == "inet6" else FAMILY_INET
        return Connect(host, family, endpoint.port, str(connect_addresses(endpoint)[0][0]).encode())
    except EndpointError as error:
        make_parser().error(f"argument --connect-address: {error}")


def _deadlines(options: argparse.Namespace) -> Deadlines:
    def limit(one: float | None, default_s: float) -> float:
        return one or options.all_timeouts or default_s

    default = Deadlines()
    return Deadlines(
        connection_s=limit(options.connection_timeout, default.connection_s),
        reading_s=limit(options.reading_timeout, default.reading_s),
        writing_s=limit(options.writing_timeout, default.writing_s),
        end_of_message_s=limit(options.end_of_message_timeout, default.end_of_message_s),
    )


def _macros(options: argparse.Namespace) -> MacroTable:
    """The incumbent's macros and those that a milter of today asks for; what the options name wins and is always sent."""
    host, address = options.connect_host, _connect(options).address.decode("utf-8", "surrogateescape")
    known = {
        **dict.fromkeys(("tls_version", "cipher", "cert_subject", "cert_issuer"), ""),
        "j": "mail.example.com",
        "v": f"Postfix ({PROGRAM} {__version__})",
        "_": f"{host} [{address or 'unknown'}]",
        "daemon_name": options.name,
        "daemon_addr": "127.0.0.1",
        "daemon_port": "25",
        "if_name": "localhost",
        "if_addr": "127.0.0.1",
        "client_name": host,
        "client_ptr": host,
        "client_addr": address or "unknown",
        "client_port": str(_connect(options).port),
        "client_connections": "1",
        "client_resolve": "OK",
        "cipher_bits": "0",
    }
    known.update({name: known[name] or name for name in known})
    known.update({name: name for name in ("mail_mailer", "mail_host", "rcpt_mailer", "rcpt_host")})
    for name, macro in (("name", "auth_authen"), ("type", "auth_type"), ("author", "auth_author")):
        given = getattr(options, f"authenticated_{name}")
        if given is not None:
            known[macro] = given
    return MacroTable(
        {name.encode(): os.fsencode(value) for name, value in known.items()},
        {
            command: {bare(name): value for name, value in getattr(options, f"{stage.replace('-', '_')}_macro")}
            for stage, (command, _) in MACRO_STAGES.items()
        },
    )


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
