"""The whole examination: configuration, our own socket, each child, Postfix. The command line prints what it gives.

It blocks while peers are probed, and changes nothing. It needs neither a running daemon nor root, and says what it
could not see.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mmgr.config.loader import glance, load
from mmgr.config.model import Config
from mmgr.detect.base import Detected
from mmgr.detect.detection import detect
from mmgr.detect.tree import Tree
from mmgr.doctor import children, postfix, postfix_settings
from mmgr.doctor.access import MISSING
from mmgr.doctor.accounts import Accounts
from mmgr.doctor.findings import ERROR, MANAGER, NOTE, OK, POSTFIX, WARNING, Finding
from mmgr.doctor.milterlist import plain_path, written
from mmgr.doctor.postfix import PostfixFiles, Reach
from mmgr.doctor.postfix_settings import DEADLINES
from mmgr.doctor.probe import REFUSED, Answer, probe
from mmgr.doctor.remedy import SERVICE, Owner, usermod
from mmgr.doctor.rights import WRITE, Identity, Rights
from mmgr.doctor.running import compared, process_identity
from mmgr.doctor.selinux import SMTPD_DOMAIN, Policy, our_domain, policy, type_of
from mmgr.doctor.sockets import broken, labelled, reachable
from mmgr.doctor.surroundings import AS_ROOT, Surroundings, is_root
from mmgr.endpoint import Endpoint
from mmgr.errors import ConfigError, ConfigErrors

NOBODY = "nobody"
"""Whom a daemon becomes that root starts, where there is neither a configured user nor its own."""

START = f"systemctl enable --now {SERVICE}"


@dataclass(frozen=True)
class Request:
    """What is to be examined. directory is the configuration's, None for no files; user "" is the configured one.

    root is "" for this machine.
    """

    directory: str | None
    root: str = ""
    user: str = ""
    is_probing: bool = True
    timeout_s: float = 5.0
    postfix_directory: str = postfix.CONFIG_DIRECTORY


def examine(request: Request, rules: Policy | None = None) -> list[Finding]:
    """All findings: the manager's, then each child's in configured order, then Postfix's."""
    config, findings = _configuration(request)
    tree = Tree(request.root)
    accounts = Accounts(tree)
    identity, about = _identity(request, config, accounts)
    findings += about
    is_probing = request.is_probing and not tree.root
    selinux = None if tree.root else rules or policy()
    detected = _detected(request, config)
    around = Surroundings(tree, accounts, identity, is_probing, request.timeout_s, selinux, detected)
    if not is_root():
        findings.append(Finding(MANAGER, NOTE, "not run as root, so that some things can't be seen", AS_ROOT))
    files, about_postfix = postfix.read(tree, request.postfix_directory)
    judged, reaches = postfix.judge(files, config) if files else ([], [])
    answers = {spec: probe(spec, request.timeout_s) for spec in config.manager.connection_spec} if is_probing else {}
    findings += _own_sockets(config, around, answers, bool(reaches))
    for child in config.children:
        findings += children.examine(child, around)
    if not config.children:
        findings.append(Finding(MANAGER, WARNING, "no milter is configured: all mail passes"))
    findings += [*about_postfix, *judged]
    if files:
        findings += postfix_settings.judge(files, config, reaches)
        findings += _postfix_reaches(files, config, around, reaches, answers)
    return _sorted(_without_guesses(findings, files), config)


def _configuration(request: Request) -> tuple[Config, list[Finding]]:
    """What is configured; with faults what of it can be read, and each fault."""
    try:
        result = load(request.directory, None, request.root or "/")
    except ConfigErrors as faults:
        config = glance(request.directory)
        return config, [Finding(_subject(fault, config), ERROR, str(fault)) for fault in faults.errors]
    found = [Finding(MANAGER, WARNING, warning) for warning in result.warnings]
    if request.directory is None:
        found.append(Finding(MANAGER, NOTE, "there is no configuration directory: what is installed counts"))
    return result.config, found


def _detected(request: Request, config: Config) -> tuple[Detected, ...]:
    """The milters that are installed, unless the configuration says not to look for them."""
    if not config.package.detection:
        return ()
    options = dict(pair.split("=", 1) for pair in config.package.options)
    return detect(request.root or "/", config.package.platform, options).milters


def _subject(fault: ConfigError, config: Config) -> str:
    names = [child.name for child in config.children]
    return next((name for name in names if fault.key.startswith(f"milters.{name}.")), MANAGER)


def _without_guesses(findings: Iterable[Finding], files: PostfixFiles | None) -> Iterator[Finding]:
    """The loader compares deadlines with Postfix's defaults; with main.cf at hand we know better."""
    keys = tuple(f".{key}: " for key, _, _ in DEADLINES)
    for finding in findings:
        is_guess = finding.subject == MANAGER and finding.level == WARNING and "that Postfix waits" in finding.text
        if not (files and is_guess and any(key in finding.text for key in keys)):
            yield finding


def _sorted(findings: Iterable[Finding], config: Config) -> list[Finding]:
    order = [MANAGER, *(child.name for child in config.children), POSTFIX]
    return sorted(findings, key=lambda finding: order.index(finding.subject))


def _identity(request: Request, config: Config, accounts: Accounts) -> tuple[Identity | None, list[Finding]]:
    """Whom the daemon runs as."""
    user = request.user or config.security.effective_user
    group = "" if request.user else config.security.effective_group
    default = NOBODY if is_root() or request.root else str(os.geteuid())
    for name in (user,) if user else (SERVICE, default):
        found = accounts.identity(name, group)
        if found is not None:
            groups = ", ".join(accounts.group_name(gid) for gid in sorted(found.gids))
            about = [Finding(MANAGER, OK, f"looked at as user {found.name} with the groups {groups}")]
            if name == NOBODY != user:
                return replace(found, successor=SERVICE), [*about, _borrowed()]
            return found, about
    text = f"there is no user {user or SERVICE}" + (f" or no group {group}" if group else "")
    name = user or SERVICE
    return None, [Finding(MANAGER, ERROR, text, _new_user(name))]


def _borrowed() -> Finding:
    """A user of everybody's must not get into groups."""
    whose = "whom other programs run as too: don't add it to groups"
    text = f"there is no user {SERVICE}, so that the daemon becomes {NOBODY}, {whose}"
    return Finding(MANAGER, WARNING, text, _new_user(SERVICE))


def _new_user(name: str) -> str:
    return f"useradd --system --user-group --no-create-home --shell /sbin/nologin {shlex.quote(name)}"


def _own_sockets(
    config: Config, around: Surroundings, answers: dict[Endpoint, Answer], is_asked: bool
) -> Iterator[Finding]:
    """Whether the daemon is there."""
    for endpoint in config.manager.connection_spec:
        trail = around.trail(endpoint.path) if endpoint.kind == "unix" else None
        wrong = broken(MANAGER, endpoint.path, trail, around, START) if trail else None
        if trail and wrong and trail.end == MISSING and wrong.level == ERROR:
            level, more = (ERROR, ", and Postfix asks us there") if is_asked else (WARNING, "")
            yield Finding(MANAGER, level, f"{wrong.text}: the daemon does not run{more}", START)
        elif wrong:
            yield wrong
        elif endpoint in answers:
            answer = answers[endpoint]
            level = WARNING if answer.outcome == REFUSED and not is_asked else ""
            for finding in children.said(MANAGER, endpoint, answer, START):
                yield Finding(MANAGER, level or finding.level, finding.text, finding.hint)
            process = process_identity(answer.peer_pid)
            if process and around.identity:
                yield from compared(process, around.identity, around.accounts)


def _postfix_reaches(
    files: PostfixFiles,
    config: Config,
    around: Surroundings,
    reaches: Sequence[Reach],
    answers: dict[Endpoint, Answer],
) -> list[Finding]:
    """Whether Postfix's processes get to our socket; each way is said once."""
    found: list[Finding] = []
    user = files.main.value("mail_owner")
    identity = around.accounts.identity(user)
    if reaches and identity is None:
        found.append(Finding(POSTFIX, WARNING, f"there is no user {user} (mail_owner), so its rights are not known"))
    for reach in reaches:
        if reach.listener.kind == "unix":
            found += _hidden(files, reach)
            found += _way(config, around, reach, identity, answers.get(reach.listener))
    return list(dict.fromkeys(found))


def _hidden(files: PostfixFiles, reach: Reach) -> Iterator[Finding]:
    if plain_path(reach.path) == plain_path(reach.listener.path):
        return
    queue = reach.place.main.value("queue_directory")
    if reach.place.is_chrooted:
        text = f"{reach.place.name} runs in a chroot: it looks for {reach.item.text} at {reach.path}, where we are not"
        config = "" if files.directory == postfix.CONFIG_DIRECTORY else f"-c {shlex.quote(files.directory)} "
        lines = [f"postconf {config}-F {shlex.quote(f'{label}/chroot=n')}" for label in reach.place.labels]
        inside = f"# or let us listen on a path below {queue}, or on {written(Endpoint('inet', port=10025))}"
        yield Finding(POSTFIX, ERROR, text, "\n".join([*lines, postfix.RELOAD, inside]))
    else:
        text = f"{reach.place.name}: {reach.item.text} counts from {queue}, where we are not: it lacks a slash in front"
        yield Finding(POSTFIX, ERROR, text)


def _way(
    config: Config, around: Surroundings, reach: Reach, identity: Identity | None, answer: Answer | None
) -> Iterator[Finding]:
    if plain_path(reach.path) != plain_path(reach.listener.path):
        return
    trail = around.trail(reach.path)
    if identity is not None:
        owner = Owner(SERVICE, postfix.RELOAD)
        yield from reachable(POSTFIX, reach.path, trail, identity, around, owner)
        if trail.end == MISSING:
            yield from _later(config, around, identity)
    if around.policy is not None and trail.is_socket:
        peer = type_of(answer.peer_label) if answer else our_domain(around.policy)
        hint = "# install milter-manager-selinux, or listen on inet:10025@127.0.0.1\nrestorecon -Rv /run/milter-manager"
        yield from labelled(POSTFIX, reach.path, trail, SMTPD_DOMAIN, peer, around, hint)


def _later(config: Config, around: Surroundings, identity: Identity) -> Iterator[Finding]:
    """Of a socket that is not there yet: whether Postfix may connect once the daemon has made it."""
    if around.identity is None:
        return
    name = config.manager.unix_socket_group or config.security.effective_group
    gid = around.accounts.gid(name) if name else around.accounts.primary_gid(around.identity.name)
    if gid is None:
        return
    rights = Rights(around.identity.uid, gid, config.manager.unix_socket_mode)
    if rights.allows(identity, WRITE):
        return
    group = around.accounts.group_name(gid)
    text = f"user {identity.name} will not be able to connect once the daemon runs: its socket will be"
    hint = f"{usermod(identity.name, [group])}\n{postfix.RELOAD}" if rights.granting_groups(identity, WRITE) else ""
    hint = hint or "# below [manager] write: unix_socket_mode = 0660"
    yield Finding(POSTFIX, ERROR, f"{text} {rights.mode:04o} {around.identity.name}:{group}", hint)
