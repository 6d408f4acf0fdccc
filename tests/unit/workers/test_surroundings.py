"""What a worker remembers of its children is bounded, whatever an MTA offers."""

from __future__ import annotations

from mmgr.protocol.options import OptionNegotiation
from mmgr.tally import CHILDREN_MAX
from workers.surroundings import OFFERS_MAX, Memory

OPTIONS = OptionNegotiation(6, 0, 0)


def test_plans_are_bounded() -> None:
    memory = Memory()
    for number in range(3 * OFFERS_MAX):
        memory.keep_plan(b"%d" % number, None)
    assert len(memory.plans) <= OFFERS_MAX


def test_options_are_bounded() -> None:
    memory = Memory()
    for number in range(2 * OFFERS_MAX * CHILDREN_MAX):
        memory.keep_options("c1", OptionNegotiation(6, number, 0), OPTIONS)
    assert len(memory.options) <= OFFERS_MAX * CHILDREN_MAX


def test_new_options_make_plans_stale() -> None:
    memory = Memory()
    memory.keep_plan(b"offer", None)
    memory.keep_options("c1", OPTIONS, OPTIONS)
    assert memory.plans == {}
