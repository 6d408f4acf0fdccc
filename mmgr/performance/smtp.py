"""One mail over one SMTP connection, and what was answered. Blocks; every wait has an end."""

from __future__ import annotations

import base64
import hmac
import re
import smtplib
import ssl
import time
from dataclasses import dataclass
from typing import NamedTuple

from mmgr.performance.mails import Mail

TEXT_MAX = 300
SENT, TEMPORARY_FAILURE, REJECT, ERROR = "sent", "temporary-failure", "reject", "error"
OUTCOMES = (SENT, TEMPORARY_FAILURE, REJECT, ERROR)


@dataclass(frozen=True)
class Target:
    """The MTA and how to talk to it. mechanism is None for the first one that both know."""

    host: str = "localhost"
    port: int = 25
    reading_timeout_s: float = 60.0
    starttls: str = "auto"
    user: str | None = None
    password: str = ""
    mechanism: str | None = None
    connect_host: str | None = None
    connect_address: str | None = None


class Result(NamedTuple):
    """What became of one mail. started_s is since the start of the load; elapsed_s from connecting to the verdict."""

    name: str
    outcome: str
    started_s: float
    elapsed_s: float
    size_bytes: int
    text: str = ""


class Answer(Exception):
    """An answer that ends the mail."""

    def __init__(self, code: int, text: bytes) -> None:
        super().__init__(code, text)
        self.outcome = {4: TEMPORARY_FAILURE, 5: REJECT}.get(code // 100, ERROR)
        self.text = f"{code} {shown(text)}"


def deliver(target: Target, mail: Mail, load_began: float) -> Result:
    """Connect, send, say goodbye; never raises for what the network or the MTA does."""
    began = time.monotonic()
    outcome, text = SENT, ""
    connection: smtplib.SMTP | None = None
    try:
        connection = _connected(target, mail)
        _send(connection, mail)
    except Answer as answer:
        outcome, text = answer.outcome, answer.text
    except (OSError, smtplib.SMTPException, ValueError) as error:
        outcome, text = ERROR, _text_of(error)
    ended = time.monotonic()
    if connection is not None:
        _leave(connection, outcome == ERROR)
    return Result(mail.name, outcome, began - load_began, ended - began, len(mail.content), text)


def _connected(target: Target, mail: Mail) -> smtplib.SMTP:
    name = (mail.helo or b"localhost").decode("ascii", "replace")
    try:
        connection = smtplib.SMTP(target.host, target.port, name, target.reading_timeout_s)
    except smtplib.SMTPConnectError as error:
        raise Answer(error.smtp_code, _bytes_of(error.smtp_error)) from error
    try:
        _greet(connection)
        if target.connect_host or target.connect_address:
            _become(connection, target)
        if target.starttls == "always" or (target.starttls == "auto" and connection.has_extn("starttls")):
            _start_tls(connection)
        if target.user is not None:
            _authenticate(connection, target.user, target.password, target.mechanism)
    except (Answer, OSError, smtplib.SMTPException, ValueError):
        connection.close()
        raise
    return connection


def _bytes_of(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")


def _greet(connection: smtplib.SMTP) -> None:
    code, _ = connection.ehlo()
    if code // 100 != 2:
        _expect(connection.helo(), 250)


def _become(connection: smtplib.SMTP, target: Target) -> None:
    """XCLIENT: the MTA takes us for another client, if it is told to let us."""
    if not connection.has_extn("xclient"):
        raise Answer(0, b"the MTA offers no XCLIENT (Postfix: smtpd_authorized_xclient_hosts)")
    words = {"NAME": target.connect_host, "ADDR": target.connect_address}
    said = " ".join(f"{name}={value}" for name, value in words.items() if value)
    _expect(connection.docmd("XCLIENT", said), 220)
    _greet(connection)


def _start_tls(connection: smtplib.SMTP) -> None:
    """A test of performance trusts whatever certificate there is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _expect(connection.starttls(context=context), 220)
    _greet(connection)


def _authenticate(connection: smtplib.SMTP, user: str, password: str, mechanism: str | None) -> None:
    offered = connection.esmtp_features.get("auth", "").upper().split()
    known = [mechanism] if mechanism else ["CRAM-MD5", "PLAIN", "LOGIN"]
    chosen = next((each for each in known if each in offered or mechanism), None)
    if chosen is None:
        raise Answer(0, b"the MTA offers none of CRAM-MD5, PLAIN and LOGIN for authentication")
    plain = [f"\0{user}\0{password}"]
    if chosen == "PLAIN":
        code, said = connection.docmd("AUTH", f"PLAIN {_base64(plain[0])}")
    elif chosen == "LOGIN":
        code, said = connection.docmd("AUTH", f"LOGIN {_base64(user)}")
        if code == 334:
            code, said = connection.docmd(_base64(password))
    else:
        code, said = connection.docmd("AUTH", "CRAM-MD5")
        if code == 334:
            digest = hmac.new(password.encode(), base64.b64decode(said), "md5").hexdigest()
            code, said = connection.docmd(_base64(f"{user} {digest}"))
    _expect((code, said), 235)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _send(connection: smtplib.SMTP, mail: Mail) -> None:
    sender = (mail.sender or b"").decode("utf-8", "surrogateescape")
    options = ["BODY=8BITMIME"] if connection.has_extn("8bitmime") and not mail.content.isascii() else []
    _expect(connection.docmd("MAIL", " ".join([f"FROM:<{_one_line(sender)}>", *options])), 250)
    for recipient in mail.recipients:
        _expect(connection.docmd("RCPT", f"TO:<{_one_line(recipient.decode('utf-8', 'surrogateescape'))}>"), 250, 251)
    _expect(connection.docmd("DATA"), 354)
    stuffed = re.sub(rb"(?m)^\.", b"..", mail.content)
    connection.send(stuffed + (b"" if stuffed.endswith(b"\r\n") else b"\r\n") + b".\r\n")
    _expect(connection.getreply(), 250)


def _one_line(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def _expect(answer: tuple[int, bytes], *codes: int) -> None:
    code, text = answer
    if code not in codes:
        raise Answer(code, text)


def _leave(connection: smtplib.SMTP, at_once: bool) -> None:
    try:
        if not at_once:
            connection.quit()
    except (OSError, smtplib.SMTPException):
        pass  # the verdict is there, and nothing else was wanted
    finally:
        connection.close()


def _text_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    text = getattr(error, "strerror", None) or str(error)
    return shown(str(text).encode("utf-8", "backslashreplace")) or type(error).__name__


def shown(data: bytes) -> str:
    """What an MTA said, on one line, cut, and without what could steer a terminal."""
    text = data.decode("utf-8", "backslashreplace").replace("\n", " / ")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)[:TEXT_MAX]
