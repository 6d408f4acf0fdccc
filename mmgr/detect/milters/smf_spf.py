"""smf-spf: ``Socket`` of ``smf-spf.conf``. Its unix socket is for its own user alone, so it is reported and not used.

Source: smf-spf.conf of smf-spf 2; Fedora's package has ``/run/smfs`` with mode 0700. A socket on the net can be used.
"""

from __future__ import annotations

from mmgr.detect.base import Found
from mmgr.detect.candidate import VERIFYING_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.key_value import TRUSTED_DOMAIN
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_CLOSED = "only its own user may connect to its socket; write: Socket inet:8893@localhost, or set enabled = yes here"


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where smf-spf listens, and whether anybody else could connect."""
    named = Options(reading.words_of(service, "OPTIONS"), "c").found("c") or service.variable("cfgfile")
    directory = platform.configuration
    places = (f"{directory}/mail/smfs/smf-spf.conf", f"{directory}/smf-spf.conf")
    loaded = reading.load(service, tree, named.value if named else reading.first_there(tree, *places), TRUSTED_DOMAIN)
    socket = loaded.settings.found("Socket")
    if socket is None:
        socket = reading.assumed("unix:/var/run/smfs/smf-spf.sock", reading.PROGRAM_DEFAULT)
    account = loaded.settings.value("User", service.user or "smfs")
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            why_not=Found(_CLOSED, socket.where) if reading.is_local(socket.value) else None,
            socket_group=service.group or reading.group_of(tree, account),
            user=account,
            problems=tuple(loaded.problems),
        ),
    )


CANDIDATE = Candidate(("smf-spf", "smfspf"), examine, VERIFYING_CONDITIONS)
