"""What the MTA and the children negotiate through the daemon, and what each of them is sent because of it.

Sources: libmilter engine.c, Postfix milter8.c (``milter8_connect``), sendmail milter.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from mmgr.peers.behaviour import Behaviour
from mmgr.peers.delivery import Session, Status
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import Message
from mmgr.peers.mta import MtaPeer
from mmgr.peers.strict import offer
from mmgr.protocol.commands import Data, Rcpt, Unknown
from mmgr.protocol.constants import ActionFlag, Command, MacroStage, ProtocolFlag
from mmgr.protocol.options import ALL_ACTIONS, ALL_STEPS, OptionNegotiation
from mmgr.protocol.replies import Accept, AddHeader, ChgHeader, Continue, InsHeader, Verdict
from tests.integration.rig import TRIO, Rig, body, headers, kinds, marking, only, turns
from tests.support.processes import LabDirectory

EVERYTHING = ["Connect", "Helo", "Mail", "Rcpt", "Data", "Header", "Header", "Eoh", "Body", "BodyEob"]
NO_REPLIES = [flag for flag in ProtocolFlag if "_NR_" in flag.name]
DECLINES = {
    ProtocolFlag.SMFIP_NOCONNECT: "Connect",
    ProtocolFlag.SMFIP_NOHELO: "Helo",
    ProtocolFlag.SMFIP_NOMAIL: "Mail",
    ProtocolFlag.SMFIP_NORCPT: "Rcpt",
    ProtocolFlag.SMFIP_NODATA: "Data",
    ProtocolFlag.SMFIP_NOHDRS: "Header",
    ProtocolFlag.SMFIP_NOEOH: "Eoh",
    ProtocolFlag.SMFIP_NOBODY: "Body",
    ProtocolFlag.SMFIP_NOUNKNOWN: "Unknown",
}
ALL_DECLINED = sum(DECLINES)
ALL_SILENT = sum(NO_REPLIES)
COMBINATIONS = {
    **{flag.name[6:]: flag for flag in (*NO_REPLIES, *DECLINES, ProtocolFlag.SMFIP_SKIP)},
    "all no-reply": ALL_SILENT,
    "rspamd": 0xFF080,
    "all declined": ALL_DECLINED,
    "everything": ALL_STEPS,
    "headers only": ALL_DECLINED & ~ProtocolFlag.SMFIP_NOHDRS | ALL_SILENT,
    "body only": ALL_DECLINED & ~ProtocolFlag.SMFIP_NOBODY,
    "envelope only": ProtocolFlag.SMFIP_NOHDRS | ProtocolFlag.SMFIP_NOEOH | ProtocolFlag.SMFIP_NOBODY,
    "opendkim": 0x100702,
    "spamass-milter": 0x300,
    "silent, and leading space": ALL_SILENT | ProtocolFlag.SMFIP_HDR_LEADSPC,
}


def marking_with(name: str, steps: int) -> Behaviour:
    """A child that marks the message and negotiates steps."""
    return Behaviour(steps=steps, at=marking(name).at)


def told_of_message(rig: Rig, name: str) -> list[str]:
    """The commands that a child was told of one session with one message, without the frame around it."""
    return [kind for kind in kinds(rig.told(name)) if kind not in ("OptionNegotiation", "Abort", "Quit")]


def wanted(steps: int) -> list[str]:
    """What of EVERYTHING a child with these steps is to be told."""
    declined = [kind for flag, kind in DECLINES.items() if steps & flag]
    return [kind for kind in EVERYTHING if kind not in declined]


@pytest.fixture(scope="module")
def trio_of_module(lab: LabDirectory) -> Iterator[Rig]:
    """Three children and one worker, which is renewed often here."""
    with Rig(lab.subdirectory("trio"), n_workers=1) as rig:
        yield rig


# Children that decline or keep silent


@pytest.mark.parametrize("steps", COMBINATIONS.values(), ids=COMBINATIONS)
@pytest.mark.parametrize("place", TRIO)
def test_a_child_is_told_what_it_wants_and_the_others_everything(trio: Rig, place: str, steps: int) -> None:
    trio.behave(**{name: marking_with(name, steps if name == place else 0) for name in TRIO})
    (outcome,) = trio.deliver()
    assert [name for name, _ in outcome.message.headers[2:]] == [b"X-c1", b"X-c2", b"X-c3"]
    for name in TRIO:
        expected = wanted(steps if name == place else 0)
        added = ["Header"] * TRIO.index(name) if "Header" in expected else []
        end_of_headers = expected.index("Header") if added else 0
        assert told_of_message(trio, name) == expected[:end_of_headers] + added + expected[end_of_headers:]


@pytest.mark.parametrize("steps", COMBINATIONS.values(), ids=COMBINATIONS)
def test_when_all_children_negotiate_the_same_each_is_told_what_it_wants(trio: Rig, steps: int) -> None:
    trio.behave(**{name: Behaviour(steps=steps) for name in TRIO})
    outcomes = trio.deliver(Message())
    assert outcomes[0].status is Status.ACCEPT
    assert [told_of_message(trio, name) for name in TRIO] == [wanted(steps)] * 3


@pytest.mark.parametrize("steps", COMBINATIONS.values(), ids=COMBINATIONS)
def test_a_refusal_at_the_end_counts_whatever_was_negotiated(trio: Rig, steps: int) -> None:
    refusing = turns(Command.SMFIC_BODYEOB, Continue(), [AddHeader(b"X-Second", b"1"), Continue()])
    trio.behave(c2=Behaviour(steps=steps, responder=refusing.responder))
    first, second = trio.deliver(Message(), Message())
    assert (first.edits, second.edits) == ((), (AddHeader(b"X-Second", b"1"),))


@pytest.fixture(scope="module")
def single_of_module(lab: LabDirectory) -> Iterator[Rig]:
    with Rig(lab.subdirectory("single"), ["only"], n_workers=1) as rig:
        yield rig


@pytest.fixture
def single(single_of_module: Rig) -> Rig:
    """A manager with one child."""
    single_of_module.behave()
    return single_of_module


@pytest.mark.parametrize("steps", COMBINATIONS.values(), ids=COMBINATIONS)
def test_an_only_child_is_told_what_it_wants(single: Rig, steps: int) -> None:
    single.behave(only=marking_with("only", steps))
    for outcome in single.deliver(Message(), Message()):
        assert outcome.edits == (AddHeader(b"X-only", b"seen"),)
    per_message = wanted(steps)
    once = [kind for kind in per_message if kind in ("Connect", "Helo")]
    assert told_of_message(single, "only") == per_message + per_message[len(once) :]


def test_silence_of_a_child_is_not_taken_for_a_reply_that_is_due(single: Rig) -> None:
    single.behave(only=Behaviour(steps=ALL_SILENT))
    with single.greeted() as mta:
        assert mta.options.steps & ALL_SILENT == ALL_SILENT


def test_an_mta_that_offers_no_silence_gets_every_reply(trio: Rig) -> None:
    with trio.session(offered=offer(steps=ALL_STEPS & ~ALL_SILENT)) as session:
        assert session.deliver(Message()).status is Status.ACCEPT
        assert session.peer.options.steps & ALL_SILENT == 0


# What the MTA is answered


def answer(rig: Rig, offered: OptionNegotiation) -> OptionNegotiation:
    """What the MTA is answered to an offer."""
    with rig.connect(offered) as mta:
        return mta.negotiate()


@pytest.mark.parametrize(
    "offered",
    [
        offer(),
        offer(2),
        offer(3),
        offer(4),
        offer(5),
        OptionNegotiation(6, 0, 0),
        OptionNegotiation(6, 0x1FF, 0),
        OptionNegotiation(6, 0, ALL_STEPS),
        OptionNegotiation(6, 0x3F, 0x7F),
        OptionNegotiation(6, 0x1FF, 0x301FFFFF),
        OptionNegotiation(6, 0x400001FF, 0x801FFFFF),
        OptionNegotiation(6, 0xFFFFFFFF, 0xFFFFFFFF),
    ],
    ids=str,
)
def test_the_answer_is_part_of_the_offer(trio: Rig, offered: OptionNegotiation) -> None:
    answered = answer(trio, offered)
    assert (answered.actions & ~offered.actions, answered.steps & ~offered.steps) == (0, 0)


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_the_answer_has_the_version_of_the_mta(trio: Rig, version: int) -> None:
    assert answer(trio, offer(version)).version == version


@pytest.mark.parametrize("version", [7, 100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_version_of_the_future_is_answered_with_version_6(trio: Rig, version: int) -> None:
    assert answer(trio, OptionNegotiation(version, ALL_ACTIONS, ALL_STEPS)).version == 6


@pytest.mark.parametrize("steps", [0x80000000, 0x40000000, 0x30000000, 0xFFFFFFFF & ~ALL_STEPS], ids=hex)
@pytest.mark.parametrize("actions", [0x200, 0xFFFFFE00], ids=hex)
def test_bits_that_nobody_knows_do_no_harm(trio: Rig, actions: int, steps: int) -> None:
    trio.behave(**{name: marking(name) for name in TRIO})
    with trio.session(offered=OptionNegotiation(6, ALL_ACTIONS | actions, ALL_STEPS | steps)) as session:
        assert len(session.deliver(Message()).edits) == 3


def test_what_only_one_child_wants_is_asked_of_the_mta(trio: Rig) -> None:
    trio.behave(
        c1=Behaviour(actions=ActionFlag.SMFIF_ADDHDRS, steps=ALL_DECLINED & ~ProtocolFlag.SMFIP_NOMAIL),
        c2=Behaviour(actions=ActionFlag.SMFIF_QUARANTINE, steps=ALL_DECLINED & ~ProtocolFlag.SMFIP_NOHDRS),
        c3=Behaviour(actions=0, steps=ALL_DECLINED),
    )
    answered = answer(trio, offer())
    assert answered.actions == ActionFlag.SMFIF_ADDHDRS | ActionFlag.SMFIF_QUARANTINE
    assert answered.steps & ALL_DECLINED == ALL_DECLINED & ~(ProtocolFlag.SMFIP_NOMAIL | ProtocolFlag.SMFIP_NOHDRS)


def test_macro_lists_of_children_are_asked_of_the_mta(trio: Rig) -> None:
    listing = Behaviour(macro_lists={MacroStage.SMFIM_ENVFROM: (b"{auth_type}", b"{wanted}")})
    trio.behave(c1=listing, c2=listing, c3=listing)
    assert {b"{auth_type}", b"{wanted}"} <= set(answer(trio, offer()).macro_lists[MacroStage.SMFIM_ENVFROM])


def test_a_macro_that_one_child_asks_for_takes_none_from_the_others(trio: Rig) -> None:
    trio.behave(c2=Behaviour(macro_lists={MacroStage.SMFIM_ENVFROM: (b"{wanted}",)}))
    values = {b"wanted": b"yes", b"auth_type": b"PLAIN"}
    with trio.connect(macros=MacroTable(values)) as mta, Session(mta) as session:
        session.deliver(Message())
    told = [trio.told(name).macros_of[Command.SMFIC_MAIL] for name in TRIO]
    assert [(macros[b"wanted"], macros[b"auth_type"]) for macros in told] == [(b"yes", b"PLAIN")] * 3


# Versions


@pytest.mark.parametrize("version", [2, 3, 4, 6])
def test_children_are_offered_no_later_version_than_the_mta_speaks(trio: Rig, version: int) -> None:
    with trio.session(offered=offer(version)) as session:
        assert session.deliver(Message()).status is Status.ACCEPT
    assert [trio.told(name).offered.version for name in TRIO] == [version] * 3


@pytest.mark.parametrize("version", [2, 3, 4, 6])
def test_an_old_mta_sends_what_it_knows_and_every_child_gets_it(trio: Rig, version: int) -> None:
    trio.behave(**{name: marking(name) for name in TRIO})
    with trio.session(offered=offer(version)) as session:
        assert len(session.deliver(Message()).edits) == 3
    expected = [kind for kind in EVERYTHING if kind != "Data" or version >= 4]
    assert told_of_message(trio, "c1") == expected


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("place", TRIO)
def test_a_child_of_an_old_version_is_told_what_it_knows(trio: Rig, place: str, version: int) -> None:
    trio.behave(**{place: Behaviour(version=version)})
    with trio.greeted() as mta:
        mta.unknown(b"HELP")
        mta.mail(b"<a@example.com>")
        mta.rcpt(b"<b@example.org>")
        mta.data()
        assert isinstance(mta.end_of_message(), Continue)
    told = trio.told(place)
    assert (bool(only(told, Unknown)), bool(only(told, Data))) == (version >= 3, version >= 4)


# Leading space


@pytest.mark.parametrize("mta_has_it", [True, False], ids=["MTA with", "MTA without"])
@pytest.mark.parametrize("child_has_it", [True, False], ids=["child with", "child without"])
def test_each_side_sees_header_values_in_its_own_way(trio: Rig, mta_has_it: bool, child_has_it: bool) -> None:
    spaces = ProtocolFlag.SMFIP_HDR_LEADSPC
    trio.behave(c2=Behaviour(steps=spaces if child_has_it else 0))
    values = (b" one", b"none", b"  two", b"\ttab", b"")
    message = Message(headers=tuple((b"X", value) for value in values))
    with trio.session(offered=offer(steps=ALL_STEPS if mta_has_it else ALL_STEPS & ~spaces)) as session:
        session.deliver(message)
    is_intact = mta_has_it and child_has_it
    assert [value for _, value in headers(trio.told("c2"))] == [
        value[1:] if value[:1] == b" " and not is_intact else value for value in values
    ]


@pytest.mark.parametrize("steps", [ALL_STEPS, ALL_STEPS & ~ProtocolFlag.SMFIP_HDR_LEADSPC], ids=["with", "without"])
@pytest.mark.parametrize("edit", [AddHeader(b"X", b"new"), InsHeader(0, b"X", b"new"), ChgHeader(1, b"To", b"new")])
def test_a_value_that_a_child_without_leading_space_writes_has_one_space_in_the_end(
    trio: Rig, steps: int, edit: AddHeader | InsHeader | ChgHeader
) -> None:
    trio.behave(c1=turns(Command.SMFIC_BODYEOB, [edit, Continue()]), c2=Behaviour(steps=ProtocolFlag.SMFIP_HDR_LEADSPC))
    with trio.session(offered=offer(steps=steps)) as session:
        changed = session.deliver(Message()).message
    assert (edit.name, b" new") in changed.headers


def test_a_value_that_a_child_with_leading_space_writes_stays_as_it_is(trio: Rig) -> None:
    edits = [AddHeader(b"X", b"none"), AddHeader(b"X", b"  two"), Continue()]
    writing = turns(Command.SMFIC_BODYEOB, edits).responder
    trio.behave(c1=Behaviour(steps=ProtocolFlag.SMFIP_HDR_LEADSPC, responder=writing))
    (outcome,) = trio.deliver()
    assert outcome.message.headers[-2:] == ((b"X", b"none"), (b"X", b"  two"))
    assert headers(trio.told("c2"))[-2:] == [(b"X", b"none"), (b"X", b" two")]


# Recipients that the MTA refused


def tell_refused_recipient(mta: MtaPeer) -> Verdict | None:
    """RCPT as Postfix sends one that it has refused itself."""
    mta.macros = MacroTable(of_command={Command.SMFIC_RCPT: {b"rcpt_mailer": b"error", b"rcpt_host": b"5.7.1"}})
    verdict = mta.rcpt(b"<refused@example.org>")
    mta.macros = MacroTable()
    return verdict


def test_a_refused_recipient_is_told_to_those_who_asked_for_them(trio: Rig) -> None:
    trio.behave(c2=Behaviour(steps=ProtocolFlag.SMFIP_RCPT_REJ))
    with trio.greeted() as mta:
        mta.mail(b"<a@example.com>")
        assert isinstance(tell_refused_recipient(mta), Continue)
        mta.rcpt(b"<b@example.org>")
        mta.data()
        assert isinstance(mta.end_of_message(), Continue)
    told = [[rcpt.recipient for rcpt in only(trio.told(name), Rcpt)] for name in TRIO]
    assert told == [[b"<b@example.org>"], [b"<refused@example.org>", b"<b@example.org>"], [b"<b@example.org>"]]


def test_refused_recipients_are_asked_of_the_mta_if_a_child_wants_them(trio: Rig) -> None:
    trio.behave(c2=Behaviour(steps=ProtocolFlag.SMFIP_RCPT_REJ))
    assert answer(trio, offer()).steps & ProtocolFlag.SMFIP_RCPT_REJ


def test_refused_recipients_are_not_offered_to_children_where_the_mta_has_none(trio: Rig) -> None:
    answer(trio, offer(steps=ALL_STEPS & ~ProtocolFlag.SMFIP_RCPT_REJ))
    assert trio.told("c2").offered.steps & ProtocolFlag.SMFIP_RCPT_REJ == 0


# What is remembered


def test_a_child_that_wants_nothing_before_rcpt_is_connected_then(single: Rig) -> None:
    late = ProtocolFlag.SMFIP_NOCONNECT | ProtocolFlag.SMFIP_NOHELO | ProtocolFlag.SMFIP_NOMAIL
    single.behave(only=Behaviour(steps=late))
    for _ in range(2 * single.manager.n_workers):
        single.deliver()
    before = len(single["only"].sessions)
    with single.greeted() as mta:
        mta.mail(b"<a@example.com>")
        assert len(single["only"].sessions) == before
        mta.rcpt(b"<b@example.org>")
        assert len(single["only"].sessions) == before + 1


def test_a_child_that_is_connected_late_is_told_what_it_missed(single: Rig) -> None:
    single.behave(only=Behaviour(steps=ProtocolFlag.SMFIP_NOCONNECT | ProtocolFlag.SMFIP_NOHELO))
    for _ in range(10):
        assert single.deliver()[0].status is Status.ACCEPT
    expected = ["Mail", "Rcpt", "Data", "Header", "Header", "Eoh", "Body", "BodyEob"]
    for number in range(1, 11):
        told = kinds(single["only"].wait_for_end(number))
        assert [kind for kind in told if kind not in ("OptionNegotiation", "Abort", "Quit")] == expected


def test_a_child_that_comes_back_wanting_more_is_not_shown_half_a_message(single: Rig) -> None:
    """It was restarted with other settings: workers remember that it wanted no body, so the MTA does not send it."""
    single.behave(only=Behaviour(steps=ProtocolFlag.SMFIP_NOBODY))
    for _ in range(2 * single.manager.n_workers):
        single.deliver()
    single.wait_for_ends()
    single["only"].sessions.clear()
    single["only"].behaviour = Behaviour()
    for _ in range(2 * single.manager.n_workers):
        single.deliver()
    single.wait_for_ends()
    judged = [told for told in single["only"].sessions if "BodyEob" in kinds(told)]
    single.forget()
    assert [body(told) for told in judged] == [Message().body] * len(judged)


# No child


@pytest.fixture(scope="module", params=["none", "disabled"])
def childless(lab: LabDirectory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A manager without a child to ask."""
    names = [] if request.param == "none" else TRIO
    keys: Mapping[str, Mapping[str, str]] = {name: {"enabled": "no"} for name in names}
    with Rig(lab.subdirectory("childless"), names, keys) as rig:
        yield rig


def test_without_children_every_message_passes(childless: Rig) -> None:
    assert {outcome.status for outcome in childless.deliver(Message(), Message())} == {Status.ACCEPT}


def test_without_children_the_mta_is_asked_for_nothing(childless: Rig) -> None:
    answered = answer(childless, offer())
    assert (answered.actions, answered.steps & ALL_DECLINED) == (0, ALL_DECLINED)


@pytest.mark.parametrize("offered", [OptionNegotiation(6, 0, 0), offer(2, 0, 0), offer(6, 0x1FF, 0x7F)], ids=str)
def test_without_children_an_mta_that_can_leave_nothing_out_gets_one_answer_each(
    childless: Rig, offered: OptionNegotiation
) -> None:
    with childless.session(offered=offered) as session:
        assert session.deliver(Message()).status is Status.ACCEPT
        session.peer.expect_silence()


def test_without_children_the_mta_may_stay_after_an_acceptance(childless: Rig) -> None:
    with childless.connect(OptionNegotiation(6, 0, 0)) as mta:
        mta.negotiate()
        answers = [mta.connect(b"mx.example.net"), mta.helo(b"mx.example.net"), mta.mail(b"<a@example.com>")]
        assert answers == [Accept()] * 3
