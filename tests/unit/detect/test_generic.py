"""``mmgr.detect.generic``: milters that nobody knows, and things that look like milters and are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.detection import detect

from .trees import Content, by_name, enabled, plant, socket, socket_where

VENDOR = "/usr/lib/systemd/system"


def units(root: Path, *given: tuple[str, str, str], **files: Content) -> Path:
    """A tree with enabled units: name, description, further lines of [Service]."""
    planted: dict[str, Content] = {"/etc/os-release": "ID=centos\nVERSION_ID=8\n"}
    for name, description, lines in given:
        unit = f"[Unit]\nDescription={description}\n[Service]\n{lines}\n"
        planted.update({f"{VENDOR}/{name}.service": unit, **enabled(f"{name}.service")})
    plant(root, {**planted, **{f"/etc/sysconfig/{name}": content for name, content in files.items()}})
    return root


def names(root: Path, **options: str) -> list[str]:
    return [each.name for each in detect(str(root), options=options).milters]


@pytest.mark.parametrize(
    ("command", "spec"),
    [
        ("/x -p unix:/run/x.sock", "unix:/run/x.sock"),
        ("/x -p /run/x/sock -d", "unix:/run/x/sock"),
        ("/x -plocal:/run/x.sock", "unix:/run/x.sock"),
        ("/x -p=inet:1234@localhost", "inet:1234@localhost"),
        ("/x -s inet:1234@127.0.0.1", "inet:1234@127.0.0.1"),
        ("/x --socket=inet6:1234@[::1]", "inet6:1234@[::1]"),
        ("/x --milter-socket local:/var/run/x.sock", "unix:/run/x.sock"),
        ("/x -p /run/1 -p /run/2", "unix:/run/2"),
        ("/x -p /run/x.pid -s /run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_a_milter_with_a_socket_on_its_command_line_is_found(tmp_path: Path, command: str, spec: str) -> None:
    root = units(tmp_path, ("x-milter", "X", f"ExecStart={command}"))
    milter = by_name(detect(str(root)))["x-milter"]
    assert (socket(milter), socket_where(milter)) == (spec, f"{VENDOR}/x-milter.service:4")


def test_a_command_that_a_shell_runs_is_looked_into(tmp_path: Path) -> None:
    lines = "Environment=A=/run/a.sock\nExecStart=/bin/sh -c 'umask 7; exec /x -p $$A'"
    milter = by_name(detect(str(units(tmp_path, ("x-milter", "X", lines)))))["x-milter"]
    assert (socket(milter), socket_where(milter)) == ("unix:/run/a.sock", f"{VENDOR}/x-milter.service:4")


def test_a_milter_is_known_by_its_description_too(tmp_path: Path) -> None:
    assert names(units(tmp_path, ("x", "The X Milter daemon", "ExecStart=/x -p unix:/s"))) == ["x"]


@pytest.mark.parametrize("variable", ["SOCKET", "MILTER_SOCKET", "CONNECTION_SPEC"])
def test_a_socket_in_a_settings_file_is_found_with_its_line(tmp_path: Path, variable: str) -> None:
    lines = "EnvironmentFile=-/etc/sysconfig/x\nExecStart=/x"
    root = units(tmp_path, ("x-milter", "X", lines), x=f"# x\n{variable}=inet:1@localhost\n")
    assert socket_where(by_name(detect(str(root)))["x-milter"]) == "/etc/sysconfig/x:2"


def test_a_socket_on_the_command_line_wins_over_a_variable(tmp_path: Path) -> None:
    lines = "Environment=SOCKET=unix:/1\nExecStart=/x -p unix:/2"
    assert socket(by_name(detect(str(units(tmp_path, ("x-milter", "X", lines)))))["x-milter"]) == "unix:/2"


@pytest.mark.parametrize(
    "lines",
    [
        "ExecStart=/x -p /run/x.pid",
        "ExecStart=/x -p 10024",
        "ExecStart=/x -p",
        "ExecStart=/x -s relative",
        "ExecStart=/x -p unix:relative",
        "Environment=SOCKET=/etc/x.conf\nExecStart=/x",
        "",
    ],
)
def test_without_a_socket_nothing_is_a_milter_by_its_name_alone(tmp_path: Path, lines: str) -> None:
    assert names(units(tmp_path, ("x-milter", "X", lines))) == []


def test_a_socket_alone_makes_no_milter(tmp_path: Path) -> None:
    assert names(units(tmp_path, ("x", "Some daemon", "ExecStart=/x -p unix:/run/x.sock"))) == []


def test_a_service_that_the_configuration_names_needs_not_say_milter(tmp_path: Path) -> None:
    root = units(tmp_path, ("x", "Some daemon", "ExecStart=/x -p unix:/run/x.sock"), ("y", "Y", "ExecStart=/y"))
    assert names(root, names="x other") == ["x"]


def test_a_service_that_the_configuration_names_is_shown_without_a_socket(tmp_path: Path) -> None:
    root = units(tmp_path, ("x", "Some daemon", "ExecStart=/x"))
    milter = by_name(detect(str(root), options={"names": "x"}))["x"]
    assert (milter.is_enabled.value, milter.why_not) == (False, "nothing says where it listens")


NO_MILTERS = [
    ("pypolicyd-spf", "SPF policy server", "ExecStart=/usr/libexec/postfix/policyd-spf -s /run/x"),
    ("clamd@scan", "clamd for the milter", "ExecStart=/usr/sbin/clamd -p unix:/run/clamd.scan/clamd.sock"),
    ("amavisd", "amavisd, with a milter", "ExecStart=/usr/sbin/amavisd -p unix:/run/amavisd/amavisd.sock"),
    ("postsrsd", "SRS for milters", "ExecStart=/usr/sbin/postsrsd -s unix:/run/postsrsd/socket"),
    ("mimedefang-multiplexor", "MIMEDefang milter", "ExecStart=/usr/bin/mimedefang-multiplexor -s /run/mx.sock"),
    ("postgrey", "no milter", "ExecStart=/usr/sbin/postgrey --socket=unix:/run/postgrey"),
]


@pytest.mark.parametrize("unit", NO_MILTERS, ids=lambda unit: unit[0])
def test_what_looks_like_a_milter_and_is_none_is_left_out(tmp_path: Path, unit: tuple[str, str, str]) -> None:
    assert names(units(tmp_path, unit)) == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("milter-manager", "/usr/sbin/anything -s unix:/run/milter-manager/milter-manager.sock"),
        ("milter-manager@second", "/usr/sbin/milter-manager -s unix:/run/second.sock"),
        ("our-milter", "/usr/sbin/milter-manager -s unix:/run/second.sock"),
    ],
)
def test_we_are_not_a_milter_of_our_own(tmp_path: Path, name: str, command: str) -> None:
    root = units(tmp_path, (name, "milter manager", f"ExecStart={command}"))
    assert names(root, names="milter-manager our-milter") == []


def test_unknown_milters_come_last_by_name(tmp_path: Path) -> None:
    root = units(
        tmp_path,
        ("a-milter", "A", "ExecStart=/a -p unix:/a"),
        ("z-milter", "Z", "ExecStart=/z -p unix:/z"),
        ("rspamd", "R", "ExecStart=/usr/bin/rspamd"),
        ("b-milter", "B", "ExecStart=/b -p unix:/b"),
    )
    assert [name for name in names(root) if name != "rspamd"] == ["a-milter", "b-milter", "z-milter"]


def test_an_unknown_milter_has_no_conditions(tmp_path: Path) -> None:
    root = units(tmp_path, ("a-milter", "A", "ExecStart=/a -p unix:/a"))
    assert by_name(detect(str(root)))["a-milter"].conditions == ()


def test_a_script_of_an_unknown_milter_is_found(tmp_path: Path) -> None:
    script = "#!/bin/sh\n# description: The X milter\nOPTIONS='-p unix:/run/x'\n"
    plant(tmp_path, {"/etc/os-release": "ID=centos\nVERSION_ID=6\n", "/etc/init.d/x": script})
    assert socket(by_name(detect(str(tmp_path)))["x"]) == "unix:/run/x"
