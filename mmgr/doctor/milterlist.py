"""What stands in smtpd_milters and non_smtpd_milters, item by item. PURE.

Postfix writes ``inet:HOST:PORT``, we ``inet:PORT@HOST``; who confuses them gets "host or service not found" in the log
and a temporary failure for all mail. Source: milter8_create of Postfix (src/milter/milter8.c).
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmgr.doctor.maincf import words
from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import EndpointError

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")
_ANYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class Item:
    """One milter as Postfix has it, options in braces included.

    endpoint is None where problem says why it can't be one; better is what was meant; options are those in braces.
    """

    text: str
    endpoint: Endpoint | None = None
    problem: str = ""
    better: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def items(value: str) -> list[Item]:
    """The milters of an expanded list, in order."""
    return [_item(word) for word in words(value, ", \t\r\n")]


def _item(word: str) -> Item:
    if not word.startswith("{"):
        return _read(word, word, {})
    inner = word[1:-1] if word.endswith("}") else word[1:]
    first, *rest = words(inner, ", \t\r\n") or [""]
    pairs = (option.strip("{}").partition("=") for option in rest)
    return _read(first, word, {name.strip(): value.strip() for name, equals, value in pairs if equals})


def _read(spec: str, text: str, options: Mapping[str, str]) -> Item:
    kind, _, rest = spec.partition(":")
    if kind in ("unix", "local") and rest:
        return Item(text, Endpoint("unix", path=rest), options=options)
    if kind != "inet":
        problem = "Postfix takes unix:PATH and inet:HOST:PORT" if rest else "has no transport: write unix:PATH"
        return Item(text, problem=problem, better=_better(spec), options=options)
    host, colon, port = rest.rpartition(":")
    if "@" in rest or not port.isdigit():
        return Item(text, problem="Postfix writes inet:HOST:PORT", better=_better(spec), options=options)
    bare = host.strip("[]") if colon else ""
    return Item(text, Endpoint("inet6" if ":" in bare else "inet", host=bare, port=int(port)), options=options)


def _better(text: str) -> str:
    """The same socket in Postfix's notation, where ours was meant."""
    try:
        return written(parse_endpoint(f"unix:{text}" if text.startswith("/") else text))
    except EndpointError:
        return ""


def written(endpoint: Endpoint) -> str:
    """An endpoint in Postfix's notation."""
    if endpoint.kind == "unix":
        return str(endpoint)
    default = "[::1]" if endpoint.kind == "inet6" else "127.0.0.1"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"inet:{default if endpoint.host in _ANYWHERE else host}:{endpoint.port}"


def same(one: Endpoint, other: Endpoint, is_other_listener: bool = False) -> bool:
    """Whether two endpoints are one socket, as far as the text tells; a listener may be on every interface."""
    if one.kind == "unix" or other.kind == "unix":
        return one.kind == other.kind and plain_path(one.path) == plain_path(other.path)
    if one.port != other.port:
        return False
    if is_other_listener and other.host in _ANYWHERE:
        return True
    return _host(one.host) == _host(other.host)


def plain_path(path: str) -> str:
    """One spelling: no double slashes, and /var/run is /run."""
    path = posixpath.normpath(path)
    path = path[1:] if path.startswith("//") else path
    return path[len("/var") :] if path.startswith("/var/run/") else path


def _host(host: str) -> str:
    return "localhost" if host.lower() in _LOOPBACK or host in _ANYWHERE else host.lower()
