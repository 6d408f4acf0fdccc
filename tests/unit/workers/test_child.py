"""One child in one session: what it is sent and when, what its answers count as, what becomes of it when it fails."""

from __future__ import annotations

import pytest

from mmgr.config.model import FallbackStatus
from mmgr.endpoint import Endpoint
from mmgr.errors import ChildProtocolError, ChildTimeout, ChildUnavailable
from mmgr.protocol.commands import Header, Macro, encode_command
from mmgr.protocol.constants import ActionFlag, Command, ProtocolFlag
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.options import ALL_STEPS, NO_STEP, OptionNegotiation
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    ChgHeader,
    ConnFail,
    Continue,
    Discard,
    InsHeader,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    Skip,
    TempFail,
    Verdict,
)
from tests.unit.workers.company import EVERYTHING, OFFER, Answer, Company, step
from workers.message import Message
from workers.plan import Step

NOTHING = OptionNegotiation(6, 0, sum(NO_STEP.values()))
NO_ENVELOPE = OptionNegotiation(6, 0x1F, 0x0F | ProtocolFlag.SMFIP_NODATA | ProtocolFlag.SMFIP_NOUNKNOWN)
SILENT = OptionNegotiation(6, 0, ALL_STEPS & 0xFF080)
MAIL_TO_DATA = ("connect", "helo", "mail", "rcpt", "data")


# ---- what it is sent


def test_a_child_is_connected_when_the_first_step_comes_that_it_wants(company: Company) -> None:
    child, milter = company.add()
    assert milter.sessions == []
    company.ask("connect")
    child.close()
    assert milter.heard() == "O C Q"


def test_the_offer_is_the_first_thing_that_it_is_told(company: Company) -> None:
    child, milter = company.add()
    company.ask("connect")
    child.close()
    assert milter.commands()[0] == OFFER


def test_a_child_gets_the_steps_and_the_message_in_the_order_of_smtp(company: Company, message: Message) -> None:
    _, milter = company.add()
    company.ask(*MAIL_TO_DATA)
    company.judge(message)
    company.end()
    assert milter.heard() == "O C H M R T L L N B E Q"


def test_a_child_gets_the_frames_as_they_are(company: Company, message: Message) -> None:
    _, milter = company.add()
    company.ask("mail")
    company.judge(message)
    company.end()
    assert milter.frames()[1] == step("mail").frame
    assert milter.commands()[2] == Header(b"Subject", b" hi")


def test_macros_travel_ahead_of_their_step(company: Company) -> None:
    child, milter = company.add()
    child.send(step("helo", tls_version=b"TLSv1.3"))
    child.receive(step("helo"))
    child.close()
    assert milter.heard() == "O DH H Q"


def test_macros_travel_for_declined_steps_too(company: Company, message: Message) -> None:
    child, milter = company.add(NO_ENVELOPE)
    child.negotiate(limit=1e12)
    for name in MAIL_TO_DATA:
        asked = step(name, i=b"Q1")
        child.send(asked)
        child.receive(asked)
    company.judge(message)
    company.end()
    assert milter.heard() == "O DC DH DM DR DT L L N B E Q"


def test_macros_of_the_content_travel_once_for_each_stage(company: Company, message: Message) -> None:
    _, milter = company.add()
    for command in (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY, Command.SMFIC_BODYEOB):
        company.macros[command] = encode_command(Macro(command, {b"i": b"Q1"}))
    company.judge(message)
    company.end()
    assert milter.heard() == "O DL L L DN N DB B DE E Q"


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_child_that_declined_all_content_gets_the_end_of_the_message_alone(
    company: Company, message: Message, pipelining: bool
) -> None:
    _, milter = company.add(NOTHING, pipelining=pipelining)
    company.judge(message)
    company.end()
    assert milter.heard() == "O E Q"


def test_a_child_that_is_connected_late_is_told_what_it_missed(company: Company) -> None:
    company.ask("connect", "helo", "mail", "rcpt")
    _, milter = company.add()
    company.ask("data")
    company.end()
    assert milter.heard() == "O C H M R T Q"


def test_what_it_missed_comes_with_its_macros(company: Company) -> None:
    company.history = [step("connect", v=b"Postfix"), step("helo"), step("mail", i=b"Q1")]
    _, milter = company.add(NO_ENVELOPE)
    company.ask("rcpt")
    company.end()
    assert milter.heard() == "O DC DM Q"


def test_a_child_that_is_known_to_want_nothing_of_the_envelope_is_connected_for_the_content(
    company: Company, message: Message
) -> None:
    company.remembered["child1", OFFER] = NO_ENVELOPE
    _, milter = company.add(NO_ENVELOPE)
    company.ask(*MAIL_TO_DATA)
    assert milter.sessions == []
    company.judge(message)
    company.end()
    assert milter.heard() == "O L L N B E Q"


def test_what_a_child_negotiated_is_remembered(company: Company) -> None:
    child, _ = company.add(NO_ENVELOPE)
    child.negotiate(limit=1e12)
    assert company.remembered == {("child1", OFFER): NO_ENVELOPE}


def test_a_child_whose_wishes_are_remembered_is_not_connected_to_negotiate(company: Company) -> None:
    company.remembered["child1", OFFER] = EVERYTHING
    child, milter = company.add()
    child.negotiate(limit=1e12)
    assert milter.sessions == []
    assert child.options == EVERYTHING


def test_a_child_without_replies_is_not_waited_for(company: Company, message: Message) -> None:
    _, milter = company.add(SILENT)
    company.ask(*MAIL_TO_DATA)
    assert company.judge(message) is None
    company.end()
    assert milter.heard() == "O C H M R T L L N B E Q"


REFUSED = step("rcpt", rcpt_mailer=b"error", rcpt_host=b"5.7.1", rcpt_addr=b"Relay access denied")


@pytest.mark.parametrize(("steps", "heard"), [(0, "O R Q"), (ProtocolFlag.SMFIP_RCPT_REJ, "O R DR R Q")])
def test_a_recipient_that_the_mta_refused_is_told_with_its_macros_or_not_at_all(
    company: Company, steps: int, heard: str
) -> None:
    child, milter = company.add(OptionNegotiation(6, 0, steps))
    for asked in (step("rcpt"), REFUSED):
        child.send(asked)
        child.receive(asked)
    child.close()
    assert milter.heard() == heard


def test_a_child_without_data_is_spared_unknown_commands_behind_a_recipient(company: Company) -> None:
    _, milter = company.add(OptionNegotiation(6, 0, ProtocolFlag.SMFIP_NODATA))
    company.ask("unknown", "mail", "unknown", "rcpt", "unknown")
    company.end()
    assert milter.heard() == "O U M U R Q"


# ---- ends of messages and sessions


def test_a_child_inside_a_message_is_told_that_it_is_over(company: Company) -> None:
    child, milter = company.add()
    company.ask("mail", "rcpt")
    child.end_message()
    child.close()
    assert milter.heard() == "O M R A Q"


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        ({}, ("connect", "helo")),
        ({Command.SMFIC_MAIL: [Accept()]}, ("mail", "rcpt")),
        ({Command.SMFIC_MAIL: [Reject()]}, ("mail",)),
        ({Command.SMFIC_RCPT: [Accept()]}, ("mail", "rcpt")),
        ({Command.SMFIC_DATA: [TempFail()]}, ("mail", "rcpt", "data")),
    ],
)
def test_a_child_outside_a_message_is_told_nothing_at_its_end(
    company: Company, script: dict[int, list[Answer]], asked: tuple[str, ...]
) -> None:
    child, milter = company.add(script=script)
    company.ask(*asked)
    child.end_message()
    child.close()
    assert "A" not in milter.heard().split()


def test_a_child_that_refused_a_recipient_is_still_inside(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_RCPT: [Reject()]})
    company.ask("mail", "rcpt")
    child.end_message()
    child.close()
    assert milter.heard() == "O M R A Q"


def test_the_end_is_told_once(company: Company) -> None:
    child, milter = company.add()
    company.ask("mail")
    child.end_message()
    child.end_message()
    child.close()
    assert milter.heard() == "O M A Q"


def test_a_child_that_has_judged_is_outside(company: Company, message: Message) -> None:
    child, milter = company.add()
    company.ask("mail", "rcpt", "data")
    company.judge(message)
    child.end_message()
    child.close()
    assert milter.heard() == "O M R T L L N B E Q"


def test_a_new_message_ends_the_one_before(company: Company) -> None:
    _, milter = company.add()
    company.ask("mail", "mail")
    company.end()
    assert milter.heard() == "O M A M Q"


def test_closing_before_the_answer_is_there_is_without_farewell(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_MAIL: []})
    child.send(step("mail"))
    child.close()
    assert milter.heard() == "O M"


# ---- what its answers count as


@pytest.mark.parametrize("verdict", [Reject(), TempFail(), Discard(), ReplyCode(b"550 5.7.1 no")])
@pytest.mark.parametrize("name", ["mail", "rcpt", "data"])
def test_a_verdict_in_the_envelope_counts(company: Company, verdict: Verdict, name: str) -> None:
    company.add(script={step(name).command: [verdict]})
    assert company.ask(name) == [(verdict, "child1")]


@pytest.mark.parametrize("verdict", [Accept(), Reject(), ReplyCode(b"421 4.7.1 bye")])
@pytest.mark.parametrize("name", ["connect", "helo"])
def test_a_verdict_on_the_client_is_the_last_of_the_session(company: Company, verdict: Verdict, name: str) -> None:
    child, milter = company.add(script={step(name).command: [verdict]})
    company.ask(name, "mail", "rcpt")
    child.close()
    assert milter.heard() == f"O {chr(step(name).command)} Q"


@pytest.mark.parametrize("name", ["mail", "rcpt", "data"])
def test_an_accepted_message_is_not_shown_any_further(company: Company, message: Message, name: str) -> None:
    child, milter = company.add(script={step(name).command: [Accept()]})
    company.ask(*MAIL_TO_DATA)
    company.judge(message)
    child.close()
    assert milter.heard().split()[-2] == chr(step(name).command)


def test_the_message_behind_an_accepted_one_is_shown_again(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_MAIL: [Accept()]})
    company.ask("mail", "rcpt", "mail")
    child.close()
    assert milter.heard() == "O M M Q"


def test_a_refused_recipient_does_not_end_the_message(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_RCPT: [Reject()]})
    company.ask("mail", "rcpt", "rcpt", "data")
    child.close()
    assert milter.heard() == "O M R R T Q"


def test_discard_means_nothing_before_mail(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_CONNECT: [Discard()]})
    assert company.ask("connect", "helo") == [None, None]
    child.close()
    assert milter.heard() == "O C H Q"


def test_a_verdict_that_comes_while_it_is_told_what_it_missed_counts_now(company: Company) -> None:
    company.ask("connect")
    child, milter = company.add(script={Command.SMFIC_CONNECT: [Reject()]})
    assert company.ask("mail") == [(Reject(), "child1")]
    child.close()
    assert milter.heard() == "O C Q"


def test_progress_ahead_of_a_reply_is_no_reply(company: Company) -> None:
    company.add(script={Command.SMFIC_MAIL: [Progress(), Progress(), Reject()]})
    assert company.ask("mail") == [(Reject(), "child1")]


def test_a_child_in_evaluation_mode_never_counts(company: Company, message: Message) -> None:
    company.add(script={Command.SMFIC_RCPT: [Reject()], Command.SMFIC_BODYEOB: [TempFail()]}, evaluation_mode=True)
    assert company.ask(*MAIL_TO_DATA) == [None] * 5
    assert company.judge(message) is None


def test_a_failure_in_evaluation_mode_never_counts(company: Company) -> None:
    company.add(
        script={Command.SMFIC_MAIL: [None]}, evaluation_mode=True, fallback_status=FallbackStatus.TEMPORARY_FAILURE
    )
    assert company.ask("mail") == [None]


def test_edits_in_evaluation_mode_are_forgotten(company: Company, message: Message) -> None:
    edits = [AddHeader(b"X", b"1"), ReplBody(b"new"), Quarantine(b"why"), Continue()]
    company.add(script={Command.SMFIC_BODYEOB: edits}, evaluation_mode=True)
    company.judge(message)
    assert list(message.edit_frames()) == []


# ---- failures

MISDEEDS: dict[str, tuple[list[Answer], type[Exception]]] = {
    "hangs up": ([None], ChildUnavailable),
    "hangs up in a packet": ([b"\0\0\0\5c", None], ChildUnavailable),
    "sends garbage": ([b"\0\0\0\1?"], ChildProtocolError),
    "sends no packets at all": ([b"HTTP/1.1 400 Bad Request\r\n"], ChildProtocolError),
    "edits too early": ([AddHeader(b"A", b"b"), Continue()], ChildProtocolError),
    "says connection failure": ([ConnFail()], ChildProtocolError),
    "negotiates again": ([EVERYTHING], ChildProtocolError),
    "sends continue with a payload": ([b"\0\0\0\2cx"], ChildProtocolError),
}


@pytest.mark.parametrize("deed", MISDEEDS)
def test_a_misdeed_ends_the_child_for_the_session(company: Company, deed: str) -> None:
    answers, kind = MISDEEDS[deed]
    child, milter = company.add(script={Command.SMFIC_MAIL: answers})
    company.ask("mail", "rcpt")
    assert type(child.failure) is kind
    assert milter.heard() == "O M"


def test_a_child_that_does_not_answer_in_time_has_failed(company: Company) -> None:
    child, _ = company.add(script={Command.SMFIC_MAIL: []}, reading_timeout_s=0.02)
    company.ask("mail")
    assert type(child.failure) is ChildTimeout


def test_a_child_is_not_waited_for_beyond_the_mtas_own_limit(company: Company) -> None:
    company.limit = 0.0
    child, _ = company.add(script={Command.SMFIC_MAIL: []})
    company.ask("mail")
    assert type(child.failure) is ChildTimeout


def test_a_child_that_is_not_there_has_failed(company: Company) -> None:
    child = company.add_alone("none", Endpoint("unix", path="/nonexistent/m.sock"))
    company.ask("mail")
    assert str(child.failure) == "unix:/nonexistent/m.sock: No such file or directory"


@pytest.mark.parametrize(
    "answers", [[None], [Continue()], [OptionNegotiation(7, 0, 0)], [OptionNegotiation(6, 0x200, 0)]]
)
def test_a_child_that_does_not_negotiate_properly_has_failed(company: Company, answers: list[Answer]) -> None:
    child, _ = company.add(script={Command.SMFIC_OPTNEG: answers})
    child.negotiate(limit=1e12)
    assert child.failure is not None
    assert child.options is None


@pytest.mark.parametrize("status", FallbackStatus)
def test_a_failure_counts_as_the_fallback_but_not_before_mail(company: Company, status: FallbackStatus) -> None:
    expected = {
        FallbackStatus.ACCEPT: None,
        FallbackStatus.REJECT: (Reject(), "child1"),
        FallbackStatus.TEMPORARY_FAILURE: (TempFail(), "child1"),
        FallbackStatus.DISCARD: (Discard(), "child1"),
    }
    company.add(script={Command.SMFIC_CONNECT: [None]}, fallback_status=status)
    assert company.ask("connect", "helo", "mail") == [None, None, expected[status]]


def test_a_failed_child_is_not_connected_again(company: Company, message: Message) -> None:
    _, milter = company.add(script={Command.SMFIC_CONNECT: [None]})
    company.ask(*MAIL_TO_DATA)
    company.judge(message)
    assert len(milter.sessions) == 1


def test_a_child_that_went_away_between_messages_fails_without_an_exception(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_RCPT: [Continue(), None]})
    company.ask("mail", "rcpt")
    milter.heard()
    child.end_message()
    company.ask("mail")
    assert type(child.failure) is ChildUnavailable


def test_a_reply_that_nobody_asked_for_is_a_failure(company: Company) -> None:
    child, milter = company.add(script={Command.SMFIC_MAIL: [Continue(), Reject(), None]})
    company.ask("mail")
    milter.heard()
    company.ask("rcpt")
    assert child.failure is not None


def test_a_child_that_comes_back_wanting_more_waits_for_the_next_session(company: Company) -> None:
    company.remembered["child1", OFFER] = NO_ENVELOPE
    company.told = NO_ENVELOPE
    child, _ = company.add(OptionNegotiation(6, 0x1F, 0))
    company.judge(Message(True, company.make_body()))
    assert "wants more" in str(child.failure)
    assert company.remembered["child1", OFFER] == OptionNegotiation(6, 0x1F, 0)


def test_whoever_is_waited_for_is_told_by_name_and_then_nobody(company: Company) -> None:
    company.add(script={Command.SMFIC_MAIL: []}, reading_timeout_s=1.5)
    company.ask("mail")
    assert company.waits == ["child1", ""]


def test_a_child_that_answers_soon_is_not_told_of(company: Company) -> None:
    company.add()
    company.ask("mail")
    assert company.waits == []


# ---- the space behind the colon

LEADING = OptionNegotiation(6, 0x1FF, ProtocolFlag.SMFIP_HDR_LEADSPC)
ONE_OF_EACH = [AddHeader(b"A", b"v"), InsHeader(0, b"I", b"v"), ChgHeader(1, b"X-A", b"v"), ChgHeader(1, b"S", b"")]


def values(frames: list[bytes]) -> list[bytes]:
    """The header values among frames."""
    return [frame[PAYLOAD:].split(b"\0")[1] for frame in frames if frame[4] == Command.SMFIC_HEADER]


@pytest.mark.parametrize(
    ("told", "options", "expected"),
    [
        (EVERYTHING, EVERYTHING, [b" hi", b"1"]),
        (LEADING, EVERYTHING, [b"hi", b"1"]),
        (LEADING, LEADING, [b" hi", b"1"]),
    ],
)
def test_header_values_have_the_space_that_the_child_expects(
    company: Company, message: Message, told: OptionNegotiation, options: OptionNegotiation, expected: list[bytes]
) -> None:
    company.told = told
    _, milter = company.add(options)
    company.judge(message)
    company.end()
    assert values(milter.frames()) == expected


@pytest.mark.parametrize(
    ("told", "options", "space"), [(EVERYTHING, EVERYTHING, b""), (LEADING, EVERYTHING, b" "), (LEADING, LEADING, b"")]
)
def test_edits_have_the_space_that_the_mta_expects_but_a_deletion_stays_one(
    company: Company, message: Message, told: OptionNegotiation, options: OptionNegotiation, space: bytes
) -> None:
    company.told = told
    company.add(options, {Command.SMFIC_BODYEOB: [*ONE_OF_EACH, Continue()]})
    company.judge(message)
    assert message.edits == [
        AddHeader(b"A", space + b"v"),
        InsHeader(0, b"I", space + b"v"),
        ChgHeader(1, b"X-A", space + b"v"),
        ChgHeader(1, b"S", b""),
    ]


# ---- the message

JUDGED: dict[str, tuple[dict[int, list[Answer]], Verdict | None]] = {
    "continue": ({}, None),
    "accept": ({Command.SMFIC_BODYEOB: [Accept()]}, None),
    "reject": ({Command.SMFIC_BODYEOB: [Reject()]}, Reject()),
    "a text": ({Command.SMFIC_BODYEOB: [ReplyCode(b"550 5.7.1 no")]}, ReplyCode(b"550 5.7.1 no")),
    "a text that no MTA takes": ({Command.SMFIC_BODYEOB: [ReplyCode(b"550-no")]}, Reject()),
    "reject at a header": ({Command.SMFIC_HEADER: [Reject()]}, Reject()),
    "tempfail at the end of headers": ({Command.SMFIC_EOH: [TempFail()]}, TempFail()),
    "discard in the body": ({Command.SMFIC_BODY: [Discard()]}, Discard()),
    "accept at a header": ({Command.SMFIC_HEADER: [Accept()]}, None),
}


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("name", JUDGED)
def test_a_verdict_on_the_content_counts(company: Company, message: Message, name: str, pipelining: bool) -> None:
    script, expected = JUDGED[name]
    company.add(script=script, pipelining=pipelining)
    assert company.judge(message) == (None if expected is None else (expected, "child1"))


def test_in_lock_step_nothing_is_sent_behind_a_verdict(company: Company, message: Message) -> None:
    _, milter = company.add(script={Command.SMFIC_HEADER: [Reject()]}, pipelining=False)
    company.judge(message)
    company.end()
    assert milter.heard() == "O L Q"


def test_the_body_is_not_sent_behind_a_verdict_on_the_headers(company: Company, message: Message) -> None:
    _, milter = company.add(script={Command.SMFIC_EOH: [Accept()]})
    company.judge(message)
    company.end()
    assert milter.heard() == "O L L N Q"


@pytest.mark.parametrize("command", [Command.SMFIC_HEADER, Command.SMFIC_BODY])
def test_in_lock_step_what_a_child_skips_is_not_sent(company: Company, message: Message, command: int) -> None:
    message.body.add_payload(b"second")
    _, milter = company.add(script={command: [Skip()]}, pipelining=False)
    assert company.judge(message) is None
    company.end()
    expected = {Command.SMFIC_HEADER: "O L N B B E Q", Command.SMFIC_BODY: "O L L N B E Q"}
    assert milter.heard() == expected[command]


def test_a_body_is_skipped_from_its_second_piece_on(company: Company, message: Message) -> None:
    for _ in range(5):
        message.body.add_payload(b"x" * 65535)
    _, milter = company.add(script={Command.SMFIC_BODY: [Skip()]})
    assert company.judge(message) is None
    company.end()
    assert milter.heard() == "O L L N B E Q"


def test_skip_is_no_answer_to_the_end_of_a_message(company: Company, message: Message) -> None:
    child, _ = company.add(script={Command.SMFIC_BODYEOB: [Skip()]})
    company.judge(message)
    assert type(child.failure) is ChildProtocolError


@pytest.mark.parametrize(
    ("edit", "action"),
    [
        (AddHeader(b"A", b"b"), ActionFlag.SMFIF_ADDHDRS),
        (ReplBody(b"new"), ActionFlag.SMFIF_CHGBODY),
        (Quarantine(b"why"), ActionFlag.SMFIF_QUARANTINE),
    ],
)
def test_an_edit_that_was_not_negotiated_is_a_failure_and_none_of_them_counts(
    company: Company, message: Message, edit: Answer, action: int
) -> None:
    allowed = ChgHeader(1, b"X-A", b"2")
    options = OptionNegotiation(6, 0xFF & ~action, 0)
    child, _ = company.add(options, {Command.SMFIC_BODYEOB: [allowed, edit, Continue()]})
    company.judge(message)
    assert type(child.failure) is ChildProtocolError
    assert list(message.edit_frames()) == []


@pytest.mark.parametrize("ending", [None, b"\0\0\0\1?", Reject()])
def test_edits_of_a_child_that_does_not_let_the_message_pass_are_forgotten(
    company: Company, message: Message, ending: Answer
) -> None:
    company.add(script={Command.SMFIC_BODYEOB: [AddHeader(b"A", b"b"), ReplBody(b"new"), ending]})
    company.judge(message)
    assert list(message.edit_frames()) == []


def test_an_unusable_header_name_is_a_failure(company: Company, message: Message) -> None:
    child, _ = company.add(script={Command.SMFIC_BODYEOB: [AddHeader(b"", b"b"), Continue()]})
    company.judge(message)
    assert type(child.failure) is ChildProtocolError


def test_the_next_message_comes_on_the_same_connection(company: Company, message: Message) -> None:
    _, milter = company.add()
    for _ in range(2):
        company.ask("mail", "rcpt")
        company.history.clear()
        company.judge(message)
    company.end()
    assert milter.heard() == "O M R L L N B E M R L L N B E Q"


def test_a_connection_that_is_out_of_step_is_not_used_again(company: Company, message: Message) -> None:
    _, milter = company.add(script={Command.SMFIC_HEADER: [Reject()]})
    company.ask("connect", "mail")
    company.judge(message)
    company.history = company.history[:1]
    company.ask("mail")
    company.end()
    assert milter.heard(2) == "O C M Q"
    assert "Q" not in milter.heard(1)


def test_a_left_out_step_brings_its_macros_alone(company: Company) -> None:
    child, milter = company.add()
    child.negotiate(limit=1e12)
    asked = Step(Command.SMFIC_HELO, b"", encode_command(Macro(Command.SMFIC_HELO, {b"i": b"1"})), is_left_out=True)
    child.send(asked)
    child.receive(asked)
    child.close()
    assert milter.heard() == "O DH Q"


# ---- time that all children share


def test_a_child_is_negotiated_with_though_others_used_up_the_time(company: Company) -> None:
    child, _ = company.add()
    child.negotiate(limit=0.0)
    assert (child.failure, child.options) == (None, EVERYTHING)


def test_a_child_is_asked_though_others_used_up_the_time(company: Company) -> None:
    child, _ = company.add(script={Command.SMFIC_MAIL: [Reject()]})
    company.limit = 0.0
    assert [decision and decision.child for decision in company.ask("mail")] == [child.name]


def test_a_child_judges_though_others_used_up_the_time(company: Company, message: Message) -> None:
    company.add(script={Command.SMFIC_BODYEOB: [Reject()]})
    company.limit = 0.0
    decision = company.judge(message)
    assert decision is not None
