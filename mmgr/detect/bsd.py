"""Start scripts of FreeBSD's ports and of pkgsrc: what they and rc.conf set, profiles, and whether rc starts them.

Sources: rc.conf(5), rc.subr(8) of FreeBSD and NetBSD, the ports mail/opendkim and mail/milter-greylist. ``detection``
calls this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mmgr.detect.base import Found, Where
from mmgr.detect.candidate import Platform, Service
from mmgr.detect.shell import Shell
from mmgr.detect.tree import Tree, Unreadable

_SETTINGS = ("/etc/rc.conf", "/etc/rc.conf.local", "/etc/rc.conf.d/{}", "/usr/local/etc/rc.conf.d/{}")
_ON = ("yes", "true", "on", "1")
_OWN = ("socket",)
"""What a profile does not take over from the variables without one."""

_PROFILE = re.compile(r"[A-Za-z0-9_]+")
MAX_PROFILES = 32
"""How many profiles of one script are looked at."""


def names(tree: Tree, platform: Platform) -> tuple[str, ...]:
    """The scripts of a tree; () where there are none."""
    try:
        return tuple(name for name in tree.names(platform.scripts) if tree.is_file(f"{platform.scripts}/{name}"))
    except Unreadable:
        return ()


def services(tree: Tree, platform: Platform, script: str) -> list[Service]:
    """What a script starts: one service, or one for each of its profiles; raises Absent or Unreadable.

    A script that gives itself no name is none of rc's: [].
    """
    tree.lines(f"{platform.scripts}/{script}")
    plain = _Script(tree, platform, script)
    if not plain.prefix:
        return []
    profiles = plain.shell.text(f"{plain.prefix}_profiles").split()[:MAX_PROFILES]
    found = [_Script(tree, platform, script, each) for each in profiles if _PROFILE.fullmatch(each)]
    return [each.service() for each in found or [plain]]


class _Script:
    """One run of a script, for one of its profiles or ("") for none."""

    def __init__(self, tree: Tree, platform: Platform, script: str, profile: str = "") -> None:
        self.platform = platform
        self.script = script
        self.profile = profile
        self.path = f"{platform.scripts}/{script}"
        self.is_configured = False
        self.shell = Shell(tree, builtins={"load_rc_config": self._configure})
        self.shell.read(self.path)
        if not self.is_configured:
            self._configure(())

    @property
    def prefix(self) -> str:
        """What the script's variables begin with."""
        return self.shell.text("name").replace("-", "_")

    def service(self) -> Service:
        """What rc would start."""
        is_started, why_not = self._start()
        return Service(
            name=f"{self.script}-{self.profile}" if self.profile else self.script,
            unit=Where(self.path),
            is_started=is_started,
            why_not=why_not,
            description=self.shell.variables.get("desc"),
            environment=self.shell.variables,
            prefix=self.prefix,
            profile=self.profile,
            user=self._own("user") or self._own("uid"),
            group=self._own("group"),
            problems=tuple(self.shell.problems),
        )

    def _own(self, name: str) -> str:
        return self.shell.text(f"{self.prefix}_{name}")

    def _configure(self, given: Sequence[str]) -> bool:
        """What the script calls to have rc.conf read; here the variables of the profile are put over the others."""
        self.is_configured = True
        for path in _SETTINGS:
            self.shell.read(path.format(given[0] if given else self.shell.text("name") or self.script))
        if self.profile:
            self._take_profile(self.shell.variables)
        return True

    def _take_profile(self, variables: Mapping[str, Found[str]]) -> None:
        infix = f"{self.prefix}_{self.profile}_"
        for name in _OWN:
            self.shell.variables.pop(f"{self.prefix}_{name}", None)
        for name, value in list(variables.items()):
            if name.startswith(infix):
                self.shell.variables[f"{self.prefix}_{name[len(infix) :]}"] = value

    def _start(self) -> tuple[Found[bool], str]:
        default = f"{self.prefix}_enable" if self.platform.family == "freebsd" else self.prefix
        name = self.shell.text("rcvar") or default
        switch = self.shell.variables.get(name)
        if switch is None:
            return Found(False, Where(self.path)), f"disabled: {name} is not set in rc.conf"
        is_on = switch.value.lower() in _ON
        return Found(is_on, switch.where), "" if is_on else f"disabled: {name}={switch.value}"
