"""Unix sockets are made with the mode asked for; stale ones are replaced, live ones and other files left alone."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from mmgr.endpoint import Endpoint
from mmgr.errors import ListenError
from mmgr.peers.listening import Listener


def unix(path: Path) -> Endpoint:
    return Endpoint("unix", path=str(path))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_has_the_mode_asked_for_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        listener = Listener(unix(tmp_path / "s"), mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
    listener.close()


def test_closing_removes_the_file_once(tmp_path: Path) -> None:
    listener = Listener(unix(tmp_path / "s"))
    listener.close()
    listener.close()
    assert not (tmp_path / "s").exists()


def test_closing_leaves_a_file_that_is_not_ours_any_more(tmp_path: Path) -> None:
    listener = Listener(unix(tmp_path / "s"))
    (tmp_path / "s").unlink()
    (tmp_path / "s").write_text("somebody else's")
    listener.close()
    assert (tmp_path / "s").exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    Listener(unix(tmp_path / "s")).close()


def test_a_live_socket_is_not_stolen(tmp_path: Path) -> None:
    first = Listener(unix(tmp_path / "s"))
    with pytest.raises(ListenError, match="another process listens"):
        Listener(unix(tmp_path / "s"))
    first.close()


def test_a_live_socket_whose_backlog_is_full_is_not_stolen(tmp_path: Path) -> None:
    first = Listener(unix(tmp_path / "s"), backlog=0)
    waiting = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        waiting.append(client)
        if client.connect_ex(str(tmp_path / "s")):
            break
    with pytest.raises(ListenError, match="another process listens"):
        Listener(unix(tmp_path / "s"))
    for one in (first.socket, *waiting):
        one.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ListenError, match="not a socket"):
        Listener(unix(tmp_path / "s"))
    assert (tmp_path / "s").read_text() == "precious"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="No such file"):
        Listener(unix(tmp_path / "no" / "s"))


def test_port_0_becomes_the_port_that_was_chosen() -> None:
    listener = Listener(Endpoint("inet", host="127.0.0.1", port=0))
    assert listener.endpoint.port == listener.socket.getsockname()[1] > 0
    with pytest.raises(ListenError, match="in use"):
        Listener(listener.endpoint)
    listener.close()
