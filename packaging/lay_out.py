"""Puts a whole installation in its places, for the RPM and for ``make install``; and takes it away again.

Nothing here uses the network, starts a service or makes a user. Commands come from ``[project.scripts]``, modules are
copied whole, configuration that was edited is never overwritten: the new text is put beside it as ``.new``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import bill_of_materials
import wheels as pinned
from places import ROOT, Places, commands, filled, version

PACKAGES = ("mmgr", "workers")
PYTHONS = ("/usr/bin/python3.12", "/usr/bin/python3.11", "/usr/bin/python3.9", "/usr/bin/python3")
RECORD = "installed.sha256"
CONFIGURED = ("conditions",)
READ_BY_SYSTEMD = ("/usr", "/usr/local")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_./+~@:,-]")

PACKAGING = ROOT / "packaging"


class LayOut:
    """One installation; keeps a list of what it wrote."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.written: list[str] = []

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write one file; modes do not depend on the umask."""
        file = self._places.here(path)
        self.directory(os.path.dirname(path))
        if file.is_symlink():
            file.unlink()
        file.write_bytes(content)
        file.chmod(mode)
        self.written.append(path)

    def configuration(self, path: str, content: bytes) -> None:
        """Write one file that people edit, unless they did."""
        file = self._places.here(path)
        if file.exists() and file.read_bytes() != content:
            _tell(f"{file} was edited and stays; the new one is {file}.new")
            self.write(f"{path}.new", content)
        else:
            self.write(path, content)

    def template(self, source: Path, path: str, mode: int = 0o644, **words: str) -> None:
        """Write one file with its ``@words@``."""
        text = filled(source.read_text("utf-8"), {**self._places.words(), **words})
        self.write(path, text.encode(), mode)

    def link(self, path: str, to: str) -> None:
        """A symbolic link to a name in the same directory."""
        file = self._places.here(path)
        if file.is_symlink() or file.exists():
            file.unlink()
        file.symlink_to(to)
        self.written.append(path)

    def directory(self, path: str) -> None:
        """A directory with those above it; one that is there stays as it is."""
        absent = []
        file = self._places.here(path)
        while not file.exists():
            absent.append(file)
            file = file.parent
        for each in reversed(absent):
            each.mkdir()
            each.chmod(0o755)


def install(given: argparse.Namespace) -> None:
    """Put everything in its place. Raises WheelError, OSError; SystemExit where it could not work from."""
    refuse(given)
    places = _places(given)
    made = LayOut(places)
    entries = commands()
    if given.env:
        for name in entries:
            made.template(
                PACKAGING / "launchers/environment.sh", places.launcher(name), 0o755, name=name, env=given.env
            )
    else:
        _lay_out_modules(made, places, given)
        _lay_out_launchers(made, places, entries, given.python or PYTHONS)
    _lay_out_system(made, places, entries, given.newer_systemd)
    _lay_out_documents(made, places, entries)
    if given.record:
        _write_record(made, places)


def _lay_out_modules(made: LayOut, places: Places, given: argparse.Namespace) -> None:
    """``mmgr/``, ``workers/`` and ``vendor/`` from nothing, so that no module of an older version stays."""
    directory = Path(given.wheels)
    chosen = pinned.for_machine(pinned.read_lock(), given.machine)
    paths = [pinned.check(wheel, directory) for wheel in chosen]
    for name in (*PACKAGES, "vendor"):
        shutil.rmtree(places.here(f"{places.app}/{name}"), ignore_errors=True)
    for package in PACKAGES:
        for file in _files(ROOT / package):
            made.write(f"{places.app}/{file.relative_to(ROOT)}", file.read_bytes())
    vendor = places.here(f"{places.app}/vendor")
    made.directory(f"{places.app}/vendor")
    for path in paths:
        pinned.unpack(path, vendor)
    made.written += [f"{places.app}/vendor/{file.relative_to(vendor)}" for file in _files(vendor)]
    text = bill_of_materials.bill(version(), chosen, directory)
    made.write(f"{places.app}/milter-manager.cdx.json", text.encode())
    for python in given.compile_with:
        _compile(made, places, python)


def _compile(made: LayOut, places: Places, python: str) -> None:
    """Byte code for one Python, beside that for others; the launchers never write any."""
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    if places.destdir:
        command += ["-s", places.destdir]
    targets = [str(places.here(f"{places.app}/{name}")) for name in (*PACKAGES, "vendor")]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, *targets], check=True, env=environment)
    app = places.here(places.app)
    known = set(made.written)
    found = (f"{places.app}/{file.relative_to(app)}" for file in sorted(app.rglob("*.pyc")))
    made.written += [path for path in found if path not in known]


def _lay_out_launchers(made: LayOut, places: Places, entries: dict[str, str], pythons: Sequence[str]) -> None:
    text = (PACKAGING / "launchers/launch.py").read_text("utf-8")
    table = "".join(f'    "{name}": "{entry}",\n' for name, entry in entries.items())
    made.write(f"{places.app}/launch.py", text.replace("= {}\n", f"= {{\n{table}}}\n", 1).encode())
    for name in entries:
        words = {"name": name, "launcher": places.launcher(name), "pythons": " ".join(pythons)}
        made.template(PACKAGING / "launchers/command.sh", places.launcher(name), 0o755, **words)


def _lay_out_system(made: LayOut, places: Places, entries: dict[str, str], newer_systemd: bool) -> None:
    """Units, users, configuration."""
    systemd = PACKAGING / "systemd"
    for script in ("milter-manager", "join-groups", "upgrade-from-2"):
        made.template(systemd / f"{script}.in", f"{places.libexec}/{script}", 0o755)
    made.template(systemd / "milter-manager.service.in", f"{places.units}/milter-manager.service")
    made.write(f"{places.units}/milter-manager.socket", (systemd / "milter-manager.socket").read_bytes())
    if newer_systemd:
        name = "10-newer-systemd.conf"
        made.write(f"{places.units}/milter-manager.service.d/{name}", (systemd / name).read_bytes())
    if "milter-manager-log-analyzer" in entries:
        for kind in ("service", "timer"):
            unit = f"milter-manager-log-analyzer.{kind}"
            made.template(systemd / f"{unit}.in", f"{places.units}/{unit}")
    for kind in ("sysusers", "tmpfiles"):
        path = f"{places.for_systemd}/{kind}.d/milter-manager.conf"
        made.write(path, (systemd / f"milter-manager.{kind}").read_bytes())
    sysconfig = ROOT / "etc/sysconfig/milter-manager"
    made.configuration(places.environment_file, sysconfig.read_bytes())
    made.directory(f"{places.configuration}/conf.d")
    for file in _files(ROOT / "etc"):
        name = file.relative_to(ROOT / "etc")
        if len(name.parts) == 1 or name.parts[0] in CONFIGURED:
            made.configuration(f"{places.configuration}/{name}", file.read_bytes())
        elif file != sysconfig:  # for other programs, such as dashboards
            made.write(f"{places.prefix}/share/milter-manager/{name}", file.read_bytes())


def _lay_out_documents(made: LayOut, places: Places, entries: dict[str, str]) -> None:
    """Manual pages and completion; one file completes all commands."""
    for page in sorted((ROOT / "docs/man").glob("*.[1-8]")):
        made.write(f"{places.prefix}/share/man/man{page.suffix[1:]}/{page.name}", page.read_bytes())
    first, *others = entries
    made.write(f"{places.completions}/{first}", (PACKAGING / "completion/milter-manager").read_bytes())
    for name in others:
        made.link(f"{places.completions}/{name}", first)


def _files(directory: Path) -> Iterator[Path]:
    """The files below a directory in a fixed order, without byte code and what editors leave."""
    for file in sorted(directory.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts and not file.name.endswith((".pyc", "~", ".swp")):
            yield file


def _write_record(made: LayOut, places: Places) -> None:
    path = f"{places.app}/{RECORD}"
    lines = [f"{_sum(places.here(each))}  {each}\n" for each in made.written]
    made.write(path, "".join(lines).encode())


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def _sum(file: Path) -> str:
    """Of a link, that of where it leads."""
    content = os.readlink(file).encode() if file.is_symlink() else file.read_bytes()
    return hashlib.sha256(content).hexdigest()


def uninstall(given: argparse.Namespace) -> None:
    """Remove what ``install --record`` wrote, but no configuration that was edited since. Raises OSError."""
    places = _places(given)
    record = places.here(f"{places.app}/{RECORD}")
    if not record.exists():
        sys.exit(f"lay_out: {record} is not there, so it is not known what was installed; nothing was removed")
    directories = set()
    for line in record.read_text("utf-8").splitlines():
        known, _, path = line.partition("  ")
        file = places.here(path)
        if not (file.is_symlink() or file.exists()):
            continue
        if path.startswith(f"{places.sysconfdir}/") and _sum(file) != known:
            _tell(f"{file} was edited and stays")
            continue
        file.unlink()
        directories.add(file.parent)
    record.unlink()
    directories |= {record.parent, places.here(f"{places.configuration}/conf.d")}
    _remove_empty(directories, places)


def _remove_empty(directories: set[Path], places: Places) -> None:
    """Those that are named after us, deepest first; shared ones stay, but in a stage of its own nothing is shared."""
    ours = {parent for each in directories for parent in (each, *each.parents) if "milter-manager" in str(parent.name)}
    below = {each for each in directories if any(parent in ours for parent in each.parents)}
    if places.destdir:
        stage = Path(places.destdir)
        below |= {each for each in directories if stage in each.parents}
        below |= {parent for each in directories for parent in each.parents if stage in parent.parents}
    app = places.here(places.app)
    below |= {parent for each in directories for parent in each.parents if app in parent.parents}
    for directory in sorted(ours | below, key=lambda each: len(each.parts), reverse=True):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


def _places(given: argparse.Namespace) -> Places:
    prefix = given.prefix.rstrip("/")
    libdir = given.libdir or f"{prefix}/lib"
    environment_file = given.environment_file or f"{given.sysconfdir}/sysconfig/milter-manager"
    unit_prefix = (given.unit_prefix or prefix).rstrip("/")
    destdir = os.path.abspath(given.destdir).rstrip("/") if given.destdir else ""
    return Places(destdir, prefix, libdir, given.sysconfdir.rstrip("/"), environment_file, unit_prefix)


def refuse(given: argparse.Namespace) -> None:
    """Raise SystemExit for places that nothing would be found in, before anything is written."""
    for option in ("prefix", "sysconfdir", "env", "unit_prefix", "libdir", "environment_file"):
        path = getattr(given, option)
        if path and not path.startswith("/"):
            sys.exit(f"lay_out: --{option.replace('_', '-')} {path}: it has to begin with /")
        if path and _UNUSUAL.search(path):
            sys.exit(f"lay_out: --{option.replace('_', '-')} {path}: scripts and units can't have such a path")
    if not given.unit_prefix and given.prefix.rstrip("/") not in READ_BY_SYSTEMD:
        hint = "say where units, sysusers and tmpfiles go: --unit-prefix /usr/local (make: UNIT_PREFIX=/usr/local)"
        sys.exit(f"lay_out: systemd reads no units below {given.prefix}/lib; {hint}")
    command = Path(f"{given.env}/bin/milter-manager")
    if given.env and not given.destdir and not command.exists():
        hint = f"{given.env}/bin/pip install ., after python3 -m venv {given.env}"
        sys.exit(f"lay_out: there is no {command}; to make it: {hint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Install milter manager into a tree, or remove it.")
    parser.add_argument("what", choices=("install", "uninstall"))
    parser.add_argument("--destdir", default="", help="a directory that stands for / while files are written")
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--libdir", help="PREFIX/lib")
    parser.add_argument("--sysconfdir", default="/etc")
    parser.add_argument("--environment-file", help="SYSCONFDIR/sysconfig/milter-manager")
    parser.add_argument("--unit-prefix", help="PREFIX; for units, sysusers and tmpfiles, where systemd reads no PREFIX")
    parser.add_argument("--wheels", default=str(ROOT / "build/wheels"), help="where `make wheels` put them")
    parser.add_argument("--machine", default=platform.machine(), help="which wheels are unpacked")
    parser.add_argument(
        "--env", help="a virtual environment that milter-manager is installed in; no modules are copied"
    )
    parser.add_argument("--python", action="append", help="an interpreter for the launchers to try; may be repeated")
    parser.add_argument("--compile-with", action="append", default=[], help="an interpreter to make byte code with")
    parser.add_argument("--newer-systemd", action="store_true", help="with the drop-in for systemd 247 and later")
    parser.add_argument("--record", action="store_true", help="keep a list for `uninstall`")
    return parser


def main() -> None:
    """The command."""
    given = _parser().parse_args()
    os.umask(0o022)
    try:
        {"install": install, "uninstall": uninstall}[given.what](given)
    except pinned.WheelError as error:
        sys.exit(f"lay_out: {error}")
    except OSError as error:
        sys.exit(f"lay_out: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
