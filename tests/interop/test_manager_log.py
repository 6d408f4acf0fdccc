"""The queue id of Postfix leads from the mail log to the manager's own log."""

from __future__ import annotations

import re

import pytest

from tests.support.daemon import Manager
from tests.support.lab import MANAGER, Lab
from tests.support.smtp import SmtpSession, new_mail, send

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("managed")]


def manager_and_port(lab: Lab) -> tuple[Manager, int]:
    route = lab.route(MANAGER, {"pymilter": lab.pymilter().spec, "second": lab.pymilter("second").spec})
    assert route.manager is not None
    return route.manager, route.port


def line_of(manager: Manager, queue_id: str) -> str:
    """The log line of the transaction with this queue id."""
    return manager.wait_for_log(rf"(?m)^.*\bqueue_id={re.escape(queue_id)}\b.*\bverdict=\S+.*$").group()


def test_the_line_of_a_transaction_carries_the_queue_id(lab: Lab) -> None:
    manager, port = manager_and_port(lab)
    queue_id = send(port, new_mail()).queue_id
    assert re.search(r"\bsession=\S+", line_of(manager, queue_id))


def test_each_mail_of_a_connection_has_its_own_line(lab: Lab) -> None:
    manager, port = manager_and_port(lab)
    with SmtpSession(port) as session:
        queue_ids = [session.send(new_mail()).queue_id for _ in range(3)]
    assert len({line_of(manager, queue_id) for queue_id in queue_ids}) == 3


def test_a_refused_mail_names_the_child_that_refused_it(lab: Lab) -> None:
    manager, port = manager_and_port(lab)
    mail = new_mail(asks=["second: reject"])
    send(port, mail)
    queue_id = lab.pymilter("second").conversation(mail.token)[-1]["macros"]["i"]
    assert re.search(r"\bverdict=reject\b.*\bchildren=\S*\bsecond:reject\b", line_of(manager, queue_id))
