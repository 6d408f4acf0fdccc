"""What the packaging tests share: RPMs built once from this tree, and a machine to install them on.

Tools that are absent skip tests with the reason; ``make test`` installs them on Debian.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(1, str(ROOT / "packaging"))

from rpm_lab import Built, build, collect, need, stand_ins  # noqa: E402
from systemd_machine import CannotBoot, Machine, boot  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "packaging: builds, checks or installs packages")


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The directory of the pinned wheels; fetched if they are not there yet."""
    made = subprocess.run(["make", "wheels"], cwd=ROOT, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"the pinned wheels are not here and can't be fetched: {made.stderr.strip()[-200:]}")
    return ROOT / "build/wheels"


@pytest.fixture(scope="session")
def sources(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``rpmbuild`` needs."""
    need("rpmbuild", "rpm", "rpm2cpio", "cpio")
    return collect(tmp_path_factory.mktemp("sources"), wheels)


@pytest.fixture(scope="session")
def rpms(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """The package of each release, and one that is newer than that of EL 9."""
    top = tmp_path_factory.mktemp("rpmbuild")
    return {
        "el8": build(top / "el8", sources, el=8, versions=3),
        "el9": build(top / "el9", sources, el=9, is_checked=True),
        "el9-newer": build(top / "el9-newer", sources, el=9, dist=".el9_1"),
    }


@pytest.fixture(scope="session")
def repository(rpms: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories below one directory: ``first``, ``newer`` and ``el8``, with stand-ins for what EL has."""
    need("createrepo_c", "dnf")
    directory = tmp_path_factory.mktemp("repository")
    made = stand_ins(tmp_path_factory.mktemp("stand-ins"), rpms["el9"], rpms["el8"])
    for name, built in (("first", rpms["el9"]), ("newer", rpms["el9-newer"]), ("el8", rpms["el8"])):
        (directory / name).mkdir()
        for package in (*built.top.glob("RPMS/*/*.rpm"), *made):
            shutil.copy(package, directory / name)
        subprocess.run(["createrepo_c", "-q", str(directory / name)], check=True)
    return directory


@pytest.fixture
def new_machine(repository: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine of its own, without milter manager."""
    yield from _booted(repository, tmp_path)


@pytest.fixture(scope="module")
def bare_machine(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine for one module of tests, without milter manager."""
    yield from _booted(repository, tmp_path_factory.mktemp("bare-machine"))


@pytest.fixture(scope="module")
def machine(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine for one module of tests, with milter manager installed beside Postfix, and started."""
    for booted in _booted(repository, tmp_path_factory.mktemp("machine")):
        booted.install("milter-manager", "postfix")
        booted.run("systemctl", "start", "milter-manager")
        yield booted


def _booted(repository: Path, directory: Path) -> Iterator[Machine]:
    need("unshare", "nsenter", "systemctl")
    if os.geteuid() != 0:
        pytest.skip("only root can boot a machine in namespaces")
    try:
        made = boot(directory, repository)
    except CannotBoot as error:
        pytest.skip(f"no machine can be booted here: {error}")
    try:
        yield made
    finally:
        made.close()
