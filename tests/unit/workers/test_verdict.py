"""Which reply decides, what a failed child counts as, what a reply counts as at which stage."""

from __future__ import annotations

from typing import get_args

import pytest

from mmgr.config.model import ChildSettings, FallbackStatus
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import Accept, Continue, Discard, Reject, ReplyCode, Shutdown, Skip, TempFail, Verdict
from workers.verdict import as_counted, fallback, is_deciding, joint_fallback, verdict_name

SESSION = (Command.SMFIC_CONNECT, Command.SMFIC_HELO)
ENVELOPE = (Command.SMFIC_MAIL, Command.SMFIC_RCPT, Command.SMFIC_DATA)
CONTENT = (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY, Command.SMFIC_BODYEOB)
ALL = (*SESSION, *ENVELOPE, *CONTENT, Command.SMFIC_UNKNOWN)

VERDICTS: dict[Verdict, tuple[bool, str]] = {
    Continue(): (False, "continue"),
    Accept(): (False, "accept"),
    Skip(): (False, "skip"),
    Reject(): (True, "reject"),
    TempFail(): (True, "temporary-failure"),
    Discard(): (True, "discard"),
    Shutdown(): (True, "shutdown"),
    ReplyCode(b"550 5.7.1 no"): (True, "reject"),
    ReplyCode(b"451 4.7.1 later"): (True, "temporary-failure"),
}


def test_every_verdict_is_in_the_table() -> None:
    assert {type(verdict) for verdict in VERDICTS} == set(get_args(Verdict))


@pytest.mark.parametrize("verdict", VERDICTS, ids=repr)
def test_a_verdict_decides_for_all_unless_it_lets_the_mail_pass(verdict: Verdict) -> None:
    assert is_deciding(verdict) == VERDICTS[verdict][0]


@pytest.mark.parametrize("verdict", VERDICTS, ids=repr)
def test_a_verdict_has_a_name(verdict: Verdict) -> None:
    assert verdict_name(verdict) == VERDICTS[verdict][1]


FALLBACKS: dict[FallbackStatus, Verdict] = {
    FallbackStatus.ACCEPT: Continue(),
    FallbackStatus.REJECT: Reject(),
    FallbackStatus.TEMPORARY_FAILURE: TempFail(),
    FallbackStatus.DISCARD: Discard(),
}


@pytest.mark.parametrize("command", [*ENVELOPE, *CONTENT])
@pytest.mark.parametrize("status", FallbackStatus)
def test_a_failed_child_counts_as_its_fallback_from_mail_on(status: FallbackStatus, command: int) -> None:
    assert fallback(status, command) == FALLBACKS[status]


@pytest.mark.parametrize("command", [*SESSION, Command.SMFIC_UNKNOWN])
@pytest.mark.parametrize("status", FallbackStatus)
def test_a_failed_child_decides_nothing_before_mail(status: FallbackStatus, command: int) -> None:
    assert fallback(status, command) == Continue()


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("verdict", VERDICTS, ids=repr)
def test_a_reply_counts_as_it_is_where_it_has_a_meaning(verdict: Verdict, command: int) -> None:
    means_nothing = (isinstance(verdict, Discard) and command in (*SESSION, Command.SMFIC_UNKNOWN)) or (
        isinstance(verdict, Skip) and command not in CONTENT
    )
    counted, fault = as_counted(verdict, command)
    assert counted == (Continue() if means_nothing else verdict)
    assert bool(fault) == means_nothing


UNUSABLE = {
    b"550": Reject(),
    b"550-first": Reject(),
    b"550 a\r\n550 b": Reject(),
    b"550-a\r\n551 b": Reject(),
    b"550 4 tries left": Reject(),
    b"550 a\nb": Reject(),
    b"451-a\r\n550 b": TempFail(),
    b"452 5 tries left": TempFail(),
}


@pytest.mark.parametrize("text", UNUSABLE)
def test_an_unusable_reply_text_counts_as_the_plain_verdict_of_its_class(text: bytes) -> None:
    counted, fault = as_counted(ReplyCode(text), Command.SMFIC_RCPT)
    assert counted == UNUSABLE[text]
    assert fault


@pytest.mark.parametrize("text", [b"550 5.7.1 no", b"421 4.7.0 bye", b"554-5.7.1 a\r\n554 5.7.1 b", b"550 \xe4 100%%"])
def test_a_usable_reply_text_is_kept_byte_by_byte(text: bytes) -> None:
    assert as_counted(ReplyCode(text), Command.SMFIC_BODYEOB) == (ReplyCode(text), "")


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ([], FallbackStatus.DISCARD),
        ([FallbackStatus.ACCEPT], FallbackStatus.DISCARD),
        (
            [FallbackStatus.ACCEPT, FallbackStatus.TEMPORARY_FAILURE, FallbackStatus.REJECT],
            FallbackStatus.TEMPORARY_FAILURE,
        ),
    ],
)
def test_where_no_child_can_be_asked_the_first_that_would_refuse_counts(
    children: list[FallbackStatus], expected: FallbackStatus
) -> None:
    settings = [ChildSettings("c", (), fallback_status=status) for status in children]
    assert joint_fallback(settings, FallbackStatus.DISCARD) is expected


def test_a_child_in_evaluation_mode_does_not_count_where_none_can_be_asked() -> None:
    evaluated = ChildSettings("c", (), fallback_status=FallbackStatus.REJECT, evaluation_mode=True)
    assert joint_fallback([evaluated], FallbackStatus.ACCEPT) is FallbackStatus.ACCEPT
