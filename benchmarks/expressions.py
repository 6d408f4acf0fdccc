"""Microseconds that a condition written as an expression takes to judge, for expressions as administrators write them.

Beside the time of an evaluation that lets the milter take part, which is the common case, stands that of one that stops
it and says why. Nothing is prepared ahead but what a session keeps: the client's address is parsed once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple

from mmgr.conditions.base import Stage
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.facts import Facts, LocalTime

MEASURE_S = 0.05
AT_ONCE = 1000

Say = Callable[[str], None]

_NETWORKS = "192.0.2.0/24, 203.0.113.0/25, 10.0.0.0/8, 198.51.100.0/26, 2001:db8::/32"
_DOMAINS = ", ".join(f"example{number}.com" for number in range(1, 21))
_HEADERS = [(b"X-Header-%d" % number, b"value %d of a header" % number) for number in range(19)]
_MACROS = {b"v": b"Postfix 3.7.11", b"{tls_version}": b"TLSv1.3"}

_PASSING = Facts(
    client_name=b"mail.example.org",
    client_address=b"198.51.100.7",
    client_family=b"4",
    helo=b"mail.example.org",
    sender=b"<someone@example20.com>",
    recipient=b"<user@example.net>",
    recipients=(b"<user@example.net>", b"<other@example.net>"),
    size_bytes=20480,
    macro=_MACROS.get,
    headers=lambda: [*_HEADERS, (b"Subject", b"An invoice for you")],
    clock=lambda: LocalTime(2026, 11, 22, 22, 30, 6),
)
_STOPPED = Facts(
    client_name=b"host.example.test",
    client_address=b"192.168.7.9",
    client_family=b"4",
    helo=b"[192.168.7.9]",
    sender=b"<someone@example.test>",
    recipient=b"<user@example.test>",
    recipients=(b"<user@example.test>", b"<other@example.test>"),
    size_bytes=20971520,
    macro={}.get,
    headers=lambda: [*_HEADERS, (b"Subject", b"Hello")],
    clock=lambda: LocalTime(2026, 11, 22, 12, 30, 0),
)

EXPRESSIONS: Mapping[str, tuple[str, Stage]] = {
    "5 networks, 20 sender domains, not authenticated": (
        f"client_address in {_NETWORKS} and sender_domain in {_DOMAINS} and not authenticated",
        Stage.MAIL,
    ),
    "5 networks": (f"client_address in {_NETWORKS}", Stage.CONNECT),
    "1,000 networks": (
        "client_address in " + ", ".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(999)) + ", 198.51.100.0/24",
        Stage.CONNECT,
    ),
    "host name by its end or by a regular expression": (
        r"client_name in .example.com, .example.net or client_name matches /^mail[0-9]*\./",
        Stage.CONNECT,
    ),
    "time of day": ("time in 22:00-06:00 or weekday in sat", Stage.CONNECT),
    "recipient": ("recipient in @example.net, postmaster@example.org", Stage.RCPT),
    "header of 20, and size": ("header Subject matches /invoice/ and size < 10M", Stage.CONTENT),
}
"""By name, the expression and the stage at which it is judged. True of one of the facts, false of the other."""


class Evaluation(NamedTuple):
    """One expression's microseconds, one figure per round: where the milter takes part, and where it is stopped."""

    name: str
    passing_us: list[float]
    stopped_us: list[float]


def measure(rounds: int, say: Say) -> list[Evaluation]:
    """All expressions in turns."""
    evaluations = [Evaluation(name, [], []) for name in EXPRESSIONS]
    for _ in range(rounds):
        for name, passing_us, stopped_us in evaluations:
            passing_us.append(each_us(*EXPRESSIONS[name], _PASSING))
            stopped_us.append(each_us(*EXPRESSIONS[name], _STOPPED))
    for name, passing_us, stopped_us in evaluations:
        say(f"{name}: {_middle(passing_us):.2f} us, {_middle(stopped_us):.2f} us to say why not")
    return evaluations


def reasons(name: str) -> tuple[str, str]:
    """What an expression says of the two facts: "" and a reason."""
    text, stage = EXPRESSIONS[name]
    condition = compile_expression(name, text)
    return condition.judge(stage, _PASSING), condition.judge(stage, _STOPPED)


def each_us(text: str, stage: Stage, facts: Facts) -> float:
    """One evaluation; many are done for MEASURE_S, after one that does not count."""
    judge = compile_expression("benchmark", text).judge
    judge(stage, facts)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < MEASURE_S:
        for _ in range(AT_ONCE):
            judge(stage, facts)
        done += AT_ONCE
    return (time.perf_counter() - started) / done * 1e6


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
