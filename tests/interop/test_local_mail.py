"""Mail that does not come by SMTP: Postfix shows what ``sendmail`` submits to non_smtpd_milters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.lab import DIRECT, Lab
from tests.support.processes import wait_for
from tests.support.smtp import new_mail

pytestmark = pytest.mark.interop


@pytest.fixture
def local_submission(lab: Lab, via: str) -> Iterator[None]:
    """Local mail is shown to the pymilter child, in either way."""
    child = lab.pymilter()
    spec = child.spec if via == DIRECT else lab.route(via, {"pymilter": child.spec}).manager.spec
    lab.postfix.configure(non_smtpd_milters=spec)
    yield
    lab.postfix.configure(non_smtpd_milters="")


@pytest.mark.usefixtures("local_submission")
def test_submitted_mail_gets_the_childs_header(lab: Lab) -> None:
    mail = new_mail(asks=["pymilter: insert-header 0 X-Top top"])
    lab.postfix.sendmail(mail.sender, mail.recipients, mail.content)
    delivery = lab.postfix.delivery(mail.token)
    assert delivery.values("X-Py-Milter")[0].startswith(b"pymilter queue-id=")
    assert delivery.headers[0] == (b"X-Top", b" top")


@pytest.mark.usefixtures("local_submission")
def test_the_child_is_told_of_a_local_client_and_bare_addresses(lab: Lab) -> None:
    mail = new_mail()
    lab.postfix.sendmail(mail.sender, mail.recipients, mail.content)
    lab.postfix.delivery(mail.token)
    told = {event["event"]: event for event in lab.pymilter().conversation(mail.token)}
    assert (told["connect"]["hostname"], told["connect"]["address"]) == ("localhost", "127.0.0.1")
    assert (told["mail"]["sender"], told["rcpt"]["recipient"]) == ("a@sender.test", "u@example.test")
    assert told["mail"]["macros"]["i"]


@pytest.mark.usefixtures("local_submission")
def test_submitted_mail_can_be_refused(lab: Lab) -> None:
    refused = new_mail(asks=["pymilter: reject"])
    lab.postfix.sendmail(refused.sender, refused.recipients, refused.content)
    told = wait_for(lambda: lab.pymilter().conversation(refused.token), "the mail at the child")
    queue_id = told[-1]["macros"]["i"]
    lab.postfix.wait_for_log(rf"{queue_id}: milter-reject: END-OF-MESSAGE .*rejected by pymilter")
    lab.postfix.wait_for_log(rf"{queue_id}: sender non-delivery notification")
    assert lab.postfix.deliveries(refused.token, at_least=0) == []
