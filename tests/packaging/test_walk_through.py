"""Every command of docs/install-el8.md is run on a machine, in the order of the document, or says why it is not.

Packages of EL are stand-ins here: empty ones, with units that only wait, as what they hold is not under test.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from systemd_machine import Machine

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(110)]

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/install-el8.md").read_text()
PROGRAMS = ("dnf", "systemctl", "journalctl", "freshclam", "usermod", "sudo", "id", "make", "milter-managerctl")
PROGRAMS += ("/usr/sbin/milter-manager", "milter-manager-import", "milter-test-server")

NOT_RUN = {
    "make rpm": "the packages that are installed here are its result; test_rpm.py looks into them",
    "freshclam": "it fetches signatures of viruses, and the machine has no network",
    "dnf install": "no command of its own here: the upgrade is in test_installed.py",
    "systemctl edit milter-manager": "it opens an editor on a terminal; test_installed.py writes such a file",
    "systemctl edit milter-manager.socket": "it opens an editor on a terminal; test_booted.py writes such a file",
    "systemctl edit": "it opens an editor on a terminal",
    "milter-manager-import": "it has tests of its own, with configuration of milter manager 2",
}

ALTERED = {
    "journalctl -fu milter-manager": "journalctl --no-pager -u milter-manager",  # with -f it does not end
    "dnf remove milter-manager": "dnf remove -y milter-manager",
}

MAY_FIND_FAULTS = {"milter-managerctl doctor": 4}
"""It ends with this code when it finds something, as it does among stand-ins."""

CONFIGURATION = ("remove_header", "EXTRA_FLAGS", "socket", "subnetmatch", "greylist", "autowhite", "sm_macro", "racl")
CONFIGURATION += ("[milters]", "[[milter-greylist]]", "connection_spec", "enabled", "status:", "elapsed-time:")
CONFIGURATION += ("smtpd_milters", "milter_protocol", "milter_default_action", "milter_mail_macros")
SAID = ("milter-manager:",)
"""How lines begin that the document has for what a command says."""

STAND_INS = r"""
for unit in spamassassin spamass-milter clamd@ clamav-milter milter-greylist postfix; do
    printf '[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n[Install]\nWantedBy=multi-user.target\n' \
        >/etc/systemd/system/$unit.service
done
systemctl daemon-reload
for name in clamscan clamilt; do getent group $name >/dev/null || groupadd -r $name; done
id clamilt >/dev/null 2>&1 || useradd -r -g clamilt clamilt
for tool in semodule load_policy selinuxenabled fixfiles restorecon; do
    rm -f /usr/sbin/$tool; ln -s /bin/true /usr/sbin/$tool
done
rm -f /usr/bin/sudo
printf '#!/bin/sh\nuser=$2; shift 2; exec setpriv --reuid $user --regid $user --init-groups "$@"\n' >/usr/bin/sudo
chmod 755 /usr/bin/sudo
"""


def indented() -> list[str]:
    """The lines of the blocks."""
    return [line.strip() for line in TEXT.splitlines() if line.startswith("    ")]


def documented() -> list[str]:
    """The commands, in blocks and within sentences, each once; what takes the package away comes last."""
    found = []
    for line in TEXT.splitlines():
        spans = [line.strip()] if line.startswith("    ") else re.findall(r"`([^`]+)`", line)
        found += [span for span in spans if span.split()[0] in PROGRAMS]
    return sorted(dict.fromkeys(found), key=lambda command: command.startswith("dnf remove"))


RUN = [command for command in documented() if command not in NOT_RUN]


@pytest.fixture(scope="module")
def walked(bare_machine: Machine) -> dict[str, subprocess.CompletedProcess[str]]:
    """What became of each command. selinux-policy-targeted is there, as on every stock EL."""
    bare_machine.shell(STAND_INS)
    bare_machine.install("selinux-policy-targeted")
    return {command: run(bare_machine, command) for command in RUN}


def run(machine: Machine, command: str) -> subprocess.CompletedProcess[str]:
    """With the repository of the machine for dnf, and packages where the document has them: in the directory."""
    text = ALTERED.get(command, command)
    if text.startswith("dnf "):
        text = f"dnf {' '.join(machine.dnf_options('first'))} {text.partition(' ')[2]}"
    return machine.attempt("bash", "-c", f"cd /srv/repository/first && {text}")


@pytest.mark.parametrize("command", RUN)
def test_a_command_of_the_document_works(walked: dict[str, subprocess.CompletedProcess[str]], command: str) -> None:
    done = walked[command]
    assert done.returncode in (0, MAY_FIND_FAULTS.get(command, 0)), done.stdout + done.stderr


def test_the_session_of_the_document_is_accepted(walked: dict[str, subprocess.CompletedProcess[str]]) -> None:
    (command,) = (each for each in RUN if "milter-test-server" in each)
    assert re.fullmatch(r"status: accept\nelapsed-time: [0-9.]+ seconds\n+", walked[command].stdout)


def test_no_reason_is_given_for_what_the_document_does_not_have() -> None:
    assert {*NOT_RUN, *ALTERED, *MAY_FIND_FAULTS} - set(documented()) == set()


def test_each_line_of_a_block_is_a_command_or_known_as_configuration() -> None:
    first = {re.split(r"[ =]", line)[0] for line in indented()}
    assert first - {*PROGRAMS, *CONFIGURATION, *SAID} == set()
