"""Regular expressions of the configuration: those that could take for ever are refused, usual ones are not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.conditions.expression import ExpressionError, compile_expression
from mmgr.conditions.patterns import PatternError, Patterns
from mmgr.conditions.regexes import is_exponential, looks_ahead

SLOW = [
    r"(a+)+$",
    r"(a*)*b",
    r"(?:.*)*x",
    r"(a|a)*$",
    r"(a|aa)+$",
    r"(foo|foo)+x",
    r"(\w+\s?)*$",
    r"^([a-z0-9]+[._-]?)+@",
    r"([a-z]+[A-Z]+)+1",
    r"(a?b?)*c",
    r"((a?|b?)c)*d",
    r"(?:a+|b+)*c",
    r"(.*,)*x",
    r"([a-z]+){10,}x",
    r"(a{1,100}){1,100}$",
    r"(a+?)+?$",
    r"(?=(a+)+$)x",
    r"x(?:y(?:z(a+)+)?)?$",
]
USUAL = [
    r"^mx[0-9]+\.",
    r"@(.*\.)?example\.com$",
    r"^([a-z0-9-]+\.)+example\.com$",
    r"^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+$",
    r"^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$",
    r"(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    r"^(foo|foobar)*$",
    r"([a-z]+[0-9]+)+x",
    r"(dhcp|ppp|[achrsvx]?dsl)[^.]*[0-9]",
    r"^[0-9a-f]{32}$",
    r"([0-9a-f]{12})+x",
    r"(a|b|c)*d",
    r"(?:^){0,4000000000}a",
    r"(\d+[-.]){3,}",
    r"^\s*(?:re|fwd):\s*(.+)$",
    r"(?:\[[^\]]*\]\s*)*spam",
    r"(?P<q>['\"]).*?(?P=q)",
    r".*foo.*bar.*",
    "^(?:" + "|".join(f"word{number}" for number in range(100)) + ")-",
    "(?:" + "|".join(chr(97 + n // 26) + chr(97 + n % 26) for n in range(60)) + ")+$",
]
AHEAD = [r"a$", r"\ba", r"a\Z", r"a(?!b)", r"(?=ab)", r"(a|b$)", r"a\B"]
NOT_AHEAD = [r"^a", r"\Aa", r"(?<!a)b", r"[$]", r"\$", r"a.*"]


@pytest.mark.parametrize("source", SLOW)
def test_an_expression_that_could_take_for_ever_is_found(source: str) -> None:
    assert is_exponential(source)


@pytest.mark.parametrize("source", USUAL)
def test_a_usual_expression_passes(source: str) -> None:
    assert not is_exponential(source)


@pytest.mark.parametrize(("source", "is_so"), [*((one, True) for one in AHEAD), *((one, False) for one in NOT_AHEAD)])
def test_whether_an_expression_looks_beyond_its_match_is_known(source: str, is_so: bool) -> None:
    assert looks_ahead(source) is is_so


def test_a_list_refuses_it() -> None:
    with pytest.raises(PatternError, match="may take for ever"):
        Patterns(("/(a+)+$/",))


def test_an_expression_of_the_configuration_refuses_it_with_its_place() -> None:
    with pytest.raises(ExpressionError, match="column 14: the regular expression may take for ever"):
        compile_expression("x", "helo matches /(a+)+$/")


@pytest.mark.filterwarnings("ignore:Possible")
@given(st.binary(max_size=30) | st.text("ab()[]{}|*+?^$.,1<=!:P\\", max_size=30))
@settings(max_examples=300)
def test_what_python_takes_is_judged_without_a_fault(source: bytes | str) -> None:
    try:
        re.compile(source)
    except (re.error, OverflowError, RecursionError):
        return
    assert is_exponential(source) in (True, False)
