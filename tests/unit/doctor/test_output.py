"""How findings are printed: marks, what to type, colours, JSON, and text that must not steer a terminal."""

from __future__ import annotations

import pytest

from mmgr.cli.managerctl_doctor import EXIT_CODES, as_object, is_coloured, text
from mmgr.doctor.findings import ERROR, LEVELS, NOTE, OK, WARNING, Finding, worst


def test_findings_stand_below_their_subject_with_what_to_type_below_them() -> None:
    found = [Finding("a", OK, "fine"), Finding("a", ERROR, "bad", "one\ntwo"), Finding("postfix", WARNING, "odd")]
    assert text(found) == [
        "a",
        "  OK    fine",
        "  ERR   bad",
        "            one",
        "            two",
        "postfix",
        "  WARN  odd",
        "",
        "1 error, 1 warning",
    ]


def test_that_nothing_is_wrong_is_said() -> None:
    assert text([Finding("a", NOTE, "so")]) == ["a", "  --    so", "", "nothing is wrong"]


def test_control_characters_are_escaped_in_every_part() -> None:
    printed = "\n".join(text([Finding("n\x1b", ERROR, "t\x1b[2J\udcff", "h\x07")]))
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_a_mark_has_a_colour_where_that_is_wanted() -> None:
    assert text([Finding("a", ERROR, "bad")], True)[1] == "  \x1b[31mERR \x1b[0m  bad"


def test_there_is_no_colour_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert not is_coloured()


@pytest.mark.parametrize(("level", "code"), [(OK, 0), (NOTE, 0), (WARNING, 1), (ERROR, 4)])
def test_the_worst_finding_is_the_exit_code(level: str, code: int) -> None:
    better = [Finding("a", each, "") for each in LEVELS[: LEVELS.index(level) + 1]]
    assert EXIT_CODES[worst(better)] == code


def test_no_finding_at_all_is_fine() -> None:
    assert worst([]) == OK


def test_json_has_all_findings() -> None:
    assert as_object([Finding("a", NOTE, "t", "h")]) == {
        "worst": "note",
        "findings": [{"subject": "a", "level": "note", "text": "t", "hint": "h"}],
    }
