"""What holds for any expression and any facts, tried on random ones beside a plain evaluator of three values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.facts import Facts, LocalTime

Truth = Optional[bool]
"""None is not known yet."""


class Leaf(NamedTuple):
    """A test: its text, the stage from which it is known, and what it means, written independently."""

    text: str
    stage: Stage
    is_true: Callable[[Facts, bytes], bool]
    is_per_recipient: bool = False


class Branch(NamedTuple):
    """Tests joined by "and" or "or", or one behind "not"."""

    word: str
    parts: Sequence[Tree]


Tree = Union[Leaf, Branch]


def in_network(text: str) -> Callable[[Facts, bytes], bool]:
    network = ipaddress.ip_network(text)
    return lambda facts, who: facts.address is not None and facts.address in network


def address(value: bytes) -> bytes:
    return value.decode("latin-1").strip("<>").encode("latin-1").lower()


LEAVES = [
    Leaf("client_address in 192.0.2.0/25", Stage.CONNECT, in_network("192.0.2.0/25")),
    Leaf("client_address == 2001:db8::1", Stage.CONNECT, in_network("2001:db8::1")),
    Leaf(
        "client_name in .example.org, a.b",
        Stage.CONNECT,
        lambda f, who: f.client_name.lower().endswith(b".example.org") or f.client_name.lower() == b"a.b",
    ),
    Leaf("client_port < 1024", Stage.CONNECT, lambda f, who: f.client_port < 1024),
    Leaf("time in 22:00-6:00", Stage.CONNECT, lambda f, who: f.clock().hour in (22, 23, 0, 1, 2, 3, 4, 5)),
    Leaf("weekday in sat-mon", Stage.CONNECT, lambda f, who: f.clock().weekday in (5, 6, 0)),
    Leaf("helo matches /^mx/", Stage.HELO, lambda f, who: f.helo[:2].lower() == b"mx"),
    Leaf("sender == <>", Stage.MAIL, lambda f, who: f.sender in (b"<>", b"")),
    Leaf(
        "sender in a@a.b, @example.org, .example.org",
        Stage.MAIL,
        lambda f, who: re.search(rb"^a@a\.b$|@example\.org$|@(.+)\.example\.org$", address(f.sender)) is not None,
    ),
    Leaf("authenticated", Stage.MAIL, lambda f, who: bool(f.macro(b"{auth_type}"))),
    Leaf("macro {auth_type} in plain, login", Stage.MAIL, lambda f, who: f.macro(b"{auth_type}") == b"PLAIN"),
    Leaf("tls", Stage.MAIL, lambda f, who: bool(f.macro(b"{tls_version}"))),
    Leaf("recipient == a@a.b", Stage.RCPT, lambda f, who: address(who) == b"a@a.b", True),
    Leaf("recipient_domain != a.b", Stage.RCPT, lambda f, who: not address(who).endswith(b"@a.b"), True),
    Leaf("any recipient in @a.b", Stage.DATA, lambda f, who: any(address(r).endswith(b"@a.b") for r in f.recipients)),
    Leaf(
        "all recipients not in @a.b",
        Stage.DATA,
        lambda f, who: all(address(r)[-4:] != b"@a.b" for r in f.recipients),
    ),
    Leaf("recipient_count >= 2", Stage.DATA, lambda f, who: len(f.recipients) > 1),
    Leaf("size > 1k", Stage.CONTENT, lambda f, who: f.size_bytes > 1024),
    Leaf("header Subject: matches /x/", Stage.CONTENT, lambda f, who: any(b"x" in v.lower() for _, v in f.headers())),
]  # fmt: skip

trees = st.recursive(
    st.sampled_from(LEAVES),
    lambda parts: st.one_of(
        st.builds(Branch, st.sampled_from(("and", "or")), st.lists(parts, min_size=2, max_size=3)),
        st.builds(Branch, st.just("not"), st.lists(parts, min_size=1, max_size=1)),
    ),
    max_leaves=8,
)


def written(tree: Tree) -> str:
    if isinstance(tree, Leaf):
        return tree.text
    if tree.word == "not":
        return f"not ({written(tree.parts[0])})"
    return f" {tree.word} ".join(f"({written(part)})" for part in tree.parts)


def evaluated(tree: Tree, stage: Stage, facts: Facts, recipient: bytes | None) -> Truth:
    """Kleene's logic, spelled out; recipient None is one that nobody knows."""
    if isinstance(tree, Leaf):
        is_known = stage >= tree.stage and not (tree.is_per_recipient and recipient is None)
        return tree.is_true(facts, recipient or b"") if is_known else None
    values = [evaluated(part, stage, facts, recipient) for part in tree.parts]
    if tree.word == "not":
        return None if values[0] is None else not values[0]
    decisive = tree.word == "or"
    if decisive in values:
        return decisive
    return None if None in values else not decisive


def is_stopped(tree: Tree, stage: Stage, facts: Facts) -> bool:
    """Whether the expression can't become true any more."""
    if stage <= Stage.RCPT:
        return evaluated(tree, stage, facts, facts.recipient) is False
    return all(evaluated(tree, stage, facts, each) is False for each in facts.recipients or (None,))


class Macros(dict[bytes, bytes]):
    """Macros that a failing example shows."""

    def __call__(self, name: bytes) -> bytes | None:
        return self.get(name)


class Constant(list[Any]):
    """A function that gives the same at all times, and that a failing example shows."""

    def __call__(self) -> Any:
        return self[0]


times = st.builds(
    LocalTime, st.just(2026), st.just(1), st.just(1), st.integers(0, 23), st.integers(0, 59), st.integers(0, 6)
)
mailboxes = st.sampled_from((b"<a@a.b>", b"<B@A.B>", b"<x@sub.example.org>", b"<x@example.org>", b"<>", b"<root>"))
likely = st.builds(
    Facts,
    client_name=st.sampled_from((b"mx.Example.org", b"a.b", b"unknown")),
    client_address=st.sampled_from((b"192.0.2.1", b"192.0.2.200", b"2001:db8::1", b"::ffff:192.0.2.1", b"/socket")),
    client_family=st.sampled_from((b"4", b"6")),
    client_port=st.sampled_from((0, 1023, 1024)),
    helo=st.sampled_from((b"MX", b"a")),
    sender=mailboxes,
    recipient=mailboxes,
    recipients=st.lists(mailboxes, max_size=3),
    size_bytes=st.sampled_from((0, 1024, 1025)),
    macro=st.dictionaries(
        st.sampled_from((b"{auth_type}", b"{tls_version}")), st.sampled_from((b"", b"PLAIN", b"x"))
    ).map(Macros),
    headers=st.builds(Constant, st.lists(st.lists(st.just((b"subject", b"aXb")), max_size=2), min_size=1, max_size=1)),
    clock=st.builds(Constant, st.lists(times, min_size=1, max_size=1)),
)  # fmt: skip

often = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@often
@given(trees, likely, st.sampled_from(Stage))
def test_a_milter_is_stopped_where_the_plain_evaluator_says_no(tree: Tree, facts: Facts, stage: Stage) -> None:
    reason = compile_expression("test", written(tree)).judge(stage, facts)
    assert bool(reason) is is_stopped(tree, stage, facts), written(tree)


@often
@given(trees, likely)
def test_a_milter_that_is_stopped_once_stays_so(tree: Tree, facts: Facts) -> None:
    condition = compile_expression("test", written(tree))
    stopped = [bool(condition.judge(stage, facts)) for stage in Stage if stage is not Stage.RCPT]
    assert stopped == sorted(stopped), written(tree)


@often
@given(trees, likely)
def test_a_message_is_stopped_if_each_of_its_recipients_was(tree: Tree, facts: Facts) -> None:
    condition = compile_expression("test", written(tree))
    kept = []
    for each in facts.recipients:
        facts.recipient = each
        kept.append(bool(condition.judge(Stage.RCPT, facts)))
    assert not (kept and all(kept)) or condition.judge(Stage.CONTENT, facts), written(tree)


# ---- hostile facts

LARGE = [
    each * (65536 // len(each))
    for each in (b".", b"@", b"<", b">", b"a", b"\xff", b"\0", b"a.", b"@a:", b"\r\n ", b"9")
]
SMALL = (b"<@>", b"<@:>", b"SIZE=", b"TLSv1.2", b"Postfix")
values = st.one_of(st.binary(max_size=30), st.sampled_from((*LARGE, *SMALL)))
hostile = st.builds(
    Facts,
    client_name=values,
    client_address=values,
    client_family=st.sampled_from((b"4", b"6", b"L", b"U", b"", b"\xff")),
    client_port=st.integers(0, 65535),
    helo=values,
    sender=values,
    sender_arguments=st.lists(values, max_size=3),
    recipient=values,
    recipients=st.lists(values, max_size=3),
    size_bytes=st.integers(0, 1 << 40),
    macro=values.map(lambda value: lambda name: value),
    headers=st.lists(st.tuples(st.one_of(values, st.just(b"Subject")), values), max_size=3).map(
        lambda found: lambda: found
    ),
)
EVERYTHING = r"""
client_address in 192.0.2.0/24, local
client_address matches /1/
client_name in .a.b, a
client_name matches /^a+\./
client_name
client_port > 5
helo in .a, a
helo matches /a$/
sender in a@b, @b, .b, <>
sender matches /@/
sender_domain in .b
recipient in a@b, @b, .b
recipient_domain in b
recipient_count > 1
any recipient in @b, .b
all recipients matches /a/
announced_size > 1
size > 1
authenticated
auth_user in a, @b
auth_user matches /a/
tls
macro {x}
tls_version >= TLSv1.2
tls_version in TLSv1.2
tls_version matches /T/
cipher_bits > 5
time > 1:00
weekday in mon
mta == postfix
header Subject in a, .b
header Subject matches /a$/
header Subject > 5
header Subject
macro {x} in a, .b
macro {x} matches /a$/
macro {x} > 5
""".strip().splitlines()


@pytest.mark.parametrize("text", EVERYTHING)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile)
def test_hostile_facts_give_a_sentence_and_nothing_else(text: str, facts: Facts) -> None:
    condition = compile_expression("test", text)
    opposite = compile_expression("test", f"not ({text})")
    stage = max(condition.stages)
    reasons = (condition.judge(stage, facts), opposite.judge(stage, facts))
    assert [bool(reason) for reason in reasons].count(True) == 1
    assert all(len(reason) < 700 and reason.isprintable() for reason in reasons)
