#!/usr/bin/python3
"""A milter on libmilter (through Debian's python3-milter) that does what the mail asks for; run by ``PymilterChild``.

What to do stands in the mail itself: ``[NAME: ACTION ARGUMENTS]`` in the Subject or in any ``X-Ask`` header, done in
their order at the end of the message; ``[NAME: VERDICT@STAGE]`` with STAGE header, eoh or body earlier. NAME is
this child's name, so that several can stand in one mail; ``\\n`` in an argument is a line break. Envelope stages are
steered by the address or the HELO name: ``<NAME-VERDICT@...>`` at MAIL and RCPT, ``<NAME-data-VERDICT@...>`` as the
sender at DATA, ``NAME-VERDICT.test`` at HELO. Each mail that it sees to its end gets the child's own header, naming
the queue id.

Every event goes to the events file as one JSON object per line before it is answered, with the macros that are
visible then; bytes are written as latin-1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import threading

import Milter

MACROS = (
    *("i", "j", "v", "_", "{daemon_name}", "{client_addr}", "{client_name}", "{client_ptr}"),
    *("{mail_addr}", "{mail_host}", "{mail_mailer}", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    *("{auth_authen}", "{auth_type}", "{tls_version}"),
)
ASKING_HEADERS = ("subject", "x-ask")


def text(value: object) -> str:
    """Bytes as they are (latin-1), anything else as str."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def hang() -> None:
    """Never returns; the process has to be killed."""
    threading.Event().wait()


class Asked(Milter.Base):
    """One milter session. options, events and lock are set once, before libmilter runs."""

    options: argparse.Namespace
    events: int
    lock = threading.Lock()

    def __init__(self) -> None:
        self.session = Milter.uniqueID()
        self.transactions = 0
        self.begin_mail()

    def begin_mail(self) -> None:
        """Forget the mail before."""
        self.asked: list[str] = []
        self.data_verdict = ""
        self.body_digest = hashlib.sha256()
        self.body_bytes = 0
        self.has_ended = False

    def record(self, event: str, **facts: object) -> None:
        macros = {name: self.getsymval(name) for name in MACROS}
        seen = {name: value for name, value in macros.items() if value is not None}
        line = {"session": self.session, "transaction": self.transactions, "event": event, **facts, "macros": seen}
        with self.lock:
            os.write(self.events, json.dumps(line).encode() + b"\n")

    # Verdicts

    def verdict(self, word: str) -> int:
        """What to return for a verdict's word; sets the reply's text where the word wants one."""
        name = self.options.name
        if word == "reject":
            self.setreply("550", "5.7.1", f"rejected by {name}")
            return Milter.REJECT
        if word == "reject-lines":
            self.setreply("554", "5.7.9", f"{name} says no", "100%% sure", "and that is that")
            return Milter.REJECT
        if word == "tempfail-text":
            self.setreply("452", "4.3.1", f"{name} asks to try later")
            return Milter.TEMPFAIL
        if word == "hang":
            hang()
        if word == "exit":
            os._exit(7)
        plain = {"plain-reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL, "discard": Milter.DISCARD}
        return {**plain, "accept": Milter.ACCEPT, "skip": Milter.SKIP}.get(word, Milter.CONTINUE)

    def addressed(self, value: str, prefix: str = "") -> str:
        """The verdict that an address or a HELO name asks this child for, or an empty string."""
        found = re.match(rf"<?{re.escape(self.options.name)}-{prefix}([a-z-]+)[@.]", value)
        return found.group(1) if found else ""

    def verdict_at(self, stage: str) -> int:
        for action in self.asked:
            word, at, where = action.partition("@")
            if at and where == stage:
                self.has_ended = word != "skip"
                return self.verdict(word)
        return Milter.CONTINUE

    # Events

    def connect(self, hostname: str, family: int, hostaddr: object) -> int:
        address = hostaddr[0] if isinstance(hostaddr, tuple) else hostaddr
        self.record("connect", hostname=text(hostname), family=int(family), address=text(address))
        return Milter.CONTINUE

    def hello(self, hostname: str) -> int:
        self.record("helo", name=text(hostname))
        return self.verdict(self.addressed(text(hostname)))

    @Milter.decode("bytes")
    def envfrom(self, sender: bytes, *parameters: bytes) -> int:
        self.transactions += 1
        self.begin_mail()
        self.record("mail", sender=text(sender), parameters=[text(value) for value in parameters])
        self.data_verdict = self.addressed(text(sender), "data-")
        return self.verdict("" if self.data_verdict else self.addressed(text(sender)))

    @Milter.decode("bytes")
    def envrcpt(self, recipient: bytes, *parameters: bytes) -> int:
        self.record("rcpt", recipient=text(recipient), parameters=[text(value) for value in parameters])
        return self.verdict(self.addressed(text(recipient)))

    def data(self) -> int:
        self.record("data")
        return self.verdict(self.data_verdict)

    @Milter.decode("bytes")
    def header(self, name: str, value: bytes) -> int:
        if self.has_ended:  # a child that declined MAIL is not told where the next mail begins
            self.transactions += 1
            self.begin_mail()
        self.record("header", name=text(name), value=text(value))
        if text(name).lower() in ASKING_HEADERS:
            asks = re.findall(rb"\[(\w+): ([^\]]*)\]", value)
            mine = [action.decode() for whom, action in asks if whom.decode() == self.options.name]
            self.asked += [action.replace("\\n", "\n") for action in mine]
        return self.verdict_at("header")

    def eoh(self) -> int:
        self.record("eoh")
        return self.verdict_at("eoh")

    def body(self, chunk: bytes) -> int:
        self.body_digest.update(chunk)
        self.body_bytes += len(chunk)
        return self.verdict_at("body")

    def unknown(self, command: str) -> int:
        self.record("unknown", command=text(command))
        return Milter.CONTINUE

    def eom(self) -> int:
        self.has_ended = True
        self.record("eom", body_bytes=self.body_bytes, body_sha256=self.body_digest.hexdigest())
        queue_id = self.getsymval("i")
        self.addheader(self.options.header, f"{self.options.name} queue-id={queue_id}")
        for action in self.asked:
            word, _, arguments = action.partition(" ")
            if word in EDITS:
                EDITS[word](self, arguments)
            elif "@" not in word:
                return self.verdict(word)
        return Milter.CONTINUE

    def abort(self) -> int:
        self.has_ended = True
        self.record("abort")
        return Milter.CONTINUE

    def close(self) -> int:
        return Milter.CONTINUE


def insert_header(child: Asked, arguments: str) -> None:
    index, name, value = arguments.split(" ", 2)
    child.addheader(name, value, int(index))


def change_header(child: Asked, arguments: str) -> None:
    name, index, value = arguments.split(" ", 2)
    child.chgheader(name, int(index), value)


def delete_header(child: Asked, arguments: str) -> None:
    name, index = arguments.split(" ")
    child.chgheader(name, int(index), "")


def fill_header(child: Asked, arguments: str) -> None:
    name, size_bytes = arguments.split(" ")
    child.addheader(name, "\n\t0123456789abcdef" * (int(size_bytes) // 18))


EDITS = {
    "add-header": lambda child, arguments: child.addheader(*arguments.split(" ", 1)),
    "insert-header": insert_header,
    "change-header": change_header,
    "delete-header": delete_header,
    "change-sender": lambda child, arguments: child.chgfrom(*arguments.split(" ", 1)),
    "add-recipient": lambda child, arguments: child.addrcpt(*arguments.split(" ", 1)),
    "delete-recipient": lambda child, arguments: child.delrcpt(arguments),
    "replace-body": lambda child, arguments: child.replacebody(arguments.encode() + b"\r\n"),
    "empty-body": lambda child, arguments: child.replacebody(b""),
    "fill-header": fill_header,
    "repeat-body": lambda child, arguments: child.replacebody(b"0123456789abcdef\r\n" * int(arguments)),
    "quarantine": lambda child, arguments: child.quarantine(arguments),
    "progress": lambda child, arguments: child.progress(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", help="unix:PATH or inet:PORT@HOST")
    parser.add_argument("events", help="file that gets one JSON object per event")
    parser.add_argument("--name", default="pymilter", help="this child's name in asks and in its texts")
    parser.add_argument("--header", default="X-Py-Milter", help="the header that it adds")
    parser.add_argument("--leading-space", action="store_true", help="negotiate header values with their leading space")
    parser.add_argument("--no-reply", action="store_true", help="negotiate that the content needs no reply")
    parser.add_argument("--decline", action="append", default=[], help="a callback's name: negotiate that step away")
    parser.add_argument("--own-macros", action="store_true", help="negotiate macro lists of its own")
    Asked.options = parser.parse_args()
    Asked.events = os.open(Asked.options.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    if Asked.options.no_reply:
        for name in ("header", "eoh", "body"):
            setattr(Asked, name, Milter.noreply(getattr(Asked, name)))
    for name in Asked.options.decline:
        setattr(Asked, name, Milter.nocallback(getattr(Milter.Base, name)))
    if Asked.options.own_macros:
        Asked.connect = Milter.symlist("j", "{client_addr}")(Asked.connect)
        Asked.envfrom = Milter.symlist("i", "{mail_addr}")(Asked.envfrom)
        Asked.envrcpt = Milter.symlist("{rcpt_addr}", "{client_name}")(Asked.envrcpt)
    if Asked.options.leading_space:
        Milter.header_leading_space(Asked)
    Milter.factory = Asked
    Milter.set_flags(
        Milter.ADDHDRS
        | Milter.CHGHDRS
        | Milter.CHGBODY
        | Milter.ADDRCPT
        | Milter.DELRCPT
        | Milter.QUARANTINE
        | Milter.CHGFROM
        | Milter.ADDRCPT_PAR
    )
    Milter.runmilter(Asked.options.name, Asked.options.socket, 600)


if __name__ == "__main__":
    main()
