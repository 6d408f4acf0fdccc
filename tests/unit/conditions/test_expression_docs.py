"""The reference for administrators says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmgr.conditions.base import Stage
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.expression_names import NAMES

TEXT = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([a-z_A-Z ]+)` \| .* \| ([a-z]+|see below) \|$", TEXT, re.MULTILINE)
OTHERS = {"any recipient", "all recipients", "header NAME", "macro NAME"}
EXAMPLES = re.findall(r"^    # .*\n    (.*)$", TEXT.partition("## Examples")[2], re.MULTILINE)
SETTINGS = re.findall(r"^ +expression = (?:'([^'].*)'|'''(?s:(.*?))''')$", TEXT, re.MULTILINE)


def test_the_table_has_all_names_and_no_others() -> None:
    assert sorted(name for name, _ in ROWS) == sorted({*NAMES, *OTHERS})


@pytest.mark.parametrize(("name", "stage"), [row for row in ROWS if row[0] in NAMES])
def test_the_table_says_from_when_on_a_name_is_known(name: str, stage: str) -> None:
    assert NAMES[name].known is Stage[stage.upper()]


def test_there_are_examples() -> None:
    assert (len(EXAMPLES), len(SETTINGS)) == (12, 2)


@pytest.mark.parametrize("text", [*EXAMPLES, *map("".join, SETTINGS)])
def test_an_example_can_be_used(text: str) -> None:
    assert compile_expression("example", text).stages
