"""What one worker found out of MTA and children, another one knows without asking; what is wrong is not taken on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.config.model import ChildSettings, Config
from mmgr.endpoint import Endpoint
from mmgr.lessons import Lessons
from mmgr.protocol.commands import encode_command
from mmgr.protocol.options import ALL_ACTIONS, OptionNegotiation
from workers.negotiation import answer_to_mta, offer_to_children
from workers.route import make_plan
from workers.school import School
from workers.surroundings import Memory

OFFER = OptionNegotiation(6, ALL_ACTIONS, 0x1FFFFF)
PACKET = encode_command(OFFER)
WISHES = [OptionNegotiation(6, 0x11, 0), OptionNegotiation(6, 0, 0x2)]
ANSWER = answer_to_mta(OFFER, WISHES)
CONFIG = Config(children=tuple(ChildSettings(name, (Endpoint("unix", path=f"/{name}"),)) for name in ("a", "b")))
OTHER = OptionNegotiation(6, 0x1, 0)


def pupil(lessons: Lessons, generation: int = 1, config: Config = CONFIG) -> Memory:
    return Memory(school=School(lessons, generation, config))


@pytest.fixture
def lessons() -> Lessons:
    """What a worker of generation 1 taught."""
    lessons = Lessons()
    School(lessons, 1, CONFIG).teach(PACKET, ANSWER, WISHES)
    return lessons


def test_the_plan_is_the_one_that_the_teacher_has(lessons: Lessons) -> None:
    assert pupil(lessons).plan_for(PACKET) == make_plan(CONFIG, OFFER, ANSWER, WISHES) is not None


def test_the_options_of_the_children_are_known_as_well(lessons: Lessons) -> None:
    memory = pupil(lessons)
    memory.plan_for(PACKET)
    told = offer_to_children(OFFER)
    assert memory.options == {("a", told): WISHES[0], ("b", told): WISHES[1]}


def test_a_child_that_nobody_negotiated_with_stays_unknown(lessons: Lessons) -> None:
    School(lessons, 1, CONFIG).teach(PACKET, ANSWER, [WISHES[0], None])
    memory = pupil(lessons)
    memory.plan_for(PACKET)
    assert [name for name, _ in memory.options] == ["a"]


def test_all_that_is_taught_can_be_learnt_at_once(lessons: Lessons) -> None:
    memory = pupil(lessons)
    memory.study()
    assert list(memory.plans) == [PACKET]


def test_another_packet_is_unknown(lessons: Lessons) -> None:
    assert pupil(lessons).plan_for(PACKET + b"\0") is None


def test_another_generation_learns_nothing(lessons: Lessons) -> None:
    assert pupil(lessons, generation=2).plan_for(PACKET) is None


def test_who_has_seen_a_child_answer_otherwise_does_not_believe_it(lessons: Lessons) -> None:
    memory = pupil(lessons)
    memory.keep_options("a", offer_to_children(OFFER), OTHER)
    assert memory.plan_for(PACKET) is None


def test_a_lesson_for_other_children_is_none(lessons: Lessons) -> None:
    assert pupil(lessons, config=Config(children=CONFIG.children[:1])).plan_for(PACKET) is None


def test_without_lessons_nothing_is_learnt() -> None:
    memory = Memory()
    memory.school.teach(PACKET, ANSWER, WISHES)
    assert memory.plan_for(PACKET) is None


@given(st.binary(max_size=80))
def test_whatever_is_written_there_nothing_breaks(note: bytes) -> None:
    lessons = Lessons()
    lessons.teach(1, PACKET, note)
    pupil(lessons).plan_for(PACKET)
