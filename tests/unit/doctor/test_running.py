"""Groups that a process has, and those that its user got after it was started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mmgr.detect.tree import Tree
from mmgr.doctor.accounts import Accounts
from mmgr.doctor.findings import Finding
from mmgr.doctor.rights import Identity
from mmgr.doctor.running import ProcessIdentity, compared, process_identity

RUNNING = ProcessIdentity(990, frozenset((990, 12)))
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")


def findings(*gids: int, uid: int = 990) -> list[Finding]:
    return list(compared(RUNNING, Identity("milter-manager", uid, frozenset(gids)), Accounts(Tree())))


def test_a_group_that_came_later_needs_a_restart() -> None:
    (found,) = findings(990, 12, 61236)
    assert (found.level, found.hint) == ("warning", "systemctl restart milter-manager")
    assert "61236" in found.text


def test_a_process_with_all_groups_is_fine() -> None:
    assert findings(990, 12) == []


def test_a_process_of_another_user_is_a_note() -> None:
    assert [found.level for found in findings(990, uid=991)] == ["note"]


@contextmanager
def other(uid: int, gid: int, *groups: int) -> Iterator[int]:
    """A process of another user, until it is left."""
    ready, tell = os.pipe()
    held, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(hold)
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.write(tell, b"x")
            os.read(held, 1)
        finally:
            os._exit(0)
    os.read(ready, 1)
    yield pid
    for descriptor in (ready, tell, held, hold):
        os.close(descriptor)
    os.waitpid(pid, 0)


@as_root
def test_the_groups_of_a_running_process_are_read() -> None:
    with other(50001, 60001, 60002, 60003) as pid:
        assert process_identity(pid) == ProcessIdentity(50001, frozenset((60001, 60002, 60003)))


@pytest.mark.parametrize("pid", [0, 1, -1, 2**22 + 5])
def test_of_no_process_and_of_the_service_manager_nothing_is_known(pid: int) -> None:
    assert process_identity(pid) is None
