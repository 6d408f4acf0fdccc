"""Lists of names and of networks, as administrators write them, compiled once and asked for every mail. PURE.

What a list holds is the configuration's and is checked here; what is looked up in it came from the MTA and may be
anything. The configuration's loader turns a ``PatternError`` into an error with file and line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Callable, TypeVar, Union

from mmgr.conditions.facts import Address
from mmgr.conditions.regexes import SEEN_BYTES, SLOW, SLOW_HINT, finder, is_exponential

WORDS_BYTES = 100

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_LOCAL = (
    ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "0.0.0.0/32")
    + ("::1/128", "fe80::/10", "fc00::/7", "::/128")
)  # fmt: skip


Made = TypeVar("Made")


class PatternError(ValueError):
    """An item of a list that can't be meant: problem says what is wrong with it, hint what to write instead.

    faults are all of the list's, this one first.
    """

    def __init__(self, problem: str, hint: str = "", others: Sequence[PatternError] = ()) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint
        self.faults: tuple[PatternError, ...] = (self, *others)

    def __str__(self) -> str:
        return f"{self.problem} ({self.hint})" if self.hint else self.problem


def each_made(make: Callable[[str], Made], items: Iterable[str]) -> list[Made]:
    """What every item becomes. Raises PatternError with the faults of all items."""
    made: list[Made] = []
    wrong: list[PatternError] = []
    for item in items:
        try:
            made.append(make(item))
        except PatternError as error:
            wrong += error.faults
    if wrong:
        raise PatternError(wrong[0].problem, wrong[0].hint, wrong[1:])
    return made


def words(data: bytes) -> str:
    """What a peer sent, as part of a sentence: ASCII, escaped, cut."""
    text = ascii(bytes(data[:WORDS_BYTES]))[2:-1]
    return text + ("..." if len(data) > WORDS_BYTES else "")


class Patterns:
    """A list of names. An item is a name, ".example.com" for all below that domain, or /a regular expression/.

    Upper and lower case are the same throughout. For addresses "@example.com" is all of that domain. A regular
    expression is one of Python's, found anywhere in the value unless it is anchored; ``regexes.finder`` says what it
    sees of one that has more than SEEN_BYTES. Raises PatternError with the faults of all items.
    """

    def __init__(self, items: Iterable[str]) -> None:
        self.items = tuple(items)
        self._names: dict[bytes, str] = {}
        self._ends: dict[bytes, str] = {}
        self._expressions: list[tuple[Callable[[str], bool], str]] = []
        each_made(self._add, self.items)
        self._longest_end = max(map(len, self._ends), default=0)

    def _add(self, item: str) -> None:
        if item[:1] == "/":
            self._expressions.append((finder(_expression(item), SEEN_BYTES), item))
        else:
            name = _name(item)
            (self._ends if name[:1] in (b".", b"@") else self._names)[name] = item

    def match(self, value: bytes) -> str:
        """The item that the value matches, "" if there is none. A dot at the end of the value does not count.

        Names are compared with the whole value, however long it is.
        """
        if not self.items:
            return ""
        name = value.lower()
        if name[-1:] == b".":
            name = name[:-1]
        found = self._names.get(name) or (self._ends and self._by_end(name))
        return found or self._by_expression(value)

    def _by_end(self, name: bytes) -> str:
        for position in range(max(1, len(name) - self._longest_end), len(name)):
            if name[position] in b".@":
                found = self._ends.get(name[position:])
                if found:
                    return found
        return ""

    def _by_expression(self, value: bytes) -> str:
        if not self._expressions:
            return ""
        text = value.decode("latin-1")
        return next((item for finds, item in self._expressions if finds(text)), "")


def _expression(item: str) -> re.Pattern[str]:
    if len(item) < 3 or item[-1] != "/":
        raise PatternError(f"{item!r} is no regular expression", "write it between two slashes: /^mail[0-9]+\\./")
    source = item[1:-1].encode("utf-8").decode("latin-1")  # names are bytes, seen as Latin-1; the list is UTF-8
    try:
        expression = re.compile(source, re.IGNORECASE | re.ASCII)
        if not is_exponential(source):
            return expression
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"{item!r} is a broken regular expression: {error}") from None
    raise PatternError(f"{item!r} {SLOW}", SLOW_HINT)


def _name(item: str) -> bytes:
    """A name or an end of names in small letters."""
    if not item.strip(".@"):
        raise PatternError(f"{item!r} is no name", "an item is a name, .DOMAIN or /REGULAR EXPRESSION/")
    if any(letter.isspace() for letter in item):
        raise PatternError(f"there is a blank in {item!r}", "is a comma missing between two items?")
    if "*" in item:
        raise PatternError(f"{item!r}: an asterisk stands for nothing here", "write .example.com, or /^mx[0-9]+\\./")
    if "/" in item or item[0] == "[":
        raise PatternError(f"{item!r} is no name", "addresses and networks are not names; expressions begin with '/'")
    name = item.encode("utf-8").lower()
    return name[:-1] if name[-1:] == b"." else name


class Networks:
    """A list of addresses and networks (192.0.2.7, 192.0.2.0/24, 2001:db8::/32).

    A look-up costs the number of different prefix lengths, not that of items. Raises PatternError with the faults of
    all items.
    """

    def __init__(self, items: Iterable[str]) -> None:
        self.items = tuple(items)
        self._networks: dict[tuple[int, int], dict[int, str]] = {}
        for item, network in zip(self.items, each_made(parse_network, self.items)):
            kept = self._networks.setdefault((network.version, _shift(network)), {})
            kept[int(network.network_address) >> _shift(network)] = item

    def match(self, address: Address) -> str:
        """The item that holds the address, "" if there is none."""
        number = int(address)
        for (version, shift), kept in self._networks.items():
            if version == address.version and number >> shift in kept:
                return kept[number >> shift]
        return ""


def _shift(network: Network) -> int:
    return network.max_prefixlen - network.prefixlen


def parse_network(item: str) -> Network:
    """An address or a network in the usual notation. Raises PatternError."""
    try:
        return ipaddress.ip_network(item)
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(item, strict=False)
    except ValueError:
        raise PatternError(
            f"{item!r} is no address or network", "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    raise PatternError(f"{item!r} names one address and a whole network", f"write {loose} or leave out the slash")


LOCAL_NETWORKS = Networks(_LOCAL)
"""Addresses that nobody has on the Internet: of this machine, of a link, of private networks."""


def is_local(address: Address) -> bool:
    """Whether the address is this machine's own, or one of a private network."""
    return bool(LOCAL_NETWORKS.match(address))


def listed(items: Sequence[str]) -> str:
    """Items for a description."""
    return ", ".join(items)
