"""opendkim signs through Postfix, and the signature verifies where the mail arrives."""

from __future__ import annotations

import dkim
import pytest

from tests.support.lab import Lab
from tests.support.smtp import new_mail

pytestmark = pytest.mark.interop


def test_a_signature_verifies_where_the_mail_arrives(lab: Lab, via: str) -> None:
    (delivery,) = lab.deliver(lab.port(via, "opendkim"), new_mail())
    assert [name for name, _ in delivery.headers][:2] == [b"DKIM-Signature", b"Received"]
    assert dkim.verify(delivery.raw, dnsfunc=lab.opendkim().look_up)


def test_an_altered_body_does_not_verify(lab: Lab, via: str) -> None:
    (delivery,) = lab.deliver(lab.port(via, "opendkim"), new_mail())
    assert not dkim.verify(delivery.raw.replace(b"Hello", b"Hullo"), dnsfunc=lab.opendkim().look_up)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param([b"X-Folded: one\r\n\ttwo\r\n  three"], b"8-bit \xe4\xff\r\n\r\n\r\n", id="8-bit and empty lines"),
        pytest.param([b"Content-Type: text/plain;\r\n charset=utf-8"], b"", id="empty body"),
        pytest.param([b"MIME-Version: 1.0"], b"0123456789abcdef\r\n" * 20000, id="several chunks"),
    ],
)
def test_unusual_content_is_signed_as_it_arrives(lab: Lab, via: str, headers: list[bytes], body: bytes) -> None:
    (delivery,) = lab.deliver(lab.port(via, "opendkim"), new_mail(headers=headers, body=body))
    assert dkim.verify(delivery.raw, dnsfunc=lab.opendkim().look_up)


def test_what_an_earlier_child_changed_is_what_gets_signed(lab: Lab, via: str) -> None:
    asks = ["pymilter: change-header Subject 1 changed", "pymilter: replace-body Another body."]
    (delivery,) = lab.deliver(lab.port(via, "pymilter", "opendkim"), new_mail(asks=asks))
    assert delivery.values("Subject") == [b"changed"]
    assert delivery.body == b"Another body.\n"
    assert dkim.verify(delivery.raw, dnsfunc=lab.opendkim().look_up)


def test_mail_of_another_domain_is_left_alone(lab: Lab, via: str) -> None:
    headers = [b"Sender: <b@elsewhere.test>"]
    mail = new_mail(sender="b@elsewhere.test", headers=headers)
    other = mail.content.replace(b"From: <a@sender.test>", b"From: <b@elsewhere.test>")
    (delivery,) = lab.deliver(lab.port(via, "opendkim"), type(mail)(mail.token, other, mail.sender))
    assert delivery.values("DKIM-Signature") == []
