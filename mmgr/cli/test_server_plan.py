"""What one run of milter-test-server does, made from its options: what to send to whom, and how long to wait."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from mmgr import __version__
from mmgr.cli.test_server_options import AUTHENTICATION_MACROS, COLOURS, MACRO_STAGES, PROGRAM, make_parser
from mmgr.endpoint import Endpoint, connect_addresses, parse_endpoint
from mmgr.errors import EndpointError
from mmgr.peers.delivery import SmtpClient
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
    with_crlf,
)
from mmgr.peers.mta import Deadlines
from mmgr.protocol.commands import FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILY_UNKNOWN, Connect
from mmgr.protocol.macros import bare

FIXED_MACROS = {
    b"j": b"mail.example.com",
    b"v": f"Postfix ({PROGRAM} {__version__})".encode(),
    b"daemon_addr": b"127.0.0.1",
    b"daemon_port": b"25",
    b"if_name": b"localhost",
    b"if_addr": b"127.0.0.1",
    b"tls_version": b"tls_version",
    b"cipher": b"cipher",
    b"cipher_bits": b"0",
    b"cert_subject": b"cert_subject",
    b"cert_issuer": b"cert_issuer",
    b"mail_mailer": b"mail_mailer",
    b"mail_host": b"mail_host",
    b"rcpt_mailer": b"rcpt_mailer",
    b"rcpt_host": b"rcpt_host",
}
"""The incumbent's values, many of which are the macro's own name. ``v`` begins like Postfix's: we number headers so."""


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
    try:
        caller = _connect(options)
    except EndpointError as error:
        parser.error(f"argument --connect-address: {error}")
    return Plan(
        endpoint=options.connection_spec,
        version=options.negotiate_version,
        client=SmtpClient(caller, os.fsencode(options.helo_fqdn), _encoded(options.unknown)),
        macros=_macros(options, caller),
        deadlines=_deadlines(options),
        messages=tuple(messages * options.n_messages),
        session_count=max(options.threads, 1),
        is_verbose=options.verbose,
        shows_message=options.output_message,
        has_colours=COLOURS[options.color],
    )


def _message(options: argparse.Namespace, path: str | None) -> Message:
    """One message; what the options leave open comes from the mail file, and from the defaults without one."""
    headers: tuple[HeaderField, ...] = ()
    chunks: tuple[bytes, ...] = (DEFAULT_CHUNK,)
    if path is not None:
        with open(path, "rb") as file:
            headers, body = parse_mail(file.read())
        chunks = (body,)
    if options.body is not None:
        chunks = tuple(with_crlf(os.fsencode(chunk)) for chunk in options.body)
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
    """Who the SMTP client is. Raises EndpointError; asks the resolver if its address is a name."""
    host = os.fsencode(options.connect_host)
    if options.connect_address == "unknown":
        return Connect(host, FAMILY_UNKNOWN)
    endpoint = parse_endpoint(options.connect_address)
    if endpoint.kind == "unix":
        return Connect(host, FAMILY_UNIX, 0, os.fsencode(endpoint.path))
    family = FAMILY_INET6 if endpoint.kind == "inet6" else FAMILY_INET
    return Connect(host, family, endpoint.port, str(connect_addresses(endpoint)[0][0]).encode())


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


def _macros(options: argparse.Namespace, caller: Connect) -> MacroTable:
    """The incumbent's macros and what Postfix knows of the client; what the options name is sent in any case."""
    known = {**FIXED_MACROS, b"daemon_name": os.fsencode(options.name), **_client_macros(caller)}
    for option, name in AUTHENTICATION_MACROS.items():
        given = getattr(options, f"authenticated_{option}")
        if given is not None:
            known[name.encode()] = os.fsencode(given)
    explicit: dict[int, dict[bytes, bytes]] = {
        command: {bare(name): value for name, value in getattr(options, f"{stage.replace('-', '_')}_macro")}
        for stage, (command, _) in MACRO_STAGES.items()
    }
    return MacroTable(known, explicit)


def _client_macros(caller: Connect) -> dict[bytes, bytes]:
    address = caller.address or b"unknown"
    return {
        b"_": b"%s [%s]" % (caller.hostname, address),
        b"client_name": caller.hostname,
        b"client_ptr": caller.hostname,
        b"client_addr": address,
        b"client_port": b"%d" % caller.port,
        b"client_connections": b"1",
        b"client_resolve": b"OK",
    }


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
