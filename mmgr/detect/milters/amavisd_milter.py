"""amavisd-milter, and the older milter of amavis: the socket stands on the command line.

The newer one takes ``-s``, its predecessors ``-p``, which is the newer one's pid file. ``-S`` is the socket of amavisd
itself, and amavisd (port 10024) is no milter. Sources: amavisd-milter(8); the packages
of Fedora and Debian 12, the scripts of FreeBSD and pkgsrc.
"""

from __future__ import annotations

from mmgr.detect.candidate import ALWAYS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_LETTERS = "dDmMpqsStTw"
_OLD_LETTERS = "p"
_OLD_NAMES = ("amavis-milter", "amavismilter")
_VARIABLES = ("OPTIONS", "EXTRAPARAMS", "DAEMON_ARGS", "OPTARGS", "PARAMS")
_SOCKETS = ("MILTER_SOCKET", "MILTERSOCKET", "SOCKET", "SOCKFILE", "CONNECTION_SPEC")
_MODE_HINT = "set MILTERSOCKETMODE=0660 and let the group of MILTERSOCKETOWNER be one of milter-manager's"


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where the milter of amavis listens."""
    is_old = service.name in _OLD_NAMES
    options = Options(reading.words_of(service, *_VARIABLES), _OLD_LETTERS if is_old else _LETTERS)
    given = options.found("p" if is_old else "s")
    socket = given or reading.settings_variable(service, *_SOCKETS) or reading.assumed(_default(platform))
    owner = reading.settings_variable(service, "MILTERSOCKETOWNER")
    mode = reading.settings_variable(service, "MILTERSOCKETMODE")
    group = reading.group_of(tree, owner.value) if owner else ""
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            socket_group=group or service.group or reading.group_of(tree, service.user),
            problems=tuple(reading.closed_socket(service, socket, mode, _MODE_HINT)),
        ),
    )


def _default(platform: Platform) -> str:
    return reading.of_family(
        platform,
        "/run/amavisd/amavisd-milter.sock",
        debian="/var/lib/amavis/amavisd-milter.sock",
        freebsd="/var/amavis/amavisd-milter.sock",
    )


CANDIDATE = Candidate(("amavisd-milter", "amavis-milter", "amavisd-new-milter", "amavismilter"), examine, ALWAYS)
