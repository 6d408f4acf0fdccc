"""What the framework hands to the file of a milter, and what that file answers: the border between the two.

``systemd``, ``sysv`` and ``bsd`` make a Service of each unit or script; the files in ``mmgr.detect.milters`` make a
Reading of the Service and of the milter's own configuration; ``detection`` puts both together. Each of those files has
constants of the kind Candidate, which ``registry`` lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.tree import Tree

GREYLIST_CONDITIONS = (
    "Sendmail Compatible",
    "Stress Notify",
    "Trust",
    "Remote Network",
    "S25R",
    "Unauthenticated",
)
"""The incumbent's for milter-greylist."""

SPAM_CONDITIONS = ("Remote Network", "Unauthenticated", "No Stress")
"""The incumbent's for milters that look for spam: spamass-milter, rspamd, enma, spfmilter, milter-sid, milter-regex."""

VERIFYING_CONDITIONS = ("Remote Network", "Unauthenticated")
"""For milters that may reject what our own users send, because these come from anywhere: opendmarc, SPF."""

ALWAYS: tuple[str, ...] = ()
"""For milters that every message has to pass: antivirus, and those that sign."""


@dataclass(frozen=True)
class Platform:
    """What a tree looks like. name is the reported one ("redhat8"), family decides on names, places and order.

    family is "redhat", "debian", "linux" (any other with systemd), "freebsd" or "pkgsrc". configuration is the
    directory where milters keep theirs: "/etc", "/usr/local/etc" on FreeBSD, "/usr/pkg/etc" for pkgsrc.
    """

    name: str
    family: str
    configuration: str = "/etc"
    scripts: str = "/etc/init.d"

    @property
    def has_units(self) -> bool:
        """Whether systemd starts things here."""
        return self.family not in ("freebsd", "pkgsrc")


@dataclass(frozen=True)
class Service:
    """What starts a milter, after all expansion.

    name is the unit's without ".service", or the script's. argv is the command as the kernel would get it, [0] is the
    program, () where it is not known (a script). environment holds Environment= and EnvironmentFile= of a unit; of a
    script the variables that it and its settings file assign; on FreeBSD and pkgsrc the variables of rc.conf and the
    script by their full names (``milteropendkim_socket``), with prefix that of the script ("milteropendkim").
    is_started says whether it starts at boot, why_not why it does not. runtime_directory is that of the unit
    ("/run/opendkim") or "". aliases are the unit's other names, without ".service".
    """

    name: str
    unit: Where
    is_started: Found[bool]
    description: Found[str] | None = None
    argv: tuple[Found[str], ...] = ()
    environment: Mapping[str, Found[str]] = field(default_factory=dict)
    prefix: str = ""
    profile: str = ""
    aliases: tuple[str, ...] = ()
    user: str = ""
    group: str = ""
    runtime_directory: str = ""
    why_not: str = ""
    problems: tuple[Problem, ...] = ()

    def variable(self, *names: str) -> Found[str] | None:
        """The first of the variables that has a value, by name; on BSD also PREFIX_name in small letters."""
        for name in names:
            for key in (name, f"{self.prefix}_{name.lower()}") if self.prefix else (name,):
                found = self.environment.get(key)
                if found is not None and found.value:
                    return found
        return None


@dataclass(frozen=True)
class Reading:
    """What the milter's own settings say.

    connection_spec is in our syntax, None where nothing says where it listens. why_not is the reason why it does not
    work as a milter, with the line that says so ("the line Example is still there"), None if it does. socket_group is
    who may connect, "" where unknown. user and group count where the unit names none.
    """

    connection_spec: Found[str] | None = None
    why_not: Found[str] | None = None
    socket_group: str = ""
    user: str = ""
    group: str = ""
    extra_timeout_s: float = 0.0
    extra_timeout_where: Where | None = None
    problems: tuple[Problem, ...] = ()


Examine = Callable[[Service, Tree, Platform], Reading]
"""Reads the milter's own settings. What it can find without them (a socket on the command line) it looks for first.

It may let Unreadable through, for a file that it needs: that is reported, and default_sockets of the candidate is
assumed. A file that need not be there (Absent) it has to expect itself.
"""


@dataclass(frozen=True)
class Candidate:
    """One kind of milter: the names of its units and scripts on any platform, what it gets, and how to read it.

    An instance of a template ("opendkim@a") and a FreeBSD profile count as the template's name. Where it stands in the
    pipeline is said in ``registry``. default_sockets is where it listens as packaged, by family of platform ("" for all
    others), assumed where its settings are there and can't be read.
    """

    names: tuple[str, ...]
    examine: Examine
    conditions: tuple[str, ...] = ALWAYS
    default_sockets: Mapping[str, str] = field(default_factory=dict)

    def default_socket(self, platform: Platform) -> str:
        """The socket as packaged, in our syntax; "" where there is none."""
        return self.default_sockets.get(platform.family, self.default_sockets.get("", ""))
