"""All built-in conditions: their names, that they need no settings, and that the samples show the defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from configobj import ConfigObj
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.builtin import BUILT_IN
from mmgr.conditions.facts import Facts
from mmgr.conditions.s25r import WHITELIST
from mmgr.conditions.trust import ENVELOPE_FROM_DOMAINS

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "etc" / "conditions"

NAMES = """
    Authenticated, Unauthenticated, DNSBL Listed, Not DNSBL Listed, Remote Network, S25R, Sendmail Compatible,
    Stress Notify, No Stress, Trust
"""
every = pytest.mark.parametrize("name", BUILT_IN)


def test_the_names_are_those_that_users_know() -> None:
    assert set(BUILT_IN) == {name.strip() for name in NAMES.split(",")}


@every
def test_a_condition_can_be_had_without_settings(name: str) -> None:
    assert BUILT_IN[name]().name == name


@every
def test_a_condition_says_in_a_line_what_it_is_for(name: str) -> None:
    assert re.fullmatch(r"[^\n]{10,100}[^.\n]", BUILT_IN[name]().description)


@every
def test_a_condition_that_gives_no_macros_may_stop_and_the_other_way_round(name: str) -> None:
    condition = BUILT_IN[name]()
    assert bool(condition.stages) != bool(condition.macro_stages)


@every
def test_a_condition_is_documented(name: str) -> None:
    assert re.search(rf"^## .*\b{name}\b", (ROOT / "docs" / "conditions.md").read_text("utf-8"), re.MULTILINE)


@st.composite
def sessions(draw: st.DrawFn) -> Facts:
    values = st.one_of(st.binary(max_size=60), st.sampled_from([b"", b"<>", b"[", b"a" * 3000, b"1." * 800, b"\0\r\n"]))
    macros = draw(st.dictionaries(st.sampled_from([b"v", b"j", b"i", b"{auth_type}", b"{daemon_addr}"]), values))
    return Facts(
        client_name=draw(values),
        client_address=draw(st.one_of(values, st.ip_addresses().map(lambda each: str(each).encode()))),
        client_family=draw(st.sampled_from([b"4", b"6", b"L", b"U", b"?"])),
        client_port=draw(st.integers(0, 65535)),
        helo=draw(values),
        sender=draw(values),
        recipient=draw(values),
        recipients=draw(st.lists(values, max_size=3)),
        is_stressed=draw(st.booleans()),
        macro=macros.get,
    )


@every
@settings(max_examples=60, deadline=None)
@given(facts=sessions())
def test_a_hostile_session_is_decided_in_words_of_printable_ascii(name: str, facts: Facts) -> None:
    condition: Condition = BUILT_IN[name]()
    for stage in Stage:
        reason = condition.judge(stage, facts)
        assert reason.isascii()
        assert reason.isprintable()
        assert len(reason) < 600
        assert all(isinstance(value, bytes) for value in condition.macros(stage, facts).values())


# ---- the samples


def uncommented(name: str) -> ConfigObj:
    """The sample with its settings in force: the lines with a key right behind their '#'."""
    lines = (SAMPLES / name).read_text("utf-8").splitlines()
    text = [re.sub(r"^( *)#(?=[a-z_0-9]+ = )", r"\1", line) for line in lines]
    return ConfigObj(text, interpolation=False)


def items(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else tuple(filter(None, [str(value)]))


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.conf")), ids=lambda path: path.name)
def test_a_sample_changes_nothing_as_it_comes(path: Path) -> None:
    found = ConfigObj(str(path), interpolation=False)
    assert all(isinstance(value, dict) and not value for value in found["conditions"].values())


def test_the_samples_are_the_five() -> None:
    found = {path.name for path in SAMPLES.iterdir()}
    assert found >= {"s25r.conf", "remote-network.conf", "trust.conf", "dnsbl.conf", "stress.conf"}


def test_the_sample_of_s25r_shows_the_shipped_whitelist() -> None:
    assert items(uncommented("s25r.conf")["conditions"]["S25R"]["whitelist"]) == WHITELIST


def test_the_sample_of_trust_shows_the_shipped_domains() -> None:
    assert items(uncommented("trust.conf")["conditions"]["Trust"]["envelope_from_domains"]) == ENVELOPE_FROM_DOMAINS


@pytest.mark.parametrize("name", ["s25r.conf", "remote-network.conf", "trust.conf", "dnsbl.conf"])
def test_the_settings_of_a_sample_can_be_meant(name: str) -> None:
    for condition, knobs in uncommented(name)["conditions"].items():
        if isinstance(knobs, dict):
            lists = {key: items(value) for key, value in knobs.items() if key != "only_check_ipv4"}
            assert BUILT_IN[condition](**lists).name == condition
