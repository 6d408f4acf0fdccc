"""What the package does with the configuration of milter manager 2 and its running daemon, as a script without rpm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import filled
from systemd_machine import Machine

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging/systemd/upgrade-from-2.in"
LOCAL = """\
manager.connection_spec = "inet:10025@localhost"
define_milter("my") do |milter|
  milter.connection_spec = "inet:10026@localhost"
end
"""
COMPUTED = "manager.daemon = ENV['DAEMON'] == 'yes'\n"
REFUSED = 'define_milter("other") do |milter|\n  milter.applicable_conditions = ["Nowhere"]\nend\n'
MAIN = 'load("applicable-conditions/*.conf")\nload_default\nload_if_exist("milter-manager.local.conf")\n'


class Site:
    """A configuration directory after rpm was at work, the commands of this tree, and a systemctl that takes notes."""

    def __init__(self, top: Path) -> None:
        self.directory = top / "milter-manager"
        self.directory.mkdir()
        self.main = self.directory / "milter-manager.conf"
        self.main.write_bytes((ROOT / "etc/milter-manager.conf").read_bytes())
        self.local = self.directory / "milter-manager.local.conf"
        self.bin = top / "bin"
        self.bin.mkdir()
        self.notes = top / "notes"
        self.command("milter-manager-import", f'cd {ROOT} && exec {sys.executable} -m mmgr.cli.import_config "$@"')
        self.command("milter-manager", f'cd {ROOT} && exec {sys.executable} -m mmgr.cli.manager "$@" --root {top}')
        self.command("systemctl", f'echo "$*" >>{self.notes}')
        self.script = top / "upgrade-from-2"
        words = {"sbindir": str(self.bin), "bindir": str(self.bin)}
        self.script.write_text(filled(SCRIPT.read_text(), words))

    def command(self, name: str, text: str) -> None:
        """Make a command of the shell."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def upgrade(self) -> str:
        """What the script says; it never fails."""
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        command = ["sh", str(self.script), str(self.directory)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def is_restarted(self) -> bool:
        return "try-restart milter-manager.service" in self.notes.read_text().splitlines()

    def beside(self, suffix: str) -> Path:
        """The local file with a suffix."""
        return Path(f"{self.local}{suffix}")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.local.write_text(LOCAL)
    return made


def test_the_translation_takes_the_place_of_the_ruby(site: Site) -> None:
    site.upgrade()
    assert "[[my]]" in site.local.read_text()


def test_the_ruby_is_kept_under_another_name(site: Site) -> None:
    site.upgrade()
    assert site.beside(".ruby").read_text() == LOCAL


def test_it_says_where_both_are(site: Site) -> None:
    said = site.upgrade().splitlines()
    assert said == [
        f"milter-manager: the Ruby configuration {site.local} is now {site.local}.ruby",
        f"milter-manager: its translation is {site.local}",
    ]


def test_a_service_that_runs_is_restarted(site: Site) -> None:
    site.upgrade()
    assert site.is_restarted


def test_a_service_that_does_not_run_is_not_started(site: Site) -> None:
    site.command("systemctl", f'echo "$*" >>{site.notes}; [ "$1" != is-active ]')
    site.upgrade()
    assert not site.is_restarted


def test_statements_that_are_left_are_counted(site: Site) -> None:
    site.local.write_text(LOCAL + COMPUTED)
    assert "without one statement; look there for NOT TRANSLATED" in site.upgrade()


def test_a_translation_that_is_refused_is_put_beside(site: Site) -> None:
    site.local.write_text(LOCAL + REFUSED)
    site.upgrade()
    assert (site.local.exists(), "[[other]]" in site.beside(".imported").read_text()) == (False, True)


def test_a_translation_that_is_refused_is_said_with_the_reason(site: Site) -> None:
    site.local.write_text(LOCAL + REFUSED)
    assert f"refuses: milter-manager: error: {site.local}:" in site.upgrade()


def test_a_translation_that_is_refused_leaves_the_old_daemon_at_work(site: Site) -> None:
    site.local.write_text(LOCAL + REFUSED)
    assert "the daemon of milter manager 2 runs on" in site.upgrade()
    assert not site.is_restarted


def test_a_main_file_that_was_edited_is_translated_with_the_local_one(site: Site) -> None:
    site.main.rename(f"{site.main}.rpmnew")
    site.main.write_text(MAIN + "manager.unix_socket_mode = 0600\n")
    site.upgrade()
    text = site.local.read_text()
    assert ("unix_socket_mode = 0600" in text, "[[my]]" in text) == (True, True)


def test_the_new_main_file_takes_the_place_of_one_that_was_edited(site: Site) -> None:
    site.main.rename(f"{site.main}.rpmnew")
    site.main.write_text(MAIN)
    site.upgrade()
    assert site.main.read_bytes() == (ROOT / "etc/milter-manager.conf").read_bytes()


def test_without_ruby_nothing_is_said_and_the_service_is_restarted(site: Site) -> None:
    site.local.unlink()
    assert (site.upgrade(), site.is_restarted) == ("", True)


def test_a_second_run_changes_nothing(site: Site) -> None:
    site.upgrade()
    before = {file.name: file.read_bytes() for file in site.directory.iterdir()}
    site.upgrade()
    assert {file.name: file.read_bytes() for file in site.directory.iterdir()} == before


def test_an_import_that_does_not_run_leaves_the_ruby_where_it_is(site: Site) -> None:
    site.command("milter-manager-import", "echo no Python >&2; exit 127")
    assert "could not be translated: no Python" in site.upgrade()
    assert (site.local.read_text(), site.is_restarted) == (LOCAL, False)


def test_what_others_could_not_read_they_can_not_read_afterwards(site: Site) -> None:
    site.local.chmod(0o600)
    site.command("chgrp", "exit 0")
    site.upgrade()
    assert site.local.stat().st_mode & 0o007 == 0


OLD_PACKAGE = f"""
%global debug_package %{{nil}}
Name: milter-manager
Version: 2.2.0
Release: 1
Summary: Stands in for the old daemon
License: MIT
%description
Stands in.
%install
mkdir -p %{{buildroot}}/etc/milter-manager %{{buildroot}}/usr/lib/systemd/system
cat >%{{buildroot}}/etc/milter-manager/milter-manager.conf <<'END'
{MAIN}END
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >%{{buildroot}}/usr/lib/systemd/system/milter-manager.service
%files
%config(noreplace) /etc/milter-manager/milter-manager.conf
/usr/lib/systemd/system/milter-manager.service
"""


@pytest.mark.packaging
@pytest.mark.timeout(110)
def test_an_upgrade_ends_with_the_new_daemon_on_the_old_settings(new_machine: Machine) -> None:
    local = "/etc/milter-manager/milter-manager.local.conf"
    new_machine.shell(f"""cat >/root/old.spec <<'OLD'
{OLD_PACKAGE}OLD
        rpmbuild -bb --quiet --define '_topdir /root/old' /root/old.spec
        rpm -i --nodeps /root/old/RPMS/*/*.rpm
        systemctl daemon-reload; systemctl start milter-manager
        cat >{local} <<'LOCAL'
{LOCAL.replace("10025", "10035")}LOCAL""")
    said = new_machine.dnf("upgrade", "--best", "milter-manager")
    assert f"its translation is {local}" in said
    title = new_machine.run("ps", "-o", "user:32=,args=", "-p", new_machine.property("MainPID"))
    assert (title.split()[0], new_machine.property("ActiveState")) == ("milter-manager", "active")
    assert new_machine.run("milter-test-server", "-s", "inet:10035@127.0.0.1").startswith("status: ")
