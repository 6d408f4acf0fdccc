"""The milters whose command line or one line of a file says everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.candidate import Platform
from mmgr.detect.registry import CANDIDATES, candidate

from .services import (
    DEBIAN,
    FREEBSD,
    REDHAT,
    SETTINGS,
    UNIT,
    examine,
    place,
    script,
    socket,
    started_by,
    texts,
    why_not,
)

PYSPF = """
    #  For a fully commented sample config file see policyd-spf.conf.commented
    debugLevel = 1
    HELO_reject = Fail

    # Milter specific options
    #Socket = local:/run/pyspf-milter/pyspf-milter.sock
    Socket = inet:8893@localhost
    UserID = pyspf-milter
"""
ENMA = """
    ## Milter ##
    milter.socket:  inet:10025@127.0.0.1
    milter.user:    daemon
"""


def test_amavisd_milter_takes_its_socket_by_an_option(tmp_path: Path) -> None:
    command = (
        "/usr/sbin/amavisd-milter -f -s /run/amavisd/amavisd-milter.sock -S local:/run/amavisd/amavisd.sock -p /x.pid"
    )
    reading = examine(tmp_path, started_by("amavisd-milter", command, "amavis"), {})
    assert (socket(reading), place(reading)) == ("unix:/run/amavisd/amavisd-milter.sock", str(UNIT))


def test_the_pid_file_of_amavisd_milter_is_no_socket(tmp_path: Path) -> None:
    reading = examine(tmp_path, started_by("amavisd-milter", "amavisd-milter -p /run/x.pid"), {})
    assert socket(reading) == "unix:/run/amavisd/amavisd-milter.sock"


@pytest.mark.parametrize("variable", ["MILTERSOCKET", "MILTER_SOCKET", "SOCKET"])
def test_the_script_of_amavisd_milter_has_a_variable(tmp_path: Path, variable: str) -> None:
    service = script("amavisd-milter", **{variable: "inet:60001@127.0.0.1"})
    reading = examine(tmp_path, service, {}, DEBIAN)
    assert (socket(reading), place(reading)) == ("inet:60001@127.0.0.1", str(SETTINGS))


def test_the_owner_of_amavisd_milter_s_socket_says_the_group(tmp_path: Path) -> None:
    service = script("amavisd-milter", MILTERSOCKET="/a", MILTERSOCKETOWNER="postfix:postfix", MILTERSOCKETMODE="0660")
    assert examine(tmp_path, service, {}, DEBIAN).socket_group == "postfix"


def test_the_older_amavis_milter_takes_its_socket_by_another_option(tmp_path: Path) -> None:
    service = script("amavis-milter", "amavis_milter", amavis_milter_flags="-D -p /var/amavis/milter.sock")
    assert socket(examine(tmp_path, service, {}, FREEBSD)) == "unix:/var/amavis/milter.sock"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("-p unix:/run/mr.sock -P 0660", "unix:/run/mr.sock"),
        ("-P 660", "unix:/var/spool/milter-regex/sock"),
        ("-j /var/lib/mr -p unix:/run/sock -P 660", "unix:/var/lib/mr/run/sock"),
        ("-j /var/lib/mr -p /sock -P 660", "unix:/var/lib/mr/sock"),
        ("-j /var/lib/mr -p inet:1@localhost", "inet:1@localhost"),
        ("-dp inet:1@localhost", "inet:1@localhost"),
    ],
)
def test_milter_regex_may_change_its_root(tmp_path: Path, command: str, expected: str) -> None:
    assert socket(examine(tmp_path, started_by("milter-regex", f"/usr/sbin/milter-regex {command}"), {})) == expected


def test_milter_regex_names_the_group_of_its_socket(tmp_path: Path) -> None:
    service = started_by("milter-regex", "/usr/sbin/milter-regex -G mregex -P 0660")
    assert (examine(tmp_path, service, {}).socket_group, texts(examine(tmp_path / "2", service, {}))) == ("mregex", [])


def test_milter_regex_shuts_everybody_out_by_default(tmp_path: Path) -> None:
    service = started_by("milter-regex", "/usr/sbin/milter-regex -p unix:/a")
    assert texts(examine(tmp_path, service, {})) == [f"{UNIT}: mode 0600 lets nobody else connect to the socket"]


def test_the_file_of_pyspf_milter(tmp_path: Path) -> None:
    path = "/etc/pyspf-milter/pyspf-milter.conf"
    reading = examine(tmp_path, started_by("pyspf-milter", f"/usr/bin/pyspf-milter {path}"), {path: PYSPF}, DEBIAN)
    assert (socket(reading), place(reading), reading.user) == ("inet:8893@localhost", f"{path}:7", "pyspf-milter")


def test_the_command_line_names_the_file_of_pyspf_milter(tmp_path: Path) -> None:
    service = started_by("pyspf-milter", "/usr/bin/pyspf-milter -P /run/x.pid /etc/x.conf")
    assert socket(examine(tmp_path, service, {"/etc/x.conf": "Socket = local:/a"})) == "unix:/a"


def test_the_policy_server_of_the_same_source_is_no_milter() -> None:
    assert candidate(("policyd-spf", "pypolicyd-spf", "postfix-policyd-spf-python")) is None


@pytest.mark.parametrize(
    ("name", "platform", "path"),
    [("enma", REDHAT, "/etc/enma.conf"), ("milter-enma", FREEBSD, "/usr/local/etc/enma.conf")],
)
def test_the_file_of_enma(tmp_path: Path, name: str, platform: Platform, path: str) -> None:
    reading = examine(tmp_path, script(name), {path: ENMA}, platform)
    assert (socket(reading), place(reading)) == ("inet:10025@127.0.0.1", f"{path}:2")


@pytest.mark.parametrize("option", ["-o milter.socket=inet:1@x", "-omilter.socket=inet:1@x"])
def test_the_command_line_of_enma_counts_before_the_file(tmp_path: Path, option: str) -> None:
    service = started_by("enma", f"/usr/bin/enma {option} -c /etc/enma.conf")
    assert socket(examine(tmp_path, service, {"/etc/enma.conf": ENMA})) == "inet:1@x"


def test_a_unix_socket_of_smf_spf_is_not_used(tmp_path: Path) -> None:
    files = {"/etc/mail/smfs/smf-spf.conf": "RefuseFail on\nSocket unix:/var/run/smfs/smf-spf.sock # here\n"}
    reading = examine(tmp_path, started_by("smf-spf", "/usr/sbin/smf-spf"), files)
    assert why_not(reading).startswith("/etc/mail/smfs/smf-spf.conf:2: only its own user may connect to its socket")


def test_a_unix_socket_of_smf_spf_is_reported_all_the_same(tmp_path: Path) -> None:
    assert socket(examine(tmp_path, started_by("smf-spf", "smf-spf"), {})) == "unix:/run/smfs/smf-spf.sock"


def test_a_socket_of_smf_spf_on_the_net_is_used(tmp_path: Path) -> None:
    service = started_by("smf-spf", "/usr/sbin/smf-spf -f -c /etc/smf-spf.conf")
    reading = examine(tmp_path, service, {"/etc/smf-spf.conf": "Socket inet:8893@127.0.0.1\n"})
    assert (socket(reading), why_not(reading)) == ("inet:8893@127.0.0.1", "")


@pytest.mark.parametrize("name", [name for each in CANDIDATES for name in each.names])
@pytest.mark.parametrize("platform", [REDHAT, DEBIAN, FREEBSD])
def test_no_milter_fails_without_a_single_file(tmp_path: Path, name: str, platform: Platform) -> None:
    for service in (started_by(name, f"/usr/sbin/{name}"), script(name)):
        reading = examine(tmp_path, service, {}, platform)
        assert reading.connection_spec is None or reading.connection_spec.value.startswith(("unix:/", "inet"))


def test_no_name_belongs_to_two_milters() -> None:
    names = [name for each in CANDIDATES for name in each.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name", ["amavisd", "clamd", "postgrey", "postsrsd", "milter-manager", "opendkim-default-keygen"]
)
def test_what_is_no_milter_is_not_known(name: str) -> None:
    assert candidate((name,)) is None
