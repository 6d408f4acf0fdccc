"""The munin plug-in, run by sh on databases that the log analyzer made with real rrdtool."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mmgr.analyzer.run import Wishes, analyze
from tests.integration.daemons import Makers
from tests.unit.analyzer.lines import syslog, transaction

PLUGIN = Path(__file__).resolve().parents[2] / "packaging/munin/milter_manager_"
NOW = time.time() // 60 * 60 - 30

pytestmark = pytest.mark.skipif(not shutil.which("rrdtool"), reason="rrdtool is not installed")


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two messages a minute in the last half an hour; the milters' names have what names of plug-ins have, too."""
    directory = tmp_path_factory.mktemp("databases")
    log = directory / "maillog"
    children = "clamav-milter:accept:0.2000,my_milter.x:reject:0.5000"
    lines = (syslog(transaction(f"7.{n}", children=children), NOW - 1800 + 30 * n) for n in range(60))
    log.write_bytes(b"".join(lines))
    analyze([str(log)], directory, NOW + 120, Wishes(draws=False))
    return directory


def plugin(databases: Path, name: str, *arguments: str) -> dict[str, str]:
    """What the plug-in says under a name, by the first words of its lines."""
    link = databases / f"milter_manager_{name}"
    if not link.exists():
        link.symlink_to(PLUGIN)
    environment = {**os.environ, "logdir": str(databases), "MUNIN_NOW": str(int(NOW))}
    said = subprocess.run(["sh", str(link), *arguments], check=True, capture_output=True, env=environment).stdout
    return dict(line.partition(" ")[::2] for line in said.decode().splitlines())


def test_it_says_that_it_can_work(databases: Path) -> None:
    assert plugin(databases, "", "autoconf") == {"yes": ""}


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    assert list(plugin(tmp_path, "", "autoconf")) == ["no"]


def test_it_suggests_each_database(databases: Path) -> None:
    assert set(plugin(databases, "", "suggest")) == {
        *("memory", "session", "status", "latency"),
        *(f"{kind}_{name}" for kind in ("status", "latency") for name in ("clamav-milter", "my_milter.x")),
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("session", {"smtp": 2, "message": 2, "child": 4}),
        ("status", {"accept": 2, "reject": 0}),
        ("status_clamav-milter", {"accept": 2}),
        ("status_my_milter.x", {"accept": 0, "reject": 2}),
        ("latency_clamav-milter", {"average": 0.2, "maximum": 0.2}),
    ],
)
def test_values_are_those_of_a_minute(databases: Path, name: str, values: dict[str, float]) -> None:
    said = plugin(databases, name)
    assert {field: float(said[f"{field}.value"]) for field in values} == values


@pytest.mark.parametrize("name", ["session", "status", "latency", "status_clamav-milter", "memory"])
def test_each_value_has_a_label(databases: Path, name: str) -> None:
    labelled = {key.partition(".")[0] for key in plugin(databases, name, "config") if key.endswith(".label")}
    assert {key.partition(".")[0] for key in plugin(databases, name)} == labelled


def test_what_our_lines_do_not_tell_is_unknown(databases: Path) -> None:
    assert plugin(databases, "session")["concurrent.value"] == "U"


def test_memory_is_that_of_the_master_and_its_workers(make: Makers, databases: Path) -> None:
    make.running(1)
    said = plugin(databases, "memory")
    assert min(float(said["master.value"]), float(said["workers.value"])) > 1_000_000
