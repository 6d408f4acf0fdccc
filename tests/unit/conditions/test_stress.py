"""No Stress and Stress Notify: what they do of the flag that the pool keeps."""

from __future__ import annotations

import pytest

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.no_stress import NoStress
from mmgr.conditions.stress_notify import StressNotify


def test_under_stress_no_stress_stops_the_milter() -> None:
    assert "busy" in NoStress().judge(Stage.CONNECT, Facts(is_stressed=True))


def test_without_stress_no_stress_lets_the_milter_take_part() -> None:
    assert NoStress().judge(Stage.CONNECT, Facts(is_stressed=False)) == ""


@pytest.mark.parametrize("is_stressed", [False, True])
def test_stress_notify_never_stops(is_stressed: bool) -> None:
    assert StressNotify().judge(Stage.CONNECT, Facts(is_stressed=is_stressed)) == ""


def test_under_stress_the_macro_says_so() -> None:
    assert StressNotify().macros(Stage.CONNECT, Facts(is_stressed=True)) == {b"{stress}": b"yes"}


def test_without_stress_the_macro_is_unset() -> None:
    assert StressNotify().macros(Stage.CONNECT, Facts(is_stressed=False)) == {}


def test_the_macro_comes_at_connect() -> None:
    assert StressNotify().macro_stages == {Stage.CONNECT}
