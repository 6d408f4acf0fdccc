"""Socket addresses as the configuration and the command lines write them: ``unix:PATH``, ``inet:PORT@HOST``.

``parse_endpoint`` is pure: it looks at the text alone. What asks the resolver stands at the end of the module
(``connect_addresses``, ``listen_addresses``) and may block. No socket is opened here; that is for ``stream`` and the
listeners. Syntax: the incumbent's connection spec, with ``local:`` as libmilter's other name of ``unix:``.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import Union, cast

from mmgr.errors import EndpointError

Address = Union[str, tuple[str, int], tuple[str, int, int, int]]
"""What ``socket.connect`` and ``socket.bind`` take: a path, (host, port), or (host, port, flow, scope)."""

MAX_PATH_BYTES = 107
"""``sun_path`` of Linux holds 108 bytes, the last of which is NUL (unix(7))."""

MAX_HOST_CHARACTERS = 253
"""The longest host name as text: 255 bytes on the wire (RFC 1035, section 2.3.4)."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PORT = re.compile(r"[0-9]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_FAMILIES = {"unix": socket.AF_UNIX, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
_EVERYWHERE = {"inet": "0.0.0.0", "inet6": "::"}
_LOOPBACK = {"inet": "127.0.0.1", "inet6": "::1"}


@dataclass(frozen=True)
class Endpoint:
    """One socket address. kind is "unix" (path counts) or "inet" or "inet6" (host and port count).

    An empty host means every interface for a listener and the loopback address for a connection.
    """

    kind: str
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """The canonical spec: ``unix:PATH``, ``inet:PORT``, ``inet:PORT@HOST``, ``inet6:PORT@[ADDR]``."""
        if self.kind == "unix":
            return f"unix:{self.path}"
        if not self.host:
            return f"{self.kind}:{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}:{self.port}@{host}"

    @property
    def family(self) -> socket.AddressFamily:
        """The address family for ``socket.socket``."""
        return _FAMILIES[self.kind]


def parse_endpoint(text: str) -> Endpoint:
    """Read one connection spec; raises EndpointError that names the part that is wrong. Asks no resolver.

    ``inet:10025@[127.0.0.1]`` gives ``Endpoint("inet", host="127.0.0.1", port=10025)``.
    """
    protocol, colon, rest = text.partition(":")
    if not colon:
        raise EndpointError(
            f"{_shown(text)} has no colon; a socket is written unix:PATH, inet:PORT@HOST or inet6:PORT@HOST"
        )
    if protocol in ("unix", "local"):
        return Endpoint("unix", path=_checked_path(text, rest))
    if protocol in ("inet", "inet6"):
        return _parse_inet(protocol, text, rest)
    raise EndpointError(f"{_shown(text)}: protocol must be unix, local, inet or inet6, not {_shown(protocol)}")


def _parse_inet(kind: str, text: str, rest: str) -> Endpoint:
    port, at, host = rest.partition("@")
    number = _parse_port(text, port)
    if not at:
        return Endpoint(kind, port=number)
    return Endpoint(kind, host=_checked_host(kind, text, _without_brackets(text, host)), port=number)


def _checked_path(text: str, path: str) -> str:
    if not path:
        raise EndpointError(f"{_shown(text)}: the path is empty")
    if "\0" in path:
        raise EndpointError(f"{_shown(text)}: the path has a NUL byte")
    if _CONTROL.search(path):
        raise EndpointError(f"{_shown(text)}: the path has a control character")
    if path != path.strip():
        raise EndpointError(f"{_shown(text)}: the path begins or ends with white space")
    length = _byte_length(text, path)
    if length > MAX_PATH_BYTES:
        raise EndpointError(f"{_shown(text)}: the path is {length} bytes long, a unix socket takes {MAX_PATH_BYTES}")
    return path


def _byte_length(text: str, path: str) -> int:
    try:
        return len(os.fsencode(path))
    except UnicodeEncodeError as error:
        raise EndpointError(f"{_shown(text)}: the path can't be encoded: {error.reason}") from error


def _parse_port(text: str, port: str) -> int:
    if not port:
        raise EndpointError(f"{_shown(text)}: the port is missing")
    if not _PORT.fullmatch(port):
        raise EndpointError(f"{_shown(text)}: port {_shown(port)} is not a number")
    if len(port) > 9 or not 1 <= int(port) <= 65535:
        raise EndpointError(f"{_shown(text)}: port {_shown(port)} is not between 1 and 65535")
    return int(port)


def _without_brackets(text: str, host: str) -> str:
    """The host as such: ``[::1]`` loses its brackets, a bare name or address stays."""
    if not host:
        raise EndpointError(f"{_shown(text)}: the host after '@' is empty; leave the '@' out for every interface")
    if not host.startswith("["):
        return host
    inner, bracket, behind = host[1:].partition("]")
    if not bracket:
        raise EndpointError(f"{_shown(text)}: ']' is missing")
    if behind:
        raise EndpointError(f"{_shown(text)}: {_shown(behind)} stands behind ']'")
    if not inner:
        raise EndpointError(f"{_shown(text)}: the address between '[' and ']' is empty")
    return inner


def _checked_host(kind: str, text: str, host: str) -> str:
    address = _literal_address(host)
    if address is not None and address.version != (6 if kind == "inet6" else 4):
        other = "inet6" if kind == "inet" else "inet"
        raise EndpointError(f"{_shown(text)}: {host} is an IPv{address.version} address; write {other}: for it")
    if address is None and ":" in host:
        raise EndpointError(f"{_shown(text)}: {_shown(host)} is not an IPv6 address")
    if address is None and not _HOST_NAME.fullmatch(host):
        raise EndpointError(f"{_shown(text)}: {_shown(host)} is neither a host name nor an address")
    if len(host) > MAX_HOST_CHARACTERS:
        raise EndpointError(f"{_shown(text)}: the host is longer than {MAX_HOST_CHARACTERS} characters")
    return host


def _literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that the text is, without its zone (``fe80::1%eth0``); None for a name."""
    address, percent, zone = host.partition("%")
    try:
        literal = ipaddress.ip_address(address)
    except ValueError:
        return None
    if percent and (literal.version == 4 or not _HOST_NAME.fullmatch(zone)):
        return None
    return literal


def _shown(text: str) -> str:
    """Text for an error message: quoted, escaped, cut."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def connect_addresses(endpoint: Endpoint) -> list[Address]:
    """Where to connect, best first, never empty; without a host the loopback address. May block in the resolver.

    Raises EndpointError when the host has no address of this family.
    """
    return _addresses(endpoint, _LOOPBACK)


def listen_addresses(endpoint: Endpoint) -> list[Address]:
    """Where to listen, never empty; without a host all interfaces of the family. May block in the resolver.

    Raises EndpointError when the host has no address of this family.
    """
    return _addresses(endpoint, _EVERYWHERE)


def _addresses(endpoint: Endpoint, hostless: dict[str, str]) -> list[Address]:
    if endpoint.kind == "unix":
        return [endpoint.path]
    host = endpoint.host or hostless[endpoint.kind]
    try:
        found = socket.getaddrinfo(host, endpoint.port, family=endpoint.family, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EndpointError(f"{endpoint}: host {host} can't be resolved: {error.strerror or error}") from error
    except UnicodeError as error:
        raise EndpointError(f"{endpoint}: host {host} can't be resolved: {error}") from error
    return list(dict.fromkeys(cast(Address, entry[4]) for entry in found))
