"""The load on one SMTP port: runs load.c and takes its figures."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import HarnessError


class Load(NamedTuple):
    """What load.c says of one run; times of messages in milliseconds."""

    messages: int
    wall_s: float
    cpu_s: float
    p50_ms: float
    p95_ms: float
    max_ms: float


def run(program: Path, port: int, sessions: int, messages: int, is_kept: bool, content: Path) -> Load:
    """Sends that many messages; blocks until done. Raises HarnessError if one of them was not taken."""
    mode = "kept" if is_kept else "fresh"
    command = [str(program), str(port), str(sessions), str(messages), mode, str(content)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise HarnessError(f"{' '.join(command)}: {done.stderr.strip()}")
    return Load(**json.loads(done.stdout))
