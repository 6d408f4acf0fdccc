"""The mails of a load: test mails, mail files, and whose they are."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmgr.errors import MmgrError
from mmgr.peers.mail import HeaderField, addresses, parse_mail, with_crlf, without_brackets

ADDITIONAL_LINE = b"x" * 63 + b"\r\n"
_RECEIVED_FROM = re.compile(rb"\s*from\s+([A-Za-z0-9.:_\[\]-]+)", re.IGNORECASE)


class MailUnreadable(MmgrError):
    """A mail file that can't be read; nothing was sent."""


@dataclass(frozen=True)
class Mail:
    """What is sent in one session. sender is None where the command line decides; so are recipients when empty."""

    name: str
    content: bytes
    sender: bytes | None = None
    recipients: tuple[bytes, ...] = ()
    helo: bytes | None = None


@dataclass(frozen=True)
class Senders:
    """What the command line says of envelopes; what is forced counts whatever a mail file says."""

    senders: Sequence[str] = ("from@example.com",)
    recipients: Sequence[str] = ("to@example.com",)
    forced_sender: str | None = None
    forced_recipients: Sequence[str] = ()
    helo: str = "localhost.localdomain"

    def applied(self, mail: Mail, number: int) -> Mail:
        """The mail with all of its envelope; number counts the mails of the load: senders take turns."""
        sender, recipients = mail.sender, mail.recipients
        if self.forced_sender is not None or sender is None:
            sender = os.fsencode(self.forced_sender or self.senders[number % len(self.senders)])
        if self.forced_recipients or not recipients:
            recipients = tuple(os.fsencode(each) for each in (self.forced_recipients or self.recipients))
        return replace(mail, sender=sender, recipients=recipients, helo=mail.helo or os.fsencode(self.helo))


def sample_mail(senders: Senders, additional_lines: int = 0) -> Mail:
    """The mail that is sent where no file is given."""
    lines = [
        b"From: <" + os.fsencode(senders.senders[0]) + b">",
        b"To: <" + os.fsencode(senders.recipients[0]) + b">",
        b"Subject: a test of performance",
        b"",
        b"Hello, this is one of many.",
    ]
    return Mail("test mail", b"\r\n".join(lines) + b"\r\n" + ADDITIONAL_LINE * additional_lines)


def read_mails(paths: Iterable[str]) -> list[Mail]:
    """Mail files, those below directories too; ``-`` is standard input. Raises MailUnreadable."""
    return [_read_mail(path) for given in paths for path in _files(given)]


def _files(given: str) -> Iterator[str]:
    if given == "-" or not os.path.isdir(given):
        yield given
        return
    yield from sorted(str(path) for path in Path(given).rglob("*") if path.is_file())


def _read_mail(path: str) -> Mail:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise MailUnreadable(f"can't read {path}: {error.strerror or error}") from error
    headers, body = parse_mail(data)
    sender = next(iter(addresses(headers, b"From")), None)
    recipients = (*addresses(headers, b"To"), *addresses(headers, b"Cc"))
    return Mail(
        path,
        with_crlf(b"".join(_lines(headers))) + b"\r\n" + body,
        None if sender is None else without_brackets(sender),
        tuple(without_brackets(each) for each in recipients),
        _helo_of(headers),
    )


def _lines(headers: Iterable[HeaderField]) -> Iterator[bytes]:
    return (name + b":" + value + b"\r\n" for name, value in headers)


def _helo_of(headers: Iterable[HeaderField]) -> bytes | None:
    """How the client greeted whoever wrote the newest Received header."""
    received = next((value for name, value in headers if name.lower() == b"received"), b"")
    found = _RECEIVED_FROM.match(received)
    return found[1] if found else None
