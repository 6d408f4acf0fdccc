"""milter-test-server and milter-test-client as processes: against each other, and against libmilter's world."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.milters import PymilterChild
from tests.support.processes import ComponentMissing, LabDirectory

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
ELAPSED = re.compile(rb"^elapsed-time: [0-9]+\.[0-9]+ seconds$", re.M)
TIMEOUT_S = 60


def command(tool: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"mmgr.cli.{tool}", *map(str, arguments)]


class Client:
    """A running milter-test-client."""

    def __init__(self, process: subprocess.Popen[bytes], spec: str) -> None:
        self.process = process
        self.spec = spec

    def ended(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """End it by a signal: exit code, output, diagnostics."""
        self.process.send_signal(number)
        output, diagnostics = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, output.decode("latin-1"), diagnostics.decode("latin-1")


@contextmanager
def client(directory: Path, *arguments: object, spec: str = "") -> Iterator[Client]:
    """A milter-test-client that listens."""
    spec = spec or f"unix:{directory}/client.sock"
    process = subprocess.Popen(
        command("test_client", "-s", spec, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"listening on {spec}\n".encode()
        yield Client(process, spec)
    finally:
        process.kill()
        process.communicate()


def server(spec: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """A milter-test-server that has ended."""
    return subprocess.run(
        command("test_server", "-s", spec, *arguments), capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S
    )


def masked(output: bytes) -> bytes:
    """Output without the time that it took."""
    return ELAPSED.sub(b"elapsed-time: N seconds", output)


@pytest.fixture(scope="module")
def accepting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A milter-test-client that lets everything through."""
    with client(tmp_path_factory.mktemp("accepting"), "--no-report-request") as running:
        yield running


@pytest.mark.parametrize(
    ("options", "status", "exit_code"),
    [
        ([], "accept", 0),
        (["--reply", "connect=accept"], "accept", 0),
        (["--reply", "rcpt=reject"], "reject", 10),
        (["--reply", "end-of-message=550 5.7.1 no"], "reject [550]<5.7.1>(no)", 10),
        (["--reply", "helo=tempfail"], "temporary-failure", 11),
        (["--reply", "eom=451 4.7.1 try later"], "temporary-failure [451]<4.7.1>(try later)", 11),
        (["--reply", "header=discard"], "discard", 12),
        (["--quarantine", "looks odd"], "quarantine", 13),
        (["--reply", "data=shutdown"], "shutdown", 14),
        (["--reply", "eom=progress", "--reply", "eom=progress"], "accept", 0),
        (["--decline", "body", "--no-reply", "header", "--delay", "eoh=0.01"], "accept", 0),
        (["--reply", "body=skip"], "accept", 0),
    ],
)
def test_every_outcome_has_its_word_and_its_exit_code(
    tmp_path: Path, options: Sequence[str], status: str, exit_code: int
) -> None:
    with client(tmp_path, *options) as milter:
        result = server(milter.spec)
    reason = "Quarantine reason: <looks odd>\n" if exit_code == 13 else ""
    assert masked(result.stdout).decode() == f"status: {status}\nelapsed-time: N seconds\n{reason}\n"
    assert (result.returncode, result.stderr) == (exit_code, b"")


@pytest.mark.parametrize("stage", ["negotiate", "connect", "rcpt", "header", "body", "eom"])
@pytest.mark.parametrize(("misdeed", "exit_code"), [("close", 3), ("garbage", 3), ("hang", 4), ("none", 4)])
def test_a_milter_that_misbehaves_is_never_a_pass(tmp_path: Path, stage: str, misdeed: str, exit_code: int) -> None:
    with client(tmp_path, "--reply", f"{stage}={misdeed}") as milter:
        result = server(milter.spec, "--all-timeouts", 0.5 if exit_code == 4 else 30)
    assert (result.returncode, result.stdout) == (exit_code, b"")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "stage", "message"),
    [
        (["--reading-timeout", "0.3"], "helo", b"reading timeout: helo"),
        (["--end-of-message-timeout", "0.3"], "eom", b"end-of-message timeout"),
    ],
)
def test_each_timeout_option_sets_its_own_timeout(
    tmp_path: Path, options: list[str], stage: str, message: bytes
) -> None:
    with client(tmp_path, "--reply", f"{stage}=hang") as milter:
        result = server(milter.spec, *options)
    assert result.returncode == 4
    assert message in result.stderr


def test_a_socket_that_nobody_accepts_from_is_a_timeout(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen(1)
        result = server(f"{tmp_path}/s", "--reading-timeout", 0.2)
    assert result.returncode == 4
    assert b"reading timeout: negotiate" in result.stderr


def test_a_milter_that_is_killed_in_mid_session_is_a_protocol_error(tmp_path: Path) -> None:
    with client(tmp_path, "--reply", "data=hang") as milter:
        sending = subprocess.Popen(command("test_server", "-s", milter.spec), stderr=subprocess.PIPE, env=ENVIRONMENT)
        assert milter.process.stdout is not None
        while milter.process.stdout.readline() != b"data\n":
            pass
        milter.process.kill()
        _, diagnostics = sending.communicate(timeout=TIMEOUT_S)
    assert sending.returncode == 3
    assert b"data: connection" in diagnostics


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("unix:{}/none", "Failed to connect to unix:{}/none: No such file or directory\n"),
        ("{}/none", "Failed to connect to unix:{}/none: No such file or directory\n"),
        ("inet:1@127.0.0.1", "Failed to connect to inet:1@127.0.0.1: Connection refused\n"),
    ],
)
def test_a_refused_socket_is_named_with_the_reason(tmp_path: Path, spec: str, message: str) -> None:
    result = server(spec.format(tmp_path))
    assert (result.returncode, result.stdout, result.stderr.decode()) == (1, b"", message.format(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "-s"),
        (["-s", "bogus"], "no colon"),
        (["-s", "/s", "--nosuch"], "--nosuch"),
        (["-s", "/s", "--negotiate-version", "x"], "'x'"),
        (["-s", "/s", "--all-timeouts", "x"], "'x'"),
        (["-s", "/s", "--all-timeouts", "-1"], "-1"),
        (["-s", "/s", "--color", "maybe"], "maybe"),
        (["-s", "/s", "-h", "nocolon"], "NAME:VALUE"),
        (["-s", "/s", "--helo-macro", "nocolon"], "NAME:VALUE"),
        (["-s", "/s", "-m", "/nosuch"], "/nosuch"),
        (["-s", "/s", "-m", "/"], "directory"),
        (["-s", "/s", "--connect-address", "inet:x"], "--connect-address"),
        (["-s", "/s", "extra"], "extra"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(arguments: list[str], message: str) -> None:
    result = subprocess.run(command("test_server", *arguments), capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr.decode()


@pytest.mark.parametrize("option", ["-?", "--help"])
def test_help_lists_the_exit_codes(option: str) -> None:
    result = subprocess.run(command("test_server", option), capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S)
    assert result.returncode == 0
    assert b"13  quarantine" in result.stdout


def test_every_option_of_the_incumbent_is_taken(accepting: Client) -> None:
    result = server(
        *(accepting.spec, "--name=test", "--negotiate-version=6", "--connect-host=mx", "--connect-address=unix:/s"),
        *("--connect-macro=a:b", "--helo-fqdn=mx", "--helo-macro=a:b", "-f", "s@a", "--envelope-from-macro=a:b"),
        *("-r", "r@b", "--envelope-recipient-macro=a:b", "--data-macro=a:b", "-h", "A: b", "--end-of-header-macro=a:b"),
        *("-b", "x", "--end-of-message-macro=a:b", "--unknown=HELP", "--authenticated-name=n"),
        *("--authenticated-type=t", "--authenticated-author=a", "--output-message", "--color=no"),
        *("--connection-timeout=9", "--reading-timeout=9", "--writing-timeout=9", "--end-of-message-timeout=9"),
        *("--all-timeouts=9", "-t", "1", "-v"),
    )
    assert (result.returncode, result.stderr) == (0, b"")


EDITED = b"""\
status: accept
elapsed-time: N seconds

Envelope:------------------------------
- MAIL FROM:<sender@example.com>
+ MAIL FROM:<newfrom@py.example>
- RCPT TO:<receiver@example.org>
+ RCPT TO:<added@py.example>
Header:--------------------------------
+ X-First: ins
+ From: changed@py.example
+ X-Cmilter: c1
+ X-Py: one
+  two
- From: <sender@example.com>
- To: <receiver@example.org>
Body:----------------------------------
new body

"""

EDITS = (
    *("--insert-header", "0:X-First:ins", "--change-header", "From:changed@py.example", "--delete-header", "1:To"),
    *("--add-header", "X-Cmilter:c1", "--add-header", "X-Py:one\n two", "--add-recipient", "added@py.example"),
    *("--delete-recipient", "<receiver@example.org>", "--change-from", "newfrom@py.example"),
    *("--replace-body", "new body\n"),
)


def test_the_modified_message_is_printed_like_the_incumbents(tmp_path: Path) -> None:
    with client(tmp_path, *EDITS) as milter:
        assert masked(server(milter.spec, "--output-message").stdout) == EDITED


def test_colours_are_for_terminals_and_for_whoever_asks(tmp_path: Path) -> None:
    with client(tmp_path, *EDITS) as milter:
        assert b"\x1b[" not in server(milter.spec, "--output-message").stdout
        for asked in ("--color=yes", "--color"):
            assert b"\x1b[01;32m+ X-First" in server(milter.spec, "--output-message", asked).stdout
        main_fd, terminal_fd = pty.openpty()
        with os.fdopen(main_fd, "rb", buffering=0) as screen, os.fdopen(terminal_fd, "wb") as terminal:
            arguments = command("test_server", "-s", milter.spec, "--output-message")
            subprocess.run(arguments, stdout=terminal, env=ENVIRONMENT, check=True, timeout=TIMEOUT_S)
            assert b"\x1b[01;32m+ X-First" in screen.read(65536)


MAIL = b"""\
From sender@x Mon Jan  1 00:00:00 2026
From: "Some, One" <one@a.example>
To: <two@b.example>,
\t"T. Hree" <three@b.example>
Subject: =?utf-8?q?x?= \xff raw
X-Fold: one
  two

body \xfe
.dot
"""


def test_a_mail_file_is_sent_with_its_envelope_folding_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    with client(tmp_path) as milter:
        result = server(milter.spec, "-m", tmp_path / "mail", "--output-message")
        _, events, _ = milter.ended()
    assert masked(result.stdout).decode("latin-1").splitlines()[3:] == [
        "Envelope:------------------------------",
        "  MAIL FROM:<one@a.example>",
        "  RCPT TO:<two@b.example>",
        "  RCPT TO:<three@b.example>",
        "Header:--------------------------------",
        '  From: "Some, One" <one@a.example>',
        "  To: <two@b.example>,",
        '  \\x09"T. Hree" <three@b.example>',
        "  Subject: =?utf-8?q?x?= \xff raw",
        "  X-Fold: one",
        "    two",
        "Body:----------------------------------",
        "body \xfe",
        ".dot",
        "",
    ]
    assert "header: <X-Fold: one\n  two>\n" in events
    assert "body: <body \xfe\n.dot\n>\n" in events


def test_options_win_over_the_mail_file(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    with client(tmp_path) as milter:
        server(milter.spec, "-m", tmp_path / "mail", "-f", "", "-r", "only@b.example", "-h", "X-A: b", "-b", "other\n")
        _, events, _ = milter.ended()
    assert "envelope-from: <<>>\n" in events
    assert events.count("envelope-recipient:") == 1
    assert events.index("header: <X-A: b>") < events.index("header: <From:")
    assert "body: <other\n>" in events


def test_several_messages_go_through_one_session_with_abort_in_between(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    with client(tmp_path, "--reply", "eom=550 5.7.1 no") as milter:
        result = server(milter.spec, "-m", tmp_path / "mail", "-m", tmp_path / "mail", "--n-messages", 2)
        _, events, _ = milter.ended()
    assert result.stdout.count(b"status: reject [550]<5.7.1>(no)\nelapsed-time: ") == 4
    assert result.returncode == 10
    assert [events.count(f"{event}\n") for event in ("data", "abort", "finished")] == [4, 4, 1]


def test_the_worst_outcome_is_the_exit_code_and_refused_recipients_are_named(tmp_path: Path) -> None:
    with client(tmp_path, "--reply", "rcpt=450 4.2.0 wait") as milter:
        result = server(milter.spec, "-v", "-r", "a@b", "-r", "c@d")
    assert result.returncode == 11
    assert masked(result.stdout).decode().splitlines() == [
        "status: temporary-failure [450]<4.2.0>(wait)",
        "elapsed-time: N seconds",
        "stage: envelope-recipient",
        "refused: <a@b> temporary-failure [450]<4.2.0>(wait)",
        "refused: <c@d> temporary-failure [450]<4.2.0>(wait)",
        "",
    ]


def test_threads_are_sessions_at_the_same_time_each_with_its_result(tmp_path: Path) -> None:
    with client(tmp_path) as milter:
        result = server(milter.spec, "-t", 5, "--n-messages", 2)
        _, events, _ = milter.ended()
    assert masked(result.stdout) == b"status: accept\nelapsed-time: N seconds\n\n" * 10
    assert result.returncode == 0
    assert events.count("finished\n") == 5


def test_the_default_conversation_is_printed_like_the_incumbents(tmp_path: Path) -> None:
    with client(tmp_path) as milter:
        server(milter.spec)
        exit_code, events, diagnostics = milter.ended()
    assert (exit_code, diagnostics) == (0, "")
    lines = [line for line in events.splitlines() if not line.startswith(("  ", "macros:", "La de", ">"))]
    assert lines[0].startswith("negotiate: version=<6>, action=<add-headers|")
    assert lines[0].endswith("|header-value-with-leading-space>")
    assert lines[1:] == [
        "connect: host=<mx.example.net>, address=<inet:50443@[192.168.123.123]>",
        "helo: <delian>",
        "envelope-from: <<sender@example.com>>",
        "envelope-recipient: <<receiver@example.org>>",
        "data",
        "header: <From: <sender@example.com>>",
        "header: <To: <receiver@example.org>>",
        "end-of-header",
        "body: <La de da de da 1.",
        "end-of-message",
        "abort",
        "finished",
    ]
    assert "address=<inet:50443@[192.168.123.123]>\nmacros:\n  j=mail.example.com\n" in events
    assert "  if_addr=127.0.0.1\n" in events
    assert "data\nmacros:\n  i=i\n" in events


def test_a_reader_that_goes_away_is_no_error(accepting: Client) -> None:
    script = '"$@" --n-messages 2000 | head -n 1'
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "bash", *command("test_server", "-s", accepting.spec)],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=TIMEOUT_S,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"status: accept\n", b"")


HEEDING_INTERRUPTS = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mmgr.cli.test_server import main
sys.exit(main())
"""
"""milter-test-server that heeds interrupts: a shell has its background jobs ignore them, and what they start too."""


@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_is_130_without_a_traceback(tmp_path: Path, threads: int) -> None:
    with client(tmp_path, "--reply", "data=hang") as milter:
        arguments = [sys.executable, "-c", HEEDING_INTERRUPTS, "-s", milter.spec, "-t", str(threads)]
        sending = subprocess.Popen(arguments, stderr=subprocess.PIPE, env=ENVIRONMENT)
        assert milter.process.stdout is not None
        while milter.process.stdout.readline() != b"data\n":
            pass
        sending.send_signal(signal.SIGINT)
        _, diagnostics = sending.communicate(timeout=TIMEOUT_S)
    assert (sending.returncode, diagnostics) == (130, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_client_ends_with_0_and_removes_its_socket(tmp_path: Path, number: int) -> None:
    with client(tmp_path, "--unix-socket-mode", "0606", "--pid-file", tmp_path / "pid") as milter:
        assert stat.S_IMODE((tmp_path / "client.sock").stat().st_mode) == 0o606
        assert int((tmp_path / "pid").read_text()) == milter.process.pid
        assert milter.ended(number)[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_the_client_replaces_a_stale_socket_and_steals_no_live_one(tmp_path: Path) -> None:
    with client(tmp_path) as milter:
        milter.process.kill()
        milter.process.wait()
    with client(tmp_path) as milter:
        second = subprocess.run(
            command("test_client", "-s", milter.spec), capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S
        )
        assert (second.returncode, second.stdout) == (1, b"")
        assert b"another process listens there" in second.stderr
        assert server(milter.spec).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "-s"),
        (["-s", "/s", "--reply", "nowhere=reject"], "'nowhere' is no stage"),
        (["-s", "/s", "--reply", "helo=maybe"], "'maybe' is no verdict"),
        (["-s", "/s", "--reply", "helo"], "STAGE=VERDICT"),
        (["-s", "/s", "--reply", "abort=reject"], "'abort' is no stage"),
        (["-s", "/s", "--no-reply", "eom"], "is always answered"),
        (["-s", "/s", "--insert-header", "A:b"], "INDEX:NAME:VALUE"),
        (["-s", "/s", "--unix-socket-mode", "888"], "888"),
        (["-s", "/s", "--unix-socket-group", "no-such-group"], "no-such-group"),
    ],
)
def test_wrong_usage_of_the_client_is_2(arguments: list[str], message: str) -> None:
    result = subprocess.run(command("test_client", *arguments), capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S)
    assert result.returncode == 2
    assert message in result.stderr.decode()


def test_the_clients_options_without_meaning_are_taken_with_a_warning(tmp_path: Path) -> None:
    options = ("--daemon", "--n-workers=2", "--event-loop-backend=libev", "--log-level=all", "--syslog")
    with client(tmp_path, *options) as milter:
        assert server(milter.spec).returncode == 0
        _, _, diagnostics = milter.ended()
    assert len(diagnostics.splitlines()) == len(options)
    assert "warning: --daemon has no meaning for milter-test-client; ignored" in diagnostics


def test_garbage_on_the_clients_socket_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    with client(tmp_path, "-v") as milter:
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(tmp_path / "client.sock"))
            stranger.sendall(b"EHLO mx\r\n")
            stranger.settimeout(TIMEOUT_S)
            assert stranger.recv(100) == b""
        assert server(milter.spec).returncode == 0
        _, events, diagnostics = milter.ended()
    assert "session 1: protocol error: packet length" in diagnostics
    assert "SMTP dialogue" in diagnostics
    assert "[1] finished\n" in events
    assert "[2] helo: <delian>\n" in events


def test_the_client_listens_on_tcp_too(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with client(tmp_path, spec=f"inet:{port}@127.0.0.1") as milter:
        assert server(milter.spec).returncode == 0


MILTERTEST = """\
local function main()
  local conn = mt.connect("unix:" .. sock); mt.set_timeout(30)
  mt.negotiate(conn, nil, nil, nil)
  mt.conninfo(conn, "client.test", "203.0.113.9"); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.helo(conn, "client.test"); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.macro(conn, SMFIC_MAIL, "i", "Q123")
  mt.mailfrom(conn, "<a@sender.test>"); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.rcptto(conn, "<u@example.test>"); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.data(conn); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.header(conn, "Subject", "hi"); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.eoh(conn); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.bodystring(conn, "hello\\r\\n"); assert(mt.getreply(conn) == SMFIR_CONTINUE)
  mt.eom(conn)
  assert(mt.getreply(conn) == SMFIR_REPLYCODE)
  assert(mt.eom_check(conn, MT_HDRADD, "X-Test", "added"))
  assert(mt.eom_check(conn, MT_HDRINSERT, "X-Top", "first"))
  assert(mt.eom_check(conn, MT_BODYCHANGE, "new\\r\\n"))
  assert(mt.eom_check(conn, MT_RCPTADD, "<new@example.test>"))
  assert(mt.eom_check(conn, MT_SMTPREPLY, "550", "5.7.1", "no"))
  mt.disconnect(conn)
end
local ok, problem = pcall(main)
mt.echo(ok and "passed" or ("failed: " .. tostring(problem)))
"""


@pytest.mark.skipif(shutil.which("miltertest") is None, reason="miltertest is not installed (package miltertest)")
def test_the_client_talks_with_miltertest(tmp_path: Path) -> None:
    (tmp_path / "script.lua").write_text(MILTERTEST)
    edits = (
        *("--add-header", "X-Test:added", "--insert-header", "0:X-Top:first", "--replace-body", "new\n"),
        *("--add-recipient", "<new@example.test>", "--reply", "eom=550 5.7.1 no"),
    )
    with client(tmp_path, *edits) as milter:
        result = subprocess.run(
            ["miltertest", "-D", f"sock={tmp_path}/client.sock", "-s", str(tmp_path / "script.lua")],
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        _, events, _ = milter.ended()
    assert (result.stdout, result.returncode) == (b"passed\n", 0)
    assert "envelope-from: <<a@sender.test>>\nmacros:\n  i=Q123\n" in events


@pytest.fixture(scope="module")
def pymilter() -> Iterator[PymilterChild]:
    """A child on libmilter."""
    with ExitStack() as stack:
        directory = stack.enter_context(LabDirectory())
        child = PymilterChild(directory.subdirectory("pymilter"))
        try:
            stack.enter_context(child)
        except ComponentMissing as missing:
            pytest.skip(str(missing))
        yield child


@pytest.mark.parametrize(
    ("asks", "status", "exit_code"),
    [
        ([], "accept", 0),
        (["accept"], "accept", 0),
        (["reject"], "reject [550]<5.7.1>(rejected by pymilter)", 10),
        (["reject-lines"], "reject [554]<5.7.9>(pymilter says no / 100%% sure / and that is that)", 10),
        (["tempfail"], "temporary-failure", 11),
        (["tempfail-text"], "temporary-failure [452]<4.3.1>(pymilter asks to try later)", 11),
        (["discard"], "discard", 12),
        (["quarantine strange"], "quarantine", 13),
        (["reject@header"], "reject [550]<5.7.1>(rejected by pymilter)", 10),
        (["discard@eoh"], "discard", 12),
        (["skip@body"], "accept", 0),
        (["progress"], "accept", 0),
    ],
)
def test_the_server_understands_libmilter(
    pymilter: PymilterChild, asks: list[str], status: str, exit_code: int
) -> None:
    headers = [option for ask in asks for option in ("-h", f"X-Ask: [pymilter: {ask}]")]
    result = server(pymilter.spec, *headers, "-b", "one\n", "-b", "two\n", "--n-messages", 2)
    assert result.stderr == b""
    assert result.stdout.decode().count(f"status: {status}\n") == 2
    assert result.returncode == exit_code


def test_the_edits_of_a_libmilter_child_are_shown(pymilter: PymilterChild) -> None:
    asks = ("insert-header 0 X-First ins", "change-header From 1 new@a", "change-sender n@a", "replace-body new")
    headers = [option for ask in asks for option in ("-h", f"X-Ask: [pymilter: {ask}]")]
    result = server(pymilter.spec, *headers, "--output-message")
    lines = result.stdout.decode().splitlines()
    assert result.returncode == 0
    for line in ("+ MAIL FROM:<n@a>", "+ X-First: ins", "+ From: new@a", "- From: <sender@example.com>", "new"):
        assert line in lines
    assert any(line.startswith("+ X-Py-Milter: pymilter queue-id=i") for line in lines)
