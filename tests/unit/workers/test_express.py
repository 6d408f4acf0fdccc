"""The short way of a session comes to what the long way comes to, and ends where it has to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgr.conditions.base import Stage as When
from mmgr.conditions.builtin import BUILT_IN
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.restrict_accounts import RestrictAccounts
from mmgr.config.model import FallbackStatus
from mmgr.protocol.commands import Rcpt, Unknown, encode_command
from mmgr.protocol.constants import Command, ProtocolFlag
from mmgr.protocol.options import ALL_ACTIONS, NO_REPLY, NO_STEP, OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    ChgHeader,
    Discard,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    Skip,
    TempFail,
    encode_reply,
)
from mmgr.protocol.states import State
from tests.unit.workers.scripted import CONTINUE, Move, Script, ScriptedChild, byte_by_byte
from tests.unit.workers.sessions import ABORT, CONNECT, END, HELO, QUIT, Say, Seen, Stage, Talk, a_mail, macros
from workers import express, link

C = Command
EXAMPLES = 400
SHORT_S = 0.03
SLOW_S = 0.06
EVERYTHING = OptionNegotiation(6, ALL_ACTIONS & ~0x100, 0)
NO_DATA = OptionNegotiation(6, 0x11, int(ProtocolFlag.SMFIP_NODATA))
FEW = OptionNegotiation(6, 0x11, int(ProtocolFlag.SMFIP_NODATA | ProtocolFlag.SMFIP_NOHELO | ProtocolFlag.SMFIP_NOBODY))
LIKE_RSPAMD = OptionNegotiation(6, 0x1FF & ~0x100, 0x7F000 | 0x80000 | int(ProtocolFlag.SMFIP_NR_HDR))
MIXED = [LIKE_RSPAMD, FEW, EVERYTHING]
REJECT, ACCEPT = encode_reply(Reject()), encode_reply(Accept())
ADD = encode_reply(AddHeader(b"X-Seen", b"1"))
ENVELOPE = (C.SMFIC_CONNECT, C.SMFIC_HELO, C.SMFIC_MAIL, C.SMFIC_RCPT, C.SMFIC_DATA)
CONTENT = (C.SMFIC_HEADER, C.SMFIC_EOH, C.SMFIC_BODY)

PLAIN = [CONNECT, HELO, *a_mail(0, 2), *a_mail(1), *END]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Three children; what they say is waited for a little less than in earnest."""
    directory = tmp_path_factory.mktemp("children")
    children = [ScriptedChild(directory / f"c{number}") for number in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(express, "QUIET_S", SHORT_S)
        patch.setattr(express, "QUICK_S", SHORT_S)
        patch.setattr(link, "QUICK_S", SHORT_S)
        yield Stage(children)
    for child in children:
        child.stop()


def assert_same(stage: Stage, talk: Talk) -> None:
    """Both ways come to the same, and without a bug of ours."""
    short = stage.short(talk)
    long = stage.long(talk)
    assert short.readable() == long.readable()
    assert short == long
    assert not any(line.startswith("session-fault") for line in short.lines)


# ---- whatever children and MTA do

some_verdict = st.sampled_from(
    [ACCEPT, REJECT, *map(encode_reply, (TempFail(), Discard(), ReplyCode(b"550 5.7.1 no"), ReplyCode(b"421 4.3.2 x")))]
)
some_reply = some_verdict | st.just(CONTINUE)
some_edits = st.lists(
    st.sampled_from([AddHeader(b"X-A", b"1"), ChgHeader(1, b"Subject", b"new"), Quarantine(b"odd"), ReplBody(b"new")]),
    min_size=1,
    max_size=3,
).map(lambda edits: b"".join(map(encode_reply, edits)))


def at_any_stage() -> st.SearchStrategy[list[Move]]:
    """What a child may do in place of continue whenever a reply is due."""
    return st.one_of(
        some_verdict.map(lambda reply: [reply]),
        some_reply.map(lambda reply: [encode_reply(Progress()), 0.002, reply]),
        some_reply.map(byte_by_byte),
        st.sampled_from([[None], [b"\0\0\0\0"], [b"HTTP/1.1 400 no"], [b"\0\0\0\2c!"], [encode_reply(Skip())]]),
        st.just([SLOW_S, CONTINUE]),
    )


def at(command: int) -> st.SearchStrategy[list[Move]]:
    """What a child may do at this command. Only where it does not depend on who is quicker, the child or we: a second
    reply or a hang-up behind the first in the middle of what is pipelined does, in both ways."""
    if command in CONTENT:
        return at_any_stage()
    twice = some_reply.map(lambda reply: [CONTINUE + reply])
    if command != C.SMFIC_BODYEOB:
        return at_any_stage() | twice
    edits = st.builds(lambda made, reply: [made + reply], some_edits, some_reply)
    return edits | edits | at_any_stage() | twice | st.just([CONTINUE, None])


@st.composite
def some_options(draw: st.DrawFn) -> OptionNegotiation:
    """Few or many callbacks, few or many replies."""
    bits = [int(bit) for bit in (*NO_STEP.values(), *NO_REPLY.values())]
    steps = sum(set(draw(st.lists(st.sampled_from(bits), max_size=4))))
    steps |= draw(st.sampled_from([0, 0, int(ProtocolFlag.SMFIP_SKIP), int(ProtocolFlag.SMFIP_HDR_LEADSPC)]))
    steps |= draw(st.sampled_from([0, 0, 0, int(ProtocolFlag.SMFIP_RCPT_REJ)]))
    drawn = OptionNegotiation(draw(st.sampled_from([6, 6, 6, 2])), draw(st.sampled_from([0xFF, 0x3F, 0x01])), steps)
    return draw(st.sampled_from([drawn, drawn, drawn, EVERYTHING, NO_DATA, LIKE_RSPAMD]))


@st.composite
def some_script(draw: st.DrawFn, options: OptionNegotiation) -> Script:
    """Mostly little out of the ordinary."""
    where = [each for each in (*ENVELOPE, *CONTENT) if options.wants(each) and options.answers(each)]
    script: dict[tuple[int, int], Sequence[Move]] = {}
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        command = int(draw(st.sampled_from([*where, C.SMFIC_BODYEOB, C.SMFIC_BODYEOB])))
        script[command, draw(st.integers(0, 3))] = draw(at(command))
    if draw(st.integers(0, 19)) == 7:
        other = replace(options, steps=options.steps | int(ProtocolFlag.SMFIP_NOBODY))
        answers = [encode_reply(other), encode_reply(options)]
        greetings: list[list[Move]] = [[answers[0]], [REJECT], [SLOW_S, answers[1]], byte_by_byte(answers[1])]
        if options.answers(C.SMFIC_CONNECT):
            greetings.append([None])  # else it depends on who is quicker when we find out
        script[int(C.SMFIC_OPTNEG), 0] = draw(st.sampled_from(greetings))
    return script


@st.composite
def some_mail(draw: st.DrawFn, number: int) -> list[Say]:
    """Now and then with a refused recipient, a body in pieces, an unknown command, or without its end."""
    chunks = draw(st.sampled_from([[b"hi\r\n"]] * 4 + [[], [b"one", b"two", b"three"], [b"n" * 70_000]]))
    says = a_mail(number, draw(st.sampled_from([1, 1, 2, 3])), chunks)
    if draw(st.integers(0, 9)) == 7:
        refused = macros(C.SMFIC_RCPT, rcpt_mailer=b"error", rcpt_host=b"5.1.1")
        says.insert(draw(st.integers(1, 2)), Say(encode_command(Rcpt(b"<no@d>")), refused, number))
    if draw(st.integers(0, 9)) == 7:
        says.insert(draw(st.integers(0, 5)), Say(encode_command(Unknown(b"FOO")), b"", number))
    if draw(st.integers(0, 5)) == 3:
        del says[draw(st.integers(1, len(says) - 1)) :]
        says[-1] = replace(says[-1], is_held=False)
        says.append(Say(ABORT, is_held=draw(st.booleans())))
    return says


@st.composite
def some_talk(draw: st.DrawFn) -> Talk:
    """A session of one message or several."""
    says = [CONNECT, HELO] if draw(st.integers(0, 9)) else [CONNECT]
    for number in range(draw(st.sampled_from([1, 2, 2, 3]))):
        says += draw(some_mail(number))
        says += draw(st.sampled_from([[], [], [], [HELO], [Say(ABORT)], [Say(ABORT, is_held=True)]]))
    says += draw(st.sampled_from([END, END, [Say(QUIT)], []]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        where = draw(st.integers(0, len(says) - 1))
        if not says[where].is_held:
            cuts = tuple(draw(st.lists(st.integers(0, 400), min_size=1, max_size=3)))
            says[where] = replace(says[where], cuts=cuts)
    if draw(st.integers(0, 5)) == 3:
        where = draw(st.integers(0, len(says) - 1))
        says[where] = replace(says[where], is_held=not says[where].is_held)
    if says:
        says[-1] = replace(says[-1], is_held=False)
    ends_after = draw(st.none() | st.none() | st.none() | st.integers(20, 700))
    return Talk(says, draw(st.integers(0, 3)) == 1, ends_after)


@st.composite
def some_session(draw: st.DrawFn) -> dict[str, Any]:
    """Children and what an MTA says."""
    options = draw(st.lists(some_options(), min_size=1, max_size=3))
    scripts = [draw(some_script(each)) for each in options]
    fallbacks = [draw(st.sampled_from(FallbackStatus)) for _ in options]
    return {"options": options, "scripts": scripts, "fallbacks": fallbacks, "talk": draw(some_talk())}


CONDITIONS = [
    compile_expression("is here", "client_address in 192.0.2.0/24"),
    compile_expression("is elsewhere", "client_address == 198.51.100.1"),
    compile_expression("is a's", "sender == a@b"),
    compile_expression("is somebody else's", "sender == x@y"),
    compile_expression("greets well", "helo == mx"),
    compile_expression("is for the first", "recipient == r0@d"),
    compile_expression("has a subject", "header(Subject) == 1 and size < 100"),
    *(BUILT_IN[name]() for name in ("Trust", "Sendmail Compatible", "Remote Network", "Unauthenticated", "S25R")),
    RestrictAccounts("is for these", ("r0@d", "r1@d")),
]
USUAL = [one for one in CONDITIONS if {*one.stages, *one.macro_stages} <= {When.CONNECT, When.MAIL}]


@st.composite
def some_conditional_session(draw: st.DrawFn) -> dict[str, Any]:
    """The same, with conditions; more often those that have a place on the short way."""
    session = draw(some_session())
    some = st.sampled_from(draw(st.sampled_from([CONDITIONS, USUAL, USUAL, USUAL])))
    conditions = [draw(st.lists(some, max_size=2, unique=True)) for _ in session["options"]]
    return {**session, "conditions": conditions}


@pytest.mark.timeout(300)
def test_with_conditions_the_short_way_comes_to_what_the_long_way_comes_to(stage: Stage) -> None:
    n_short = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(example=some_conditional_session())
    def compare(example: dict[str, Any]) -> None:
        nonlocal n_short
        stage.behave(example["options"], example["scripts"], example["fallbacks"], conditions=example["conditions"])
        assert_same(stage, example["talk"])
        n_short += stage.begun is not None and bool(stage.begun.selection and stage.begun.selection.chosen)

    compare()
    assert n_short > EXAMPLES // 10


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(("names", "n_connected"), [(["is here"], 3), (["is elsewhere"], 2), (["Trust", "is a's"], 3)])
def test_conditions_that_are_decided_at_connect_and_mail_leave_a_session_on_the_short_way(
    stage: Stage, place: int, names: list[str], n_connected: int
) -> None:
    conditions = [[one for one in CONDITIONS if one.name in names] if at == place else [] for at in range(3)]
    stage.behave([EVERYTHING] * 3, conditions=conditions)
    assert_same(stage, Talk(PLAIN))
    seen = stage.short(Talk(PLAIN))
    assert stage.n_long == 0
    assert sum(map(bool, seen.heard)) == n_connected
    assert ("stopped(is_elsewhere)" in seen.lines[-1]) == (n_connected == 2)


@pytest.mark.timeout(300)
def test_the_short_way_comes_to_what_the_long_way_comes_to(stage: Stage) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(example=some_session())
    def compare(example: dict[str, Any]) -> None:
        stage.behave(example["options"], example["scripts"], example["fallbacks"])
        assert_same(stage, example["talk"])

    compare()


# ---- where the short way ends, and that all goes on from there

MOVES_IN_ENVELOPE: dict[str, list[Move]] = {
    "rejects": [REJECT],
    "answers twice": [CONTINUE + CONTINUE],
    "hangs up": [None],
    "is slow": [SLOW_S, CONTINUE],
    "answers by halves": [CONTINUE[:3], SLOW_S, CONTINUE[3:]],
}
MOVES_IN_CONTENT: dict[str, tuple[int, int, list[Move]]] = {
    "edits": (C.SMFIC_BODYEOB, 0, [ADD + CONTINUE]),
    "rejects a header": (C.SMFIC_HEADER, 1, [REJECT]),
    "rejects the message": (C.SMFIC_BODYEOB, 0, [REJECT]),
    "hangs up": (C.SMFIC_HEADER, 1, [None]),
    "is slow": (C.SMFIC_EOH, 0, [SLOW_S, CONTINUE]),
}
MOVES_IN_GREETING: dict[str, list[Move]] = {
    "is another program": [encode_reply(replace(EVERYTHING, steps=int(ProtocolFlag.SMFIP_NOBODY)))],
    "answers by halves": [encode_reply(EVERYTHING)[:7], SLOW_S, encode_reply(EVERYTHING)[7:]],
    "rejects": [REJECT],
    "hangs up": [None],
}


def assert_handed_over(stage: Stage, talk: Talk, scripts: Sequence[Script] = ()) -> Seen:
    """Everybody is told the same as on the long way, which was gone from somewhere on; what there was to see."""
    stage.behave([EVERYTHING] * 3, scripts)
    assert_same(stage, talk)
    seen = stage.short(talk)
    assert stage.n_long == 1
    return seen


def only(position: int, command: int, which: int, moves: list[Move]) -> list[Script]:
    """One of three children does this."""
    return [{(int(command), which): moves} if each == position else {} for each in range(3)]


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("moves", MOVES_IN_ENVELOPE.values(), ids=MOVES_IN_ENVELOPE)
@pytest.mark.parametrize("command", ENVELOPE, ids=lambda command: command.name)
def test_a_child_that_does_not_just_continue_ends_the_short_way(
    stage: Stage, command: Command, moves: list[Move], position: int
) -> None:
    seen = assert_handed_over(stage, Talk(PLAIN), only(position, command, 0, moves))
    begun = stage.begun
    assert begun is not None
    assert begun.step is not None
    assert (begun.step.command, begun.told, min(begun.awaited)) == (command, 3, position)
    is_final = moves == [REJECT] and command in (C.SMFIC_CONNECT, C.SMFIC_HELO)
    assert ("verdict=reject" if is_final else "verdict=accept") in seen.lines[-1]


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize(("command", "which", "moves"), MOVES_IN_CONTENT.values(), ids=MOVES_IN_CONTENT)
def test_a_child_that_does_not_just_let_a_message_pass_ends_the_short_way(
    stage: Stage, command: int, which: int, moves: list[Move], position: int
) -> None:
    seen = assert_handed_over(stage, Talk(PLAIN), only(position, command, which, moves))
    begun = stage.begun
    assert begun is not None
    assert (begun.state, begun.passed) == (State.BODY, position)
    assert begun.given is not None
    assert "queue_id=Q1" in seen.lines[-1]
    assert "verdict=accept" in seen.lines[-1]


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("moves", MOVES_IN_GREETING.values(), ids=MOVES_IN_GREETING)
def test_a_child_that_greets_in_another_way_ends_the_short_way(stage: Stage, moves: list[Move], position: int) -> None:
    seen = assert_handed_over(stage, Talk(PLAIN), only(position, C.SMFIC_OPTNEG, 0, moves))
    assert stage.begun is not None
    assert stage.begun.state is State.NEGOTIATED
    assert "verdict=accept" in seen.lines[-1]


def test_a_child_that_is_gone_ends_the_short_way(stage: Stage) -> None:
    stage.behave([EVERYTHING] * 3)
    with stage.without(1):
        assert_same(stage, Talk(PLAIN))
    assert stage.n_long == 1
    assert stage.begun is not None
    assert len(stage.begun.children) == 1


@pytest.mark.parametrize("position", range(3))
def test_a_child_that_speaks_up_between_messages_ends_the_short_way(stage: Stage, position: int) -> None:
    is_told = threading.Event()

    def wait() -> None:
        assert is_told.wait(5)
        is_told.clear()

    first = a_mail(0)
    first[-1] = replace(first[-1], then=is_told.set)
    talk = Talk([CONNECT, HELO, *first, *a_mail(1), *END])
    seen = assert_handed_over(stage, talk, only(position, C.SMFIC_BODYEOB, 0, [CONTINUE, wait, CONTINUE]))
    assert stage.begun is not None
    assert (stage.begun.state, stage.begun.told) == (State.END, 0)
    assert f"child{position + 1}:failed" in seen.lines[-1]


def changed(where: int, *says: Say) -> list[Say]:
    """The plain session with other commands in place of one: 0 is connect, 2 mail, 3 and 4 rcpt, 5 data, 6 headers."""
    return [*PLAIN[:where], *says, *PLAIN[where + 1 :]]


UNKNOWN = Say(encode_command(Unknown(b"FOO")))
OF_THE_MTA: dict[str, tuple[list[Say], State]] = {
    "malformed connect": (changed(0, Say(b"\0\0\0\3Cmx")), State.NEGOTIATED),
    "helo and mail at once": (changed(1, replace(HELO, is_held=True)), State.CONNECT),
    "mail in two writes": (changed(2, replace(PLAIN[2], cuts=(30,))), State.HELO),
    "rcpt cut in its macros": (changed(3, replace(PLAIN[3], cuts=(5,))), State.MAIL),
    "unknown before mail": (changed(2, UNKNOWN, PLAIN[2]), State.HELO),
    "unknown behind rcpt": (changed(5, UNKNOWN, PLAIN[5]), State.RCPT),
    "empty macros": (changed(3, Say(PLAIN[3].frame, b"\0\0\0\1D")), State.MAIL),
    "helo in mid-message": (changed(5, HELO), State.RCPT),
    "reset in mid-message": (changed(5, Say(ABORT), *a_mail(7), *a_mail(8)), State.RCPT),
    "quit in mid-message": (changed(5, Say(QUIT)), State.RCPT),
    "malformed header": (changed(7, Say(b"\0\0\0\4LA\0b", PLAIN[6].ahead, 0, is_held=True)), State.DATA),
    "two chunks of body": (changed(10, PLAIN[10], PLAIN[10]), State.DATA),
    "end with payload": (changed(11, Say(b"\0\0\0\3Ehi")), State.DATA),
    "unknown among headers": (changed(6, PLAIN[6], replace(UNKNOWN, is_held=True)), State.DATA),
    "closing between messages": (PLAIN[:12], State.END),
    "closing in mid-message": (PLAIN[:5], State.RCPT),
    "helo between messages": (changed(11, PLAIN[11], UNKNOWN, HELO), State.END),
}


@pytest.mark.parametrize(("says", "state"), OF_THE_MTA.values(), ids=OF_THE_MTA)
def test_what_an_mta_seldom_says_ends_the_short_way(stage: Stage, says: list[Say], state: State) -> None:
    assert_handed_over(stage, Talk(says))
    assert stage.begun is not None
    assert stage.begun.state is state


@pytest.mark.parametrize("where", [0, 1, 2, 3, 5, 11])
def test_an_mta_that_is_silent_ends_the_short_way_and_may_be_silent_for_long(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, where: int
) -> None:
    monkeypatch.setattr("workers.mta.FIRST_TIMEOUT_S", 0.05)
    monkeypatch.setattr("workers.mta.QUIET_S", SHORT_S)
    talk = Talk(changed(where, replace(PLAIN[where], then=lambda: time.sleep(0.15))))
    for options in (EVERYTHING, NO_DATA):
        stage.behave([options] * 2)
        assert_same(stage, talk)
        seen = stage.short(talk)
        assert stage.n_long == 1
        assert "queue_id=Q1" in seen.lines[-1]
        assert "verdict=accept" in seen.lines[-1]


@pytest.mark.parametrize("command", [*ENVELOPE[1:], C.SMFIC_BODYEOB], ids=lambda command: command.name)
def test_an_mta_that_hangs_up_before_its_reply_comes_is_not_worked_for_twice(stage: Stage, command: Command) -> None:
    def hang_up() -> None:
        assert stage.mta is not None
        stage.mta.hang_up()

    seen = assert_handed_over(stage, Talk(PLAIN), only(2, command, 0, [hang_up, CONTINUE]))
    assert [each.count(each[-2]) for [each] in seen.heard] == [1, 1, 1]
    assert len(seen.lines) <= 1


# ---- where it does not end


@pytest.mark.parametrize(
    "options",
    [
        [EVERYTHING],
        [EVERYTHING] * 3,
        [NO_DATA],
        [NO_DATA, FEW],
        [LIKE_RSPAMD, EVERYTHING],
        [LIKE_RSPAMD, FEW, EVERYTHING],
    ],
    ids=["one", "three", "no data", "few callbacks", "few replies", "few of both"],
)
@pytest.mark.parametrize("ending", [END, [Say(QUIT)]], ids=["aborts", "quit"])
def test_a_plain_session_goes_the_short_way_to_its_end(
    stage: Stage, options: Sequence[OptionNegotiation], ending: list[Say]
) -> None:
    stage.behave(options)
    talk = Talk([*PLAIN[: -len(END)], *ending])
    assert_same(stage, talk)
    assert "verdict=accept" in stage.short(talk).lines[-1]
    assert stage.n_long == 0


def test_a_body_of_nothing_goes_the_short_way(stage: Stage) -> None:
    stage.behave([EVERYTHING] * 2)
    assert_same(stage, Talk([CONNECT, HELO, *a_mail(chunks=()), *END]))
    assert stage.n_long == 0


def test_a_greeting_behind_a_message_that_all_accepted_lets_no_further_message_pass(stage: Stage) -> None:
    stage.behave([EVERYTHING] * 2, [{(int(C.SMFIC_BODYEOB), 0): [ACCEPT]}] * 2)
    talk = Talk([CONNECT, HELO, *a_mail(0), HELO, *a_mail(1), *END])
    assert_same(stage, talk)
    heard = [[frame[4:5] for frame in connection] for [connection] in stage.short(talk).heard]
    assert [commands.count(b"E") for commands in heard] == [2, 2]
