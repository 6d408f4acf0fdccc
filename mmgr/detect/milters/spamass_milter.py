"""spamass-milter: ``-p`` on its command line, which EL's units and Debian's script make of variables in a file.

Sources: spamass-milter(8); the packages spamass-milter and spamass-milter-postfix of EPEL 8, and Debian 12's.
The second EL package has a second file, which the unit reads last; both packages share one unit.
"""

from __future__ import annotations

from mmgr.detect.base import Found
from mmgr.detect.candidate import SPAM_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_LETTERS = "dpPruDibBexSRCgo"
_VARIABLES = ("SOCKET_OPTIONS", "EXTRA_FLAGS", "OPTIONS")
_MODE_HINT = "set SOCKETMODE=0660 and let the group of SOCKETOWNER be one of milter-manager's"
_DEBIAN_POSTFIX = "/var/spool/postfix/spamass/spamass.sock"


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where spamass-milter listens and which group ``-g`` lets in."""
    options = Options(_words(service), _LETTERS)
    socket = options.found("p") or reading.settings_variable(service, "SOCKET", "sockfile")
    if socket is None:
        socket = _script_default(service, tree, platform)
    group = options.found("g")
    owner = reading.settings_variable(service, "SOCKETOWNER", "socket_owner")
    mode = reading.settings_variable(service, "SOCKETMODE", "socket_mode")
    named = group.value if group else reading.group_of(tree, owner.value) if owner else ""
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            socket_group=named or _group(service, tree, socket),
            problems=tuple(reading.closed_socket(service, socket, mode, _MODE_HINT)),
        ),
    )


def _words(service: Service) -> list[Found[str]]:
    """The words up to ``--``; what stands behind is for spamc, whose ``-p`` is a port."""
    words = reading.words_of(service, *_VARIABLES)
    end = next((at for at, word in enumerate(words) if word.value == "--"), len(words))
    return words[:end]


def _script_default(service: Service, tree: Tree, platform: Platform) -> Found[str]:
    """What the package's script computes where nobody says anything: Debian's looks for Postfix."""
    if platform.family == "debian":
        has_postfix = tree.exists("/usr/sbin/postfix")
        return reading.assumed(_DEBIAN_POSTFIX if has_postfix else "/run/spamass/spamass.sock")
    default = "/run/spamass-milter/spamass-milter.sock"
    return reading.assumed(reading.of_family(platform, default, freebsd="/run/spamass-milter.sock"))


def _group(service: Service, tree: Tree, socket: Found[str]) -> str:
    """The group of the socket where no option says: Debian's script gives the one for Postfix to Postfix."""
    if socket.where.is_assumed and socket.value == _DEBIAN_POSTFIX:
        return "postfix"
    return service.group or reading.group_of(tree, service.user)


CANDIDATE = Candidate(("spamass-milter", "spamass-milter-root"), examine, SPAM_CONDITIONS)
