"""What OpenDKIM and its siblings have in common: where they listen, by command line and configuration file.

``opendkim``, ``opendmarc``, ``openarc`` and ``retired`` describe their programs here. Sources: opendkim(8),
opendkim.conf(5), opendmarc(8), opendmarc.conf(5); the units and init scripts of EL 8 and Debian 12.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmgr.detect.base import Found
from mmgr.detect.candidate import Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.key_value import TRUSTED_DOMAIN, Style
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_VARIABLES = ("OPTIONS", "DAEMON_OPTS", "DAEMON_ARGS", "OPTARGS")
_UMASK_HINT = "set UMask 007 and let the group of the socket be one of milter-manager's"


@dataclass(frozen=True)
class Program:
    """One program: its getopt(3) letters with values, the letter of its configuration file, that file below the
    platform's directory, and the package's socket, for the case that nobody may read the file."""

    letters: str
    configuration_letter: str
    configuration: str
    socket: str
    style: Style = TRUSTED_DOMAIN


def examine(program: Program, service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where the program listens and who may connect."""
    options = Options(reading.words_of(service, *_VARIABLES), program.letters)
    named = options.found(program.configuration_letter) or reading.settings_variable(service, "CONFIG", "cfgfile")
    path = named.value if named else f"{platform.configuration}/{program.configuration}"
    loaded = reading.load(service, tree, path, program.style)
    socket = _socket(options, service, platform, loaded)
    why_not = None
    if socket is None and loaded.is_readable:
        why_not = _no_socket(service, loaded, named)
    elif socket is None:
        socket = reading.assumed(program.socket)
    socket = reading.seen_from_outside(socket, loaded.settings.found("ChangeRootDirectory"))
    account = _account(options, service, loaded)
    masked = reading.masked_socket(service, socket, loaded.settings.found("UMask"), _UMASK_HINT)
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            why_not=why_not,
            socket_group=service.group or reading.group_of(tree, account),
            user=reading.user_of(account),
            problems=(*loaded.problems, *masked),
        ),
    )


def _socket(options: Options, service: Service, platform: Platform, loaded: reading.Loaded) -> Found[str] | None:
    """The command line counts before the file. A variable of a script counts first on BSD, last on Linux."""
    variable = reading.settings_variable(service, "SOCKET", "sockfile", "connection_spec")
    written = loaded.settings.found("Socket")
    order = (written, variable) if platform.has_units else (variable, written)
    return options.found("p") or order[0] or order[1]


def _account(options: Options, service: Service, loaded: reading.Loaded) -> str:
    """Who it runs as, ``USER`` or ``USER:GROUP``."""
    given = options.found("u")
    return given.value if given else loaded.settings.value("UserID", service.user)


def _no_socket(service: Service, loaded: reading.Loaded, named: Found[str] | None) -> Found[str]:
    """Why it can't start: the file, or the line that names it, says no socket."""
    if loaded.is_there:
        return Found("no Socket is set", loaded.where)
    return Found(f"there is no {loaded.path}", named.where if named else service.unit)
