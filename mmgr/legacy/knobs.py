"""The knobs of the conditions that come with milter manager 2: ``s25r``, ``trust``, ``dnsbl`` and the rest. PURE.

Lists that had items from the start keep them: what is written is everything that was in force.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterable, Mapping
from functools import partial

from mmgr.conditions.builtin import RestrictAccounts
from mmgr.conditions.dnsbl import SERVICES_MAX, parse_service
from mmgr.conditions.patterns import PatternError, Patterns
from mmgr.config.spec import CHILDREN, CONDITIONS, spec
from mmgr.legacy import regexps, settings
from mmgr.legacy.children import change_conditions, child_path
from mmgr.legacy.draft import Entry
from mmgr.legacy.following import FileFault, Here, Translation, Verb
from mmgr.legacy.own_conditions import condition_name
from mmgr.legacy.shapes import Shape, Untranslatable
from mmgr.legacy.tokens import Regexp, Symbol, Value

S25R = (CONDITIONS, "S25R")
REMOTE = (CONDITIONS, "Remote Network")
TRUST = (CONDITIONS, "Trust")
LISTED = (CONDITIONS, "DNSBL Listed")

OLD_SERVICES = ("zen.spamhaus.org=127.0.0.10/31", "bl.spamcop.net=127.0.0.2", "b.barracudacentral.org=127.0.0.2")
"""What milter manager 2 asks from the start, without dnsbl.sorbs.net, which was shut down in 2024."""

_SORBS = "those that milter manager 2 asks from the start, but for dnsbl.sorbs.net, which was shut down in 2024"

_BLOCK = "a Ruby block decides"
_DNSBL = ("DNSBL Listed", "Not DNSBL Listed")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+=@-]*[A-Za-z0-9_])?")
_LIST_LINE = re.compile(r"/(.*)/")


def pattern(value: Value) -> str:
    """One item of a list of names: a text is compared as a whole, an expression looked for. Raises Untranslatable."""
    if isinstance(value, Regexp):
        item = regexps.item(value)
    elif isinstance(value, str) and not isinstance(value, Symbol):
        item = _name(value)
    else:
        raise Untranslatable("an item is neither text nor a regular expression")
    settings.fit(item)
    if "'''" in item or '"""' in item:
        raise Untranslatable("an item has three quotes in a row")
    try:
        Patterns([item])
    except PatternError as error:
        raise Untranslatable(str(error)) from error
    return item


def _name(value: str) -> str:
    if value[:1] in (".", "@"):
        raise Untranslatable(f"{value[:60]!r} was compared with the whole name, so that it never matched")
    if _NAME.fullmatch(value):
        return value
    if not value.isascii() or not value.isprintable() or not value:
        raise Untranslatable("an item is no name")
    return regexps.exactly(value)


def _values(shape: Shape) -> tuple[Value, ...]:
    if shape.block is not None:
        raise Untranslatable(_BLOCK)
    if not shape.arguments or shape.options:
        raise Untranslatable("it has no arguments that could be translated")
    return shape.arguments


def _initial(path: tuple[str, ...], key: str) -> list[str]:
    """What a list holds when nothing is set."""
    setting = spec().keys_of(path)[key]
    return list(settings.default(setting))


def _add_patterns(path: tuple[str, str], key: str, translation: Translation, here: Here, shape: Shape) -> None:
    if len(_values(shape)) != 1:
        raise Untranslatable("it takes one name or one regular expression")
    translation.add(here, path, key, [pattern(shape.arguments[0])], _initial(path, key))


def _add_address(key: str, translation: Translation, here: Here, shape: Shape) -> None:
    """``remote_network.add_...``; of an address with a mask, milter manager 2 takes the whole network."""
    (value,) = _values(shape) if len(shape.arguments) == 1 else (None,)
    try:
        network = str(ipaddress.ip_network(value if isinstance(value, str) else "", strict=False))
    except ValueError as error:
        raise Untranslatable("it is no address or network") from error
    item = network if isinstance(value, str) and "/" in value else network.partition("/")[0]
    other = "remote_addresses" if key == "local_addresses" else "local_addresses"
    if item in translation.draft.items(REMOTE, other):
        raise Untranslatable(f"{item} is in {other} as well; milter manager 2 takes it for remote")
    translation.add(here, REMOTE, key, [item], [])


def _only_ipv4(translation: Translation, here: Here, shape: Shape) -> None:
    if not isinstance(shape.value, bool) or shape.operator != "=":
        raise Untranslatable("the value is neither true nor false")
    translation.put(S25R, "only_check_ipv4", Entry("yes" if shape.value else "no", [here.origin]))


def _clear_trust(translation: Translation, here: Here, shape: Shape) -> None:
    if not shape.is_bare:
        raise Untranslatable("it has no arguments that could be translated")
    translation.put(TRUST, "envelope_from_domains", Entry([], [here.origin]))


def _load_trust(translation: Translation, here: Here, shape: Shape) -> None:
    """``trust.load_envelope_from_domains``: the domains are copied, as the file has Ruby's regular expressions."""
    name = _values(shape)[0]
    found = translation.files.matches(name) if isinstance(name, str) else []
    if not found or len(shape.arguments) != 1:
        raise Untranslatable("there is no such file")
    for path in found:
        try:
            lines = translation.files.text(path).splitlines()
        except FileFault as fault:
            raise Untranslatable(f"{fault.path}: {fault.problem}") from fault
        key = "envelope_from_domains"
        remark = f"copied from {posixpath.normpath(path)}"
        translation.add(here, TRUST, key, _domains(translation, here, path, lines), _initial(TRUST, key), remark)


def _domains(translation: Translation, here: Here, path: str, lines: Iterable[str]) -> list[str]:
    found = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line and not line.startswith("#"):
            expression = _LIST_LINE.fullmatch(line)
            try:
                found.append(pattern(Regexp(expression[1], "i") if expression else line))
            except Untranslatable as error:
                translation.report_line(path, number, line, str(error), here.section)
    return found


def _threshold(translation: Translation, here: Here, shape: Shape) -> None:
    """``stress.threshold_n_connections``, which counted the sessions of one process."""
    if isinstance(shape.value, bool) or not isinstance(shape.value, int) or shape.operator != "=":
        raise Untranslatable("the value is not a whole number")
    if shape.value == 0:
        raise Untranslatable("0 was never any stress; here it is three quarters of all workers")
    setting = spec().sections[CONDITIONS]["stress_threshold"]
    text = settings.written(setting, shape.value)
    settings.check(setting, text)
    translation.put((CONDITIONS,), "stress_threshold", Entry(text, [here.origin]))


def _add_service(translation: Translation, here: Here, shape: Shape) -> None:
    texts = [value for value in _values(shape) if isinstance(value, str)]
    if len(texts) != len(shape.arguments) or len(texts) > 2:
        raise Untranslatable("it is no zone with an answer")
    item = "=".join(texts)
    try:
        parse_service(item)
    except PatternError as error:
        raise Untranslatable(str(error)) from error
    if len({*OLD_SERVICES, *translation.draft.items(LISTED, "services"), item}) > SERVICES_MAX:
        raise Untranslatable(f"more than {SERVICES_MAX} services are too many here")
    translation.add(here, LISTED, "services", [item], list(OLD_SERVICES), _SORBS)


def _name_servers(translation: Translation, here: Here, shape: Shape) -> None:
    """``dnsbl.name_server`` and ``name_servers``."""
    values = shape.value if isinstance(shape.value, list) else [shape.value]
    found = []
    for value in values:
        try:
            found.append(str(ipaddress.ip_address(value if isinstance(value, str) else "")))
        except ValueError as error:
            raise Untranslatable("it is no address") from error
    if shape.operator != "=" or not found:
        raise Untranslatable("it is no list of addresses")
    translation.put((CONDITIONS,), "dns_name_servers", Entry(found, [here.origin]))


def _restrict(translation: Translation, here: Here, shape: Shape) -> None:
    """``restrict_accounts_by_list``: a condition of its own, for all milters that are defined or for those named."""
    if shape.block is not None:
        raise Untranslatable(_BLOCK)
    name, names, is_for_all = _restricted(translation, shape)
    accounts = [pattern(value) for value in shape.arguments]
    try:
        RestrictAccounts(name, accounts)
    except PatternError as error:
        raise Untranslatable(str(error)) from error
    if name in translation.conditions:
        raise Untranslatable(f"there is a condition {name} already")
    paths = [child_path(child) for child in names]
    translation.conditions.add(name)
    translation.put((CONDITIONS, condition_name(name)), "accounts", Entry(accounts, [here.origin]))
    for path in paths:
        translation.draft.section(path, here.origin)
        try:
            change_conditions(translation, here, path[1], [name], is_added=True)
        except Untranslatable as error:
            translation.left(here, f"milter {path[1]}: {error}")
    if is_for_all and translation.is_detecting:
        translation.left(here, f"milters that are found on the machine are not known here; give them {name}")


def _restricted(translation: Translation, shape: Shape) -> tuple[str, list[str], bool]:
    """The name of the condition, the milters that get it, and whether these are all that are known."""
    options = dict(shape.options)
    default = "Restrict Accounts"
    count = 1
    while default in translation.conditions:
        count += 1
        default = f"Restrict Accounts {count}"
    name, names = options.pop("condition_name", default), options.pop("milters", None)
    is_for_all = names is None
    if is_for_all:
        names = [child for child in translation.draft.children() if child not in translation.removed]
    if options or not isinstance(name, str) or not isinstance(names, list):
        raise Untranslatable("it has options that are not known here")
    found = [child for child in names if isinstance(child, str)]
    if len(found) != len(names):
        raise Untranslatable("its milters are no list of names")
    return condition_name(name), found, is_for_all


def finish(translation: Translation) -> None:
    """The DNSBL conditions asked services from the start; here they ask none that is not written."""
    draft = translation.draft
    for path in list(draft.sections):
        used = set(draft.items(path, "applicable_conditions")) if path[:1] == (CHILDREN,) else set()
        if used.intersection(_DNSBL) and not draft.has(LISTED, "services"):
            draft.section(LISTED)
            translation.put(LISTED, "services", Entry(list(OLD_SERVICES), [], [_SORBS]))


CALLS: Mapping[str, Verb] = {
    "s25r.add_whitelist": partial(_add_patterns, S25R, "whitelist"),
    "s25r.add_blacklist": partial(_add_patterns, S25R, "blacklist"),
    "remote_network.add_local_address": partial(_add_address, "local_addresses"),
    "remote_network.add_remote_address": partial(_add_address, "remote_addresses"),
    "trust.clear": _clear_trust,
    "trust.add_envelope_from_domain": partial(_add_patterns, TRUST, "envelope_from_domains"),
    "trust.load_envelope_from_domains": _load_trust,
    "dnsbl.add_service": _add_service,
    "restrict_accounts_by_list": _restrict,
}
ASSIGNMENTS: Mapping[str, Verb] = {
    "s25r.only_check_ipv4": _only_ipv4,
    "s25r.check_only_ipv4": _only_ipv4,
    "stress.threshold_n_connections": _threshold,
    "dnsbl.name_server": _name_servers,
    "dnsbl.name_servers": _name_servers,
}
