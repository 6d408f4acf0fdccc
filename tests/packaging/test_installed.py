"""What the package's scriptlets do to a machine: install, upgrade, erase, with whatever was there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from systemd_machine import Machine

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(110)]


def test_the_package_is_as_it_was_packed_once_it_is_installed(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    assert new_machine.run("rpm", "-V", "milter-manager") == ""


def test_installing_neither_enables_nor_starts_the_service(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    said = new_machine.attempt("systemctl", "is-enabled", "milter-manager").stdout
    assert (said.strip(), new_machine.property("ActiveState")) == ("disabled", "inactive")


def test_the_user_gets_a_group_and_no_shell(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    entry = new_machine.run("getent", "passwd", "milter-manager").strip().split(":")
    group = new_machine.run("getent", "group", "milter-manager").strip().split(":")
    assert (entry[3], entry[6]) == (group[2], "/sbin/nologin")


@pytest.mark.parametrize("order", [("milter-manager", "clamav-milter"), ("clamav-milter", "milter-manager")])
def test_the_user_joins_the_group_of_a_milter_in_either_order(new_machine: Machine, order: tuple[str, str]) -> None:
    new_machine.shell("groupadd -r clamilt; install -m 755 /bin/true /usr/sbin/clamav-milter")
    for package in order:
        new_machine.install(package)
    assert "clamilt" in new_machine.run("id", "-Gn", "milter-manager").split()


def test_no_group_is_made_for_a_milter_that_is_absent(new_machine: Machine) -> None:
    new_machine.shell("""rm -f /usr/sbin/opendmarc
        userdel opendmarc || :; groupdel opendmarc || :""")
    new_machine.install("milter-manager", "postfix")
    assert new_machine.attempt("getent", "group", "opendmarc").returncode == 2


def test_the_user_does_not_join_the_group_mail(new_machine: Machine) -> None:
    new_machine.install("milter-manager", "postfix", "milter-greylist")
    assert "mail" not in new_machine.run("id", "-Gn", "milter-manager").split()


def test_the_directory_of_milter_greylist_lets_the_user_pass(new_machine: Machine) -> None:
    new_machine.shell("""groupadd -r grmilter; install -m 755 /bin/true /usr/sbin/milter-greylist
        install -d -m 0710 -o root -g mail /run/milter-greylist; touch /run/milter-greylist/socket
        chgrp grmilter /run/milter-greylist/socket; chmod 660 /run/milter-greylist/socket""")
    new_machine.install("milter-manager", "milter-greylist")
    write = "test -w /run/milter-greylist/socket && ! ls /run/milter-greylist 2>/dev/null"
    new_machine.run("setpriv", "--reuid=milter-manager", "--regid=milter-manager", "--init-groups", "sh", "-c", write)


def test_an_account_and_directories_that_were_there_before_do_no_harm(new_machine: Machine) -> None:
    new_machine.shell("""useradd -u 1500 -g users -d /home/other -s /bin/bash milter-manager
        install -d -o daemon -g daemon -m 0700 /etc/milter-manager /run/milter-manager""")
    new_machine.install("milter-manager")
    new_machine.run("systemctl", "start", "milter-manager")
    assert new_machine.run("getent", "passwd", "milter-manager").split(":")[2] == "1500"


def test_a_start_without_the_postfix_group_works(new_machine: Machine) -> None:
    new_machine.shell("userdel postfix 2>/dev/null || :; groupdel postfix 2>/dev/null || :")
    new_machine.install("milter-manager")
    new_machine.run("systemctl", "start", "milter-manager")


def test_an_upgrade_restarts_a_running_service_with_all_that_was_edited(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    new_machine.shell("""echo '# mine' >>/etc/milter-manager/milter-manager.conf
        mkdir /etc/systemd/system/milter-manager.service.d
        printf '[Service]\\nLimitNOFILE=4242\\n' >/etc/systemd/system/milter-manager.service.d/mine.conf
        systemctl daemon-reload; systemctl start milter-manager""")
    before = new_machine.property("MainPID")
    new_machine.dnf("upgrade", "milter-manager", repository="newer")
    mine = new_machine.shell("tail -n 1 /etc/milter-manager/milter-manager.conf").strip()
    found = (new_machine.property("MainPID") != before, new_machine.property("LimitNOFILE"), mine)
    assert found == (True, "4242", "# mine")


def test_an_upgrade_starts_nothing_that_was_stopped(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    new_machine.dnf("upgrade", "milter-manager", repository="newer")
    assert new_machine.property("ActiveState") == "inactive"


def test_erasing_stops_the_service_and_leaves_the_user_and_what_was_edited(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    new_machine.shell("""echo '# mine' >>/etc/milter-manager/milter-manager.conf
        systemctl enable --now milter-manager""")
    new_machine.dnf("remove", "milter-manager")
    left = new_machine.shell("""getent passwd milter-manager | cut -d: -f1; ls /etc/milter-manager
        ls /usr/lib64/milter-manager 2>/dev/null || echo gone; pgrep -u milter-manager || echo ended""")
    assert left.split() == ["milter-manager", "milter-manager.conf.rpmsave", "gone", "ended"]


def test_erasing_leaves_no_process_socket_or_file_of_the_user(new_machine: Machine) -> None:
    new_machine.install("milter-manager")
    new_machine.shell("""systemctl enable --now milter-manager.socket milter-manager
        install -d -o milter-manager /var/lib/milter-manager/public_html/log""")
    new_machine.dnf("remove", "milter-manager")
    left = new_machine.shell("""pgrep -u milter-manager || :; grep milter-manager /proc/net/unix || :
        find /etc /home /opt /run /tmp /var \\( -user milter-manager -o -group milter-manager \\)
        [ ! -e /run/milter-manager ] || echo stays""")
    assert left.split() == ["/var/lib/milter-manager/public_html/log"]


def test_a_downgrade_keeps_what_was_edited(new_machine: Machine) -> None:
    new_machine.install("milter-manager", repository="newer")
    new_machine.shell("""echo '# mine' >>/etc/milter-manager/milter-manager.conf
        echo '# mine' >>/etc/sysconfig/milter-manager; systemctl start milter-manager""")
    new_machine.dnf("downgrade", "milter-manager")
    mine = new_machine.shell("tail -qn 1 /etc/milter-manager/milter-manager.conf /etc/sysconfig/milter-manager")
    assert (mine.splitlines(), new_machine.property("ActiveState")) == (["# mine", "# mine"], "active")


def test_the_package_of_el_8_gives_a_service_that_starts(new_machine: Machine) -> None:
    new_machine.install("milter-manager", repository="el8")
    new_machine.run("systemctl", "start", "milter-manager")
    release = new_machine.run("rpm", "-q", "--qf", "%{RELEASE}", "milter-manager")
    new_machine.run("milter-test-server", "-s", "unix:/run/milter-manager/milter-manager.sock")
    assert release.endswith(".el8")


def test_the_munin_plug_in_is_installed_and_runs(new_machine: Machine) -> None:
    new_machine.install("milter-manager-munin")
    said = new_machine.attempt("/usr/share/munin/plugins/milter_manager_", "autoconf").stdout
    assert said.startswith("no (")


SELINUX_TOOLS = """
    for tool in semodule load_policy selinuxenabled fixfiles restorecon; do
        rm -f /usr/sbin/$tool
        printf '#!/bin/sh\\necho "%s $*" >>/root/called\\n' $tool >/usr/sbin/$tool
        chmod 755 /usr/sbin/$tool
    done
    mkdir -p /etc/selinux/targeted/contexts/files; touch /etc/selinux/targeted/contexts/files/file_contexts
"""


def test_the_policy_module_comes_along_where_there_is_such_a_policy(new_machine: Machine) -> None:
    new_machine.shell(SELINUX_TOOLS)
    new_machine.install("selinux-policy-targeted", "milter-manager")
    new_machine.run("rpm", "-q", "milter-manager-selinux")


def test_without_the_policy_module_the_package_alone_is_refused_on_a_stock_el(new_machine: Machine) -> None:
    new_machine.shell(SELINUX_TOOLS)
    new_machine.install("selinux-policy-targeted")
    done = new_machine.attempt("sh", "-c", "rpm -i --test /srv/repository/first/milter-manager-3*.rpm")
    assert "milter-manager-selinux" in done.stderr


def test_the_policy_module_is_loaded_and_a_running_service_enters_its_domain(new_machine: Machine) -> None:
    new_machine.shell(SELINUX_TOOLS)
    new_machine.install("milter-manager")
    new_machine.run("systemctl", "start", "milter-manager")
    before = new_machine.property("MainPID")
    new_machine.install("milter-manager-selinux")
    called = new_machine.run("cat", "/root/called")
    assert "semodule -n -s targeted -X 200 -i /usr/share/selinux/packages/milter_manager.cil\nselinuxenabled" in called
    assert "\nload_policy \n" in called
    assert "\nfixfiles -C /run/milter-manager.file_contexts restore\n" in called
    assert new_machine.property("MainPID") not in ("0", before)


def test_the_policy_module_is_unloaded_when_it_goes(new_machine: Machine) -> None:
    new_machine.shell(SELINUX_TOOLS)
    new_machine.install("milter-manager", "milter-manager-selinux")
    new_machine.shell("rm /root/called")
    new_machine.dnf("remove", "milter-manager-selinux")
    called = new_machine.run("cat", "/root/called")
    assert "semodule -n -s targeted -X 200 -r milter_manager\nselinuxenabled \nload_policy \n" in called


def test_make_install_gives_a_service_that_starts(new_machine: Machine, wheels: Path) -> None:
    new_machine.shell("""cd /srv/source; make install PYTHON=/usr/bin/python3; systemd-sysusers
        systemd-tmpfiles --create milter-manager.conf; /usr/local/libexec/milter-manager/join-groups
        systemctl daemon-reload; systemctl start milter-manager""")
    new_machine.run("/usr/local/bin/milter-test-server", "-s", "unix:/run/milter-manager/milter-manager.sock")


def test_the_log_analyzer_reads_a_log_that_only_root_may_read(new_machine: Machine) -> None:
    if new_machine.attempt("which", "rrdtool").returncode != 0:
        pytest.skip("not here: rrdtool")
    new_machine.install("milter-manager", "milter-manager-log-analyzer")
    new_machine.shell("""install -m 600 /dev/null /var/log/maillog
        systemctl start milter-manager-log-analyzer.service || { journalctl --no-pager | tail -20; exit 1; }""")
    made = new_machine.run(
        "find", "/var/lib/milter-manager/public_html/log", "-user", "milter-manager", "-name", "*.html"
    )
    assert made != ""
