"""Builds packages from this tree, without what rpm would want of EL, and looks into them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NOT_OF_EL = ("rpmlib(", "config(", "/bin/sh", "(milter-manager-selinux")
MILTERS = ("postfix", "clamav-milter", "milter-greylist")
OF_EL = ("selinux-policy-targeted", "policycoreutils", "munin-node", "epel-release", "clamav-scanner-systemd")
OF_EL += ("clamav-update", "clamav-milter-systemd", "spamass-milter-postfix")


@dataclass(frozen=True)
class Built:
    """One build. log is what rpmbuild said."""

    top: Path
    log: str

    @property
    def rpm(self) -> Path:
        (found,) = (self.top / "RPMS").glob("*/milter-manager-3*.rpm")
        return found

    @property
    def srpm(self) -> Path:
        (found,) = (self.top / "SRPMS").glob("*.src.rpm")
        return found

    @property
    def spec(self) -> Path:
        return self.top / "SPECS/milter-manager.spec"

    def query(self, *options: str) -> list[str]:
        """The lines of ``rpm -qp``."""
        return said("rpm", "-qp", *options, str(self.rpm)).splitlines()

    def unpacked(self, directory: Path, part: str = "") -> Path:
        """The files of the package, or of a sub-package, below a directory."""
        directory.mkdir(parents=True, exist_ok=True)
        (rpm,) = (self.top / "RPMS").glob(f"*/milter-manager-{part}-3*.rpm") if part else [self.rpm]
        command = f"rpm2cpio '{rpm}' | cpio -idm --quiet"
        subprocess.run(["sh", "-c", command], cwd=directory, check=True)
        return directory


def need(*tools: str) -> None:
    """Skip a test, with the reason, where a tool is absent."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"not here: {', '.join(absent)}")


def said(*command: str, cwd: Path | None = None) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@functools.cache
def pythons() -> dict[str, str]:
    """Interpreters of the versions that the package serves, as far as they are here."""
    found = {}
    for version in ("3.9", "3.11", "3.12"):
        candidates = [shutil.which(f"python{version}"), f"/usr/bin/python{version}"]
        candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
        for candidate in filter(None, candidates):
            ask = [candidate, "-c", "import sys; print(sys.executable)"]
            done = subprocess.run(ask, capture_output=True, text=True) if Path(candidate).exists() else None
            if done is not None and done.returncode == 0:
                found[version] = done.stdout.strip()
                break
    return found


def collect(top: Path, wheels: Path) -> Path:
    """The sources of this moment, which all builds of a run share: others may be at work in this tree."""
    said(sys.executable, "-B", str(ROOT / "packaging/source_archive.py"), str(top))
    for wheel in wheels.glob("*.whl"):
        shutil.copy(wheel, top / "SOURCES")
    return top


def build(top: Path, sources: Path, el: int, dist: str = "", versions: int = 1, is_checked: bool = False) -> Built:
    """Build source and binary package for a release of EL, with byte code for so many Pythons, and perhaps %check."""
    shutil.copytree(sources, top)
    values = {
        "_topdir": str(top),
        "rhel": str(el),
        "dist": dist or f".el{el}",
        "build_python": sys.executable,
        "compile_pythons": " ".join(list(pythons().values())[:versions]),
    }
    command = ["unshare", "--net"] if os.geteuid() == 0 else []  # where nothing can be fetched
    command += ["rpmbuild", "-ba", "--nodeps", *([] if is_checked else ["--nocheck"])]
    for name, value in values.items():
        command += ["--define", f"{name} {value}"]
    done = subprocess.run([*command, str(top / "SPECS/milter-manager.spec")], capture_output=True, text=True)
    assert done.returncode == 0, f"rpmbuild: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    return Built(top, done.stdout + done.stderr)


def stand_ins(top: Path, *builds: Built) -> list[Path]:
    """Empty packages: one that provides what ours require of EL, and one named like each milter and the like."""
    wanted = {line for built in builds for line in built.query("--requires") if not line.startswith(_NOT_OF_EL)}
    provides = {re.sub(r" >= .*", " = 3.11", line) for line in wanted if not line.startswith("(")} | {"/bin/sh"}
    provides |= {re.split(r"[( ]", line)[1] for line in wanted if line.startswith("(")}
    provides |= {"rrdtool", "/usr/sbin/selinuxenabled"}
    lines = ["Name: el-base", "Version: 1", "Release: 1", "Summary: Stands in", "License: MIT", "BuildArch: noarch"]
    lines += [*(f"Provides: {each}" for each in sorted(provides)), "%description", "Stands in.", "%files"]
    for name in (*MILTERS, *OF_EL):
        lines += [f"%package -n {name}", "Summary: Stands in", f"%description -n {name}", "Stands in."]
        lines += [f"%files -n {name}"]
    spec = top / "stand-ins.spec"
    spec.write_text("\n".join([*lines, ""]))
    said("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", str(spec))
    return sorted((top / "RPMS").glob("*/*.rpm"))
