"""The process that shows metrics: what it asks the master, and the file that it writes."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgr.control import Line, done, not_done
from mmgr.endpoint import Endpoint
from mmgr.errors import ControlError, ControlUnanswered
from mmgr.status.exporter import Source
from mmgr.status.promfile import PromFile
from tests.unit.status.readings import readings

LINE = Endpoint("unix", path="the daemon")


class Master:
    """The other end of a line: gives the same answer to every question, and counts them."""

    def __init__(self, answer: bytes) -> None:
        self.asked: list[dict[str, object]] = []
        self._socket, theirs = socket.socketpair()
        self._answer = answer
        self.source = Source(Line(LINE, connected=theirs))
        self._theirs = theirs
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._socket, self._socket.makefile("rb") as lines:
            for line in lines:
                self.asked.append(json.loads(line))
                if not self._answer:
                    return
                self._socket.sendall(self._answer)

    def close(self) -> None:
        self._theirs.close()
        self._thread.join()


@pytest.fixture
def masters() -> Iterator[list[Master]]:
    made: list[Master] = []
    yield made
    for master in made:
        master.close()


def master(masters: list[Master], answer: bytes) -> Master:
    masters.append(Master(answer))
    return masters[-1]


def test_the_master_is_asked_and_its_answer_is_shown(masters: list[Master]) -> None:
    asked = master(masters, done(readings(sessions=7)))
    assert b"milter_manager_sessions_total 7.0\n" in asked.source.text()
    assert asked.asked == [{"version": 1, "request": "metrics"}]


def test_those_who_ask_at_the_same_time_cost_the_master_one_answer(masters: list[Master]) -> None:
    asked = master(masters, done(readings()))
    texts: list[bytes] = []
    threads = [threading.Thread(target=lambda: texts.append(asked.source.text())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(texts)), len(texts), len(asked.asked) < 8) == (1, 8, True)


def test_a_refusal_is_told_and_the_line_stays_good(masters: list[Master]) -> None:
    asked = master(masters, not_done(["not now"]))
    with pytest.raises(ControlError, match="not now"):
        asked.source.text()
    assert not asked.source.is_broken


def test_a_master_that_is_gone_is_not_asked_again(masters: list[Master]) -> None:
    asked = master(masters, b"")
    for _ in range(2):
        with pytest.raises(ControlUnanswered):
            asked.source.text()
    assert (asked.source.is_broken, len(asked.asked)) == (True, 1)


def test_nonsense_breaks_the_line(masters: list[Master]) -> None:
    asked = master(masters, b"nonsense\n")
    with pytest.raises(ControlError):
        asked.source.text()
    assert asked.source.is_broken


# ---- the file


def test_the_file_has_the_text_and_can_be_read_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "mm.prom"
    before = os.umask(0o077)
    try:
        PromFile(str(path)).write(b"a 1\n")
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"a 1\n", 0o644)


def test_a_file_that_is_replaced_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = PromFile(str(tmp_path / "mm.prom"))
    for number in range(3):
        file.write(b"a %d\n" % number)
    assert [path.name for path in tmp_path.iterdir()] == ["mm.prom"]


def test_whoever_has_it_open_goes_on_reading_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "mm.prom"
    file = PromFile(str(path))
    file.write(b"old\n")
    with path.open("rb") as reading:
        file.write(b"new\n")
        assert reading.read() == b"old\n"


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".mm.prom.new").write_bytes(b"half of")
    PromFile(str(tmp_path / "mm.prom")).write(b"a 1\n")
    assert (tmp_path / "mm.prom").read_bytes() == b"a 1\n"


def test_a_link_in_the_way_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".mm.prom.new").symlink_to(victim)
    (tmp_path / "mm.prom").symlink_to(victim)
    PromFile(str(tmp_path / "mm.prom")).write(b"a 1\n")
    assert (victim.read_bytes(), (tmp_path / "mm.prom").is_symlink()) == (b"precious", False)


def test_a_file_that_can_not_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = PromFile(str(tmp_path / "nowhere" / "mm.prom"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            file.write(b"a 1\n")
    (message,) = caplog.messages
    assert message.startswith("metrics-file-failed path=")
    assert message.endswith('error="No such file or directory"')


def test_what_is_taken_away_leaves_nothing(tmp_path: Path) -> None:
    file = PromFile(str(tmp_path / "mm.prom"))
    file.write(b"a 1\n")
    (tmp_path / ".mm.prom.new").write_bytes(b"half of")
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_can_be_taken_away(tmp_path: Path) -> None:
    PromFile(str(tmp_path / "nowhere" / "mm.prom")).remove()
