"""The rule that decides every verdict: the result is the one that Postfix gets from the same children directly.

The same mails go both ways; answers, envelopes, headers in their order and bodies of what arrives, and what each
pymilter child was told, have to be the same, but for ids and dates.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.lab import DIRECT, MANAGER, Lab
from tests.support.milters import EICAR, GTUBE, PymilterChild
from tests.support.smtp import Answers, Mail, SmtpSession, new_mail

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("managed")]

EDITORS = ("pymilter", "second")
VERDICTS = ("reject", "tempfail", "tempfail-text", "plain-reject", "reject-lines", "accept")
STAGES = ("", "@header", "@eoh", "@body")
REPEATED = [b"X-Rep: first", b"X-Other: between", b"X-Rep: second", b"X-Rep: third\r\n\tfolded"]
RECEIVED_DATE = re.compile(rb";\s+\w{3}, \d+ \w{3} \d{4} [\d:]+ [+-]\d{4} \(\w+\)")
SIGNATURE_PARTS = re.compile(rb"\b(?:t=\d+|b=[A-Za-z0-9+/=\s]+$)")


Event = dict[str, Any]


@dataclass
class Outcome:
    """What can be seen of some mails from outside, free of what differs from run to run."""

    answers: list[tuple[str, ...]] = field(default_factory=list)
    arrived: list[tuple[str, str, tuple[tuple[bytes, bytes], ...], bytes]] = field(default_factory=list)
    told: list[tuple[str, list[Event]]] = field(default_factory=list)


def masked(text: bytes, mail: Mail, answers: Answers) -> bytes:
    text = text.replace(mail.token.encode(), b"TOKEN").replace(answers.queue_id.encode(), b"QUEUEID")
    return RECEIVED_DATE.sub(b"; DATE", text)


def masked_header(name: bytes, value: bytes, mail: Mail, answers: Answers) -> tuple[bytes, bytes]:
    if name == b"DKIM-Signature":
        return name, SIGNATURE_PARTS.sub(b"MASKED", value)
    return name, masked(value, mail, answers)


def masked_event(event: Event, mail: Mail, answers: Answers) -> Event:
    """An event of an accepted mail, without the numbers of the child's own sessions.

    Before the end of the message, libmilter shows a child that declined MAIL the queue id of whatever mail came before
    on the same connection, so there it is only compared that there is one.
    """
    kept = {key: value for key, value in event.items() if key not in ("session", "transaction")}
    queue_id = answers.queue_id
    kept.update({key: value.replace(queue_id, "QUEUEID") for key, value in kept.items() if isinstance(value, str)})
    if "i" in kept["macros"]:
        is_exact = event["event"] == "eom" and kept["macros"]["i"] == queue_id
        kept["macros"] = {**kept["macros"], "i": "QUEUEID" if is_exact else "SOME"}
    if kept.get("value", "").strip() == mail.token:
        kept["value"] = "TOKEN"
    return kept


def outcome_of(lab: Lab, via: str, names: Sequence[str], mails: Sequence[Mail], **settings: Any) -> Outcome:
    """Sends the mails through one connection and gathers what became of them; settings as for ``Lab.new_route``."""
    with SmtpSession(lab.port(via, *names, **settings)) as session:
        answered = [(mail, session.send(mail)) for mail in mails]
    outcome = Outcome()
    for mail, answers in answered:
        outcome.answers.append(answers.masked())
        if answers.end.startswith("250"):
            outcome.arrived += arrived_of(lab, mail, answers)
            outcome.told += told_of(lab, names, mail, answers)
        else:
            assert lab.postfix.deliveries(mail.token, at_least=0) == []
    return outcome


def arrived_of(lab: Lab, mail: Mail, answers: Answers) -> list[tuple[Any, ...]]:
    lab.postfix.wait_until_finished(answers.queue_id)
    return [
        (
            delivery.sender,
            delivery.recipient,
            tuple(masked_header(name, value, mail, answers) for name, value in delivery.headers),
            delivery.body,
        )
        for delivery in lab.postfix.deliveries(mail.token, at_least=0)
    ]


def told_of(lab: Lab, names: Sequence[str], mail: Mail, answers: Answers) -> list[tuple[str, list[Event]]]:
    """What each pymilter child among the names was told of the mail, but for aborts: Postfix sends those late."""
    told = []
    for name in names:
        child = lab.child(name)
        if isinstance(child, PymilterChild):
            events = [event for event in child.conversation(mail.token) if event["event"] != "abort"]
            told.append((name, [masked_event(event, mail, answers) for event in events]))
    return told


def assert_same(lab: Lab, names: Sequence[str], *mails: dict[str, Any], **settings: Any) -> Outcome:
    """Sends mails of these settings both ways and compares; returns what was seen, for a closer look."""
    directly = outcome_of(lab, DIRECT, names, [new_mail(**mail) for mail in mails], **settings)
    managed = outcome_of(lab, MANAGER, names, [new_mail(**mail) for mail in mails], **settings)
    assert managed.answers == directly.answers
    assert managed.arrived == directly.arrived
    assert managed.told == directly.told
    return directly


def assert_same_but_for_what_is_told(lab: Lab, names: Sequence[str], *mails: dict[str, Any]) -> None:
    """As assert_same; what the children are told is compared for the last mail only.

    A verdict of one child can come when the manager has asked the other already: about a recipient, say, that the
    first refuses. Postfix asks one after another.
    """
    directly = outcome_of(lab, DIRECT, names, [new_mail(**mail) for mail in mails])
    managed = outcome_of(lab, MANAGER, names, [new_mail(**mail) for mail in mails])
    assert managed.answers == directly.answers
    assert managed.arrived == directly.arrived
    assert managed.told[-len(names) :] == directly.told[-len(names) :]


def asks(pymilter: Sequence[str] = (), second: Sequence[str] = ()) -> list[str]:
    return [f"pymilter: {action}" for action in pymilter] + [f"second: {action}" for action in second]


EDITS = {
    "insert at 0": asks(["insert-header 0 X-Top pymilter"], ["insert-header 0 X-Top second"]),
    "insert at 1": asks(["insert-header 1 X-One pymilter"], ["insert-header 1 X-One second"]),
    "insert at 0 and 1, both": asks(
        ["insert-header 0 X-A p0", "insert-header 1 X-B p1"], ["insert-header 1 X-A s1", "insert-header 0 X-B s0"]
    ),
    "insert twice at 0": asks(["insert-header 0 X-A one", "insert-header 0 X-A two"]),
    "insert in the middle": asks(["insert-header 4 X-A p4"], ["insert-header 5 X-A s5"]),
    "insert behind the end": asks(["insert-header 99 X-A p99"], ["insert-header 99 X-A s99"]),
    "insert a folded value": asks(["insert-header 0 X-A one\\n\ttwo\\n three"]),
    "add": asks(["add-header X-A one", "add-header X-A two"], ["add-header X-A three"]),
    "change the second": asks(["change-header X-Rep 2 p2"], ["change-header X-Rep 2 s2"]),
    "change in another case": asks(["change-header x-rep 2 p2"], ["change-header X-REP 3 s3"]),
    "change what is missing": asks(["change-header X-None 1 p"], ["change-header X-Rep 9 s"]),
    "change instance 0": asks(["change-header X-Rep 0 p0"], ["change-header X-Rep 1 s1"]),
    "change what was added": asks(["add-header X-A one", "change-header X-A 1 two"], ["change-header X-A 1 three"]),
    "change a folded one": asks(["change-header X-Rep 3 now\\n\tfolded\\n\totherwise"]),
    "delete the first": asks(["delete-header X-Rep 1"], ["delete-header X-Rep 1"]),
    "delete upwards": asks(["delete-header X-Rep 1", "delete-header X-Rep 2"]),
    "delete downwards": asks(["delete-header X-Rep 3", "delete-header X-Rep 2", "delete-header X-Rep 1"]),
    "delete, then change": asks(["delete-header X-Rep 1", "change-header X-Rep 2 p2"], ["change-header X-Rep 1 s1"]),
    "delete what is missing": asks(["delete-header X-None 1"], ["delete-header X-Rep 9"]),
    "delete what the other added": asks(["add-header X-A one"], ["delete-header X-A 1", "delete-header X-Py-Milter 1"]),
    "delete and insert": asks(
        ["delete-header X-Other 1", "insert-header 2 X-A p2"], ["delete-header Subject 1", "insert-header 3 X-B s3"]
    ),
    "change the subject": asks(["change-header Subject 1 p"], ["change-header Subject 1 s"]),
    "touch Received": asks(["change-header Received 1 p"], ["delete-header Received 1"]),
    "replace the body": asks(["replace-body from pymilter"], ["replace-body from second"]),
    "replace the body by the first": asks(["replace-body from pymilter"], ["add-header X-A s"]),
    "replace by a large body": asks(["repeat-body 20000"], ["insert-header 0 X-A s"]),
    "replace the body in two pieces": asks(["replace-body one", "replace-body two"], ["add-header X-A s"]),
    "empty the body": asks(["empty-body"], ["add-header X-A s"]),
    "empty the body after all": asks(["replace-body from pymilter"], ["empty-body"]),
    "add a very long header": asks(["fill-header X-Long 50000"], ["insert-header 0 X-A s", "fill-header X-Long 60000"]),
    "add an 8-bit header": asks(["add-header X-A j\u00f6rg"], ["change-header X-A 1 j\u00f6rg \u20ac"]),
    "8-bit body": asks(["replace-body \u20ac"], ["change-header Subject 1 \u20ac"]),
    "replace the body in between": asks(["insert-header 0 X-A p", "replace-body new", "add-header X-B p"]),
    "add a recipient": asks(["add-recipient more@example.test"], ["add-recipient most@example.test"]),
    "add a recipient with brackets": asks(["add-recipient <more@example.test>"], ["add-recipient <u@example.test>"]),
    "add one twice": asks(["add-recipient more@example.test"], ["add-recipient more@example.test"]),
    "add one with parameters": asks(["add-recipient more@example.test NOTIFY=NEVER"]),
    "delete the recipient, add another": asks(["delete-recipient <u@example.test>"], ["add-recipient v@example.test"]),
    "add one, delete it": asks(["add-recipient v@example.test"], ["delete-recipient v@example.test"]),
    "delete a stranger": asks(["delete-recipient nobody@example.test"]),
    "change the sender": asks(["change-sender b@sender.test"], ["change-sender <c@sender.test>"]),
    "change the sender of one": asks(["change-sender b@sender.test"]),
    "empty the sender": asks(["change-sender <>"]),
    "report progress": asks(["progress", "add-header X-A p", "progress"], ["progress"]),
    "everything": asks(
        ["insert-header 0 X-A p0", "change-header X-Rep 2 p2", "delete-header X-Rep 1", "add-recipient v@example.test"],
        ["insert-header 1 X-A s1", "delete-header X-Rep 1", "replace-body new", "change-sender b@sender.test"],
    ),
}


def test_the_comparison_finds_nothing_when_both_ways_are_the_same(lab: Lab) -> None:
    mails = [{"asks": EDITS["everything"], "headers": REPEATED}, {"asks": ["second: reject"]}]
    first, second = (outcome_of(lab, DIRECT, EDITORS, [new_mail(**settings) for settings in mails]) for _ in range(2))
    assert first == second


def test_the_comparison_finds_children_in_another_order(lab: Lab) -> None:
    mails = [{"asks": EDITS["everything"], "headers": REPEATED}]
    first = outcome_of(lab, DIRECT, EDITORS, [new_mail(**settings) for settings in mails])
    second = outcome_of(lab, DIRECT, EDITORS[::-1], [new_mail(**settings) for settings in mails])
    assert first.arrived != second.arrived


@pytest.mark.parametrize("name", EDITS)
def test_edits_of_two_children_end_the_same(lab: Lab, name: str) -> None:
    seen = assert_same(lab, EDITORS, {"asks": EDITS[name], "headers": REPEATED})
    assert len(seen.arrived) >= 1


def random_actions(chance: random.Random) -> list[str]:
    """Some header edits, most of them near what is there."""
    name = ["X-Rep", "x-rep", "X-Other", "X-New", "Subject", "Received", "X-Ask"]
    kinds = [
        lambda: f"add-header {chance.choice(name)} {chance.randrange(1000)}",
        lambda: f"insert-header {chance.randrange(14)} {chance.choice(name)} {chance.randrange(1000)}",
        lambda: f"change-header {chance.choice(name)} {chance.randrange(5)} {chance.randrange(1000)}",
        lambda: f"delete-header {chance.choice(name)} {chance.randrange(1, 5)}",
    ]
    return [chance.choice(kinds)() for _ in range(chance.randrange(1, 7))]


@pytest.mark.parametrize("seed", range(12))
def test_random_header_edits_end_the_same(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    mails = [{"asks": asks(random_actions(chance), random_actions(chance)), "headers": REPEATED} for _ in range(4)]
    assert_same(lab, EDITORS, *mails)


@pytest.mark.parametrize("names", [("spaced", "pymilter"), ("pymilter", "spaced"), ("silent", "spaced", "pymilter")])
def test_children_that_negotiate_differently_see_and_do_the_same(lab: Lab, names: Sequence[str]) -> None:
    headers = [*REPEATED, b"X-Tight:value", b"X-Wide:   value", b"X-Tab:\tvalue", b"X-Empty:", b"X-8-bit: \xe4\xff"]
    edits = [
        "insert-header 0 X-A  two spaces",
        "change-header X-Rep 2  p2",
        "delete-header X-Rep 1",
        "add-header X-B b",
    ]
    assert_same(lab, names, {"headers": headers, "asks": [f"{name}: {edit}" for name in names for edit in edits]})


@pytest.mark.parametrize(
    "names", [("content", "pymilter"), ("envelope", "content"), ("content", "no_data", "envelope"), ("content",)]
)
def test_children_that_decline_steps_see_and_do_the_same(lab: Lab, names: Sequence[str]) -> None:
    edits = ["insert-header 0 X-A a", "change-header X-Rep 2 p2", "delete-header X-Rep 1", "replace-body new"]
    mails = [
        {"headers": REPEATED, "asks": [f"{name}: {edit}" for name in names for edit in edits]},
        {"asks": ["content: reject@header"]},
        {"recipients": ["envelope-reject@example.test", "no_data-reject@example.test", "u@example.test"]},
        {"sender": "envelope-reject@sender.test"},
        {"asks": ["content: tempfail"]},
        {"body": b"0123456789abcdef\r\n" * 10000, "asks": ["content: skip@body"]},
        {},
    ]
    assert_same(lab, names, *mails)


def test_a_child_with_macro_lists_of_its_own_takes_none_from_the_others(lab: Lab) -> None:
    """Behind the manager a child may be told macros that only another one asked for, but never fewer than directly."""
    names = ("picky", "pymilter")
    directly, managed = (outcome_of(lab, via, names, [new_mail()]).told for via in (DIRECT, MANAGER))
    for (name, events), (_, managed_events) in zip(directly, managed):
        for event, managed_event in zip(events, managed_events):
            missing = event["macros"].items() - managed_event["macros"].items()
            assert not missing, f"{name} at {event['event']}"
    assert [len(events) for _, events in managed] == [len(events) for _, events in directly]


MAILS = {
    "plain": {},
    "empty body": {"body": b""},
    "dots and 8-bit": {"body": b".\r\n..\r\n\xff\xfe\r\n\r\n"},
    "5 MB": {"body": b"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop\r\n" * 81920},
    "odd headers": {
        "headers": [b"X-A:", b"X-B:b", b"X-C:  c  ", b"X-D: \xe4\r\n\t\xff\r\n  x", b"X-E: " + b"e" * 5000]
    },
    "header over the limit": {"headers": [b"X-A: a" + b"\r\n\t0123456789" * 8000]},
    "many headers": {"headers": [b"X-A: %d" % number for number in range(200)]},
    "NUL in the header": {"headers": [b"X-A: a\0b"]},
    "NUL in the body": {"body": b"a\0b\r\n"},
    "bare CR and LF": {"body": b"a\rb\nc\r\r\n"},
    "a line that is no header": {"headers": [b"this is no header", b"X-A: a"]},
    "a very long line": {"body": b"x" * 100000 + b"\r\n"},
    "no line end at all": {"body": b"x"},
    "parameters": {"mail_parameters": "SIZE=99 BODY=8BITMIME ENVID=e", "rcpt_parameters": "NOTIFY=FAILURE,DELAY"},
    "empty sender": {"sender": ""},
    "many recipients": {"recipients": [f"r{number}@example.test" for number in range(30)]},
    "the same recipient twice": {"recipients": ["u@example.test", "u@example.test"]},
}


@pytest.mark.parametrize("name", MAILS)
def test_a_mail_nobody_edits_is_told_and_arrives_the_same(lab: Lab, name: str) -> None:
    assert_same(lab, EDITORS, MAILS[name])


SESSIONS: dict[str, list[dict[str, Any]]] = {
    f"{word}{at} by {who}": [
        {"asks": [f"{who}: {word}{at}", "second: add-header X-A a", "pymilter: insert-header 0 X-B b"]},
        {"asks": asks(["add-header X-A a"], ["insert-header 0 X-B b"])},
    ]
    for who in EDITORS
    for at in STAGES
    for word in VERDICTS
}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_verdict_in_the_content_and_the_next_mail_end_the_same(lab: Lab, name: str) -> None:
    assert_same_but_for_what_is_told(lab, EDITORS, *SESSIONS[name])


@pytest.mark.parametrize("who", EDITORS)
@pytest.mark.parametrize("word", VERDICTS)
def test_a_verdict_in_the_envelope_ends_the_same(lab: Lab, word: str, who: str) -> None:
    mails = [
        {"sender": f"{who}-{word}@sender.test"},
        {"sender": f"{who}-data-{word}@sender.test"},
        {"recipients": [f"{who}-{word}@example.test", "u@example.test", f"{who}-{word}@example.test"]},
        {"recipients": [f"{who}-{word}@example.test"]},
        {"recipients": ["pymilter-reject@example.test", "second-tempfail@example.test", "u@example.test"]},
        {},
    ]
    assert_same_but_for_what_is_told(lab, EDITORS, *mails)


@pytest.mark.parametrize("version", ["2", "3", "4", "6"])
def test_an_older_protocol_version_ends_the_same(lab: Lab, version: str) -> None:
    mails = [
        {"asks": EDITS["everything"], "headers": [*REPEATED, b"X-Tight:t", b"X-Wide:   w", b"X-Empty:"]},
        {"asks": ["second: reject@header"]},
        {"body": b"0123456789abcdef\r\n" * 10000, "asks": ["pymilter: skip@body"]},
        {"recipients": ["second-reject@example.test", "u@example.test"]},
        {"sender": "pymilter-data-reject@sender.test"},
        {"headers": REPEATED},
    ]
    assert_same(lab, EDITORS, *mails, milter_protocol=version)


def test_macro_lists_of_postfix_end_the_same(lab: Lab) -> None:
    lists = {
        "milter_connect_macros": "j v {daemon_port} {client_addr} {client_port} {client_name} {client_ptr}",
        "milter_helo_macros": "",
        "milter_mail_macros": "i {mail_addr}",
        "milter_rcpt_macros": "{rcpt_addr} {rcpt_mailer}",
        "milter_data_macros": "",
        "milter_end_of_header_macros": "i {mail_addr} {rcpt_addr}",
        "milter_end_of_data_macros": "i",
    }
    mails = [{}, {"recipients": ["one@example.test", "two@example.test"]}, {"sender": ""}]
    assert_same(lab, EDITORS, *mails, **lists)


def test_sockets_on_tcp_end_the_same(lab: Lab) -> None:
    assert_same(lab, ("tcp", "pymilter"), {"asks": EDITS["everything"], "headers": REPEATED}, {}, on_tcp=True)


def random_mail(chance: random.Random) -> dict[str, Any]:
    """Some envelope, edits and verdicts; about half of such mails arrive."""
    word = chance.choice(VERDICTS)
    who = chance.choice(EDITORS)
    recipients = [f"r{number}@example.test" for number in range(chance.randrange(1, 4))]
    actions = asks(random_actions(chance), random_actions(chance))
    settings: dict[str, Any] = {"headers": REPEATED[: chance.randrange(5)], "recipients": recipients, "asks": actions}
    settings["body"] = b"0123456789abcdef\r\n" * chance.choice([0, 1, 100, 10000])
    kind = chance.choice(["plain", "plain", "mail", "data", "rcpt", "content", "content"])
    if kind in ("mail", "data"):
        settings["sender"] = f"{who}-{'data-' if kind == 'data' else ''}{word}@sender.test"
    elif kind == "rcpt":
        recipients.insert(chance.randrange(len(recipients) + 1), f"{who}-{word}@example.test")
    elif kind == "content":
        actions.insert(chance.randrange(len(actions) + 1), f"{who}: {word}{chance.choice(STAGES)}")
    return settings


@pytest.mark.parametrize("seed", range(10))
def test_random_sessions_end_the_same(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    assert_same_but_for_what_is_told(lab, EDITORS, *(random_mail(chance) for _ in range(6)), {})


def test_the_scanners_and_the_signer_end_the_same(lab: Lab) -> None:
    edits = asks(["insert-header 0 X-A a", "change-header Subject 1 changed", "replace-body new"])
    mails = [{}, {"asks": edits}, {"body": EICAR + b"\r\n"}, {"body": GTUBE + b"\r\n"}, {"headers": REPEATED}]
    seen = assert_same(lab, ("pymilter", "clamav", "spamass", "opendkim"), *mails)
    assert len(seen.arrived) == 3
