"""milter-performance-check against a real SMTP server of ours, its analyzer, and milter-report-statistics."""

from __future__ import annotations

import hmac
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.processes import wait_for
from tests.support.smtpsink import Behaviour, SmtpSink

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TIMEOUT_S = 60

MAIL = b"""Received: from client.example (a [192.0.2.1]) by mx
From: Somebody <author@example.org>
To: one@example.com, Two <two@example.com>
Cc: three@example.com
Subject: dots

.a line with a dot
caf\xc3\xa9
"""


def command(tool: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"mmgr.cli.{tool}", *map(str, arguments)]


def run(tool: str, *arguments: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(tool, *arguments), capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S, input=data
    )


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as made:
        yield made


def check(sink: SmtpSink, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """A milter-performance-check against the sink that has ended."""
    return run("performance_check", "--smtp-server", "127.0.0.1", "--smtp-port", sink.port, *arguments)


def number(output: bytes, name: str) -> float:
    """The number that stands behind a name in the report."""
    found = re.search(rb"^ *%b: +([0-9.]+)" % name.encode(), output, re.M)
    assert found, f"no {name} in {output!r}"
    return float(found[1])


def test_each_mail_of_the_load_arrives(sink: SmtpSink) -> None:
    ended = check(sink, "--n-mails", 25, "--n-concurrent-connections", 5)
    assert (ended.returncode, number(ended.stdout, "N mails"), len(sink.mails)) == (0, 25, 25)


def test_the_report_says_how_long_it_took(sink: SmtpSink) -> None:
    report = check(sink, "--n-mails", 4).stdout
    assert number(report, "Min") <= number(report, "Average") <= number(report, "Max")
    assert number(report, "Throughput") > 0


def test_so_many_mails_are_under_way_at_a_time_and_no_more() -> None:
    go_on = threading.Event()
    with SmtpSink(Behaviour(waits_for=go_on)) as sink:
        words = ("--smtp-server", "127.0.0.1", "--smtp-port", sink.port, "--n-mails", 20)
        more = ("--n-concurrent-connections", 6, "--n-workers", 2)
        with subprocess.Popen(
            command("performance_check", *words, *more), env=ENVIRONMENT, stdout=subprocess.DEVNULL
        ) as process:
            wait_for(lambda: sink.most_at_a_time == 6, "six mails")
            go_on.set()
            assert process.wait(TIMEOUT_S) == 0
    assert (sink.most_at_a_time, len(sink.mails)) == (6, 20)


def test_a_mail_file_is_sent_with_its_own_envelope(sink: SmtpSink, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    check(sink, "--n-mails", 1, tmp_path / "mail")
    (kept,) = sink.mails
    assert (kept.helo, kept.sender) == ("client.example", "FROM:<author@example.org> BODY=8BITMIME")
    assert kept.recipients == tuple(f"TO:<{name}@example.com>" for name in ("one", "two", "three"))
    assert kept.content == MAIL.replace(b"\n", b"\r\n")


def test_a_forced_envelope_counts_more_than_the_mail_file(sink: SmtpSink, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    check(sink, "--n-mails", 1, "--force-from", "f@x.test", "--force-recipient", "r@x.test", tmp_path / "mail")
    assert [(kept.sender.split()[0], kept.recipients) for kept in sink.mails] == [
        ("FROM:<f@x.test>", ("TO:<r@x.test>",))
    ]


def test_several_senders_take_turns(sink: SmtpSink) -> None:
    check(sink, "--n-mails", 4, "--from", "a@x.test", "--from", "b@x.test")
    assert [kept.sender for kept in sink.mails] == ["FROM:<a@x.test>", "FROM:<b@x.test>"] * 2


def test_the_mails_of_a_directory_are_sent_once_each(sink: SmtpSink, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a", "b", "below/c"):
        (tmp_path / name).write_bytes(b"Subject: %b\n\nbody\n" % name.encode())
    ended = check(sink, tmp_path)
    assert {kept.content.split(b"\r\n")[0] for kept in sink.mails} == {
        b"Subject: a",
        b"Subject: b",
        b"Subject: below/c",
    }
    assert ended.stdout.count(b" (sec): /") == 3


def test_a_mixed_order_still_sends_each_mail_once(sink: SmtpSink, tmp_path: Path) -> None:
    for name in range(12):
        (tmp_path / str(name)).write_bytes(b"Subject: %d\n\nbody\n" % name)
    check(sink, "--shuffle", "--n-workers", 3, "--n-concurrent-connections", 3, tmp_path)
    assert len({kept.content for kept in sink.mails}) == len(sink.mails) == 12


def test_a_mail_from_standard_input_is_sent_many_times(sink: SmtpSink) -> None:
    words = ("--smtp-server", "127.0.0.1", "--smtp-port", sink.port, "--n-mails", 3, "-")
    assert run("performance_check", *words, data=b"Subject: s\n\nbody\n").returncode == 0
    assert [kept.content for kept in sink.mails] == [b"Subject: s\r\n\r\nbody\r\n"] * 3


def test_additional_lines_have_65_bytes(sink: SmtpSink) -> None:
    check(sink, "--n-mails", 1)
    check(sink, "--n-mails", 1, "--n-additional-lines", 10)
    assert len(sink.mails[1].content) - len(sink.mails[0].content) == 650


def test_the_client_can_be_another_one(sink: SmtpSink) -> None:
    check(sink, "--n-mails", 1, "--connect-host", "mx.x.test", "--connect-address", "192.0.2.9")
    assert sink.mails[0].xclient == "NAME=mx.x.test ADDR=192.0.2.9"


@pytest.mark.parametrize("mechanism", ["auto", "plain", "login"])
def test_a_user_can_log_in(sink: SmtpSink, mechanism: str) -> None:
    check(sink, "--n-mails", 1, "--auth-user", "u", "--auth-password", "p w", "--auth-mechanism", mechanism)
    assert sink.mails[0].user == "u/p w"


def test_a_user_can_log_in_without_telling_the_password() -> None:
    with SmtpSink(Behaviour(features=("AUTH PLAIN CRAM-MD5",))) as sink:
        check(sink, "--n-mails", 1, "--auth-user", "u", "--auth-password", "p")
    assert sink.mails[0].user == "u " + hmac.new(b"p", b"<challenge@sink>", "md5").hexdigest()


def test_a_login_that_fails_is_a_failure_of_the_mail() -> None:
    with SmtpSink(Behaviour({"auth": "535 no"})) as sink:
        ended = check(sink, "--n-mails", 1, "--auth-user", "u")
    assert (ended.returncode, sink.mails) == (10, [])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Of nobody who can be trusted."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    place = tmp_path_factory.mktemp("certificate")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx.test", "-days", "2"]
    subprocess.run([*words, "-keyout", f"{place}/key", "-out", f"{place}/crt"], check=True, capture_output=True)
    return f"{place}/crt", f"{place}/key"


@pytest.mark.parametrize(("how", "is_encrypted"), [("auto", True), ("always", True), ("disable", False)])
def test_mail_is_encrypted_where_it_is_offered_and_wanted(
    certificate: tuple[str, str], how: str, is_encrypted: bool
) -> None:
    with SmtpSink(Behaviour(certificate=certificate)) as sink:
        assert check(sink, "--n-mails", 1, "--starttls", how).returncode == 0
    assert [kept.is_encrypted for kept in sink.mails] == [is_encrypted]


def test_an_mta_that_does_not_encrypt_is_an_error_where_it_has_to(sink: SmtpSink) -> None:
    assert (check(sink, "--n-mails", 1, "--starttls", "always").returncode, sink.mails) == (1, [])


def test_the_user_may_stand_in_a_map(sink: SmtpSink, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(f"# users\nother:25 x:y\n127.0.0.1:{sink.port} u:p\n")
    check(sink, "--n-mails", 1, "--auth-map", tmp_path / "map")
    assert sink.mails[0].user == "u/p"


@pytest.mark.parametrize(
    ("where", "answer", "code", "status"),
    [
        ("to@example.com", "550 5.1.1 nobody", 10, "Reject"),
        ("end", "451 later", 11, "Temporary failure"),
        ("end", "", 1, "Error"),
        ("connect", "554 no service", 10, "Reject"),
        ("connect", "421 too busy", 11, "Temporary failure"),
        ("end", "999 what", 1, "Error"),
    ],
)
def test_what_the_mta_answers_is_counted_and_decides_the_exit_code(
    where: str, answer: str, code: int, status: str
) -> None:
    with SmtpSink(Behaviour({where: answer})) as sink:
        ended = check(sink, "--n-mails", 2)
    assert (ended.returncode, number(ended.stdout, status)) == (code, 2)


def test_answers_to_failures_are_listed_without_what_could_steer_a_terminal() -> None:
    with SmtpSink(Behaviour({"end": "550 \x1b[2Jno\x07"})) as sink:
        report = check(sink, "--n-mails", 1, "--report-failure-responses").stdout
    assert b"Rejects:\n    1: 550 \\x1b[2Jno\\x07\n" in report


def test_an_mta_that_is_not_there_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        words = ("--smtp-server", "127.0.0.1", "--smtp-port", unused.getsockname()[1], "--n-mails", 2)
        ended = run("performance_check", *words)
    assert (ended.returncode, number(ended.stdout, "Error")) == (1, 2)
    assert b"Connection refused" in ended.stderr


def test_an_mta_that_says_nothing_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = ("--smtp-server", "127.0.0.1", "--smtp-port", silent.getsockname()[1], "--n-mails", 1)
        ended = run("performance_check", *words, "--reading-timeout", 0.2)
    assert ended.returncode == 1
    assert b"timeout" in ended.stderr.lower() or b"timed out" in ended.stderr


def test_a_flood_ends_when_its_time_is_over(sink: SmtpSink) -> None:
    ended = check(sink, "--flood=0.5s", "--n-concurrent-connections", 2)
    assert ended.returncode == 0
    assert number(ended.stdout, "N mails") == len(sink.mails) > 1


def test_an_endless_flood_is_ended_from_the_keyboard_with_a_report(sink: SmtpSink) -> None:
    words = ("--smtp-server", "127.0.0.1", "--smtp-port", sink.port, "--flood")
    with subprocess.Popen(command("performance_check", *words), env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        wait_for(lambda: len(sink.mails) > 3, "mails of the flood")
        process.send_signal(signal.SIGINT)
        report = process.communicate(timeout=TIMEOUT_S)[0]
    assert process.returncode == 130
    assert number(report, "N mails") > 0


def test_mails_at_intervals_begin_no_earlier_than_due(sink: SmtpSink, tmp_path: Path) -> None:
    check(sink, "--n-mails", 4, "--interval", "0.1s", "--report-statistics-data", tmp_path / "data")
    rows = [line.split(",") for line in (tmp_path / "data").read_text().splitlines()[1:]]
    began = sorted(float(ended) - float(took) for ended, took, _ in rows)
    assert all(at >= 0.1 * n - 0.01 for n, at in enumerate(began))


def test_the_data_of_each_mail_go_into_a_file(sink: SmtpSink, tmp_path: Path) -> None:
    check(sink, "--n-mails", 3, "--report-statistics-data", tmp_path / "data")
    head, *rows = (tmp_path / "data").read_text().splitlines()
    assert head == "wall clock time,response time,message size"
    assert [int(row.split(",")[2]) for row in rows] == [len(kept.content) for kept in sink.mails]


def test_a_progress_bar_is_drawn_on_a_terminal_alone(sink: SmtpSink) -> None:
    words = ("--smtp-server", "127.0.0.1", "--smtp-port", sink.port, "--n-mails", 30)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("performance_check", *words), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        report = process.communicate(timeout=TIMEOUT_S)[0]
    drawn = os.read(ours, 65536)
    os.close(ours)
    assert re.search(rb"\r\[#* *\] +\d+% \d+/30 mails", drawn)
    assert b"\x1b" not in report


def test_a_load_ends_when_nobody_reads_its_table_any_more(sink: SmtpSink) -> None:
    words = ("--smtp-server", "127.0.0.1", "--smtp-port", sink.port, "--flood", "--report-periodically=0.1s")
    with subprocess.Popen(
        command("performance_check", *words), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--period", "5 apples"),
        ("--period", "1", "--interval", "1"),
        ("--n-mails", "0"),
        ("/nosuch/mail",),
        ("--auth-map", "/nosuch/map"),
        ("--report-statistics-data", "/nosuch/data"),
    ],
)
def test_wrong_usage_sends_nothing(sink: SmtpSink, arguments: tuple[str, ...]) -> None:
    assert (check(sink, *arguments).returncode, sink.mails) == (2, [])


# ---- the picture


def test_the_table_becomes_a_picture(sink: SmtpSink, tmp_path: Path) -> None:
    table = check(sink, "--flood=0.7s", "--report-periodically=0.2s").stdout
    assert run("performance_analyzer", "--output", tmp_path / "picture.svg", data=table).returncode == 0
    root = ElementTree.fromstring((tmp_path / "picture.svg").read_bytes())
    lines = [each for each in root.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 5
    assert all(len(line.attrib["points"].split()) >= 3 for line in lines)


def test_the_data_of_single_mails_become_a_picture(sink: SmtpSink, tmp_path: Path) -> None:
    check(sink, "--n-mails", 20, "--report-statistics-data", tmp_path / "data")
    picture = run("performance_analyzer", tmp_path / "data").stdout
    assert picture.count(b"<circle") == 20


def test_nothing_to_draw_is_said() -> None:
    ended = run("performance_analyzer", data=b"\xff\x00 nothing\n")
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_a_file_that_can_not_be_read_is_said() -> None:
    ended = run("performance_analyzer", "/nosuch")
    assert ended.returncode == 2
    assert b"/nosuch: No such file" in ended.stderr


# ---- statistics of processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a command line of its own that holds two descriptors more than usual."""
    code = "import sys; a = open('/dev/null'); b = open('/dev/null'); print('up', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, "milter-of-a-test\x1b[2J"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def statistics_of(*arguments: object) -> list[bytes]:
    return run("report_statistics", "--count", 1, *arguments).stdout.splitlines()[1:]


@pytest.mark.parametrize("way", ["target", "pid", "pid-directory"])
def test_a_process_is_found_each_way(sleeper: subprocess.Popen[bytes], tmp_path: Path, way: str) -> None:
    (tmp_path / "a.pid").write_text(f"{sleeper.pid}\n")
    words = {
        "target": ("milter-of-a-test", "--filter", "sys.stdin"),
        "pid": ("--pid", sleeper.pid),
        "pid-directory": ("--pid-directory", tmp_path),
    }[way]
    rows = [row.split() for row in statistics_of(*words)]
    assert [int(row[1]) for row in rows] == [sleeper.pid]


def test_memory_and_descriptors_are_those_of_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    (row,) = statistics_of("--pid", sleeper.pid)
    cells = row.split()
    rss_kb = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{sleeper.pid}/status").read_text())[1])  # type: ignore[index]
    assert abs(int(cells[4]) - rss_kb) < rss_kb / 10
    assert int(cells[8]) == len(os.listdir(f"/proc/{sleeper.pid}/fd"))


def test_a_command_line_can_not_steer_the_terminal(sleeper: subprocess.Popen[bytes]) -> None:
    (row,) = statistics_of("--pid", sleeper.pid)
    assert b"\x1b" not in row
    assert b"milter-of-a-test\\x1b[2J" in row


def test_a_filter_that_does_not_match_leaves_nothing(sleeper: subprocess.Popen[bytes]) -> None:
    (row,) = statistics_of("--pid", sleeper.pid, "--filter", "no such thing")
    assert row.split()[1:] == [b"not", b"found"]


def test_a_process_that_ends_is_not_found_any_more(sleeper: subprocess.Popen[bytes]) -> None:
    words = command("report_statistics", "--interval", 0.05, "--pid", sleeper.pid)
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        sleeper.kill()
        sleeper.wait()
        assert any(line.endswith(b"not found\n") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((), 2), (("--filter", "("), 2), (("--pid", "x"), 2), (("--pid-directory", "/nosuch"), 1)],
)
def test_wrong_usage_of_report_statistics_is_said(arguments: tuple[str, ...], code: int) -> None:
    ended = run("report_statistics", *arguments)
    assert ended.returncode == code
    assert ended.stderr
