"""What a pymilter child decides, at every stage, is what the SMTP side gets."""

from __future__ import annotations

import pytest

from tests.support.lab import MANAGER, Lab
from tests.support.smtp import Mail, SmtpSession, new_mail, send

pytestmark = pytest.mark.interop

REJECTED = "550 5.7.1 rejected by pymilter"
TRY_LATER = "451 4.7.1 Service unavailable - try again later"
TRY_LATER_TEXT = "452 4.3.1 pymilter asks to try later"
REFUSED_PLAINLY = "550 5.7.1 Command rejected"
LINES = "554 5.7.9 pymilter says no\n5.7.9 100% sure\n5.7.9 and that is that"
TEXTS = {
    "reject": REJECTED,
    "tempfail": TRY_LATER,
    "tempfail-text": TRY_LATER_TEXT,
    "plain-reject": REFUSED_PLAINLY,
    "reject-lines": LINES,
}
every_refusal = pytest.mark.parametrize("word", TEXTS)


def assert_discarded(lab: Lab, port: int, mail: Mail) -> None:
    """The mail is answered like a delivered one, but is in no queue, and a later one arrives without it."""
    queue_id = send(port, mail).queue_id
    queued = lab.postfix.queued()
    lab.deliver(port, new_mail())
    assert queue_id not in queued
    assert lab.postfix.deliveries(mail.token, at_least=0) == []


def test_the_header_names_the_queue_id_of_postfix(lab: Lab, via: str) -> None:
    mail = new_mail()
    queue_id = send(lab.port(via, "pymilter"), mail).queue_id
    assert lab.postfix.delivery(mail.token).values("X-Py-Milter") == [f"pymilter queue-id={queue_id}".encode()]


@every_refusal
def test_a_refusal_at_the_end_of_the_message(lab: Lab, via: str, word: str) -> None:
    assert send(lab.port(via, "pymilter"), new_mail(asks=[f"pymilter: {word}"])).end == TEXTS[word]


@pytest.mark.parametrize("stage", ["header", "eoh", "body"])
@every_refusal
def test_a_refusal_before_the_end_of_the_message(lab: Lab, via: str, word: str, stage: str) -> None:
    assert send(lab.port(via, "pymilter"), new_mail(asks=[f"pymilter: {word}@{stage}"])).end == TEXTS[word]


@every_refusal
def test_a_refusal_at_mail(lab: Lab, via: str, word: str) -> None:
    answers = send(lab.port(via, "pymilter"), new_mail(sender=f"pymilter-{word}@sender.test"))
    assert (answers.mail, answers.rcpt) == (TEXTS[word], [])


@every_refusal
def test_a_refusal_at_data(lab: Lab, via: str, word: str) -> None:
    answers = send(lab.port(via, "pymilter"), new_mail(sender=f"pymilter-data-{word}@sender.test"))
    assert (answers.rcpt, answers.data, answers.end) == (["250 2.1.5 Ok"], TEXTS[word], "")


@every_refusal
def test_one_recipient_of_three_is_refused_and_the_others_get_the_mail(lab: Lab, via: str, word: str) -> None:
    recipients = ["one@example.test", f"pymilter-{word}@example.test", "two@example.test"]
    mail = new_mail(recipients=recipients)
    answers = send(lab.port(via, "pymilter"), mail)
    assert answers.rcpt == ["250 2.1.5 Ok", TEXTS[word], "250 2.1.5 Ok"]
    lab.postfix.wait_until_finished(answers.queue_id)
    arrived = [delivery.recipient for delivery in lab.postfix.deliveries(mail.token, 2)]
    assert arrived == ["one@example.test", "two@example.test"]


def test_a_mail_whose_every_recipient_is_refused_has_no_content(lab: Lab, via: str) -> None:
    recipients = ["pymilter-reject@example.test", "pymilter-tempfail@example.test"]
    answers = send(lab.port(via, "pymilter"), new_mail(recipients=recipients))
    assert (answers.rcpt, answers.data) == ([REJECTED, TRY_LATER], "")


@every_refusal
def test_a_refusal_at_helo_holds_for_the_connection(lab: Lab, via: str, word: str) -> None:
    with SmtpSession(lab.port(via, "pymilter"), helo=f"pymilter-{word}.test") as session:
        assert [session.send(new_mail()).mail for _ in range(2)] == [TEXTS[word]] * 2


def test_helo_again_after_a_refused_one(lab: Lab, via: str) -> None:
    with SmtpSession(lab.port(via, "pymilter"), helo="pymilter-reject.test") as session:
        first = session.send(new_mail())
        session.command("EHLO client.test")
        assert (first.mail, session.send(new_mail()).mail) == (REJECTED, REJECTED)


@pytest.mark.parametrize("stage", ["header", "eoh", "body"])
def test_a_child_that_accepts_early_changes_nothing_and_the_mail_arrives(lab: Lab, via: str, stage: str) -> None:
    (delivery,) = lab.deliver(lab.port(via, "pymilter"), new_mail(asks=[f"pymilter: accept@{stage}"]))
    assert delivery.values("X-Py-Milter") == []


@pytest.mark.parametrize("stage", ["header", "eoh", "body"])
def test_early_acceptance_of_one_child_leaves_the_mail_to_the_other(lab: Lab, via: str, stage: str) -> None:
    asks = [f"pymilter: accept@{stage}", "second: reject"]
    port = lab.port(via, "pymilter", "second")
    assert send(port, new_mail(asks=asks)).end == "550 5.7.1 rejected by second"


def test_acceptance_at_mail_is_for_that_mail_only(lab: Lab, via: str) -> None:
    with SmtpSession(lab.port(via, "pymilter")) as session:
        accepted = new_mail(sender="pymilter-accept@sender.test", asks=["pymilter: reject"])
        assert session.send(accepted).queue_id
        assert session.send(new_mail(asks=["pymilter: reject"])).end == REJECTED


def test_a_skipped_body_still_reaches_the_recipient(lab: Lab, via: str) -> None:
    body = b"0123456789abcdef\r\n" * 20000
    mail = new_mail(body=body, asks=["pymilter: skip@body"])
    (delivery,) = lab.deliver(lab.port(via, "pymilter"), mail)
    assert delivery.body == body.replace(b"\r\n", b"\n")
    assert len(delivery.values("X-Py-Milter")) == 1


@pytest.mark.parametrize("ask", ["discard", "discard@header", "discard@eoh", "discard@body"])
def test_a_discarded_mail_is_answered_as_queued_and_never_arrives(lab: Lab, via: str, ask: str) -> None:
    assert_discarded(lab, lab.port(via, "pymilter"), new_mail(asks=[f"pymilter: {ask}"]))


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param({"sender": "pymilter-discard@sender.test"}, id="mail"),
        pytest.param({"sender": "pymilter-data-discard@sender.test"}, id="data"),
        pytest.param({"recipients": ["one@example.test", "pymilter-discard@example.test"]}, id="rcpt"),
    ],
)
def test_a_mail_discarded_by_its_envelope_never_arrives(lab: Lab, via: str, envelope: dict[str, object]) -> None:
    assert_discarded(lab, lab.port(via, "pymilter"), new_mail(**envelope))


@pytest.mark.parametrize("who", ["pymilter", "second"])
@pytest.mark.parametrize("stage", ["", "@header", "@body"])
def test_what_one_of_two_children_discards_never_arrives(lab: Lab, via: str, who: str, stage: str) -> None:
    mail = new_mail(asks=[f"{who}: discard{stage}", "pymilter: add-recipient more@example.test"])
    assert_discarded(lab, lab.port(via, "pymilter", "second"), mail)


@pytest.mark.usefixtures("managed")
def test_after_a_quarantine_the_later_child_still_does_its_work(lab: Lab) -> None:
    """Postfix itself would show a held mail to no further milter."""
    port = lab.port(MANAGER, "pymilter", "second")
    held = new_mail(
        asks=["pymilter: quarantine odd", "second: change-header Subject 1 marked", "second: quarantine too"]
    )
    queue_id = send(port, held).queue_id
    assert queue_id in lab.postfix.held()
    assert {"Subject: marked", f"X-Py-Second: second queue-id={queue_id}"} <= set(
        lab.postfix.queue_file(queue_id).splitlines()
    )
    lab.postfix.delete(queue_id)
    refused = new_mail(asks=["pymilter: quarantine odd", "second: reject"])
    assert send(port, refused).end == "550 5.7.1 rejected by second"


def test_a_quarantined_mail_is_held(lab: Lab, via: str) -> None:
    mail = new_mail(asks=["pymilter: quarantine looks odd"])
    queue_id = send(lab.port(via, "pymilter"), mail).queue_id
    lab.postfix.wait_for_log(rf"{queue_id}: milter-hold: END-OF-MESSAGE")
    assert queue_id in lab.postfix.held()
    assert f"X-Py-Milter: pymilter queue-id={queue_id}" in lab.postfix.queue_file(queue_id)
    lab.postfix.delete(queue_id)


@pytest.mark.parametrize("first", ["reject", "tempfail", "reject@header", "reject@body", "discard", "accept@header"])
def test_a_mail_after_another_verdict_in_one_connection_is_judged_afresh(lab: Lab, via: str, first: str) -> None:
    last = new_mail()
    with SmtpSession(lab.port(via, "pymilter")) as session:
        session.send(new_mail(asks=[f"pymilter: {first}"]))
        answers = session.send(last)
    assert lab.postfix.delivery(last.token).values("X-Py-Milter") == [f"pymilter queue-id={answers.queue_id}".encode()]
