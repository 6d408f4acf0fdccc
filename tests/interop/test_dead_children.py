"""A child that is down, hangs or dies: its fallback applies, and the others do their work."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.lab import MANAGER, Lab
from tests.support.milters import PymilterChild
from tests.support.processes import free_port
from tests.support.smtp import Mail, SmtpSession, new_mail, send

pytestmark = pytest.mark.interop

TRY_LATER = "451 4.7.1 Service unavailable - try again later"


def dead_socket(lab: Lab, kind: str, kept: list[socket.socket]) -> str:
    """The spec of a child that does not work, in one of the ways that happen."""
    path = lab.subdirectory("dead") / "milter.sock"
    if kind == "no socket":
        return f"unix:{path}"
    if kind == "nobody on the port":
        return f"inet:{free_port()}@127.0.0.1"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    if kind == "never answers":
        listener.listen(50)
        kept.append(listener)
    else:
        listener.close()
    return f"unix:{path}"


@pytest.fixture(params=["no socket", "nobody on the socket", "nobody on the port", "never answers"])
def dead(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    kept: list[socket.socket] = []
    yield dead_socket(lab, request.param, kept)
    for listener in kept:
        listener.close()


def test_a_dead_child_with_fallback_accept_lets_the_others_work(lab: Lab, via: str, dead: str) -> None:
    specs = {"pymilter": lab.pymilter().spec, "dead": dead, "second": lab.pymilter("second").spec}
    with lab.new_route(via, specs, "accept", ["dead"]) as route, SmtpSession(route.port) as session:
        mail = new_mail()
        assert session.send(mail).queue_id
        assert session.send(new_mail(asks=["second: reject"])).end == "550 5.7.1 rejected by second"
    delivery = lab.postfix.delivery(mail.token)
    assert (len(delivery.values("X-Py-Milter")), len(delivery.values("X-Py-Second"))) == (1, 1)


def test_a_dead_child_with_fallback_temporary_failure_puts_mail_off(lab: Lab, via: str, dead: str) -> None:
    specs = {"dead": dead, "pymilter": lab.pymilter().spec}
    with lab.new_route(via, specs, "temporary-failure", ["dead"]) as route, SmtpSession(route.port) as session:
        assert session.greeting.startswith("250")
        assert [session.send(new_mail()).verdict for _ in range(2)] == [TRY_LATER] * 2


@pytest.mark.usefixtures("managed")
def test_a_dead_child_with_fallback_reject_refuses_mail_but_not_the_connection(lab: Lab, dead: str) -> None:
    """Postfix itself says 554 instead of a greeting, which ends the connection for other mail too."""
    specs = {"dead": dead, "pymilter": lab.pymilter().spec}
    with lab.new_route(MANAGER, specs, "reject", ["dead"]) as route:
        assert send(route.port, new_mail()).mail == "550 5.7.1 Command rejected"


def test_a_child_that_comes_back_is_used_again(lab: Lab, via: str) -> None:
    child = PymilterChild(lab.subdirectory("coming"), "coming")
    with lab.new_route(via, {"coming": child.spec}) as route:
        assert send(route.port, new_mail()).verdict == TRY_LATER
        with child:
            (delivery,) = lab.deliver(route.port, new_mail())
            assert len(delivery.values("X-Py-Milter")) == 1
            child.kill()
        assert send(route.port, new_mail()).verdict == TRY_LATER


ENDINGS = {
    "helo": {"helo": "doomed-{word}.test"},
    "mail": {"sender": "doomed-{word}@sender.test"},
    "rcpt": {"recipients": ["doomed-{word}@example.test"]},
    "data": {"sender": "doomed-data-{word}@sender.test"},
    "header": {"asks": ["doomed: {word}@header"]},
    "body": {"asks": ["doomed: {word}@body"]},
    "end": {"asks": ["doomed: {word}"]},
    "end, after edits": {
        "asks": ["doomed: change-header Subject 1 half", "doomed: replace-body half", "doomed: {word}"]
    },
}


@pytest.fixture
def doomed(lab: Lab) -> Iterator[PymilterChild]:
    """A child of one test, which may die."""
    with PymilterChild(lab.subdirectory("doomed"), "doomed", "X-Py-Doomed") as child:
        child.patience_s = 0.0
        yield child


def new_mail_at(stage: str, word: str) -> tuple[Mail, str]:
    """The mail, and the HELO name, that make the doomed child do what word says at a stage."""
    settings = {
        key: [item.format(word=word) for item in value] if isinstance(value, list) else value.format(word=word)
        for key, value in ENDINGS[stage].items()
    }
    helo = str(settings.pop("helo", "client.test"))
    return new_mail(**settings), helo


@pytest.mark.parametrize(
    ("word", "stage"),
    [("exit", stage) for stage in ENDINGS]
    + [("hang", stage) for stage in ("helo", "mail", "body", "end, after edits")],
)
def test_a_child_that_fails_at_a_stage_puts_the_mail_off(
    lab: Lab, via: str, doomed: PymilterChild, word: str, stage: str
) -> None:
    mail, helo = new_mail_at(stage, word)
    specs = {"doomed": doomed.spec, "pymilter": lab.pymilter().spec}
    with lab.new_route(via, specs, "temporary-failure", ["doomed"]) as route:
        assert send(route.port, mail, helo).verdict == TRY_LATER


@pytest.mark.parametrize("stage", [stage for stage in ENDINGS if not stage.startswith("end")])
def test_a_child_that_dies_at_a_stage_can_be_done_without(
    lab: Lab, via: str, doomed: PymilterChild, stage: str
) -> None:
    mail, helo = new_mail_at(stage, "exit")
    specs = {"doomed": doomed.spec, "pymilter": lab.pymilter().spec}
    with lab.new_route(via, specs, "accept", ["doomed"]) as route:
        (delivery,) = lab.deliver(route.port, mail, helo=helo)
    assert len(delivery.values("X-Py-Milter")) == 1
    assert delivery.values("X-Py-Doomed") == []


@pytest.mark.usefixtures("managed")
@pytest.mark.parametrize("word", ["exit", "hang"])
def test_edits_of_a_child_that_fails_after_them_are_not_applied(lab: Lab, doomed: PymilterChild, word: str) -> None:
    """Postfix itself would deliver the half-edited mail: it writes each edit to the queue file as it comes."""
    mail, _ = new_mail_at("end, after edits", word)
    specs = {"doomed": doomed.spec, "pymilter": lab.pymilter().spec}
    with lab.new_route(MANAGER, specs, "accept", ["doomed"]) as route:
        (delivery,) = lab.deliver(route.port, mail)
    assert (delivery.values("X-Py-Doomed"), len(delivery.values("X-Py-Milter"))) == ([], 1)
    assert (delivery.values("Subject"), delivery.body) == ([b"hello"], b"Hello.\n")
