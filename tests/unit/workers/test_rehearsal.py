"""A rehearsal goes all the ways that sessions go, leaves nothing behind, and never stands in the way of the start."""

from __future__ import annotations

import gc
import logging
import os

import psutil
import pytest

from mmgr.assignment import Assignment
from mmgr.config.model import Config
from mmgr.log import quick_info
from mmgr.scoreboard import Scoreboard
from workers import main, rehearsal
from workers.express import Express


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each session of the rehearsal went the short way to its end."""
    found: list[bool] = []
    run = Express.run

    def watched(express: Express) -> bool:
        found.append(run(express))
        return found[-1]

    monkeypatch.setattr(Express, "run", watched)
    return found


def test_sessions_go_the_short_way_but_for_those_that_find_out_or_have_none(ways: list[bool]) -> None:
    main._rehearse(Config())
    assert ways == [False, True, True, False] * (rehearsal.SESSIONS // 4)


def test_every_message_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts: list[object] = []
    monkeypatch.setattr("workers.sessionlog.quick_info", lambda text, *values: verdicts.append(values[7]))
    main._rehearse(Config())
    assert verdicts == ["accept"] * (2 * rehearsal.SESSIONS)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_nothing_is_left_open() -> None:
    main._rehearse(Config())
    gc.collect()
    before = descriptors()
    main._rehearse(Config())
    gc.collect()
    assert descriptors() == before


def test_no_process_is_left() -> None:
    before = psutil.Process().children()
    main._rehearse(Config())
    assert [child for child in psutil.Process().children() if child not in before] == []


def test_the_log_does_not_tell_of_it_and_is_as_before(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    kept = list(root.handlers)
    caplog.set_level(logging.INFO)
    main._rehearse(Config())
    quick_info("afterwards")
    assert [record.getMessage() for record in caplog.records] == ["afterwards"]
    assert root.handlers == kept


def test_without_its_sockets_a_worker_is_prepared_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError("no sockets here")

    monkeypatch.setattr(rehearsal, "_listening", refuse)
    nursery = main._Nursery()
    place = Assignment(0, 1, Config(), (), Scoreboard(1), -1, lambda: None)
    nursery.prepare(place)
    assert nursery.worker(place) is nursery.worker(place)


def test_a_configuration_that_nobody_prepared_for_gets_a_worker_of_its_own() -> None:
    nursery = main._Nursery()
    place = Assignment(0, 1, Config(), (), Scoreboard(1), -1, lambda: None)
    assert nursery.worker(place) is not nursery.worker(place)
