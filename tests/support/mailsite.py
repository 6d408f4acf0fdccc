"""Mail through the milters as Debian's packages start them, behind a manager that was told of none.

The milters and the manager run on a ``BootedMachine``, Postfix and its sink outside of it; the
manager's socket is in the directory that both share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import judges
from tests.support.booted import PYTHON, SHARED, SOURCE, BootedMachine
from tests.support.postfix import Delivery, PostfixInstance
from tests.support.processes import HarnessError, tail, wait_for
from tests.support.smtp import Mail, SmtpSession, new_mail

CONTROL = f"unix:{SHARED}/control.sock"

UNIT = f"""\
[Service]
Type=notify
Environment=PYTHONPATH={SOURCE} PYTHONDONTWRITEBYTECODE=1
ExecStart={PYTHON} -m mmgr.cli.manager -c /etc/milter-manager --no-daemon -u milter-manager
ExecReload={PYTHON} -m mmgr.cli.managerctl -s {CONTROL} reload
"""

CONFIGURATION = f"""\
[manager]
connection_spec = unix:{SHARED}/milter-manager.sock
unix_socket_mode = 0666
[controller]
connection_spec = {CONTROL}
[log]
use_syslog = no
"""

# what stands in for the virus database and the DNS; the two lines behind make opendkim and rspamd mark every mail
PREPARATION = f"""
mkdir -p /var/lib/clamav/main.inc /var/lib/clamav/daily.inc
echo Local.Test:0:*:{b"no mail of these tests has this".hex()} >/var/lib/clamav/local.ndb
chown -R clamav: /var/lib/clamav
echo nameserver 127.0.0.1 >/etc/resolv.conf
systemd-run --service-type=notify --unit=empty-dns {PYTHON} {SOURCE}/tests/support/empty_dns.py
echo AlwaysAddARHeader yes >>/etc/opendkim.conf
echo 'use = ["x-spamd-bar"]; skip_local = false; skip_authenticated = false;' >/etc/rspamd/local.d/milter_headers.conf
"""

MANAGER = f"""
systemd-sysusers {SOURCE}/packaging/systemd/milter-manager.sysusers
sh {SOURCE}/packaging/systemd/join-groups.in
chown milter-manager {SHARED}
rm -rf /etc/milter-manager
mkdir /etc/milter-manager
cat >/etc/milter-manager/milter-manager.conf <<'END'
{CONFIGURATION}
END
cat >/etc/systemd/system/milter-manager.service <<'END'
{UNIT}
END
systemctl daemon-reload
systemctl start milter-manager
"""


MARKS = {
    "clamav-milter": ("X-Virus-Status", b"Clean"),
    "opendkim": ("Authentication-Results", b"dkim="),
    "opendmarc": ("Authentication-Results", b"dmarc="),
    "spamass-milter": ("X-Spam-Status", b"score="),
    "rspamd": ("X-Spamd-Bar", b""),
}


def took_part(delivery: Delivery) -> set[str]:
    """The milters whose mark a mail carries."""
    return {name for name, (header, text) in MARKS.items() if any(text in each for each in delivery.values(header))}


class Site:
    """Starts all of it; see the module."""

    def __init__(self, postfix: PostfixInstance, machine: BootedMachine) -> None:
        self.machine = machine
        self.postfix = postfix
        self._start()
        self.port = postfix.add_port([f"unix:{machine.shared}/milter-manager.sock"])

    def _start(self) -> None:
        """Returns once each milter, and the scanner behind it, does its work."""
        self.machine.shell(PREPARATION)
        self.machine.run("systemctl", "start", "--no-block", *judges.DISTRIBUTED, "spamd", "clamav-daemon")
        self.machine.run("systemctl", "start", "spamass-milter")  # its script gives the socket away a second later
        self.machine.shell(MANAGER)
        self.machine.call("tests.support.judges:wait_for_scanners")
        found = self.machine.call("tests.support.judges:detected")
        for name in judges.DISTRIBUTED:
            self.machine.call("tests.support.judges:wait_for_answer", found[name]["spec"])

    def session(self) -> SmtpSession:
        """From an address of the outside: spam filters are not asked about others."""
        session = SmtpSession(self.port)
        session.command("XCLIENT ADDR=203.0.113.5 NAME=mx.sender.test")
        session.command("EHLO mx.sender.test")
        return session

    def deliver(self, session: SmtpSession, mail: Mail) -> Delivery:
        """Sends a mail and returns what arrived; the failure of that tells what the daemons said."""
        try:
            self.postfix.wait_until_finished(session.send(mail).queue_id)
            return self.postfix.delivery(mail.token)
        except (AssertionError, HarnessError) as error:
            raise HarnessError(f"{error}\n{tail(self.machine.journal(), 100)}") from error

    def outcomes(self, queue_id: str) -> dict[str, str]:
        """The verdict of each child on a mail, as the manager logged them."""
        found = wait_for(
            lambda: re.search(rf" queue_id={queue_id} .* children=(\S+)", self.machine.journal("milter-manager")),
            f"transaction of {queue_id} in the log",
        )
        return dict(each.split(":")[:2] for each in found.group(1).split(","))

    def marks(self) -> set[str]:
        """The milters that took part in a mail of a new session."""
        with self.session() as session:
            return took_part(self.deliver(session, new_mail()))

    def switch(self, verb: str, *names: str) -> None:
        """What an administrator types."""
        self.machine.run("systemctl", verb, *names)
        self.machine.run("systemctl", "reload", "milter-manager")

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """A milter that is disabled for a while."""
        self.switch("disable", name)
        try:
            yield
        finally:
            self.switch("enable", name)
