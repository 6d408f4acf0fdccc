"""Sockets that are handed over: real ones at descriptors of the test's choice."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import ListenError
from mmgr.master.activation import HandedSockets, take_sockets
from mmgr.master.listeners import Listener, SocketRights
from tests.support.processes import free_port

FIRST = 700
RIGHTS = SocketRights()


class Systemd:
    """Makes sockets and hands them over from descriptor FIRST on, as ``LISTEN_FDS`` would from 3 on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.count = 0
        self.environ: dict[str, str] = {}
        self.taken: list[HandedSockets] = []

    def listens(self, made: socket.socket, address: object) -> None:
        made.bind(address)
        made.listen(5)
        self.give(made)

    def unix(self, name: str = "m.sock") -> str:
        path = str(self.directory / name)
        self.listens(socket.socket(socket.AF_UNIX), path)
        os.chmod(path, 0o660)
        return path

    def inet(self, host: str) -> int:
        port = free_port()
        self.listens(socket.socket(socket.AF_INET), (host, port))
        return port

    def inet6(self, host: str, is_v6_only: bool) -> int:
        port = free_port()
        made = socket.socket(socket.AF_INET6)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_v6_only)
        self.listens(made, (host, port))
        return port

    def give(self, made: socket.socket) -> None:
        os.dup2(made.fileno(), FIRST + self.count, inheritable=True)
        self.count += 1
        made.close()

    def take(self, names: str = "", pid: str = "") -> HandedSockets:
        self.environ = {"LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": str(self.count), "LISTEN_FDNAMES": names}
        self.taken.append(take_sockets(self.environ, os.getpid(), FIRST))
        return self.taken[-1]


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    for each in (each for sockets in made.taken for each in sockets._handed):
        each.socket.close()
    for descriptor in range(FIRST, FIRST + made.count):
        with suppress(OSError):
            os.close(descriptor)


def at(path: str) -> Endpoint:
    return Endpoint("unix", path=path)


# ---- whose they are


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": ""},
        {"LISTEN_FDS": "", "LISTEN_PID": "4711"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": "4711"},
        {"LISTEN_FDS": "one", "LISTEN_PID": "4711"},
    ],
)
def test_nothing_is_taken_that_is_not_ours(environ: dict[str, str], systemd: Systemd) -> None:
    path = systemd.unix()
    sockets = take_sockets(environ, 4711, FIRST)
    with pytest.raises(ListenError):
        sockets.listener(at(path), RIGHTS)
    assert environ == {}


def test_the_variables_are_taken_out_of_the_environment(systemd: Systemd) -> None:
    systemd.unix()
    systemd.take()
    assert systemd.environ == {}


def test_a_socket_is_closed_when_another_program_is_started(systemd: Systemd) -> None:
    systemd.unix()
    systemd.take()
    assert fcntl.fcntl(FIRST, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_socket_does_not_block(systemd: Systemd) -> None:
    path = systemd.unix()
    listener = systemd.take().listener(at(path), RIGHTS)
    with pytest.raises(BlockingIOError):
        listener.socket.accept()


# ---- which is which


def test_a_socket_is_known_by_its_path(systemd: Systemd) -> None:
    systemd.unix("other.sock")
    path = systemd.unix()
    listener = systemd.take().listener(at(path), RIGHTS)
    assert (listener.is_handed_over, listener.socket.getsockname()) == (True, path)


def test_a_path_is_known_through_a_link(systemd: Systemd) -> None:
    path = systemd.unix()
    (systemd.directory / "link").symlink_to(systemd.directory)
    assert systemd.take().listener(at(f"{systemd.directory}/link/{Path(path).name}"), RIGHTS).is_handed_over


@pytest.mark.parametrize(
    ("host", "spec"), [("127.0.0.1", "inet:%d@127.0.0.1"), ("127.0.0.1", "inet:%d@localhost"), ("0.0.0.0", "inet:%d")]
)
def test_a_socket_is_known_by_its_address(systemd: Systemd, host: str, spec: str) -> None:
    port = systemd.inet(host)
    assert systemd.take().listener(parse_endpoint(spec % port), RIGHTS).is_handed_over


@pytest.mark.parametrize(
    ("is_v6_only", "spec", "is_found"),
    [(False, "inet6:%d", True), (True, "inet6:%d", True), (False, "inet:%d", True), (True, "inet:%d", False)],
)
def test_a_socket_for_every_address_may_be_one_of_ipv6(
    systemd: Systemd, is_v6_only: bool, spec: str, is_found: bool
) -> None:
    port = systemd.inet6("::", is_v6_only)
    (handed,) = systemd.take()._handed
    assert handed.is_for(parse_endpoint(spec % port)) is is_found


def test_a_port_at_another_address_is_another_socket(systemd: Systemd) -> None:
    port = systemd.inet("127.0.0.1")
    (handed,) = systemd.take()._handed
    assert not handed.is_for(parse_endpoint(f"inet:{port}@127.0.0.2"))


def test_an_abstract_socket_is_nobodys(systemd: Systemd) -> None:
    name = f"milter-manager-test-{os.getpid()}"
    systemd.listens(socket.socket(socket.AF_UNIX), "\0" + name)
    (handed,) = systemd.take()._handed
    assert not handed.is_for(at("@" + name))
    assert str(handed) == f"unix:@{name}"


def test_what_was_not_handed_over_is_made(systemd: Systemd) -> None:
    systemd.unix("other.sock")
    listener = systemd.take().listener(at(str(systemd.directory / "m.sock")), RIGHTS)
    assert not listener.is_handed_over
    listener.close(True)


def test_what_cannot_be_made_either_names_what_was_handed_over(systemd: Systemd) -> None:
    path = systemd.unix()
    with pytest.raises(ListenError) as caught:
        systemd.take().listener(at("/nowhere/m.sock"), RIGHTS)
    assert f"systemd hands over unix:{path}: make ListenStream= of the .socket unit and connection_spec agree" in str(
        caught.value
    )


# ---- what can't be used


def faulty(kind: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    if kind == "connected":
        made, other = socket.socketpair()
        other.close()
    return made


@pytest.mark.parametrize("kind", ["datagram", "connected", "not listening"])
def test_a_socket_that_does_not_listen_is_refused_by_name(systemd: Systemd, kind: str) -> None:
    systemd.give(faulty(kind))
    with pytest.raises(ListenError) as caught:
        systemd.take("milter")
    expected = f"descriptor {FIRST} (milter) of LISTEN_FDS is no stream socket that listens; the .socket unit needs"
    assert str(caught.value).startswith(expected)


def test_a_descriptor_that_is_no_socket_is_refused(systemd: Systemd) -> None:
    os.dup2(os.open("/dev/null", os.O_RDONLY), FIRST)
    systemd.count = 1
    with pytest.raises(ListenError, match="is no stream socket"):
        systemd.take()


def test_a_descriptor_that_is_not_there_is_refused(systemd: Systemd) -> None:
    systemd.count = 1
    with pytest.raises(ListenError, match="Bad file descriptor"):
        systemd.take()


# ---- afterwards


def test_the_socket_stays_when_its_listener_ends(systemd: Systemd) -> None:
    path = systemd.unix()
    listener = systemd.take().listener(at(path), RIGHTS)
    listener.stop()
    listener.close(True)
    with socket.socket(socket.AF_UNIX) as mta:
        assert mta.connect_ex(path) == 0


def reported(
    sockets: HandedSockets, caplog: pytest.LogCaptureFixture, *listeners: Listener, **rights: int
) -> list[str]:
    with caplog.at_level(logging.WARNING):
        sockets.report(listeners, SocketRights(**rights))
    return caplog.messages


def test_a_socket_without_a_use_is_reported(systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    systemd.unix("other.sock")
    path = systemd.unix()
    sockets = systemd.take("spare:milter")
    (line,) = reported(sockets, caplog, sockets.listener(at(path), RIGHTS))
    assert line.startswith(f'socket-unused spec=unix:{systemd.directory}/other.sock name="spare" hint=')


@pytest.mark.parametrize(
    ("rights", "hint"),
    [
        ({}, ""),
        ({"gid": os.getegid()}, ""),
        ({"mode": 0o600}, 'hint="SocketMode=0600, not 0660 in the .socket unit"'),
        ({"gid": 54321}, f'hint="SocketGroup=54321, not {os.getegid()} in the .socket unit"'),
    ],
)
def test_rights_that_differ_are_reported(
    systemd: Systemd, caplog: pytest.LogCaptureFixture, rights: dict[str, int], hint: str
) -> None:
    path = systemd.unix()
    sockets = systemd.take()
    lines = reported(sockets, caplog, sockets.listener(at(path), RIGHTS), **rights)
    assert lines == ([f"socket-rights spec=unix:{path} {hint}"] if hint else [])


def test_a_socket_shows_its_address(systemd: Systemd) -> None:
    port = systemd.inet("127.0.0.1")
    assert [str(each) for each in systemd.take()._handed] == [f"inet:{port}@127.0.0.1"]
