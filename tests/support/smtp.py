"""Mail over real SMTP for tests: a mail that can be found again, sending it, and what was answered at each step."""

from __future__ import annotations

import re
import smtplib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.postfix import SINK_DOMAIN, TOKEN_HEADER

SENDER = "a@sender.test"
RECIPIENT = f"u@{SINK_DOMAIN}"


@dataclass(frozen=True)
class Mail:
    """An envelope and a content (CRLF lines, 8-bit as it is); token finds it in the sink and at the children."""

    token: str
    content: bytes
    sender: str = SENDER
    recipients: tuple[str, ...] = (RECIPIENT,)
    mail_parameters: str = ""
    rcpt_parameters: str = ""


@dataclass
class Answers:
    """What the MTA said to one mail, each as ``CODE text``, lines joined by a newline; empty when not asked."""

    mail: str = ""
    rcpt: list[str] = field(default_factory=list)
    data: str = ""
    end: str = ""

    @property
    def verdict(self) -> str:
        """The answer that decided: the last one given."""
        return self.end or self.data or (self.rcpt[-1] if self.rcpt else self.mail)

    @property
    def queue_id(self) -> str:
        """The queue id of an accepted mail; the assertion shows what was said instead."""
        found = re.fullmatch(r"250 2\.0\.0 Ok: queued as (\S+)", self.end)
        assert found, f"not queued: {self}"
        return found.group(1)

    def masked(self) -> tuple[str, ...]:
        """All answers, without what differs from mail to mail."""
        end = re.sub(r"queued as \S+", "queued as QUEUEID", self.end)
        return (self.mail, *self.rcpt, self.data, end)


def new_mail(
    subject: str = "hello",
    body: bytes = b"Hello.\r\n",
    headers: Sequence[bytes] = (),
    asks: Sequence[str] = (),
    sender: str = SENDER,
    recipients: Sequence[str] = (RECIPIENT,),
    mail_parameters: str = "",
    rcpt_parameters: str = "",
) -> Mail:
    """A mail with a token of its own; all else is the same in every call, so that two of them can be compared.

    headers are whole header lines without their CRLF; asks are what a ``PymilterChild`` is asked to do, each
    ``NAME: ACTION ARGUMENTS`` (pymilter_child.py lists them).
    """
    token = uuid.uuid4().hex
    lines = [
        b"From: <a@sender.test>",
        b"To: <u@" + SINK_DOMAIN.encode() + b">",
        b"Subject: " + subject.encode(),
        b"Date: Sun, 01 Nov 2026 12:00:00 +0000",
        b"Message-ID: <20261101120000.17@sender.test>",
        TOKEN_HEADER + b": " + token.encode(),
        *(f"X-Ask: [{ask}]".encode() for ask in asks),
        *headers,
    ]
    content = b"\r\n".join(lines) + b"\r\n\r\n" + body
    return Mail(token, content, sender, tuple(recipients), mail_parameters, rcpt_parameters)


class SmtpSession:
    """One SMTP connection, greeted with EHLO; QUIT at the end. Several mails can go through it."""

    def __init__(self, port: int, helo: str = "client.test") -> None:
        self.connection = smtplib.SMTP("127.0.0.1", port, local_hostname=helo, timeout=60)
        self.greeting = self.command(f"EHLO {helo}")

    def command(self, line: str) -> str:
        """Sends one command and returns the answer as ``CODE text``."""
        code, text = self.connection.docmd(line)
        return f"{code} {text.decode('latin-1')}"

    def send(self, mail: Mail) -> Answers:
        """One whole transaction; stops (with RSET) where it gets no further."""
        answers = Answers(self.command(f"MAIL FROM:<{mail.sender}> {mail.mail_parameters}".strip()))
        if answers.mail.startswith("250"):
            for recipient in mail.recipients:
                answers.rcpt.append(self.command(f"RCPT TO:<{recipient}> {mail.rcpt_parameters}".strip()))
        if any(answer.startswith("250") for answer in answers.rcpt):
            answers.data = self.command("DATA")
        if answers.data.startswith("354"):
            answers.end = self.content(mail.content)
        else:
            self.command("RSET")
        return answers

    def content(self, content: bytes) -> str:
        """Sends what follows DATA, with the dots stuffed, and returns the answer to its end."""
        stuffed = re.sub(rb"(?m)^\.", b"..", content)
        self.connection.send(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        code, text = self.connection.getreply()
        return f"{code} {text.decode('latin-1')}"

    def close(self) -> None:
        try:
            self.command("QUIT")
        except smtplib.SMTPServerDisconnected:
            pass
        finally:
            self.connection.close()

    def __enter__(self) -> SmtpSession:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def send(port: int, mail: Mail, helo: str = "client.test") -> Answers:
    """Sends one mail through a connection of its own."""
    with SmtpSession(port, helo) as session:
        return session.send(mail)
