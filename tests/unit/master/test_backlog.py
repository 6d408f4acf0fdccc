"""How many connections wait, as the real kernel tells."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.master.backlog import queue_of, waiting


@pytest.fixture(params=["unix", "inet"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    is_unix = request.param == "unix"
    with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as made:
        made.bind(str(tmp_path / "s") if is_unix else ("127.0.0.1", 0))
        made.listen(10)
        yield made


def test_those_who_wait_are_counted_until_they_are_accepted(listening: socket.socket) -> None:
    found = [waiting(listening)]
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.socket(listening.family)).connect(listening.getsockname())
        found.append(waiting(listening))
        for _ in range(2):
            held.enter_context(listening.accept()[0])
        found.append(waiting(listening))
    if found[0] is None:
        pytest.skip("this kernel does not tell")
    assert found == [0, 3, 1]


def test_of_a_socket_that_is_closed_nothing_is_known() -> None:
    with socket.socket(socket.AF_UNIX) as made:
        pass
    assert waiting(made) is None


@given(st.binary(max_size=200))
def test_whatever_an_answer_is_it_gives_a_number_or_none(answer: bytes) -> None:
    try:
        found = queue_of(answer)
    except struct.error:
        return
    assert found is None or found >= 0
