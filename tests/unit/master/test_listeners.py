"""Listening sockets: real ones in temporary directories and on loopback ports."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mmgr.endpoint import Endpoint
from mmgr.errors import ListenError
from mmgr.master import listeners
from mmgr.master.listeners import BACKLOG, Listener, SocketRights, effective_backlog, listen
from tests.support.processes import wait_for

RIGHTS = SocketRights()


class Taker:
    """Takes sockets, which are closed and removed after the test."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.endpoint = Endpoint("unix", path=str(directory / "m.sock"))
        self.path = directory / "m.sock"
        self._stack = stack

    def take(
        self, rights: SocketRights = RIGHTS, endpoint: Endpoint | None = None, replaces_stale: bool = True
    ) -> Listener:
        listener = listen(endpoint or self.endpoint, rights, replaces_stale)
        self._stack.callback(listener.close, True)
        return listener

    def refused(self, endpoint: Endpoint | None = None, replaces_stale: bool = True) -> str:
        """What is said when the socket can't be taken."""
        with pytest.raises(ListenError) as caught:
            self.take(RIGHTS, endpoint, replaces_stale)
        return str(caught.value)

    def leave_stale(self) -> None:
        """A socket file that nobody listens on any more."""
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(self.path))


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Taker]:
    with ExitStack() as stack:
        yield Taker(tmp_path, stack)


def connects(address: object, family: int = socket.AF_UNIX) -> bool:
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def free_port(family: int = socket.AF_INET, host: str = "127.0.0.1") -> int:
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# ---- unix


def test_a_socket_listens_once_it_is_taken(taker: Taker) -> None:
    taker.take()
    assert connects(str(taker.path))


@pytest.mark.parametrize("mode", [0o660, 0o600, 0o666, 0o777, 0o000])
@pytest.mark.parametrize("umask", [0o022, 0o000, 0o777])
def test_a_socket_has_exactly_the_mode_that_was_asked_for(taker: Taker, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        taker.take(SocketRights(mode))
    finally:
        assert os.umask(before) == umask
    assert stat.S_IMODE(taker.path.stat().st_mode) == mode


def test_a_socket_has_its_mode_before_anybody_can_connect(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def ready(listener: Listener, address: object) -> Listener:
        seen.append((stat.S_IMODE(taker.path.stat().st_mode), connects(str(taker.path))))
        return listener

    monkeypatch.setattr(listeners, "_ready", ready)
    taker.take(SocketRights(0o600))
    assert seen == [(0o600, False)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_socket_is_given_to_its_owner_and_group(taker: Taker) -> None:
    taker.take(SocketRights(0o660, 12345, 23456))
    found = taker.path.stat()
    assert (found.st_uid, found.st_gid) == (12345, 23456)


def test_a_stale_socket_is_replaced(taker: Taker) -> None:
    taker.leave_stale()
    taker.take()
    assert connects(str(taker.path))


def test_a_stale_socket_stays_if_it_may_not_be_replaced(taker: Taker) -> None:
    taker.leave_stale()
    before = taker.path.stat().st_ino
    assert "remove_unix_socket_on_create" in taker.refused(replaces_stale=False)
    assert taker.path.stat().st_ino == before


def test_a_live_socket_is_never_stolen(taker: Taker) -> None:
    first = taker.take()
    assert "another process listens there already" in taker.refused()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(taker.path))
        first.socket.accept()[0].close()


def test_a_live_socket_with_a_full_backlog_is_never_stolen(taker: Taker) -> None:
    with socket.socket(socket.AF_UNIX) as other, ExitStack() as clients:
        other.bind(str(taker.path))
        other.listen(0)
        for _ in range(3):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(taker.path))
        assert "another process listens there already" in taker.refused()


def test_a_socket_of_another_kind_is_never_stolen(taker: Taker) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(taker.path))
        assert "another process listens there already" in taker.refused()


@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "link to a file", "link to nothing"])
def test_what_is_no_socket_stays_where_it_is(taker: Taker, tmp_path: Path, kind: str) -> None:
    make = {
        "file": lambda: taker.path.write_text("precious"),
        "directory": taker.path.mkdir,
        "fifo": lambda: os.mkfifo(taker.path),
        "link to a file": lambda: taker.path.symlink_to("/etc/passwd"),
        "link to nothing": lambda: taker.path.symlink_to(tmp_path / "none"),
    }
    make[kind]()
    before = os.lstat(taker.path)
    assert "it is not a socket" in taker.refused()
    assert os.lstat(taker.path) == before


def test_a_missing_directory_is_named(taker: Taker, tmp_path: Path) -> None:
    endpoint = Endpoint("unix", path=str(tmp_path / "none" / "m.sock"))
    assert f"the directory {tmp_path}/none does not exist" in taker.refused(endpoint)


def test_a_directory_that_is_a_file_is_refused(taker: Taker, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Not a directory" in taker.refused(Endpoint("unix", path=str(tmp_path / "file" / "m.sock")))


def test_a_path_that_is_too_long_for_a_socket_is_refused(taker: Taker, tmp_path: Path) -> None:
    assert "too long" in taker.refused(Endpoint("unix", path=str(tmp_path / ("x" * 120))))


def test_a_path_without_a_directory_is_taken_where_we_are(
    taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    taker.take(endpoint=Endpoint("unix", path="here.sock"))
    assert connects("here.sock")


def test_a_refused_socket_costs_no_descriptor(taker: Taker) -> None:
    taker.path.touch()
    before = open_descriptors()
    taker.refused()
    assert open_descriptors() == before


def test_a_socket_that_can_not_be_given_away_leaves_nothing_behind(
    taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(ListenError, match="Operation not permitted"):
        taker.take(SocketRights(0o660, -1, 1))
    assert os.listdir(tmp_path) == []


def test_closing_removes_the_file(taker: Taker) -> None:
    taker.take().close(removes_file=True)
    assert not taker.path.exists()


def test_closing_leaves_the_file_if_it_is_to_stay(taker: Taker) -> None:
    taker.take().close(removes_file=False)
    assert taker.path.exists()


def test_closing_leaves_a_file_that_another_instance_put_there(taker: Taker) -> None:
    listener = taker.take()
    taker.path.unlink()
    taker.leave_stale()
    listener.close(removes_file=True)
    assert taker.path.exists()


def test_closing_removes_the_file_in_a_directory_that_was_moved(taker: Taker, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    listener = taker.take(endpoint=Endpoint("unix", path=str(tmp_path / "a" / "m.sock")))
    (tmp_path / "a").rename(tmp_path / "b")
    listener.close(removes_file=True)
    assert os.listdir(tmp_path / "b") == []


def test_closing_twice_is_harmless(taker: Taker) -> None:
    listener = taker.take()
    listener.close(removes_file=True)
    listener.close(removes_file=True)


def test_closing_without_the_file_is_harmless(taker: Taker) -> None:
    listener = taker.take()
    taker.path.unlink()
    listener.close(removes_file=True)


def test_taking_leaves_nothing_but_the_socket_in_the_directory(taker: Taker, tmp_path: Path) -> None:
    taker.take()
    assert os.listdir(tmp_path) == ["m.sock"]


def test_a_stopped_socket_refuses_connections_before_it_is_closed(taker: Taker) -> None:
    taker.take().stop()
    assert not connects(str(taker.path))


def test_of_two_that_start_at_once_exactly_one_gets_the_socket(taker: Taker) -> None:
    taker.leave_stale()
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def start() -> None:
        barrier.wait()
        try:
            taker.take()
            outcomes.append("taken")
        except ListenError as error:
            outcomes.append("another" if "another process" in str(error) else str(error))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["another"] * 5 + ["taken"]


def test_a_directory_that_stays_locked_does_not_keep_us_away_for_ever(
    taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "LOCK_PATIENCE_S", 0.0)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        taker.take()
    finally:
        os.close(descriptor)
    assert connects(str(taker.path))


# ---- TCP


def test_a_port_listens_on_its_address_alone(taker: Taker) -> None:
    port = free_port()
    taker.take(endpoint=Endpoint("inet", host="127.0.0.1", port=port))
    assert connects(("127.0.0.1", port), socket.AF_INET)
    assert not connects(("127.0.0.2", port), socket.AF_INET)


def test_a_port_without_a_host_listens_everywhere(taker: Taker) -> None:
    port = free_port()
    taker.take(endpoint=Endpoint("inet", port=port))
    assert connects(("127.0.0.2", port), socket.AF_INET)


def test_a_port_that_is_taken_is_refused(taker: Taker) -> None:
    endpoint = Endpoint("inet", host="127.0.0.1", port=free_port())
    taker.take(endpoint=endpoint)
    assert "another process listens there already" in taker.refused(endpoint)


def test_a_host_that_is_none_of_ours_is_refused(taker: Taker) -> None:
    assert "Cannot assign requested address" in taker.refused(Endpoint("inet", host="192.0.2.1", port=free_port()))


def has_ipv6() -> bool:
    try:
        return bool(free_port(socket.AF_INET6, "::1"))
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")
def test_ipv6_leaves_the_same_port_of_ipv4_alone(taker: Taker) -> None:
    port = free_port(socket.AF_INET6, "::1")
    taker.take(endpoint=Endpoint("inet6", port=port))
    assert connects(("::1", port), socket.AF_INET6)
    assert not connects(("127.0.0.1", port), socket.AF_INET)


def test_a_port_can_be_taken_again_at_once(taker: Taker) -> None:
    endpoint = Endpoint("inet", host="127.0.0.1", port=free_port())
    first = taker.take(endpoint=endpoint)
    with socket.create_connection(("127.0.0.1", endpoint.port)):
        accepted, _ = first.socket.accept()
        accepted.close()
    first.close(removes_file=True)
    taker.take(endpoint=endpoint)
    assert connects(("127.0.0.1", endpoint.port), socket.AF_INET)


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


class Orphan:
    """A process that has a listener, waits in a recv like a worker in a session, and outlives its master."""

    def __init__(self, listener: Listener) -> None:
        life_read, self._life_write = os.pipe()
        self.mta, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._life_write)
                self.mta.close()
                listeners.stop_with_master([listener], life_read)
                theirs.send(b"r")
                theirs.send(theirs.recv(1))
            finally:
                os._exit(0)
        os.close(life_read)
        theirs.close()
        listener.socket.close()
        self.mta.settimeout(20.0)
        assert self.mta.recv(1) == b"r"

    def lose_master(self) -> None:
        os.close(self._life_write)

    def end(self) -> None:
        self.mta.close()
        os.waitpid(self.pid, 0)


@pytest.fixture
def orphan(taker: Taker) -> Iterator[tuple[Orphan, Endpoint]]:
    endpoint = Endpoint("inet", host="127.0.0.1", port=free_port())
    made = Orphan(listen(endpoint, RIGHTS))
    yield made, endpoint
    made.end()


def test_a_port_is_free_once_the_master_is_gone_though_a_session_runs(
    taker: Taker, orphan: tuple[Orphan, Endpoint]
) -> None:
    worker, endpoint = orphan
    worker.lose_master()
    wait_for(lambda: is_refused(endpoint.port), "the end of the listener")
    taker.take(endpoint=endpoint)


def test_the_session_of_a_worker_goes_on_when_the_master_is_gone(orphan: tuple[Orphan, Endpoint]) -> None:
    worker, endpoint = orphan
    worker.lose_master()
    wait_for(lambda: is_refused(endpoint.port), "the end of the listener")
    worker.mta.send(b"x")
    assert worker.mta.recv(1) == b"x"


def test_a_zombie_that_once_listened_does_not_keep_its_socket(taker: Taker) -> None:
    told_read, told_write = os.pipe()
    master = os.fork()
    if master == 0:
        held = listen(taker.endpoint, RIGHTS)
        if os.fork() == 0:
            os.close(told_write)
            os.read(told_read, 1)
            held.socket.close()
        os._exit(0)
    os.waitid(os.P_PID, master, os.WEXITED | os.WNOWAIT)
    try:
        assert connects(str(taker.path)), "nobody listens any more"
        taker.take()
    finally:
        os.close(told_write)
        os.close(told_read)
        os.waitpid(master, 0)


def test_a_taken_socket_never_blocks_its_acceptor(taker: Taker) -> None:
    with pytest.raises(BlockingIOError):
        taker.take().socket.accept()


# ---- how many may wait


@pytest.mark.parametrize(("somaxconn", "expected"), [(b"128\n", 128), (b"4096\n", BACKLOG), (b"nonsense", BACKLOG)])
def test_the_kernels_limit_on_waiting_connections_counts(tmp_path: Path, somaxconn: bytes, expected: int) -> None:
    path = tmp_path / "somaxconn"
    path.write_bytes(somaxconn)
    assert effective_backlog(str(path)) == expected


def test_without_a_limit_of_the_kernel_it_is_what_was_asked_for() -> None:
    assert effective_backlog("/nonexistent/somaxconn") == BACKLOG
