"""Postfix's own postconf reads files as we do, and the lines that are printed mend what they are printed for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mmgr.config.model import Config
from mmgr.detect.tree import Tree
from mmgr.doctor import postfix, postfix_settings
from mmgr.doctor.findings import Finding
from mmgr.doctor.postfix import PostfixFiles

from .trees import MASTER, OURS, child, config

POSTCONF = shutil.which("postconf")
pytestmark = pytest.mark.skipif(POSTCONF is None, reason="postconf is not installed (package postfix)")

MAIN = r"""
# a comment
where = /run/a
mm = unix:$where/s,
   # a comment inside
 inet:localhost:1

   { unix:${where}/t, default_action = accept }
smtpd_milters = $mm ${nothing?lost} ${where?{kept}:{lost}} ${nothing:other}
non_smtpd_milters=$smtpd_milters
milter_content_timeout = 5m
milter_content_timeout = 4m
milter_mail_macros = i {auth_type}
queue_directory = /var/spool/postfix
milter_default_action = $(where)
"""
HEAD = "compatibility_level = 3.6\nmyhostname = mx.example.test\nmydomain = example.test\ninet_protocols = ipv4\n"
"""Without a name postconf asks the DNS for one."""

NAMES = (
    "smtpd_milters",
    "non_smtpd_milters",
    "milter_content_timeout",
    "milter_mail_macros",
    "milter_connect_macros",
    "milter_rcpt_macros",
    "milter_helo_macros",
    "milter_end_of_data_macros",
    "milter_data_macros",
    "milter_command_timeout",
    "milter_connect_timeout",
    "milter_protocol",
    "milter_default_action",
    "mail_owner",
)


def written(path: Path, main: str, master: str = MASTER) -> Path:
    (path / "main.cf").write_text(f"{HEAD}{main}")
    (path / "master.cf").write_text(master)
    return path


def read(path: Path) -> PostfixFiles:
    files, found = postfix.read(Tree(), str(path))
    assert found == []
    assert files is not None
    return files


def postconf(path: Path, *arguments: str) -> str:
    command = [str(POSTCONF), "-c", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_postconf_gives_the_same_values(tmp_path: Path) -> None:
    files = read(written(tmp_path, MAIN))
    lines = (line.partition(" = ") for line in postconf(tmp_path, "-x", *NAMES).splitlines())
    theirs = {name.rstrip(" ="): value.split() for name, _, value in lines}
    assert {name: files.main.value(name).split() for name in NAMES} == theirs


def test_postconf_gives_the_same_options_of_services(tmp_path: Path) -> None:
    master = (
        MASTER + "submission inet n - y - - smtpd\n  -o smtpd_milters=unix:/a,unix:/b\n  -o { milter_protocol = 4 }\n"
    )
    services = read(written(tmp_path, "", master)).services
    ours = {f"{one.label}/{name} = {value}" for one in services for name, value in one.overrides.items()}
    assert ours == set(postconf(tmp_path, "-P").splitlines())


def complaints(path: Path, given: Config) -> list[Finding]:
    """What is wrong and says what to type."""
    files = read(path)
    found, reaches = postfix.judge(files, given)
    found += postfix_settings.judge(files, given, reaches)
    return [one for one in found if one.level in ("warning", "error") or one.hint]


CHILD = child("clamav", "unix:/run/clamav/s", ["Unauthenticated"])
FILTERED = f"smtpd_milters = {OURS}\nnon_smtpd_milters = $smtpd_milters\n"
OTHER_SERVICE = MASTER + "submission inet n - n - - smtpd -o smtpd_milters="


@pytest.mark.parametrize(
    ("main", "master"),
    [
        ("", MASTER),
        ("smtpd_milters = unix:/other, { inet:h:1, default_action = accept }", MASTER),
        (f"smtpd_milters = unix:/run/clamav/s, {OURS}", MASTER),
        ("smtpd_milters = /run/milter-manager/milter-manager.sock", MASTER),
        (FILTERED, f"{OTHER_SERVICE}unix:/other\n"),
        (FILTERED, f"{OTHER_SERVICE}unix:/run/clamav/s,{OURS}\n"),
        (f"{FILTERED}milter_protocol = 2", MASTER),
        (f"{FILTERED}milter_mail_macros = i", MASTER),
        (f"{FILTERED}milter_connect_macros = j", MASTER),
    ],
)
def test_what_is_typed_mends_what_was_wrong(tmp_path: Path, main: str, master: str) -> None:
    given = config(CHILD)
    written(tmp_path, main, master)
    assert complaints(tmp_path, given)
    for _ in range(3):  # one line may be needed before the next is shown
        for finding in complaints(tmp_path, given):
            line = finding.hint.split("\n")[0]
            assert line.startswith(f"postconf -c {tmp_path} ")
            subprocess.run(["/bin/sh", "-c", line], check=True, cwd=tmp_path)
    assert complaints(tmp_path, given) == []
