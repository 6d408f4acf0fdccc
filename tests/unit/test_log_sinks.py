"""Logs that nobody reads and disks that are full: lines are lost and counted, and nothing waits or raises."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmgr.logsinks as sinks
from mmgr.config.model import LogSettings
from mmgr.log import LogFile, quick_info, set_up
from mmgr.logsinks import F_GETPIPE_SZ, PIECE_BYTES, PatientStream, has_ample_room, is_patience_needed, open_log

F_SETPIPE_SZ = 1031
LINE = "x" * 99 + "\n"
PATIENCE_S = 20

pytestmark = pytest.mark.timeout(PATIENCE_S)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger without the handlers of pytest; afterwards it is as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        sinks.close_quietly(handler)
    logger.handlers = handlers
    logger.setLevel(level)


class Reader:
    """The end that sleeps unless it is told to read, and the end that is written."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        self.writing = writing
        os.set_blocking(reading, False)

    def read(self) -> str:
        """Everything that is there."""
        found = b""
        try:
            while True:
                data = os.read(self.reading, 1 << 20)
                if not data:
                    break
                found += data
        except BlockingIOError:
            pass
        return found.decode()


def pipe(path: Path) -> tuple[int, int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, 4 * PIECE_BYTES)
    return reading, writing


def fifo(path: Path) -> tuple[int, int]:
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return reading, os.open(path, os.O_WRONLY)


def sockets(path: Path) -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def terminal(path: Path) -> tuple[int, int]:
    return os.openpty()


@pytest.fixture(params=[pipe, fifo, sockets, terminal], ids=lambda make: make.__name__)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    made = Reader(*request.param(tmp_path / "fifo"))
    yield made
    for descriptor in (made.reading, made.writing):
        os.close(descriptor)


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(*pipe(tmp_path))
    yield made
    for descriptor in (made.reading, made.writing):
        os.close(descriptor)


def overfill(stream: PatientStream) -> None:
    """More than any of the kinds here has room for, all of it lines."""
    for _ in range(10_000):
        stream.write(LINE)


def lost_lines(records: list[logging.LogRecord]) -> list[object]:
    return [record.args for record in records if record.msg.startswith("log-lines-lost")]


# ---- a reader that sleeps


def test_patience_is_needed(reader: Reader) -> None:
    assert is_patience_needed(reader.writing)


def test_a_reader_that_sleeps_is_not_waited_for(reader: Reader) -> None:
    stream = PatientStream(reader.writing)
    overfill(stream)
    assert 0 < reader.read().count("x") < 10_000 * 99


def test_once_it_reads_it_gets_lines_again(reader: Reader) -> None:
    stream = PatientStream(reader.writing)
    overfill(stream)
    while reader.read():
        pass
    stream.write("here\n")
    assert "here" in reader.read()


def test_what_was_lost_is_counted_and_told(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    stream = PatientStream(reader.writing)
    overfill(stream)
    got = 0
    while text := reader.read():
        got += text.count("\n")
    stream.write("here\n")
    ((lost,),) = lost_lines(caplog.records)  # type: ignore[misc]
    assert lost == 10_000 - got


def test_the_description_is_not_made_non_blocking(reader: Reader) -> None:
    overfill(PatientStream(reader.writing))
    assert os.get_blocking(reader.writing)


def test_a_reader_that_is_gone_is_no_error(piped: Reader, tmp_path: Path) -> None:
    stream = PatientStream(piped.writing)
    os.dup2(os.open(os.devnull, os.O_RDONLY), piped.reading)
    assert stream.write(LINE) == len(LINE)


def test_nothing_is_told_of_nothing(piped: Reader, caplog: pytest.LogCaptureFixture) -> None:
    PatientStream(piped.writing).write(LINE)
    assert lost_lines(caplog.records) == []


def test_a_line_longer_than_a_piece_arrives_whole(piped: Reader) -> None:
    PatientStream(piped.writing).write("y" * 3 * PIECE_BYTES + "\n")
    assert piped.read() == "y" * 3 * PIECE_BYTES + "\n"


def test_a_line_that_was_cut_is_ended_before_the_next(piped: Reader) -> None:
    stream = PatientStream(piped.writing)
    stream.write("y" * 5 * PIECE_BYTES + "\n")
    piped.read()
    stream.write("here\n")
    assert piped.read() == "\nhere\n"


def test_what_can_not_be_encoded_is_escaped(piped: Reader) -> None:
    PatientStream(piped.writing).write("\udcff\n")
    assert piped.read() == "\\udcff\n"


def test_several_processes_fill_a_pipe_and_none_of_them_waits(piped: Reader) -> None:
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            signal.alarm(PATIENCE_S)
            overfill(PatientStream(piped.writing))
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4


def test_without_help_of_the_kernel_only_ample_room_is_used(piped: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT")
    overfill(PatientStream(piped.writing))
    assert 0 < len(piped.read()) <= fcntl.fcntl(piped.writing, F_GETPIPE_SZ) // 4 + len(LINE)


def test_room_is_ample_until_a_quarter_is_used(piped: Reader) -> None:
    os.write(piped.writing, b"x" * PIECE_BYTES)
    assert has_ample_room(piped.writing)
    os.write(piped.writing, b"x")
    assert not has_ample_room(piped.writing)


# ---- the log as a whole


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("form", ["text", "json"])
def test_neither_way_to_log_waits_for_the_reader_of_standard_error(
    piped: Reader, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", os.fdopen(piped.writing, "w", closefd=False))
    set_up(LogSettings(use_syslog=False, form=form))
    for number in range(500):
        quick_info("transaction queue_id=%d", number)
        logging.getLogger("x").warning("child-failed number=%d", number)
    piped.read()
    quick_info("transaction queue_id=%s", "last")
    first, told = piped.read().splitlines()
    assert "last" in first
    assert "log-lines-lost" in told


@pytest.mark.usefixtures("root")
def test_a_full_disk_does_not_keep_a_log_from_being_set_up_again(tmp_path: Path) -> None:
    settings = LogSettings(path=str(tmp_path / "m.log"), use_syslog=False)
    set_up(settings)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, LogFile)
    full = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115  closed by the sink
    old = handler.setStream(full)
    assert old is not None
    old.close()
    quick_info("lost")
    set_up(settings)
    quick_info("here")
    assert (tmp_path / "m.log").read_text().endswith("info: here\n")


# ---- what a path may name


def test_a_regular_file_is_appended_to(tmp_path: Path) -> None:
    (tmp_path / "m.log").write_text("before\n")
    with open_log(str(tmp_path / "m.log")) as stream:  # type: ignore[union-attr]
        stream.write("after\n")
    assert (tmp_path / "m.log").read_text() == "before\nafter\n"


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
def test_a_device_is_allowed(path: str) -> None:
    set_up(LogSettings(path=path, use_syslog=False))
    quick_info("event")
    set_up(LogSettings(path=path, use_syslog=False))


def test_a_fifo_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="has to be a regular file"):
        open_log(str(tmp_path / "fifo"))


def test_a_fifo_that_is_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="has to be a regular file"):
        open_log(str(tmp_path / "fifo"))
    os.close(reading)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        with pytest.raises(OSError, match="has to be a regular file"):
            open_log(str(tmp_path / "sock"))
