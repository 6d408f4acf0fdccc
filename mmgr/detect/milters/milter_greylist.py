"""milter-greylist: ``socket "PATH" MODE`` of ``greylist.conf``, or ``-p`` and ``-f`` on its command line.

A tarpit makes it slower than others. Sources: greylist.conf(5), milter-greylist(8); the packages of EPEL 8, Debian and
FreeBSD. What the command line says counts, whatever the file says.
"""

from __future__ import annotations

from mmgr.detect.base import Found, Problem
from mmgr.detect.candidate import GREYLIST_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.greylist_conf import Greylist, read_greylist
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Absent, Tree, Unreadable

_LETTERS = "adfLMPpuw"
_VARIABLES = ("OPTIONS", "DAEMON_OPTS", "DAEMON_ARGS", "OPTARGS", "DOPTIONS")
_MODE_HINT = 'write: socket "PATH" 660'


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where milter-greylist listens, and how long its tarpit holds a recipient."""
    options = Options(reading.words_of(service, *_VARIABLES), _LETTERS)
    greylist, problems = _greylist(service, tree, _configuration(options, service, tree, platform))
    given = options.found("p") or reading.settings_variable(service, "SOCKET", "sockfile")
    socket = given or greylist.socket or reading.assumed(_package_socket(platform))
    mode = greylist.mode if socket is greylist.socket else None
    account = options.found("u") or greylist.user
    name = account.value if account else service.user
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            socket_group=service.group or reading.group_of(tree, name),
            user=reading.user_of(name),
            extra_timeout_s=greylist.tarpit_s.value if greylist.tarpit_s else 0.0,
            extra_timeout_where=greylist.tarpit_s.where if greylist.tarpit_s else None,
            problems=(*problems, *reading.closed_socket(service, socket, mode, _MODE_HINT)),
        ),
    )


def _configuration(options: Options, service: Service, tree: Tree, platform: Platform) -> Found[str]:
    named = options.found("f") or reading.settings_variable(service, "cfgfile", "CONFFILE")
    if named:
        return named
    directory = platform.configuration
    places = [f"{directory}/mail/greylist.conf", f"{directory}/milter-greylist/greylist.conf"]
    if platform.family == "debian":
        places.reverse()
    return Found(reading.first_there(tree, *places), service.unit)


def _greylist(service: Service, tree: Tree, path: Found[str]) -> tuple[Greylist, list[Problem]]:
    try:
        return read_greylist(tree.lines(path.value)), []
    except Absent as error:
        return Greylist(), [Problem(service.name, path.where, str(error), "name the file with -f")]
    except Unreadable as error:
        return Greylist(), [reading.unreadable(service, error)]


def _package_socket(platform: Platform) -> str:
    socket = "/run/milter-greylist/milter-greylist.sock"
    upstream = "/var/milter-greylist/milter-greylist.sock"
    return reading.of_family(platform, socket, freebsd=upstream, pkgsrc=upstream)


CANDIDATE = Candidate(("milter-greylist",), examine, GREYLIST_CONDITIONS)
