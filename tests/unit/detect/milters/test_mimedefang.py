from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmgr.detect.base import Found
from mmgr.detect.candidate import Service
from mmgr.detect.registry import candidate

from .services import SETTINGS, UNIT, examine, place, script, socket, started_by, texts

SHELL = """exec /usr/bin/mimedefang `[ -n "$LOOPBACK" ] && echo "-R $LOOPBACK"` -m $MX_SOCKET \
`[ -n "$SPOOLDIR" ] && echo "-z $SPOOLDIR"` `[ "$MD_ALLOW_GROUP_ACCESS" = "yes" ] && echo "-G"` \
-p $SOCKET -P /run/mimedefang/mimedefang.pid"""
SOCKET = "/var/spool/MIMEDefang/mimedefang.sock"
MX_SOCKET = "/var/spool/MIMEDefang/mimedefang-multiplexor.sock"


def unit_of_debian_12(**variables: str) -> Service:
    """The unit that starts mimedefang by a shell."""
    service = started_by("mimedefang", "/bin/sh -c", SOCKET=SOCKET, MX_SOCKET=MX_SOCKET, MX_USER="defang", **variables)
    return replace(service, argv=(*service.argv, Found(SHELL, UNIT)))


def test_the_unit_of_debian_12(tmp_path: Path) -> None:
    reading = examine(tmp_path, unit_of_debian_12(MD_ALLOW_GROUP_ACCESS="yes"), {})
    assert (socket(reading), place(reading), reading.user) == (f"unix:{SOCKET}", str(SETTINGS), "defang")


def test_a_group_that_is_let_in_is_no_problem(tmp_path: Path) -> None:
    assert texts(examine(tmp_path, unit_of_debian_12(MD_ALLOW_GROUP_ACCESS="yes"), {})) == []


@pytest.mark.parametrize("variables", [{}, {"MD_ALLOW_GROUP_ACCESS": "no"}])
def test_a_group_that_is_not_let_in_is_reported(tmp_path: Path, variables: dict[str, str]) -> None:
    (text,) = texts(examine(tmp_path, unit_of_debian_12(**variables), {}))
    assert text.endswith("the group of MIMEDefang may not connect to its socket")


def test_a_wrapper_leaves_the_variables(tmp_path: Path) -> None:
    service = started_by("mimedefang", "/usr/libexec/mimedefang-wrapper", SOCKET="/run/md.sock")
    assert socket(examine(tmp_path, service, {})) == "unix:/run/md.sock"


def test_the_command_line_counts_before_the_variables(tmp_path: Path) -> None:
    service = started_by("mimedefang", "/usr/bin/mimedefang -m /m -Gp /run/md.sock", SOCKET="/b")
    assert (socket(examine(tmp_path, service, {})), texts(examine(tmp_path / "2", service, {}))) == (
        "unix:/run/md.sock",
        [],
    )


def test_without_a_word_the_spool_directory_holds_the_socket(tmp_path: Path) -> None:
    reading = examine(tmp_path, script("mimedefang", SPOOLDIR="/srv/md"), {})
    assert (socket(reading), place(reading)) == ("unix:/srv/md/mimedefang.sock", str(SETTINGS))


def test_the_multiplexor_is_no_milter() -> None:
    assert candidate(("mimedefang-multiplexor",)) is None


def test_the_group_is_named_as_the_user_where_no_account_is_found(tmp_path: Path) -> None:
    assert examine(tmp_path, script("mimedefang", MX_USER="defang"), {}).socket_group == "defang"
