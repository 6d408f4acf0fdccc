"""spamass-milter with a real spamd: spam is refused with the milter's own text, other mail is marked."""

from __future__ import annotations

import pytest

from tests.support.lab import Lab
from tests.support.milters import GTUBE
from tests.support.smtp import new_mail, send

pytestmark = pytest.mark.interop


def test_spam_is_refused_with_the_milters_own_text(lab: Lab, via: str) -> None:
    answers = send(lab.port(via, "spamass"), new_mail(body=GTUBE + b"\r\n"))
    assert answers.end == "550 5.7.1 Blocked by SpamAssassin"


def test_clean_mail_arrives_with_its_score(lab: Lab, via: str) -> None:
    (delivery,) = lab.deliver(lab.port(via, "spamass"), new_mail())
    assert [name for name, _ in delivery.headers if name.startswith(b"X-Spam")] == [
        b"X-Spam-Status",
        b"X-Spam-Level",
        b"X-Spam-Checker-Version",
    ]
    assert delivery.values("X-Spam-Status")[0].startswith(b"No, score=")


def test_forged_spam_headers_are_replaced(lab: Lab, via: str) -> None:
    forged = [b"X-Spam-Status: No, score=-100 forged", b"X-Spam-Level: forged"]
    (delivery,) = lab.deliver(lab.port(via, "spamass"), new_mail(headers=forged))
    assert len(delivery.values("X-Spam-Status")) == 1
    assert b"forged" not in delivery.raw
