"""S25R, Selective SMTP Rejection: the milter sees clients whose host names look like an end user's machine. PURE.

Source: ASAMI Hideo, "The Selective SMTP Rejection (S25R) Anti-spam System". The rules look at the start of the name
that the MTA found for the client's address: mail servers have names that people chose, providers number the machines
of their customers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import Patterns, words
from mmgr.conditions.regexes import SEEN_BYTES

WHITELIST = (
    ".google.com",
    ".obsmtp.com",
    ".smtp-out.amazonses.com",
    ".slack.com",
    ".mg.gitlab.com",
    ".sendgrid.net",
)


class Rule(NamedTuple):
    """One rule: its number, what it looks for, in words and as an expression that fits the name from its start."""

    number: int
    meaning: str
    expression: re.Pattern[bytes]


def _rule(number: int, meaning: str, expression: bytes, flags: int = 0) -> Rule:
    return Rule(number, meaning, re.compile(expression, flags | re.DOTALL))


RULES = (
    _rule(0, "the name is unknown", rb"unknown\Z"),
    _rule(1, "there is no name for the address", rb"\[.+\]\Z"),
    _rule(
        2,
        "the first label has digits, then something else, then digits again",
        rb"(?=[^.]*\.)[^.]*[0-9][^0-9.]+[0-9]",
    ),
    _rule(3, "the first label has five digits in a row", rb"[^.]*[0-9]{5}"),
    _rule(
        4,
        "the first or second of many labels begins with a digit",
        rb"(?:[^.]+\.)?[0-9][^.]*\.[^.]+\..+\.[a-z]",
        re.IGNORECASE,
    ),
    _rule(
        5,
        "the first label ends in a digit, and the second has two digits around a hyphen",
        rb"[^.]*[0-9]\.[^.]*[0-9]-[0-9]",
    ),
    _rule(
        6,
        "the first two of five or more labels end in digits",
        rb"[^.]*[0-9]\.[^.]*[0-9]\.[^.]+\..+\.",
    ),
    _rule(
        7,
        "the name begins like a dial-up, DHCP or DSL line with a number",
        rb"(?:dhcp|dialup|ppp|[achrsvx]?dsl)[^.]*[0-9]",
        re.IGNORECASE,
    ),
)


def matching_rule(name: bytes) -> Rule | None:
    """The first rule that fits the host name, None if it looks like a mail server's."""
    name = name[:SEEN_BYTES]
    return next((rule for rule in RULES if rule.expression.match(name)), None)


class S25R(Condition):
    """Lets a milter take part in sessions of clients that look like end users' machines.

    In this order: clients without IPv4 are spared (only_check_ipv4, as IPv6 addresses seldom have names), so are host
    names of the whitelist; those of the blacklist are not, whatever they look like; then the rules decide.
    """

    name = "S25R"
    description = "the client's host name looks like an end user's (Selective SMTP Rejection)"
    stages = frozenset((Stage.CONNECT,))

    def __init__(
        self, only_check_ipv4: bool = True, whitelist: Iterable[str] = WHITELIST, blacklist: Iterable[str] = ()
    ) -> None:
        self._only_ipv4 = only_check_ipv4
        self._whitelist = Patterns(whitelist)
        self._blacklist = Patterns(blacklist)

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the session unless the blacklist or a rule fits."""
        return self._decide(facts)[1]

    def explain(self, facts: Facts) -> str:
        """Which rule or list decides about this client, in words, whether the milter takes part or not."""
        return "; ".join(filter(None, self._decide(facts)))

    def _decide(self, facts: Facts) -> tuple[str, str]:
        """Why the milter takes part, or else why not; one of them is ""."""
        name = facts.client_name
        if self._only_ipv4 and not _is_ipv4(facts):
            return "", "client is not IPv4"
        found = self._whitelist.match(name)
        if found:
            return "", f"whitelisted by {found}"
        found = self._blacklist.match(name)
        if found:
            return f"host name {words(name)} is blacklisted by {found}", ""
        rule = matching_rule(name)
        if rule is None:
            return "", f"host name {words(name)} does not look like an end user's (no S25R rule)"
        return f"host name {words(name)} fits S25R rule {rule.number}: {rule.meaning}", ""


def _is_ipv4(facts: Facts) -> bool:
    address = facts.address
    return isinstance(address, ipaddress.IPv4Address) if address is not None else facts.client_family == b"4"
