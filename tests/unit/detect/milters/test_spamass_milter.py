from __future__ import annotations

from pathlib import Path

import pytest

from .services import DEBIAN, SETTINGS, UNIT, examine, place, script, socket, started_by, texts

BASE = "/usr/sbin/spamass-milter -p /run/spamass-milter/spamass-milter.sock -m -r 15"
POSTFIX = "/usr/sbin/spamass-milter -g postfix -p /run/spamass-milter/postfix/sock"


def test_the_unit_of_el_8(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("spamass-milter", BASE, "sa-milt"), {})
    assert (socket(reading), place(reading)) == ("unix:/run/spamass-milter/spamass-milter.sock", str(UNIT))


def test_the_package_for_postfix_lets_its_group_in(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("spamass-milter", POSTFIX, "sa-milt"), {})
    assert (socket(reading), reading.socket_group) == ("unix:/run/spamass-milter/postfix/sock", "postfix")


def test_the_variant_for_root_is_known(tmp_path: Path) -> None:
    assert socket(examine(tmp_path, started_by("spamass-milter-root", BASE), {})).endswith("spamass-milter.sock")


def test_what_is_for_spamc_does_not_count(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("spamass-milter", f"{BASE} -- -p 783 -d 192.0.2.7"), {})
    assert socket(reading) == "unix:/run/spamass-milter/spamass-milter.sock"


@pytest.mark.parametrize("command", ["-fmp /a", "-f -M -r -1 -p/a", "-i 127.0.0.1 -I -p inet:1@x -p /a"])
def test_flags_may_be_written_together(tmp_path: Path, command: str) -> None:
    assert socket(examine(tmp_path, started_by("spamass-milter", f"spamass-milter {command}"), {})) == "unix:/a"


def test_the_variable_of_debian_s_script_says_the_socket(tmp_path: Path) -> None:
    service = script("spamass-milter", SOCKET="/var/spool/postfix/spamass/spamass.sock", OPTIONS="-u x -i 127.0.0.1")
    reading = examine(tmp_path, service, {}, DEBIAN)
    assert (socket(reading), place(reading)) == ("unix:/var/spool/postfix/spamass/spamass.sock", str(SETTINGS))


def test_the_owner_in_debian_s_settings_says_the_group(tmp_path: Path) -> None:
    service = script("spamass-milter", SOCKET="/a", SOCKETOWNER="postfix:mail", SOCKETMODE="0660")
    assert examine(tmp_path, service, {}, DEBIAN).socket_group == "mail"


def test_a_mode_that_shuts_everybody_out_is_reported(tmp_path: Path) -> None:
    service = script("spamass-milter", SOCKET="/a", SOCKETMODE="0600")
    assert texts(examine(tmp_path, service, {}, DEBIAN)) == [
        f"{SETTINGS}: mode 0600 lets nobody else connect to the socket"
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/usr/sbin/postfix": "x"}, "unix:/var/spool/postfix/spamass/spamass.sock"),
        ({}, "unix:/run/spamass/spamass.sock"),
    ],
)
def test_without_a_variable_debian_s_script_looks_for_postfix(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    reading = examine(tmp_path, script("spamass-milter"), {**files}, DEBIAN)
    assert (socket(reading), place(reading)) == (expected, "the package's default")
