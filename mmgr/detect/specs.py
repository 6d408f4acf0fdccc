"""A socket as a milter's own settings write it, in our syntax: ``local:/var/run/x`` becomes ``unix:/run/x``. PURE.

What is understood is what libmilter takes (``unix:``, ``local:``, ``inet:PORT@HOST``, ``inet6:``, a bare path; see
smfi_setconn) and what rspamd takes (``HOST:PORT``, ``*:PORT``). The files in ``mmgr.detect.milters`` call this; a test
compares the results with ``parse_endpoint``, which every one of them passes.
"""

from __future__ import annotations

import ipaddress
import posixpath

from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import EndpointError

_PATHS = ("unix", "local")
_FAMILIES = ("inet", "inet6")
_WILDCARDS = ("*", "*v4", "0.0.0.0", "")
_WILDCARDS_6 = ("*v6", "::", "0::0")
_QUOTES = ('"', "'")


def our_spec(text: str) -> str:
    """The socket in our own syntax, as one would connect to it; raises EndpointError that says what is wrong.

    A wildcard address becomes the local host, ``/var/run`` becomes ``/run``, a prefix that is said twice counts once,
    the inner one. ``*:11332`` gives ``inet:11332@localhost``, ``[::]:8891`` gives ``inet6:8891@[::1]``.
    """
    text = _without_quotes(text.strip())
    prefix, rest = _prefix(text)
    if prefix in _PATHS or (not prefix and rest.startswith("/")):
        return str(parse_endpoint(f"unix:{local_path(rest)}"))
    if prefix in _FAMILIES:
        port, _, host = rest.partition("@")
        return _inet(prefix, port, host)
    port, at, host = rest.rpartition("@")
    if not at:
        host, _, port = rest.rpartition(":")
        if not host:
            raise EndpointError(f"{text!r} is neither a path nor a port with a host")
    return _inet("inet", port, host)


def written_path(text: str) -> str:
    """The path of a unix socket as it is written, ``/var/run`` included; "" for any other socket."""
    prefix, rest = _prefix(_without_quotes(text.strip()))
    return rest if rest.startswith("/") and prefix not in _FAMILIES else ""


def local_path(path: str) -> str:
    """A path without ``//``, ``.`` and ``/var/run``, which is a link to ``/run``; raises EndpointError if relative."""
    if not path.startswith("/"):
        raise EndpointError(f"{path!r} is no absolute path")
    path = posixpath.normpath("/" + path.lstrip("/"))
    return path[4:] if path == "/var/run" or path.startswith("/var/run/") else path


def _prefix(text: str) -> tuple[str, str]:
    """The innermost prefix and what stands behind it: ``unix:local:/x`` gives ("local", "/x")."""
    found = ""
    while True:
        prefix, colon, rest = text.partition(":")
        if not colon or prefix.lower() not in (*_PATHS, *_FAMILIES):
            return found, text.strip()
        found, text = prefix.lower(), rest.lstrip()


def _inet(kind: str, port: str, host: str) -> str:
    host = host.strip()
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if host in _WILDCARDS_6 or (kind == "inet6" and host in _WILDCARDS):
        return _checked(Endpoint("inet6", host="::1"), port)
    if host in _WILDCARDS:
        return _checked(Endpoint("inet", host="localhost"), port)
    return _checked(Endpoint(_family(kind, host), host=host), port)


def _family(kind: str, host: str) -> str:
    """The family of a literal address, else the one that is written."""
    try:
        return "inet6" if ipaddress.ip_address(host.partition("%")[0]).version == 6 else "inet"
    except ValueError:
        return kind


def _checked(endpoint: Endpoint, port: str) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return str(parse_endpoint(f"{endpoint.kind}:{port.strip()}@{host}"))


def _without_quotes(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0] else text
