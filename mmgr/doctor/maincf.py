"""Postfix's main.cf and master.cf as they are written: lines in, values and services out. PURE; ``postfix`` judges.

Sources: postconf(5) (logical lines, $name), master(5) (columns, -o), MILTER_README. Only parameters that matter for
milters have a default here. A conditional ``${{a} == {b} ? ...}`` is left as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

DEFAULTS: Mapping[str, str] = {
    "compatibility_level": "0",
    "inet_interfaces": "all",
    "mail_owner": "postfix",
    "milter_command_timeout": "30s",
    "milter_connect_macros": "j {daemon_name} {daemon_addr} v _",
    "milter_connect_timeout": "30s",
    "milter_content_timeout": "300s",
    "milter_data_macros": "i",
    "milter_default_action": "tempfail",
    "milter_end_of_data_macros": "i",
    "milter_helo_macros": "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}",
    "milter_mail_macros": "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}",
    "milter_protocol": "6",
    "milter_rcpt_macros": "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    "non_smtpd_milters": "",
    "queue_directory": "/var/spool/postfix",
    "smtpd_milter_maps": "",
    "smtpd_milters": "",
}

EXPANSIONS_MAX = 100
"""A value that names itself is cut here; Postfix ends with an error."""

VALUE_CHARACTERS_MAX = 65536
"""Where a value is cut, before and after; Postfix reads lines of any length."""

_NAME = re.compile(r"[A-Za-z0-9_]+")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_TIME = re.compile(r"([0-9]{1,9})([smhdw]?)", re.IGNORECASE)


@dataclass(frozen=True)
class Logical:
    """One logical line: its continuations joined by a blank, and the number of its first line."""

    text: str
    line: int


def logical_lines(lines: Iterable[str]) -> Iterator[Logical]:
    """Lines without comments and empty ones; what begins with white space continues the one before."""
    held, number = "", 0
    for at, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if line[0].isspace() and held:
            held += f" {stripped}"
            continue
        if held:
            yield Logical(held, number)
        held, number = stripped, at
    if held:
        yield Logical(held, number)


@dataclass(frozen=True)
class MainCf:
    """Parameters as written, by name. overrides are those of a service of master.cf and win."""

    values: Mapping[str, Logical] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)

    def is_set(self, name: str) -> bool:
        """Whether it is written anywhere."""
        return name in self.overrides or name in self.values

    def raw(self, name: str) -> str:
        """As written, else the default, else ""."""
        if name in self.overrides:
            return self.overrides[name]
        return self.values[name].text if name in self.values else DEFAULTS.get(name, "")

    def value(self, name: str) -> str:
        """With all names in it replaced by their values."""
        return _Expansion(self).expand(self.raw(name)).strip()

    def seconds(self, name: str) -> float | None:
        """A time; None if it is none."""
        return seconds(self.value(name))

    def where(self, name: str) -> int:
        """The line of main.cf, 0 where it is not written there."""
        return self.values[name].line if name in self.values else 0

    def of_service(self, overrides: Mapping[str, str]) -> MainCf:
        """What holds in a service with these -o options."""
        return MainCf(self.values, overrides)


def parse_main(lines: Iterable[str]) -> MainCf:
    """All parameters; the later of two wins. A line without "=" is passed over, as Postfix says so itself."""
    values = {}
    for logical in logical_lines(lines):
        name, equals, value = logical.text.partition("=")
        if equals:
            values[name.strip()] = Logical(value.strip(), logical.line)
    return MainCf(values)


def seconds(text: str) -> float | None:
    """``30``, ``30s``, ``5m``: seconds; None for what is no time."""
    found = _TIME.fullmatch(text.strip())
    return float(int(found[1]) * _SECONDS[found[2].lower() or "s"]) if found else None


class _Expansion:
    """Replaces $name, ${name}, $(name), ${name?text}, ${name:text}, ${name?{text}:{text}} and $$."""

    def __init__(self, main: MainCf) -> None:
        self._main = main
        self._left = EXPANSIONS_MAX

    def expand(self, text: str) -> str:
        text = text[:VALUE_CHARACTERS_MAX]
        done: list[str] = []
        at = size = 0
        while at < len(text) and size <= VALUE_CHARACTERS_MAX:
            if text[at] != "$":
                end = text.find("$", at)
                end = len(text) if end < 0 else end
                done.append(text[at:end])
            elif text[at + 1 : at + 2] == "$":
                end = at + 2
                done.append("$")
            else:
                value, end = self._reference(text, at)
                done.append(value)
            at = end
            size += len(done[-1])
        return "".join(done)[:VALUE_CHARACTERS_MAX]

    def _reference(self, text: str, at: int) -> tuple[str, int]:
        """The value of what begins with the $ at this place, and where the text goes on."""
        closing = {"{": "}", "(": ")"}.get(text[at + 1 : at + 2])
        if closing:
            end = _closed(text, at + 1, text[at + 1], closing)
            inner = text[at + 2 : end - 1]
        else:
            name = _NAME.match(text, at + 1)
            end = name.end() if name else at + 1
            inner = text[at + 1 : end]
        name = _NAME.match(inner)
        if not name or self._left <= 0:
            return text[at:end], end
        self._left -= 1
        return self._valued(name[0], inner[name.end() :].strip()), end

    def _valued(self, name: str, condition: str) -> str:
        value = self.expand(self._main.raw(name))
        if not condition:
            return value
        sign, rest = condition[0], condition[1:].strip()
        first, other = _branches(rest)
        if sign == "?":
            return self.expand(first) if value else self.expand(other)
        return value or (self.expand(first) if sign == ":" else "")


def _branches(text: str) -> tuple[str, str]:
    """``{a}:{b}``, ``{a}`` or ``a``."""
    if not text.startswith("{"):
        return text, ""
    end = _closed(text, 0, "{", "}")
    rest = text[end:].strip()
    other = rest[1:].strip() if rest.startswith(":") else ""
    return text[1 : end - 1], other[1:-1] if other.startswith("{") else other


def _closed(text: str, at: int, opening: str, closing: str) -> int:
    """Behind the bracket that closes the one at this place; the end of the text if none does."""
    depth = 0
    for position in range(at, len(text)):
        depth += (text[position] == opening) - (text[position] == closing)
        if not depth:
            return position + 1
    return len(text)


def words(text: str, separators: str = " \t\r\n") -> list[str]:
    """Words between separators; what stands in braces is one word, without its outermost braces."""
    found: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in separators:
            at += 1
        elif text[at] == "{":
            end = _closed(text, at, "{", "}")
            found.append(text[at:end])
            at = end
        else:
            end = next((here for here in range(at, len(text)) if text[here] in separators), len(text))
            found.append(text[at:end])
            at = end
    return found


@dataclass(frozen=True)
class Service:
    """A line of master.cf. chroot is its column: "y", "n" or "-"."""

    name: str
    kind: str
    chroot: str
    command: str
    overrides: Mapping[str, str]

    @property
    def label(self) -> str:
        """As ``postconf -M`` and ``-P`` write it."""
        return f"{self.name}/{self.kind}"


def parse_master(lines: Iterable[str]) -> list[Service]:
    """All services; the later of two of one name and kind wins. A line with too few columns is passed over."""
    found: dict[str, Service] = {}
    for logical in logical_lines(lines):
        columns = logical.text.split(None, 7)
        if len(columns) == 8:
            command, *arguments = words(columns[7])
            service = Service(columns[0], columns[1], columns[4], command, _overrides(arguments))
            found[service.label] = service
    return list(found.values())


def _overrides(arguments: list[str]) -> dict[str, str]:
    """The -o options: ``-o name=value``, ``-oname=value``, ``-o { name = value }``."""
    found = {}
    for at, argument in enumerate(arguments):
        if argument == "-o" and at + 1 < len(arguments):
            text = arguments[at + 1]
        elif argument.startswith("-o") and argument != "-o":
            text = argument[2:]
        else:
            continue
        inner = text[1:-1] if text.startswith("{") else text
        name, equals, value = inner.partition("=")
        if equals:
            found[name.strip()] = value.strip()
    return found
