"""What the doctor was told and found at the beginning, which all of its examinations share."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mmgr.config.model import ChildSettings
from mmgr.detect.base import Detected
from mmgr.detect.tree import Tree
from mmgr.detect.unitpath import UnitPath
from mmgr.doctor.access import Trail, walk
from mmgr.doctor.accounts import Accounts
from mmgr.doctor.remedy import OTHER_PLACES
from mmgr.doctor.rights import Identity
from mmgr.doctor.selinux import Policy

AS_ROOT = "# run this as root"


@dataclass(frozen=True)
class Surroundings:
    """The tree that is looked at, and as whom.

    identity is the daemon's user, None where there is no such user. is_probing says whether peers are connected; never
    in another tree. policy is SELinux's, None where it is not enabled. detected are the milters that are installed.
    """

    tree: Tree
    accounts: Accounts
    identity: Identity | None
    is_probing: bool
    timeout_s: float
    policy: Policy | None = None
    detected: tuple[Detected, ...] = ()

    @property
    def is_other_tree(self) -> bool:
        """Is it another tree than this machine's own?"""
        return bool(self.tree.root)

    def trail(self, path: str) -> Trail:
        """The way to a path of the tree."""
        return walk(path, self.tree.root)

    def detected_as(self, child: ChildSettings) -> Detected | None:
        """The installed milter of a child's name."""
        return next((one for one in self.detected if one.name == child.name), None)

    def has_unit(self, name: str) -> bool:
        """Whether there is a service of that name, made out to be a milter or not."""
        is_unit = "/" not in name and bool(UnitPath(self.tree).fragment(f"{name}.service"))
        return is_unit or self.tree.is_file(f"/etc/init.d/{name}")

    def settings_files(self) -> frozenset[str]:
        """Which of the places where settings may be are there."""
        return frozenset(file for files in OTHER_PLACES.values() for file in files if self.tree.is_file(file))


def is_root() -> bool:
    """May we see everything?"""
    return os.geteuid() == 0
