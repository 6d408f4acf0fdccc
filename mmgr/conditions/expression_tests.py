"""Tests of an expression: a name, an operator and values become a function that says whether they agree. PURE.

``expression_parser`` calls ``compared`` and ``is_set``. Values were written by the administrator and may be refused;
what they are compared with came from the MTA and may be anything.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from mmgr.conditions.expression_lexer import Token, did_you_mean, shown
from mmgr.conditions.expression_names import (
    NAMES,
    SEEN_HEADER_BYTES,
    TLS_VERSIONS,
    UNKNOWN,
    WEEKDAYS,
    Kind,
    Many,
    Read,
    Subject,
    lowered,
    number,
)
from mmgr.conditions.facts import Address, Facts
from mmgr.conditions.patterns import LOCAL_NETWORKS, Networks, PatternError, parse_network
from mmgr.conditions.regexes import SEEN_BYTES, SLOW, SLOW_HINT, finder, is_exponential

Check = Callable[[Facts, bytes], bool]
"""Takes the facts and the recipient that is asked about."""

Why = Callable[[Facts, bytes], str]
Predicate = Callable[[Any], bool]
Items = Sequence[Token]

DAY_MINUTES = 24 * 60
SHOWN_CHARACTERS = 80

_ORDERS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "<": (operator.lt, "less than"),
    "<=": (operator.le, "at most"),
    ">": (operator.gt, "more than"),
    ">=": (operator.ge, "at least"),
}
ORDERS = frozenset(_ORDERS)

_NUMBER = re.compile(r"([0-9]{1,15})([kKmMgG]?)")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_TLS_RANKS = {version.lower().encode("ascii"): rank for rank, version in enumerate(TLS_VERSIONS, 1)}
_MTAS = ("postfix", "sendmail")
_LOCAL = "local"


_COUNTS = {
    (Many.ANY, True): "one",
    (Many.ANY, False): "none",
    (Many.ALL, True): "every one",
    (Many.ALL, False): "not every one",
}


class Test(NamedTuple):
    """What one test of an expression does. positive and negative continue a sentence that begins with the value."""

    subject: Subject
    check: Check
    positive: str
    negative: str
    operator: str = ""
    items: Sequence[Token] = ()

    def words(self, truth: bool) -> Why:
        """What says what the test found, for people: ``client_address 192.0.2.7 is not in 192.0.2.0/29``."""
        subject, end = self.subject, self.positive if truth else self.negative
        if subject.kind is Kind.MAILBOX and subject.many is not Many.ONE:
            begin = _COUNTS[subject.many, truth]
            return lambda facts, recipient: f"{begin} of {len(facts.recipients)} recipients {self.positive}"
        if subject.kind is Kind.FLAG:
            return lambda facts, recipient: end
        begin, tell, end = f"{subject.text} ", subject.tell, f" {end}"
        return lambda facts, recipient: begin + tell(facts, recipient) + end


def is_set(subject: Subject, token: Token) -> Test:
    """The test of a name that stands alone: of a yes or no itself, of text that it is not empty."""
    if subject.kind is Kind.FLAG:
        what = "the client is{} authenticated" if subject.text == "authenticated" else "the connection is{} encrypted"
        return Test(subject, _check(subject, bool), what.format(""), what.format(" not"))
    if subject.kind in (Kind.NUMBER, Kind.TIME, Kind.WEEKDAY, Kind.MTA):
        examples = {Kind.TIME: "time in 22:00-06:00", Kind.WEEKDAY: "weekday in mon-fri", Kind.MTA: "mta == postfix"}
        hint = f"for example {examples.get(subject.kind, f'{subject.text} > 0')}"
        raise token.fault(f"{subject.text} has to be compared with something", hint)
    nothing = (None, b"", UNKNOWN) if subject.text == "client_name" else (None, b"")
    return Test(subject, _check(subject, lambda value: value not in nothing), "is not empty", "is empty")


def compared(subject: Subject, name: str, items: Items, is_inverted: bool = False) -> Test:
    """The test of a name with an operator: ==, in, matches, <, <=, >, >=. Raises ExpressionError.

    is_inverted: each single value has to fail. Of ``any recipient`` and ``all recipients`` that is something else than
    that the test fails.
    """
    if subject.kind is Kind.FLAG:
        raise items[0].fault(
            f"{subject.text} is yes or no and can't be compared", f"write {subject.text}, or not {subject.text}"
        )
    read = subject.read
    if name in _ORDERS:
        predicate, verb = _ordered(subject, name, items[0]), f"is {{}}{_ORDERS[name][1]}"
    elif name == "matches":
        predicate, verb, read = _matching(subject, items[0]), "{}matches", subject.raw
    else:
        predicate, verb = _listed(subject, items), "is {}in" if name == "in" else "is {}"
    if is_inverted:
        predicate = _inverse(predicate)
    values = _shown(items)
    positive, negative = (f"{verb.format(word).rstrip()} {values}" for word in ("", "not "))
    if name == "matches":
        negative = f"does not match {values}"
    if is_inverted:
        positive, negative = negative, positive
    return Test(subject, _check(subject, predicate, read), positive, negative, name, items)


def _check(subject: Subject, predicate: Predicate, read: Read | None = None) -> Check:
    """The predicate of one value as one of the facts."""
    value = read or subject.read
    if subject.many is Many.ANY:
        return lambda facts, recipient: any(map(predicate, value(facts, recipient)))
    if subject.many is Many.ALL:
        return lambda facts, recipient: all(map(predicate, value(facts, recipient)))
    return lambda facts, recipient: predicate(value(facts, recipient))


def _inverse(predicate: Predicate) -> Predicate:
    return lambda value: not predicate(value)


def _shown(items: Items) -> str:
    """The values of a test for a sentence, cut."""
    texts = [str(item) if item.kind == "regex" else item.text or '""' for item in items]
    text = ", ".join(texts)
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}..." + (f" ({len(texts)} in all)" if len(texts) > 1 else "")


# ---- order


def _ordered(subject: Subject, name: str, item: Token) -> Predicate:
    compare = _ORDERS[name][0]
    if subject.kind is Kind.TLS_VERSION:
        rank = _TLS_RANKS[_tls_version(item)]
        return lambda value: compare(_TLS_RANKS.get(value.lower(), 0), rank)
    if subject.kind is Kind.TIME:
        minute = _minute(item)
        return lambda value: compare(value, minute)
    if subject.kind not in (Kind.NUMBER, Kind.TEXT):
        hint = "weekday in mon-fri" if subject.kind is Kind.WEEKDAY else f"{subject.text} == ..., or in, or matches"
        raise item.fault(f"{subject.text} has no order that {name} could compare", f"write {hint}")
    limit = as_number(item)
    if subject.kind is Kind.NUMBER:
        return lambda value: compare(value, limit)

    def is_number_so(value: bytes) -> bool:
        found = number(value)
        return found is not None and compare(found, limit)

    return is_number_so


# ---- regular expressions


def _matching(subject: Subject, item: Token) -> Predicate:
    if subject.kind in (Kind.NUMBER, Kind.TIME, Kind.WEEKDAY, Kind.MTA):
        raise item.fault(f"{subject.text} is a {subject.kind.value}, which no regular expression can look at")
    if item.kind == "word":
        hint = f"write it between slashes: matches /{item.text}/"
        raise item.fault(f"{shown(item.text)} is no regular expression", hint)
    return finder(_pattern(item), SEEN_HEADER_BYTES if subject.text.startswith("header ") else SEEN_BYTES)


def _pattern(item: Token) -> re.Pattern[bytes]:
    """A regular expression, compiled. What Python warns of is refused: it will mean something else one day."""
    source = item.text.encode("utf-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern = re.compile(source, re.IGNORECASE)
        if not is_exponential(source):
            return pattern
    except re.error as error:
        before = len(source[: error.pos or 0].decode("utf-8", "ignore"))
        place = item._replace(column=item.column + 1 + before)
        raise place.fault(f"the regular expression is broken: {error.msg}") from None
    except (Warning, OverflowError, RecursionError, ValueError) as error:
        raise item.fault(f"the regular expression can't be used: {error}") from None
    raise item.fault(f"the regular expression {SLOW}", SLOW_HINT)


# ---- lists


def _listed(subject: Subject, items: Items) -> Predicate:
    for item in items:
        if item.kind == "regex":
            hint = f"write {subject.text} matches /{item.text[:40]}/, joined by or"
            raise item.fault("a regular expression can't be in a list", hint)
        if item.kind == "word" and item.text in NAMES and subject.kind in (Kind.NAME, Kind.MAILBOX, Kind.TEXT):
            hint = "put it in quotes if it is meant as text; two names can't be compared"
            raise item.fault(f"{item.text} is itself a name", hint)
    return _LISTS[subject.kind](subject, items)


def _in_networks(subject: Subject, items: Items) -> Predicate:
    texts: list[str] = []
    for item in items:
        texts += LOCAL_NETWORKS.items if item.text == _LOCAL else [_network(item)]
    match = Networks(texts).match

    def is_in(address: Address | None) -> bool:
        return address is not None and match(address) != ""

    return is_in


def _network(item: Token) -> str:
    text = item.text.replace("[", "").replace("]", "") if item.text[:1] == "[" else item.text
    try:
        network = parse_network(text)
    except PatternError as error:
        hint = error.hint if any(c.isdigit() for c in text) else "for names of hosts write client_name"
        raise item.fault(f"{shown(text)} is no address or network", hint) from None
    if network.version == 6 and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        hint = f"write {network.network_address.ipv4_mapped}/{network.prefixlen - 96}"
        raise item.fault(f"{shown(text)} is an IPv4 network, and clients of it count as such", hint)
    return text


def _in_names(subject: Subject, items: Items) -> Predicate:
    for item in items:
        _refuse_odd_name(item)
        if "@" in item.text:
            hint = f"write {item.text.rpartition('@')[2]}, or compare sender or recipient"
            raise item.fault(f"{shown(item.text)} is a mail address, and {subject.text} is a name", hint)
    return _one_of(lowered(item.text.encode("utf-8")) for item in items)


def _in_mailboxes(subject: Subject, items: Items) -> Predicate:
    for item in items:
        _refuse_odd_name(item)
        text, at, host = item.text.rpartition("@")
        if at and not host:
            hint = f"write {subject.text} matches /^{re.escape(text)}@/"
            raise item.fault(f"{shown(item.text)} has no domain", hint)
        if item.kind == "word" and not at and host.find(".") > 0 and subject.text != "auth_user":
            hint = f"all addresses of that domain are @{host}; text in quotes is taken as it is"
            raise item.fault(f"{shown(host)} is a domain, and {subject.text} is a mail address", hint)
    texts = [lowered(item.text.encode("utf-8")) for item in items]
    exact, ends = _divided(texts)

    def is_in(value: bytes) -> bool:
        if value in exact:
            return True
        at = value.rfind(b"@")
        return at >= 0 and (value[at:] in exact or value.endswith(ends))

    return is_in


def _in_texts(subject: Subject, items: Items) -> Predicate:
    is_in = _one_of(item.text.encode("utf-8").lower() for item in items)
    return lambda value: is_in(value.lower())


def _in_numbers(subject: Subject, items: Items) -> Predicate:
    return frozenset(map(as_number, items)).__contains__


def _in_times(subject: Subject, items: Items) -> Predicate:
    minutes: set[int] = set()
    for item in items:
        start, dash, end = item.text.partition("-")
        first = _minute(item, start)
        last = _minute(item, end, is_end=True) if dash else first + 1
        if first == last:
            raise item.fault(f"{shown(item.text)} begins and ends at the same time", "the whole day is 00:00-24:00")
        minutes |= set(range(first, last)) if first < last else {*range(first, DAY_MINUTES), *range(last)}
    return frozenset(minutes).__contains__


def _in_weekdays(subject: Subject, items: Items) -> Predicate:
    days: set[int] = set()
    for item in items:
        start, dash, end = item.text.partition("-")
        first = _weekday(item, start)
        last = _weekday(item, end) if dash else first
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return frozenset(days).__contains__


def _in_tls_versions(subject: Subject, items: Items) -> Predicate:
    versions = frozenset(map(_tls_version, items))
    return lambda value: value.lower() in versions


def _in_mtas(subject: Subject, items: Items) -> Predicate:
    for item in items:
        if item.text.lower() not in _MTAS:
            raise item.fault(f"{shown(item.text)} is no MTA", did_you_mean(item.text, _MTAS, "postfix or sendmail"))
    return frozenset(item.text.lower().encode("ascii") for item in items).__contains__


_LISTS: Mapping[Kind, Callable[[Subject, Items], Predicate]] = {
    Kind.NETWORK: _in_networks,
    Kind.NAME: _in_names,
    Kind.MAILBOX: _in_mailboxes,
    Kind.TEXT: _in_texts,
    Kind.NUMBER: _in_numbers,
    Kind.TIME: _in_times,
    Kind.WEEKDAY: _in_weekdays,
    Kind.TLS_VERSION: _in_tls_versions,
    Kind.MTA: _in_mtas,
}


def _divided(texts: Iterable[bytes]) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    """Whole values, and those that begin with a dot and stand for all that end so."""
    found = list(texts)
    ends = tuple(text for text in found if text[:1] == b"." and len(text) > 1)
    return frozenset(found).difference(ends), ends


def _one_of(texts: Iterable[bytes]) -> Predicate:
    exact, ends = _divided(texts)
    if not ends:
        return exact.__contains__
    return lambda value: value in exact or value.endswith(ends)


# ---- single values


def _refuse_odd_name(item: Token) -> None:
    if "*" in item.text:
        hint = "write .example.com for all below it, or matches /.../"
        raise item.fault(f"{shown(item.text)}: an asterisk stands for nothing here", hint)
    if any(c.isspace() for c in item.text):
        raise item.fault(f"there is a blank in {shown(item.text)}", "each item of a list has quotes of its own")
    if item.kind == "word" and "/" in item.text:
        raise item.fault(f"{shown(item.text)} is no name", "to look for a network write client_address in ...")


def as_number(item: Token) -> int:
    """A number of the administrator's, with its unit. Raises ExpressionError."""
    match = _NUMBER.fullmatch(item.text)
    if match is None:
        raise item.fault(f"{shown(item.text)} is no number", "write digits, with k, M or G behind them for sizes: 10M")
    return int(match[1]) * _UNITS[match[2].lower()]


def _minute(item: Token, text: str | None = None, is_end: bool = False) -> int:
    text = item.text if text is None else text
    match = _TIME.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else DAY_MINUTES + 1
    if minute > DAY_MINUTES - (not is_end):
        raise item.fault(f"{shown(text)} is no time of day", "write 22:00, or a span as 22:00-06:00 behind in")
    return minute


def _weekday(item: Token, text: str) -> int:
    word = text.lower()
    found = [day for day, name in enumerate(WEEKDAYS) if len(word) >= 3 and name.startswith(word)]
    if not found:
        raise item.fault(f"{shown(text)} is no weekday", did_you_mean(word, WEEKDAYS, "mon, tue ... or mon-fri"))
    return found[0]


def _tls_version(item: Token) -> bytes:
    word = item.text.lower()
    if word.encode("utf-8") not in _TLS_RANKS:
        known = {version.lower(): version for version in TLS_VERSIONS}
        hint = did_you_mean(word, known, f"one of {', '.join(TLS_VERSIONS)}")
        raise item.fault(f"{shown(item.text)} is no version of TLS", hint)
    return word.encode("ascii")
