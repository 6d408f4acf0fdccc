"""SMTP sessions that are more than one plain mail: what the child is told, and what arrives."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.lab import MANAGER, Lab
from tests.support.smtp import Mail, SmtpSession, new_mail, send

pytestmark = pytest.mark.interop

Event = dict[str, Any]


def only(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def header_values(events: Sequence[Event], name: str) -> list[bytes]:
    return [event["value"].encode("latin-1") for event in only(events, "header") if event["name"] == name]


def told(lab: Lab, via: str, mail: Mail) -> list[Event]:
    """Sends a mail and returns what the child was told of it."""
    assert send(lab.port(via, "pymilter"), mail).queue_id
    return lab.pymilter().conversation(mail.token)


def test_the_child_is_told_every_stage_in_order(lab: Lab, via: str) -> None:
    events = told(lab, via, new_mail())
    kinds = [event["event"] for event in events if event["event"] != "abort"]
    assert kinds == ["connect", "helo", "mail", "rcpt", "data", *["header"] * 6, "eoh", "eom"]


def test_connect_and_helo_name_the_smtp_client(lab: Lab, via: str) -> None:
    connect, helo, *_ = told(lab, via, new_mail())
    assert (connect["hostname"], connect["address"]) == ("[127.0.0.1]", "127.0.0.1")
    assert helo["name"] == "client.test"


@pytest.mark.parametrize(
    ("attributes", "hostname", "address"),
    [
        ("NAME=c.test ADDR=203.0.113.5", "c.test", "203.0.113.5"),
        ("NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1", "[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_a_client_behind_a_proxy_is_announced_afresh(
    lab: Lab, via: str, attributes: str, hostname: str, address: str
) -> None:
    mail = new_mail()
    with SmtpSession(lab.port(via, "pymilter")) as session:
        assert session.command(f"XCLIENT {attributes}").startswith("220")
        session.command("EHLO client.test")
        assert session.send(mail).queue_id
    connect = lab.pymilter().conversation(mail.token)[0]
    assert (connect["hostname"], connect["address"]) == (hostname, address)


def test_macros_reach_the_child_and_nobody_is_authenticated(lab: Lab, via: str) -> None:
    events = told(lab, via, new_mail())
    (rcpt,) = only(events, "rcpt")
    macros = rcpt["macros"]
    assert macros["v"].startswith("Postfix ")
    assert (macros["j"], macros["{mail_addr}"], macros["{rcpt_addr}"]) == ("mx.test", "a@sender.test", "u@example.test")
    assert "{auth_authen}" not in macros


def test_the_queue_id_is_known_from_data_on(lab: Lab, via: str) -> None:
    mail = new_mail()
    queue_id = send(lab.port(via, "pymilter"), mail).queue_id
    events = lab.pymilter().conversation(mail.token)
    ids = [event["macros"].get("i") for event in events if event["event"] in ("mail", "data", "eoh", "eom")]
    assert ids == [None, queue_id, queue_id, queue_id]


def test_esmtp_parameters_reach_the_child(lab: Lab, via: str) -> None:
    mail = new_mail(
        mail_parameters="SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=abc",
        rcpt_parameters="NOTIFY=NEVER ORCPT=rfc822;other@example.test",
    )
    events = told(lab, via, mail)
    assert only(events, "mail")[0]["parameters"] == ["SIZE=1000", "BODY=8BITMIME", "RET=HDRS", "ENVID=abc"]
    assert only(events, "rcpt")[0]["parameters"] == ["NOTIFY=NEVER", "ORCPT=rfc822;other@example.test"]


def test_an_empty_sender_reaches_the_child(lab: Lab, via: str) -> None:
    mail = new_mail(sender="")
    assert only(told(lab, via, mail), "mail")[0]["sender"] == "<>"
    assert lab.postfix.delivery(mail.token).sender == ""


def test_an_address_in_utf_8_reaches_the_child_unchanged(lab: Lab, via: str) -> None:
    mail = new_mail()
    with SmtpSession(lab.port(via, "pymilter")) as session:
        session.connection.command_encoding = "utf-8"
        assert session.command("MAIL FROM:<j\u00f6rg@sender.test> SMTPUTF8").startswith("250")
        session.command("RCPT TO:<u@example.test>")
        session.command("DATA")
        assert session.content(mail.content).startswith("250")
    (event,) = only(lab.pymilter().conversation(mail.token), "mail")
    assert event["sender"].encode("latin-1") == "<j\u00f6rg@sender.test>".encode()


UNUSUAL_HEADERS = {
    "8-bit": (b"X-Odd: \xe4\xf6\xfc \xff\xfe \xc3\xa4", b"\xe4\xf6\xfc \xff\xfe \xc3\xa4"),
    "folded": (b"X-Odd: one\r\n\ttwo\r\n   three", b"one\n\ttwo\n   three"),
    "empty": (b"X-Odd:", b""),
    "no space": (b"X-Odd:value", b"value"),
    "many spaces": (b"X-Odd:    value  ", b"   value  "),
    "tab": (b"X-Odd:\tvalue", b"\tvalue"),
    "one long line": (b"X-Odd: " + b"x" * 900, b"x" * 900),
    "50 kB folded": (b"X-Odd: a" + b"\r\n\t0123456789" * 4000, b"a" + b"\n\t0123456789" * 4000),
}


@pytest.mark.parametrize("name", UNUSUAL_HEADERS)
def test_an_unusual_header_reaches_the_child_and_the_recipient(lab: Lab, via: str, name: str) -> None:
    line, value = UNUSUAL_HEADERS[name]
    mail = new_mail(headers=[line])
    assert header_values(told(lab, via, mail), "X-Odd") == [value]
    arrived = dict(lab.postfix.delivery(mail.token).headers)[b"X-Odd"]
    assert arrived == line.replace(b"\r\n", b"\n").partition(b":")[2]


def test_a_header_over_the_limit_reaches_the_child_as_postfix_cuts_it(lab: Lab, via: str) -> None:
    mail = new_mail(headers=[b"X-Odd: a" + b"\r\n\t0123456789" * 8000])
    (value,) = header_values(told(lab, via, mail), "X-Odd")
    assert 59000 < len(value) <= 60000


def test_three_hundred_headers_arrive_in_order(lab: Lab, via: str) -> None:
    mail = new_mail(headers=[b"X-Number: %d" % number for number in range(300)])
    wanted = [b"%d" % number for number in range(300)]
    assert header_values(told(lab, via, mail), "X-Number") == wanted
    assert lab.postfix.delivery(mail.token).values("X-Number") == wanted


BODIES = {
    "empty": b"",
    "one empty line": b"\r\n",
    "dots": b".\r\n..\r\n.a\r\n",
    "8-bit": bytes(range(128, 256)) * 3 + b"\r\n",
    "exactly one chunk": b"x" * 63 * 1024 + b"\r\n",
    "just over a chunk": (b"y" * 126 + b"\r\n") * 512 + b"z\r\n",
    "5 MB": b"0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop\r\n" * 81920,
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_reaches_the_child_and_the_recipient_whole(lab: Lab, via: str, name: str) -> None:
    body = BODIES[name]
    mail = new_mail(body=body)
    (end,) = only(told(lab, via, mail), "eom")
    delivered = lab.postfix.delivery(mail.token).body.replace(b"\n", b"\r\n")
    # Postfix breaks lines of more than 2048 bytes for storing, not for sending: the same content either way
    assert (end["body_bytes"], end["body_sha256"]) == (len(delivered), hashlib.sha256(delivered).hexdigest())
    assert delivered == body


def test_mails_in_one_connection_keep_their_own_content(lab: Lab, via: str) -> None:
    mails = [new_mail(subject=f"number {number}", body=b"%d\r\n" % number) for number in range(5)]
    with SmtpSession(lab.port(via, "pymilter")) as session:
        queue_ids = [session.send(mail).queue_id for mail in mails]
    for number, (mail, queue_id) in enumerate(zip(mails, queue_ids)):
        delivery = lab.postfix.delivery(mail.token)
        assert delivery.body == b"%d\n" % number
        assert delivery.values("X-Py-Milter") == [f"pymilter queue-id={queue_id}".encode()]


def test_a_transaction_given_up_by_rset_leaves_no_trace(lab: Lab, via: str) -> None:
    mail = new_mail(recipients=["kept@example.test"])
    with SmtpSession(lab.port(via, "pymilter")) as session:
        assert session.command("MAIL FROM:<gone@sender.test>").startswith("250")
        assert session.command("RCPT TO:<gone@example.test>").startswith("250")
        assert session.command("RSET").startswith("250")
        queue_id = session.send(mail).queue_id
    lab.postfix.wait_until_finished(queue_id)
    (delivery,) = lab.postfix.deliveries(mail.token)
    assert (delivery.sender, delivery.recipient) == ("a@sender.test", "kept@example.test")
    events = lab.pymilter().conversation(mail.token)
    assert [event["recipient"] for event in only(events, "rcpt")] == ["<kept@example.test>"]


def test_a_connection_cut_in_the_middle_does_not_disturb_the_next(lab: Lab, via: str) -> None:
    port = lab.port(via, "pymilter")
    session = SmtpSession(port)
    session.command("MAIL FROM:<gone@sender.test>")
    session.command("RCPT TO:<gone@example.test>")
    session.command("DATA")
    session.connection.send(b"Subject: half a mail\r\n")
    session.connection.sock.close()
    (delivery,) = lab.deliver(port, new_mail())
    assert len(delivery.values("X-Py-Milter")) == 1


def test_commands_sent_in_one_go_are_answered_in_order(lab: Lab, via: str) -> None:
    mail = new_mail()
    commands = [
        "MAIL FROM:<a@sender.test>",
        "RCPT TO:<one@example.test>",
        "RCPT TO:<pymilter-reject@example.test>",
        "RCPT TO:<two@example.test>",
        "DATA",
    ]
    with SmtpSession(lab.port(via, "pymilter")) as session:
        session.connection.send("".join(f"{command}\r\n" for command in commands))
        assert [session.connection.getreply()[0] for _ in commands] == [250, 250, 550, 250, 354]
        assert session.content(mail.content).startswith("250")
    assert [delivery.recipient for delivery in lab.postfix.deliveries(mail.token, 2)] == [
        "one@example.test",
        "two@example.test",
    ]


def test_content_in_chunks_reaches_the_child_and_the_recipient(lab: Lab, via: str) -> None:
    mail = new_mail(body=b"0123456789abcdef\r\n" * 20000)
    half = len(mail.content) // 2
    with SmtpSession(lab.port(via, "pymilter")) as session:
        session.command("MAIL FROM:<a@sender.test>")
        session.command("RCPT TO:<u@example.test>")
        session.connection.send(b"BDAT %d\r\n" % half + mail.content[:half])
        assert session.connection.getreply()[0] == 250
        session.connection.send(b"BDAT %d LAST\r\n" % (len(mail.content) - half) + mail.content[half:])
        assert session.connection.getreply()[0] == 250
    delivery = lab.postfix.delivery(mail.token)
    assert delivery.body == b"0123456789abcdef\n" * 20000
    assert len(only(lab.pymilter().conversation(mail.token), "data")) == 1


def test_a_session_that_turns_to_tls_is_told_so(lab: Lab, via: str) -> None:
    settings = {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": str(lab.certificate())}
    mail = new_mail()
    with SmtpSession(lab.port(via, "pymilter", **settings)) as session:
        session.connection.starttls(context=ssl._create_unverified_context())
        session.command("EHLO encrypted.test")
        assert session.send(mail).queue_id
    helo = only(lab.pymilter().conversation(mail.token), "helo")[-1]
    assert (helo["name"], helo["macros"]["{tls_version}"][:3]) == ("encrypted.test", "TLS")
    assert len(lab.postfix.delivery(mail.token).values("X-Py-Milter")) == 1


def test_a_recipient_that_postfix_refuses_itself_is_not_told(lab: Lab, via: str) -> None:
    mail = new_mail(recipients=["u@elsewhere.test", "u@example.test"])
    with SmtpSession(lab.port(via, "pymilter")) as session:
        session.command("XCLIENT NAME=c.test ADDR=203.0.113.5")
        session.command("EHLO client.test")
        answers = session.send(mail)
    assert [answer[:3] for answer in answers.rcpt] == ["554", "250"]
    told_recipients = [event["recipient"] for event in only(lab.pymilter().conversation(mail.token), "rcpt")]
    assert told_recipients == ["<u@example.test>"]


@pytest.mark.parametrize("command", ["HELP", "FOO bar"])
def test_an_unknown_command_is_told_and_the_session_goes_on(lab: Lab, via: str, command: str) -> None:
    mail = new_mail()
    with SmtpSession(lab.port(via, "pymilter")) as session:
        assert session.command(command).startswith("50")
        assert session.send(mail).queue_id
    delivery = lab.postfix.delivery(mail.token)
    assert len(delivery.values("X-Py-Milter")) == 1
    number = lab.pymilter().conversation(mail.token)[0]["session"]
    unknown = only(lab.pymilter().session(number), "unknown")
    assert [event["command"] for event in unknown] == [command.split()[0]]


def test_an_unknown_command_between_the_recipients_does_no_harm(lab: Lab, via: str) -> None:
    mail = new_mail()
    with SmtpSession(lab.port(via, "pymilter")) as session:
        session.command("MAIL FROM:<a@sender.test>")
        session.command("RCPT TO:<one@example.test>")
        session.command("FOO")
        session.command("RCPT TO:<two@example.test>")
        session.command("DATA")
        assert session.content(mail.content).startswith("250")
    assert len(lab.postfix.deliveries(mail.token, 2)) == 2


@pytest.mark.usefixtures("managed")
def test_an_unknown_command_before_the_content_does_not_stall_a_child_that_declined_data(lab: Lab) -> None:
    """Directly it does: libmilter up to 8.17 drops what follows an unknown command unless DATA is told (engine.c)."""
    mail = new_mail()
    with SmtpSession(lab.port(MANAGER, "no_data")) as session:
        session.command("MAIL FROM:<a@sender.test>")
        session.command("RCPT TO:<u@example.test>")
        session.command("FOO")
        session.command("DATA")
        assert session.content(mail.content).startswith("250")
    assert len(lab.postfix.delivery(mail.token).values("X-Py-No-Data")) == 1


def test_helo_may_be_said_again(lab: Lab, via: str) -> None:
    mail = new_mail()
    with SmtpSession(lab.port(via, "pymilter"), helo="first.test") as session:
        session.command("EHLO second.test")
        assert session.send(mail).queue_id
    events = lab.pymilter().conversation(mail.token)
    assert [event["name"] for event in only(events, "helo")] == ["first.test", "second.test"]
    assert b"from second.test" in lab.postfix.delivery(mail.token).values("Received")[0]


def test_helo_in_the_middle_of_a_mail_gives_the_mail_up(lab: Lab, via: str) -> None:
    mail = new_mail(recipients=["kept@example.test"])
    with SmtpSession(lab.port(via, "pymilter"), helo="first.test") as session:
        session.command("MAIL FROM:<gone@sender.test>")
        session.command("RCPT TO:<gone@example.test>")
        session.command("EHLO second.test")
        assert session.send(mail).queue_id
    (delivery,) = lab.postfix.deliveries(mail.token)
    assert (delivery.sender, delivery.recipient) == ("a@sender.test", "kept@example.test")


def test_sessions_side_by_side_do_not_mix_up_their_mails(lab: Lab, via: str) -> None:
    port = lab.port(via, "pymilter", "second")

    def conversation(number: int) -> list[tuple[Mail, str]]:
        mails = [new_mail(subject=f"{number}", body=b"%d-%d\r\n" % (number, turn)) for turn in range(3)]
        with SmtpSession(port, helo=f"client-{number}.test") as session:
            return [(mail, session.send(mail).queue_id) for mail in mails]

    with ThreadPoolExecutor(6) as pool:
        conversations = list(pool.map(conversation, range(12)))
    for number, sent in enumerate(conversations):
        for turn, (mail, queue_id) in enumerate(sent):
            delivery = lab.postfix.delivery(mail.token)
            assert delivery.body == b"%d-%d\n" % (number, turn)
            assert delivery.values("X-Py-Milter") == [f"pymilter queue-id={queue_id}".encode()]
            assert delivery.values("X-Py-Second") == [f"second queue-id={queue_id}".encode()]
