"""The journal as a place for the log: what it is sent, and that it costs no session where it hangs or is gone."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmgr.log as logs
from mmgr import journal
from mmgr.config.model import LogSettings
from mmgr.journal import VALUE_BYTES_MAX, JournalSink, encode
from mmgr.log import quick_info, quoted, set_up, shown
from tests.unit.test_log import fill

often = settings(max_examples=80, deadline=None)
NAMES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=8)


def decode(data: bytes) -> dict[str, str]:
    """A datagram as the journal reads it."""
    fields = {}
    while data:
        head, _, rest = data.partition(b"\n")
        name, is_plain, value = head.partition(b"=")
        if not is_plain:
            (size,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n", "a value ends with the line"
            rest = rest[1:]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


class Listening:
    """The journal's end: what came is read when the test asks."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def read(self) -> dict[str, str]:
        """The next record. Raises BlockingIOError if there is none."""
        return decode(self.socket.recv(1_000_000))

    def drain(self) -> None:
        """Read what is there, whatever it is."""
        try:
            while self.socket.recv(1_000_000):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """The journal ends."""
        self.socket.close()
        Path(self.path).unlink()


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger without the handlers of pytest; afterwards it is as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    end = Listening(tmp_path / "journal")
    monkeypatch.setattr(journal, "SOCKET", end.path)
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(logs, "SYSLOG_PATIENCE_S", 0.01)
    yield end
    end.socket.close()


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "m.log"


@pytest.fixture
def log(root: logging.Logger, listening: Listening, log_path: Path) -> logging.Logger:
    set_up(LogSettings(path=str(log_path), level="debug"))
    return root


# ---- the datagram


@often
@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
def test_any_values_arrive_as_they_are(fields: dict[str, str]) -> None:
    assert decode(encode(fields.items())) == fields


def test_a_lone_surrogate_is_escaped() -> None:
    assert decode(encode([("A", "\udcff")])) == {"A": "\\udcff"}


def test_a_long_value_is_cut() -> None:
    assert decode(encode([("A", "x" * 1_000_000)])) == {"A": "x" * (VALUE_BYTES_MAX - 3) + "..."}


# ---- records


def test_a_record_has_what_syslog_would_have(log: logging.Logger, listening: Listening) -> None:
    log.warning("event a=1")
    found = listening.read()
    assert found["MESSAGE"] == "event a=1"
    assert found["PRIORITY"] == "4"
    assert found["SYSLOG_FACILITY"] == "2"
    assert found["SYSLOG_IDENTIFIER"] == "milter-manager"
    assert found["SYSLOG_PID"] == str(os.getpid())


@pytest.mark.parametrize(
    ("level", "priority"),
    [("critical", "2"), ("error", "3"), ("warning", "4"), ("info", "6"), ("debug", "7")],
)
def test_levels_are_those_of_syslog(log: logging.Logger, listening: Listening, level: str, priority: str) -> None:
    getattr(log, level)("event")
    assert listening.read()["PRIORITY"] == priority


def test_a_notice_is_a_notice(log: logging.Logger, listening: Listening) -> None:
    log.log(journal.NOTICE, "event")
    assert listening.read()["PRIORITY"] == "5"


def test_each_field_has_a_name_of_its_own(log: logging.Logger, listening: Listening) -> None:
    log.info("child-failed child=%s error=%s repeated=2", "clamav", quoted("no answer"))
    found = listening.read()
    ours = {name: value for name, value in found.items() if name.startswith("MILTER_")}
    assert ours == {
        "MILTER_EVENT": "child-failed",
        "MILTER_CHILD": "clamav",
        "MILTER_ERROR": "no answer",
        "MILTER_REPEATED": "2",
    }


def test_an_empty_value_is_no_field(log: logging.Logger, listening: Listening) -> None:
    log.info("transaction child=- queue_id=4jX")
    assert "MILTER_CHILD" not in listening.read()


def test_what_is_no_event_has_no_fields(log: logging.Logger, listening: Listening) -> None:
    log.info("anything at all")
    assert [name for name in listening.read() if name.startswith("MILTER_")] == []


@often
@given(st.binary(max_size=60))
def test_a_peer_adds_no_field(sender: bytes) -> None:
    fields = dict(journal.fields_of(f"event sender={shown(sender)}"))
    assert set(fields) <= {"MILTER_EVENT", "MILTER_SENDER"}


def test_the_line_of_a_transaction_comes_the_same_way(log: logging.Logger, listening: Listening) -> None:
    quick_info("transaction queue_id=%s", "4jX")
    quick = listening.read()
    log.info("transaction queue_id=%s", "4jX")
    assert quick == listening.read()


def test_a_traceback_stands_in_the_message(log: logging.Logger, listening: Listening) -> None:
    try:
        raise KeyError("why")
    except KeyError:
        log.exception("session-fault session=%s", "1-1")
    found = listening.read()
    assert found["MESSAGE"].startswith("session-fault session=1-1\nTraceback ")
    assert found["MILTER_SESSION"] == "1-1"


def test_a_record_too_long_for_the_kernel_is_sent_without_fields(log: logging.Logger, listening: Listening) -> None:
    (sink,) = (each for each in log.handlers if isinstance(each, JournalSink))
    refusing = mock.Mock(wraps=sink._socket, **{"send.side_effect": OSError(errno.EMSGSIZE, "too long")})
    sink._socket = refusing
    log.info("event a=%s", "x" * 5000)
    found = listening.read()
    assert (len(found["MESSAGE"]), "MILTER_A" in found) == (journal.MESSAGE_BYTES_MIN, False)


def test_a_line_that_can_not_be_made_is_lost_alone(log: logging.Logger, listening: Listening) -> None:
    (sink,) = (each for each in log.handlers if isinstance(each, JournalSink))
    sink.handle(logging.LogRecord("x", logging.WARNING, __file__, 1, "%d", ("no number",), None))
    log.warning("here")
    assert listening.read()["MESSAGE"] == "here"


# ---- a journal that is not well


def test_one_that_does_not_read_costs_the_line_alone(log: logging.Logger, listening: Listening, log_path: Path) -> None:
    fill(listening.path)
    for _ in range(3):
        log.warning("event")
    assert log_path.read_text().count("event") == 3


def test_one_that_does_not_read_is_left_alone_for_a_while(log: logging.Logger, listening: Listening) -> None:
    fill(listening.path)
    log.warning("lost")
    listening.drain()
    log.warning("lost too, though there is room")
    with pytest.raises(BlockingIOError):
        listening.read()


def test_it_gets_lines_again_after_the_pause(
    root: logging.Logger, listening: Listening, monkeypatch: pytest.MonkeyPatch, log_path: Path
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_PAUSE_S", 0.0)
    set_up(LogSettings(path=str(log_path)))
    fill(listening.path)
    root.warning("lost")
    listening.drain()
    root.warning("here")
    assert listening.read()["MESSAGE"] == "here"


def test_one_that_is_gone_never_raises(log: logging.Logger, listening: Listening, log_path: Path) -> None:
    listening.close()
    for _ in range(3):
        log.warning("event")
    assert log_path.read_text().count("event") == 3


def test_one_that_came_back_gets_the_next_line(log: logging.Logger, listening: Listening) -> None:
    listening.close()
    log.warning("lost")
    again = Listening(Path(listening.path))
    log.warning("here")
    assert again.read()["MESSAGE"] == "here"
    again.close()


# ---- where lines go


def test_without_a_journal_it_is_syslog(root: logging.Logger, listening: Listening, log_path: Path) -> None:
    listening.close()
    set_up(LogSettings(path=str(log_path)))
    assert [type(each).__name__ for each in root.handlers] == ["LogFile", "SyslogHandler"]


def test_a_socket_that_nobody_reads_is_no_journal(root: logging.Logger, listening: Listening, log_path: Path) -> None:
    listening.socket.close()
    set_up(LogSettings(path=str(log_path)))
    assert [type(each).__name__ for each in root.handlers] == ["LogFile", "SyslogHandler"]


def test_the_journal_can_be_declined(root: logging.Logger, listening: Listening, log_path: Path) -> None:
    set_up(LogSettings(path=str(log_path), journal="no"))
    assert [type(each).__name__ for each in root.handlers] == ["LogFile", "SyslogHandler"]


def test_without_use_syslog_it_gets_nothing(root: logging.Logger, listening: Listening, log_path: Path) -> None:
    set_up(LogSettings(path=str(log_path), use_syslog=False))
    assert [type(each).__name__ for each in root.handlers] == ["LogFile"]


def test_a_missing_syslog_daemon_is_no_news_beside_the_journal(log: logging.Logger, log_path: Path) -> None:
    assert log_path.read_text() == ""


ONE_LINE = """
import json, logging, os, sys
from mmgr import journal
from mmgr import log as logs
from mmgr.config.model import LogSettings
settings, is_streamed, journal.SOCKET, logs.SYSLOG_SOCKET, logs.JOURNAL_DIRECTORY = json.loads(sys.argv[1])
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino if is_streamed else found.st_ino + 1}"
logs.set_up(LogSettings(**settings))
logging.getLogger().warning("event")
"""


def on_standard_error(listening: Listening, is_streamed: bool, syslog: str = "", **changes: object) -> bool:
    """Does a process write its line to standard error, which the journal reads if it is_streamed?"""
    directory = str(Path(listening.path).parent) + "/"
    arguments = json.dumps([changes, is_streamed, listening.path, syslog or logs.SYSLOG_SOCKET, directory])
    done = subprocess.run(
        [sys.executable, "-c", ONE_LINE, arguments], stderr=subprocess.PIPE, check=True, timeout=30, text=True
    )
    return "event" in done.stderr


def test_what_the_journal_reads_from_standard_error_is_not_sent_there_twice(listening: Listening) -> None:
    assert not on_standard_error(listening, is_streamed=True)
    assert listening.read()["MESSAGE"] == "event"


def test_standard_error_that_somebody_else_reads_gets_its_lines(listening: Listening) -> None:
    assert on_standard_error(listening, is_streamed=False)


def test_standard_error_is_all_there_is_without_use_syslog(listening: Listening) -> None:
    assert on_standard_error(listening, is_streamed=True, use_syslog=False)


def test_a_syslog_socket_of_the_journal_is_the_journal_too(listening: Listening, tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(listening.path)
    assert not on_standard_error(listening, is_streamed=True, syslog=str(tmp_path / "log"), journal="no")


def test_a_syslog_daemon_beside_the_journal_is_none_of_its(listening: Listening, tmp_path: Path) -> None:
    elsewhere = "/nowhere/log"
    assert on_standard_error(listening, is_streamed=True, syslog=elsewhere, journal="no")
