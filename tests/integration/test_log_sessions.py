"""What a running daemon's log tells of whole sessions: who edited, what it is told at debug, the lines of old."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from mmgr.peers.behaviour import Behaviour
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import Continue, Reject
from tests.integration.rig import marking, numbered, turns
from tests.integration.test_log_forms import Logged
from tests.support.processes import LabDirectory

NUMBERS = re.compile(r"\[[0-9.e-]+\](?=\()|\(\d+\)")


@pytest.fixture
def logged(lab: LabDirectory) -> Iterator[Logged]:
    made = Logged(lab, level="debug", statistics="yes")
    with made.rig:
        yield made


def statistics(logged: Logged, count: int) -> list[str]:
    """So many lines of the statistics, without what differs from run to run."""
    lines = logged.lines(lambda line: "[statistics] " in line, count)
    assert all(" notice: [statistics] [" in line for line in lines)
    return [NUMBERS.sub("", line.partition("[statistics] ")[2]) for line in lines]


def test_a_child_that_edits_is_named(logged: Logged) -> None:
    logged.rig.behave(marks=marking("mark"))
    logged.rig.deliver()
    (line,) = logged.lines(lambda line: " transaction " in line)
    assert line.endswith(" edited_by=marks:1")


def test_it_is_named_for_the_messages_that_it_edits_alone(logged: Logged) -> None:
    mark = marking("mark").at[Command.SMFIC_BODYEOB]
    logged.rig.behave(marks=turns(Command.SMFIC_BODYEOB, mark, Continue(), (*mark[:1], Reject())))
    logged.rig.deliver(numbered(1), numbered(2), numbered(3))
    lines = logged.lines(lambda line: " transaction " in line, 3)
    assert [line.rpartition(" ")[2] for line in lines] == ["edited_by=marks:1", "edited_by=-", "edited_by=-"]


def test_in_json_the_edits_stand_beside_the_child(lab: LabDirectory) -> None:
    logged = Logged(lab, form="json")
    with logged.rig:
        logged.rig.behave(marks=marking("mark"))
        logged.rig.deliver()
        (line,) = logged.lines(lambda line: '"event":"transaction"' in line)
    assert [each["edits"] for each in json.loads(line)["children"]] == [0, 1]


def test_a_session_without_a_message_is_told_of_at_debug(logged: Logged) -> None:
    with logged.rig.greeted():
        pass
    (line,) = logged.lines(lambda line: " session-ended " in line)
    assert " client=mx.example.net[192.0.2.7] stage=helo " in line


def test_a_session_with_a_message_is_not(logged: Logged) -> None:
    logged.rig.deliver()
    logged.lines(lambda line: "[session][end]" in line)
    assert logged.lines(lambda line: " session-ended " in line, 0) == []


def test_statistics_of_a_session_that_all_let_pass(logged: Logged) -> None:
    logged.rig.deliver(numbered(1), numbered(2))
    assert statistics(logged, 3) == [
        "[session][end][end-of-message][pass]",
        "[milter][end][end-of-message][pass]: marks",
        "[milter][end][end-of-message][pass]: quiet",
    ]


def test_statistics_of_a_message_that_is_marked(logged: Logged) -> None:
    logged.rig.behave(marks=marking("mark"))
    logged.rig.deliver()
    assert statistics(logged, 5) == [
        "[milter][header][add]: <X-mark>=<seen>: marks",
        "[session][header][add]: <X-mark>=<seen>",
        "[session][end][end-of-message][pass]",
        "[milter][end][end-of-message][pass]: marks",
        "[milter][end][end-of-message][pass]: quiet",
    ]


def test_statistics_of_a_message_that_is_refused(logged: Logged) -> None:
    logged.rig.behave(marks=Behaviour(at={Command.SMFIC_MAIL: (Reject(),)}))
    logged.rig.deliver()
    assert statistics(logged, 3) == [
        "[session][end][envelope-from][reject]",
        "[milter][end][envelope-from][reject]: marks",
        "[milter][end][envelope-from][pass]: quiet",
    ]


def test_statistics_of_a_client_that_is_refused(logged: Logged) -> None:
    logged.rig.behave(marks=Behaviour(at={Command.SMFIC_CONNECT: (Reject(),)}))
    with logged.rig.connect() as mta:
        mta.negotiate()
        mta.connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7")
        mta.quit()
    assert statistics(logged, 3)[0] == "[session][end][connect][reject]"


def test_statistics_of_a_session_without_a_message(logged: Logged) -> None:
    with logged.rig.greeted():
        pass
    assert statistics(logged, 3) == [
        "[session][end][helo][pass]",
        "[milter][end][helo][pass]: marks",
        "[milter][end][helo][pass]: quiet",
    ]


@pytest.fixture
def conditional(lab: LabDirectory) -> Iterator[Logged]:
    """A condition keeps marks out of every session."""
    made = Logged(lab, conditions="S25R", statistics="yes")
    with made.rig:
        yield made


SESSIONS = range(3)
"""The first one has to find out what children want; the others know."""


def ends_of_sessions(logged: Logged) -> list[str]:
    return sorted(statistics(logged, 3 * len(SESSIONS)))


def test_statistics_of_a_message_that_a_condition_keeps_from_a_child(conditional: Logged) -> None:
    for number in SESSIONS:
        conditional.rig.deliver(numbered(number))
    assert ends_of_sessions(conditional) == [
        *["[milter][end][end-of-message][pass]: quiet"] * len(SESSIONS),
        *["[milter][end][end-of-message][stop]: marks"] * len(SESSIONS),
        *["[session][end][end-of-message][pass]"] * len(SESSIONS),
    ]


def test_statistics_of_a_session_that_a_condition_keeps_from_a_child(conditional: Logged) -> None:
    for _ in SESSIONS:
        with conditional.rig.greeted():
            pass
    assert ends_of_sessions(conditional) == [
        *["[milter][end][helo][pass]: quiet"] * len(SESSIONS),
        *["[milter][end][helo][stop]: marks"] * len(SESSIONS),
        *["[session][end][helo][pass]"] * len(SESSIONS),
    ]
