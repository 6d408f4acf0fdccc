"""pyspf-milter of spf-engine: ``Socket = ...`` of the file that its command line names.

The policy server of the same source (policyd-spf, pypolicyd-spf) is no milter. Source: the package of Debian 12.
"""

from __future__ import annotations

from mmgr.detect.base import Found
from mmgr.detect.candidate import VERIFYING_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.key_value import PYSPF
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where pyspf-milter listens."""
    operands = Options(reading.words_of(service, "OPTIONS", "DAEMON_OPTS"), "P").operands
    files = [word.value for word in operands if word.value.endswith(".conf")]
    path = files[-1] if files else f"{platform.configuration}/pyspf-milter/pyspf-milter.conf"
    loaded = reading.load(service, tree, path, PYSPF)
    socket: Found[str] = loaded.settings.found("Socket") or reading.assumed("local:/run/pyspf-milter/pyspf-milter.sock")
    account = loaded.settings.value("UserID", service.user)
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            socket_group=service.group or reading.group_of(tree, account),
            user=reading.user_of(account),
            problems=tuple(loaded.problems),
        ),
    )


CANDIDATE = Candidate(("pyspf-milter",), examine, VERIFYING_CONDITIONS)
