"""sd_notify, with a real datagram socket as the other end."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from mmgr.master.notify import VALUE_MAX, WAITING_MAX, Notifier, encode, take_notifier
from tests.support.servicemanager import ServiceManager

US = 4711


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"READY": 1}, b"READY=1"),
        ({"READY": 1, "STATUS": "all is well"}, b"READY=1\nSTATUS=all is well"),
        ({"STATUS": "one\ntwo\rthree\0four"}, b"STATUS=one two three four"),
        ({"STATUS": "x=y"}, b"STATUS=x=y"),
        ({"STATUS": "gr\xfc\xdfe"}, "STATUS=gr\xfc\xdfe".encode()),
        ({"STATUS": "\udcff"}, b"STATUS="),
    ],
)
def test_a_message_is_a_line_for_each_value(values: dict[str, object], message: bytes) -> None:
    assert encode(values) == message


def test_a_long_value_is_cut() -> None:
    assert len(encode({"STATUS": "x" * 10 * VALUE_MAX})) == len("STATUS=") + VALUE_MAX


def test_a_message_arrives_at_a_path(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        Notifier(manager.address).send(READY=1, STATUS="serves")
        assert manager.messages == [{"READY": "1", "STATUS": "serves"}]


def test_a_message_arrives_at_an_abstract_address() -> None:
    with ServiceManager(f"@milter-manager-test-{os.getpid()}") as manager:
        Notifier(manager.address).send(READY=1)
        assert manager.messages == [{"READY": "1"}]


def test_without_an_address_nobody_is_told() -> None:
    notifier = Notifier("", 30.0)
    notifier.send(READY=1)
    assert (notifier.is_heard, notifier.watchdog_s) == (False, 0.0)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        before = os.listdir("/proc/self/fd")
        Notifier(manager.address).send(READY=1)
        assert os.listdir("/proc/self/fd") == before


def test_a_service_manager_that_is_not_there_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            notifier.send(READY=1)
    (line,) = caplog.messages
    assert line.startswith("notify-failed socket=")
    assert "No such file" in line


def test_what_a_service_manager_does_not_read_waits_and_comes_in_order(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        fill(manager.address)
        notifier.send(READY=1)
        notifier.send(STATUS="later")
        assert all("FILL" in told for told in manager.messages)
        notifier.flush()
        assert manager.messages[-2:] == [{"READY": "1"}, {"STATUS": "later"}]


def test_what_would_not_be_true_later_does_not_wait(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        fill(manager.address)
        assert not notifier.send_now(WATCHDOG=1)
        assert all("FILL" in told for told in manager.messages)
        notifier.flush()
        assert manager.told("WATCHDOG") == []
        assert notifier.send_now(WATCHDOG=1)
        assert manager.told("WATCHDOG") == ["WATCHDOG=1"]


def test_what_would_not_be_true_later_does_not_overtake(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        fill(manager.address)
        notifier.send(READY=1)
        assert not notifier.send_now(WATCHDOG=1)
        assert all("FILL" in told for told in manager.messages)
        assert notifier.send_now(WATCHDOG=1)
        assert manager.messages[-2:] == [{"READY": "1"}, {"WATCHDOG": "1"}]


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        fill(manager.address)
        for number in range(WAITING_MAX + 10):
            notifier.send(N=number)
        assert all("FILL" in told for told in manager.messages)
        while not manager.messages or manager.messages[-1] != {"N": str(WAITING_MAX + 9)}:
            notifier.flush()
        assert {"N": "9"} not in manager.messages


def fill(address: str) -> None:
    """Send until the queue is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for _ in range(100_000):
            try:
                sender.sendto(b"FILL=1", address)
            except BlockingIOError:
                return


@pytest.mark.parametrize(
    ("environ", "is_heard", "watchdog_s"),
    [
        ({}, False, 0.0),
        ({"NOTIFY_SOCKET": ""}, False, 0.0),
        ({"NOTIFY_SOCKET": "@"}, False, 0.0),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, False, 0.0),
        ({"NOTIFY_SOCKET": "relative"}, False, 0.0),
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, True, 0.0),
        ({"NOTIFY_SOCKET": "@abstract"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "60000000"}, True, 60.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(US)}, True, 2.5),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "x"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "-5"}, True, 0.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, True, 0.0),
        ({"WATCHDOG_USEC": "60000000"}, False, 0.0),
    ],
)
def test_what_the_environment_says(environ: dict[str, str], is_heard: bool, watchdog_s: float) -> None:
    notifier = take_notifier(environ, US)
    assert (notifier.is_heard, notifier.watchdog_s) == (is_heard, watchdog_s)


def test_its_variables_are_taken_out_of_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    take_notifier(environ, US)
    assert environ == {"PATH": "/bin"}
