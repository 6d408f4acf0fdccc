"""OpenDKIM and what is written like it: opendmarc, openarc and their predecessors."""

from __future__ import annotations

from pathlib import Path

import pytest

from .services import DEBIAN, FREEBSD, SETTINGS, UNIT, examine, place, script, socket, started_by, texts, why_not

DEBIAN_12 = """
    # This is a basic configuration for signing and verifying.
    Syslog\t\t\tyes
    UserID\t\t\topendkim
    UMask\t\t\t007

    # Socket for the MTA connection (required). If the MTA is inside a chroot jail,
    Socket\t\t\tlocal:/run/opendkim/opendkim.sock
    #Socket\t\t\tinet:8891@localhost
    PidFile\t\t\t/run/opendkim/opendkim.pid
"""

EL8 = """
    ## BASIC OPENDKIM CONFIGURATION FILE
    PidFile\t/run/opendkim/opendkim.pid
    Mode\tv
    Syslog\tyes
    UserID\topendkim:opendkim
    UMask\t002
    # Socket local:/run/opendkim/opendkim.sock
    Socket inet:8891@localhost
"""

ACCOUNTS = {"/etc/passwd": "opendkim:x:110:118::/run:/usr/sbin/nologin\n", "/etc/group": "mail:x:8:\nopendkim:x:118:\n"}


def test_the_configuration_of_debian_12(tmp_path: Path) -> None:
    reading = examine(
        tmp_path, started_by("opendkim", "/usr/sbin/opendkim"), {"/etc/opendkim.conf": DEBIAN_12, **ACCOUNTS}, DEBIAN
    )
    assert (socket(reading), place(reading)) == ("unix:/run/opendkim/opendkim.sock", "/etc/opendkim.conf:7")


def test_the_group_is_that_of_the_user_who_runs_it(tmp_path: Path) -> None:
    service = started_by("opendkim", "/usr/sbin/opendkim")
    assert examine(tmp_path, service, {"/etc/opendkim.conf": DEBIAN_12, **ACCOUNTS}).socket_group == "opendkim"


def test_the_configuration_of_el_8(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("opendkim", "/usr/sbin/opendkim -f"), {"/etc/opendkim.conf": EL8})
    assert (socket(reading), place(reading)) == ("inet:8891@localhost", "/etc/opendkim.conf:8")


@pytest.mark.parametrize("command", ["-x /etc/other.conf", "-f -x/etc/other.conf", "-fx /etc/other.conf"])
def test_the_command_line_may_name_the_file(tmp_path: Path, command: str) -> None:
    files = {"/etc/opendkim.conf": EL8, "/etc/other.conf": "Socket inet:1@localhost"}
    assert socket(examine(tmp_path, started_by("opendkim", f"/usr/sbin/opendkim {command}"), files)) == (
        "inet:1@localhost"
    )


def test_the_socket_of_the_command_line_counts_before_the_file(tmp_path: Path) -> None:
    service = started_by("opendkim", "/usr/sbin/opendkim -lp local:/run/x.sock")
    reading = examine(tmp_path, service, {"/etc/opendkim.conf": EL8})
    assert (socket(reading), place(reading)) == ("unix:/run/x.sock", str(UNIT))


def test_an_included_file_counts_in_its_place(tmp_path: Path) -> None:
    files = {"/etc/opendkim.conf": "Socket /a\nInclude /etc/more.conf\n", "/etc/more.conf": "# more\nsocket /b\n"}
    assert place(examine(tmp_path, started_by("opendkim", "opendkim"), files)) == "/etc/more.conf:2"


def test_a_file_that_includes_itself_is_reported(tmp_path: Path) -> None:
    files = {"/etc/opendkim.conf": "Socket /a\nInclude /etc/opendkim.conf\n" * 100}
    reading = examine(tmp_path, started_by("opendkim", "opendkim"), files)
    assert "/etc/opendkim.conf:2: /etc/opendkim.conf is included from within itself or too deep" in texts(reading)[0]


def test_files_that_include_each_other_many_times_come_to_an_end(tmp_path: Path) -> None:
    text = "".join(f"Include /etc/{number}\n" for number in range(8)) * 10
    files = {"/etc/opendkim.conf": f"{text}Socket /a\n", **{f"/etc/{number}": text for number in range(8)}}
    assert socket(examine(tmp_path, started_by("opendkim", "opendkim"), files)) == "unix:/a"


def test_a_socket_lies_below_a_changed_root(tmp_path: Path) -> None:
    files = {"/etc/opendkim.conf": "Socket local:/var/run/x.sock\nChangeRootDirectory /var/lib/jail/\n"}
    assert socket(examine(tmp_path, started_by("opendkim", "opendkim"), files)) == "unix:/var/lib/jail/var/run/x.sock"


def test_a_port_has_nothing_to_do_with_a_changed_root(tmp_path: Path) -> None:
    files = {"/etc/opendkim.conf": "Socket inet:8891@localhost\nChangeRootDirectory /var/lib/jail\n"}
    assert socket(examine(tmp_path, started_by("opendkim", "opendkim"), files)) == "inet:8891@localhost"


def test_a_mask_that_shuts_everybody_out_is_reported(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("opendkim", "opendkim"), {"/etc/opendkim.conf": "Socket /a\nUMask 077"})
    assert texts(reading) == ["/etc/opendkim.conf:2: UMask 077 lets nobody else connect to the socket"]


@pytest.mark.parametrize(
    "text", ["Socket /a\nUMask 007", "Socket /a\nUMask 000", "Socket inet:1@x\nUMask 077", "Socket /a"]
)
def test_another_mask_is_not_reported(tmp_path: Path, text: str) -> None:
    assert texts(examine(tmp_path, started_by("opendkim", "opendkim"), {"/etc/opendkim.conf": text})) == []


def test_without_a_socket_it_does_not_work(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("opendkim", "opendkim"), {"/etc/opendkim.conf": "Mode sv\n#Socket /a"})
    assert why_not(reading) == "/etc/opendkim.conf: no Socket is set"


def test_without_a_file_it_does_not_work(tmp_path: Path) -> None:
    assert (
        why_not(examine(tmp_path, started_by("opendkim", "opendkim"), {})) == f"{UNIT}: there is no /etc/opendkim.conf"
    )


def test_a_file_that_can_not_be_read_leaves_the_package_s_socket(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("opendkim", "opendkim"), {"/etc/opendkim.conf": None})
    assert (socket(reading), place(reading)) == ("unix:/run/opendkim/opendkim.sock", "the package's default")


def test_a_file_that_can_not_be_read_is_reported(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("opendkim", "opendkim"), {"/etc/opendkim.conf": None})
    assert texts(reading) == ["/etc/opendkim.conf: is not an ordinary file"]


def test_a_socket_that_is_not_understood_is_reported(tmp_path: Path) -> None:
    reading = examine(
        tmp_path, started_by("opendkim", "opendkim"), {"/etc/opendkim.conf": "Socket inet:dkim@localhost"}
    )
    assert (socket(reading), len(texts(reading))) == ("", 1)


def test_bytes_that_are_no_utf_8_do_no_harm(tmp_path: Path) -> None:
    files = {"/etc/opendkim.conf": b"\xff\xfe # caf\xe9\nSocket inet:8891@localhost\n"}
    assert socket(examine(tmp_path, started_by("opendkim", "opendkim"), files)) == "inet:8891@localhost"


def test_a_script_s_variable_counts_where_the_file_says_nothing(tmp_path: Path) -> None:
    service = script("opendkim", SOCKET="inet:12345@localhost")
    reading = examine(tmp_path, service, {"/etc/opendkim.conf": "Mode sv"}, DEBIAN)
    assert (socket(reading), place(reading)) == ("inet:12345@localhost", str(SETTINGS))


def test_the_file_counts_before_a_script_s_variable_on_debian(tmp_path: Path) -> None:
    service = script("opendkim", SOCKET="inet:12345@localhost")
    assert socket(examine(tmp_path, service, {"/etc/opendkim.conf": EL8}, DEBIAN)) == "inet:8891@localhost"


def test_rc_conf_counts_before_the_file_on_freebsd(tmp_path: Path) -> None:
    service = script("milter-opendkim", "milteropendkim", milteropendkim_socket="inet:1@localhost")
    files = {"/usr/local/etc/opendkim.conf": "Socket inet:2@localhost"}
    assert socket(examine(tmp_path, service, files, FREEBSD)) == "inet:1@localhost"


def test_a_profile_has_its_own_socket_on_freebsd(tmp_path: Path) -> None:
    service = script(
        "milter-opendkim",
        "milteropendkim",
        "out",
        milteropendkim_socket="inet:1@localhost",
        milteropendkim_out_socket="inet:2@localhost",
    )
    assert socket(examine(tmp_path, service, {}, FREEBSD)) == "inet:2@localhost"


def test_the_file_of_freebsd_lies_below_usr_local(tmp_path: Path) -> None:
    files = {"/usr/local/etc/opendkim.conf": "Socket inet:2@localhost"}
    service = script("milter-opendkim", "milteropendkim")
    assert place(examine(tmp_path, service, files, FREEBSD)) == "/usr/local/etc/opendkim.conf:1"


@pytest.mark.parametrize("name", ["opendmarc", "openarc"])
def test_the_siblings_have_a_file_and_an_option_of_their_own(tmp_path: Path, name: str) -> None:
    service = started_by(name, f"/usr/sbin/{name} -f -c /etc/{name}.conf")
    files = {f"/etc/{name}.conf": f"UMask 007\nUserID {name}:mail\nSocket local:/run/{name}/{name}.sock\n"}
    reading = examine(tmp_path, service, files)
    assert (socket(reading), reading.socket_group, reading.user) == (f"unix:/run/{name}/{name}.sock", "mail", name)


def test_opendmarc_includes_no_files(tmp_path: Path) -> None:
    files = {"/etc/opendmarc.conf": "Include /etc/b\nSocket /a", "/etc/b": "Socket /b"}
    assert socket(examine(tmp_path, started_by("opendmarc", "opendmarc"), files)) == "unix:/a"


@pytest.mark.parametrize(
    ("name", "file"),
    [("dkim-filter", "dkim-filter.conf"), ("dk-milter", "dk-filter.conf"), ("milter-sid", "sid-filter.conf")],
)
def test_the_predecessors_are_read_alike(tmp_path: Path, name: str, file: str) -> None:
    files = {f"/usr/local/etc/{file}": "Socket local:/var/run/x.sock"}
    assert socket(examine(tmp_path, script(name), files, FREEBSD)) == "unix:/run/x.sock"


def test_spfmilter_takes_the_last_word_of_its_command_line(tmp_path: Path) -> None:
    assert socket(examine(tmp_path, started_by("spfmilter", "/usr/sbin/spfmilter -l unix:/run/spf.sock"), {})) == (
        "unix:/run/spf.sock"
    )
