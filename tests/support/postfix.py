"""A private Postfix for tests: own configuration, queue, data and log in one directory, on loopback ports of its own.

One running instance serves any number of smtpd ports, each with its own milters (``add_port``), and delivers everything
for example.test into one maildir, the sink, which is read back as raw bytes (``deliveries``). The host's own
Postfix configuration is neither read nor changed. Needs root (Postfix's master); its workers run as user postfix.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.processes import (
    HarnessError,
    LogFile,
    free_port,
    give_to_unprivileged,
    require_binary,
    require_root,
    tail,
    wait_for,
)

SINK_DOMAIN = "example.test"
TOKEN_HEADER = b"X-Test-Token"  # each mail carries its own; the sink finds mail by it
DAEMON_DIRECTORY = Path("/usr/lib/postfix/sbin")

MAIN_CF = """\
compatibility_level = 3.6
multi_instance_name = postfix-test
config_directory = {directory}/etc
queue_directory = {directory}/spool
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/log/maillog
maillog_file_prefixes = {directory}
myhostname = mx.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4, ipv6
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
disable_dns_lookups = yes
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_authorized_xclient_hosts = 127.0.0.1
enable_long_queue_ids = yes
message_size_limit = 30000000
virtual_mailbox_limit = 0
virtual_mailbox_domains = {sink_domain}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_transport = virtual
default_transport = discard
"""

# The smtpd ports are added one by one; nothing listens on TCP without being asked for.
MASTER_CF = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@dataclass(frozen=True)
class Delivery:
    """One mail as it lies in the sink: for whom, from whom, and the bytes that the queue file had (lines end LF)."""

    sender: str
    recipient: str
    raw: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """(name, value) in their order; a value keeps its folding and what follows the colon."""
        head = self.raw.partition(b"\n\n")[0] if not self.raw.startswith(b"\n") else b""
        lines = re.split(rb"\n(?![ \t])", head.rstrip(b"\n"))
        return [(name, value) for name, _, value in (line.partition(b":") for line in lines)]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\n\n")[2]

    def values(self, name: str) -> list[bytes]:
        """The values of all headers of that name, stripped, in their order."""
        return [value.strip() for key, value in self.headers if key.lower() == name.lower().encode()]

    @classmethod
    def parse(cls, stored: bytes) -> Delivery:
        """Takes apart what virtual(8) wrote: three trace headers on top, then the mail."""
        lines = stored.split(b"\n", 3)
        trace = dict(line.split(b": ", 1) for line in lines[:3])
        sender = trace[b"Return-Path"].decode("latin-1").strip("<>")
        return cls(sender, trace[b"X-Original-To"].decode("latin-1"), lines[3])


class PostfixInstance:
    """A context manager: the instance runs inside of it, and none of its processes is left after it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "etc"
        self.maillog = LogFile(directory / "log" / "maillog")
        self.inbox = directory / "mail" / "inbox" / "new"
        self.ports: list[int] = []
        self._indexed: set[str] = set()
        self._by_token: dict[str, list[Path]] = {}

    # Life

    def start(self) -> None:
        """Writes the configuration and starts the instance."""
        require_root()
        require_binary("/usr/sbin/postfix", "postfix")
        for name in ("etc", "spool", "data", "log", "mail"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix", "root")
        (self.directory / "data").chmod(0o700)
        give_to_unprivileged(self.directory / "mail")
        facts = {"directory": self.directory, "daemons": DAEMON_DIRECTORY, "sink_domain": SINK_DOMAIN}
        (self.config / "main.cf").write_text(MAIN_CF.format(**facts))
        (self.config / "master.cf").write_text(MASTER_CF)
        self._age_main_cf()
        self.postfix("start")

    def stop(self) -> None:
        """Stops the instance and returns when all its processes are gone."""
        master = self._master()
        if master is None:
            return
        family = [master, *master.children(recursive=True)]
        self.postfix("stop")
        _, alive = psutil.wait_procs(family, timeout=10)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=10)

    def __enter__(self) -> PostfixInstance:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def postfix(self, action: str) -> None:
        """Runs ``postfix start``, ``stop`` or ``reload`` on this instance; HarnessError with the log when it fails."""
        self._run(["postfix", "-c", str(self.config), action])

    def _run(self, command: Sequence[str], message: bytes = b"") -> str:
        done = subprocess.run(command, input=message, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise HarnessError(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stderr.decode()}\n{self.log_tail()}"
            )
        return done.stdout.decode("utf-8", "replace")

    def _master(self) -> psutil.Process | None:
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            pid = int((self.directory / "spool" / "pid" / "master.pid").read_text())
            process = psutil.Process(pid)
            if process.name() == "master":
                return process
        return None

    def reload(self) -> None:
        """Reads the configuration again; returns when no pickup or cleanup process of before is left."""
        master = self._master()
        before = [process for process in master.children() if process.name() in ("pickup", "cleanup")] if master else []
        self.postfix("reload")
        psutil.wait_procs(before, timeout=10)

    # Ports and settings

    def add_port(self, milters: Sequence[str], **settings: str) -> int:
        """A new smtpd port with these smtpd_milters, asked in this order; returns it once it is listening.

        A milter is ``unix:PATH`` or ``inet:HOST:PORT``, or with settings of its own in Postfix's form
        ``{ unix:PATH, command_timeout=3s }``. settings are further main.cf parameters for this port.
        """
        return self.add_ports([(milters, settings)])[0]

    def add_ports(self, wanted: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> list[int]:
        """As add_port, several with one reload."""
        ports = []
        with open(self.config / "master.cf", "a") as master_cf:
            for milters, settings in wanted:
                ports.append(free_port())
                master_cf.write(f"127.0.0.1:{ports[-1]} inet n - n - - smtpd\n")
                for name, value in {"smtpd_milters": ", ".join(milters), **settings}.items():
                    master_cf.write(f"  -o {{ {name} = {value} }}\n")
        self.postfix("reload")
        for port in ports:
            wait_for(lambda port=port: is_listening(port), f"smtpd on port {port}", log=self.log_tail)
        self.ports += ports
        return ports

    def configure(self, **settings: str) -> None:
        """Changes main.cf and reloads: for what is not a port's own, such as non_smtpd_milters."""
        self._run(["postconf", "-c", str(self.config), "-e", *(f"{name}={value}" for name, value in settings.items())])
        self._age_main_cf()
        self.reload()

    def _age_main_cf(self) -> None:
        """Makes main.cf look old: every Postfix program sleeps up to two seconds over one that was written just now."""
        an_hour_ago = time.time() - 3600
        os.utime(self.config / "main.cf", (an_hour_ago, an_hour_ago))

    def sendmail(self, sender: str, recipients: Sequence[str], content: bytes) -> None:
        """Submits a mail by ``sendmail``, as a local user would: only non_smtpd_milters see it."""
        self._run(["/usr/sbin/sendmail", "-C", str(self.config), "-i", "-f", sender, *recipients], content)

    # What became of a mail

    def log_text(self) -> str:
        return self.maillog.text()

    def log_tail(self) -> str:
        return tail(self.log_text())

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """The first match of a regular expression in the maillog; waits for it."""
        compiled = re.compile(pattern)
        return wait_for(lambda: compiled.search(self.log_text()), f"{pattern!r} in the maillog", log=self.log_tail)

    def wait_until_finished(self, queue_id: str) -> None:
        """Returns when Postfix has done with every recipient of a mail and removed it from its queue."""
        end = f"{queue_id}: removed"
        wait_for(lambda: end in self.log_text(), f"{end!r} in the maillog", log=self.log_tail)

    def deliveries(self, token: str, at_least: int = 1) -> list[Delivery]:
        """The mails in the sink that carry this token, by recipient; waits until there are as many as said."""

        def found() -> list[Path]:
            self._index_inbox()
            paths = self._by_token.get(token, [])
            return paths if len(paths) >= at_least else []

        paths = (
            wait_for(found, f"delivery of {at_least} mails with token {token}", log=self.log_tail) if at_least else []
        )
        if not at_least:
            self._index_inbox()
            paths = self._by_token.get(token, [])
        return sorted((Delivery.parse(path.read_bytes()) for path in paths), key=lambda delivery: delivery.recipient)

    def delivery(self, token: str) -> Delivery:
        """The one mail in the sink with this token."""
        (only,) = self.deliveries(token)
        return only

    def _index_inbox(self) -> None:
        with suppress(FileNotFoundError):
            for name in set(os.listdir(self.inbox)) - self._indexed:
                self._indexed.add(name)
                path = self.inbox / name
                found = re.search(rb"^" + TOKEN_HEADER + rb": *(\S+)$", path.read_bytes(), re.M | re.I)
                if found:
                    self._by_token.setdefault(found.group(1).decode(), []).append(path)

    def held(self) -> list[str]:
        """The queue ids in the hold queue."""
        return self._queue_files("hold")

    def queued(self) -> list[str]:
        """The queue ids that are waiting to be delivered now."""
        return self._queue_files("incoming") + self._queue_files("active") + self._queue_files("deferred")

    def _queue_files(self, queue: str) -> list[str]:
        return sorted(path.name for path in (self.directory / "spool" / queue).rglob("*") if path.is_file())

    def queue_file(self, queue_id: str) -> str:
        """A queue file as postcat prints it: envelope records, then the mail."""
        return self._run(["postcat", "-c", str(self.config), "-q", queue_id])

    def delete(self, queue_id: str) -> None:
        """Takes a mail out of whatever queue it is in."""
        self._run(["postsuper", "-c", str(self.config), "-d", queue_id])


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
