"""Manual pages say what the commands say, and completion knows what they know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import commands
from rpm_lab import need

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/man").glob("*.[1-8]"))


def test_the_manual_pages_are_as_the_commands_say() -> None:
    command = [sys.executable, "-B", str(ROOT / "packaging/manual.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_manual_page_is_sound(page: Path) -> None:
    need("groff")
    done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", str(page)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_has_a_manual_page() -> None:
    assert {page.stem for page in PAGES} == set(commands())


def completed(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    script = r"""
        source "$0" 2>/dev/null
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); compopt() { :; }
        _milter_manager "$1"; printf '%s\n' "${COMPREPLY[@]}"
    """
    program = str(Path(sys.executable).parent / words[0])
    command = ["bash", "-c", script, str(ROOT / "packaging/completion/milter-manager"), program, *words[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_options_are_completed() -> None:
    assert completed("milter-manager", "--show-c") == ["--show-config"]


def test_subcommands_are_completed() -> None:
    assert completed("milter-managerctl", "sta") == ["status"]


def test_kinds_of_sockets_are_completed() -> None:
    assert completed("milter-test-server", "-s", "uni") == ["unix:"]


def test_directories_are_completed_for_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "configuration").mkdir()
    assert completed("milter-manager", "-c", f"{tmp_path}/conf") == [f"{tmp_path}/configuration"]
