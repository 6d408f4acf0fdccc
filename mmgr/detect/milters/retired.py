"""Milters that nobody develops any more and that old machines still have, FreeBSD and pkgsrc above all.

They are dkim-filter, dk-filter and sid-filter, OpenDKIM's predecessors with the grammar of its configuration, and
spfmilter, which has no file. Sources: their manual pages; the names are the incumbent's.
"""

from __future__ import annotations

from functools import partial

from mmgr.detect.candidate import ALWAYS, SPAM_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.options import Options
from mmgr.detect.milters.trusted_domain import Program, examine
from mmgr.detect.tree import Tree

_DKIM = Program("bcdFikLmopPsStuUx", "x", "dkim-filter.conf", "local:/run/dkim-filter/dkim-filter.sock")
_DOMAIN_KEYS = Program("aAbcCdHiImMoPpsSTuU", "x", "dk-filter.conf", "local:/run/dk-filter/dk-filter.sock")
_SENDER_ID = Program("aAdpPrTux", "x", "sid-filter.conf", "local:/run/sid-filter/sid-filter.sock")


def examine_spfmilter(service: Service, tree: Tree, platform: Platform) -> Reading:
    """spfmilter takes its socket as the last word of its command line."""
    options = Options(reading.words_of(service, "OPTIONS", "OPTARGS", "DAEMON_ARGS", "PARAMS"), "p")
    variable = reading.settings_variable(service, "SOCKET", "SOCKFILE", "CONNECTION_SPEC")
    socket = variable or options.found("p") or (options.operands[-1] if options.operands else None)
    group = service.group or reading.group_of(tree, service.user)
    return reading.in_our_syntax(service, Reading(connection_spec=socket, socket_group=group))


CANDIDATES = (
    Candidate(("dkim-filter", "dkim-milter", "milter-dkim"), partial(examine, _DKIM), ALWAYS),
    Candidate(("dk-filter", "dk-milter"), partial(examine, _DOMAIN_KEYS), ALWAYS),
    Candidate(("sid-filter", "sid-milter", "milter-sid"), partial(examine, _SENDER_ID), SPAM_CONDITIONS),
    Candidate(("spfmilter",), examine_spfmilter, SPAM_CONDITIONS),
)
