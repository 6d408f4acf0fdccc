"""What is written in two places says the same: the lock, the spec, the project's metadata."""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import source_archive
import wheels as pinned
from hypothesis import given
from hypothesis import strategies as st
from places import commands, filled, version

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "packaging/rpm/milter-manager.spec").read_text()
MACHINES = ("x86_64", "aarch64")


def test_every_run_time_package_of_the_project_is_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"(?ms)^dependencies = \[(.*?)^\]", text)
    extra = re.search(r"(?m)^dnsbl = \[(.*?)\]$", text)
    assert listed is not None
    wanted = set(re.findall(r'"([A-Za-z0-9_-]+)', listed[1] + (extra[1] if extra else "")))
    assert {wheel.name for wheel in pinned.read_lock()} == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_setproctitle_is_pinned_for_each_python_that_serves(machine: str) -> None:
    chosen = pinned.for_machine(pinned.read_lock(), machine)
    assert {wheel.python_tag for wheel in chosen if wheel.name == "setproctitle"} == {"cp39", "cp311", "cp312"}


def test_all_wheels_of_a_package_are_of_one_version() -> None:
    found = {(wheel.name, wheel.version) for wheel in pinned.read_lock()}
    assert len(found) == len({name for name, _ in found})


def test_a_machine_without_wheels_is_refused() -> None:
    with pytest.raises(pinned.WheelError, match="psutil, setproctitle is for riscv64"):
        pinned.for_machine(pinned.read_lock(), "riscv64")


def test_the_spec_has_the_pinned_wheels_as_sources() -> None:
    assert re.findall(r"(?m)^Source[1-9]\d: +(\S+)$", SPEC) == [wheel.file_name for wheel in pinned.read_lock()]


def test_the_spec_says_what_is_bundled() -> None:
    said = re.findall(r"(?m)^Provides: +bundled\(python3dist\(([\w-]+)\)\) = (\S+)$", SPEC)
    assert said == sorted({(wheel.name.replace("_", "-"), wheel.version) for wheel in pinned.read_lock()})


def test_the_spec_has_the_version_of_the_tree() -> None:
    assert f"Version:        {version()}\n" in source_archive.spec_text()


def test_the_commands_are_those_of_the_project() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python before 3.11 reads no TOML")
    assert commands() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_a_word_that_nobody_gave_is_noticed() -> None:
    with pytest.raises(KeyError):
        filled("a @nosuch@ b", {"other": ""})


def test_the_archive_has_all_that_the_build_needs(tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    source_archive.write_archive(target, 0)
    with tarfile.open(target) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"pyproject.toml", "LICENSE", "mmgr/config/spec.ini", "workers/main.py", "packaging/lay_out.py"}


def test_the_archive_depends_on_names_and_content_alone(tmp_path: Path) -> None:
    for number, tree in enumerate((tmp_path / "a", tmp_path / "b")):
        for name in sorted(("mmgr/__init__.py", "c", "b"), reverse=bool(number)):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text('__version__ = "1"\n')
            (tree / name).chmod(0o600 if number else 0o644)
            os.utime(tree / name, (number, number))
        source_archive.write_archive(tmp_path / f"{number}.tar.gz", 86400, tree)
    assert (tmp_path / "0.tar.gz").read_bytes() == (tmp_path / "1.tar.gz").read_bytes()


def test_the_archive_outside_of_git_has_nothing_that_is_made(tmp_path: Path) -> None:
    for name in ("mmgr/a.py", "mmgr/__pycache__/a.pyc", "build/b", ".venv/c", "x.egg-info/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert source_archive.names(tmp_path) == ["mmgr/a.py"]


@given(st.text(min_size=1, max_size=200))
def test_a_line_that_is_no_line_of_the_lock_is_refused(text: str) -> None:
    line = text.encode("ascii", "replace").decode().replace("\n", "?").replace("\r", "?")
    with pytest.raises(pinned.WheelError):
        pinned.read_lock(_Lines(line))


class _Lines:
    """Stands for a file with one line, so that a thousand of them need no disk."""

    def __init__(self, line: str) -> None:
        self._line = line

    def read_text(self, encoding: str) -> str:
        return f"{self._line}\n"


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "x-1.data/scripts/evil"])
def test_a_wheel_that_would_write_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(pinned.WheelError, match="it would write to"):
        pinned.unpack(wheel, tmp_path / "in")


def test_of_a_wheel_modules_metadata_and_licences_are_kept(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("x/__init__.py", "x-1.dist-info/METADATA", "x-1.dist-info/licenses/L", "x-1.dist-info/RECORD"):
            archive.writestr(name, "")
    (tmp_path / "x.whl").write_bytes(content.getvalue())
    pinned.unpack(tmp_path / "x.whl", tmp_path / "in")
    found = {str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert found == {"x/__init__.py", "x-1.dist-info/METADATA", "x-1.dist-info/licenses/L"}


def test_a_module_of_a_wheel_names_no_interpreter(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("x.py", "#!/usr/bin/env python\nx = 1\n")
    pinned.unpack(tmp_path / "x.whl", tmp_path / "in")
    assert (tmp_path / "in/x.py").read_text() == "#\nx = 1\n"
