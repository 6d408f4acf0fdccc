"""MIMEDefang: ``SOCKET`` of its settings, or ``-p``. The multiplexor beside it is no milter.

Sources: mimedefang(8); the units of Debian 12 and Fedora, which start it by a shell or a wrapper that reads the same
variables. Without ``-G`` or ``MD_ALLOW_GROUP_ACCESS=yes`` nobody but its user may connect.
"""

from __future__ import annotations

from mmgr.detect.base import Found, Problem
from mmgr.detect.candidate import ALWAYS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_LETTERS = "DLMPoRSUXabmpxz"
_HINT = "set MD_ALLOW_GROUP_ACCESS=yes and let milter-manager be in the group of MIMEDefang"


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where mimedefang listens, and whether its group may connect."""
    options = Options(reading.words_of(service, "MD_EXTRA"), _LETTERS)
    socket = options.found("p") or service.variable("SOCKET", "sockfile") or _default(service, platform)
    user = options.found("U") or service.variable("MX_USER")
    name = user.value if user else service.user
    group = service.group or reading.group_of(tree, name) or name
    return reading.in_our_syntax(
        service,
        Reading(connection_spec=socket, socket_group=group, user=name, problems=_closed(options, service, socket)),
    )


def _closed(options: Options, service: Service, socket: Found[str]) -> tuple[Problem, ...]:
    access = service.variable("MD_ALLOW_GROUP_ACCESS")
    if not reading.is_local(socket.value) or (access and access.value.lower() == "yes"):
        return ()
    if options.found("G") and service.argv[:1] and not service.argv[0].value.endswith("sh"):
        return ()
    where = access.where if access else service.unit
    return (Problem(service.name, where, "the group of MIMEDefang may not connect to its socket", _HINT),)


def _default(service: Service, platform: Platform) -> Found[str]:
    spool = service.variable("SPOOLDIR")
    directory = spool.value if spool else "/var/spool/MIMEDefang"
    return (
        Found(f"{directory}/mimedefang.sock", spool.where) if spool else reading.assumed(f"{directory}/mimedefang.sock")
    )


CANDIDATE = Candidate(("mimedefang",), examine, ALWAYS)
