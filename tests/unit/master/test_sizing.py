"""How large the pool may be, from the configuration and from Postfix's main.cf."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.config.model import Config, Overload, WorkerSettings
from mmgr.master.policy import Pool
from mmgr.master.sizing import default_max_workers, pool_of, process_limit


def pool(more: int = 0, **workers: object) -> Pool:
    return pool_of(Config(workers=WorkerSettings(**workers)), 3, more)  # type: ignore[arg-type]


def limits(found: Pool) -> tuple[int, int, int, int]:
    return found.min_workers, found.max_workers, found.min_spare, found.max_spare


def test_a_number_of_workers_fixes_the_pool() -> None:
    assert limits(pool(n_workers=7, max_workers=90)) == (7, 7, 0, 7)


def test_without_it_the_pool_lies_between_its_limits() -> None:
    assert limits(pool(min_spare=2, max_spare=5, max_workers=90)) == (0, 90, 2, 5)


def test_a_reserve_is_there_unless_sessions_wait() -> None:
    assert [pool(overload=overload).has_reserve for overload in Overload] == [False, True, True]


@pytest.mark.parametrize(
    ("more", "expected"), [(2, (0, 90, 4, 7)), (-1, (0, 90, 1, 4)), (-9, (0, 90, 1, 1)), (40, (0, 90, 42, 45))]
)
def test_people_move_both_spare_limits(more: int, expected: tuple[int, int, int, int]) -> None:
    assert limits(pool(more, min_spare=2, max_spare=5, max_workers=90)) == expected


@pytest.mark.parametrize(("more", "expected"), [(1, 8), (-1, 6), (-9, 1)])
def test_people_move_a_fixed_number(more: int, expected: int) -> None:
    assert limits(pool(more, n_workers=7)) == (expected, expected, 0, expected)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("", 100),
        ("default_process_limit = 300\n", 300),
        ("default_process_limit=20\ndefault_process_limit = 40\n", 40),
        ("# default_process_limit = 300\n", 100),
        ("x_default_process_limit = 300\n", 100),
        ("default_process_limit = $other\n", 100),
        ("default_process_limit = 0\n", 100),
    ],
)
def test_the_limit_is_postfixs_own(tmp_path: Path, text: str, limit: int) -> None:
    path = tmp_path / "main.cf"
    path.write_text(text)
    assert process_limit(path) == limit


def test_without_postfix_it_is_postfixs_default() -> None:
    assert process_limit(Path("/nonexistent/main.cf")) == 100


@pytest.mark.parametrize(("limit", "expected"), [(100, 110), (5, 6), (2000, 1000)])
def test_there_is_a_tenth_in_reserve(tmp_path: Path, limit: int, expected: int) -> None:
    path = tmp_path / "main.cf"
    path.write_text(f"default_process_limit = {limit}\n")
    assert default_max_workers(path) == expected
