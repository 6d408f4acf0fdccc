"""What a session tells of itself: the end of a transaction's line, and the lines of milter manager 2 beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.journal import NOTICE
from mmgr.log import STATISTICS
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import AddHeader, AddRcpt, ChgHeader, Edit, InsHeader
from workers.message import Message
from workers.sessionlog import SessionLog
from workers.sessionstatistics import VALUE_CHARACTERS_MAX, Edited
from workers.spool import BodySpool
from workers.transaction import Transaction

often = settings(max_examples=80, deadline=None)
MAIL, RCPT, END = int(Command.SMFIC_MAIL), int(Command.SMFIC_RCPT), int(Command.SMFIC_BODYEOB)
SECONDS = re.compile(r"\[\d[^\]]*\](?=\(\d+\))")
TAG = re.compile(r"\(\d+\)")
MILTER = re.compile(r"\[milter\]\[header\]\[add\]\((.+)\): <(.+?)>=<(.+?)>: (.+)")
"""What the analyzer of milter manager 2 looks for."""

PASSED = "one:continue:0.1000,two:continue:0.2000"


class Kept(logging.Handler):
    """The lines of one logger."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(record.getMessage())


def kept(name: str, level: int) -> Iterator[list[str]]:
    """What a logger is told from now on; afterwards it is as it was."""
    logger, keeping = logging.getLogger(name), Kept()
    before = logger.level
    logger.addHandler(keeping)
    logger.setLevel(level)
    yield keeping.lines
    logger.removeHandler(keeping)
    logger.setLevel(before)


@pytest.fixture
def raw() -> Iterator[list[str]]:
    """The lines of the statistics as they are."""
    yield from kept(STATISTICS, NOTICE)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the log."""
    yield from kept("", logging.DEBUG)


def plain(raw: Sequence[str]) -> list[str]:
    """The lines without prefix, numbers and seconds."""
    assert all(line.startswith("[statistics] ") for line in raw)
    return [TAG.sub("", SECONDS.sub("[S]", line[len("[statistics] ") :])) for line in raw]


def tell(
    events: SessionLog,
    outcome: str = "accept",
    command: int = END,
    children: str = PASSED,
    edited: Sequence[Edited] = (),
) -> None:
    """A transaction is over."""
    message = Message(True, BodySpool(1000, ""))
    for each in edited:
        message.apply(each.edits, None)
    transaction = Transaction(0.0, message, edits=message.count_edits())
    events.transaction(transaction, outcome, command, b"4jX", children, edited)


def of_session(**told: object) -> None:
    """A session of one transaction."""
    events = SessionLog("1.1")
    tell(events, **told)  # type: ignore[arg-type]
    events.ended(END, lambda: "")


# ---- who edited


def ends(lines: list[str]) -> list[str]:
    return [line.rpartition(" ")[2] for line in lines if line.startswith("transaction ")]


def test_nobody_edited(lines: list[str]) -> None:
    tell(SessionLog("1.1"))
    assert ends(lines) == ["edited_by=-"]


def test_each_child_that_edited_is_named_with_the_number_of_its_edits(lines: list[str]) -> None:
    add = AddHeader(b"X-A", b"1")
    tell(SessionLog("1.1"), edited=[Edited("one", [add, AddRcpt(b"<a@b>")]), Edited("two", [add], True)])
    assert ends(lines) == ["edited_by=one:2,two:2"]


# ---- sessions without a message


def session_ends(lines: list[str]) -> list[str]:
    return [re.sub(r"elapsed_s=\S+", "elapsed_s=N", line) for line in lines if line.startswith("session-ended ")]


def test_a_session_of_which_nothing_was_told_is_told_of_at_its_end(lines: list[str]) -> None:
    events = SessionLog("1.1")
    events.client = "mx[192.0.2.7]"
    events.ended(int(Command.SMFIC_HELO), lambda: "one:continue:0.1000")
    expected = "session-ended session=1.1 client=mx[192.0.2.7] stage=helo elapsed_s=N children=one:continue:0.1000"
    assert session_ends(lines) == [expected]


def test_one_with_a_transaction_is_not_told_of_again(lines: list[str]) -> None:
    of_session()
    assert session_ends(lines) == []


def test_a_mere_negotiation_is_no_session(lines: list[str], raw: list[str]) -> None:
    SessionLog("1.1").ended(0, lambda: "")
    assert (lines, raw) == ([], [])


# ---- statistics


def test_unless_they_are_wanted_there_are_none(lines: list[str]) -> None:
    logging.getLogger(STATISTICS).setLevel(logging.CRITICAL + 1)
    of_session()
    assert [line for line in lines if "[statistics]" in line] == []


def test_a_session_ends_with_its_children_the_last_first(raw: list[str]) -> None:
    of_session()
    assert plain(raw) == [
        "[session][end][end-of-message][pass][S]",
        "[milter][end][end-of-message][pass][S]: two",
        "[milter][end][end-of-message][pass][S]: one",
    ]


def test_every_one_has_a_number_of_its_own(raw: list[str]) -> None:
    of_session()
    of_session()
    assert len({TAG.search(line) and TAG.search(line).group() for line in raw}) == 6  # type: ignore[union-attr]


def test_seconds_of_a_child_are_those_of_all_messages(raw: list[str]) -> None:
    events = SessionLog("1.1")
    tell(events, children="one:continue:0.2500")
    tell(events, children="one:continue:0.5000")
    events.ended(END, lambda: "one:continue:9.0000")
    assert [re.sub(TAG, "", line) for line in raw[1:]] == [
        "[statistics] [milter][end][end-of-message][pass][0.75]: one"
    ]


@pytest.mark.parametrize(
    ("outcome", "children", "status"),
    [
        ("accept", "one:continue:0.1000,two:accept:0.1000", "pass"),
        ("accept", "one:accept:0.1000", "accept"),
        ("accept", "one:stopped(S25R):0.0000", "accept"),
        ("reject", "one:reject:0.1000", "reject"),
        ("temporary-failure", "one:failed:0.1000", "temporary-failure"),
        ("shutdown", "one:shutdown:0.1000", "temporary-failure"),
        ("discard", "one:discard:0.1000", "discard"),
        ("quarantine", "one:continue:0.1000", "quarantine"),
        ("abort", "one:continue:0.1000", "abort"),
    ],
)
def test_the_status_of_a_session_is_that_of_its_last_message(
    raw: list[str], outcome: str, children: str, status: str
) -> None:
    events = SessionLog("1.1")
    tell(events, "reject", children="one:reject:0.1000")
    tell(events, outcome, children=children)
    events.ended(END, lambda: "")
    assert f"[session][end][end-of-message][{status}][S]" in plain(raw)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("continue", "pass"),
        ("accept", "accept"),
        ("reject", "reject"),
        ("(reject)", "reject"),
        ("stopped(Remote_Network)", "stop"),
        ("(stopped(S25R))", "stop"),
        ("failed", "error"),
        ("skip", "skip"),
        ("shutdown", "temporary-failure"),
    ],
)
def test_the_status_of_a_child_is_what_it_said(raw: list[str], said: str, status: str) -> None:
    of_session(children=f"one:{said}:0.1000")
    assert plain(raw)[-1] == f"[milter][end][end-of-message][{status}][S]: one"


@pytest.mark.parametrize(
    ("command", "state"), [(MAIL, "envelope-from"), (RCPT, "envelope-recipient"), (END, "end-of-message")]
)
def test_stages_have_the_names_of_old(raw: list[str], command: int, state: str) -> None:
    of_session(command=command)
    assert plain(raw)[0] == f"[session][end][{state}][pass][S]"


def test_a_session_without_a_message_ends_too(raw: list[str]) -> None:
    SessionLog("1.1").ended(int(Command.SMFIC_HELO), lambda: "one:continue:0.1000")
    assert plain(raw) == ["[session][end][helo][pass][S]", "[milter][end][helo][pass][S]: one"]


def test_a_quarantine_is_told(raw: list[str]) -> None:
    tell(SessionLog("1.1"), "quarantine")
    assert plain(raw) == ["[reply][end-of-message][quarantine]"]


def test_headers_are_told_for_the_child_and_for_the_session(raw: list[str]) -> None:
    edits: list[Edit] = [AddHeader(b"X-A", b"1"), InsHeader(0, b"X-B", b" 2"), ChgHeader(1, b"X-C", b"3")]
    tell(SessionLog("1.1"), edited=[Edited("one", edits)])
    headers = ["<X-A>=<1>", "<X-B>=<2>", "<X-C>=<3>"]
    assert plain(raw) == [f"[milter][header][add]: {each}: one" for each in headers] + [
        f"[session][header][add]: {each}" for each in headers
    ]


def test_a_header_that_goes_is_not_told(raw: list[str]) -> None:
    tell(SessionLog("1.1"), edited=[Edited("one", [ChgHeader(1, b"X-C", b""), AddRcpt(b"<a@b>")])])
    assert raw == []


def test_a_child_keeps_its_number_from_header_to_end(raw: list[str]) -> None:
    of_session(edited=[Edited("two", [AddHeader(b"X-A", b"1")])])
    of_two = [TAG.search(line) for line in raw if line.endswith(": two")]
    assert len({found.group() for found in of_two if found}) == 1


def test_a_folded_value_is_one_line(raw: list[str]) -> None:
    value = b"Yes, score=9 tests=A,\n\tURIBL_X\r\n autolearn=no"
    tell(SessionLog("1.1"), edited=[Edited("one", [AddHeader(b"X-Spam-Status", value)])])
    assert plain(raw)[0].endswith("<Yes, score=9 tests=A, URIBL_X autolearn=no>: one")


@often
@given(st.binary(max_size=100))
def test_any_value_is_one_line_that_the_analyzer_of_old_understands(value: bytes) -> None:
    for raw in kept(STATISTICS, NOTICE):
        tell(SessionLog("1.1"), edited=[Edited("one", [AddHeader(b"X-A", b"v" + value)])])
        line = raw[0][len("[statistics] ") :]
        assert line.isascii()
        assert line.isprintable()
        assert MILTER.fullmatch(line)


def test_a_long_value_is_cut(raw: list[str]) -> None:
    tell(SessionLog("1.1"), edited=[Edited("one", [AddHeader(b"X-A", b"v" * 100_000)])])
    assert "v" * VALUE_CHARACTERS_MAX + "...>" in raw[0]
