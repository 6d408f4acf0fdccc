"""ENMA: ``milter.socket: ...`` of ``enma.conf``, which ``-c`` may name.

``-o milter.socket=...`` on the command line counts before the file. Source: enma(1) and the sample
configuration of ENMA 1.2.
"""

from __future__ import annotations

from mmgr.detect.base import Found
from mmgr.detect.candidate import SPAM_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.key_value import ENMA
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where ENMA listens."""
    words = reading.words_of(service, "OPTIONS", "DAEMON_OPTS", "DAEMON_ARGS")
    named = Options(words, "co").found("c") or reading.settings_variable(service, "CONF_FILE", "cfgfile")
    path = named.value if named else f"{platform.configuration}/enma.conf"
    loaded = reading.load(service, tree, path, ENMA)
    socket = _given(words) or loaded.settings.found("milter.socket")
    if socket is None:
        socket = reading.assumed("inet:10025@127.0.0.1", reading.PROGRAM_DEFAULT)
    account = loaded.settings.value("milter.user", service.user)
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            socket_group=service.group or reading.group_of(tree, account),
            user=reading.user_of(account),
            problems=tuple(loaded.problems),
        ),
    )


def _given(words: list[Found[str]]) -> Found[str] | None:
    """The socket of the last ``-o milter.socket=SOCKET``."""
    found = None
    for word in words:
        name, _, value = word.value.rpartition("-o")[2].partition("=")
        if name == "milter.socket" and value:
            found = Found(value, word.where)
    return found


CANDIDATE = Candidate(("enma", "milter-enma"), examine, SPAM_CONDITIONS)
