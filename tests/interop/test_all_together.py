"""All real milters at once, as on a mail server: scanners first, the signer last."""

from __future__ import annotations

import dkim
import pytest

from tests.support.lab import Lab
from tests.support.milters import EICAR, GTUBE
from tests.support.smtp import SmtpSession, new_mail

pytestmark = pytest.mark.interop

CHILDREN = ("pymilter", "clamav", "spamass", "opendkim")
ADDED = [
    *(b"X-Py-Milter", b"X-Virus-Scanned", b"X-Virus-Status"),
    *(b"X-Spam-Status", b"X-Spam-Level", b"X-Spam-Checker-Version"),
]


def test_clean_mail_arrives_with_the_headers_of_all_and_a_valid_signature(lab: Lab, via: str) -> None:
    (delivery,) = lab.deliver(lab.port(via, *CHILDREN), new_mail())
    names = [name for name, _ in delivery.headers]
    assert names[:2] == [b"DKIM-Signature", b"Received"]
    assert names[-len(ADDED) :] == ADDED
    assert dkim.verify(delivery.raw, dnsfunc=lab.opendkim().look_up)


def test_each_child_refuses_with_its_own_text_and_clean_mail_still_passes(lab: Lab, via: str) -> None:
    mails = {
        "550 5.7.1 Infected with Local.Eicar-Test.UNOFFICIAL": new_mail(body=EICAR + b"\r\n"),
        "550 5.7.1 Blocked by SpamAssassin": new_mail(body=GTUBE + b"\r\n"),
        "550 5.7.1 rejected by pymilter": new_mail(asks=["pymilter: reject"]),
    }
    clean = new_mail()
    with SmtpSession(lab.port(via, *CHILDREN)) as session:
        texts = [session.send(mail).end for mail in mails.values()]
        assert session.send(clean).queue_id
    assert texts == list(mails)
    assert dkim.verify(lab.postfix.delivery(clean.token).raw, dnsfunc=lab.opendkim().look_up)
    assert [lab.postfix.deliveries(mail.token, at_least=0) for mail in mails.values()] == [[], [], []]


def test_a_virus_in_spam_is_refused_by_whom_comes_first(lab: Lab, via: str) -> None:
    both = GTUBE + b"\r\n" + EICAR + b"\r\n"
    with SmtpSession(lab.port(via, "clamav", "spamass")) as session:
        first = session.send(new_mail(body=both)).end
    with SmtpSession(lab.port(via, "spamass", "clamav")) as session:
        second = session.send(new_mail(body=both)).end
    assert (first, second) == (
        "550 5.7.1 Infected with Local.Eicar-Test.UNOFFICIAL",
        "550 5.7.1 Blocked by SpamAssassin",
    )


def test_a_recipient_refused_by_one_child_is_left_out_for_all(lab: Lab, via: str) -> None:
    recipients = ["kept@example.test", "pymilter-reject@example.test"]
    mail = new_mail(recipients=recipients)
    (delivery,) = lab.deliver(lab.port(via, *CHILDREN), mail)
    assert delivery.recipient == "kept@example.test"
    assert dkim.verify(delivery.raw, dnsfunc=lab.opendkim().look_up)
