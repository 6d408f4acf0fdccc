"""The rule for milters that no file of ``mmgr.detect.milters`` knows: a service that says milter and names a socket.

Policy servers, scanners behind a milter and multiplexors look alike and are none; ``NEVER`` names them. ``detection``
calls this for every service that no candidate claims.
"""

from __future__ import annotations

import re

from mmgr.detect.base import Found
from mmgr.detect.candidate import Platform, Reading, Service
from mmgr.detect.commandline import words
from mmgr.detect.milters.options import command_words
from mmgr.detect.specs import our_spec
from mmgr.detect.tree import Tree
from mmgr.errors import EndpointError

OURS = "milter-manager"
"""Our own service, and our own program under whatever name it is started."""

NEVER = """
    amavis amavisd amavis-mc amavisd-snmp clamd clamav-daemon clamav-freshclam dovecot mimedefang-multiplexor
    policyd-spf policyd-weight postfix postfwd postgrey postlicyd postsrsd pypolicyd-spf sendmail sm-client
    spamassassin spamd sqlgrey
"""
"""Services of mail that listen and are no milters."""

_OPTIONS = ("-p", "-s", "--socket", "--milter-socket", "--listen", "--connection-spec")
_VARIABLES = ("MILTER_SOCKET", "SOCKET", "SOCKET_ADDRESS", "CONNECTION_SPEC", "SOCKFILE", "MILTER_ADDRESS")
_BSD_VARIABLES = ("socket", "sockfile", "connection_spec")
_FLAGS = ("OPTIONS", "OPTARGS", "DAEMON_ARGS", "DAEMON_OPTS", "PARAMS", "flags", "command_args")
_PREFIXED = re.compile(r"(?:unix|local|inet6?):\S+", re.IGNORECASE)
_PATH = re.compile(r"/\S+")
_NO_SOCKETS = (".pid", ".conf", ".cfg", ".cf", ".ini", ".yml", ".yaml", ".toml", ".json", ".log", ".py", ".lua")
_SAYS_MILTER = "milter"


def is_ours(service: Service) -> bool:
    """Whether a service is milter manager itself, by its name or by its program."""
    programs = [service.argv[0]] if service.argv else []
    programs += [found for name in ("DAEMON", "command") if (found := service.environment.get(name))]
    names = [found.value.rpartition("/")[2] for found in programs]
    return service.name == OURS or service.name.startswith(f"{OURS}@") or OURS in names


def is_never(name: str) -> bool:
    """Whether a service of that name is known to be no milter; an instance counts as its template."""
    return name.partition("@")[0] in NEVER.split()


def says_milter(service: Service) -> bool:
    """Whether name or description says that it is a milter."""
    description = service.description.value if service.description is not None else ""
    return _SAYS_MILTER in service.name.lower() or _SAYS_MILTER in description.lower()


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """The socket that the command line names, else the one of a variable; a Reading without one where there is none."""
    found = _of_words(command_words(service.argv, service.environment)) or _of_flags(service) or _of_variables(service)
    return Reading(connection_spec=found)


def _of_words(given: list[Found[str]]) -> Found[str] | None:
    """The last option that takes a socket and has one: ``-p SPEC``, ``-pSPEC``, ``-p=SPEC``, ``--socket=SPEC``."""
    found = None
    for at, word in enumerate(given):
        following = given[at + 1 : at + 2]
        if word.value in _OPTIONS:
            found = (_spec(following[0]) if following else None) or found
            continue
        for option in _OPTIONS:
            if word.value.startswith(option) and len(word.value) > len(option):
                rest = word.value[len(option) :]
                if rest.startswith("=") or not option.startswith("--"):
                    found = _spec(Found(rest.lstrip("="), word.where)) or found
    return found


def _of_flags(service: Service) -> Found[str] | None:
    """A script's options stand in variables."""
    if service.argv:
        return None
    texts = [service.variable(name) for name in _FLAGS]
    return _of_words([Found(each, text.where) for text in texts if text for each in words(text.value, is_relaxed=True)])


def _of_variables(service: Service) -> Found[str] | None:
    for name in (*_VARIABLES, *_BSD_VARIABLES):
        value = service.variable(name)
        spec = _spec(value) if value is not None else None
        if spec is not None:
            return spec
    return None


def _spec(value: Found[str]) -> Found[str] | None:
    """The socket in our syntax; None for what is none, such as the path of a file that is no socket by its name."""
    text = value.value.strip()
    is_path = _PATH.fullmatch(text) and not text.endswith(_NO_SOCKETS)
    if not is_path and not _PREFIXED.fullmatch(text):
        return None
    try:
        return Found(our_spec(text), value.where)
    except EndpointError:
        return None
