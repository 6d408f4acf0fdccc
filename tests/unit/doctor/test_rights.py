"""Modes and access control lists: as tables, and against what the kernel really lets a process do."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.doctor.access import walk
from mmgr.doctor.rights import (
    ACL_ATTRIBUTE,
    GROUP,
    GROUP_OBJ,
    MASK,
    OTHER,
    PASS,
    USER,
    USER_OBJ,
    WRITE,
    AclEntry,
    Identity,
    Rights,
    decode_acl,
)
from tests.support.processes import LabDirectory

US = Identity("us", 1000, frozenset((1000, 2000)))
ANYBODY = 0xFFFFFFFF
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and becomes others")


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "is_allowed"),
    [
        (1000, 5, 0o200, True),
        (1000, 2000, 0o577, False),  # the owner is judged as the owner, whatever others may
        (5, 2000, 0o020, True),
        (5, 2000, 0o707, False),  # a member is judged as a member
        (5, 5, 0o002, True),
        (5, 5, 0o770, False),
    ],
)
def test_the_first_class_that_fits_decides(uid: int, gid: int, mode: int, is_allowed: bool) -> None:
    assert Rights(uid, gid, mode).allows(US, WRITE) is is_allowed


def test_root_may_do_everything() -> None:
    assert Rights(5, 5, 0).allows(Identity("root", 0, frozenset((0,))), WRITE)


def acl(*entries: AclEntry, group: int = 0, other: int = 0, mask: int = 7) -> tuple[AclEntry, ...]:
    base = (AclEntry(USER_OBJ, 7), AclEntry(GROUP_OBJ, group), AclEntry(MASK, mask), AclEntry(OTHER, other))
    return (*base, *entries)


@pytest.mark.parametrize(
    ("entries", "is_allowed"),
    [
        (acl(AclEntry(USER, WRITE, 1000)), True),
        (acl(AclEntry(USER, WRITE, 1000), mask=PASS), False),
        (acl(AclEntry(USER, 0, 1000), AclEntry(GROUP, WRITE, 2000), other=7), False),
        (acl(AclEntry(GROUP, WRITE, 2000)), True),
        (acl(AclEntry(GROUP, 0, 2000), other=7), False),
        (acl(AclEntry(GROUP, 0, 1000), AclEntry(GROUP, WRITE, 2000)), True),
        (acl(other=WRITE), True),
        (acl(other=WRITE, mask=0), True),
    ],
)
def test_a_list_decides_as_acl_5_says(entries: tuple[AclEntry, ...], is_allowed: bool) -> None:
    bits = {entry.tag: entry.bits for entry in entries}
    mode = 0o700 | bits[MASK] << 3 | bits[OTHER]  # as the kernel keeps it
    assert Rights(5, 5, mode, entries).allows(US, WRITE) is is_allowed


def test_a_group_grants_that_would_let_its_member_through() -> None:
    entries = acl(AclEntry(GROUP, WRITE, 3000), AclEntry(GROUP, PASS, 4000), group=WRITE)
    assert Rights(5, 2500, 0o770, entries).granting_groups(US, WRITE) == (2500, 3000)


def test_no_group_grants_what_the_owner_lacks() -> None:
    assert Rights(1000, 2500, 0o070).granting_groups(US, WRITE) == ()


def encoded(entries: tuple[AclEntry, ...]) -> bytes:
    """As the kernel takes it: named ones between their classes, in the order of their tags."""
    rows = sorted((entry.tag, entry.bits, entry.number if entry.tag in (USER, GROUP) else ANYBODY) for entry in entries)
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_list_or_none(value: bytes) -> None:
    assert all(entry.bits >= 0 for entry in decode_acl(value))


@given(st.binary(max_size=40).filter(lambda value: value[:4] != b"\2\0\0\0" or len(value) % 8 != 4))
def test_what_is_no_list_is_none(value: bytes) -> None:
    assert decode_acl(value) == ()


# ---- the kernel agrees

bits = st.integers(0, 7)
identities = st.builds(
    lambda uid, gids: Identity("somebody", uid, frozenset(gids)),
    st.sampled_from([50001, 50002]),
    st.sets(st.sampled_from([60001, 60002, 60003]), min_size=1),
)
lists = st.one_of(
    st.just(()),
    st.builds(
        lambda user, group, mask, owner, own, other: (
            AclEntry(USER_OBJ, owner),
            AclEntry(USER, user, 50001),
            AclEntry(GROUP_OBJ, own),
            AclEntry(GROUP, group, 60002),
            AclEntry(MASK, mask),
            AclEntry(OTHER, other),
        ),
        *[bits] * 6,
    ),
)


def connects_as(identity: Identity, path: Path) -> bool:
    """Whether a process of this identity really connects."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            first, *others = sorted(identity.gids)
            os.setgroups(others)
            os.setresgid(first, first, first)
            os.setresuid(identity.uid, identity.uid, identity.uid)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
            code = 0
        except PermissionError:
            code = 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return code == 0


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A listening socket in a directory of its own below one that everybody may enter."""
    with LabDirectory() as lab, socket.socket(socket.AF_UNIX) as listener:
        directory = lab.path / "d"
        directory.mkdir()
        listener.bind(str(directory / "s"))
        listener.listen(1000)
        yield directory


@as_root
@settings(max_examples=80, deadline=None)
@given(identity=identities, modes=st.tuples(bits, bits, bits, bits, bits, bits), directory=lists, target=lists)
def test_the_kernel_decides_alike(
    place: Path,
    identity: Identity,
    modes: tuple[int, int, int, int, int, int],
    directory: tuple[AclEntry, ...],
    target: tuple[AclEntry, ...],
) -> None:
    for path, (owner, group, other), entries in ((place, modes[:3], directory), (place / "s", modes[3:], target)):
        if ACL_ATTRIBUTE in os.listxattr(path):
            os.removexattr(path, ACL_ATTRIBUTE)
        os.chown(path, 50001, 60001)
        path.chmod(owner << 6 | group << 3 | other)
        if entries:
            os.setxattr(path, ACL_ATTRIBUTE, encoded(entries))
    assert connects_as(identity, place / "s") is (walk(str(place / "s")).denied(identity) == ())
