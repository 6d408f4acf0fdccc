"""What children are offered, and what the MTA is told, given what the children want."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.config.model import ChildSettings, FallbackStatus
from mmgr.protocol.commands import encode_command
from mmgr.protocol.constants import ActionFlag, Command, MacroStage, ProtocolFlag
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.macros import DEFAULT_MACROS, bare
from mmgr.protocol.options import ALL_ACTIONS, ALL_STEPS, NO_REPLY, NO_STEP, OptionNegotiation
from workers.negotiation import (
    COLLECTED,
    OWN_MACROS,
    WANTS_MAIL,
    WANTS_NOTHING,
    answer_to_mta,
    check_answer,
    check_offer,
    offer_to_children,
    options_of_failed,
)

POSTFIX = {
    2: OptionNegotiation(2, ALL_ACTIONS, 0x7F),
    3: OptionNegotiation(3, ALL_ACTIONS, 0x17F),
    4: OptionNegotiation(4, ALL_ACTIONS, 0x37F),
    6: OptionNegotiation(6, ALL_ACTIONS, ALL_STEPS),
}
OFFER = POSTFIX[6]
EVERYTHING = OptionNegotiation(6, ALL_ACTIONS & ~ActionFlag.SMFIF_SETSYMLIST, 0)

often = settings(max_examples=40, deadline=None)

macro_names = st.sampled_from([b"i", b"j", b"v", b"_", b"{mail_addr}", b"mail_addr", b"{auth_authen}", b"{x}"])
macro_lists = st.dictionaries(st.sampled_from(MacroStage), st.lists(macro_names, max_size=4).map(tuple), max_size=7)
offers = st.builds(
    OptionNegotiation,
    st.integers(2, 9),
    st.integers(0, ALL_ACTIONS) | st.just(ALL_ACTIONS),
    st.integers(0, ALL_STEPS) | st.sampled_from([0x7F, 0x17F, 0x37F, ALL_STEPS, 0xFFFFFFFF]),
)
wishes = st.tuples(st.integers(1, 6), st.integers(0, ALL_ACTIONS), st.integers(0, ALL_STEPS), macro_lists)


@st.composite
def negotiations(draw: st.DrawFn) -> tuple[OptionNegotiation, list[OptionNegotiation]]:
    """An MTA's offer and the answers of children to what they are offered for it; rspamd's reply bits go beyond it."""
    offer = draw(offers)
    offered = offer_to_children(offer)
    answers = []
    for version, actions, steps, lists in draw(st.lists(wishes, max_size=4)):
        takes_lists = actions & offered.actions & ActionFlag.SMFIF_SETSYMLIST
        kept = steps & (offered.steps | sum(NO_REPLY.values()))
        answers.append(
            OptionNegotiation(
                min(version, offered.version), actions & offered.actions, kept, lists if takes_lists else {}
            )
        )
    return offer, answers


def is_awaited(command: int, children: Sequence[OptionNegotiation]) -> bool:
    return any(child.wants(command) and child.answers(command) for child in children)


# ---- the answer to the MTA


@often
@given(negotiations())
def test_the_answer_has_no_step_that_was_not_offered(pair: tuple[OptionNegotiation, list[OptionNegotiation]]) -> None:
    offer, children = pair
    assert not answer_to_mta(offer, children).steps & ~offer.steps


@often
@given(negotiations())
def test_the_answer_has_no_action_that_was_not_offered(pair: tuple[OptionNegotiation, list[OptionNegotiation]]) -> None:
    offer, children = pair
    assert not answer_to_mta(offer, children).actions & ~offer.actions


@often
@given(negotiations())
def test_the_answer_has_every_action_of_every_child(pair: tuple[OptionNegotiation, list[OptionNegotiation]]) -> None:
    offer, children = pair
    actions = answer_to_mta(offer, children).actions
    assert all(not child.actions & ~actions & ~ActionFlag.SMFIF_SETSYMLIST for child in children)


@often
@given(negotiations())
def test_the_answers_version_is_the_offers_but_at_most_6(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    assert answer_to_mta(offer, children).version == min(offer.version, 6)


@often
@given(negotiations())
def test_a_step_is_switched_off_exactly_if_no_child_wants_it(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    steps = answer_to_mta(offer, children).steps
    for command, bit in NO_STEP.items():
        assert bool(steps & bit) == (bool(offer.steps & bit) and not any(child.wants(command) for child in children))


@often
@given(negotiations())
def test_a_reply_is_due_whenever_a_child_that_gets_the_command_gives_one(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    answer = answer_to_mta(offer, children)
    for command in set(NO_REPLY) - set(COLLECTED):
        if is_awaited(command, children):
            assert answer.answers(command)


@often
@given(negotiations())
def test_what_is_collected_is_never_waited_for_if_the_mta_can_do_without(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    answer = answer_to_mta(offer, children)
    for command in COLLECTED:
        assert answer.answers(command) == (not offer.steps & NO_REPLY[command])


@often
@given(negotiations())
def test_every_child_finds_the_macros_that_it_asked_for(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    lists = answer_to_mta(offer, children).macro_lists
    for child in children:
        for stage, names in child.macro_lists.items():
            if names:
                assert set(map(bare, names)) <= set(map(bare, lists[stage]))


@often
@given(negotiations())
def test_a_child_that_asked_for_nothing_gets_the_mtas_own_macros(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    lists = answer_to_mta(offer, children).macro_lists
    for child, (stage, names) in product(children, lists.items()):
        if not child.macro_lists.get(stage):
            assert set(DEFAULT_MACROS[stage]) <= set(names)


@often
@given(negotiations())
def test_macros_that_we_read_ourselves_are_never_asked_away(
    pair: tuple[OptionNegotiation, list[OptionNegotiation]],
) -> None:
    offer, children = pair
    for stage, names in answer_to_mta(offer, children).macro_lists.items():
        assert set(OWN_MACROS.get(stage, ())) <= set(names)


@often
@given(negotiations())
def test_macro_lists_come_exactly_with_their_action(pair: tuple[OptionNegotiation, list[OptionNegotiation]]) -> None:
    offer, children = pair
    answer = answer_to_mta(offer, children)
    assert bool(answer.macro_lists) == bool(answer.actions & ActionFlag.SMFIF_SETSYMLIST)


def bit_sets(bits: dict[int, ProtocolFlag]) -> list[int]:
    """All combinations of these bits."""
    return [sum(chosen) for chosen in product(*((0, int(bit)) for bit in bits.values()))]


def test_two_children_share_exactly_the_steps_that_neither_wants() -> None:
    """One child with every combination; the other with none, all, each alone and each left out."""
    every = sum(NO_STEP.values())
    others = {0, every, *NO_STEP.values(), *(every & ~bit for bit in NO_STEP.values())}
    for one, other in product(bit_sets({**NO_STEP}), others):
        children = [OptionNegotiation(6, 0, one), OptionNegotiation(6, 0, other)]
        assert answer_to_mta(OFFER, children).steps & sum(NO_STEP.values()) == one & other


@pytest.mark.parametrize("command", sorted(set(NO_REPLY) - set(COLLECTED)))
@pytest.mark.parametrize("declined", list(product([False, True], repeat=2)))
@pytest.mark.parametrize("silent", list(product([False, True], repeat=2)))
def test_two_children_are_waited_for_if_one_that_gets_the_command_answers(
    command: int, declined: tuple[bool, bool], silent: tuple[bool, bool]
) -> None:
    children = [
        OptionNegotiation(6, 0, NO_STEP[command] * is_declined | NO_REPLY[command] * is_silent)
        for is_declined, is_silent in zip(declined, silent)
    ]
    gets = [not one for one in declined]
    is_silent = any(gets) and all(one for one, is_sent in zip(silent, gets) if is_sent)
    assert answer_to_mta(OFFER, children).answers(command) == (not is_silent)


def test_replies_of_two_children_are_independent_from_command_to_command() -> None:
    sets = bit_sets({command: bit for command, bit in NO_REPLY.items() if command not in COLLECTED})
    collected = sum(NO_REPLY[command] for command in COLLECTED)
    for one, other in product(sets, sets):
        children = [OptionNegotiation(6, 0, one), OptionNegotiation(6, 0, other)]
        assert answer_to_mta(OFFER, children).steps == one & other | collected


def test_without_children_every_step_is_switched_off() -> None:
    answer = answer_to_mta(OFFER, [])
    assert not any(answer.wants(command) for command in NO_STEP)


@pytest.mark.parametrize("bit", [ProtocolFlag.SMFIP_RCPT_REJ, ProtocolFlag.SMFIP_HDR_LEADSPC])
@pytest.mark.parametrize("has_one", [False, True])
def test_what_only_the_mta_can_give_is_taken_if_one_child_wants_it(bit: int, has_one: bool) -> None:
    children = [EVERYTHING, OptionNegotiation(6, 0, bit if has_one else 0)]
    assert bool(answer_to_mta(OFFER, children).steps & bit) == has_one


def test_a_list_for_end_of_message_brings_one_for_end_of_headers_as_sendmail_needs_it() -> None:
    child = OptionNegotiation(6, ActionFlag.SMFIF_SETSYMLIST, 0, {MacroStage.SMFIM_EOM: (b"i", b"{x}")})
    assert set(answer_to_mta(OFFER, [child]).macro_lists) == {MacroStage.SMFIM_EOM, MacroStage.SMFIM_EOH}


def test_a_child_that_asks_for_macros_at_connect_does_not_hide_which_mta_it_is() -> None:
    child = OptionNegotiation(6, ActionFlag.SMFIF_SETSYMLIST, 0, {MacroStage.SMFIM_CONNECT: (b"{client_addr}",)})
    assert answer_to_mta(OFFER, [child]).macro_lists == {MacroStage.SMFIM_CONNECT: (b"v", b"{client_addr}")}


def test_an_mta_that_takes_no_macro_lists_is_sent_none() -> None:
    child = OptionNegotiation(6, ActionFlag.SMFIF_SETSYMLIST, 0, {MacroStage.SMFIM_CONNECT: (b"j",)})
    answer = answer_to_mta(OptionNegotiation(6, ALL_ACTIONS & ~ActionFlag.SMFIF_SETSYMLIST, ALL_STEPS), [child])
    assert not answer.macro_lists


# ---- what children are offered


@pytest.mark.parametrize(
    ("mta", "expected"),
    [
        (POSTFIX[2], OptionNegotiation(2, ALL_ACTIONS, 0x7F)),
        (POSTFIX[3], OptionNegotiation(3, ALL_ACTIONS, 0x17F)),
        (POSTFIX[4], OptionNegotiation(4, ALL_ACTIONS, 0x37F)),
        (OptionNegotiation(5, ALL_ACTIONS, 0x37F), OptionNegotiation(5, ALL_ACTIONS, 0x37F)),
        (OFFER, OFFER),
        (OptionNegotiation(7, 0x3FF, 0x7FFFFFFF), OFFER),
        (OptionNegotiation(99, 0xFFFFFFFF, 0xFFFFFFFF), OFFER),
        (OptionNegotiation(6, 0x3F, 0), OptionNegotiation(6, 0x3F, ALL_STEPS & ~0x100800)),
        (OptionNegotiation(6, 0x1FF, 0x70000800), OptionNegotiation(6, 0x1FF, ALL_STEPS & ~0x100000)),
        (OptionNegotiation(2, 0x3F, 0x1FFFFF), OptionNegotiation(2, 0x3F, 0x7F)),
    ],
)
def test_children_are_offered_what_the_mtas_version_has(mta: OptionNegotiation, expected: OptionNegotiation) -> None:
    assert offer_to_children(mta) == expected


@often
@given(offers)
def test_an_offer_has_exactly_12_bytes_as_rspamd_wants_it(mta: OptionNegotiation) -> None:
    assert len(encode_command(offer_to_children(mta))) - PAYLOAD == 12


@often
@given(offers)
def test_an_offer_leaves_every_step_of_its_version_to_decline_or_libmilter_hangs_up(mta: OptionNegotiation) -> None:
    offer = offer_to_children(mta)
    asked_for = [bit for command, bit in NO_STEP.items() if OptionNegotiation(offer.version, 0, 0).wants(command)]
    assert all(offer.steps & bit for bit in asked_for)


@often
@given(offers)
def test_an_offer_has_neither_larger_data_sizes_nor_bits_that_nobody_knows(mta: OptionNegotiation) -> None:
    assert not offer_to_children(mta).steps & ~ALL_STEPS


@pytest.mark.parametrize("version", [0, 1])
def test_an_mta_of_before_version_2_is_refused(version: int) -> None:
    with pytest.raises(RemoteProtocolError, match="older"):
        check_offer(OptionNegotiation(version, 0x0F, 0x3F))


@pytest.mark.parametrize("version", [2, 3, 6, 7, 0xFFFFFFFF])
def test_an_mta_of_version_2_or_later_is_taken(version: int) -> None:
    check_offer(OptionNegotiation(version, 0x3F, 0x7F))


# ---- what children answer


@pytest.mark.parametrize(
    "answer",
    [
        OptionNegotiation(6, ALL_ACTIONS, ALL_STEPS),
        OptionNegotiation(2, 0x3F, 0),
        OptionNegotiation(1, 0, 0),
        OptionNegotiation(6, 0x1FF, 0xFF080),
        OptionNegotiation(6, 0, 0xFFFFFFFF),
    ],
)
def test_an_answer_that_postfix_would_take_is_taken(answer: OptionNegotiation) -> None:
    check_answer(OFFER, answer)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (OFFER, OptionNegotiation(0, 0, 0)),
        (OFFER, OptionNegotiation(7, 0, 0)),
        (POSTFIX[2], OptionNegotiation(6, 0, 0)),
        (OptionNegotiation(6, 0x3F, ALL_STEPS), OptionNegotiation(6, 0x40, 0)),
        (OFFER, OptionNegotiation(6, 0x200, 0)),
    ],
)
def test_an_answer_beyond_the_offer_is_refused(offer: OptionNegotiation, answer: OptionNegotiation) -> None:
    with pytest.raises(RemoteProtocolError, match="offered"):
        check_answer(offer, answer)


@pytest.mark.parametrize("bits", [0, 0xFF080])
@pytest.mark.parametrize("version", POSTFIX)
def test_a_child_may_set_reply_bits_that_were_not_offered(version: int, bits: int) -> None:
    check_answer(offer_to_children(POSTFIX[version]), OptionNegotiation(version, 0, bits))


# ---- children that failed


@pytest.mark.parametrize("command", NO_STEP)
def test_a_failed_child_wants_mail_alone_or_nothing(command: int) -> None:
    assert not WANTS_NOTHING.wants(command)
    assert WANTS_MAIL.wants(command) == (command == Command.SMFIC_MAIL)


@pytest.mark.parametrize("is_evaluated", [False, True])
@pytest.mark.parametrize("status", FallbackStatus)
def test_mail_is_wanted_for_a_failed_child_that_refuses_there(status: FallbackStatus, is_evaluated: bool) -> None:
    child = ChildSettings("one", (), fallback_status=status, evaluation_mode=is_evaluated)
    refuses = status != FallbackStatus.ACCEPT and not is_evaluated
    assert options_of_failed(child) == (WANTS_MAIL if refuses else WANTS_NOTHING)
