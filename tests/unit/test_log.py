"""The log: what a peer sends never breaks a line, and a sink that fails never stops mail."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmgr.log as logs
from mmgr.config.model import LogSettings
from mmgr.journal import NOTICE
from mmgr.log import CAUSES_MAX, RateLimit, quick_info, quoted, set_up, shown

often = settings(max_examples=80, deadline=None)
VALUE = re.compile(r"[!-~]+")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
LINE = re.compile(rf"[a-z-]+(?: [a-z_]+=(?:{QUOTED.pattern}|[^ \"]+|\"\"))*")
HOSTILE = [
    b"",
    b"a b",
    b"a\nevent=fake",
    b"\r\n\t\0\x1b[31m",
    b'"',
    b"'",
    b"\"'\\",
    b"\\",
    b"x verdict=accept",
    b"\xff\xfe",
    b"\xc3\xa4",
    b"\xc2\xa0\xe2\x80\xa8",
    b"\x85\x7f",
]


# ---- escaping


@pytest.mark.parametrize("data", HOSTILE)
def test_hostile_bytes_are_one_word_of_printable_ascii(data: bytes) -> None:
    text = shown(data)
    assert VALUE.fullmatch(text)
    assert text == '""' or '"' not in text


@often
@given(st.binary(max_size=150))
def test_any_bytes_are_one_word_of_printable_ascii(data: bytes) -> None:
    text = shown(data)
    assert VALUE.fullmatch(text)
    assert text == '""' or '"' not in text


@often
@given(st.text(max_size=250))
def test_any_text_is_one_quoted_string_of_printable_ascii(text: str) -> None:
    value = quoted(text)
    assert QUOTED.fullmatch(value)
    assert value.isascii()
    assert value.isprintable()


@often
@given(data=st.binary(max_size=60), text=st.text(max_size=60))
def test_a_line_of_such_values_is_a_name_and_pairs(data: bytes, text: str) -> None:
    assert LINE.fullmatch(f"event session=1-1 sender={shown(data)} error={quoted(text)} repeated=2")


def test_nothing_is_shown_as_two_quotes() -> None:
    assert shown(b"") == '""'


def test_plain_text_is_shown_as_it_is() -> None:
    assert shown(b"<a@example.test>") == "<a@example.test>"


def test_a_long_value_is_cut() -> None:
    assert shown(b"x" * 101) == "x" * 100 + "..."


def test_a_long_text_is_cut() -> None:
    assert quoted("x" * 201) == '"' + "x" * 200 + '..."'


def test_quotes_in_a_text_become_single_ones() -> None:
    assert quoted('say "no"') == "\"say 'no'\""


def test_an_apostrophe_stays() -> None:
    assert quoted("can't") == '"can\'t"'


# ---- one event per cause and minute


def test_the_first_event_of_a_cause_passes() -> None:
    assert RateLimit().allows("cause", 0.0) == ""


def test_further_events_are_held_back_and_counted() -> None:
    limit = RateLimit(60.0)
    said = [limit.allows("cause", now) for now in (0.0, 1.0, 59.9, 60.0, 61.0, 120.0)]
    assert said == ["", None, None, " repeated=2", None, " repeated=1"]


def test_causes_do_not_hold_each_other_back() -> None:
    limit = RateLimit()
    assert [limit.allows(("child", number), 0.0) for number in range(3)] == ["", "", ""]


def test_the_number_of_causes_that_are_remembered_is_bounded() -> None:
    limit = RateLimit()
    for number in range(CAUSES_MAX * 3):
        limit.allows(number, 0.0)
    assert len(limit._causes) <= CAUSES_MAX


# ---- sinks


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
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "m.log"


def to_file(path: Path, **changes: object) -> LogSettings:
    return LogSettings(**{"path": str(path), "use_syslog": False, **changes})


@pytest.mark.usefixtures("root")
def test_a_line_has_time_process_and_level(log_path: Path) -> None:
    set_up(to_file(log_path))
    logging.getLogger("x").warning("event a=%d", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\d+\] warning: event a=1\n", log_path.read_text())


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("level", "written"),
    [("error", "e"), ("warning", "we"), ("info", "iwe"), ("debug", "diwe")],
)
def test_lines_below_the_level_are_not_written(log_path: Path, level: str, written: str) -> None:
    set_up(to_file(log_path, level=level))
    log = logging.getLogger("x")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name[0])
    assert "".join(line[-1] for line in log_path.read_text().splitlines()) == written


def test_what_can_not_be_encoded_is_escaped(root: logging.Logger, log_path: Path) -> None:
    set_up(to_file(log_path))
    root.warning("text=\udcff")
    assert log_path.read_text().endswith("text=\\udcff\n")


@pytest.mark.parametrize("path", ["", "-"])
def test_no_path_is_standard_error(root: logging.Logger, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogSettings(path=path, use_syslog=False))
    root.warning("event")
    assert capsys.readouterr().err.endswith("warning: event\n")


def test_setting_up_again_replaces_the_sinks(root: logging.Logger, log_path: Path, tmp_path: Path) -> None:
    set_up(to_file(log_path))
    set_up(to_file(tmp_path / "other.log"))
    root.warning("event")
    assert log_path.read_text() == ""


def test_a_file_that_was_moved_away_is_made_anew(root: logging.Logger, log_path: Path, tmp_path: Path) -> None:
    set_up(to_file(log_path))
    root.warning("one")
    log_path.rename(tmp_path / "m.log.1")
    root.warning("two")
    assert log_path.read_text().endswith("two\n")


def test_a_file_that_can_not_be_opened_is_an_error_and_changes_nothing(root: logging.Logger, log_path: Path) -> None:
    set_up(to_file(log_path, level="error"))
    before = list(root.handlers)
    with pytest.raises(OSError, match="none"):
        set_up(to_file(log_path.parent / "none" / "m.log", level="debug"))
    assert (root.handlers, root.level) == (before, logging.ERROR)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("level", ["error", "warning", "info", "debug"])
@pytest.mark.parametrize("is_wanted", [True, False])
def test_statistics_are_written_at_any_level_if_at_all(log_path: Path, level: str, is_wanted: bool) -> None:
    set_up(to_file(log_path, level=level, statistics=is_wanted))
    logging.getLogger(logs.STATISTICS).log(NOTICE, "[statistics] x")
    assert log_path.read_text().endswith(" notice: [statistics] x\n") is is_wanted


# ---- lines of JSON


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_is_one_object_a_line(root: logging.Logger, log_path: Path) -> None:
    set_up(to_file(log_path, form="json"))
    root.warning("one a=1")
    root.warning("two")
    assert [each["event"] for each in objects(log_path)] == ["one", "two"]


def test_json_has_time_level_and_process(root: logging.Logger, log_path: Path) -> None:
    set_up(to_file(log_path, form="json"))
    root.warning("event")
    (found,) = objects(log_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "warning", "pid": os.getpid(), "event": "event"}


def test_a_traceback_is_a_member_of_its_line(root: logging.Logger, log_path: Path) -> None:
    set_up(to_file(log_path, form="json"))
    try:
        raise KeyError("why")
    except KeyError:
        root.exception("session-fault session=1-1")
    (found,) = objects(log_path)
    assert found["traceback"].endswith("KeyError: 'why'")


@pytest.mark.usefixtures("root")
def test_the_line_of_a_transaction_is_json_too(log_path: Path) -> None:
    set_up(to_file(log_path, form="json"))
    quick_info("transaction queue_id=%s edits=%d", "4jX", 2)
    assert [(each["queue_id"], each["edits"]) for each in objects(log_path)] == [("4jX", 2)]


def test_json_goes_to_standard_error(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LogSettings(form="json", use_syslog=False))
    root.warning("event a=1")
    assert json.loads(capsys.readouterr().err)["event"] == "event"


def test_a_json_file_that_was_moved_away_is_made_anew(root: logging.Logger, log_path: Path, tmp_path: Path) -> None:
    set_up(to_file(log_path, form="json"))
    root.warning("one")
    log_path.rename(tmp_path / "m.log.1")
    root.warning("two")
    assert [each["event"] for each in objects(log_path)] == ["two"]


def test_syslog_has_text_beside_a_file_of_json(root: logging.Logger, syslog: socket.socket, log_path: Path) -> None:
    set_up(with_syslog(log_path, form="json"))
    root.warning("event a=1")
    assert syslog.recv(1000).endswith(b"]: event a=1")


# ---- syslog


@pytest.fixture
def syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A syslog daemon's socket; nobody reads it unless the test does."""
    path = str(tmp_path / "log")
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.setblocking(False)
        yield listening


def fill(path: str) -> int:
    """Send until the socket takes no more; how many lines it took."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(path)
        for number in range(100_000):
            try:
                sender.send(b"x")
            except BlockingIOError:
                return number
    raise AssertionError("the socket never fills")


def with_syslog(log_path: Path, **changes: object) -> LogSettings:
    return to_file(log_path, use_syslog=True, journal="no", **changes)


def test_syslog_gets_priority_ident_pid_and_line(root: logging.Logger, syslog: socket.socket, log_path: Path) -> None:
    set_up(with_syslog(log_path))
    root.warning("event a=1")
    assert re.fullmatch(rb"<20>milter-manager\[\d+\]: event a=1", syslog.recv(1000))


def test_syslog_knows_notices(root: logging.Logger, syslog: socket.socket, log_path: Path) -> None:
    set_up(with_syslog(log_path))
    root.log(NOTICE, "event")
    assert syslog.recv(1000).startswith(b"<21>")


def test_the_facility_is_the_one_that_was_asked_for(
    root: logging.Logger, syslog: socket.socket, log_path: Path
) -> None:
    set_up(with_syslog(log_path, syslog_facility="local3"))
    root.error("event")
    assert syslog.recv(1000).startswith(b"<155>")


def test_a_syslog_daemon_that_does_not_read_costs_the_line_alone(
    root: logging.Logger, syslog: socket.socket, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_PATIENCE_S", 0.01)
    set_up(with_syslog(log_path))
    fill(logs.SYSLOG_SOCKET)
    for _ in range(3):
        root.warning("event")
    assert log_path.read_text().count("event") == 3


def test_a_syslog_daemon_that_does_not_read_is_left_alone_for_a_while(
    root: logging.Logger, syslog: socket.socket, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_PATIENCE_S", 0.01)
    set_up(with_syslog(log_path))
    taken = fill(logs.SYSLOG_SOCKET)
    root.warning("lost")
    for _ in range(taken):
        syslog.recv(1000)
    root.warning("lost too, though there is room")
    with pytest.raises(BlockingIOError):
        syslog.recv(1000)


def test_syslog_gets_lines_again_after_the_pause(
    root: logging.Logger, syslog: socket.socket, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_PATIENCE_S", 0.01)
    monkeypatch.setattr(logs, "SYSLOG_PAUSE_S", 0.0)
    set_up(with_syslog(log_path))
    taken = fill(logs.SYSLOG_SOCKET)
    root.warning("lost")
    for _ in range(taken):
        syslog.recv(1000)
    root.warning("here")
    assert syslog.recv(1000).endswith(b"here")


def test_a_syslog_daemon_that_is_gone_never_raises(root: logging.Logger, syslog: socket.socket, log_path: Path) -> None:
    set_up(with_syslog(log_path))
    syslog.close()
    for _ in range(3):
        root.warning("event")
    Path(logs.SYSLOG_SOCKET).unlink()
    for _ in range(3):
        root.warning("event")
    assert log_path.read_text().count("event") == 6


def test_a_syslog_daemon_that_came_back_gets_the_next_line(
    root: logging.Logger, syslog: socket.socket, log_path: Path
) -> None:
    set_up(with_syslog(log_path))
    syslog.close()
    Path(logs.SYSLOG_SOCKET).unlink()
    root.warning("lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(logs.SYSLOG_SOCKET)
        again.setblocking(False)
        root.warning("here")
        assert again.recv(1000).endswith(b"here")


def test_a_missing_syslog_daemon_is_told_once_on_the_other_sink(
    root: logging.Logger, log_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "none"))
    set_up(with_syslog(log_path))
    root.warning("event")
    assert log_path.read_text().count("syslog-unavailable") == 1


@pytest.mark.usefixtures("syslog")
def test_a_line_that_can_not_be_made_prints_nothing_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logs.SyslogHandler(address=logs.SYSLOG_SOCKET)
    handler.handle(logging.LogRecord("x", logging.WARNING, __file__, 1, "%d", ("no number",), None))
    handler.close()
    assert capsys.readouterr().err == ""
