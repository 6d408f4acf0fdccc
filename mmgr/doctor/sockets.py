"""What is to be said about the way to one unix socket for one user: the same for children and for our own socket."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator

from mmgr.doctor.access import DANGLING, LOOP, MISSING, NOT_A_DIRECTORY, UNSEEN, Step, Trail
from mmgr.doctor.findings import ERROR, NOTE, OK, WARNING, Finding
from mmgr.doctor.remedy import Owner, remedy
from mmgr.doctor.rights import Identity
from mmgr.doctor.selinux import denials, labels
from mmgr.doctor.surroundings import AS_ROOT, Surroundings

_ENDS = {
    MISSING: "{path} does not exist{why}",
    DANGLING: "{path} is a link that leads to {at}, which does not exist",
    LOOP: "{path} leads in a circle of links",
    NOT_A_DIRECTORY: "{at} is not a directory, so that nothing can be below it",
}


def broken(subject: str, path: str, trail: Trail, around: Surroundings, hint: str) -> Finding | None:
    """What is wrong with a path that leads to no socket; None for one that does. hint starts who should listen."""
    if trail.is_socket:
        return None
    if trail.end == UNSEEN:
        return Finding(subject, WARNING, f"{path}: we may not look below {_parent(trail)}", AS_ROOT)
    if trail.kind:
        return Finding(subject, ERROR, f"{path} is {trail.kind}, not a socket")
    text = _ENDS.get(trail.end, "{path} is no path that a socket can have")
    is_above = posixpath.basename(trail.at) != posixpath.basename(path)
    text = text.format(at=trail.at, path=path, why=f", as there is no {trail.at}" if is_above else "")
    if around.is_other_tree and trail.end == MISSING:
        return Finding(subject, NOTE, f"{text}, as long as nothing runs in this tree")
    return Finding(subject, ERROR, text, hint if trail.end in (MISSING, DANGLING) else "")


def reachable(
    subject: str, path: str, trail: Trail, identity: Identity, around: Surroundings, owner: Owner
) -> Iterator[Finding]:
    """Whether the user gets through as far as the trail goes, and what to type if not."""
    denied = trail.denied(identity)
    if trail.kind and not trail.is_socket:
        return
    if not denied:
        if trail.is_socket:
            yield Finding(subject, OK, f"user {identity.name} may connect to {path}")
        return
    cure = remedy(trail, identity, around.accounts, owner)
    facts = "; ".join(_denial(step, path, around) for step in denied)
    text = "; ".join([f"user {identity.name} may not connect to {path}: {facts}", *cure.remarks])
    yield Finding(subject, ERROR, text, "\n".join(cure.lines))


def _denial(step: Step, path: str, around: Surroundings) -> str:
    """``/run/x (0750 clamilt:clamilt) does not let it pass``."""
    name = "the socket" if step.path == path else step.path
    rights = step.rights
    owner = f"{around.accounts.user_name(rights.uid)}:{around.accounts.group_name(rights.gid)}"
    plus = "+" if rights.acl else ""
    deed = "pass" if step.is_directory else "write"
    return f"{name} ({rights.mode:04o}{plus} {owner}) does not let it {deed}"


def labelled(
    subject: str, path: str, trail: Trail, source: str, peer: str, around: Surroundings, hint: str
) -> Iterator[Finding]:
    """What SELinux says of a process of the type source that connects; nothing where SELinux is not enabled."""
    policy = around.policy
    if policy is None or around.is_other_tree:
        return
    way = labels(trail)
    denied = list(denials(policy, source, way, peer))
    if denied:
        level, mode = (ERROR, "") if policy.is_enforcing else (WARNING, " (only logged now, as SELinux is permissive)")
        repair = hint or f"restorecon -Rv {shlex.quote(_parent(trail))}"
        yield Finding(subject, level, f"SELinux{mode}: {'; '.join(denied)}", f"{repair}\nausearch -m avc -ts recent")
    elif way:
        yield Finding(subject, OK, f"SELinux lets {source} connect to {path}, which is {way[-1].kind}")
    else:
        yield Finding(subject, NOTE, f"SELinux: the type of {path} can't be read", AS_ROOT)


def _parent(trail: Trail) -> str:
    directories = [step.path for step in trail.steps if step.is_directory]
    return directories[-1] if directories else "/"
