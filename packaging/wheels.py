"""The pinned wheels of the run-time packages: fetch them, check them, unpack those that fit one machine.

``packaging/rpm/wheels.lock`` names them all, in the form of sha256sum(1). A wheel that is not named there, or that has
another sum, is never unpacked. The Makefile and ``lay_out`` call this; only ``fetch`` uses the network.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

LOCK = Path(__file__).resolve().parent / "rpm" / "wheels.lock"

_LEFT_OUT = ("RECORD", "WHEEL", "INSTALLER", "top_level.txt")
"""Of a ``.dist-info`` directory: what would differ between wheels of one version, and what only pip reads."""


class WheelError(Exception):
    """A wheel is missing, is not the pinned one, or can't be had. The text is for people."""


@dataclass(frozen=True)
class Wheel:
    """One line of the lock; the name of the file says everything else (PEP 427)."""

    file_name: str
    sha256: str

    @property
    def name(self) -> str:
        """The package's name."""
        return self._part(0)

    @property
    def version(self) -> str:
        """The package's version."""
        return self._part(1)

    @property
    def python_tag(self) -> str:
        """``cp39``, or ``py2.py3`` where any will do."""
        return self._part(-3)

    @property
    def platforms(self) -> list[str]:
        """``["any"]``, or names such as ``manylinux_2_17_x86_64``."""
        return self._part(-1).split(".")

    def fits(self, machine: str) -> bool:
        """Is it for this kind of machine (``x86_64``, ``aarch64``), or for all?"""
        return self.platforms == ["any"] or all(each.endswith(f"_{machine}") for each in self.platforms)

    def _part(self, index: int) -> str:
        return self.file_name[: -len(".whl")].split("-")[index]


def read_lock(path: Path = LOCK) -> list[Wheel]:
    """The lines of the lock. Raises WheelError for one that is none."""
    wheels = []
    for number, line in enumerate(path.read_text("ascii").splitlines(), 1):
        sha256, _, file_name = line.partition("  ")
        if len(sha256) != 64 or not file_name.endswith(".whl") or "/" in file_name or file_name.count("-") < 4:
            raise WheelError(f"{path}:{number}: expected a sha256 sum, two blanks and the name of a wheel: {line!r}")
        wheels.append(Wheel(file_name, sha256))
    return wheels


def for_machine(wheels: list[Wheel], machine: str) -> list[Wheel]:
    """The wheels that fit. Raises WheelError if a package has none."""
    fitting = [wheel for wheel in wheels if wheel.fits(machine)]
    absent = sorted({wheel.name for wheel in wheels} - {wheel.name for wheel in fitting})
    if absent:
        raise WheelError(f"no pinned wheel of {', '.join(absent)} is for {machine}; see docs/packaging.md")
    return fitting


def check(wheel: Wheel, directory: Path) -> Path:
    """Where the wheel is, if it is the pinned one. Raises WheelError."""
    path = directory / wheel.file_name
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WheelError(f"{path}: {error.strerror}; `make wheels` fetches it") from error
    if found != wheel.sha256:
        raise WheelError(f"{path}: its sha256 is {found}, but {wheel.sha256} is pinned; it is not used")
    return path


def unpack(path: Path, target: Path) -> None:
    """Put the modules of one wheel below target, beside those of others. Raises WheelError for a hostile name."""
    with zipfile.ZipFile(path) as wheel:
        for member in sorted(wheel.infolist(), key=lambda each: each.filename):
            name = PurePosixPath(member.filename)
            if name.is_absolute() or ".." in name.parts or name.parts[0].endswith(".data"):
                raise WheelError(f"{path}: it would write to {member.filename}")
            if member.is_dir() or (name.parts[0].endswith(".dist-info") and name.name in _LEFT_OUT):
                continue
            file = target.joinpath(*name.parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_module(wheel.read(member)) if file.suffix == ".py" else wheel.read(member))
            file.chmod(0o755 if file.suffix == ".so" else 0o644)


def _module(text: bytes) -> bytes:
    """A module is no program: an interpreter named in its first line would only be found wanting."""
    return b"#" + text[text.find(b"\n") :] if text.startswith(b"#!") and b"\n" in text else text


def licence(path: Path) -> str:
    """The SPDX expression of a wheel, or what its metadata says instead."""
    with zipfile.ZipFile(path) as wheel:
        name = next(each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(wheel.read(name).decode("utf-8", "replace"))
    return str(metadata.get("License-Expression") or metadata.get("License") or "NOASSERTION")


def fetch(wheels: list[Wheel], directory: Path, python: str = sys.executable) -> None:
    """Download by pip what is not there yet, then check everything. Blocks on the network. Raises WheelError."""
    directory.mkdir(parents=True, exist_ok=True)
    for wheel in wheels:
        if not (directory / wheel.file_name).exists():
            command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += [*_tags(wheel), "--dest", str(directory), f"{wheel.name}=={wheel.version}"]
            if subprocess.run(command, check=False).returncode != 0:
                raise WheelError(f"pip can't fetch {wheel.file_name}")
        check(wheel, directory)


def _tags(wheel: Wheel) -> Iterator[str]:
    """The options that make pip choose this wheel whatever it runs on."""
    minor = wheel.python_tag[3:] if wheel.python_tag.startswith("cp3") else "9"
    yield from ("--implementation", "cp", "--python-version", f"3.{max(int(minor), 9)}")
    for platform in wheel.platforms:
        if platform != "any":
            yield from ("--platform", platform)


def main() -> None:
    """``wheels.py fetch|check|list DIRECTORY``."""
    parser = argparse.ArgumentParser(description="Fetch or check the pinned wheels, or list their files.")
    parser.add_argument("what", choices=("fetch", "check", "list"))
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    try:
        wheels = read_lock()
        if given.what == "fetch":
            fetch(wheels, given.directory)
        for wheel in wheels:
            path = check(wheel, given.directory)
            if given.what == "list":
                sys.stdout.write(f"{path}\n")
    except WheelError as error:
        sys.exit(f"wheels: {error}")


if __name__ == "__main__":
    main()
