"""Load on real Postfix with the manager behind it, and what the log analyzer makes of the manager's log."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmgr.analyzer.run import Wishes, analyze
from tests.support.lab import MANAGER, Lab
from tests.support.processes import wait_for
from tests.support.smtp import RECIPIENT, SENDER

ROOT = Path(__file__).resolve().parents[2]
N_MAILS = 40

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("managed")]


def check(port: int, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    words = ["--smtp-server", "127.0.0.1", "--smtp-port", port, "--from", SENDER, "--recipient", RECIPIENT, *arguments]
    command = [sys.executable, "-m", "mmgr.cli.performance_check", *map(str, words)]
    return subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100)


def test_all_mails_of_a_load_pass_postfix_and_the_manager(lab: Lab) -> None:
    route = lab.route(MANAGER, {"pymilter": lab.pymilter().spec})
    ended = check(route.port, "--n-mails", N_MAILS, "--n-concurrent-connections", 4, "--report-failure-responses")
    assert (ended.returncode, ended.stdout.count(b"  0 (  0.00%)")) == (0, 3), ended.stdout


@pytest.mark.skipif(not shutil.which("rrdtool"), reason="rrdtool is not installed")
def test_each_mail_of_a_load_is_in_the_graphs(lab: Lab, tmp_path: Path) -> None:
    route = lab.route(MANAGER, {"pymilter": lab.pymilter().spec})
    assert route.manager is not None
    before = route.manager.log_text().count(" transaction ")
    check(route.port, "--n-mails", N_MAILS, "--n-concurrent-connections", 4)
    wait_for(lambda: route.manager.log_text().count(" transaction ") == before + N_MAILS, "all transactions")
    (tmp_path / "log").write_text(route.manager.log_text())
    analyze([str(tmp_path / "log")], tmp_path, time.time() + 120, Wishes(draws=False))
    words = ["rrdtool", "fetch", f"{tmp_path}/milter.status.pymilter.rrd", "AVERAGE", "-r", "60", "-s", "-1h"]
    said = subprocess.run([*words, "-e", "+2min"], check=True, capture_output=True).stdout.decode()
    rows = [list(map(float, line.split()[1:])) for line in said.splitlines() if re.match(r"\d+:", line)]
    assert sum(value for row in rows for value in row if value == value) == before + N_MAILS
