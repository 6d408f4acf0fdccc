"""What one value may look like: the checks that ``spec.ini`` names, each from text to the value in the model's records.

PURE. Nothing here knows files, lines or keys: a check raises ``ValueRefused`` and the loader says where. Arguments
behind the value are text, as ``validate`` hands them over. A list in the file is a ``list``, everything else a ``str``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, Union

from mmgr.config.lines import CONTROL_CHARACTER
from mmgr.config.model import EnvelopeDispatch, FallbackStatus, Overload
from mmgr.config.text import one_line as one_line
from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import EndpointError, MmgrError

Raw = Union[str, list[str]]
"""A value as the file has it: text, or a list of texts when it had a comma outside of quotes."""

_LEVELS_OF_OLD = {
    "default": "info",
    "all": "debug",
    "critical": "error",
    "message": "info",
    "statistics": "info",
    "profile": "debug",
    "trace": "debug",
    "none": "error",
    "warn": "warning",
}
_BOOLEANS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_MODE = re.compile(r"(?:0o)?([0-7]{1,6})")


class ValueRefused(MmgrError):
    """A value that a setting can't have: what is wrong with it, and what to write instead (may be empty)."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint


def shown(value: object) -> str:
    """A value for an error message: quoted, escaped, cut."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint that names what a mistyped word was probably meant to be, or "". Upper and lower case do not count."""
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word[:100].casefold(), folded, n=1, cutoff=0.7)
    return f"did you mean {folded[close[0]]}?" if close else ""


def check_child_name(name: str) -> None:
    """Raise ValueRefused unless a child may be called so: printable, no white space, and writable in a file."""
    hint = "a name such as clamav-milter, of letters, digits, '-', '.' and '_', does"
    if not name:
        raise ValueRefused("the name of a milter is empty", hint)
    if any(c.isspace() for c in name):
        raise ValueRefused(f"the name {shown(name)} has white space in it", hint)
    if not name.isprintable():
        raise ValueRefused(f"the name {shown(name)} has a control character in it", hint)
    if '"' in name and "'" in name:
        raise ValueRefused(f"the name {shown(name)} has both kinds of quotes in it", hint)


def text(value: Raw) -> str:
    """One line of text."""
    one = prose(value)
    if "\n" in one:
        raise ValueRefused(f"{shown(one)} has more than one line")
    return one


def prose(value: Raw) -> str:
    """Text of any number of lines that can be written back into a file."""
    one = _single(value)
    if CONTROL_CHARACTER.search(one.replace("\n", "")):
        raise ValueRefused(f"{shown(one)} has a control character in it")
    if _has_surrogates(one):
        raise ValueRefused(f"{shown(one)} is not text in UTF-8")
    if '"""' in one and "'''" in one:
        raise ValueRefused(f"{shown(one)} has both kinds of triple quotes in it")
    return one


def expression(value: Raw) -> str:
    """A condition in words; a comma in it makes no list."""
    return prose(value)


def boolean(value: Raw) -> bool:
    """Yes or no."""
    word = _single(value)
    try:
        return _BOOLEANS[word.lower()]
    except KeyError:
        raise ValueRefused(f"{shown(word)} is neither yes nor no") from None


def integer(value: Raw, min: str, max: str) -> int:
    """A whole number within its bounds."""
    word = _single(value)
    if not _WHOLE_NUMBER.fullmatch(word):
        raise ValueRefused(
            f"{shown(word)} is not a whole number", f"a plain number from {min} to {max}, without a unit"
        )
    if not int(min) <= int(word) <= int(max):
        raise ValueRefused(f"{shown(word)} is out of range", f"{min} to {max}")
    return int(word)


def seconds(value: Raw, max: str) -> float:
    """A duration above zero."""
    word = _single(value)
    if not _NUMBER.fullmatch(word):
        raise ValueRefused(
            f"{shown(word)} is not a number of seconds", "a plain number such as 30 or 0.5, without a unit"
        )
    if not 0 < float(word) <= float(max):
        raise ValueRefused(f"{shown(word)} is out of range", f"more than 0 and at most {max} seconds")
    return float(word)


def mode(value: Raw) -> int:
    """The permissions of a file, in octal."""
    word = _single(value)
    octal = _MODE.fullmatch(word)
    if not octal:
        raise ValueRefused(f"{shown(word)} is not an octal mode", "write it as in chmod: 0660")
    if int(octal.group(1), 8) > 0o777:
        raise ValueRefused(f"{shown(word)} is out of range", "0 to 0777")
    return int(octal.group(1), 8)


def option(value: Raw, *choices: str) -> str:
    """One of some words, however it is capitalised."""
    word = _single(value)
    if word.lower() not in choices:
        hint = did_you_mean(word, choices) or f"one of {', '.join(choices)}"
        raise ValueRefused(f"{shown(word)} is not one of the choices", hint)
    return word.lower()


def level(value: Raw, *choices: str) -> str:
    """A log level. Those of milter manager 2 that have another name here are refused with that name."""
    word = _single(value).lower()
    if word in _LEVELS_OF_OLD:
        hint = f"{_LEVELS_OF_OLD[word]} is nearest; the levels are {', '.join(choices)}"
        raise ValueRefused(f"{shown(word)} is not a level", hint)
    return option(word, *choices)


def status(value: Raw, *choices: str) -> FallbackStatus:
    """A fallback status; ``Temporary_Failure`` is ``temporary-failure``."""
    return FallbackStatus(option(_single(value).replace("_", "-"), *choices))


def dispatch(value: Raw, *choices: str) -> EnvelopeDispatch:
    """How the children are asked."""
    return EnvelopeDispatch(option(value, *choices))


def overload(value: Raw, *choices: str) -> Overload:
    """What becomes of sessions for which there is no worker; ``Temporary_Failure`` is ``temporary-failure``."""
    return Overload(option(_single(value).replace("_", "-"), *choices))


def endpoints(value: Raw) -> tuple[Endpoint, ...]:
    """One socket address or more."""
    found = tuple(_endpoint(item) for item in _items(value))
    if not found:
        raise ValueRefused("there is no socket address", "write unix:PATH, inet:PORT@HOST or inet6:PORT@HOST")
    return found


def endpoint(value: Raw) -> Endpoint | None:
    """One socket address; empty text is none at all."""
    one = text(_single(value))
    return _endpoint(one) if one else None


def pairs(value: Raw) -> tuple[str, ...]:
    """``KEY=VALUE`` items; a quoted text of several, as milter manager 2 had it, counts as its parts."""
    found = tuple(part.strip() for item in _items(value) for part in item.split(","))
    for pair in found:
        if not pair.partition("=")[0] or "=" not in pair:
            raise ValueRefused(f"{shown(pair)} is not of the form KEY=VALUE")
    return found


def conditions(value: Raw) -> tuple[str, ...]:
    """Names of conditions, each once. Which there are is known once everything has been read."""
    return tuple(dict.fromkeys(_items(value)))


def names(value: Raw) -> tuple[str, ...]:
    """A list of which nothing is known but that its items are not empty; one of several lines has an item in each."""
    items = _items(_lines(value))
    if any(not item for item in items):
        raise ValueRefused("an item of the list is empty")
    return tuple(items)


def patterns(value: Raw) -> tuple[str, ...]:
    """``names`` whose text is looked at where they are used."""
    return names(value)


def _lines(value: Raw) -> Raw:
    if isinstance(value, str) and "\n" in value:
        return [line.strip() for line in value.splitlines() if line.strip() and not line.strip().startswith("#")]
    return value


def _endpoint(item: str) -> Endpoint:
    try:
        return parse_endpoint(item)
    except EndpointError as error:
        raise ValueRefused(str(error)) from error


def _single(value: Raw) -> str:
    if isinstance(value, str):
        return value
    raise ValueRefused(
        f"{shown(', '.join(value))} is a list, and one value is wanted",
        "put quotes around it when the comma belongs to it",
    )


def _items(value: Raw) -> list[str]:
    """The items of a list; empty text is the empty list. Each item can be written back into a list."""
    items = value if isinstance(value, list) else [value] if value else []
    for item in items:
        text(item)
        if '"' in item and "'" in item:
            raise ValueRefused(f"{shown(item)} has both kinds of quotes in it")
    return items


def _has_surrogates(one: str) -> bool:
    """Whether the text came from bytes that are no UTF-8, as arguments of a command line may."""
    return any("\ud800" <= c <= "\udfff" for c in one)


CHECKS: dict[str, Callable[..., Any]] = {
    check.__name__: check
    for check in (
        text,
        prose,
        expression,
        boolean,
        integer,
        seconds,
        mode,
        option,
        level,
        status,
        dispatch,
        overload,
        endpoints,
        endpoint,
        pairs,
        conditions,
        names,
        patterns,
    )
}
"""The checks by the names that ``spec.ini`` uses."""
