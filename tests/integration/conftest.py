"""Fixtures of the integration tests: a directory that the daemon's user may enter, and a rig for each module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.daemons import Makers
from tests.integration.rig import TRIO, Rig
from tests.support.daemon import Manager
from tests.support.processes import LabDirectory, tail


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows the end of the log of every manager that the test used."""
    report = (yield).get_result()
    for name, value in getattr(item, "funcargs", {}).items():
        manager = value.manager if isinstance(value, Rig) else value
        if report.failed and isinstance(manager, Manager) and not name.endswith("_of_module"):
            report.sections.append((f"log of {name}", tail(manager.log_text(), 12)))


@pytest.fixture(scope="session")
def lab() -> Iterator[LabDirectory]:
    """A directory for everything that the tests of this run make."""
    with LabDirectory() as made:
        yield made


@pytest.fixture(scope="module")
def trio_of_module(lab: LabDirectory) -> Iterator[Rig]:
    """A manager with three children, for all tests of a module."""
    with Rig(lab.subdirectory("trio")) as rig:
        yield rig


@pytest.fixture
def trio(trio_of_module: Rig) -> Rig:
    """A manager with three children that want everything and continue."""
    trio_of_module.behave()
    return trio_of_module


@pytest.fixture(scope="module", params=["pipelined", "lock-step"])
def trio_of_both_kinds_of_module(lab: LabDirectory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    keys = {name: {"pipelining": "yes" if request.param == "pipelined" else "no"} for name in TRIO}
    with Rig(lab.subdirectory("trio"), keys=keys) as rig:
        yield rig


@pytest.fixture
def trio_both_ways(trio_of_both_kinds_of_module: Rig) -> Rig:
    """As trio, once given a message in batches and once waiting for each reply."""
    trio_of_both_kinds_of_module.behave()
    return trio_of_both_kinds_of_module


@pytest.fixture
def make(lab: LabDirectory) -> Iterator[Makers]:
    """Makes managers of a test's own, which are gone after it."""
    with ExitStack() as held:
        yield Makers(lab, held)
