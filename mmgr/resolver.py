"""Names to IPv4 addresses for the conditions: bounded in time, cached, and patient with nobody who stays silent.

Each worker that needs one has its own. Queries go by UDP, all names of a look-up at once, from a port of their own.
What does not answer the question that was asked is thrown away, and a truncated answer is fetched by TCP. dnspython
makes and parses the messages; it is imported when the first name is looked up. Source: RFC 1035, RFC 2308, RFC 5452.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mmgr.conditions.patterns import PatternError
from mmgr.errors import MmgrError
from mmgr.log import quoted, shown

if TYPE_CHECKING:
    from dns.message import Message

TTL_MIN_S, TTL_MAX_S = 1.0, 3600.0
NEGATIVE_TTL_S = 60.0
"""How long "there is none" holds where the answer does not say."""

FAILED_TTL_S = 5.0
"""How long a name is not asked for again after nobody answered."""

BREAKER_FAILURES = 3
BREAKER_PAUSE_S = 60.0

SERVERS_MAX = 3
ROUNDS = 2
ADDRESSES_MAX = 32
CHAIN_MAX = 8
ZONES_MAX = 1000
RESOLV_CONF = "/etc/resolv.conf"

_HEADER = struct.Struct("!HH")
_TRUNCATED = 0x8200
"""The bits of an answer, and of a truncated one."""

_REVERSED = re.compile(r"\A(?:(?:[0-9a-f]\.){32}|(?:[0-9]{1,3}\.){4}|[^.]*\.(?=[^.]+\.))")
"""What stands before the zone: a reversed address, or one label."""

log = logging.getLogger(__name__)


class ResolverUnavailable(MmgrError):
    """dnspython is not installed; the text says how to get it."""


class NameServer(NamedTuple):
    """Whom to ask."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"[{self.address}]:{self.port}"


def require_dnspython() -> None:
    """Import it. Raises ResolverUnavailable."""
    try:
        import dns.exception
        import dns.message
        import dns.query
        import dns.rcode
        import dns.rdatatype  # noqa: F401
    except ImportError as error:
        hint = "pip install dnspython, or dnf install python3-dns"
        raise ResolverUnavailable(f"DNS look-ups need dnspython: {error} ({hint})") from None


def parse_name_server(text: str) -> NameServer:
    """192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353. Raises PatternError."""
    found = re.fullmatch(r"\[(.+)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})", text)
    address = (found[1] or found[3]) if found else text
    port = int(found[2] or found[4] or 53) if found else 53
    try:
        ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise PatternError(f"{text!r} is no name server", "write its address: 192.0.2.53 or [2001:db8::53]:5353")
    return NameServer(address, port)


def system_name_servers(path: str = RESOLV_CONF) -> tuple[NameServer, ...]:
    """Those of resolv.conf, at most three; this machine's own where it names none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            words = [line.split() for line in file]
    except OSError:
        words = []
    found = []
    for each in words:
        if each[:1] == ["nameserver"] and len(each) > 1:
            with contextlib.suppress(PatternError):
                found.append(parse_name_server(each[1]))
    return tuple(found[:SERVERS_MAX]) or (NameServer("127.0.0.1"),)


@dataclass(frozen=True)
class _Answer:
    """addresses is empty if the name has none; ttl_s is how long that holds. is_failure: nobody said anything."""

    addresses: tuple[str, ...]
    ttl_s: float
    is_failure: bool = False


_FAILURE = _Answer((), FAILED_TTL_S, is_failure=True)
_NO_NAME = _Answer((), NEGATIVE_TTL_S)


class _Cache:
    """The last answers by name, at most so many; the oldest go first."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: dict[str, tuple[float, _Answer]] = {}

    def get(self, name: str, now: float) -> _Answer | None:
        until, answer = self._kept.get(name, (0.0, _FAILURE))
        return answer if now < until else None

    def put(self, name: str, answer: _Answer, now: float) -> None:
        self._kept.pop(name, None)
        while self._kept and len(self._kept) >= self._entries:
            del self._kept[next(iter(self._kept))]
        if self._entries > 0:
            self._kept[name] = (now + answer.ttl_s, answer)


class _SilentZones:
    """Failures in a row by zone: after BREAKER_FAILURES one is left alone for BREAKER_PAUSE_S."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}

    def is_open(self, zone: str, now: float) -> bool:
        return now < self._failures.get(zone, (0, 0.0))[1]

    def note(self, zone: str, is_failure: bool, now: float) -> bool:
        """What came of a look-up; whether the zone is left alone from now on and was not before."""
        failures, _ = self._failures.pop(zone, (0, 0.0))
        if not is_failure:
            return False
        while len(self._failures) >= ZONES_MAX:
            del self._failures[next(iter(self._failures))]
        is_open = failures + 1 >= BREAKER_FAILURES
        self._failures[zone] = (failures + 1, now + BREAKER_PAUSE_S if is_open else 0.0)
        return failures + 1 == BREAKER_FAILURES


class Resolver:
    """Looks up IPv4 addresses. Not for several threads.

    name_servers are addresses as in ``parse_name_server``, none for those of the system; timeout_s bounds a whole
    look-up, however many names and name servers it takes. zones belong together: who asks for a name in one of them
    will ask for the same in the others, so all are looked up at once. Raises PatternError for what is no name server.
    """

    def __init__(
        self,
        name_servers: Sequence[str] = (),
        timeout_s: float = 5.0,
        cache_entries: int = 10000,
        zones: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name_servers = tuple(map(parse_name_server, name_servers))[:SERVERS_MAX] or system_name_servers()
        self._timeout_s = timeout_s
        self._clock = clock
        self._cache = _Cache(cache_entries)
        self._silent = _SilentZones()
        self._together = tuple(dict.fromkeys("." + zone.lower().strip(".") for zone in zones))

    def look_up(self, name: str) -> tuple[str, ...]:
        """The IPv4 addresses of a name; () if it has none, is no name, or nobody answers. Blocks up to timeout_s.

        Raises ResolverUnavailable where dnspython is not installed.
        """
        known = self._known(_key(name))
        return self.look_up_all((name, *self._beside(name)))[name] if known is None else known

    def is_unanswered(self, name: str) -> bool:
        """Whether the last look-up of a name has no addresses because nobody answered; asks nobody."""
        now = self._clock()
        kept = self._cache.get(_key(name), now)
        return self._silent.is_open(_zone(_key(name)), now) if kept is None else kept.is_failure

    def look_up_all(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """As ``look_up``, for several names at the same time."""
        require_dnspython()
        found: dict[str, tuple[str, ...]] = {}
        asked: dict[str, list[str]] = {}
        for name in names:
            known = self._known(_key(name))
            if known is None:
                asked.setdefault(_key(name), []).append(name)
            else:
                found[name] = known
        if asked:
            answers = self._ask(asked)
            for key, written in asked.items():
                self._keep(key, answers[key])
                found.update(dict.fromkeys(written, answers[key].addresses))
        return found

    def _known(self, key: str) -> tuple[str, ...] | None:
        """What need not be asked; None if it has to be."""
        now = self._clock()
        kept = self._cache.get(key, now)
        if kept is None:
            return () if self._silent.is_open(_zone(key), now) else None
        return kept.addresses

    def _beside(self, name: str) -> list[str]:
        """The same in the other zones."""
        ours = next((zone for zone in self._together if _key(name).endswith(zone)), "")
        return [_key(name)[: -len(ours)] + zone for zone in self._together if zone != ours] if ours else []

    def _keep(self, key: str, answer: _Answer) -> None:
        now = self._clock()
        self._cache.put(key, answer, now)
        zone = _zone(key)
        if self._silent.note(zone, answer.is_failure, now):
            log.warning(
                "dnsbl-unreachable zone=%s failures=%d name_servers=%s pause_s=%d",
                shown(zone.encode("utf-8", "replace")),
                BREAKER_FAILURES,
                quoted(", ".join(map(str, self.name_servers))),
                BREAKER_PAUSE_S,
            )

    def _ask(self, keys: Iterable[str]) -> dict[str, _Answer]:
        """Ask for all of them: each name server in turn, twice, and the time that is left shared among the turns."""
        answers: dict[str, _Answer] = {}
        deadline = time.monotonic() + self._timeout_s
        waiting = []
        for key in keys:
            if _query(key) is None:
                answers[key] = _NO_NAME
            else:
                waiting.append(key)
        turns = self.name_servers * ROUNDS
        for turn, server in enumerate(turns):
            now = time.monotonic()
            if not waiting or now >= deadline:
                break
            until = now + (deadline - now) / (len(turns) - turn)
            with contextlib.suppress(OSError):  # refused, unreachable, in vain so far: on to the next
                answers.update(_exchange(server, waiting, until, deadline))
            waiting = [key for key in waiting if key not in answers]
        return {**answers, **dict.fromkeys(waiting, _FAILURE)}


def _key(name: str) -> str:
    return name.lower().rstrip(".")


def _zone(key: str) -> str:
    """What is left alone when it stays silent: the name without a reversed address, or without its first label."""
    return _REVERSED.sub("", key, count=1)


def _query(key: str) -> Message | None:
    """A query with an id of its own; None if that is no name."""
    import dns.exception
    import dns.message

    if not key:
        return None
    try:
        return dns.message.make_query(key, "A")
    except (dns.exception.DNSException, ValueError, struct.error):  # struct.error: "\\300" with dnspython 2.1
        return None


def _exchange(server: NameServer, keys: Iterable[str], until: float, deadline: float) -> Iterator[tuple[str, _Answer]]:
    """One turn: ask one name server for all names, from one port, and take answers until so long.

    The socket is connected, so the kernel drops what comes from elsewhere. Raises OSError if it can't be reached or
    falls silent.
    """
    family, _, _, _, address = socket.getaddrinfo(
        server.address, server.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        asked: dict[int, tuple[str, Message]] = {}
        for key in keys:
            query = _query(key)
            if query is not None and query.id not in asked:
                asked[query.id] = (key, query)
                sock.send(query.to_wire())
        while asked:
            left = until - time.monotonic()
            if left <= 0:
                return
            sock.settimeout(left)
            data = sock.recv(65535)
            number = _HEADER.unpack_from(data)[0] if len(data) >= _HEADER.size else -1
            key, query = asked.get(number, ("", None))
            if query is None:
                continue
            reply = _parsed(query, data)
            if _HEADER.unpack_from(data)[1] & _TRUNCATED == _TRUNCATED:
                reply = _by_tcp(server, query, deadline)
            elif reply is None:
                continue
            del asked[number]
            answer = _answer(reply) if reply is not None else None
            if answer is not None:
                yield key, answer


def _parsed(query: Message, data: bytes) -> Message | None:
    """The answer to the query; None if that is something else."""
    import dns.exception
    import dns.message

    try:
        reply = dns.message.from_wire(data)
        return reply if query.is_response(reply) else None
    except (dns.exception.DNSException, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return None


def _by_tcp(server: NameServer, query: Message, deadline: float) -> Message | None:
    """The whole answer; None if there is none in time."""
    import dns.exception
    import dns.query

    left = deadline - time.monotonic()
    if left <= 0:
        return None
    try:
        return dns.query.tcp(query, server.address, timeout=left, port=server.port)
    except (dns.exception.DNSException, OSError, EOFError, ValueError, LookupError, TypeError, struct.error):
        return None


def _answer(reply: Message) -> _Answer | None:
    """What an answer says; None if the name server only says that it can't tell."""
    import dns.rcode
    import dns.rdatatype

    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not reply.question:
        return None
    name: Any = reply.question[0].name
    ttl_s = TTL_MAX_S
    for _ in range(CHAIN_MAX):
        sets = {found.rdtype: found for found in reply.answer if found.name == name}
        found = sets.get(dns.rdatatype.A) or sets.get(dns.rdatatype.CNAME)
        if not found:
            break
        ttl_s = min(ttl_s, found.ttl)
        if found.rdtype == dns.rdatatype.A:
            addresses = tuple(rdata.address for rdata in found)[:ADDRESSES_MAX]
            return _Answer(addresses, max(ttl_s, TTL_MIN_S))
        name = found[0].target
    return _Answer((), max(min(ttl_s, _negative_ttl(reply)), TTL_MIN_S))


def _negative_ttl(reply: Message) -> float:
    """How long a name may be taken not to exist (RFC 2308)."""
    import dns.rdatatype

    for found in reply.authority:
        if found.rdtype == dns.rdatatype.SOA and len(found):
            soa: Any = found[0]
            return float(min(found.ttl, soa.minimum))
    return NEGATIVE_TTL_S
