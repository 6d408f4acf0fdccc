"""The forms of a running daemon's log: lines of JSON that tell the same as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mmgr.peers.behaviour import Behaviour
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import Reject
from tests.integration.rig import Rig
from tests.support.processes import LabDirectory, wait_for


class Logged:
    """A manager with children named quiet and marks, and a log file. keys are those of ``[log]``.

    conditions are those of marks.
    """

    def __init__(self, lab: LabDirectory, conditions: str = "", **keys: str) -> None:
        self.path = lab.subdirectory("log") / "mm.log"
        sections = {"log": {"path": str(self.path), "use_syslog": "no", **keys}}
        of_marks = {"marks": {"applicable_conditions": conditions}} if conditions else None
        self.rig = Rig(lab.subdirectory("logged"), ("quiet", "marks"), of_marks, sections)

    def lines(self, is_wanted: Callable[[str], bool], count: int = 1) -> list[str]:
        """The lines that are wanted, once there are so many."""
        wait_for(lambda: len(self._found(is_wanted)) >= count, "lines in the log")
        return self._found(is_wanted)

    def _found(self, is_wanted: Callable[[str], bool]) -> list[str]:
        whole, _, _ = self.path.read_text().rpartition("\n")
        return list(filter(is_wanted, whole.splitlines()))

    def transaction(self) -> dict[str, Any]:
        """The object of the only transaction."""
        (line,) = self.lines(lambda line: '"event":"transaction"' in line)
        return dict(json.loads(line))


@pytest.fixture
def logged(lab: LabDirectory) -> Iterator[Logged]:
    made = Logged(lab, form="json")
    with made.rig:
        yield made


def test_every_line_is_an_object_with_an_event(logged: Logged) -> None:
    logged.rig.deliver()
    logged.rig.manager.reload()
    logged.lines(lambda line: '"event":"reloaded"' in line)
    assert all("event" in json.loads(line) for line in logged.lines(bool))


def test_a_message_is_an_object(logged: Logged) -> None:
    logged.rig.deliver()
    found = logged.transaction()
    assert (found["level"], found["verdict"], found["stage"]) == ("info", "accept", "end-of-message")
    assert (found["recipients"], found["edits"], found["child"]) == (1, 0, None)
    assert type(found["elapsed_s"]) is float


def test_its_children_are_objects(logged: Logged) -> None:
    logged.rig.behave(marks=Behaviour(at={Command.SMFIC_RCPT: (Reject(),)}))
    logged.rig.deliver()
    found = logged.transaction()
    said = [(each["name"], each["verdict"], each["edits"]) for each in found["children"]]
    assert said == [("quiet", "continue", 0), ("marks", "reject", 0)]
    assert found["child"] == "marks"


def test_a_reload_changes_the_form(logged: Logged) -> None:
    sections = {"log": {"path": str(logged.path), "form": "text"}}
    logged.rig.manager.write_config(logged.rig.child_keys(), sections)
    logged.rig.manager.reload()
    assert logged.lines(lambda line: " info: reloaded generation=2 " in line)
