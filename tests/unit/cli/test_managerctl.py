"""milter-managerctl against a daemon that the test plays: options, sockets, exit codes and what is printed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmgr.cli import managerctl, managerctl_options, managerctl_output, managerctl_top
from mmgr.cli.managerctl_output import duration, table
from mmgr.errors import ControlError
from mmgr.tally import BOUNDS_S
from tests.unit.status.readings import readings, total


class Daemon:
    """Gives the same bytes to everybody who asks, line by line; remembers what was asked."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self.spec = f"unix:{path}"
        self.asked: list[dict[str, Any]] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for answer, line in zip(self._answers, lines):
                    self.asked.append(json.loads(line))
                    connection.sendall(answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def done(**result: object) -> bytes:
    return json.dumps({"version": 1, "is_done": True, "result": result}).encode() + b"\n"


def refused(*errors: str) -> bytes:
    return json.dumps({"version": 1, "is_done": False, "errors": errors}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sock"


@pytest.fixture
def daemons() -> Iterator[list[Daemon]]:
    made: list[Daemon] = []
    yield made
    for daemon in made:
        daemon.close()


def test_an_order_that_is_done_ends_with_0(
    path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    daemons.append(Daemon(path, done(generation=3)))
    assert managerctl.main(["-s", f"unix:{path}", "disable", "clamav"]) == 0
    assert daemons[0].asked == [{"version": 1, "request": "disable", "milter": "clamav"}]
    assert capsys.readouterr().out == "disable clamav: generation 3 is in force\n"


def test_an_order_that_is_refused_ends_with_1_and_every_reason(
    path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    daemons.append(Daemon(path, refused("f:1: bad", "f:2: \x1b[2Jworse")))
    assert managerctl.main(["-s", f"unix:{path}", "reload"]) == 1
    assert capsys.readouterr() == ("", "milter-managerctl: f:1: bad\nmilter-managerctl: f:2: \\x1b[2Jworse\n")


def test_a_refusal_is_an_object_too(path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]) -> None:
    daemons.append(Daemon(path, refused("no")))
    assert managerctl.main(["reload", "--json", "-s", f"unix:{path}"]) == 1
    assert json.loads(capsys.readouterr().out) == {"is_done": False, "errors": ["no"]}


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["disable"], ["status", "x"], ["-s", "nonsense", "status"]])
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        managerctl.main(arguments)
    assert ended.value.code == 2


def test_without_a_daemon_it_ends_with_3(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert managerctl.main(["-s", f"unix:{path}", "status"]) == 3
    assert capsys.readouterr().err.startswith(f"milter-managerctl: no daemon answers on unix:{path}: ")


def test_a_daemon_that_hangs_up_is_none(path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]) -> None:
    daemons.append(Daemon(path))
    assert managerctl.main(["-s", f"unix:{path}", "status"]) == 3
    assert capsys.readouterr().err.startswith("milter-managerctl: unix:")


def test_a_daemon_that_hangs_is_none(path: Path, daemons: list[Daemon], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managerctl, "CHANGE_TIMEOUT_S", 0.1)
    daemons.append(Daemon(path, b"{"))
    assert managerctl.main(["-s", f"unix:{path}", "reload"]) == 3


@pytest.mark.parametrize(
    "answer", [b"nonsense\n", b"{}\n", b"[]\n", b'{"is_done": true}\n', b'{"version": 2}\n', b"\xff\n"]
)
def test_an_answer_that_is_none_ends_with_1(path: Path, daemons: list[Daemon], answer: bytes) -> None:
    daemons.append(Daemon(path, answer))
    assert managerctl.main(["-s", f"unix:{path}", "status"]) == 1


def test_a_socket_that_we_may_not_use_ends_with_1(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert managerctl.main(["-s", f"unix:{path}", "status"]) == 1
    assert "we may not connect to" in capsys.readouterr().err


# ---- which socket


def configured(directory: Path, text: str) -> list[str]:
    (directory / "milter-manager.conf").write_text(text)
    return ["-c", str(directory)]


def sockets(*arguments: str) -> list[str]:
    return list(map(str, managerctl_options.sockets(managerctl_options.parser().parse_args(arguments))))


def test_the_socket_is_the_one_of_the_configuration_even_if_that_has_faults(tmp_path: Path) -> None:
    where = configured(tmp_path, "[manager]\nnonsense = 1\n[controller]\nconnection_spec = unix:/c\n")
    assert sockets(*where, "reload") == ["unix:/c"]


def test_questions_may_go_to_the_socket_for_reading(tmp_path: Path) -> None:
    where = configured(tmp_path, "[controller]\nconnection_spec = unix:/c\nread_only_connection_spec = unix:/r\n")
    assert sockets(*where, "status") == ["unix:/c", "unix:/r"]
    assert sockets(*where, "stop") == ["unix:/c"]


def test_without_a_configuration_it_is_the_built_in_one(tmp_path: Path) -> None:
    assert sockets("-c", str(tmp_path / "nowhere"), "status") == ["unix:/run/milter-manager/control.sock"]


@pytest.mark.parametrize("arguments", [("-s", "unix:/x", "status"), ("status", "-s", "unix:/x"), ("-s", "/x", "stop")])
def test_the_socket_may_be_given_before_and_behind_the_command(arguments: tuple[str, ...]) -> None:
    assert sockets(*arguments) == ["unix:/x"]


def test_a_question_that_one_socket_does_not_take_goes_to_the_other(
    tmp_path: Path, path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    daemons.append(Daemon(path, done(milters=[])))
    text = f"[controller]\nconnection_spec = unix:/nonexistent/c\nread_only_connection_spec = unix:{path}\n"
    assert managerctl.main([*configured(tmp_path, text), "milters", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"milters": []}


# ---- text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3661, "1 h 1 min"), (90000, "1 d 1 h"), (86400, "1 d 0 h")],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_stand_to_the_right_and_text_to_the_left() -> None:
    assert table(("A", "NAME", "N"), [(1, "x", "-"), (20, "long one", 3.5)]) == [
        " A  NAME        N",
        " 1  x           -",
        "20  long one  3.5",
    ]


def test_a_table_without_rows_is_its_heads() -> None:
    assert table(("A", "B"), []) == ["A  B"]


STATUS: dict[str, Any] = {
    "program_version": "3",
    "pid": 7,
    "uptime_s": 5,
    "monotonic_s": 100.0,
    "listeners": ["unix:/m"],
    "generation": 2,
    "sessions": 40,
    "pool": {"busy": 1, "idle": 3, "starting": 0, "max_workers": 9},
    "milters": [{"milter": "a", "state": "enabled"}, {"milter": "b", "state": "disabled"}],
    "overrides": {"b": "disable"},
    "last_reload": {"is_done": False, "generation": 2, "errors": ["f:1: x"]},
}


def test_the_status_says_what_was_overridden_and_why_a_reload_was_refused() -> None:
    assert managerctl_output.status(STATUS) == [
        "milter-manager 3, pid 7, serves unix:/m for 5 s",
        "workers      1 busy, 3 idle; at most 9",
        "sessions     40",
        "generation   2",
        "milters      a, b (disabled)",
        "overrides    b: disable (milter-managerctl reset MILTER takes one back)",
        "last reload  refused:",
        "  f:1: x",
    ]


def test_the_status_of_a_daemon_in_trouble_says_so() -> None:
    troubled = {**STATUS, "is_saturated": True, "overload": "wait", "last_death": "worker 1: exit 9", "unanswered": 2}
    text = "\n".join(managerctl_output.status(troubled))
    assert "overload = wait" in text
    assert "last death   worker 1: exit 9" in text
    assert "2 sessions wait too long" in text


BREAKER = {"state": "open", "failures": 7, "open_s": 200.0, "next_probe_s": 4.2, "is_probed": False}


@pytest.mark.parametrize(("is_probed", "when"), [(False, "one tries in 4 s"), (True, "one tries now")])
def test_the_status_says_which_milters_are_left_alone(is_probed: bool, when: str) -> None:
    lines = managerctl_output.status({**STATUS, "breakers": {"a": {**BREAKER, "is_probed": is_probed}}})
    text = f"a: open for 3 min 20 s, 7 failures in a row; sessions do without it, {when}"
    assert f"breaker      {text}" in lines


@pytest.mark.parametrize(
    ("breaker", "shown"),
    [
        (BREAKER, "open 3 min 20 s"),
        ({**BREAKER, "state": "closed", "failures": 2}, "closed (2)"),
        ({**BREAKER, "state": "closed", "failures": 0}, "closed"),
        ({"state": "off"}, "off"),
        (None, "-"),
    ],
)
def test_the_milters_have_the_state_of_their_breakers(breaker: object, shown: str) -> None:
    milter = {"milter": "a", "state": "enabled", "override": "", "stages": {}, "breaker": breaker}
    heads, line = managerctl_output.milters({"milters": [milter]})
    assert line[heads.index("BREAKER") : heads.index("ANSWERS")].strip() == shown


def test_nothing_in_an_answer_can_steer_the_terminal() -> None:
    evil = {**STATUS, "listeners": ["\x1b]0;x\x07"], "last_death": "\x9b2J\r\n", "milters": []}
    assert all(line.isprintable() for line in managerctl_output.status(evil))


# ---- top


def cell(count: int, bucket: int, seconds: float) -> dict[str, Any]:
    buckets = [0] * (len(BOUNDS_S) + 1)
    buckets[bucket] = count
    return {"count": count, "seconds": seconds, "buckets": buckets}


def look(sessions: int, monotonic_s: float, stages: dict[str, Any], pid: int = 7) -> managerctl_top.Sample:
    milter = {"milter": "a", "state": "enabled", "override": "", "stages": stages}
    return {**STATUS, "sessions": sessions, "monotonic_s": monotonic_s, "pid": pid}, {"milters": [milter]}


BEFORE = look(40, 100.0, {"mail": {"continue": cell(10, 4, 0.1)}})
NOW = look(60, 110.0, {"mail": {"continue": cell(30, 4, 0.5), "reject": cell(5, 6, 1.5)}})


def test_rates_are_those_between_two_looks() -> None:
    found = managerctl_top.figures(BEFORE, NOW)
    assert (found["sessions_per_s"], found["sessions"], found["workers_busy"]) == (2.0, 60, 1)
    (child,) = found["milters"]
    assert (child["answers_per_s"], child["p95_ms"]) == (2.5, BOUNDS_S[6] * 1000)
    assert child["mean_ms"] == pytest.approx(1900 / 25)
    assert child["verdicts"] == {"continue": 30, "reject": 5}


def test_another_daemon_has_nothing_before_it() -> None:
    other = look(1, 110.0, {"mail": {"continue": cell(3, 4, 0.5)}}, pid=8)
    found = managerctl_top.figures(BEFORE, other)
    assert (found["sessions_per_s"], found["milters"][0]["answers_per_s"]) == (None, None)


def test_without_answers_there_are_no_times() -> None:
    (child,) = managerctl_top.figures(NOW, look(60, 120.0, dict(NOW[1]["milters"][0]["stages"])))["milters"]
    assert (child["answers_per_s"], child["mean_ms"], child["p95_ms"]) == (0.0, None, None)


def test_the_picture_has_a_line_for_each_milter() -> None:
    lines = managerctl_top.picture(managerctl_top.figures(BEFORE, NOW), NOW[0])
    assert lines[1] == "sessions 2.0 a second, 60 in all; workers 1 busy, 3 idle; at most 9"
    assert lines[3].split()[:5] == ["MILTER", "STATE", "ANSWERS/S", "MEAN_MS", "P95_MS"]
    assert lines[4].split() == ["a", "enabled", "2.5", "76.0", "100.0", "30", "0", "5", "0", "0", "0", "0"]


def test_top_once_shows_one_interval(path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]) -> None:
    daemons.append(Daemon(path, done(**NOW[0]), done(**NOW[1])))
    assert managerctl.main(["-s", f"unix:{path}", "top", "--once", "--interval", "0.01"]) == 0
    assert [asked["request"] for asked in daemons[0].asked] == ["status", "milters"] * 2
    assert "\x1b" not in capsys.readouterr().out


def test_top_as_json_is_an_object_for_each_look(
    path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    daemons.append(Daemon(path, done(**NOW[0]), done(**NOW[1])))
    assert managerctl.main(["-s", f"unix:{path}", "--json", "top", "--count", "3", "--interval", "0.01"]) == 0
    assert [json.loads(line)["sessions"] for line in capsys.readouterr().out.splitlines()] == [60] * 3


def test_an_error_of_the_daemon_while_it_is_looked_at_is_one(path: Path, daemons: list[Daemon]) -> None:
    daemons.append(Daemon(path, refused("a bug")))
    assert managerctl.main(["-s", f"unix:{path}", "top", "--once"]) == 1


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(ControlError):
        managerctl_output.errors_of({"is_done": False, "errors": "text"})


# ---- metrics


def test_metrics_are_printed_in_the_format_of_prometheus(
    path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]
) -> None:
    daemons.append(Daemon(path, done(**readings(sessions=7))))
    assert managerctl.main(["-s", f"unix:{path}", "metrics"]) == 0
    assert daemons[0].asked == [{"version": 1, "request": "metrics"}]
    assert "\nmilter_manager_sessions_total 7.0\n" in capsys.readouterr().out


def test_metrics_are_an_object_too(path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str]) -> None:
    daemons.append(Daemon(path, done(**readings(sessions=7))))
    assert managerctl.main(["-s", f"unix:{path}", "--json", "metrics"]) == 0
    assert json.loads(capsys.readouterr().out)["sessions"] == 7


@pytest.mark.parametrize("changed", [{"answers": [["a"]]}, {"workers": 7}, {"bounds_s": None}, {"milters": [{}]}])
def test_metrics_of_another_version_end_with_1(
    path: Path, daemons: list[Daemon], capsys: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    daemons.append(Daemon(path, done(**{**readings(answers=[["a", "mail", "accept", total(1.0)]]), **changed})))
    assert managerctl.main(["-s", f"unix:{path}", "metrics"]) == 1
    assert "another version" in capsys.readouterr().err
