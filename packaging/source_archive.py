"""The source archive that the RPM is built from, and the spec that fits it. Both are the same for the same tree.

In the archive are the files that git knows and those that it would add; outside of a work tree, all but what is made.
The spec of the tree is good as it stands; here its version is set, and sub-packages whose files are there are built.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import re
import subprocess
import tarfile
from pathlib import Path

from places import ROOT, commands, version

SPEC = ROOT / "packaging/rpm/milter-manager.spec"
_MADE = {".git", ".venv", "build", "dist", "run", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_MADE |= {".hypothesis"}


def names(root: Path = ROOT) -> list[str]:
    """The files that belong to the sources, in a fixed order."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists():
        listed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
        return sorted({name for name in listed if name and (root / name).is_file()})
    files = (file.relative_to(root) for file in root.rglob("*") if file.is_file())
    return sorted(str(file) for file in files if not _is_made(file))


def _is_made(file: Path) -> bool:
    return not _MADE.isdisjoint(file.parts) or any(part.endswith(".egg-info") for part in file.parts)


def write_archive(target: Path, epoch: int, root: Path = ROOT) -> None:
    """A .tar.gz whose bytes depend on the files' names, content and executable bit alone."""
    top = f"milter-manager-{version(root / 'mmgr/__init__.py')}"
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name in names(root):
                member = archive.gettarinfo(str(root / name), f"{top}/{name}")
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mtime = epoch
                member.mode = 0o755 if member.mode & 0o100 else 0o644
                with (root / name).open("rb") as content:
                    archive.addfile(member, content)


def spec_text(root: Path = ROOT) -> str:
    """The spec with the tree's version, and with each optional sub-package whose files are there."""
    text = SPEC.read_text("utf-8")
    present = {
        "selinux": any((root / "packaging/rpm/selinux").glob("*.cil")),
        "log_analyzer": "milter-manager-log-analyzer" in commands(root / "pyproject.toml"),
        "munin": (root / "packaging/munin").is_dir(),
    }
    for name, is_present in present.items():
        if is_present:
            text = text.replace(f"%bcond_with {name}\n", f"%bcond_without {name}\n")
    return re.sub(r"(?m)^(Version: +).*$", rf"\g<1>{version(root / 'mmgr/__init__.py')}", text)


def epoch_of(spec: str) -> int:
    """The date of the newest entry of the spec's changelog, its first second."""
    day = re.search(r"(?m)^%changelog\n\* (\w{3} \w{3} \d{2} \d{4}) ", spec)
    if day is None:
        raise SystemExit(f"{SPEC}: the changelog has no dated entry")
    moment = datetime.datetime.strptime(day[1], "%a %b %d %Y").replace(tzinfo=datetime.timezone.utc)
    return int(moment.timestamp())


def main() -> None:
    """``source_archive.py TOPDIR``: fill SOURCES and SPECS of an rpmbuild tree."""
    parser = argparse.ArgumentParser(description="Write the source archive and the spec below a directory.")
    parser.add_argument("topdir", type=Path)
    topdir = parser.parse_args().topdir
    spec = spec_text()
    for name in ("SOURCES", "SPECS"):
        (topdir / name).mkdir(parents=True, exist_ok=True)
    (topdir / "SPECS/milter-manager.spec").write_text(spec, "utf-8")
    write_archive(topdir / f"SOURCES/milter-manager-{version()}.tar.gz", epoch_of(spec))


if __name__ == "__main__":
    main()
