"""``milter-managerctl explain``: which milters a session would meet, and which condition keeps the others out of it.

It reads the configuration as the daemon would and asks no daemon, so it tells of what is configured now.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmgr.cli import values
from mmgr.cli.managerctl_output import printable
from mmgr.cli.options import configuration_directory
from mmgr.cli.writing import Writer
from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.dnsbl import zones_of
from mmgr.conditions.explanation import Explanation, Reason, explain
from mmgr.conditions.facts import Facts
from mmgr.config.loader import load
from mmgr.config.model import ChildSettings, Config
from mmgr.config.spec import CHILDREN
from mmgr.errors import ConfigErrors
from mmgr.log import shown
from mmgr.peers.mail import in_brackets, parse_mail
from mmgr.protocol.macros import bare
from mmgr.resolver import Resolver
from workers.senses import local_time

COMMAND = "explain"
MEANING = "for a client, sender and recipients: which milters are used, and what keeps the others out"
EPILOG = """exit codes: 0 explained; 1 the configuration has faults, or the mail file can't be read; 2 usage.
Without --mail-file what depends on headers or size stays open. Conditions about block lists do ask the DNS."""

EXIT_REFUSED = 1

_STAGES = {
    Stage.CONNECT: "connect",
    Stage.HELO: "helo",
    Stage.MAIL: "mail",
    Stage.RCPT: "rcpt",
    Stage.DATA: "data",
    Stage.CONTENT: "content",
}


def add_options(to: argparse.ArgumentParser) -> None:
    """What describes the session."""
    to.add_argument("--client-address", metavar="ADDRESS", default="192.0.2.1", help="IP address (192.0.2.1)")
    to.add_argument("--client-name", metavar="NAME", help="host name; without it the address has none, '' is empty")
    to.add_argument("--helo", metavar="NAME", help="what the client says at HELO (its host name); '' for nothing")
    to.add_argument("--sender", metavar="ADDRESS", default="sender@example.com", help="'' for a bounce")
    to.add_argument("--recipient", metavar="ADDRESS", action="append", help="may be given several times")
    to.add_argument("--authenticated", metavar="USER", help="the client logged in as this user")
    to.add_argument("--tls", metavar="VERSION", nargs="?", const="TLSv1.3", help="the client came by TLS (TLSv1.3)")
    to.add_argument(
        "--macro", metavar="NAME=VALUE", type=_macro, action="append", default=[], help="as the MTA sends it"
    )
    to.add_argument("--mail-file", metavar="FILE", type=argparse.FileType("rb"), help="headers and body")
    to.add_argument("--size", metavar="BYTES", type=_size, default=0, help="the message's size, as MAIL announces it")
    to.add_argument("--stressed", action="store_true", help="as if many workers were busy")
    to.add_argument("--root", metavar="DIRECTORY", default="/", help="look for installed milters in that tree (/)")


def run(given: argparse.Namespace, writer: Writer) -> int:
    """Explain; the exit code."""
    try:
        config = load(configuration_directory(given), None, given.root).config
        message = parse_mail(given.mail_file.read()) if given.mail_file else None
    except ConfigErrors as errors:
        for error in errors.errors:
            writer.complain(f"milter-managerctl: {printable(str(error))}")
        return EXIT_REFUSED
    except OSError as error:
        writer.complain(f"milter-managerctl: the mail file can't be read: {error.strerror}")
        return EXIT_REFUSED
    dns = _Dns(config)
    found = [(child, _explained(config, child, given, message, dns)) for child in config.children]
    if given.is_json:
        writer.write(json.dumps({"milters": [_as_json(*each) for each in found]}).encode("ascii") + b"\n")
    else:
        lines = (line for child, explanation in found for line in _lines(config, child, explanation))
        text = "\n".join(lines) or "there are no milters: all mail passes"
        writer.write((text + "\n").encode("utf-8", "backslashreplace"))
    return 0


class _Dns:
    """The DNS for all milters together: what was asked once is not asked again, be the answer silence."""

    def __init__(self, config: Config) -> None:
        settings, zones = config.conditions, zones_of(config.compiled.values())
        self._resolver = Resolver(settings.dns_name_servers, settings.dns_timeout_s, zones=zones)
        self._answers: dict[str, Sequence[str]] = {}
        self._unanswered: set[str] = set()

    def look_up(self, name: str) -> Sequence[str]:
        """The addresses of a name, () for none."""
        if name not in self._answers:
            self._answers[name] = self._resolver.look_up(name)
            if self._resolver.is_unanswered(name):
                self._unanswered.add(name)
        return self._answers[name]

    def is_unanswered(self, name: str) -> bool:
        """Did nobody answer?"""
        return name in self._unanswered


def _explained(config: Config, child: ChildSettings, given: argparse.Namespace, message: Any, dns: _Dns) -> Explanation:
    conditions: list[Condition] = [config.compiled[name] for name in child.applicable_conditions]
    recipients = [in_brackets(_bytes(one)) for one in given.recipient or ["receiver@example.org"]]
    return explain(conditions, _facts(given, message, dns), recipients, message is not None)


def _facts(given: argparse.Namespace, message: Any, dns: _Dns) -> Facts:
    name = f"[{given.client_address}]" if given.client_name is None else given.client_name
    macros = _macros(given)
    facts = Facts(
        client_name=_bytes(name),
        client_address=_bytes(given.client_address),
        client_family=_family(given.client_address),
        client_port=25,
        helo=_bytes(name if given.helo is None else given.helo),
        sender=in_brackets(_bytes(given.sender)),
        sender_arguments=(b"SIZE=%d" % given.size,) if given.size else (),
        size_bytes=given.size,
        is_stressed=given.stressed,
        macro=lambda wanted: macros.get(bare(wanted)),
        look_up=dns.look_up,
        is_unanswered=dns.is_unanswered,
        clock=local_time,
    )
    if message is not None:
        headers, body = message
        facts.headers = lambda: [(key, value.strip()) for key, value in headers]
        facts.size_bytes = len(body) + sum(len(key) + len(value) + 3 for key, value in headers)
    return facts


def _macros(given: argparse.Namespace) -> Mapping[bytes, bytes]:
    found = {b"v": b"Postfix 3.5.8", b"j": b"localhost", b"client_addr": _bytes(given.client_address)}
    if given.authenticated is not None:
        found.update({b"auth_type": b"PLAIN", b"auth_authen": _bytes(given.authenticated)})
    if given.tls is not None:
        found[b"tls_version"] = _bytes(given.tls)
    return {**found, **dict(given.macro)}


def _bytes(argument: str) -> bytes:
    """An argument as it was typed, whatever its encoding."""
    return argument.encode("utf-8", "surrogateescape")


def _family(address: str) -> bytes:
    try:
        return b"%d" % ipaddress.ip_address(address).version
    except ValueError:
        return b"L" if address.startswith("/") else b"U"


def _macro(text: str) -> tuple[bytes, bytes]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return bare(_bytes(name)), _bytes(value)


def _size(text: str) -> int:
    return values.count(text, least=0, most=10**15)


def _lines(config: Config, child: ChildSettings, explanation: Explanation) -> Iterator[str]:
    name = printable(child.name)
    if not child.enabled:
        origin = config.origins.get(f"{CHILDREN}.{child.name}.enabled")
        yield f"{name}: not used: it is not enabled" + (f" ({printable(str(origin))})" if origin else "")
        return
    stopped = explanation.stopped
    if stopped is not None:
        yield f"{name}: not used: {_sentence(stopped)}"
    else:
        state = f"depends on the message ({', '.join(explanation.undecided)})" if explanation.undecided else "used"
        yield f"{name}: {printable(state)}"
        yield from (f"    {_said(reason)}" for reason in explanation.passed)
    for reason in explanation.withheld if stopped is None else ():
        yield f"    not told of {shown(reason.recipient)}: {_sentence(reason)}"
    for macro, value in explanation.macros:
        yield f"    is sent {shown(macro)}={shown(value)}"


def _sentence(reason: Reason) -> str:
    return printable(f"{reason.condition} stops it at {_STAGES[reason.stage]}: {reason.text}")


def _said(reason: Reason) -> str:
    return printable(f"{reason.condition}: {reason.text}")


def _as_json(child: ChildSettings, explanation: Explanation) -> dict[str, Any]:
    stopped = explanation.stopped
    is_used = None if explanation.undecided and stopped is None else child.enabled and stopped is None
    return {
        "milter": child.name,
        "is_enabled": child.enabled,
        "is_used": is_used,
        "stopped": _reason_as_json(stopped) if stopped is not None else None,
        "passed": _all_as_json(explanation.passed),
        "withheld": _all_as_json(explanation.withheld),
        "undecided": list(explanation.undecided),
        "macros": {shown(name): shown(value) for name, value in explanation.macros},
    }


def _all_as_json(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [_reason_as_json(reason) for reason in reasons]


def _reason_as_json(reason: Reason) -> dict[str, str]:
    found = {"condition": reason.condition, "stage": _STAGES[reason.stage], "reason": reason.text}
    return {**found, "recipient": shown(reason.recipient)} if reason.recipient else found
