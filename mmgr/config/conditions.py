"""Makes the conditions that milters may name: built in, of the configuration, and of plug-ins. ``loader`` calls it.

What a condition decides is ``mmgr.conditions``'; here settings become conditions, and their faults get a key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
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
        settings, inherited_from = _settings_of(config, name)
        try:
            made[name] = make(**settings)
        except PatternError as error:
            if not inherited_from:  # else they have been told already
                faults += _faults_of(name, make, settings, error)
    for own in config.conditions.own:
        wrong = list(_faults_of_own(own))
        faults += wrong
        if not wrong:
            made[own.name] = _own(own)
    faults += _resolver_faults(config, made)
    found, plugin_errors = _plugins(config)
    for name, condition in found.items():
        if name in made:
            faults.append(Fault(f"{CONDITIONS}.{name}", "a plug-in has a condition of the same name", "rename one"))
        made.setdefault(name, condition)
    wanted = (*BUILT_IN, *(own.name for own in config.conditions.own))
    failed = frozenset(name for name in wanted if name not in made)
    return Compiled(made, failed, tuple(faults), tuple(plugin_errors))


def _settings_of(config: Config, name: str) -> tuple[dict[str, Any], str]:
    """The settings of a built-in condition, and the condition that they are taken from, if it is another."""
    record: Any = config.conditions.built_in.get(name)
    inherited_from = ""
    if name == _NOT_LISTED and isinstance(record, DnsblSettings) and not record.services:
        inherited_from, record = _LISTED, config.conditions.built_in.get(_LISTED)
    if record is None:
        return {}, ""
    return {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}, inherited_from


def _faults_of(
    name: str, make: Callable[..., Condition], settings: Mapping[str, Any], error: PatternError
) -> Iterator[Fault]:
    """All faults of a condition that can't be made: those that each setting has alone, else what several make."""
    alone = {key: _refused(partial(make, **{key: value})) for key, value in settings.items()}
    for key, faults in alone.items():
        yield from (Fault(f"{CONDITIONS}.{name}.{key}", each.problem, each.hint) for each in faults)
    if not any(alone.values()):
        yield Fault(f"{CONDITIONS}.{name}", error.problem, error.hint)


def _refused(make: Callable[[], Condition]) -> tuple[PatternError, ...]:
    try:
        make()
    except PatternError as error:
        return error.faults
    return ()


def _faults_of_own(own: OwnCondition) -> Iterator[Fault]:
    key = f"{CONDITIONS}.{own.name}"
    if bool(own.expression) == bool(own.accounts):
        problem = "has both an expression and accounts" if own.expression else "has neither expression nor accounts"
        yield Fault(key, problem, "write expression = ... or accounts = ..., one of them")
    if own.accounts:
        for each in _refused(lambda: RestrictAccounts(own.name, own.accounts, own.description)):
            yield Fault(f"{key}.accounts", each.problem, each.hint)
    if own.expression:
        try:
            compile_expression(own.name, own.expression, own.description)
        except ExpressionError as error:
            yield Fault(f"{key}.expression", f"column {error.column}: {error.problem}", error.hint, error.line - 1)


def _own(own: OwnCondition) -> Condition:
    if own.accounts:
        return RestrictAccounts(own.name, own.accounts, own.description)
    return compile_expression(own.name, own.expression, own.description)


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
