"""A configuration with faults starts nothing and says all of them; one without is checked and shown."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import CHECKOUT, Manager
from tests.support.processes import LabDirectory

USAGE, FAILURE, EX_CONFIG = 2, 1, 78

BROKEN = """\
[manager]
connection_spec = unixx:/run/x.sock
unix_socket_mode = 0999
no_such_key = 1
[workers]
n_workers = many
[no_such_section]
key = 1
[milters]
  [[one]]
  enabled = perhaps
  [[two]]
  connection_spec = inet:99999@host
"""
FAULTS = [
    (2, "manager.connection_spec"),
    (3, "manager.unix_socket_mode"),
    (4, "manager.no_such_key"),
    (6, "workers.n_workers"),
    (7, "no_such_section"),
    (10, "milters.one.connection_spec"),
    (11, "milters.one.enabled"),
    (13, "milters.two.connection_spec"),
]


def run(manager: Manager, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The daemon's command with further arguments, to its end."""
    return subprocess.run([*manager.command(), *arguments], capture_output=True, text=True, cwd=CHECKOUT, timeout=60)


@pytest.fixture
def manager(lab: LabDirectory) -> Iterator[Manager]:
    """A manager that is configured well and was not started."""
    made = Manager(lab.subdirectory("configured"), {"c1": "inet:10025@127.0.0.1"})
    yield made
    made.kill()


@pytest.fixture
def broken(manager: Manager) -> Manager:
    """One with eight faults in its configuration."""
    main_file(manager).write_text(BROKEN, "utf-8")
    return manager


def main_file(manager: Manager) -> Path:
    return manager.config_directory / "milter-manager.conf"


@pytest.fixture(scope="module")
def told(lab: LabDirectory) -> str:
    """What is told of the eight faults."""
    manager = Manager(lab.subdirectory("broken"))
    main_file(manager).write_text(BROKEN, "utf-8")
    return run(manager).stderr


@pytest.mark.parametrize(("line", "key"), FAULTS)
def test_each_fault_is_told_with_its_file_and_line_and_key(told: str, line: int, key: str) -> None:
    assert f"/milter-manager.conf:{line}: {key}" in told


def test_no_more_faults_are_told_than_there_are(told: str) -> None:
    assert told.count("milter-manager: error: ") == len(FAULTS)


def test_a_broken_configuration_ends_with_exit_code_78(broken: Manager) -> None:
    assert run(broken).returncode == EX_CONFIG


def test_a_broken_configuration_starts_nothing(broken: Manager) -> None:
    broken.spawn()
    assert broken.wait() == EX_CONFIG
    broken.assert_nothing_left()


def test_a_broken_configuration_makes_no_socket(manager: Manager) -> None:
    manager.write_config({"c1": {"connection_spec": "nonsense"}})
    run(manager)
    assert manager.socket_path is not None
    assert not manager.socket_path.exists()


def test_no_traceback_is_shown_for_a_broken_configuration(broken: Manager) -> None:
    assert "Traceback" not in run(broken).stderr


def test_faults_of_several_files_are_told_together(manager: Manager) -> None:
    manager.write_config({}, extra_config="[log]\nlevel = loud\n")
    drop_in = manager.config_directory / "conf.d"
    drop_in.mkdir()
    (drop_in / "10-more.conf").write_text("[manager]\nmeaningless = 1\n", "utf-8")
    told = run(manager).stderr
    assert f"{main_file(manager)}:" in told
    assert f"{drop_in / '10-more.conf'}:2: manager.meaningless" in told


def test_what_is_no_text_is_a_fault_of_that_file(manager: Manager) -> None:
    main_file(manager).write_bytes(b"[manager]\n\xff\xfe = \x00\n")
    ended = run(manager)
    assert (ended.returncode, str(main_file(manager)) in ended.stderr) == (EX_CONFIG, True)


# --check-config


def test_check_config_of_a_good_configuration_ends_with_0(manager: Manager) -> None:
    assert run(manager, "--check-config").returncode == 0


def test_check_config_starts_nothing(manager: Manager) -> None:
    run(manager, "--check-config")
    assert manager.socket_path is not None
    assert not manager.socket_path.exists()


def test_check_config_tells_of_a_socket_on_which_nobody_listens(manager: Manager) -> None:
    manager.write_config({"gone": "unix:/nonexistent/m.sock"})
    ended = run(manager, "--check-config")
    fault = "milters.gone.connection_spec: unix:/nonexistent/m.sock can't be connected: No such file or directory"
    assert (ended.returncode, fault in ended.stderr) == (0, True)


def test_check_config_of_a_broken_configuration_ends_with_78_and_tells_the_faults(broken: Manager) -> None:
    ended = run(broken, "--check-config")
    assert ended.returncode == EX_CONFIG
    assert ended.stderr.count("milter-manager: error: ") == len(FAULTS)


# --show-config


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


EVERY_KIND_OF_VALUE = """\
[manager]
connection_spec = unix:/run/mm.sock, inet6:10025@[::1]
unix_socket_mode = 0666
envelope_dispatch = sequential
spool_directory = /var/tmp/with blanks
[workers]
n_workers = 7
drain_timeout = 1.5
[milters]
  [[c1]]
  connection_spec = inet:10026@127.0.0.1
  description = "a, b # c"
  evaluation_mode = yes
  [[c-2]]
  connection_spec = unix:/run/a.sock, inet6:1@[::1]
  fallback_status = discard
  enabled = no
"""


def test_show_config_read_back_shows_the_same(manager: Manager) -> None:
    main_file(manager).write_text(EVERY_KIND_OF_VALUE, "utf-8")
    first = run(manager, "--show-config")
    assert first.returncode == 0, first.stderr
    main_file(manager).write_text(first.stdout, "utf-8")
    second = run(manager, "--show-config")
    assert without_comments(second.stdout) == without_comments(first.stdout)


def test_show_config_says_where_a_value_came_from(manager: Manager) -> None:
    shown = run(manager, "--show-config").stdout.splitlines()
    comment_over = {line.partition(" = ")[0]: above for above, line in zip(shown, shown[1:])}
    assert comment_over["envelope_dispatch"] == "# default"
    assert comment_over["n_workers"] == "# command line"
    assert comment_over["use_syslog"] == f"# {main_file(manager)}:5"


def test_show_config_of_a_broken_configuration_ends_with_78_and_shows_nothing(broken: Manager) -> None:
    ended = run(broken, "--show-config")
    assert (ended.returncode, ended.stdout) == (EX_CONFIG, "")


# The command line


def test_a_directory_that_does_not_exist_is_a_fault_that_names_it(manager: Manager) -> None:
    ended = run(manager, "-c", "/nonexistent/etc")
    assert ended.returncode == EX_CONFIG
    assert "/nonexistent/etc" in ended.stderr


def test_a_file_for_a_directory_is_a_fault_that_names_it(manager: Manager) -> None:
    ended = run(manager, "-c", str(main_file(manager)))
    assert ended.returncode == EX_CONFIG
    assert str(main_file(manager)) in ended.stderr


def test_an_unknown_option_is_a_matter_of_usage(manager: Manager) -> None:
    ended = run(manager, "--no-such-option")
    assert ended.returncode == USAGE
    assert "--no-such-option" in ended.stderr


@pytest.mark.parametrize("spec", ["bogus", "unix:", "inet:", "inet:port@host", "inet:70000", "http://x", ""])
def test_an_unusable_socket_on_the_command_line_ends_with_1(manager: Manager, spec: str) -> None:
    ended = run(manager, "-s", spec)
    assert ended.returncode == FAILURE
    assert ended.stderr.startswith("milter-manager: -s: ")


@pytest.mark.parametrize("option", ["--event-loop-backend", "--packet-buffer-size", "--max-pending-finished-sessions"])
def test_an_old_option_without_a_meaning_is_taken_with_a_warning(manager: Manager, option: str) -> None:
    ended = run(manager, option, "1", "--check-config")
    assert ended.returncode == 0
    assert f"warning: option {option} has no effect" in ended.stderr


@pytest.mark.parametrize(("user", "reason"), [("root", "root"), ("nobody-here", "there is no user nobody-here")])
def test_a_user_that_can_not_be_taken_ends_with_1(manager: Manager, user: str, reason: str) -> None:
    ended = run(manager, "-u", user)
    assert ended.returncode == FAILURE
    assert reason in ended.stderr


def test_a_group_that_does_not_exist_ends_with_1(manager: Manager) -> None:
    ended = run(manager, "-g", "no-such-group")
    assert ended.returncode == FAILURE
    assert "there is no group no-such-group" in ended.stderr


def test_the_version_is_shown(manager: Manager) -> None:
    ended = run(manager, "--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith("milter-manager ")


def test_a_user_and_a_group_that_are_not_there_are_both_told(manager: Manager) -> None:
    done = run(manager, "--check-config", "-u", "no-such-user", "-g", "no-such-group")
    assert (done.returncode, done.stderr.count("there is no user"), done.stderr.count("no group")) == (EX_CONFIG, 1, 1)


def test_a_root_that_is_no_directory_is_a_fault_that_names_it(manager: Manager) -> None:
    done = run(manager, "--show-config", "--root", "/no/such/tree")
    assert (done.returncode, "'/no/such/tree' is not a directory" in done.stderr) == (EX_CONFIG, True)
