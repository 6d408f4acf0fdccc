"""Words of a value, C escapes, variables and specifiers, as systemd takes ExecStart= and Environment= apart. PURE.

Sources: systemd.service(5), "COMMAND LINES"; systemd.unit(5), "SPECIFIERS"; systemd.syntax(7), "QUOTING".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmgr.detect.base import Found

MAX_COMMAND = 1048576
"""Characters of the longest command once variables are put in; the kernel takes two million."""

_SPACE = " \t\n\r"
_C_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "s": " ",
}
_NUMBERED = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})")
_VARIABLE = re.compile(r"\$\$|\$\{([^}]*)\}")
_SPECIFIER = re.compile(r"%(.)", re.DOTALL)
_ESCAPED_BYTES = re.compile(r"(?:\\x[0-9a-fA-F]{2})+")
_PREFIXES = "@-:+!|"


class Unbalanced(ValueError):
    """A quote that is not closed: systemd ignores such a line."""


class TooLong(ValueError):
    """A command that no system would start."""


@dataclass(frozen=True)
class Command:
    """One command of an ExecStart= before variables are put in; is_literal is its prefix ":"."""

    words: tuple[str, ...]
    is_literal: bool = False


def words(text: str, is_relaxed: bool = False) -> list[str]:
    """The words of a value, quotes removed; raises Unbalanced.

    Relaxed is how the value of a variable is split: a backslash stands for the next character, whatever it is, and a
    quote that stays open ends with the text.
    """
    found: list[str] = []
    at = 0
    while True:
        at = _after_space(text, at)
        if at >= len(text):
            return found
        word, at = _word(text, at, is_relaxed)
        found.append(word)


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _word(text: str, at: int, is_relaxed: bool) -> tuple[str, int]:
    read: list[str] = []
    quote = ""
    while at < len(text):
        character = text[at]
        at += 1
        if character == "\\":
            part, at = (text[at : at + 1], at + 1) if is_relaxed else _escaped(text, at)
            read.append(part)
        elif quote:
            if character == quote:
                quote = ""
            else:
                read.append(character)
        elif character in "'\"":
            quote = character
        elif character in _SPACE:
            break
        else:
            read.append(character)
    if quote and not is_relaxed:
        raise Unbalanced("a quote is not closed")
    return "".join(read), at


def _escaped(text: str, at: int) -> tuple[str, int]:
    """What stands behind a backslash; an escape that nobody knows keeps its backslash."""
    numbered = _NUMBERED.match(text, at)
    if numbered:
        byte, short, long, octal = numbered.groups()
        number = int(octal, 8) if octal else int(byte or short or long, 16)
        return _character(number, is_byte=bool(byte or octal)), numbered.end()
    character = text[at : at + 1]
    return _C_ESCAPES.get(character, "\\" + character), at + 1


def _character(number: int, is_byte: bool) -> str:
    """The character of a number; a byte that is no ASCII is kept as the surrogate that stands for it."""
    if is_byte:
        return bytes([number & 0xFF]).decode("utf-8", "surrogateescape")
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else "\ufffd"


def commands(text: str) -> Iterator[Command]:
    """The commands of one ExecStart=, without their prefixes; a lone ";" stands between two. Raises Unbalanced.

    With the prefix "@" the second word is what the program sees as its own name; it is left out.
    """
    begun: list[str] = []
    for word in _with_separators(text):
        if word is not None:
            begun.append(word)
        elif begun:
            yield _command(begun)
            begun = []
    if begun:
        yield _command(begun)


def _with_separators(text: str) -> Iterator[str | None]:
    """The words, None for a bare ";"; ``\\;`` is an ordinary word."""
    at = 0
    while (at := _after_space(text, at)) < len(text):
        if _is_alone(text, at, ";"):
            at += 1
            yield None
        elif _is_alone(text, at, "\\;"):
            at += 2
            yield ";"
        else:
            word, at = _word(text, at, is_relaxed=False)
            yield word


def _is_alone(text: str, at: int, mark: str) -> bool:
    behind = text[at + len(mark) : at + len(mark) + 1]
    return text.startswith(mark, at) and (not behind or behind in _SPACE)


def _command(read: list[str]) -> Command:
    program = read[0].lstrip(_PREFIXES)
    prefixes = read[0][: len(read[0]) - len(program)]
    rest = read[2:] if "@" in prefixes else read[1:]
    return Command((program, *rest), ":" in prefixes)


def expanded(command: Command, environment: Mapping[str, Found[str]], where: Found[str]) -> tuple[Found[str], ...]:
    """The words of a command with the variables put in, each with the place that it came from.

    ``$NAME`` as a word of its own becomes none, one or many words; ``${NAME}`` within a word is put in as it is, ""
    when unset; ``$$`` is one ``$``. Raises TooLong.
    """
    found: list[Found[str]] = []
    left = MAX_COMMAND
    for word in command.words:
        left -= _length(word, environment)
        if left < 0:
            raise TooLong(f"the command has more than {MAX_COMMAND} characters")
        if command.is_literal or "$" not in word:
            found.append(Found(word, where.where))
        elif word[0] == "$" and word[1:2] not in ("{", "$"):
            value = environment.get(word[1:])
            if value is not None:
                found += [Found(each, value.where) for each in words(value.value, is_relaxed=True)]
        else:
            found.append(_put_in(word, environment, where))
    return tuple(found)


def _length(word: str, environment: Mapping[str, Found[str]]) -> int:
    """At most as long as this is what a word becomes."""
    names = [word[1:], *_VARIABLE.findall(word)] if "$" in word else []
    return len(word) + 1 + sum(len(environment[name].value) for name in names if name in environment)


def _put_in(word: str, environment: Mapping[str, Found[str]], where: Found[str]) -> Found[str]:
    used = [environment[name] for name in _VARIABLE.findall(word) if name in environment]

    def one(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "$"
        value = environment.get(match.group(1))
        return value.value if value is not None else ""

    return Found(_VARIABLE.sub(one, word), used[-1].where if used else where.where)


@dataclass(frozen=True)
class UnitName:
    """The parts of ``opendkim@mx.service``: whole, prefix ``opendkim``, instance ``mx`` ("" without "@")."""

    whole: str

    @property
    def stem(self) -> str:
        """Without the suffix."""
        return self.whole.rpartition(".")[0]

    @property
    def prefix(self) -> str:
        """What stands in front of "@"."""
        return self.stem.partition("@")[0]

    @property
    def instance(self) -> str:
        """What stands behind "@"."""
        return self.stem.partition("@")[2]

    @property
    def template(self) -> str:
        """``opendkim@.service`` for an instance, "" for any other unit and for a template itself."""
        return f"{self.prefix}@.service" if self.instance else ""


def with_specifiers(text: str, name: UnitName, host: str = "") -> str:
    """The text with its ``%`` specifiers replaced; those that only a running system can tell stay as they are."""
    if "%" not in text:
        return text
    values = {
        "%": "%",
        "n": name.whole,
        "N": name.stem,
        "p": name.prefix,
        "P": _unescaped(name.prefix),
        "i": name.instance,
        "I": _unescaped(name.instance),
        "f": "/" + _unescaped(name.instance or name.prefix),
        "j": name.prefix.rpartition("-")[2],
        "J": _unescaped(name.prefix.rpartition("-")[2]),
        "t": "/run",
        "S": "/var/lib",
        "C": "/var/cache",
        "L": "/var/log",
        "E": "/etc",
        "T": "/tmp",
        "V": "/var/tmp",
        "h": "/root",
        "u": "root",
        "U": "0",
        "g": "root",
        "G": "0",
        "s": "/bin/sh",
        **({"H": host, "l": host.partition(".")[0]} if host else {}),
    }
    return _SPECIFIER.sub(lambda match: values.get(match.group(1), match.group()), text)


def _unescaped(text: str) -> str:
    """What systemd-escape(1) made of a path or a name: "-" was "/", ``\\x2d`` was "-"."""

    def plain(match: re.Match[str]) -> str:
        return bytes.fromhex(match.group().replace("\\x", "")).decode("utf-8", "surrogateescape")

    return _ESCAPED_BYTES.sub(plain, text.replace("-", "/"))
