"""SELinux as the whole examination sees it: real labels on real sockets, and a policy that the test plays."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgr.doctor.examination import Request, examine
from mmgr.doctor.selinux import LABEL_ATTRIBUTE, Policy
from tests.support.processes import LabDirectory

from .test_selinux import Played

TEXT = """
[package]
detection = no
[security]
effective_user = nobody
[manager]
connection_spec = unix:{path}/mm.sock
[milters]
[[child]]
connection_spec = unix:{path}/c.sock
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Labelled sockets of a child and of ours, and Postfix asking us."""
    with LabDirectory() as lab:
        (lab.path / "milter-manager.conf").write_text(TEXT.format(path=lab.path))
        (lab.path / "main.cf").write_text(f"smtpd_milters = unix:{lab.path}/mm.sock\nmail_owner = nobody\n")
        (lab.path / "master.cf").write_text("smtp inet n - n - - smtpd\n")
        for name, kind in (("c.sock", "greylist_milter_data_t"), ("mm.sock", "var_run_t")):
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(lab.path / name))
            (lab.path / name).chmod(0o666)
            try:
                os.setxattr(lab.path / name, LABEL_ATTRIBUTE, f"system_u:object_r:{kind}:s0".encode())
            except OSError:
                pytest.skip("only root may label files, and not in every file system")
        yield lab.path


def said(place: Path, rules: Policy) -> list[tuple[str, str]]:
    """Subject and level of all that is said about SELinux."""
    found = examine(Request(str(place), is_probing=False, postfix_directory=str(place)), rules)
    return [(one.subject, one.level) for one in found if "SELinux" in one.text]


def test_what_the_policy_allows_is_fine(place: Path) -> None:
    assert said(place, Played(types=("milter_manager_t",))) == [("child", "ok"), ("postfix", "ok")]


def test_a_child_that_our_domain_may_not_write_to_is_an_error(place: Path) -> None:
    rules = Played(("unconfined_service_t", "greylist_milter_data_t", "sock_file", "write"))
    assert said(place, rules) == [("child", "error"), ("postfix", "ok")]


def test_our_socket_that_smtpd_may_not_write_to_is_an_error(place: Path) -> None:
    rules = Played(("postfix_smtpd_t", "var_run_t", "sock_file", "write"))
    assert said(place, rules) == [("child", "ok"), ("postfix", "error")]


def test_our_unconfined_daemon_that_smtpd_may_not_connect_to_is_an_error(place: Path) -> None:
    rules = Played(("postfix_smtpd_t", "unconfined_service_t", "unix_stream_socket", "connectto"))
    assert said(place, rules) == [("child", "ok"), ("postfix", "error")]


def test_a_permissive_policy_makes_warnings_of_errors(place: Path) -> None:
    rules = Played(("postfix_smtpd_t", "var_run_t", "sock_file", "write"))
    rules.is_enforcing = False
    assert said(place, rules) == [("child", "ok"), ("postfix", "warning")]
