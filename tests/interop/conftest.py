"""Fixtures of the interop tests: one lab for the whole run, each test once directly and once managed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.support.lab import MANAGER, ROUTES, Lab
from tests.support.milters import MilterDaemon
from tests.support.processes import ComponentMissing, Daemon, tail


class SkippingLab(Lab):
    """A lab that skips the test, with the reason, where a component is not installed."""

    def run(self, daemon: Daemon) -> Daemon:
        try:
            return super().run(daemon)
        except ComponentMissing as missing:
            pytest.skip(str(missing))

    def child(self, name: str) -> MilterDaemon:
        try:
            return super().child(name)
        except ComponentMissing as missing:
            pytest.skip(str(missing))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what Postfix and the managers logged during the test."""
    report = (yield).get_result()
    running = getattr(item, "funcargs", {}).get("lab")
    if running is not None:
        logs = list(running.new_log_text())
        if report.failed:
            report.sections += [(name, tail(text, 60)) for name, text in logs]


@pytest.fixture(scope="session")
def lab() -> Iterator[SkippingLab]:
    """Postfix and whatever milters the tests ask for; everything is gone when the session ends."""
    try:
        with SkippingLab() as running:
            yield running
    except ComponentMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def managed() -> None:
    """For a test that needs the manager."""
    if find_spec("mmgr.cli.manager") is None:
        pytest.skip("mmgr/cli/manager.py is not there")


@pytest.fixture(params=ROUTES)
def via(request: pytest.FixtureRequest) -> str:
    """How the children are attached: listed in Postfix itself, which proves the test, or behind the manager."""
    if request.param == MANAGER:
        request.getfixturevalue("managed")
    return request.param
