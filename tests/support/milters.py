"""The real milters of the tests, each with the scanner behind it: opendkim, spamass-milter, clamav-milter, pymilter.

Each class is a ``Daemon`` with a ``spec`` (what goes into ``smtpd_milters`` or a child's ``connection_spec``). All run
offline, on unix sockets in their own directory. Commands and settings are those that Debian 12's packages need.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import (
    ComponentMissing,
    Daemon,
    connect_to,
    free_port,
    give_to_unprivileged,
    negotiates,
    require_binary,
)

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNING_DOMAIN = "sender.test"
SIGNING_SELECTOR = "sel"

Event = dict[str, Any]


class MilterDaemon(Daemon):
    """A milter on ``DIRECTORY/milter.sock``, ready when it has answered an option negotiation."""

    @property
    def socket(self) -> Path:
        return self.directory / "milter.sock"

    @property
    def spec(self) -> str:
        return f"unix:{self.socket}"

    def is_ready(self) -> bool:
        return negotiates(self.spec)


def ask(socket: Path, question: bytes) -> bytes:
    """The first bytes that a scanner answers to a question on its unix socket; empty when it does not."""
    try:
        with connect_to(f"unix:{socket}", timeout_s=5.0) as connection:
            connection.sendall(question)
            return connection.recv(100)
    except OSError:
        return b""


class Opendkim(MilterDaemon):
    """Signs mail of SIGNING_DOMAIN with a 2048-bit key made at the start."""

    binary = "/usr/sbin/opendkim"
    package = "opendkim"

    def prepare(self) -> None:
        require_binary("/usr/bin/openssl", "openssl")
        key = self.directory / "key.private"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        key.chmod(0o600)
        give_to_unprivileged(key)
        # RequireSafeKeys: the key is below /tmp, which is writable by everybody
        (self.directory / "opendkim.conf").write_text(
            f"Mode s\nDomain {SIGNING_DOMAIN}\nSelector {SIGNING_SELECTOR}\nKeyFile {key}\n"
            f"Socket local:{self.socket}\nUMask 000\nInternalHosts 127.0.0.1\nBackground no\nSyslog yes\n"
            "RequireSafeKeys no\n"
        )

    def command(self) -> Sequence[str]:
        return [self.binary, "-f", "-x", str(self.directory / "opendkim.conf")]

    def public_key_record(self) -> bytes:
        """The TXT record that a verifier finds in the DNS under SELECTOR._domainkey.DOMAIN."""
        command = ["openssl", "rsa", "-in", f"{self.directory}/key.private", "-pubout", "-outform", "DER"]
        public_key = subprocess.run(command, check=True, capture_output=True).stdout
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public_key)

    def look_up(self, name: bytes, timeout: float = 5.0) -> bytes | None:
        """What dkimpy takes as ``dnsfunc``: the DNS with this one key in it."""
        wanted = f"{SIGNING_SELECTOR}._domainkey.{SIGNING_DOMAIN}."
        return self.public_key_record() if name.decode() == wanted else None


class Spamd(Daemon):
    """SpamAssassin's daemon with the package's own rules, without network tests; ready when it answers a PING."""

    binary = "/usr/sbin/spamd"
    package = "spamd"
    start_timeout_s = 60.0
    network_plugins = "DKIM|SPF|Razor2|Pyzor|DCC|SpamCop|ASN|URIDNSBL|DNSEval|AskDNS|Hashcash|URILocalBL"

    @property
    def socket(self) -> Path:
        return self.directory / "spamd.sock"

    def prepare(self) -> None:
        rules = self.directory / "rules"
        rules.mkdir(exist_ok=True)
        plugin = re.compile(rf"^loadplugin (Mail::SpamAssassin::Plugin::({self.network_plugins})\b)", re.M)
        for original in Path("/etc/spamassassin").glob("*.pre"):
            (rules / original.name).write_text(plugin.sub(r"# \1", original.read_text("utf-8")))
        (rules / "local.cf").write_text(
            "use_bayes 0\nskip_rbl_checks 1\ndns_available no\nreport_safe 0\nrequired_score 5.0\n"
        )

    def command(self) -> Sequence[str]:
        return [
            *(self.binary, "--local", "--nouser-config", "--max-children=2", "--min-children=1"),
            *(f"--socketpath={self.socket}", "--socketmode=0666", f"--siteconfigpath={self.directory}/rules"),
            *(f"--syslog={self.directory}/spamd.log", f"--pidfile={self.directory}/spamd.pid"),
        ]

    def is_ready(self) -> bool:
        return b"PONG" in ask(self.socket, b"PING SPAMC/1.2\r\n\r\n")


class SpamassMilter(MilterDaemon):
    """spamass-milter in front of a Spamd; refuses what scores 15 or more. ``socket`` appears with its final mode."""

    binary = "/usr/sbin/spamass-milter"
    package = "spamass-milter"

    def __init__(self, directory: Path, spamd: Spamd) -> None:
        super().__init__(directory)
        self.spamd = spamd

    def command(self) -> Sequence[str]:
        require_binary("/usr/bin/spamc", "spamc")
        return [
            *(self.binary, "-p", str(self.socket), "-P", f"{self.directory}/pid"),
            *("-r", "15", "-i", "192.0.2.0/24", "--", "-U", str(self.spamd.socket)),
        ]


class Clamd(Daemon):
    """clamd with a database of one line that knows EICAR and nothing else; ready when it answers a PING."""

    binary = "/usr/sbin/clamd"
    package = "clamav-daemon"

    @property
    def socket(self) -> Path:
        return self.directory / "clamd.sock"

    def prepare(self) -> None:
        for name in ("db", "tmp"):
            (self.directory / name).mkdir(exist_ok=True)
            give_to_unprivileged(self.directory / name)
        (self.directory / "db" / "local.ndb").write_text(f"Local.Eicar-Test:0:*:{EICAR.hex()}\n")
        (self.directory / "clamd.conf").write_text(
            f"Foreground yes\nLogTime yes\nDatabaseDirectory {self.directory}/db\nLocalSocket {self.socket}\n"
            f"LocalSocketMode 666\nTemporaryDirectory {self.directory}/tmp\nMaxThreads 2\nSelfCheck 0\n"
        )

    def command(self) -> Sequence[str]:
        return [self.binary, "-c", str(self.directory / "clamd.conf")]

    def is_ready(self) -> bool:
        return ask(self.socket, b"zPING\0").startswith(b"PONG")


class ClamavMilter(MilterDaemon):
    """clamav-milter in front of a Clamd; refuses what is infected and says so in X-Virus headers otherwise."""

    binary = "/usr/sbin/clamav-milter"
    package = "clamav-milter"

    def __init__(self, directory: Path, clamd: Clamd) -> None:
        super().__init__(directory)
        self.clamd = clamd

    def prepare(self) -> None:
        (self.directory / "clamav-milter.conf").write_text(
            f"Foreground yes\nMilterSocket {self.socket}\nMilterSocketMode 666\nClamdSocket unix:{self.clamd.socket}\n"
            f"LogFile {self.directory}/log\nLogInfected Full\nLogTime yes\nOnInfected Reject\nOnClean Accept\n"
            f"OnFail Defer\nRejectMsg Infected with %v\nAddHeader Replace\nTemporaryDirectory {self.directory}\n"
        )

    def command(self) -> Sequence[str]:
        return [self.binary, "-c", str(self.directory / "clamav-milter.conf")]


class PymilterChild(MilterDaemon):
    """``pymilter_child.py`` under Debian's Python: does what the mail asks for and writes down what it sees.

    name is what mails call it by (letters, digits, underscore), header the header that it adds; options are further
    ones of the script, which change what it negotiates; on_tcp makes it listen on a loopback port.
    """

    binary = "/usr/bin/python3"
    package = "python3"

    def __init__(
        self,
        directory: Path,
        name: str = "pymilter",
        header: str = "X-Py-Milter",
        options: Sequence[str] = (),
        on_tcp: bool = False,
    ) -> None:
        super().__init__(directory)
        self._spec = f"inet:{free_port()}@127.0.0.1" if on_tcp else f"unix:{self.socket}"
        self.asked_as = name
        self.header = header
        self.options = list(options)
        self.events_file = directory / "events"
        self._events: list[Event] = []
        self._read_bytes = 0

    @property
    def spec(self) -> str:
        return self._spec

    def prepare(self) -> None:
        require_binary(self.binary, self.package)
        if subprocess.run([self.binary, "-c", "import Milter"], capture_output=True).returncode != 0:
            raise ComponentMissing(f"{self.binary} can't import Milter (package python3-milter)")
        script = Path(__file__).with_name("pymilter_child.py")
        shutil.copy(script, self.directory)  # the checkout may be closed to nobody

    def command(self) -> Sequence[str]:
        return [
            *(self.binary, "-u", str(self.directory / "pymilter_child.py"), self.spec, str(self.events_file)),
            *("--name", self.asked_as, "--header", self.header, *self.options),
        ]

    def events(self) -> list[Event]:
        """Everything that this child has been told so far, oldest first; it is written before the child answers."""
        if self.events_file.exists():
            with open(self.events_file, "rb") as file:
                file.seek(self._read_bytes)
                complete = file.read().rpartition(b"\n")[0]
            self._events += [json.loads(line) for line in complete.splitlines()]
            self._read_bytes += len(complete) + 1 if complete else 0
        return self._events

    def session(self, number: int) -> list[Event]:
        """The events of one milter session, by the child's own number of it."""
        return [event for event in self.events() if event["session"] == number]

    def conversation(self, token: str) -> list[Event]:
        """The events of the transaction whose headers have token, with CONNECT and HELO before; may be empty."""
        for event in reversed(self.events()):
            if event["event"] == "header" and event["value"].strip() == token:
                transaction = event["transaction"]
                return [
                    other
                    for other in self.session(event["session"])
                    if other["transaction"] == transaction or other["event"] in ("connect", "helo")
                ]
        return []
