"""OpenDMARC: ``Socket`` of ``opendmarc.conf``, or ``-p`` and ``-c``. It verifies, so own users pass."""

from __future__ import annotations

from functools import partial

from mmgr.detect.candidate import VERIFYING_CONDITIONS, Candidate
from mmgr.detect.milters.trusted_domain import Program, examine

PROGRAM = Program(
    letters="cpPtu",
    configuration_letter="c",
    configuration="opendmarc.conf",
    socket="local:/run/opendmarc/opendmarc.sock",
)

CANDIDATE = Candidate(("opendmarc",), partial(examine, PROGRAM), VERIFYING_CONDITIONS)
