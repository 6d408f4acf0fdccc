"""``milter-manager-import`` as it is run: directories, files, standard input; exit codes, and what is written where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmgr.config.loader import load
from tests.support.daemon import CHECKOUT

LEFT, USAGE = 1, 2

MAIN = """\
# -*- ruby -*-
load("applicable-conditions/*.conf")
load_default
load_if_exist("milter-manager.local.conf")
"""
LOCAL = """\
manager.connection_spec = "inet:10025@localhost"
manager.unix_socket_mode = 0660
define_milter("my") do |milter|
  milter.connection_spec = "unix:/var/run/my/my.sock"
  milter.applicable_conditions = ["S25R", "No Localhost"]
  milter.fallback_status = "temporary-failure"
end
s25r.add_whitelist(/\\.partner\\.example\\z/)
"""
OWN = """\
define_applicable_condition("No Localhost") do |condition|
  condition.description = "not from localhost"
  condition.define_connect_stopper do |context, host, address|
    host == "localhost"
  end
end
"""


def run(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "mmgr.cli.import_config", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, cwd=CHECKOUT, timeout=60)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A configuration directory of milter manager 2."""
    directory = tmp_path / "old"
    (directory / "applicable-conditions").mkdir(parents=True)
    (directory / "milter-manager.conf").write_text(MAIN)
    (directory / "milter-manager.local.conf").write_text(LOCAL)
    (directory / "applicable-conditions" / "own.conf").write_text(OWN)
    return directory


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A configuration directory of ours, empty."""
    directory = tmp_path / "new"
    directory.mkdir()
    return directory


def test_a_directory_becomes_a_configuration_that_is_read_back(old: Path, new: Path) -> None:
    done = run(old, "-o", new / "milter-manager.local.conf")
    assert (done.returncode, done.stdout) == (0, b"")
    config = load(str(new), {"package.detection": "no"}).config
    assert [(child.name, child.applicable_conditions) for child in config.children] == [
        ("my", ("S25R", "No Localhost"))
    ]


def test_every_value_says_where_it_comes_from(old: Path) -> None:
    text = run(old).stdout.decode()
    assert f"# from {old}/milter-manager.local.conf:2\nunix_socket_mode = 0660\n" in text


def test_a_statement_that_is_left_is_listed_and_the_exit_code_says_so(old: Path) -> None:
    local = old / "milter-manager.local.conf"
    local.write_text(LOCAL + "manager.daemon = ENV['DAEMON'] == 'yes'\n")
    done = run(old)
    assert done.returncode == LEFT
    assert f"{local}:9: manager.daemon = ENV['DAEMON'] == 'yes': ".encode() in done.stderr
    assert f"# NOT TRANSLATED: {local}:9: ".encode() in done.stdout


def test_remarks_are_left_out_when_asked(old: Path) -> None:
    assert run("--quiet", old).stderr == b""


def test_a_single_file_is_translated(old: Path) -> None:
    (old / "milter-manager.local.conf").write_text(LOCAL.replace(', "No Localhost"', ""))
    done = run(old / "milter-manager.local.conf")
    assert (done.returncode, b"[[my]]" in done.stdout) == (0, True)


def test_a_single_file_loads_files_beside_it(old: Path) -> None:
    (old / "milter-manager.local.conf").write_text('load("applicable-conditions/*.conf")\n')
    assert b'[["No Localhost"]]' in run(old / "milter-manager.local.conf").stdout


def test_standard_input_is_translated() -> None:
    done = run("-", given=b"manager.unix_socket_mode = 0600\n")
    assert (done.returncode, b"unix_socket_mode = 0600\n" in done.stdout) == (0, True)


def test_standard_input_loads_no_files_of_the_working_directory() -> None:
    done = run("-", given=b'load("README.md")\n')
    assert (done.returncode, b"there is no such file" in done.stderr) == (LEFT, True)


def test_a_file_that_is_there_is_not_overwritten(old: Path, new: Path) -> None:
    kept = new / "kept"
    kept.write_text("mine")
    done = run(old, "-o", kept)
    assert (done.returncode, kept.read_text(), b"is there already" in done.stderr) == (LEFT, "mine", True)


def test_a_file_that_is_there_is_overwritten_when_forced(old: Path, new: Path) -> None:
    kept = new / "kept"
    kept.write_text("mine")
    assert run(old, "-o", kept, "--force").returncode == 0
    assert "[[my]]" in kept.read_text()


def test_nothing_else_is_left_beside_the_output(old: Path, new: Path) -> None:
    run(old, "-o", new / "written")
    assert os.listdir(new) == ["written"]


def test_an_output_that_cannot_be_written_is_said(old: Path, new: Path) -> None:
    done = run(old, "-o", new / "missing" / "file")
    assert (done.returncode, b"missing/file: can't be written: " in done.stderr) == (LEFT, True)


OURS = "[manager]\nconnection_spec = inet:10025\n"


def upgraded(old: Path) -> Path:
    """The directory as rpm leaves it: the main file that nobody edited is the new one."""
    (old / "milter-manager.conf").write_text((CHECKOUT / "etc" / "milter-manager.conf").read_text())
    return old


def test_the_local_file_is_translated_where_the_main_file_is_ours_already(old: Path) -> None:
    done = run(upgraded(old))
    assert (done.returncode, b"[[my]]" in done.stdout) == (0, True)


def test_conditions_of_ones_own_are_translated_where_the_main_file_is_ours_already(old: Path) -> None:
    assert b'[["No Localhost"]]' in run(upgraded(old)).stdout


@pytest.mark.parametrize("suffix", [".ruby", ".rpmsave", ".rpmorig"])
def test_a_local_file_that_was_moved_away_is_translated_and_named(old: Path, suffix: str) -> None:
    local = upgraded(old) / "milter-manager.local.conf"
    moved = local.rename(f"{local}{suffix}")
    done = run(old)
    assert (b"[[my]]" in done.stdout, f"{moved} is read".encode() in done.stderr) == (True, True)


def test_the_moved_file_is_read_where_a_local_file_of_ours_has_its_place(old: Path) -> None:
    local = upgraded(old) / "milter-manager.local.conf"
    local.rename(f"{local}.ruby")
    local.write_text(OURS)
    assert b"[[my]]" in run(old).stdout


def test_a_main_file_that_was_moved_away_is_translated_and_named(old: Path) -> None:
    (old / "milter-manager.conf").rename(old / "milter-manager.conf.rpmsave")
    with (old / "milter-manager.conf.rpmsave").open("a") as file:
        file.write("manager.unix_socket_mode = 0600\n")
    done = run(upgraded(old))
    assert (b"unix_socket_mode = 0600\n" in done.stdout, b"milter-manager.conf.rpmsave:1: " in done.stderr) == (
        True,
        True,
    )


def test_the_file_that_rpm_brought_is_not_taken_for_an_old_one(old: Path) -> None:
    (upgraded(old) / "milter-manager.local.conf").rename(old / "milter-manager.local.conf.rpmnew")
    assert b"[[my]]" not in run(old).stdout


@pytest.mark.parametrize("source", [".", "milter-manager.local.conf"])
def test_what_is_translated_is_never_overwritten(old: Path, source: str) -> None:
    local = old / "milter-manager.local.conf"
    done = run("--force", old / source, "-o", local)
    assert (done.returncode, local.read_text(), b"is part of SOURCE" in done.stderr) == (LEFT, LOCAL, True)


def test_what_is_translated_is_never_overwritten_by_way_of_a_link(old: Path, new: Path) -> None:
    (new / "link").symlink_to(old)
    run("--force", old, "-o", new / "link" / "milter-manager.local.conf")
    assert (old / "milter-manager.local.conf").read_text() == LOCAL


def test_a_file_stays_when_nothing_could_be_translated(new: Path) -> None:
    kept = new / "kept"
    kept.write_text("mine")
    source = new / "source"
    source.write_text("daemon_of(:mail)\n")
    done = run("--force", source, "-o", kept)
    assert (done.returncode, kept.read_text(), b"kept stays as it is" in done.stderr) == (LEFT, "mine", True)


BAD_SOURCES = [
    (b"\x7fELF\0\0\0", ":1: there is a NUL byte"),
    (b"a = 1\nb = 'open", ":2: "),
    (b"define_milter('a') do |m|\n" * 10000, ":10000: 'do' is never closed"),
    (b"x = " + b"[" * 10000 + b"]" * 10000, ":1: x = [["),
    (b"manager.pid_file = '\xe9'\n", ":1: manager.pid_file = '"),
    (b"#" * 1_048_577, ": is larger than 1048576 bytes"),
    (b"\xff\xfe\x01\x02", ":1: "),
]


@pytest.mark.parametrize(("data", "message"), BAD_SOURCES, ids=[message for _, message in BAD_SOURCES])
def test_a_bad_file_is_said_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    source = tmp_path / "bad.conf"
    source.write_bytes(data)
    done = run(source)
    assert done.returncode == LEFT
    assert f"{source}{message}" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_directory_without_a_main_file_is_said(new: Path) -> None:
    done = run(new)
    assert (done.returncode, b"milter-manager.conf: is not in the directory" in done.stderr) == (LEFT, True)


def test_a_source_that_is_not_there_is_said(new: Path) -> None:
    done = run(new / "missing.conf")
    assert (done.returncode, b"missing.conf: can't be read: No such file or directory" in done.stderr) == (LEFT, True)


def test_a_fifo_is_refused_at_once(new: Path) -> None:
    os.mkfifo(new / "fifo")
    assert b"is not an ordinary file" in run(new / "fifo").stderr


def test_an_unknown_option_is_a_matter_of_usage() -> None:
    assert run("--nonsense").returncode == USAGE


def test_a_reader_that_has_gone_is_no_error(old: Path) -> None:
    command = f"{sys.executable} -m mmgr.cli.import_config -q {old} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=CHECKOUT, timeout=60)
    assert done.stderr == b""
