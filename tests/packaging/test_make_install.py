"""``make install`` and ``make uninstall``: staged, from a virtual environment, over what was edited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import commands

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(110)]

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = "etc/milter-manager/milter-manager.conf"


def make(target: str, *values: str) -> str:
    done = subprocess.run(["make", target, *values], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(destdir: Path) -> set[str]:
    return {str(file.relative_to(destdir)) for file in destdir.rglob("*") if not file.is_dir()}


@pytest.fixture
def staged(wheels: Path, tmp_path: Path) -> Path:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local")
    return tmp_path


def test_what_make_install_puts_there_make_uninstall_takes_away(staged: Path) -> None:
    make("uninstall", f"DESTDIR={staged}", "PREFIX=/usr/local")
    assert installed(staged) == set()


def test_installing_twice_leaves_no_new_configuration(staged: Path) -> None:
    make("install", f"DESTDIR={staged}", "PREFIX=/usr/local")
    assert [name for name in installed(staged) if name.endswith(".new")] == []


def test_edited_configuration_stays_at_the_next_installation(staged: Path) -> None:
    (staged / CONFIGURATION).write_text("# mine\n")
    make("install", f"DESTDIR={staged}", "PREFIX=/usr/local")
    assert (staged / CONFIGURATION).read_text() == "# mine\n"


def test_edited_configuration_stays_when_the_rest_goes(staged: Path) -> None:
    (staged / CONFIGURATION).write_text("# mine\n")
    make("uninstall", f"DESTDIR={staged}", "PREFIX=/usr/local")
    assert installed(staged) == {CONFIGURATION}


def test_a_module_of_an_older_version_does_not_stay(staged: Path) -> None:
    old = staged / "usr/local/lib/milter-manager/mmgr/gone.py"
    old.touch()
    make("install", f"DESTDIR={staged}", "PREFIX=/usr/local")
    assert not old.exists()


def test_uninstalling_what_was_never_installed_removes_nothing(tmp_path: Path) -> None:
    mine = tmp_path / "usr/local/lib/milter-manager/mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    done = subprocess.run(["make", "uninstall", f"DESTDIR={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode != 0, mine.exists()) == (True, True)


def test_no_path_of_the_stage_is_left_in_a_text(staged: Path) -> None:
    files = [staged / name for name in installed(staged) if not name.endswith((".pyc", ".so"))]
    assert [file for file in files if not file.is_symlink() and str(staged).encode() in file.read_bytes()] == []


def test_the_unit_runs_what_was_installed(staged: Path) -> None:
    unit = (staged / "usr/local/lib/systemd/system/milter-manager.service").read_text()
    (command,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert (staged / command.partition("=")[2].split()[0].lstrip("/")).exists()


def test_from_a_virtual_environment_each_launcher_runs_its_command(tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local", f"PYTHON_ENV={sys.prefix}")
    there = [
        name for name in commands() if (Path(sys.prefix) / "bin" / name).exists()
    ]  # a new one comes with the next pip
    for name in ["milter-manager", *there]:
        (launcher,) = tmp_path.glob(f"usr/local/*bin/{name}")
        assert subprocess.run([str(launcher), "--help"], capture_output=True).returncode == 0


def test_a_launcher_without_its_virtual_environment_says_so(tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local", "PYTHON_ENV=/nonexistent/env")
    done = subprocess.run([str(tmp_path / "usr/local/sbin/milter-manager")], capture_output=True, text=True)
    assert (done.returncode, "/nonexistent/env" in done.stderr) == (69, True)


@pytest.fixture(scope="module")
def launcher(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher of a tree that is really at its place, with this Python."""
    prefix = tmp_path_factory.mktemp("prefix")
    command = [sys.executable, "-B", str(ROOT / "packaging/lay_out.py"), "install", "--wheels", str(wheels)]
    places = ["--prefix", str(prefix), "--sysconfdir", str(prefix / "etc"), "--python", sys.executable]
    subprocess.run([*command, *places], check=True)
    return prefix / "sbin/milter-manager"


def test_a_launcher_takes_no_module_from_where_it_is_called(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "mmgr.py").write_text("raise SystemExit('not ours')")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nonexistent"}
    done = subprocess.run([launcher, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("milter-manager 3.")


def test_a_launcher_takes_other_modules_from_its_own_tree(launcher: Path) -> None:
    vendor = launcher.parent.parent / "lib/milter-manager/vendor"
    (vendor / "configobj").rename(vendor / "away")
    (vendor / "configobj.py").write_text("raise ImportError('the one of the tree')")
    done = subprocess.run([launcher, "--version"], capture_output=True, text=True)
    (vendor / "configobj.py").unlink()
    (vendor / "away").rename(vendor / "configobj")
    assert (done.returncode, "milter-manager: the one of the tree" in done.stderr) == (69, True)


def test_a_launcher_without_any_of_its_pythons_says_which_it_wants(wheels: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(ROOT / "packaging/lay_out.py"), "install", "--wheels", str(wheels)]
    command += ["--prefix", str(tmp_path), "--sysconfdir", str(tmp_path / "etc"), "--python", "/nonexistent/python3.12"]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "sbin/milter-manager"], capture_output=True, text=True)
    assert (done.returncode, "/nonexistent/python3.12" in done.stderr) == (69, True)


def test_a_launcher_writes_no_byte_code(launcher: Path) -> None:
    subprocess.run([launcher, "--version"], check=True, capture_output=True)
    assert list(launcher.parent.parent.rglob("*.pyc")) == []
