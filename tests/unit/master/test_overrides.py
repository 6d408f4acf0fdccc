"""What people say of a milter at run time, over what the configuration says of it."""

from __future__ import annotations

import pytest

from mmgr.config.model import ChildSettings, Config
from mmgr.errors import ControlError
from mmgr.master.overrides import Change, Override, changed, overridden


def config(*children: tuple[str, bool, bool]) -> Config:
    """Children by name, enabled, evaluation mode."""
    return Config(children=tuple(ChildSettings(name, (), enabled=on, evaluation_mode=ev) for name, on, ev in children))


ANY = (("a", True, False), ("a", True, True), ("a", False, False), ("a", False, True))


@pytest.mark.parametrize("child", ANY)
@pytest.mark.parametrize(
    ("override", "enabled", "evaluated"), [(Override.ENABLE, True, False), (Override.EVALUATE, True, True)]
)
def test_a_child_is_treated_as_it_was_said(
    child: tuple[str, bool, bool], override: Override, enabled: bool, evaluated: bool
) -> None:
    (found,) = overridden(config(child), {"a": override}).children
    assert (found.enabled, found.evaluation_mode) == (enabled, evaluated)


@pytest.mark.parametrize("child", ANY)
def test_a_disabled_child_is_not_asked(child: tuple[str, bool, bool]) -> None:
    assert overridden(config(child), {"a": Override.DISABLE}).enabled_children == ()


def test_other_children_and_their_order_stay() -> None:
    before = config(("a", True, False), ("b", False, True), ("c", True, True))
    after = overridden(before, {"b": Override.DISABLE, "gone": Override.ENABLE})
    assert after == before


def test_the_last_word_counts() -> None:
    first = changed({}, Change("a", Override.DISABLE), config(ANY[0]))
    assert changed(first, Change("a", Override.EVALUATE), config(ANY[0])) == {"a": Override.EVALUATE}


def test_a_word_is_taken_back() -> None:
    given = {"a": Override.DISABLE, "b": Override.ENABLE}
    assert changed(given, Change("a", None), config(ANY[0])) == {"b": Override.ENABLE}
    assert given["a"] is Override.DISABLE


def test_a_child_without_override_may_be_reset() -> None:
    assert changed({}, Change("a", None), config(ANY[0])) == {}


def test_the_override_of_a_child_that_is_gone_may_be_reset() -> None:
    assert changed({"gone": Override.DISABLE}, Change("gone", None), config(ANY[0])) == {}


@pytest.mark.parametrize("override", [*Override, None])
def test_an_unknown_child_is_refused_with_those_that_there_are(override: Override | None) -> None:
    with pytest.raises(ControlError, match="there is no milter x; there are a, b"):
        changed({}, Change("x", override), config(("a", True, False), ("b", True, False)))
