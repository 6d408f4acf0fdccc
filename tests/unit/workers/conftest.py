"""Fixtures of the workers' tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mmgr.protocol.commands import Header, encode_command
from tests.unit.workers.company import Company
from workers.message import Message
from workers.spool import BodySpool


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """No child yet."""
    with ExitStack() as stack:
        yield Company(tmp_path, stack)


@pytest.fixture
def message() -> Message:
    """Two headers and a body."""
    made = Message(True, BodySpool(1_000_000))
    for header in (Header(b"Subject", b" hi"), Header(b"X-A", b"1")):
        made.headers.append(encode_command(header))
    made.body.add_payload(b"body\r\n")
    return made
