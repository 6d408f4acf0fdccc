"""Whether SELinux lets somebody through to a socket: asked of the kernel's own policy, where SELinux is enabled.

Nothing is said where it is not. The kernel answers through /sys/fs/selinux (selinux(8)): ``context`` says whether a
type exists, ``access`` what one domain may do with a type. What the targeted policies of EL 8 to 10 grant milters is
written in packaging/rpm/selinux.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmgr.doctor.access import Trail

SELINUX_DIRECTORY = "/sys/fs/selinux"
LABEL_ATTRIBUTE = "security.selinux"

OUR_DOMAIN = "milter_manager_t"
UNCONFINED_DOMAIN = "unconfined_service_t"
SMTPD_DOMAIN = "postfix_smtpd_t"

MILTER_PORTS = (8890, 8891, 8893)
"""``milter_port_t`` of the base policy."""


class Policy(Protocol):
    """What is asked of a policy. None is: nobody knows."""

    is_enforcing: bool

    def knows(self, kind: str) -> bool | None:
        """Whether there is such a type."""

    def allows(self, source: str, target: str, object_class: str, permission: str) -> bool | None:
        """Whether a process of one type may do this with an object of another."""


class KernelPolicy:
    """The policy that is in force."""

    def __init__(self, directory: str = SELINUX_DIRECTORY) -> None:
        self._directory = Path(directory)
        self.is_enforcing = _text(self._directory / "enforce") == "1"

    def knows(self, kind: str) -> bool | None:
        """The kernel refuses a context whose type it does not know."""
        context = f"system_u:object_r:{kind}:s0"
        return self._ask("context", context) is not None if (self._directory / "context").exists() else None

    def allows(self, source: str, target: str, object_class: str, permission: str) -> bool | None:
        """The kernel answers with the permissions as bits, numbered as in ``class/CLASS/perms``."""
        about = self._directory / "class" / object_class
        index, number = _text(about / "index"), _text(about / "perms" / permission)
        if not index.isdigit() or not number.isdigit():
            return None
        question = f"system_u:system_r:{source}:s0 system_u:object_r:{target}:s0 {index}"
        answer = (self._ask("access", question) or "").split()
        try:
            return bool(int(answer[0], 16) >> (int(number) - 1) & 1)
        except (IndexError, ValueError):
            return None

    def _ask(self, file: str, question: str) -> str | None:
        try:
            descriptor = os.open(self._directory / file, os.O_RDWR)
        except OSError:
            return None
        try:
            os.write(descriptor, question.encode())
            return os.read(descriptor, 4096).decode("ascii", "replace")
        except OSError:
            return None
        finally:
            os.close(descriptor)


def policy(directory: str = SELINUX_DIRECTORY) -> Policy | None:
    """The policy in force, None where SELinux is not enabled."""
    return KernelPolicy(directory) if os.path.exists(f"{directory}/enforce") else None


def type_of(context: str) -> str:
    """The type in a context: "milter_manager_t" of "system_u:system_r:milter_manager_t:s0"; "" where there is none."""
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else ""


@dataclass(frozen=True)
class Labelled:
    """A directory or socket on the way, with its type."""

    path: str
    kind: str
    is_directory: bool


def labels(trail: Trail) -> tuple[Labelled, ...]:
    """The types of all that stands on the way to a socket of this machine; what has none is left out."""
    found = [Labelled(step.path, type_of(_label(step.path)), step.is_directory) for step in trail.steps]
    return tuple(one for one in found if one.kind)


def denials(policy: Policy, source: str, way: Iterable[Labelled], peer: str = "") -> Iterator[str]:
    """What the policy denies a process of the type source that connects this way, in words.

    peer is the type of the process that listens, "" where unknown.
    """
    for one in way:
        wanted = ("dir", "search") if one.is_directory else ("sock_file", "write")
        if policy.allows(source, one.kind, *wanted) is False:
            yield f"{source} may not {'enter' if one.is_directory else 'write to'} {one.path}, which is {one.kind}"
    if peer and policy.allows(source, peer, "unix_stream_socket", "connectto") is False:
        yield f"{source} may not connect to processes of type {peer}"


def denies_port(policy: Policy, source: str, port: int) -> bool:
    """Whether the policy keeps a process of the type source from connecting to a TCP port.

    Ports that are no milter's by the base policy count as of no particular service.
    """
    kind = "milter_port_t" if port in MILTER_PORTS else "unreserved_port_t"
    return policy.allows(source, kind, "tcp_socket", "name_connect") is False


def our_domain(policy: Policy) -> str:
    """The type that the daemon runs as: its own where our module is loaded."""
    return OUR_DOMAIN if policy.knows(OUR_DOMAIN) else UNCONFINED_DOMAIN


def _label(path: str) -> str:
    try:
        return os.getxattr(path, LABEL_ATTRIBUTE, follow_symlinks=False).rstrip(b"\0").decode("ascii", "replace")
    except (OSError, AttributeError):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
