"""The examination of one child: its sockets, our rights to them, who answers there, and what SELinux says."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from mmgr.config.model import ChildSettings
from mmgr.doctor.findings import ERROR, NOTE, OK, WARNING, Finding
from mmgr.doctor.milterlist import same
from mmgr.doctor.probe import CLOSED, FOREIGN, MILTER, REFUSED, SILENT, Answer, probe
from mmgr.doctor.remedy import RESTART, Owner
from mmgr.doctor.selinux import denies_port, our_domain, type_of
from mmgr.doctor.sockets import broken, labelled, reachable
from mmgr.doctor.surroundings import AS_ROOT, Surroundings, is_root
from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import EndpointError
from mmgr.protocol.constants import ActionFlag, flag_names


def examine(child: ChildSettings, around: Surroundings) -> Iterator[Finding]:
    """All that is to be said about a child, in the order in which one would look. Blocks while peers are probed."""
    if not child.enabled:
        yield Finding(child.name, NOTE, "is disabled, and was not looked at")
        return
    for endpoint in child.connection_spec:
        if endpoint.kind == "unix":
            yield from _unix(child, endpoint, around)
        else:
            yield from _inet(child, endpoint, around)
    yield from _as_detected(child, around)


def _unix(child: ChildSettings, endpoint: Endpoint, around: Surroundings) -> Iterator[Finding]:
    if not endpoint.path.startswith("/"):
        text = f"{endpoint} has no slash in front: it counts from the directory that the daemon is started in"
        yield Finding(child.name, WARNING, text)
        return
    trail = around.trail(endpoint.path)
    wrong = broken(child.name, endpoint.path, trail, around, _start(child, around))
    if wrong:
        yield wrong
    if around.identity is not None:
        owner = Owner(child.name, RESTART, around.settings_files())
        yield from reachable(child.name, endpoint.path, trail, around.identity, around, owner)
    if wrong:
        return
    answer = probe(endpoint, around.timeout_s) if around.is_probing else None
    if around.policy is not None:
        source = our_domain(around.policy)
        peer = type_of(answer.peer_label) if answer else ""
        yield from labelled(child.name, endpoint.path, trail, source, peer, around, "")
    if answer is not None:
        yield from said(child.name, endpoint, answer, _start(child, around))


def _inet(child: ChildSettings, endpoint: Endpoint, around: Surroundings) -> Iterator[Finding]:
    policy = around.policy
    if policy is not None and denies_port(policy, our_domain(policy), endpoint.port):
        text = f"SELinux does not let {our_domain(policy)} connect to port {endpoint.port}"
        hint = f"semanage port -a -t milter_port_t -p tcp {endpoint.port}"
        yield Finding(child.name, ERROR if policy.is_enforcing else WARNING, text, hint)
    if around.is_probing:
        yield from said(child.name, endpoint, probe(endpoint, around.timeout_s), _start(child, around))
    else:
        why = ", as nothing runs in this tree" if around.is_other_tree else ""
        yield Finding(child.name, NOTE, f"listens on {endpoint}, says the configuration; nobody was asked there{why}")


def said(subject: str, endpoint: Endpoint, answer: Answer, start: str) -> Iterator[Finding]:
    """What a peer's answer means. start is what to type where nobody listens."""
    if answer.outcome == MILTER and answer.options is not None:
        actions = flag_names(ActionFlag, answer.options.actions)
        text = f"{endpoint} speaks milter, version {answer.options.version}; actions {actions}"
        yield Finding(subject, OK, text)
    elif answer.outcome == FOREIGN and answer.foreign is not None:
        text = f"{endpoint} is no milter but {answer.foreign.what}: it says '{answer.text}'"
        yield Finding(subject, ERROR, text, answer.foreign.hint)
    elif answer.outcome == CLOSED:
        text = (
            f"{endpoint} closes the connection without an answer: it is no milter, or one that takes no more sessions"
        )
        yield Finding(subject, ERROR, text, start)
    elif answer.outcome == SILENT:
        text = f"{endpoint} takes the connection and says nothing ({answer.text}): a milter that hangs or is too busy, "
        yield Finding(
            subject, ERROR, f"{text}or a service that waits for something else, such as a policy service", start
        )
    elif answer.outcome == REFUSED:
        yield from _refused(subject, endpoint, answer, start)
    else:
        yield Finding(subject, ERROR, f"{endpoint}: {answer.text}", start)


def _refused(subject: str, endpoint: Endpoint, answer: Answer, start: str) -> Iterator[Finding]:
    if answer.text == "Permission denied" and not is_root():
        yield Finding(subject, WARNING, f"{endpoint}: we may not connect, so nobody knows who answers there", AS_ROOT)
        return
    stale = ", the socket was left behind" if endpoint.kind == "unix" and answer.text == "Connection refused" else ""
    yield Finding(subject, ERROR, f"nobody answers on {endpoint}: {answer.text}{stale}", start)


def _start(child: ChildSettings, around: Surroundings) -> str:
    """What starts a milter that is not there."""
    found = around.detected_as(child)
    if found is None:
        if around.has_unit(child.name):
            return f"systemctl status {shlex.quote(child.name)}"
        return f"# there is no service {child.name} here: start the milter by what runs it, or write enabled = no"
    if not found.is_enabled.value and found.why_not:
        return f"# {found.is_enabled.where}: {found.why_not}\nsystemctl enable --now {shlex.quote(found.name)}"
    return f"systemctl {'start' if found.is_enabled.value else 'enable --now'} {shlex.quote(found.name)}"


def _as_detected(child: ChildSettings, around: Surroundings) -> Iterator[Finding]:
    """Whether the milter's own settings name another socket than ours do."""
    found = around.detected_as(child)
    if found is None or found.connection_spec is None:
        return
    own = found.connection_spec
    try:
        endpoint = parse_endpoint(own.value)
    except EndpointError:
        return
    if not own.where.is_assumed and not any(same(spec, endpoint, True) for spec in child.connection_spec):
        specs = ", ".join(map(str, child.connection_spec))
        text = f"listens on {own.value}, says {own.where}; we are configured to look on {specs}"
        hint = f"# below [milters] [[{child.name}]] write: connection_spec = {own.value}\nmilter-managerctl reload"
        yield Finding(child.name, WARNING, text, hint)
