"""milter-regex: ``-p`` on its command line, below the directory of ``-j`` if it changes its root.

``-G`` and ``-P`` let others in. Source: milter-regex(8) and milter-regex.c 2.7: the socket is made after chroot(2),
with mode 0600 unless ``-P`` says more.
"""

from __future__ import annotations

from mmgr.detect.base import Found, Problem
from mmgr.detect.candidate import SPAM_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_LETTERS = "cfjlmpruGPU"
_MODE_HINT = "start it with -P 0660 -G GROUP, where GROUP is one of milter-manager's"


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where milter-regex listens and who may connect."""
    options = Options(reading.words_of(service, "OPTIONS"), _LETTERS)
    given = options.found("p") or reading.settings_variable(service, "SOCKET", "sockfile", "connection_spec")
    inner = given or reading.assumed("unix:/var/spool/milter-regex/sock", reading.PROGRAM_DEFAULT)
    socket = reading.seen_from_outside(inner, options.found("j"))
    group = options.found("G")
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            socket_group=group.value if group else service.group or reading.group_of(tree, service.user),
            problems=tuple(_closed(service, socket, options)),
        ),
    )


def _closed(service: Service, socket: Found[str] | None, options: Options) -> list[Problem]:
    mode = options.found("P") or Found("0600", service.unit)
    return reading.closed_socket(service, socket, mode, _MODE_HINT)


CANDIDATE = Candidate(("milter-regex",), examine, SPAM_CONDITIONS)
