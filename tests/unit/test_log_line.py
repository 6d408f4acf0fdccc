"""Lines taken apart: every event of the code gives its fields, and no value of a peer becomes another field."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.log import quoted, shown
from mmgr.logline import Said, as_json, is_number, parse, parse_children
from tests.architecture.sources import OURS, ROOT, sources
from tests.architecture.test_log_catalogue import event, log_calls

often = settings(max_examples=100, deadline=None)
CONVERSION = re.compile(r"%[-.\d]*([sdfg])")
SAMPLES = {"s": "x", "d": "7", "f": "0.5", "g": "1e-05"}
TEMPLATES = sorted(
    {
        str(call.args[0].value)
        for source in sources(ROOT, *OURS)
        for call in log_calls(source)
        if event(call) and isinstance(call.args[0], ast.Constant)
    }
)


def members(text: str, **more: Any) -> dict[str, Any]:
    """The object of a line, without what every line has."""
    found = json.loads(as_json("T", "info", 1, text, **more))
    return {key: value for key, value in found.items() if key not in ("time", "level", "pid")}


# ---- taking apart


def test_a_line_is_an_event_and_its_fields() -> None:
    line = parse('child-failed session=1.2 error="it is gone" fallback=accept')
    assert line == ("child-failed", {"session": "1.2", "error": "it is gone", "fallback": "accept"})


def test_an_event_may_stand_alone() -> None:
    assert parse("stopped") == ("stopped", {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Event a=1",
        "event:",
        "event a",
        "event a=1 ",
        "event  a=1",
        "event a=1 b",
        "event A=1",
        'event a="x',
        'event a="x"y',
        'event a=x"y"',
        "event a=1 a=2",
        "[statistics] a=1",
    ],
)
def test_what_is_no_such_line_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_event_of_the_code_is_such_a_line(template: str) -> None:
    body = re.sub(r"(?<!=)%s$", "", template)  # `` repeated=N`` or nothing
    assert parse(CONVERSION.sub(lambda found: SAMPLES[found.group(1)], body)) is not None


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_the_code_writes_as_a_number_is_one(template: str) -> None:
    numbers = re.findall(r"([a-z_]+)=%[-.\d]*[dfg]", template)
    assert [key for key in numbers if not is_number(key)] == []


@often
@given(sender=st.binary(max_size=120), error=st.text(max_size=220))
def test_hostile_values_come_back_as_they_were_written(sender: bytes, error: str) -> None:
    line = parse(f"event sender={shown(sender)} error={quoted(error)} verdict=reject")
    assert line is not None
    assert line.fields["sender"] == shown(sender).replace('""', "")
    assert list(line.fields) == ["sender", "error", "verdict"]
    assert line.fields["error"] == quoted(error)[1:-1]


# ---- JSON


@often
@given(st.text(max_size=200))
def test_any_text_is_one_line_of_ascii_that_keeps_it(text: str) -> None:
    line = as_json("T", "info", 1, text)
    assert line.isascii()
    assert line.isprintable()
    if parse(text) is None:
        assert json.loads(line)["message"] == text


def test_numbers_are_numbers() -> None:
    assert members("event edits=2 elapsed_s=0.0120 uid=-1") == {
        "event": "event",
        "edits": 2,
        "elapsed_s": 0.012,
        "uid": -1,
    }


def test_a_peer_makes_no_number() -> None:
    assert members("event sender=12 client=1e5")["sender"] == "12"


def test_a_number_that_is_none_stays_text() -> None:
    assert members("event elapsed_s=nan edits=0x1")["elapsed_s"] == "nan"


def test_an_empty_value_is_null() -> None:
    assert members("event child=- edits=-") == {"event": "event", "child": None, "edits": None}


def test_an_empty_text_is_no_empty_value() -> None:
    assert members('event sender=""')["sender"] == ""


def test_what_a_peer_sent_stays_escaped() -> None:
    assert members(f"event sender={shown(bytes([255, 10]))}")["sender"] == "\\xff\\n"


@pytest.mark.parametrize("key", ["pid", "time", "level", "event", "message", "traceback"])
def test_a_field_does_not_hide_what_every_line_has(key: str) -> None:
    found = json.loads(as_json("T", "info", 1, f"control-request {key}=77", "Trace"))
    assert str(found.pop(f"field_{key}")) == "77"
    assert found == {"time": "T", "level": "info", "pid": 1, "event": "control-request", "traceback": "Trace"}


def test_what_is_no_event_is_a_message() -> None:
    assert members("[statistics] [session][end]") == {"message": "[statistics] [session][end]"}


def test_children_are_a_list() -> None:
    (child,) = members("transaction children=clamav-milter:reject:0.1250 edited_by=-")["children"]
    assert child == {
        "name": "clamav-milter",
        "verdict": "reject",
        "condition": None,
        "evaluated": False,
        "seconds": 0.125,
        "edits": 0,
    }


def test_edits_stand_beside_the_child_that_made_them() -> None:
    found = members("transaction children=a:continue:0.1000,b:continue:0.2000,c:accept:0.3000 edited_by=c:2,a:1")
    assert [(each["name"], each["edits"]) for each in found["children"]] == [("a", 1), ("b", 0), ("c", 2)]
    assert "edited_by" not in found


def test_no_children_are_an_empty_list() -> None:
    assert members("transaction children=- edited_by=-") == {"event": "transaction", "children": []}


def test_a_number_of_children_is_a_number() -> None:
    assert members("serving children=3")["children"] == 3


def test_children_that_make_no_sense_stay_text() -> None:
    assert members("event children=a:b edited_by=x:1") == {"event": "event", "children": "a:b", "edited_by": "x:1"}


# ---- children


def test_a_stopped_child_has_its_condition() -> None:
    assert parse_children("a:stopped(Remote_Network):0.0000") == [Said("a", "stopped", "Remote_Network", False, 0.0)]


def test_an_evaluated_child_is_told_by_its_parentheses() -> None:
    text = "a:(reject):0.5000,b:(stopped(S25R)):0.0000"
    assert parse_children(text) == [Said("a", "reject", "", True, 0.5), Said("b", "stopped", "S25R", True, 0.0)]


@pytest.mark.parametrize("condition", ["a)b", "a:b", "a(b", "((", ":0.1", "a:1.5:b"])
def test_strange_names_of_conditions_are_whole(condition: str) -> None:
    text = f"first:stopped({condition}):0.0000,second:continue:0.1000"
    assert parse_children(text) == [
        Said("first", "stopped", condition, False, 0.0),
        Said("second", "continue", "", False, 0.1),
    ]


@pytest.mark.parametrize("text", ["", "a", "a:reject", "a:reject:1", "a:reject:0.1,", "7"])
def test_anything_else_is_no_list_of_children(text: str) -> None:
    assert parse_children(text) is None
