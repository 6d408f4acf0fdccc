from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.candidate import Reading

from ..trees import Content
from .services import FREEBSD, examine, place, socket, started_by, texts, why_not

COMMAND = "/usr/bin/rspamd -c /etc/rspamd/rspamd.conf -f"
LOCAL = "/etc/rspamd/local.d/worker-proxy.inc"
OVERRIDE = "/etc/rspamd/override.d/worker-proxy.inc"
DEFAULT = "/etc/rspamd/worker-proxy.inc"
PACKAGED: dict[str, Content] = {
    "/etc/rspamd/rspamd.conf": """
        # System V init adopted top level configuration
        .include "$CONFDIR/common.conf"

        options {
            pidfile = "$RUNDIR/rspamd.pid";
            .include "$CONFDIR/options.inc"
        }

        worker "normal" {
            bind_socket = "localhost:11333";
            .include "$CONFDIR/worker-normal.inc"
            .include(try=true; priority=1,duplicate=merge) "$LOCAL_CONFDIR/local.d/worker-normal.inc"
            .include(try=true; priority=10) "$LOCAL_CONFDIR/override.d/worker-normal.inc"
        }

        worker "rspamd_proxy" {
            bind_socket = "localhost:11332";
            .include "$CONFDIR/worker-proxy.inc"
            .include(try=true; priority=1,duplicate=merge) "$LOCAL_CONFDIR/local.d/worker-proxy.inc"
            .include(try=true; priority=10) "$LOCAL_CONFDIR/override.d/worker-proxy.inc"
        }
    """,
    "/etc/rspamd/common.conf": """
        lua = "$RULESDIR/rspamd.lua"
        .include(try=true) "$LOCAL_CONFDIR/rspamd.conf.local"
        .include(try=true,priority=10) "$LOCAL_CONFDIR/rspamd.conf.override"
        modules {
          path = "${PLUGINSDIR}";
          try_path = "${LOCAL_CONFDIR}/plugins.d/"; # User plugins
        }
    """,
    "/etc/rspamd/worker-normal.inc": "count = 4;",
    DEFAULT: """
        milter = yes; # Enable milter mode
        timeout = 120s; # Needed for Milter usually
        upstream "local" {
          default = yes;
          hosts = "localhost";
        }
        count = 1; # Do not spawn too many processes of this type
    """,
}


def read(root: Path, files: dict[str, Content], command: str = COMMAND, user: str = "_rspamd") -> Reading:
    return examine(root, started_by("rspamd", command, user), {**PACKAGED, **files})


def test_the_packaged_configuration_listens_on_its_port(tmp_path: Path) -> None:
    reading = read(tmp_path, {})
    assert (socket(reading), place(reading)) == ("inet:11332@localhost", "/etc/rspamd/rspamd.conf:17")


def test_the_packaged_configuration_has_no_fault(tmp_path: Path) -> None:
    assert (texts(read(tmp_path, {})), why_not(read(tmp_path / "again", {}))) == ([], "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('bind_socket = "/run/rspamd/milter.sock mode=0660 owner=_rspamd";', "unix:/run/rspamd/milter.sock"),
        ('bind_socket = "$RUNDIR/milter.sock mode=0666";', "unix:/run/rspamd/milter.sock"),
        ("bind_socket = /var/run/rspamd/milter.sock mode=0666", "unix:/run/rspamd/milter.sock"),
        ('bind_socket = "*:11332";', "inet:11332@localhost"),
        ('bind_socket = "[::]:11332";', "inet6:11332@[::1]"),
        ('bind_socket = ["127.0.0.1:9900", "/run/b.sock mode=0666"];', "inet:9900@127.0.0.1"),
        ('bind_socket = "/run/a mode=0660"; bind_socket = "*:1";', "unix:/run/a"),
        ('bind_socket = "systemd:0"; bind_socket = "*:9900";', "inet:9900@localhost"),
    ],
)
def test_local_d_says_the_socket(tmp_path: Path, text: str, expected: str) -> None:
    reading = read(tmp_path, {LOCAL: text})
    assert (socket(reading), place(reading)) == (expected, f"{LOCAL}:1")


def test_override_d_counts_before_local_d(tmp_path: Path) -> None:
    reading = read(tmp_path, {LOCAL: 'bind_socket = "*:1"', OVERRIDE: '\nbind_socket = "*:2"'})
    assert (socket(reading), place(reading)) == ("inet:2@localhost", f"{OVERRIDE}:1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("milter = no;", "the worker rspamd_proxy is no milter (milter = no)"),
        ("count = 0;", "the worker rspamd_proxy has no processes (count = 0)"),
        ("count = -1;", "the worker rspamd_proxy has no processes (count = -1)"),
        ("enabled = false;", "the worker rspamd_proxy is switched off (enabled = false)"),
    ],
)
def test_a_worker_that_is_no_milter_says_why(tmp_path: Path, text: str, reason: str) -> None:
    assert why_not(read(tmp_path, {LOCAL: text})) == f"{LOCAL}:1: {reason}"


def test_without_the_milter_setting_it_is_no_milter(tmp_path: Path) -> None:
    reading = read(tmp_path, {DEFAULT: "count = 1;"})
    assert why_not(reading) == "/etc/rspamd/rspamd.conf:17: the worker rspamd_proxy has no milter = yes"


def test_without_a_proxy_it_is_no_milter(tmp_path: Path) -> None:
    reading = read(tmp_path, {"/etc/rspamd/rspamd.conf": 'worker "normal" { bind_socket = "*:11333"; }'})
    assert why_not(reading) == "/etc/rspamd/rspamd.conf: there is no worker rspamd_proxy"


def test_of_two_proxies_the_one_that_is_a_milter_counts(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "/etc/rspamd/rspamd.conf.local": 'worker "rspamd_proxy" { bind_socket = "/a"; milter = no }'
    }
    assert socket(read(tmp_path, files)) == "inet:11332@localhost"


@pytest.mark.parametrize(
    "text",
    [
        'worker "rspamd_proxy" { bind_socket = "/k"; milter = yes }',
        'worker { type = "rspamd_proxy"; bind_socket = "/k"; milter = yes }',
        "worker { rspamd_proxy { bind_socket = /k\nmilter = on } }",
    ],
)
def test_rspamd_conf_override_takes_the_place_of_all_workers(tmp_path: Path, text: str) -> None:
    assert socket(read(tmp_path, {"/etc/rspamd/rspamd.conf.override": text})) == "unix:/k"


def test_the_command_line_sets_variables(tmp_path: Path) -> None:
    files: dict[str, Content] = {"/srv/r/local.d/worker-proxy.inc": 'bind_socket = "$RUNDIR/m.sock"'}
    command = f"{COMMAND} --var=LOCAL_CONFDIR=/srv/r --var RUNDIR=/srv/run"
    assert socket(read(tmp_path, files, command)) == "unix:/srv/run/m.sock"


def test_a_glob_draws_in_many_files(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        LOCAL: '.include(glob=true) "/etc/p/*.conf"',
        "/etc/p/a.conf": "bind_socket = /a",
        "/etc/p/b.txt": "x",
    }
    assert (
        place(
            read(
                tmp_path,
                {
                    **files,
                    DEFAULT: "milter = yes",
                    "/etc/rspamd/rspamd.conf": (
                        'worker "rspamd_proxy" { milter = yes; .include "/etc/rspamd/local.d/worker-proxy.inc" }'
                    ),
                },
            )
        )
        == "/etc/p/a.conf:1"
    )


@pytest.mark.parametrize(
    ("socket_text", "group"),
    [
        ('"/a mode=0660 group=mail"', "mail"),
        ('"/a mode=0660 owner=postfix"', "postdrop"),
        ('"/a mode=0660"', "_rspamd"),
        ('"*:11332"', ""),
    ],
)
def test_the_group_is_that_of_the_socket(tmp_path: Path, socket_text: str, group: str) -> None:
    accounts: dict[str, Content] = {
        "/etc/passwd": "_rspamd:x:1:2::/:/\npostfix:x:3:4::/:/\n",
        "/etc/group": "_rspamd:x:2:\npostdrop:x:4:\n",
    }
    assert read(tmp_path, {LOCAL: f"bind_socket = {socket_text}", **accounts}).socket_group == group


@pytest.mark.parametrize(("text", "mode"), [("/a mode=0600", "0600"), ("/a", "0644"), ("/a,mode=0644", "0644")])
def test_a_mode_that_shuts_everybody_out_is_reported(tmp_path: Path, text: str, mode: str) -> None:
    assert texts(read(tmp_path, {LOCAL: f'bind_socket = "{text}"'})) == [
        f"{LOCAL}:1: mode {mode} lets nobody else connect to the socket"
    ]


def test_a_socket_that_systemd_hands_over_is_reported(tmp_path: Path) -> None:
    reading = read(tmp_path, {LOCAL: 'bind_socket = "systemd:0"'})
    assert (socket(reading), len(texts(reading))) == ("", 1)


def test_a_fault_is_reported_with_its_line(tmp_path: Path) -> None:
    assert texts(read(tmp_path, {LOCAL: "timeout = 60s;\n{ broken\n"})) == [f"{LOCAL}:2: '{{' begins no key"]


def test_a_fault_does_not_hide_what_stands_behind_it(tmp_path: Path) -> None:
    assert socket(read(tmp_path, {LOCAL: '{ broken\nbind_socket = "/a"\n'})) == "unix:/a"


def test_a_file_that_includes_itself_is_reported(tmp_path: Path) -> None:
    text = f'.include "{LOCAL}"\n.include "{LOCAL}"\nbind_socket = "/a"\n'
    assert any("more than 300 files" in each for each in texts(read(tmp_path, {LOCAL: text})))


def test_a_missing_file_is_reported_unless_it_may_be_missing(tmp_path: Path) -> None:
    text = '.include "/etc/none"\n.include(try=true) "/etc/none"\n.try_include "/etc/none"\n'
    assert texts(read(tmp_path, {LOCAL: text})) == [f"{LOCAL}:1: included: /etc/none: there is no such file"]


def test_a_main_file_that_can_not_be_read_leaves_the_package_s_socket(tmp_path: Path) -> None:
    reading = read(tmp_path, {"/etc/rspamd/rspamd.conf": None})
    assert (socket(reading), place(reading)) == ("inet:11332@localhost", "the package's default")


def test_bytes_that_are_no_utf_8_do_no_harm(tmp_path: Path) -> None:
    assert socket(read(tmp_path, {LOCAL: b'# caf\xe9\nbind_socket = "/a"\n'})) == "unix:/a"


def test_the_files_of_freebsd_lie_below_usr_local(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "/usr/local/etc/rspamd/rspamd.conf": 'worker "rspamd_proxy" { .include "$CONFDIR/x.inc" }',
        "/usr/local/etc/rspamd/x.inc": "milter = yes; bind_socket = *:1",
    }
    reading = examine(tmp_path, started_by("rspamd", "/usr/local/bin/rspamd"), files, FREEBSD)
    assert place(reading) == "/usr/local/etc/rspamd/x.inc:1"
