"""Whom the daemon runs as: what is looked up, and what is refused."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from mmgr.errors import PrivilegeError
from mmgr.master import privileges
from mmgr.master.privileges import Identity, group_id, look_up

NOBODY = pwd.getpwnam("nobody")
OTHER = pwd.getpwnam("daemon")
NONE = "no-such-name"


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def as_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: OTHER.pw_gid)
    monkeypatch.setattr(os, "getgroups", lambda: [NOBODY.pw_gid])


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("user", ["daemon", str(OTHER.pw_uid)])
def test_root_becomes_a_user_given_by_name_or_number(user: str) -> None:
    assert look_up(user, "") == Identity("daemon", OTHER.pw_uid, OTHER.pw_gid)


@pytest.mark.usefixtures("as_root")
def test_a_group_of_its_own_takes_the_place_of_the_users() -> None:
    group = grp.getgrgid(NOBODY.pw_gid)
    assert look_up("daemon", group.gr_name) == Identity("daemon", OTHER.pw_uid, group.gr_gid)


@pytest.mark.usefixtures("as_root")
def test_root_becomes_the_first_default_user_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "DEFAULT_USERS", (NONE, "daemon", "nobody"))
    assert look_up("", "") == Identity("daemon", OTHER.pw_uid, OTHER.pw_gid)


@pytest.mark.usefixtures("as_root")
def test_root_without_any_default_user_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "DEFAULT_USERS", (NONE,))
    with pytest.raises(PrivilegeError, match="use -u"):
        look_up("", "")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("user", ["root", "0", "00"])
def test_the_daemon_never_stays_root(user: str) -> None:
    with pytest.raises(PrivilegeError, match="is root"):
        look_up(user, "")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("user", [NONE, "4294967000", ""])
def test_a_user_that_does_not_exist_is_named(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "DEFAULT_USERS", (NONE,))
    with pytest.raises(PrivilegeError, match=user or NONE):
        look_up(user, "")


@pytest.mark.usefixtures("as_root")
def test_a_group_that_does_not_exist_is_named() -> None:
    with pytest.raises(PrivilegeError, match=f"no group {NONE}"):
        look_up("daemon", NONE)


@pytest.mark.usefixtures("as_daemon")
@pytest.mark.parametrize("user", ["", "daemon", str(OTHER.pw_uid)])
def test_without_root_we_stay_who_we_are(user: str) -> None:
    assert look_up(user, "") is None


@pytest.mark.usefixtures("as_daemon")
@pytest.mark.parametrize("gid", [OTHER.pw_gid, NOBODY.pw_gid])
def test_without_root_our_own_groups_may_be_named(gid: int) -> None:
    assert look_up("", str(gid)) is None


@pytest.mark.usefixtures("as_daemon")
@pytest.mark.parametrize(("user", "group"), [("nobody", ""), ("root", ""), ("", "0")])
def test_without_root_nobody_else_can_be_become(user: str, group: str) -> None:
    with pytest.raises(PrivilegeError, match="only root can"):
        look_up(user, group)


@pytest.mark.parametrize("group", ["0", "12345"])
def test_a_group_given_by_number_need_not_have_a_name(group: str) -> None:
    assert group_id(group) == int(group)


def test_a_group_is_known_by_its_name() -> None:
    assert group_id("root") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_becoming_somebody_is_for_ever_and_with_the_groups() -> None:
    """In a process of its own, which tells by its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            privileges.become(Identity("nobody", NOBODY.pw_uid, NOBODY.pw_gid))
            everybody = (os.getresuid(), os.getresgid(), set(os.getgroups()) - {NOBODY.pw_gid})
            code = 0 if everybody == ((NOBODY.pw_uid,) * 3, (NOBODY.pw_gid,) * 3, set()) else 2
            os.setuid(0)
            code = 3
        except PermissionError:
            os._exit(code)
        finally:
            os._exit(code or 4)
    _, status = os.waitpid(pid, 0)
    assert os.WEXITSTATUS(status) == 0
