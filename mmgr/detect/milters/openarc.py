"""OpenARC: ``Socket`` of ``openarc.conf``, or ``-p`` and ``-c``. It seals, so it sees every message."""

from __future__ import annotations

from functools import partial

from mmgr.detect.candidate import ALWAYS, Candidate
from mmgr.detect.milters.trusted_domain import Program, examine

PROGRAM = Program(
    letters="cpPtu",
    configuration_letter="c",
    configuration="openarc.conf",
    socket="local:/run/openarc/openarc.sock",
)

CANDIDATE = Candidate(("openarc",), partial(examine, PROGRAM), ALWAYS)
