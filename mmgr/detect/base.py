"""What detection says of one milter, and where each of its values was read. ``mmgr.detect.detection`` gives these.

Paths are those of the machine that is looked at ("/etc/opendkim.conf"), without the root directory in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Where:
    """A line of a file; line 0 is the file as a whole.

    An assumed value was read nowhere: path says in words whose default it is ("the package's default").
    """

    path: str
    line: int = 0
    is_assumed: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True)
class Found(Generic[T]):
    """A value and where it was read."""

    value: T
    where: Where


@dataclass(frozen=True)
class Problem:
    """What could not be read, or looks wrong: the milter ("" for none in particular), the place, what, what to do."""

    milter: str
    where: Where
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Detected:
    """One milter that is installed, used or not.

    name is the unit's (or script's) name and becomes the child's. connection_spec is text in our own socket syntax,
    None where nothing says where it listens. is_enabled says whether it is started at boot and its own settings let it
    work as a milter; why_not, why it is not. conditions are those that it gets by default. unit is the file that starts
    it; user and group run it, socket_group is who may connect, each "" where unknown. extra_timeout_s is what it takes
    longer than the usual deadlines (a tarpit), 0 for nothing, extra_timeout_where says so.
    """

    name: str
    unit: Where
    connection_spec: Found[str] | None
    is_enabled: Found[bool]
    description: Found[str] | None = None
    conditions: tuple[str, ...] = ()
    user: str = ""
    group: str = ""
    socket_group: str = ""
    extra_timeout_s: float = 0.0
    extra_timeout_where: Where | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Detection:
    """All that was found, in the order in which they should see a message; platform is what the tree looks like."""

    platform: str
    milters: tuple[Detected, ...] = ()
    problems: tuple[Problem, ...] = ()
