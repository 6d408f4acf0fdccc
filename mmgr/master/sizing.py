"""How large the pool may be: from the configuration, and where that leaves it open from Postfix's own limit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from mmgr.config.model import Config, Overload
from mmgr.master.policy import Pool

POSTFIX_MAIN = Path("/etc/postfix/main.cf")
PROCESS_LIMIT = 100
"""``default_process_limit`` of Postfix: one smtpd process is one session here, and one worker."""

RESERVE_PART = 10
"""A tenth more: cleanup and other services have sessions of their own, and old ones end later than new ones start."""

_LIMIT_LINE = re.compile(r"^default_process_limit\s*=\s*([0-9]{1,6})\s*$", re.MULTILINE)


def pool_of(config: Config, generation: int, more: int = 0) -> Pool:
    """What the configuration wants of the pool; more is by how many workers people changed it since (TTIN, TTOU)."""
    wanted = config.workers
    pool = Pool(
        generation,
        min_workers=0,
        max_workers=wanted.max_workers or default_max_workers(),
        min_spare=max(1, wanted.min_spare + more),
        max_spare=max(1, wanted.min_spare + more, wanted.max_spare + more),
        has_reserve=wanted.overload is not Overload.WAIT,
        drain_timeout_s=wanted.drain_timeout_s,
        hang_timeout_s=wanted.hang_timeout_s,
        max_sessions=wanted.max_sessions,
        max_age_s=wanted.max_age_s,
        max_memory_bytes=wanted.max_memory_bytes,
        stress_threshold=config.conditions.stress_threshold,
    )
    if not wanted.n_workers:
        return pool
    fixed = max(1, wanted.n_workers + more)
    return replace(pool, min_workers=fixed, max_workers=fixed, min_spare=0, max_spare=fixed)


def default_max_workers(main_cf: Path = POSTFIX_MAIN) -> int:
    """As many sessions as Postfix opens at a time, and some in reserve; at most what a pool may have at all."""
    limit = process_limit(main_cf)
    return min(1000, limit + -(-limit // RESERVE_PART))


def process_limit(main_cf: Path = POSTFIX_MAIN) -> int:
    """Postfix's ``default_process_limit`` on this machine, its default where there is no Postfix that we may read."""
    try:
        found = _LIMIT_LINE.findall(main_cf.read_text("utf-8", "replace"))
    except OSError:
        return PROCESS_LIMIT
    return (int(found[-1]) if found else 0) or PROCESS_LIMIT
