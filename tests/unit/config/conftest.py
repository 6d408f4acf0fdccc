"""Fixtures of the configuration's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.configuration import Directory


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """An empty configuration directory."""
    return Directory(tmp_path)
