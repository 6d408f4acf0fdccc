"""What has to hold between settings: loops, sockets named twice, deadlines that are no use. PURE; ``loader`` calls it.

Each rule takes a ``Config`` and gives findings with the key at fault; ``Config.origins`` says where that came from.
Sockets are compared as they are written: no name is resolved here, so ``localhost`` is known to be loopback and
``mail.example.net`` is not.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmgr.conditions.builtin import BUILT_IN
from mmgr.conditions.expression import ExpressionCondition
from mmgr.config.model import Config
from mmgr.endpoint import Endpoint

POSTFIX_CONNECT_S = 30
"""``milter_connect_timeout`` of Postfix, by default."""

POSTFIX_COMMAND_S = 30
"""``milter_command_timeout`` of Postfix, by default."""

POSTFIX_CONTENT_S = 300
"""``milter_content_timeout`` of Postfix, by default."""

_LIMITS = (
    ("connection_timeout", "milter_connect_timeout"),
    ("writing_timeout", "milter_command_timeout"),
    ("reading_timeout", "milter_command_timeout"),
    ("end_of_message_timeout", "milter_content_timeout"),
)
"""Deadlines of a child, and the setting of Postfix that each has to stay below."""

_NEVER_TOGETHER = (("Authenticated", "Unauthenticated"), ("DNSBL Listed", "Not DNSBL Listed"))
_FOR_STRANGERS = frozenset(("Unauthenticated", "Remote Network"))
_SIGNERS = ("opendkim", "dkimpy-milter", "dkim-milter", "dkim-filter", "openarc")
_VERIFIERS = ("opendkim", "dkimpy-milter")
_CHANGERS = ("spamass-milter", "amavisd-milter", "amavisd-new-milter", "amavismilter", "mimedefang", "altermime-milter")
"""Milters that sign messages, that verify signatures, and that may replace bodies, by the names of their units."""

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_ANY_HOSTS = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. With an error nothing may start; the rest are warnings."""

    key: str
    problem: str
    hint: str
    is_error: bool


@dataclass(frozen=True)
class Limit:
    """How long Postfix waits, and the FILE:LINE that says so, "" for its default."""

    seconds: float
    where: str = ""


Patience = Mapping[str, Limit]
"""Limits by the name of Postfix's setting."""

DEFAULT_PATIENCE: Patience = {
    "milter_connect_timeout": Limit(POSTFIX_CONNECT_S),
    "milter_command_timeout": Limit(POSTFIX_COMMAND_S),
    "milter_content_timeout": Limit(POSTFIX_CONTENT_S),
}


def check(config: Config, patience: Patience = DEFAULT_PATIENCE) -> list[Finding]:
    """All findings, rule by rule, children in their order. patience is how long Postfix waits for us."""
    rules = (
        _listeners_twice,
        _loops,
        _sockets_twice,
        _conditions_at_odds,
        _signed_too_early,
        _verified_too_early,
        _never_true,
        _names_alike,
        _pool,
        _controller,
        _metrics,
    )
    return [*(finding for rule in rules for finding in rule(config)), *_late_deadlines(config, patience)]


def _listeners_twice(config: Config) -> Iterator[Finding]:
    seen: set[Endpoint] = set()
    for endpoint in config.manager.connection_spec:
        if _as_listener(endpoint) in seen:
            yield Finding(
                "manager.connection_spec", f"{endpoint} is listed twice", "a socket is listened on once", True
            )
        seen.add(_as_listener(endpoint))


def _loops(config: Config) -> Iterator[Finding]:
    for child in config.children:
        for endpoint in child.connection_spec:
            if any(_leads_to(endpoint, listener) for listener in _own_sockets(config)):
                key = f"milters.{child.name}.connection_spec"
                problem = f"{endpoint} is a socket that this manager itself listens on, which makes a loop"
                yield Finding(key, problem, "name the socket of the milter", True)


def _sockets_twice(config: Config) -> Iterator[Finding]:
    first: dict[Endpoint, str] = {}
    for child in config.enabled_children:
        key = f"milters.{child.name}.connection_spec"
        own: set[Endpoint] = set()
        for endpoint in child.connection_spec:
            socket = _as_child(endpoint)
            if socket in own:
                yield Finding(key, f"{endpoint} is listed twice", "one of the two is enough", False)
            elif first.setdefault(socket, child.name) != child.name:
                problem = f"{endpoint} is the socket of milter {first[socket]} too"
                yield Finding(key, problem, "the milter behind it sees each message twice", False)
            own.add(socket)


def _late_deadlines(config: Config, patience: Patience) -> Iterator[Finding]:
    for child in config.enabled_children:
        for key, postfix_key in _LIMITS:
            value_s, limit = getattr(child, f"{key}_s"), patience[postfix_key]
            if value_s >= limit.seconds:
                problem = f"{value_s:g} seconds are not below the {limit.seconds:g} that Postfix waits"
                problem += f" ({limit.where}: {postfix_key})" if limit.where else ""
                hint = f"Postfix gives up first: shorten it, or set {postfix_key} to more in main.cf"
                yield Finding(f"milters.{child.name}.{key}", problem, hint, False)


def _conditions_at_odds(config: Config) -> Iterator[Finding]:
    """Conditions that never apply together, or not at all."""
    for child in config.enabled_children:
        key = f"milters.{child.name}.applicable_conditions"
        named = set(child.applicable_conditions)
        for pair in _NEVER_TOGETHER:
            if set(pair) <= named:
                yield Finding(key, f"{' and '.join(pair)} never apply together", "the milter is never used", False)
        if "DNSBL Listed" in named and not _has_services(config):
            hint = "name block lists in [conditions] [[DNSBL Listed]] services"
            yield Finding(key, "DNSBL Listed never applies, as no block list is configured", hint, False)


def _has_services(config: Config) -> bool:
    return bool(getattr(config.conditions.built_in.get("DNSBL Listed"), "services", ()))


def _signed_too_early(config: Config) -> Iterator[Finding]:
    """What signs a message has to stand behind whatever changes it.

    Mail that is signed comes from our own users: what sees strangers alone is no matter.
    """
    signers: list[str] = []
    for child in config.enabled_children:
        if _is_one_of(child.name, _SIGNERS):
            signers.append(child.name)
        elif signers and _is_one_of(child.name, _CHANGERS) and not _FOR_STRANGERS & set(child.applicable_conditions):
            key = f"milters.{child.name}.connection_spec"
            problem = f"{child.name} may change messages that {signers[0]} has signed already"
            yield Finding(key, problem, f"[manager] milter_order = {child.name}, {signers[0]}", False)


def _verified_too_early(config: Config) -> Iterator[Finding]:
    """opendmarc judges by what a verifier of DKIM has written into the message."""
    early = ""
    for child in config.enabled_children:
        if _is_one_of(child.name, ("opendmarc",)):
            early = early or child.name
        elif early and _is_one_of(child.name, _VERIFIERS) and "Authenticated" not in child.applicable_conditions:
            key = f"milters.{early}.connection_spec"
            problem = f"{early} looks for the results of {child.name}, which comes behind it"
            yield Finding(key, problem, f"[manager] milter_order = {child.name}, {early}", False)


def _never_true(config: Config) -> Iterator[Finding]:
    """Expressions of which it is plain that they never apply."""
    for own in config.conditions.own:
        condition = config.compiled.get(own.name)
        if isinstance(condition, ExpressionCondition) and condition.doubt:
            key = f"conditions.{own.name}.expression"
            yield Finding(key, f"can never be true: {condition.doubt}", "write or where one of them is enough", False)


def _names_alike(config: Config) -> Iterator[Finding]:
    """Conditions of the administrator's that are called as others are, but for capitals."""
    seen = {name.casefold(): name for name in BUILT_IN}
    for own in config.conditions.own:
        other = seen.setdefault(own.name.casefold(), own.name)
        if other != own.name:
            problem = f"is another condition than {other}, from which capitals alone tell it"
            yield Finding(f"conditions.{own.name}", problem, f"write [[{other}]] if that is meant, or rename it", False)


def _is_one_of(name: str, known: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith((f"{one}-", f"{one}@")) for one in known)


def _pool(config: Config) -> Iterator[Finding]:
    workers = config.workers
    if workers.max_spare < workers.min_spare:
        problem = f"{workers.max_spare} is below min_spare, {workers.min_spare}"
        yield Finding("workers.max_spare", problem, "workers would be started and ended all the time", True)
    if 0 < workers.max_workers < workers.min_spare:
        problem = f"{workers.max_workers} is below min_spare, {workers.min_spare}"
        yield Finding("workers.max_workers", problem, "there are never more workers than this", False)
    for key in ("min_spare", "max_spare", "max_workers"):
        if workers.n_workers and f"workers.{key}" in config.origins:
            problem = f"without effect, as n_workers fixes the pool at {workers.n_workers}"
            yield Finding(f"workers.{key}", problem, "leave one of the two out", False)


def _controller(config: Config) -> Iterator[Finding]:
    """The control sockets: an administrative one is protected by its permissions alone."""
    settings = config.controller
    taken = {_as_listener(endpoint) for endpoint in config.manager.connection_spec}
    for prefix in ("", "read_only_"):
        endpoint = getattr(settings, f"{prefix}connection_spec")
        if endpoint is None:
            continue
        key = f"controller.{prefix}connection_spec"
        if _as_listener(endpoint) in taken:
            yield Finding(key, f"{endpoint} is listed twice", "a socket is listened on once", True)
        taken.add(_as_listener(endpoint))
        if endpoint.kind != "unix" and not prefix:
            problem = f"{endpoint} has no permissions, so that everybody who can connect could stop the daemon"
            yield Finding(key, problem, "write unix:PATH; read_only_connection_spec may be an inet socket", True)
        mode, group = getattr(settings, f"{prefix}unix_socket_mode"), getattr(settings, f"{prefix}unix_socket_group")
        if group and not mode & 0o020:
            problem = f"mode {mode:04o} does not let the group {group} connect"
            yield Finding(f"controller.{prefix}unix_socket_mode", problem, "connecting takes the right to write", False)
        if not prefix and mode & 0o002:
            problem = f"mode {mode:04o} lets every user of this machine stop the daemon"
            yield Finding("controller.unix_socket_mode", problem, "0600, or 0660 with a group, keeps them out", False)


def _metrics(config: Config) -> Iterator[Finding]:
    """The metrics: nobody is asked who they are, so the socket has to be of this machine alone."""
    settings = config.metrics
    endpoint = settings.connection_spec
    if endpoint is not None:
        key = "metrics.connection_spec"
        taken = [one for one in _own_sockets(config) if one is not endpoint]
        if _as_listener(endpoint) in map(_as_listener, taken):
            yield Finding(key, f"{endpoint} is listed twice", "a socket is listened on once", True)
        if endpoint.kind != "unix" and not _is_loopback(endpoint.host):
            problem = f"{endpoint} may be connected from other machines, and nobody is asked who they are"
            own = "inet6:PORT@[::1]" if endpoint.kind == "inet6" else "inet:PORT@127.0.0.1"
            yield Finding(key, problem, f"write {own} or unix:PATH, behind a proxy if others have to read it", True)
        if settings.unix_socket_group and not settings.unix_socket_mode & 0o020:
            problem = (
                f"mode {settings.unix_socket_mode:04o} does not let the group {settings.unix_socket_group} connect"
            )
            yield Finding("metrics.unix_socket_mode", problem, "connecting takes the right to write", False)
    if settings.file and not settings.file.startswith("/"):
        yield Finding("metrics.file", f"{settings.file} is no absolute path", "begin it with /", True)
    elif settings.file and not settings.file.endswith(".prom"):
        problem = f"{settings.file} is not read by node_exporter"
        yield Finding("metrics.file", problem, "let its name end with .prom", False)


def _is_loopback(host: str) -> bool:
    """Does the text name this machine and no other? Of names only ``localhost`` does for certain."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _own_sockets(config: Config) -> list[Endpoint]:
    """All that this manager listens on."""
    controller = config.controller
    others = (controller.connection_spec, controller.read_only_connection_spec, config.metrics.connection_spec)
    return [*config.manager.connection_spec, *(endpoint for endpoint in others if endpoint is not None)]


def _leads_to(endpoint: Endpoint, listener: Endpoint) -> bool:
    """Whether connecting to the endpoint reaches the listener, as far as the text tells."""
    child, own = _as_child(endpoint), _as_listener(listener)
    if child == own:
        return True
    is_same_port = child.kind != "unix" and (child.kind, child.port) == (own.kind, own.port)
    return is_same_port and child.host == "localhost" and not own.host


def _as_child(endpoint: Endpoint) -> Endpoint:
    """One spelling for sockets that are the same when they are connected: no host, and any host, are this machine."""
    return _normal(endpoint, dict.fromkeys(_LOOPBACK_HOSTS + _ANY_HOSTS, "localhost"))


def _as_listener(endpoint: Endpoint) -> Endpoint:
    """One spelling for sockets that are the same when they are listened on: no host is every interface."""
    hosts = dict.fromkeys(_LOOPBACK_HOSTS, "localhost")
    return _normal(endpoint, {**hosts, **dict.fromkeys(_ANY_HOSTS, "")})


def _normal(endpoint: Endpoint, hosts: dict[str, str]) -> Endpoint:
    """``/var/run`` is ``/run``, and host names have no case."""
    if endpoint.kind != "unix":
        host = endpoint.host.lower()
        return Endpoint(endpoint.kind, host=hosts.get(host, host), port=endpoint.port)
    path = posixpath.normpath(endpoint.path)
    return Endpoint("unix", path=path[len("/var") :] if path.startswith("/var/run/") else path)
