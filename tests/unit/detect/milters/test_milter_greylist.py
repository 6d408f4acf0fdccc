from __future__ import annotations

from pathlib import Path

import pytest

from .services import DEBIAN, FREEBSD, REDHAT, UNIT, examine, place, script, socket, started_by, texts

EL8_PATH = "/etc/mail/greylist.conf"
EL8 = """
    pidfile "/run/milter-greylist.pid"
    socket "/run/milter-greylist/milter-greylist.sock" 660
    dumpfile "/var/lib/milter-greylist/db/greylist.db" 600
    user "grmilter"
    racl greylist default tarpit 125s delay 30m
"""
ACCOUNTS = {"/etc/passwd": "grmilter:x:977:970::/:/sbin/nologin\n", "/etc/group": "grmilter:x:970:\n"}


def test_the_file_of_el_8(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("milter-greylist", "/usr/sbin/milter-greylist -D"), {EL8_PATH: EL8})
    assert (socket(reading), place(reading)) == ("unix:/run/milter-greylist/milter-greylist.sock", f"{EL8_PATH}:2")


def test_the_longest_tarpit_is_time_to_be_added(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("milter-greylist", "/usr/sbin/milter-greylist -D"), {EL8_PATH: EL8})
    assert reading.extra_timeout_s == 125.0


def test_the_group_is_that_of_the_user_in_the_file(tmp_path: Path) -> None:
    service = started_by("milter-greylist", "/usr/sbin/milter-greylist -D")
    assert examine(tmp_path, service, {EL8_PATH: EL8, **ACCOUNTS}).socket_group == "grmilter"


@pytest.mark.parametrize(
    "command", ["-p /run/x.sock", "-Dvp/run/x.sock", "-f /etc/mail/greylist.conf -p /run/x.sock -v"]
)
def test_the_socket_of_the_command_line_counts_before_the_file(tmp_path: Path, command: str) -> None:
    service = started_by("milter-greylist", f"/usr/sbin/milter-greylist {command}")
    reading = examine(tmp_path, service, {EL8_PATH: EL8})
    assert (socket(reading), place(reading)) == ("unix:/run/x.sock", str(UNIT))


def test_the_tarpit_counts_with_a_socket_of_the_command_line(tmp_path: Path) -> None:
    service = started_by("milter-greylist", "/usr/sbin/milter-greylist -p /run/x.sock")
    assert examine(tmp_path, service, {EL8_PATH: EL8}).extra_timeout_s == 125.0


def test_the_command_line_names_the_file(tmp_path: Path) -> None:
    service = started_by("milter-greylist", "/usr/sbin/milter-greylist -f /etc/x.conf")
    assert socket(examine(tmp_path, service, {"/etc/x.conf": 'socket "inet:3333@127.0.0.1"'})) == "inet:3333@127.0.0.1"


@pytest.mark.parametrize(
    ("platform", "path"),
    [
        (REDHAT, "/etc/mail/greylist.conf"),
        (DEBIAN, "/etc/milter-greylist/greylist.conf"),
        (FREEBSD, "/usr/local/etc/mail/greylist.conf"),
    ],
)
def test_the_file_is_found_where_the_platform_has_it(tmp_path: Path, platform: object, path: str) -> None:
    reading = examine(tmp_path, script("milter-greylist"), {path: 'socket "/a"'}, platform)  # type: ignore[arg-type]
    assert place(reading) == f"{path}:1"


def test_the_variable_of_debian_s_script_counts_before_the_file(tmp_path: Path) -> None:
    service = script("milter-greylist", SOCKET="/var/run/milter-greylist/mg.sock")
    files = {"/etc/milter-greylist/greylist.conf": 'socket "/a"'}
    assert socket(examine(tmp_path, service, files, DEBIAN)) == "unix:/run/milter-greylist/mg.sock"


def test_a_mode_that_shuts_everybody_out_is_reported(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("milter-greylist", "x"), {EL8_PATH: 'socket "/a" 600\n'})
    assert texts(reading) == [f"{EL8_PATH}:1: mode 600 lets nobody else connect to the socket"]


def test_a_file_that_can_not_be_read_leaves_the_package_s_socket(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("milter-greylist", "x"), {EL8_PATH: None})
    assert (place(reading), texts(reading)) == ("the package's default", [f"{EL8_PATH}: is not an ordinary file"])


def test_a_half_edited_file_still_says_what_it_can(tmp_path: Path) -> None:
    files = {EL8_PATH: 'racl greylist {{{ \\\nlist "x\nsocket "/a" 660\nracl tarpit 9s\nsock'}
    assert socket(examine(tmp_path, started_by("milter-greylist", "x"), files)) == "unix:/a"
