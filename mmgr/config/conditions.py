"""Makes the conditions that milters may name: built in, of the configuration, and of plug-ins. ``loader`` calls it.

What a condition decides is ``mmgr.conditions``'; here settings become conditions, and their faults get a key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmgr.conditions.base import Condition
from mmgr.conditions.builtin import BUILT_IN
from mmgr.conditions.dnsbl import zones_of
from mmgr.conditions.expression import ExpressionError, compile_expression
from mmgr.conditions.patterns import PatternError
from mmgr.conditions.restrict_accounts import RestrictAccounts
from mmgr.config.model import Config, DnsblSettings, OwnCondition
from mmgr.config.plugins import load_plugins
from mmgr.config.spec import CONDITIONS
from mmgr.config.values import ValueRefused, shown
from mmgr.errors import ConfigError
from mmgr.resolver import ResolverUnavailable, parse_name_server, require_dnspython

_LISTED, _NOT_LISTED = "DNSBL Listed", "Not DNSBL Listed"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a setting of a condition; line counts from the line of its key."""

    key: str
    problem: str
    hint: str = ""
    line: int = 0


@dataclass(frozen=True)
class Compiled:
    """All conditions by name; failed are the names of those that could not be made."""

    conditions: Mapping[str, Condition]
    failed: frozenset[str]
    faults: tuple[Fault, ...]
    plugin_errors: tuple[ConfigError, ...]


def check_condition_name(name: str) -> None:
    """Raise ValueRefused unless a condition of the administrator's may be called so."""
    if name in BUILT_IN:
        raise ValueRefused(
            f"the condition {name} has no settings", "it is built in, and always decides in the same way"
        )
    if not name.strip() or not name.isprintable() or "," in name or ('"' in name and "'" in name):
        hint = "a name such as Office Hours, without comma, does"
        raise ValueRefused(f"{shown(name)} can't be the name of a condition", hint)


def compile_conditions(config: Config) -> Compiled:
    """Every condition there is. Reads plug-ins, if they are switched on; raises nothing."""
    made: dict[str, Condition] = {}
    faults: list[Fault] = []
    for name, make in BUILT_IN.items():
        settings = _settings_of(config, name)
        try:
            made[name] = make(**settings)
        except PatternError as error:
            key = _key_at_fault(make, settings)
            faults.append(Fault(".".join(filter(None, (CONDITIONS, name, key))), error.problem, error.hint))
    for own in config.conditions.own:
        try:
            made[own.name] = _own(own)
        except _Wrong as wrong:
            faults.append(wrong.fault)
    faults += _resolver_faults(config, made)
    found, plugin_errors = _plugins(config)
    for name, condition in found.items():
        if name in made:
            faults.append(Fault(f"{CONDITIONS}.{name}", "a plug-in has a condition of the same name", "rename one"))
        made.setdefault(name, condition)
    wanted = (*BUILT_IN, *(own.name for own in config.conditions.own))
    failed = frozenset(name for name in wanted if name not in made)
    return Compiled(made, failed, tuple(faults), tuple(plugin_errors))


class _Wrong(Exception):
    """A condition of the configuration that can't be made."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def _settings_of(config: Config, name: str) -> dict[str, Any]:
    record: Any = config.conditions.built_in.get(name)
    if name == _NOT_LISTED and isinstance(record, DnsblSettings) and not record.services:
        record = config.conditions.built_in.get(_LISTED)
    return {} if record is None else {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}


def _key_at_fault(make: Callable[..., Condition], settings: Mapping[str, Any]) -> str:
    """The setting that can't even be had alone; "" if it takes several to go wrong."""
    for key, value in settings.items():
        try:
            make(**{key: value})
        except PatternError:
            return key
    return ""


def _own(own: OwnCondition) -> Condition:
    key = f"{CONDITIONS}.{own.name}"
    if bool(own.expression) == bool(own.accounts):
        problem = "has both an expression and accounts" if own.expression else "has neither expression nor accounts"
        raise _Wrong(Fault(key, problem, "write expression = ... or accounts = ..., one of them"))
    try:
        if own.accounts:
            return RestrictAccounts(own.name, own.accounts, own.description)
        return compile_expression(own.name, own.expression, own.description)
    except PatternError as error:
        raise _Wrong(Fault(f"{key}.accounts", error.problem, error.hint)) from error
    except ExpressionError as error:
        problem = f"column {error.column}: {error.problem}"
        raise _Wrong(Fault(f"{key}.expression", problem, error.hint, error.line - 1)) from error


def _resolver_faults(config: Config, made: Mapping[str, Condition]) -> Iterator[Fault]:
    """Name servers that can't be meant, and a DNS that can't be asked; looked at only if some milter depends on it."""
    used = {name for child in config.enabled_children for name in child.applicable_conditions}
    if not zones_of(made[name] for name in used if name in made):
        return
    try:
        require_dnspython()
    except ResolverUnavailable as error:
        yield Fault(f"{CONDITIONS}.{_LISTED}.services", str(error))
    for address in config.conditions.dns_name_servers:
        try:
            parse_name_server(address)
        except PatternError as error:
            yield Fault(f"{CONDITIONS}.dns_name_servers", error.problem, error.hint)


def _plugins(config: Config) -> tuple[Mapping[str, Condition], list[ConfigError]]:
    if not config.conditions.plugins or config.directory is None:
        return {}, []
    return load_plugins(config.directory)
