"""``milter-managerctl explain``, as it is typed."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONFIG = """
[package]
detection = no
[conditions]
[[classed]]
expression = header(X-Class) == yes
[milters]
[[milter-greylist]]
connection_spec = unix:/a
applicable_conditions = S25R, Remote Network, Unauthenticated, Trust
[[opendkim]]
connection_spec = unix:/b
[[special]]
connection_spec = unix:/c
applicable_conditions = classed
[[unused]]
connection_spec = unix:/d
enabled = no
"""

Explain = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def explain(tmp_path: Path) -> Explain:
    (tmp_path / "milter-manager.conf").write_text(CONFIG, "utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mmgr.cli.managerctl", "explain", "-c", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def line_of(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(f"{name}:"))


def test_a_suspicious_client_meets_the_greylist(explain: Explain) -> None:
    done = explain("--client-name", "ppp12.example.net", "--client-address", "198.51.100.7")
    assert (done.returncode, line_of(done.stdout, "milter-greylist")) == (0, "milter-greylist: used")
    assert "    S25R: host name ppp12.example.net fits S25R rule 7" in done.stdout


def test_a_mail_host_does_not_and_the_rule_is_named(explain: Explain) -> None:
    done = explain("--client-name", "mail.example.net", "--client-address", "198.51.100.7")
    assert line_of(done.stdout, "milter-greylist").startswith("milter-greylist: not used: S25R stops it at connect: ")


def test_a_client_that_logged_in_does_not_either(explain: Explain) -> None:
    done = explain("--client-name", "ppp12.example.net", "--authenticated", "joe")
    assert "not used: Unauthenticated stops it at mail: " in line_of(done.stdout, "milter-greylist")


def test_a_milter_without_conditions_is_used_by_all(explain: Explain) -> None:
    assert line_of(explain("--client-address", "::1").stdout, "opendkim") == "opendkim: used"


def test_a_milter_that_is_switched_off_says_where(explain: Explain, tmp_path: Path) -> None:
    where = f"{tmp_path}/milter-manager.conf:18"
    assert line_of(explain().stdout, "unused") == f"unused: not used: it is not enabled ({where})"


def test_what_depends_on_the_message_stays_open(explain: Explain) -> None:
    assert line_of(explain().stdout, "special") == "special: depends on the message (classed)"


@pytest.mark.parametrize(("value", "state"), [("yes", "used"), ("no", "not used: classed stops it at content: ")])
def test_a_mail_file_decides_it(explain: Explain, tmp_path: Path, value: str, state: str) -> None:
    mail = tmp_path / "mail"
    mail.write_text(f"X-Class: {value}\n\nhello\n", "utf-8")
    assert line_of(explain("--mail-file", str(mail)).stdout, "special").startswith(f"special: {state}")


def test_json_has_one_object_for_each_milter(explain: Explain) -> None:
    found = json.loads(explain("--client-address", "10.0.0.1", "--json").stdout)["milters"]
    assert [(one["milter"], one["is_used"]) for one in found] == [
        ("milter-greylist", False),
        ("opendkim", True),
        ("special", None),
        ("unused", False),
    ]


@pytest.mark.parametrize("name", ["\x1b[2J", "\udcff\udcfe", "a" * 5000, ""])
def test_hostile_names_are_told_escaped(explain: Explain, name: str) -> None:
    done = explain("--client-name", name, "--sender", name, "--helo", name, "--recipient", name)
    assert (done.returncode, "\x1b" in done.stdout) == (0, False)


def test_a_faulty_configuration_is_refused_with_all_its_faults(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "milter-manager.local.conf").write_text("[conditions]\n[[x]]\n[[y]]\nexpression = (\n", "utf-8")
    done = explain()
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)


def test_an_option_that_makes_no_sense_is_a_usage_error(explain: Explain) -> None:
    assert explain("--macro", "x").returncode == 2


def test_a_root_that_is_no_directory_is_refused(explain: Explain) -> None:
    done = explain("--root", "/no/such/tree")
    assert (done.returncode, "'/no/such/tree' is not a directory" in done.stderr) == (1, True)


DNSBL = """
[package]
detection = no
[conditions]
dns_name_servers = [127.0.0.1]:{port}
dns_timeout = 0.2
[[DNSBL Listed]]
services = bl.example.org
[milters]
[[for-listed]]
connection_spec = unix:/a
applicable_conditions = DNSBL Listed
[[for-others]]
connection_spec = unix:/b
applicable_conditions = Not DNSBL Listed
"""


def test_a_silent_dns_is_told_as_such_and_asked_once_for_all_milters(explain: Explain, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        (tmp_path / "milter-manager.conf").write_text(DNSBL.format(port=silent.getsockname()[1]), "utf-8")
        done = explain("--client-address", "198.51.100.7")
        silent.setblocking(False)
        queries = []
        with contextlib.suppress(BlockingIOError):
            while True:
                queries.append(silent.recv(512))
    told = done.stdout.count("no answer about client 198.51.100.7 from bl.example.org")
    assert (told, len(queries)) == (2, 2)  # two milters; the resolver asks twice


@pytest.mark.parametrize(("given", "condition"), [("--helo", "helo"), ("--client-name", "client_name")])
def test_an_empty_name_stays_empty(explain: Explain, tmp_path: Path, given: str, condition: str) -> None:
    text = CONFIG.replace("header(X-Class) == yes", f'{condition} == ""')
    (tmp_path / "milter-manager.conf").write_text(text, "utf-8")
    assert line_of(explain("--client-name", "mail.example.net", given, "").stdout, "special") == "special: used"


def test_a_milter_that_is_used_is_told_with_what_fits(explain: Explain) -> None:
    done = explain("--client-name", "ppp12.example.net", "--client-address", "198.51.100.7")
    assert "    Remote Network: client 198.51.100.7 is not local" in done.stdout
