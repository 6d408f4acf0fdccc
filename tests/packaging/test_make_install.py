"""``make install`` and ``make uninstall``: staged, from a virtual environment, over what was edited."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="module")
def stage(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that is only copied."""
    made = tmp_path_factory.mktemp("stage")
    make("install", f"DESTDIR={made}", "PREFIX=/usr/local")
    return made


@pytest.fixture
def staged(stage: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test; no path of the stage is in it, as a test holds."""
    return shutil.copytree(stage, tmp_path, symlinks=True, dirs_exist_ok=True)


def test_what_make_install_puts_there_make_uninstall_takes_away(staged: Path) -> None:
    make("uninstall", f"DESTDIR={staged}", "PREFIX=/usr/local")
    assert list(staged.iterdir()) == []


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


def test_no_path_of_the_stage_is_left_in_a_text(stage: Path) -> None:
    files = [stage / name for name in installed(stage) if not name.endswith((".pyc", ".so"))]
    assert [file for file in files if not file.is_symlink() and str(stage).encode() in file.read_bytes()] == []


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


REFUSED = {
    "a relative environment": (["PYTHON_ENV=.venv"], "--env .venv: it has to begin with /"),
    "no such environment": (
        ["DESTDIR=", "PYTHON_ENV=/nonexistent/env"],
        "there is no /nonexistent/env/bin/milter-manager",
    ),
    "a relative prefix": (["PREFIX=usr"], "--prefix usr: it has to begin with /"),
    "a prefix that systemd does not read": (["PREFIX=/opt/x"], "systemd reads no units below /opt/x/lib"),
    "a relative place of configuration": (["SYSCONFDIR=etc"], "--sysconfdir etc: it has to begin with /"),
    "a path that a unit would take for two": (["SYSCONFDIR='/my etc'"], "units can't have such a path"),
}


@pytest.mark.parametrize(("values", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_could_not_work_from_its_place_is_refused(
    wheels: Path, tmp_path: Path, values: list[str], reason: str
) -> None:
    command = ["make", "install", f"DESTDIR={tmp_path}", *values]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode != 0, reason in done.stderr, list(tmp_path.iterdir())) == (True, True, [])


def test_units_of_another_prefix_can_go_where_systemd_reads_them(tmp_path: Path) -> None:
    values = ["PREFIX=/opt/x", "UNIT_PREFIX=/usr/local", "PYTHON_ENV=/nonexistent/env"]
    make("install", f"DESTDIR={tmp_path}", *values)
    unit = (tmp_path / "usr/local/lib/systemd/system/milter-manager.service").read_text()
    assert "\nExecStart=/opt/x/libexec/milter-manager/milter-manager start\n" in unit


def test_a_launcher_without_its_virtual_environment_says_so(tmp_path: Path) -> None:
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local", "PYTHON_ENV=/nonexistent/env")
    done = subprocess.run([str(tmp_path / "usr/local/sbin/milter-manager")], capture_output=True, text=True)
    assert (done.returncode, "/nonexistent/env" in done.stderr) == (69, True)


@pytest.fixture(scope="module")
def launcher(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launcher of a tree that is really at its place, with this Python."""
    prefix = tmp_path_factory.mktemp("prefix")
    command = [sys.executable, "-B", str(ROOT / "packaging/lay_out.py"), "install", "--wheels", str(wheels)]
    places = ["--prefix", str(prefix), "--unit-prefix", str(prefix), "--sysconfdir", str(prefix / "etc")]
    places += ["--python", sys.executable]
    subprocess.run([*command, *places], check=True)
    return prefix / "sbin/milter-manager"


def test_a_launcher_takes_no_module_from_where_it_is_called(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "mmgr.py").write_text("raise SystemExit('not ours')")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nonexistent"}
    done = subprocess.run([launcher, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("milter-manager 3.")


def test_a_launcher_looks_where_its_configuration_was_put(launcher: Path) -> None:
    configuration = launcher.parent.parent / "etc/milter-manager/milter-manager.local.conf"
    configuration.write_text("nonsense\n")
    done = subprocess.run([launcher, "--check-config"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    configuration.unlink()
    assert (done.returncode, f"{configuration}:1: " in done.stderr) == (78, True)


def test_a_launcher_leaves_the_place_of_the_configuration_to_its_caller(launcher: Path, tmp_path: Path) -> None:
    (tmp_path / "milter-manager.conf").write_text("nonsense\n")
    environment = {"PATH": "/usr/bin:/bin", "MILTER_MANAGER_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run([launcher, "--check-config"], env=environment, capture_output=True, text=True)
    assert f"{tmp_path}/milter-manager.conf:1: " in done.stderr


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
    command += ["--prefix", str(tmp_path), "--unit-prefix", str(tmp_path), "--sysconfdir", str(tmp_path / "etc")]
    command += ["--python", "/nonexistent/python3.12"]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "sbin/milter-manager"], capture_output=True, text=True)
    assert (done.returncode, "/nonexistent/python3.12" in done.stderr) == (69, True)


def test_a_launcher_writes_no_byte_code(launcher: Path) -> None:
    subprocess.run([launcher, "--version"], check=True, capture_output=True)
    assert list(launcher.parent.parent.rglob("*.pyc")) == []
