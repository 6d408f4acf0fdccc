"""What the children change in a message: what the next child sees of it, and what comes out at the MTA.

The MTA is a Postfix here; its numbering is that of ``mmgr.peers.apply`` (Postfix src/cleanup/cleanup_milter.c).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import pytest

from mmgr.peers.apply import apply_edits
from mmgr.peers.behaviour import Action, Behaviour
from mmgr.peers.delivery import Outcome, Status
from mmgr.peers.mail import Message
from mmgr.protocol.constants import ActionFlag, Command
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    Continue,
    DelRcpt,
    Discard,
    Edit,
    InsHeader,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    TempFail,
)
from tests.integration.rig import TRIO, Rig, body, headers, marking, turns
from tests.support.processes import LabDirectory

OWN_HEADERS = 1
"""Postfix puts its Received on top before milters see the message."""

CONTINUE = Continue()
ORIGINAL = Message(
    headers=(
        (b"Received", b" from here"),
        (b"X-T", b" one"),
        (b"Subject", b" hello"),
        (b"x-t", b" two"),
        (b"X-T", b" three"),
    ),
    chunks=(b"line 1\r\n", b"line 2\r\n"),
)


def editing(*edits: Action) -> Behaviour:
    """A child that makes these edits in each message and continues."""
    return Behaviour(at={Command.SMFIC_BODYEOB: (*edits, CONTINUE)})


def seen(rig: Rig, name: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body as a child was told them, in the form of ``Message``."""
    told = rig.told(name)
    return [(header, b" " + value) for header, value in headers(told)], body(told)


EDITS: Mapping[str, Sequence[Sequence[Edit]]] = {
    "an added header": [[AddHeader(b"X-New", b"1")], [], []],
    "headers added by all": [[AddHeader(b"X", b"1")], [AddHeader(b"X", b"2")], [AddHeader(b"X", b"3")]],
    "insert on top": [[InsHeader(0, b"X", b"1")], [InsHeader(0, b"X", b"2")], [InsHeader(1, b"X", b"3")]],
    "insert below the top": [[InsHeader(1, b"X", b"1")], [InsHeader(2, b"X", b"2")], [InsHeader(3, b"X", b"3")]],
    "insert beyond the end": [[InsHeader(100, b"X", b"1")], [InsHeader(7, b"X", b"2")], [AddHeader(b"X", b"3")]],
    "insert twice at one place": [[InsHeader(2, b"X", b"1"), InsHeader(2, b"X", b"2")], [ChgHeader(1, b"X", b"3")], []],
    "change by index 0": [[ChgHeader(0, b"X-T", b"changed")], [], []],
    "change the first": [[ChgHeader(1, b"X-T", b"changed")], [ChgHeader(1, b"X-T", b"again")], []],
    "change the second": [[ChgHeader(2, b"X-T", b"changed")], [ChgHeader(3, b"x-t", b"too")], []],
    "change beyond the last": [[ChgHeader(4, b"X-T", b"four")], [ChgHeader(4, b"X-T", b"FOUR")], []],
    "change a missing one": [[ChgHeader(1, b"X-None", b"1")], [ChgHeader(1, b"X-None", b"2")], []],
    "change in another case": [[ChgHeader(2, b"x-T", b"changed")], [ChgHeader(2, b"X-t", b"")], []],
    "delete the first": [[ChgHeader(1, b"X-T", b"")], [ChgHeader(1, b"X-T", b"changed")], []],
    "delete the second": [[ChgHeader(2, b"X-T", b"")], [ChgHeader(2, b"X-T", b"changed")], []],
    "delete, then change the same": [[ChgHeader(1, b"X-T", b""), ChgHeader(1, b"X-T", b"changed")], [], []],
    "delete, then insert": [[ChgHeader(1, b"X-T", b"")], [InsHeader(2, b"X", b"1")], [ChgHeader(2, b"X-T", b"2")]],
    "delete upwards": [[ChgHeader(1, b"X-T", b""), ChgHeader(2, b"X-T", b"")], [ChgHeader(1, b"X-T", b"left")], []],
    "delete downwards": [[ChgHeader(3, b"X-T", b""), ChgHeader(2, b"X-T", b""), ChgHeader(1, b"X-T", b"")], [], []],
    "delete by three": [[ChgHeader(1, b"X-T", b"")], [ChgHeader(1, b"X-T", b"")], [ChgHeader(1, b"X-T", b"")]],
    "delete a missing one": [[ChgHeader(9, b"X-T", b"")], [ChgHeader(1, b"X-None", b"")], [ChgHeader(1, b"X-T", b"1")]],
    "delete, then add": [[ChgHeader(2, b"X-T", b"")], [AddHeader(b"X-T", b"new")], [ChgHeader(3, b"X-T", b"newer")]],
    "add, then delete": [[AddHeader(b"X", b"1"), AddHeader(b"X", b"2")], [ChgHeader(1, b"X", b"")], []],
    "the Received that is not its own": [[ChgHeader(1, b"Received", b"changed")], [InsHeader(0, b"A", b"1")], []],
    "a second Received": [[InsHeader(0, b"Received", b"mine")], [ChgHeader(2, b"Received", b"2")], []],
    "a new body": [[ReplBody(b"new\r\n")], [], []],
    "new bodies by all": [[ReplBody(b"1\r\n")], [ReplBody(b"2\r\n")], [ReplBody(b"3\r\n")]],
    "a new body in pieces": [[ReplBody(b"one "), ReplBody(b""), ReplBody(b"two\r\n")], [], [ReplBody(b"3")]],
    "an empty body": [[ReplBody(b"")], [], []],
    "an empty body, then a new one": [[ReplBody(b"")], [ReplBody(b"back\r\n")], []],
    "a new body between headers": [[AddHeader(b"A", b"1"), ReplBody(b"new\r\n"), AddHeader(b"B", b"2")], [], []],
    "recipients": [[AddRcpt(b"<a@x>"), DelRcpt(b"<receiver@example.org>")], [DelRcpt(b"<a@x>"), AddRcpt(b"<b@x>")], []],
    "recipients with parameters": [[AddRcptPar(b"<a@x>", b"NOTIFY=NEVER")], [AddRcptPar(b"<b@x>")], []],
    "senders": [[ChgFrom(b"<a@x>", b"RET=HDRS ENVID=1")], [ChgFrom(b"<b@x>")], [ChgFrom(b"<>", b"")]],
    "8-bit values": [
        [AddHeader(b"X", b"\xff\x80")],
        [ChgHeader(1, b"Subject", b"\xe4")],
        [InsHeader(1, b"Y", b"\x80")],
    ],
    "folded values": [[AddHeader(b"X", b"one\n\ttwo")], [ChgHeader(1, b"Subject", b"one\n two")], []],
    "an empty value": [[AddHeader(b"X", b"")], [InsHeader(1, b"Y", b"")], []],
    "a long value": [[AddHeader(b"X", b"x" * 100_000)], [], []],
    "everything": [
        [InsHeader(0, b"A", b"1"), ChgHeader(2, b"X-T", b""), ReplBody(b"new\r\n"), AddRcpt(b"<a@x>")],
        [ChgHeader(2, b"X-T", b"3"), InsHeader(3, b"B", b"2"), ChgFrom(b"<b@x>")],
        [ChgHeader(1, b"A", b""), AddHeader(b"C", b"3"), ReplBody(b"newer\r\n")],
    ],
}


def deliver_edited(rig: Rig, edits: Sequence[Sequence[Edit]]) -> Outcome:
    rig.behave(**{name: editing(*each) for name, each in zip(TRIO, edits)})
    (outcome,) = rig.deliver(ORIGINAL)
    return outcome


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_what_comes_out_is_what_the_children_make_of_it_one_after_another(
    trio: Rig, edits: Sequence[Sequence[Edit]]
) -> None:
    expected = ORIGINAL
    for each in edits:
        expected = apply_edits(expected, each, False, OWN_HEADERS)
    came_out = apply_edits(ORIGINAL, deliver_edited(trio, edits).edits, False, OWN_HEADERS)
    assert (came_out.headers, came_out.body) == (expected.headers, expected.body)
    assert (came_out.sender, came_out.sender_parameters) == (expected.sender, expected.sender_parameters)
    assert came_out.recipients == expected.recipients


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_each_child_sees_the_message_as_edited_so_far(trio: Rig, edits: Sequence[Sequence[Edit]]) -> None:
    deliver_edited(trio, edits)
    expected = ORIGINAL
    for name, each in zip(TRIO, edits):
        assert seen(trio, name) == (list(expected.headers), expected.body)
        expected = apply_edits(expected, each, False, OWN_HEADERS)


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_a_new_body_is_the_last_thing_that_the_mta_is_told(trio: Rig, edits: Sequence[Sequence[Edit]]) -> None:
    told = [isinstance(edit, ReplBody) for edit in deliver_edited(trio, edits).edits]
    assert told == sorted(told)


ENVELOPE_EDITS = [
    AddRcpt(b"<a\xff@x>"),
    AddRcptPar(b"<b@x>"),
    AddRcptPar(b"<c@x>", b""),
    AddRcptPar(b"<d@x>", b"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;e@x"),
    DelRcpt(b"plain@x"),
    ChgFrom(b"<>"),
    ChgFrom(b"<f@x>", b"RET=FULL"),
    ChgFrom(b"<g@x>", b""),
]


@pytest.mark.parametrize("edit", ENVELOPE_EDITS, ids=repr)
def test_an_edit_of_the_envelope_reaches_the_mta_byte_by_byte(trio: Rig, edit: Edit) -> None:
    trio.behave(c2=editing(edit))
    assert trio.deliver()[0].edits == (edit,)


def test_edits_of_one_child_keep_their_order(trio: Rig) -> None:
    edits = (
        AddHeader(b"A", b"1"),
        AddRcpt(b"<a@x>"),
        ChgHeader(1, b"A", b"2"),
        DelRcpt(b"<a@x>"),
        AddHeader(b"B", b"3"),
    )
    trio.behave(c2=editing(*edits))
    assert trio.deliver()[0].edits == edits


# Edits and verdicts


def test_edits_of_a_child_that_accepts_count(trio: Rig) -> None:
    trio.behave(c1=Behaviour(at={Command.SMFIC_BODYEOB: (AddHeader(b"X", b"1"), Accept())}))
    assert trio.deliver()[0].edits == (AddHeader(b"X", b"1"),)


@pytest.mark.parametrize("verdict", [Reject(), TempFail(), Discard(), ReplyCode(b"550 5.7.1 no")], ids="rtdy")
@pytest.mark.parametrize("who", ["c1", "c3"])
def test_a_refused_message_is_not_edited(trio: Rig, who: str, verdict: Action) -> None:
    behaviours = {name: marking(name) for name in TRIO}
    behaviours[who] = Behaviour(at={Command.SMFIC_BODYEOB: (AddHeader(b"X", b"1"), ReplBody(b"new"), verdict)})
    trio.behave(**behaviours)
    (outcome,) = trio.deliver()
    assert (outcome.verdict, outcome.edits) == (verdict, ())


def test_progress_between_edits_does_not_disturb_them(trio: Rig) -> None:
    """Postfix takes no body after something else came in between."""
    pieces = (Progress(), AddHeader(b"X", b"1"), ReplBody(b"one "), Progress(), ReplBody(b"two"), Progress())
    trio.behave(c2=editing(*pieces))
    (outcome,) = trio.deliver(ORIGINAL)
    assert (outcome.edits[0], outcome.message.body) == (AddHeader(b"X", b"1"), b"one two")


UNASKED = {
    "add header": (AddHeader(b"X", b"1"), ActionFlag.SMFIF_ADDHDRS),
    "insert header": (InsHeader(0, b"X", b"1"), ActionFlag.SMFIF_ADDHDRS),
    "change header": (ChgHeader(1, b"X", b"1"), ActionFlag.SMFIF_CHGHDRS),
    "add recipient": (AddRcpt(b"<a@x>"), ActionFlag.SMFIF_ADDRCPT),
    "add recipient with parameters": (AddRcptPar(b"<a@x>", b"X=1"), ActionFlag.SMFIF_ADDRCPT_PAR),
    "delete recipient": (DelRcpt(b"<a@x>"), ActionFlag.SMFIF_DELRCPT),
    "change sender": (ChgFrom(b"<a@x>"), ActionFlag.SMFIF_CHGFROM),
    "replace body": (ReplBody(b"new"), ActionFlag.SMFIF_CHGBODY),
    "quarantine": (Quarantine(b"held"), ActionFlag.SMFIF_QUARANTINE),
}


@pytest.mark.parametrize(("edit", "action"), UNASKED.values(), ids=UNASKED)
def test_an_edit_that_was_not_negotiated_does_not_reach_the_mta(trio: Rig, edit: Action, action: ActionFlag) -> None:
    actions = 0x1FF & ~action
    trio.behave(c1=marking("c1"), c2=Behaviour(actions=actions, at=editing(edit).at), c3=marking("c3"))
    outcome = trio.deliver()[0]
    assert outcome.edits == (AddHeader(b"X-c1", b"seen"), AddHeader(b"X-c3", b"seen"))


BAD_EDITS = {
    "no name": AddHeader(b"", b"1"),
    "a colon in the name": AddHeader(b"X:Y", b"1"),
    "a blank in the name": InsHeader(0, b"X Y", b"1"),
    "an 8-bit name": AddHeader(b"\xe4", b"1"),
    "a line end in the name": ChgHeader(1, b"X\nY", b"1"),
    "an impossible index": ChgHeader(0xFFFFFFFF, b"X", b"1"),
    "an impossible place": InsHeader(0x80000000, b"X", b"1"),
}


@pytest.mark.parametrize("edit", BAD_EDITS.values(), ids=BAD_EDITS)
def test_an_edit_that_the_mta_would_choke_on_does_not_reach_it(trio: Rig, edit: Action) -> None:
    trio.behave(c1=marking("c1"), c2=editing(AddHeader(b"X", b"half"), edit), c3=marking("c3"))
    outcome = trio.deliver()[0]
    assert outcome.edits == (AddHeader(b"X-c1", b"seen"), AddHeader(b"X-c3", b"seen"))


# Bodies


SIZES = [0, 1, 65534, 65535, 65536, 131070, 300_000]


def pieces_of(data: bytes, size: int) -> list[Action]:
    return [ReplBody(data[start : start + size]) for start in range(0, len(data), size)] or [ReplBody(b"")]


@pytest.mark.parametrize("piece", [1000, 65535, 1_048_576])
@pytest.mark.parametrize("size", SIZES)
def test_a_new_body_of_any_size_reaches_the_mta_and_the_next_child(trio: Rig, size: int, piece: int) -> None:
    new = os.urandom(size)
    trio.behave(c1=editing(*pieces_of(new, piece)))
    (outcome,) = trio.deliver(ORIGINAL)
    assert outcome.message.body == new
    assert body(trio.told("c2")) == new


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_any_size_reaches_every_child(trio: Rig, size: int) -> None:
    sent = os.urandom(size)
    trio.deliver(Message(chunks=(sent,)))
    assert [body(trio.told(name)) for name in TRIO] == [sent] * 3


def test_a_body_in_small_pieces_reaches_every_child(trio: Rig) -> None:
    pieces = tuple(b"%d\r\n" % number for number in range(2000))
    trio.deliver(Message(chunks=pieces))
    assert [body(trio.told(name)) for name in TRIO] == [b"".join(pieces)] * 3


@pytest.fixture(scope="module")
def spooling(lab: LabDirectory) -> Iterator[Rig]:
    """A manager that keeps hardly anything in memory."""
    directory = lab.subdirectory("spooling")
    spool = lab.subdirectory("spool")
    manager = {"spool_threshold": "1000", "spool_directory": str(spool), "chunk_size": "30000"}
    with Rig(directory, sections={"manager": manager}) as rig:
        yield rig


def test_a_body_of_five_megabytes_goes_through_the_spool(spooling: Rig) -> None:
    sent = os.urandom(5 << 20)
    spooling.behave()
    assert spooling.deliver(Message(chunks=(sent,)))[0].status is Status.ACCEPT
    assert [body(spooling.told(name)) == sent for name in TRIO] == [True] * 3


def test_a_new_body_of_five_megabytes_goes_through_the_spool(spooling: Rig) -> None:
    new = os.urandom(5 << 20)
    spooling.behave(c1=editing(*pieces_of(new, 65535)))
    assert spooling.deliver(ORIGINAL)[0].message.body == new
    assert body(spooling.told("c3")) == new


def test_messages_small_and_large_take_turns_in_the_spool(spooling: Rig) -> None:
    sizes = [10, 50_000, 10, 999, 1001, 0, 200_000, 1]
    spooling.behave(c1=marking("c1"))
    outcomes = spooling.deliver(*(Message(chunks=(b"x" * size,)) for size in sizes))
    assert {outcome.status for outcome in outcomes} == {Status.ACCEPT}
    assert len(body(spooling.told("c3"))) == sum(sizes)


def test_the_spool_leaves_no_file_behind(spooling: Rig) -> None:
    spooling.behave()
    spooling.deliver(Message(chunks=(b"x" * 100_000,)))
    assert list((spooling.manager.directory.parent / "spool").iterdir()) == []


STATUSES = {
    "accept": Status.ACCEPT,
    "reject": Status.REJECT,
    "temporary-failure": Status.TEMPORARY_FAILURE,
    "discard": Status.DISCARD,
}


@pytest.fixture(scope="module", params=STATUSES)
def without_spool(lab: LabDirectory, request: pytest.FixtureRequest) -> Iterator[tuple[Rig, Status]]:
    """A manager whose spool directory does not exist, by its own fallback status."""
    manager = {"spool_threshold": "1000", "spool_directory": "/nonexistent", "fallback_status": request.param}
    with Rig(lab.subdirectory("without-spool"), sections={"manager": manager}) as rig:
        yield rig, STATUSES[request.param]


def test_a_body_that_can_not_be_kept_gets_the_fallback_of_the_manager(without_spool: tuple[Rig, Status]) -> None:
    rig, status = without_spool
    rig.behave(c1=marking("c1"))
    (outcome,) = rig.deliver(Message(chunks=(b"x" * 5000,)))
    assert (outcome.status, outcome.stage, outcome.edits) == (status, "end-of-message", ())


def test_a_body_that_can_not_be_kept_does_no_harm_to_the_next_message(without_spool: tuple[Rig, Status]) -> None:
    rig, _ = without_spool
    rig.behave(c1=marking("c1"))
    _, second = rig.deliver(Message(chunks=(b"x" * 5000,)), Message())
    assert (second.status, second.edits) == (Status.ACCEPT, (AddHeader(b"X-c1", b"seen"),))


def test_a_new_body_that_can_not_be_kept_gets_the_fallback_of_the_manager(without_spool: tuple[Rig, Status]) -> None:
    rig, status = without_spool
    rig.behave(c1=turns(Command.SMFIC_BODYEOB, [ReplBody(b"x" * 5000), CONTINUE]))
    (outcome,) = rig.deliver()
    assert (outcome.status, outcome.edits) == (status, ())


def test_a_body_that_can_not_be_kept_is_an_error_in_the_log(without_spool: tuple[Rig, Status]) -> None:
    rig, _ = without_spool
    rig.behave()
    rig.deliver(Message(chunks=(b"x" * 5000,)))
    assert rig.manager.wait_for_log(r"error: spool-failed .*No such file or directory")
