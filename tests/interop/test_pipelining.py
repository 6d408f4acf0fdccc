"""Verdicts of real libraries ahead of the end of a message, and then a second message in the same SMTP session.

What a library does with what was sent behind its verdict differs (libmilter drops it, unless it has few callbacks: then
the rest is a message of its own to it). Whatever it does, the second message has to be judged whole. Each test goes
both ways, so that Postfix with the milters listed in it proves the test.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import dkim
import pytest

from tests.support.lab import Lab
from tests.support.milters import GTUBE, SIGNING_DOMAIN, SIGNING_SELECTOR, MilterDaemon, Opendkim
from tests.support.processes import ComponentMissing, Daemon, free_port, give_to_unprivileged, negotiates
from tests.support.smtp import Answers, Mail, SmtpSession, new_mail

pytestmark = pytest.mark.interop

LIBMILTER = Path("/usr/include/libmilter/mfapi.h")
SOURCE = Path(__file__).parents[1] / "support" / "cmilter.c"
BODY = b"0123456789abcdef\r\n" * 10_000
"""Three chunks."""

ANSWERS = {
    "continue": "250 2.0.0",
    "skip": "250 2.0.0",
    "accept": "250 2.0.0",
    "discard": "250 2.0.0",
    "reject": "550 5.7.1",
    "tempfail": "451 4.7.1",
    "code": "554 5.7.9 the C milter says no",
}
"""What the SMTP client is told for each verdict."""


def deliver_two(lab: Lab, port: int, first: Mail, second: Mail) -> tuple[Answers, Answers]:
    """Both in one SMTP session; returns when Postfix has done with the second, which it has to take."""
    with SmtpSession(port) as session:
        answers = session.send(first), session.send(second)
    lab.postfix.wait_until_finished(answers[1].queue_id)
    if answers[0].end.startswith("250") and f"{answers[0].queue_id}: milter-discard" not in lab.postfix.log_text():
        lab.postfix.wait_until_finished(answers[0].queue_id)
    return answers


# ---- libmilter in C


class CMilter(Daemon):
    """cmilter.c as a process; spec says where it listens."""

    binary = "/usr/bin/cc"
    package = "gcc"

    def __init__(self, directory: Path, options: Sequence[str], on_tcp: bool) -> None:
        super().__init__(directory)
        self.spec = f"inet:{free_port()}@127.0.0.1" if on_tcp else f"unix:{directory}/milter.sock"
        self._options = options
        self._log = directory / "ends"

    def prepare(self) -> None:
        if not LIBMILTER.exists():
            raise ComponentMissing(f"{LIBMILTER} is not there (package libmilter-dev)")
        program = self.directory / "cmilter"
        command = ["cc", "-O1", "-o", str(program), str(SOURCE), "-lmilter", "-lpthread"]
        subprocess.run(command, check=True, capture_output=True)
        self._log.touch()
        give_to_unprivileged(self._log)

    def command(self) -> Sequence[str]:
        return [str(self.directory / "cmilter"), "-s", self.spec, "-l", str(self._log), *self._options]

    def is_ready(self) -> bool:
        return negotiates(self.spec)

    def ends(self) -> list[str]:
        """What it has seen of each message that it saw the end of: ``TOKEN headers=N body_bytes=N``."""
        return [line.partition(" ")[2] for line in self._log.read_text().splitlines()]


KINDS: dict[str, tuple[list[str], bool]] = {
    "all callbacks": ([], False),
    "few callbacks": (["-f"], False),
    "headers without reply": (["-n"], False),
    "all callbacks on tcp": ([], True),
}
EARLY = ("continue", "accept", "reject", "tempfail", "discard", "code")
CASES = [
    *[("all callbacks", verdict, stage) for stage in ("fifth", "eoh", "body", "end") for verdict in EARLY],
    ("all callbacks", "skip", "body"),
    *[("few callbacks", verdict, stage) for stage in ("fifth", "end") for verdict in EARLY],
    # libmilter gives no reply at all when such a milter refuses a header: both ways that is a timeout
    *[("headers without reply", verdict, stage) for stage in ("eoh", "body", "end") for verdict in EARLY],
    ("headers without reply", "skip", "body"),
    *[("all callbacks on tcp", verdict, stage) for stage in ("fifth", "body", "end") for verdict in EARLY],
]


@pytest.fixture(scope="module")
def c_milters(lab: Lab) -> dict[str, CMilter]:
    """One of each kind, compiled and started when first used."""
    return {}


def c_milter(lab: Lab, made: dict[str, CMilter], kind: str) -> CMilter:
    if kind not in made:
        options, on_tcp = KINDS[kind]
        milter = CMilter(lab.subdirectory("c-milter"), options, on_tcp)
        lab.run(milter)
        made[kind] = milter
    return made[kind]


def asking(verdict: str, stage: str) -> Mail:
    """A mail with a body of three chunks that asks for this, in the first of its seven headers."""
    mail = new_mail(body=BODY)
    return Mail(mail.token, f"X-Want: {verdict} {stage}\r\n".encode() + mail.content)


@pytest.mark.parametrize(("kind", "verdict", "stage"), CASES)
def test_libmilter_judges_the_message_behind_a_verdict_as_a_whole(
    lab: Lab, via: str, c_milters: dict[str, CMilter], kind: str, verdict: str, stage: str
) -> None:
    child = c_milter(lab, c_milters, kind)
    before = len(child.ends())
    first, second = asking(verdict, stage), new_mail(body=BODY)
    answers, _ = deliver_two(lab, lab.route(via, {"c": child.spec}).port, first, second)
    assert answers.end.startswith(ANSWERS[verdict])
    seen_bytes = 0 if kind == "few callbacks" else len(BODY)
    told = [f"{second.token} headers=6 body_bytes={seen_bytes}"]
    if stage == "end" or verdict in ("continue", "skip"):
        told.insert(0, f"{first.token} headers=7 body_bytes={65535 if verdict == 'skip' else seen_bytes}")
    assert child.ends()[before:] == told
    arrived = {mail.token: lab.postfix.deliveries(mail.token, at_least=0) for mail in (first, second)}
    assert [delivery.values("X-C-Milter") for delivery in arrived[second.token]] == [
        [f"headers=6 body_bytes={seen_bytes}".encode()]
    ]
    is_let_pass = verdict in ("continue", "skip", "accept")
    edits = [line.partition(" ")[2].encode() for line in told if line.startswith(first.token)]
    assert [delivery.values("X-C-Milter") for delivery in arrived[first.token]] == [edits] * is_let_pass


def test_libmilter_may_skip_headers_and_judges_the_message_behind_as_a_whole(
    lab: Lab, via: str, c_milters: dict[str, CMilter]
) -> None:
    """How much of the first it is shown differs: headers that were sent already can't be skipped."""
    child = c_milter(lab, c_milters, "all callbacks")
    first, second = asking("skip", "fifth"), new_mail(body=BODY)
    answers, _ = deliver_two(lab, lab.route(via, {"c": child.spec}).port, first, second)
    assert answers.queue_id
    assert lab.postfix.delivery(second.token).values("X-C-Milter") == [f"headers=6 body_bytes={len(BODY)}".encode()]


# ---- pymilter

PYMILTER_ANSWERS = {
    "accept": "250 2.0.0",
    "discard": "250 2.0.0",
    "skip": "250 2.0.0",
    "reject": "550 5.7.1 rejected by",
    "tempfail": "451 4.7.1",
    "tempfail-text": "452 4.3.1",
}


PYMILTER_CASES = [
    *[("pymilter", verdict, stage) for stage in ("header", "eoh", "body", "") for verdict in PYMILTER_ANSWERS],
    *[("content", verdict, stage) for stage in ("header", "body", "") for verdict in PYMILTER_ANSWERS],
]


@pytest.mark.parametrize(("name", "verdict", "stage"), [case for case in PYMILTER_CASES if case[1:] != ("skip", "")])
def test_pymilter_judges_the_message_behind_a_verdict_as_a_whole(
    lab: Lab, via: str, name: str, verdict: str, stage: str
) -> None:
    """content is a child with few callbacks: headers, body and end of message."""
    ask = f"[{name}: {verdict}{'@' + stage if stage else ''}]"
    first, second = new_mail(subject=ask, body=BODY), new_mail(subject=f"[{name}: add-header X-A a]", body=BODY)
    answers, _ = deliver_two(lab, lab.port(via, name), first, second)
    assert answers.end.startswith(PYMILTER_ANSWERS[verdict])
    delivery = lab.postfix.delivery(second.token)
    assert (delivery.values("X-A"), delivery.body) == ([b"a"], BODY.replace(b"\r\n", b"\n"))
    (end,) = [event for event in lab.pymilter(name).conversation(second.token) if event["event"] == "eom"]
    assert end["body_bytes"] == len(BODY)


# ---- opendkim


class VerifyingOpendkim(Opendkim):
    """Verifies with the key of a signing one; refuses bad signatures, and headers of more than 3,000 bytes early."""

    def __init__(self, directory: Path, signer: Opendkim) -> None:
        super().__init__(directory)
        self._signer = signer

    def prepare(self) -> None:
        record = self._signer.public_key_record().decode()
        (self.directory / "keys").write_text(f"{SIGNING_SELECTOR}._domainkey.{SIGNING_DOMAIN} {record}\n")
        (self.directory / "opendkim.conf").write_text(
            f"Mode v\nSocket local:{self.socket}\nUMask 000\nInternalHosts 192.0.2.1\nExternalIgnoreList 192.0.2.1\n"
            f"TestPublicKeys {self.directory}/keys\nAuthservID mx.test\nAlwaysAddARHeader yes\nBackground no\n"
            "On-BadSignature reject\nMaximumHeaders 3000\nSyslog yes\n"
        )


@pytest.fixture(scope="module")
def verifier(lab: Lab) -> VerifyingOpendkim:
    daemon = VerifyingOpendkim(lab.subdirectory("verifier"), lab.opendkim())
    lab.run(daemon)
    return daemon


def signed(lab: Lab) -> Mail:
    """A mail with a signature over body and headers."""
    mail = new_mail(body=BODY)
    key = (lab.opendkim().directory / "key.private").read_bytes()
    signature = dkim.sign(mail.content, SIGNING_SELECTOR.encode(), SIGNING_DOMAIN.encode(), key)
    return Mail(mail.token, signature + mail.content)


def results(lab: Lab, mail: Mail) -> list[bytes]:
    """What the verifier says of the mail that arrived, by its Authentication-Results."""
    (delivery,) = lab.postfix.deliveries(mail.token)
    return [value.partition(b"dkim=")[2].split()[0] for value in delivery.values("Authentication-Results")]


FIRST_MAILS = {
    "unsigned": (lambda lab: new_mail(body=BODY), "250 2.0.0"),
    "signed": (signed, "250 2.0.0"),
    "altered": (lambda lab: altered(signed(lab)), "550 5.7.0"),
    "too many headers": (lambda lab: new_mail(headers=[b"X-A: %d" % n + b"a" * 100 for n in range(60)]), "451 4.7.1"),
}


def altered(mail: Mail) -> Mail:
    return Mail(mail.token, mail.content.replace(b"abcdef\r\n", b"abcdeF\r\n", 1))


@pytest.mark.parametrize("name", FIRST_MAILS)
def test_opendkim_verifies_the_message_behind_a_verdict_as_a_whole(
    lab: Lab, via: str, verifier: VerifyingOpendkim, name: str
) -> None:
    make, answer = FIRST_MAILS[name]
    second = signed(lab)
    port = lab.route(via, {"verifier": verifier.spec}).port
    answers, _ = deliver_two(lab, port, make(lab), second)
    assert answers.end.startswith(answer)
    assert results(lab, second) == [b"pass"]


# ---- rspamd


class Rspamd(MilterDaemon):
    """rspamd's proxy, which scans by itself: without redis, DNS and the modules that want them."""

    binary = "/usr/bin/rspamd"
    package = "rspamd"
    start_timeout_s = 60.0  # it compiles its expressions at the first start

    left_out = (
        *("rbl", "surbl", "fuzzy_check", "asn", "phishing", "dkim_signing", "neural", "greylist", "ratelimit", "arc"),
        *("history_redis", "url_redirector", "bayes_expiry", "spf", "dkim", "dmarc", "mid"),
    )

    def prepare(self) -> None:
        local = self.directory / "local" / "local.d"
        local.mkdir(parents=True)
        for name in ("db", "run", "log"):
            (self.directory / name).mkdir()
            give_to_unprivileged(self.directory / name)
        files = {
            "worker-proxy.inc": f'bind_socket = "{self.socket} mode=0666";\nmilter = yes;\ntimeout = 20s;\n'
            'upstream "local" { default = yes; self_scan = yes; }\ncount = 1;\n',
            "options.inc": 'dns { nameserver = ["127.0.0.1:5399:1"]; timeout = 0.1s; retransmits = 1; }\n'
            "local_addrs = [];\n",
            "logging.inc": f'type = "file"; filename = "{self.directory}/log/rspamd.log"; level = "info";\n',
            "milter_headers.conf": 'use = ["x-spamd-bar"]; skip_local = false; extended_spam_headers = true;\n',
            **{f"worker-{name}.inc": "enabled = false;\n" for name in ("normal", "controller", "fuzzy")},
            **{f"{name}.conf": "enabled = false;\n" for name in self.left_out},
        }
        for name, text in files.items():
            (local / name).write_text(text)

    def command(self) -> Sequence[str]:
        variables = {"LOCAL_CONFDIR": "local", "DBDIR": "db", "RUNDIR": "run", "LOGDIR": "log"}
        settings = [f"--var={name}={self.directory}/{part}" for name, part in variables.items()]
        return [self.binary, "-f", "-c", "/etc/rspamd/rspamd.conf", *settings]


@pytest.fixture(scope="module")
def rspamd(lab: Lab) -> Iterator[Rspamd]:
    """Started once; it takes seconds and some hundred megabytes, so it ends with the module."""
    daemon = Rspamd(lab.subdirectory("rspamd"))
    lab.run(daemon)
    yield daemon
    daemon.stop()


@pytest.mark.parametrize("asked", ["spam", "ham"])
def test_rspamd_judges_the_message_behind_a_verdict_as_a_whole(lab: Lab, via: str, rspamd: Rspamd, asked: str) -> None:
    first = new_mail(body=GTUBE + b"\r\n" if asked == "spam" else BODY)
    second = new_mail(body=BODY)
    answers, _ = deliver_two(lab, lab.route(via, {"rspamd": rspamd.spec}).port, first, second)
    assert answers.end.startswith("554 5.7.1" if asked == "spam" else "250 2.0.0")
    (delivery,) = lab.postfix.deliveries(second.token)
    assert len(delivery.values("X-Spamd-Bar")) == 1
    assert delivery.body == BODY.replace(b"\r\n", b"\n")
