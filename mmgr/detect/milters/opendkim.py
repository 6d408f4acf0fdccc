"""OpenDKIM: ``Socket`` of ``opendkim.conf``, or ``-p`` and ``-x``. It signs, so it sees every message.

FreeBSD's script is ``milter-opendkim``, with one milter for each of its profiles.
"""

from __future__ import annotations

from functools import partial

from mmgr.detect.candidate import ALWAYS, Candidate
from mmgr.detect.milters.key_value import OPENDKIM
from mmgr.detect.milters.trusted_domain import Program, examine

PROGRAM = Program(
    letters="bcdeFkLopPsStTux",
    configuration_letter="x",
    configuration="opendkim.conf",
    socket="local:/run/opendkim/opendkim.sock",
    style=OPENDKIM,
)

CANDIDATE = Candidate(("opendkim", "milter-opendkim"), partial(examine, PROGRAM), ALWAYS)
