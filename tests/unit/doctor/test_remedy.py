"""What is typed so that a user gets through: groups, what they grant besides, and rights that nobody has yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.tree import Tree
from mmgr.doctor.access import FOUND, Step, Trail
from mmgr.doctor.accounts import Accounts
from mmgr.doctor.remedy import Owner, Remedy, remedy
from mmgr.doctor.rights import PASS, WRITE, Identity, Rights

PASSWD = "root:x:0:0::/:/bin/sh\nmilter-manager:x:990:990::/:/bin/false\nclamilt:x:991:991::/:/bin/false\n"
GROUP = """\
root:x:0:
mail:x:12:postfix
clamilt:x:991:
grmilter:x:992:
postfix:x:89:
milter-manager:x:990:
in:x:50:a,milter-manager
"""


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return Accounts(Tree(str(tmp_path)))


def trail(directory: tuple[int, int, int], socket: tuple[int, int, int], path: str = "/run/x") -> Trail:
    steps = (Step(path, Rights(*directory), PASS), Step(f"{path}/s", Rights(*socket), WRITE))
    return Trail(steps, FOUND, f"{path}/s", "a socket")


def cure(accounts: Accounts, way: Trail, name: str = "child", files: frozenset[str] = frozenset()) -> Remedy:
    identity = accounts.identity("milter-manager")
    assert identity is not None
    return remedy(way, identity, accounts, Owner(name, "systemctl restart milter-manager", files))


def test_the_groups_of_a_user_are_its_own_and_those_that_name_it(accounts: Accounts) -> None:
    identity = accounts.identity("milter-manager")
    assert identity is not None
    assert identity.gids == {990, 50}


def test_one_group_for_directory_and_socket_is_joined_once(accounts: Accounts) -> None:
    found = cure(accounts, trail((991, 991, 0o710), (991, 991, 0o660)))
    assert found == Remedy((), ("usermod -aG clamilt milter-manager", "systemctl restart milter-manager"))


def test_two_groups_are_joined_in_one_line(accounts: Accounts) -> None:
    found = cure(accounts, trail((0, 12, 0o710), (991, 992, 0o660)))
    assert found.lines[0] == "usermod -aG mail,grmilter milter-manager"


def test_a_broad_group_is_said_to_grant_more_and_a_narrower_way_is_shown(accounts: Accounts) -> None:
    remarks = cure(accounts, trail((0, 12, 0o710), (991, 992, 0o660))).remarks
    assert "mailboxes" in remarks[0]
    assert "setfacl -m u:milter-manager:x /run/x" in remarks[1]


def test_nothing_is_typed_where_nothing_is_denied(accounts: Accounts) -> None:
    assert cure(accounts, trail((0, 0, 0o755), (991, 990, 0o660))) == Remedy((), ())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("clamav-milter", "# in /etc/mail/clamav-milter.conf write: MilterSocketMode 660"),
        ("opendkim", "# in /etc/opendkim.conf write: UMask 007"),
        ("milter-greylist", '# in /etc/mail/greylist.conf write: socket "/run/x/s" 660'),
        ("spamass-milter", '# in /etc/sysconfig/spamass-milter write: SOCKET_OPTIONS="-g clamilt"'),
        ("mimedefang", "# in /etc/sysconfig/mimedefang write: MD_ALLOW_GROUP_ACCESS=yes"),
        ("mine", "# in the unit of mine write: UMask=0007 (systemctl edit mine)"),
    ],
)
def test_where_the_group_may_not_write_the_milters_own_setting_is_named(
    accounts: Accounts, name: str, line: str
) -> None:
    found = cure(accounts, trail((0, 0, 0o755), (991, 991, 0o755)), name)
    assert found.lines[:3] == (line, f"systemctl restart {name}", "usermod -aG clamilt milter-manager")


def test_debians_file_is_named_where_it_is_there(accounts: Accounts) -> None:
    files = frozenset(("/etc/clamav/clamav-milter.conf",))
    found = cure(accounts, trail((0, 0, 0o755), (991, 991, 0o755)), "clamav-milter", files)
    assert found.lines[0].startswith("# in /etc/clamav/clamav-milter.conf ")


def test_nobody_is_told_to_join_root(accounts: Accounts) -> None:
    found = cure(accounts, trail((0, 0, 0o710), (0, 0, 0o660)))
    assert not any("usermod" in line for line in found.lines)


def test_a_directory_of_its_owner_alone_is_opened_by_a_list(accounts: Accounts) -> None:
    found = cure(accounts, trail((991, 991, 0o700), (991, 991, 0o666)))
    assert found.lines[0] == "setfacl -m u:milter-manager:x /run/x"


def test_a_group_whose_members_are_kept_out_elsewhere_is_not_joined(accounts: Accounts) -> None:
    found = cure(accounts, trail((991, 991, 0o705), (991, 991, 0o660)))
    assert found.lines == ("setfacl -m u:milter-manager:rw /run/x/s",)


def test_names_that_a_shell_would_read_are_quoted(accounts: Accounts) -> None:
    found = cure(accounts, trail((991, 991, 0o700), (991, 991, 0o666), "/run/a b"))
    assert found.lines[0] == "setfacl -m u:milter-manager:x '/run/a b'"


def test_rights_are_for_the_user_that_is_to_be_made(accounts: Accounts) -> None:
    borrowed = Identity("nobody", 65534, frozenset((65534,)), successor="milter-manager")
    found = remedy(trail((991, 991, 0o710), (991, 991, 0o660)), borrowed, accounts, Owner("child", "restart"))
    first = "# once there is a user milter-manager:"
    assert found.lines == (first, "usermod -aG clamilt milter-manager", "restart")


def test_rights_to_a_directory_are_for_that_user_too(accounts: Accounts) -> None:
    borrowed = Identity("nobody", 65534, frozenset((65534,)), successor="milter-manager")
    found = remedy(trail((991, 991, 0o700), (991, 991, 0o666)), borrowed, accounts, Owner("child", "restart"))
    assert "nobody" not in "\n".join(found.lines)
