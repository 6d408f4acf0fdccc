"""``mmgr.detect.sysv``: start scripts where no unit exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.candidate import Platform, Service
from mmgr.detect.detection import detect
from mmgr.detect.sysv import names, service

from .trees import NULL, Content, Link, by_name, enabled, plant, socket, socket_where

DEBIAN = Platform("debian", "debian")
REDHAT = Platform("redhat6", "redhat")
LSB = """
    #!/bin/sh
    ### BEGIN INIT INFO
    # Provides:          spamass-milter
    # Default-Start:     2 3 4 5
    # Short-Description: milter for spamassassin
    # Description:       A longer text
    ### END INIT INFO
    SOCKET=/var/run/spamass/spamass.sock
    DEFAULT=/etc/default/spamass-milter
    if [ -x /usr/sbin/postfix ]; then
        SOCKET="/var/spool/postfix/spamass/spamass.sock"
    fi;
    if [ -r $DEFAULT ]; then
        . $DEFAULT;
    fi;
    """
CHKCONFIG = """
    #!/bin/bash
    # chkconfig: 345 79 31
    # description: A milter that \\
    #              greylists
    # config: /etc/mail/greylist.conf
    SOCKET=/var/milter-greylist/sock
    [ -f /etc/sysconfig/greylist ] && . /etc/sysconfig/greylist
    """
LINK: dict[str, Content] = {"/etc/rc3.d/S20a": Link("../init.d/a")}


def found(root: Path, files: dict[str, Content], platform: Platform = DEBIAN) -> Service:
    return service(plant(root, files), platform, "a")


@pytest.mark.parametrize("has_postfix", [True, False])
def test_a_socket_that_depends_on_a_file_is_the_one_that_the_script_would_take(
    tmp_path: Path, has_postfix: bool
) -> None:
    files: dict[str, Content] = {"/etc/init.d/a": LSB}
    read = found(tmp_path, {**files, "/usr/sbin/postfix": "x"} if has_postfix else files)
    expected = "/var/spool/postfix/spamass/spamass.sock" if has_postfix else "/var/run/spamass/spamass.sock"
    assert read.environment["SOCKET"].value == expected


def test_the_settings_file_wins_where_the_script_reads_it(tmp_path: Path) -> None:
    read = found(tmp_path, {"/etc/init.d/a": LSB, "/etc/default/spamass-milter": "SOCKET=inet:1@localhost\n"})
    assert (read.environment["SOCKET"].value, str(read.environment["SOCKET"].where)) == (
        "inet:1@localhost",
        "/etc/default/spamass-milter:1",
    )


def test_a_settings_file_that_the_script_seems_not_to_read_is_read_behind_it(tmp_path: Path) -> None:
    read = found(tmp_path, {"/etc/init.d/a": "SOCKET=/1\n", "/etc/sysconfig/a": "SOCKET=/2\n"}, REDHAT)
    assert read.environment["SOCKET"].value == "/2"


def test_the_settings_directory_is_that_of_the_platform(tmp_path: Path) -> None:
    read = found(tmp_path, {"/etc/init.d/a": "SOCKET=/1\n", "/etc/sysconfig/a": "SOCKET=/2\n"}, DEBIAN)
    assert read.environment["SOCKET"].value == "/1"


@pytest.mark.parametrize(("script", "text"), [(LSB, "milter for spamassassin"), (CHKCONFIG, "A milter that")])
def test_a_script_describes_itself(tmp_path: Path, script: str, text: str) -> None:
    read = found(tmp_path, {"/etc/init.d/a": script})
    assert read.description is not None
    assert read.description.value == text


@pytest.mark.parametrize("link", ["/etc/rc3.d/S20a", "/etc/rc.d/rc5.d/S01a", "/etc/rc2.d/S99a"])
def test_a_link_that_starts_a_script_enables_it(tmp_path: Path, link: str) -> None:
    read = found(tmp_path, {"/etc/init.d/a": LSB, link: Link("../init.d/a")})
    assert (read.is_started.value, str(read.is_started.where)) == (True, link)


@pytest.mark.parametrize("link", ["/etc/rc3.d/K20a", "/etc/rc0.d/S20a", "/etc/rc3.d/S20ab", "/etc/rc3.d/S20-a"])
def test_any_other_link_does_not(tmp_path: Path, link: str) -> None:
    read = found(tmp_path, {"/etc/init.d/a": LSB, link: Link("../init.d/a")})
    assert (read.is_started.value, read.why_not.split(":")[0]) == (False, "disabled")


@pytest.mark.parametrize("value", ["0", "no", '"No"'])
def test_a_switch_in_the_settings_file_disables_it(tmp_path: Path, value: str) -> None:
    read = found(tmp_path, {"/etc/init.d/a": LSB, **LINK, "/etc/default/a": f"# x\nENABLED={value}\n"})
    assert (read.is_started.value, str(read.is_started.where)) == (False, "/etc/default/a:2")


def test_leftovers_of_the_package_manager_are_no_scripts(tmp_path: Path) -> None:
    files = {f"/etc/init.d/{name}": "x" for name in ("a", "a.dpkg-old", "b.rpmsave", "c~", "README")}
    assert names(plant(tmp_path, {**files, "/etc/init.d/d": None}), DEBIAN) == ("a",)


# ---- beside units

SCRIPT: dict[str, Content] = {
    "/etc/os-release": "ID=debian\n",
    "/etc/init.d/spamass-milter": LSB,
    "/etc/rc3.d/S01spamass-milter": Link("../init.d/spamass-milter"),
}


def test_a_script_without_a_unit_is_detected_with_its_place(tmp_path: Path) -> None:
    plant(tmp_path, SCRIPT)
    milter = by_name(detect(str(tmp_path)))["spamass-milter"]
    assert (socket(milter), socket_where(milter), milter.is_enabled.value) == (
        "unix:/run/spamass/spamass.sock",
        "/etc/init.d/spamass-milter:8",
        True,
    )


def test_a_unit_that_is_disabled_is_not_enabled_by_the_script_of_the_same_name(tmp_path: Path) -> None:
    unit = "[Service]\nExecStart=/usr/sbin/spamass-milter -p /run/x\n"
    plant(tmp_path, {**SCRIPT, "/usr/lib/systemd/system/spamass-milter.service": unit})
    milter = by_name(detect(str(tmp_path)))["spamass-milter"]
    assert (milter.is_enabled.value, milter.unit.path) == (False, "/usr/lib/systemd/system/spamass-milter.service")


def test_a_script_that_systemd_masks_is_disabled(tmp_path: Path) -> None:
    mask = "/etc/systemd/system/spamass-milter.service"
    plant(tmp_path, {**SCRIPT, mask: Link(NULL)})
    assert by_name(detect(str(tmp_path)))["spamass-milter"].why_not == f"masked by {mask}"


def test_a_script_behind_an_alias_of_a_unit_is_not_a_second_milter(tmp_path: Path) -> None:
    unit = "[Service]\nExecStart=/usr/sbin/x -p /run/x\n"
    files: dict[str, Content] = {
        "/usr/lib/systemd/system/other.service": unit,
        "/etc/systemd/system/spamass-milter.service": Link("/usr/lib/systemd/system/other.service"),
    }
    plant(tmp_path, {**SCRIPT, **files, **enabled("other.service")})
    assert [each.name for each in detect(str(tmp_path)).milters] == ["other"]
