"""DNSBL Listed and Not DNSBL Listed: whether a DNS list names the client's address. PURE; the look-ups are given.

Source: RFC 5782. Without services, which is the default, nothing is ever looked up or listed. Each condition asks its
services one after the other until one lists the client; whoever calls can have all answers ready before, by looking
up ``names`` at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Address, Facts
from mmgr.conditions.patterns import Network, Networks, PatternError, each_made, is_local, parse_network

SERVICES_MAX = 8
"""More would keep the MTA waiting when they are silent, and mail from being taken."""

_ANSWERS = Networks(("127.0.0.0/8",))
_ERRORS = Networks(("127.255.255.0/24",))
"""What Spamhaus and others answer instead of a result: a bad query, a resolver that they don't serve, too many."""

_ZONE = re.compile(r"(?!.{190})(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*", re.ASCII)


class Service(NamedTuple):
    """One list: its zone, and the answers that count; None for all of 127.0.0.0/8 but error codes."""

    zone: str
    expected: Network | None

    def counts(self, answer: str) -> bool:
        """Whether an answer means that the client is listed."""
        try:
            network = parse_network(answer)
        except PatternError:
            return False
        if self.expected is not None:
            return network.version == self.expected.version and network.network_address in self.expected
        address = network.network_address
        return bool(_ANSWERS.match(address)) and not _ERRORS.match(address)


def parse_service(text: str) -> Service:
    """A zone, or a zone and the answers that count: "zen.spamhaus.org=127.0.0.10/31".

    Raises PatternError with all faults.
    """
    zone, equals, expected = (part.strip() for part in text.partition("="))
    zone = zone.rstrip(".").lower()
    faults: list[PatternError] = []
    if not _ZONE.fullmatch(zone):
        hint = "write zen.spamhaus.org or zen.spamhaus.org=127.0.0.10/31"
        faults.append(PatternError(f"{text!r} names no DNS zone", hint))
    network = None
    try:
        network = _answers(text, expected) if equals else None
    except PatternError as error:
        faults.append(error)
    if faults:
        raise PatternError(faults[0].problem, faults[0].hint, faults[1:])
    return Service(zone, network)


def _answers(text: str, expected: str) -> Network:
    network = parse_network(expected)
    if network.version != 4:
        raise PatternError(f"{text!r}: answers are IPv4 addresses", "write zen.spamhaus.org=127.0.0.10/31")
    return network


def reversed_name(address: Address, zone: str) -> str:
    """The name to be looked up: 7.2.0.192.ZONE for 192.0.2.7, nibbles for IPv6."""
    digits: Sequence[str] = str(address).split(".")
    if address.version == 6:
        digits = address.exploded.replace(":", "")
    return ".".join([*reversed(digits), zone])


class _Dnsbl(Condition):
    stages = frozenset((Stage.CONNECT,))

    def __init__(self, services: Iterable[str] = ()) -> None:
        self.services = tuple(each_made(parse_service, services))
        if len(self.services) > SERVICES_MAX:
            raise PatternError(f"{len(self.services)} services are too many", f"give at most {SERVICES_MAX}")

    def names(self, facts: Facts) -> tuple[str, ...]:
        """What will be looked up for this client; nothing for local ones and for those without an address."""
        address = facts.address
        if address is None or is_local(address):
            return ()
        return tuple(reversed_name(address, service.zone) for service in self.services)

    def _listing(self, facts: Facts) -> str:
        """Which service lists the client, and with what answer; "" if none does."""
        for service, name in zip(self.services, self.names(facts)):
            answer = next(filter(service.counts, facts.look_up(name)), "")
            if answer:
                return f"{service.zone} lists client {facts.address} ({answer})"
        return ""

    def _unlisted(self, facts: Facts) -> str:
        """Why no service lists the client."""
        if not self.services:
            return "no DNSBL service is configured"
        if facts.address is None:
            return "the client has no address that could be looked up"
        if is_local(facts.address):
            return f"client {facts.address} is local and not looked up"
        silent = [one.zone for one, name in zip(self.services, self.names(facts)) if facts.is_unanswered(name)]
        if len(silent) == len(self.services):
            return f"no answer about client {facts.address} from {', '.join(silent)}"
        others = f", but there is no answer from {', '.join(silent)}" if silent else ""
        return f"no DNSBL service lists client {facts.address}{others}"


class DnsblListed(_Dnsbl):
    """Lets a milter take part in sessions of clients that a service lists; in none if there are no services."""

    name = "DNSBL Listed"
    description = "a DNS blacklist names the client's address"

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the session unless a service lists the client. May block in look-ups."""
        return "" if self._listing(facts) else self._unlisted(facts)

    def explain(self, facts: Facts) -> str:
        """Which service lists the client."""
        return self._listing(facts)


class NotDnsblListed(_Dnsbl):
    """Lets a milter take part in sessions of clients that no service lists; in all if there are no services."""

    name = "Not DNSBL Listed"
    description = "no DNS blacklist names the client's address"

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the session if a service lists the client. May block in look-ups."""
        return self._listing(facts)

    def explain(self, facts: Facts) -> str:
        """Why none lists the client."""
        return self._unlisted(facts)


def zones_of(conditions: Iterable[Condition]) -> list[str]:
    """Every block list that any of the conditions asks, once."""
    services = (service for one in conditions if isinstance(one, _Dnsbl) for service in one.services)
    return list(dict.fromkeys(service.zone for service in services))
