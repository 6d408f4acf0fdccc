"""The log analyzer with real rrdtool: what stands in the databases after runs of all kinds, and the pictures."""

from __future__ import annotations

import gzip
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mmgr.analyzer.faults import AlreadyRunning
from mmgr.analyzer.graphs import COLOURS
from mmgr.analyzer.run import Summary, Wishes, analyze
from mmgr.peers.behaviour import Behaviour, at_stages
from mmgr.peers.mail import Message
from mmgr.protocol.replies import Reject
from tests.integration.daemons import Makers
from tests.support.png import colours_of, size_of
from tests.support.processes import wait_for
from tests.unit.analyzer.lines import own, syslog, transaction

ROOT = Path(__file__).resolve().parents[2]
RRDTOOL = shutil.which("rrdtool") or ""
NOW = time.time() // 60 * 60 - 30
"""In the middle of a minute that is over."""

pytestmark = pytest.mark.skipif(not RRDTOOL, reason="rrdtool is not installed")


def update(logs: Sequence[Path], directory: Path, now: float = NOW) -> Summary:
    """The databases alone, in this process, at a time of the test's own."""
    return analyze([str(log) for log in logs], directory, now, Wishes(draws=False))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mmgr.cli.log_analyzer", *map(str, arguments)]


def run(*arguments: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    """The command as a process that has ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command(*arguments), **{"capture_output": True, "env": environment, "timeout": 60, **more}
    )


def minutes(database: Path, field: str, function: str = "AVERAGE") -> dict[int, float]:
    """The known values of a day but zeros, by the beginnings of their minutes."""
    end = int(time.time()) + 300
    words = [RRDTOOL, "fetch", str(database), function, "-r", "60", "-s", str(end - 86400), "-e", str(end)]
    head, *rows = subprocess.run(words, check=True, capture_output=True).stdout.decode().splitlines()
    column = head.split().index(field) + 1
    found = {}
    for row in rows:
        cells = row.replace(":", " ").split()
        if cells and not math.isnan(value := float(cells[column])) and value:
            found[int(cells[0]) - 60] = value
    return found


def total(directory: Path, name: str, field: str) -> float:
    """What a field of a database comes to in the last day."""
    return sum(minutes(directory / f"{name}.rrd", field).values())


def log_of(count: int, ends_at: float = NOW - 300, verdict: str = "accept", first: int = 0) -> list[bytes]:
    """One line every ten seconds."""
    start = ends_at - 10 * count
    return [syslog(transaction(f"7.{first + n}", verdict), start + 10 * n) for n in range(count)]


def test_what_a_daemon_logged_stands_in_the_databases(make: Makers, tmp_path: Path) -> None:
    rig = make.running(1)
    rig.deliver()
    rig["c1"].behaviour = Behaviour(at=at_stages(eom=[Reject()]))
    rig.deliver(Message())
    rig.deliver(Message())
    log = tmp_path / "log"
    log.write_bytes(wait_for(lambda: _with_transactions(rig.manager.log_text(), 3), "three transactions in the log"))
    out = tmp_path / "out"
    update([log], out, time.time() + 180)
    said = [(name, total(out, name, field)) for name, field in (("session", "message"), ("milter.status.c1", "reject"))]
    assert said == [("session", 3), ("milter.status.c1", 2)]


def _with_transactions(text: str, count: int) -> bytes:
    return text.encode() if text.count(" transaction ") >= count else b""


def test_each_count_is_in_its_minute(tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    minute = int(NOW) // 60 * 60 - 600
    log.write_bytes(syslog(transaction("7.1"), minute) * 2 + syslog(transaction("7.2"), minute + 179))
    update([log], tmp_path / "out", NOW)
    assert minutes(tmp_path / "out/session.rrd", "message") == {minute: 2, minute + 120: 1}


def test_times_are_averages_and_maxima_of_their_minutes(tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    minute = int(NOW) // 60 * 60 - 600
    log.write_bytes(b"".join(syslog(transaction(elapsed_s=seconds), minute) for seconds in (0.25, 0.75)))
    update([log], tmp_path / "out", NOW)
    database = tmp_path / "out/milter-manager.latency.rrd"
    assert [list(minutes(database, field).values()) for field in ("average", "maximum")] == [[0.5], [0.75]]


def test_many_runs_come_to_the_same_as_one(tmp_path: Path) -> None:
    lines, log = log_of(200), tmp_path / "maillog"
    for end in range(20, 201, 20):
        log.write_bytes(b"".join(lines[:end]))
        update([log], tmp_path / "many", NOW - 300 - (200 - end) * 10)
    update([log], tmp_path / "many", NOW)
    update([log], tmp_path / "one", NOW)
    assert minutes(tmp_path / "many/session.rrd", "smtp") == minutes(tmp_path / "one/session.rrd", "smtp")


def test_a_minute_that_is_not_over_counts_once_it_is(tmp_path: Path) -> None:
    log, minute = tmp_path / "maillog", int(NOW) // 60 * 60 - 600
    log.write_bytes(syslog(transaction("7.1"), minute + 5))
    update([log], tmp_path, minute + 10)
    with log.open("ab") as file:
        file.write(syslog(transaction("7.2"), minute + 50))
    update([log], tmp_path, minute + 130)
    assert minutes(tmp_path / "session.rrd", "smtp") == {minute: 2}


def piped(directory: Path, data: bytes, now: float) -> None:
    """A run whose standard input is a pipe, at a time of the test's own."""
    code = "from pathlib import Path; from mmgr.analyzer.run import Wishes, analyze; "
    code += f"analyze(['-'], Path({str(directory)!r}), {now}, Wishes(draws=False))"
    subprocess.run([sys.executable, "-c", code], input=data, cwd=ROOT, check=True, timeout=60)


def test_a_log_that_is_piped_in_whole_again_and_again_counts_once(tmp_path: Path) -> None:
    lines = log_of(60)
    for end in (20, 33, 33, 60):
        piped(tmp_path, b"".join(lines[:end]), NOW - 300 - (60 - end) * 10)
    piped(tmp_path, b"".join(lines), NOW)
    assert total(tmp_path, "session", "message") == 60


def test_the_journal_piped_in_with_overlaps_counts_once(tmp_path: Path) -> None:
    entries = [
        json.dumps(
            {
                "__REALTIME_TIMESTAMP": str(int((NOW - 900 + n) * 1e6)),
                "SYSLOG_IDENTIFIER": "milter-manager",
                "MESSAGE": message,
            }
        ).encode()
        + b"\n"
        for n in range(60)
        for message in (transaction(f"7.{n}"), own(transaction(f"7.{n}"), NOW - 900 + n))
    ]
    for start, end in ((0, 80), (40, 120), (100, 120)):
        piped(tmp_path, b"".join(entries[start:end]), NOW - 899 + end // 2)
    piped(tmp_path, b"", NOW)
    assert total(tmp_path, "session", "message") == 60


def test_a_log_on_standard_input_is_read_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    log, lines = tmp_path / "maillog", log_of(40)
    for end in (31, 40):
        log.write_bytes(b"".join(lines[:end]))
        with log.open("rb") as file:
            said = run("--output-directory", tmp_path / "out", "-v", stdin=file).stdout
    assert said.splitlines()[0] == b"lines read: 9"
    assert total(tmp_path / "out", "session", "message") == 40


def test_rotated_and_compressed_logs_count_in_any_order(tmp_path: Path) -> None:
    lines = log_of(90)
    (tmp_path / "maillog").write_bytes(b"".join(lines[60:]))
    (tmp_path / "maillog-1").write_bytes(b"".join(lines[30:60]))
    (tmp_path / "maillog-2.gz").write_bytes(gzip.compress(b"".join(lines[:30])))
    given = [f"--log={tmp_path}/{name}" for name in ("maillog", "maillog-1", "maillog-2.gz")]
    assert run(*given, "--output-directory", tmp_path / "out").returncode == 0
    assert total(tmp_path / "out", "session", "message") == 90


def test_hostile_bytes_around_our_lines_do_no_harm(tmp_path: Path) -> None:
    noise = bytes(range(256)) * 40
    log = tmp_path / "maillog"
    log.write_bytes((noise + b"\n").join(log_of(30)) + noise)
    update([log], tmp_path / "out", NOW)
    assert total(tmp_path / "out", "session", "message") == 30


def test_a_milter_of_a_hostile_name_stays_inside_the_directory(tmp_path: Path) -> None:
    name = "../../<b>$(x)`x`'\\:%s\u00e9"
    log, out = tmp_path / "maillog", tmp_path / "a/b/out"
    log.write_bytes(syslog(transaction(children=f"{name}:accept:0.1000"), NOW - 300))
    summary = analyze([str(log)], out, NOW)
    assert summary.n_graphs == 20
    assert {path.name for path in tmp_path.iterdir()} == {"maillog", "a"}


def test_a_year_of_log_goes_into_the_databases_in_bounded_memory(tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    start = NOW - 300 * 86400
    log.write_text("".join(own(transaction(f"7.{n}"), start + n * 3600) + "\n" for n in range(7000)))
    summary = update([log], tmp_path / "out", NOW)
    assert (summary.n_counted, summary.n_late) == (7000, 0)


def test_time_without_mail_is_zero_and_not_unknown(tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    log.write_bytes(syslog(transaction("7.1"), NOW - 7200) + syslog(transaction("7.2"), NOW - 3600))
    update([log], tmp_path / "out", NOW)
    words = [RRDTOOL, "fetch", f"{tmp_path}/out/session.rrd", "AVERAGE", "-r", "60"]
    words += ["-s", str(int(NOW) - 7000), "-e", str(int(NOW) - 3700)]
    said = subprocess.run(words, check=True, capture_output=True).stdout.decode()
    first = [line.split()[1] for line in said.splitlines() if ":" in line]
    assert "nan" not in "".join(first)


def test_the_databases_of_milter_manager_2_go_on(tmp_path: Path) -> None:
    fields = ("pass", "accept", "reject", "discard", "temporary_failure", "quarantine", "abort", "error")
    start = int(NOW) // 60 * 60 - 1200
    words = [RRDTOOL, "create", f"{tmp_path}/milter-manager.status.rrd", "--start", str(start), "--step", "60"]
    words += [f"DS:{field}:GAUGE:120:0:U" for field in fields]
    subprocess.run([*words, "RRA:AVERAGE:0.5:1:1500"], check=True)
    values = ":".join(["5"] * len(fields))
    subprocess.run([RRDTOOL, "update", f"{tmp_path}/milter-manager.status.rrd", f"{start + 60}:{values}"], check=True)
    log = tmp_path / "maillog"
    log.write_bytes(syslog(transaction(verdict="shutdown"), start + 300) + syslog(transaction(), start + 300))
    update([log], tmp_path, NOW)
    assert minutes(tmp_path / "milter-manager.status.rrd", "accept") == {start: 5, start + 300: 1}
    assert minutes(tmp_path / "milter-manager.status.rrd", "shutdown") == {start + 300: 1}


def test_the_statistics_of_milter_manager_2_count_when_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    said = ("[session][end][end-of-message][pass][0.1](1)", "[milter][header][add](2): <X-Spam-Flag=YES>: spamass")
    log.write_bytes(b"".join(syslog(f"[statistics] {each}", NOW - 600) for each in said))
    assert run("--statistics", "--log", log, "--output-directory", tmp_path / "out").returncode == 0
    assert total(tmp_path / "out", "milter.report.spamass", "spam") == 1


# ---- pictures


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory after a run with two verdicts."""
    directory = tmp_path_factory.mktemp("drawn")
    log = directory / "maillog"
    log.write_bytes(b"".join(log_of(2000, NOW - 10000) + log_of(900, NOW - 300, "reject", 5000)))
    analyze([str(log)], directory, NOW)
    return directory


def test_each_database_has_four_graphs_and_the_page_shows_them(drawn: Path) -> None:
    page = (drawn / "index.html").read_text("utf-8")
    graphs = {path.name for path in drawn.glob("*.png")}
    assert graphs == {f"{path.stem}.{p}.png" for path in drawn.glob("*.rrd") for p in ("day", "week", "month", "year")}
    assert all(f'src="{name}"' in page for name in graphs)


@pytest.mark.parametrize("period", ["day", "week"])
def test_a_graph_has_areas_in_the_colours_of_what_was_counted(drawn: Path, period: str) -> None:
    found = colours_of((drawn / f"milter-manager.status.{period}.png").read_bytes())
    areas = [found[bytes.fromhex(COLOURS[status])] for status in ("accept", "reject", "discard")]
    assert areas[0] > 500
    assert areas[1] > 500
    assert areas[2] < 200  # the square in the legend alone


def test_a_graph_is_as_large_as_a_page_can_show(drawn: Path) -> None:
    width, height = size_of((drawn / "session.day.png").read_bytes())
    assert 600 < width < 800
    assert 200 < height < 400


def test_graphs_are_drawn_anew_without_a_log(drawn: Path) -> None:
    (drawn / "session.day.png").unlink()
    assert run("--no-update-db", "--output-directory", drawn, stdin=subprocess.DEVNULL).returncode == 0
    assert (drawn / "session.day.png").exists()


# ---- what goes wrong


def databases(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix in (".rrd", ".json")}


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A directory with a log of which the first whole minutes are in the databases in ``out``."""
    lines, log = log_of(100), tmp_path / "maillog"
    log.write_bytes(b"".join(lines[:49]))
    update([log], tmp_path / "out", NOW)
    log.write_bytes(b"".join(lines))
    return tmp_path


def finish(begun: Path) -> float:
    """What is in the databases after a run in which nothing goes wrong."""
    update([begun / "maillog"], begun / "out")
    return total(begun / "out", "session", "message")


def test_without_rrdtool_it_says_what_to_install(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": str(tmp_path)}
    ended = run("--output-directory", tmp_path, env=environment, input=b"")
    assert ended.returncode == 69
    assert b"dnf install rrdtool" in ended.stderr


@pytest.mark.parametrize("kilobytes", [1, 100, 400])
def test_files_that_can_not_grow_leave_the_databases_as_they_were(begun: Path, kilobytes: int) -> None:
    before = databases(begun / "out")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))

    ended = run("--log", begun / "maillog", "--output-directory", begun / "out", preexec_fn=limit)
    assert ended.returncode == 74
    assert databases(begun / "out") == before
    assert finish(begun) == 100


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the databases, and hardly more."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("left_kb", [0, 64, 512, 1000, 1800, 2100, 2400])
def test_a_full_disk_leaves_the_databases_as_they_were(small_disk: Path, tmp_path: Path, left_kb: int) -> None:
    """The last of them have room for copies of what there is, and not for the databases of a new milter."""
    lines, log, out = log_of(100), tmp_path / "maillog", small_disk / "out"
    log.write_bytes(b"".join(lines[:49]))
    update([log], out, NOW)
    before = databases(out)
    log.write_bytes(b"".join(line.replace(b"greylist:", b"a-new-one:") for line in lines[49:]))
    leave_free(small_disk, left_kb)
    ended = run("--log", log, "--output-directory", out)
    assert ended.returncode == 74, ended.stderr
    assert databases(out) == before
    (small_disk / "filler").unlink()
    update([log], out, NOW)
    assert total(out, "session", "message") == 100


def leave_free(place: Path, kilobytes: int) -> None:
    found = os.statvfs(place)
    (place / "filler").write_bytes(bytes(found.f_bavail * found.f_frsize - kilobytes * 1024))


def test_a_run_that_is_killed_leaves_the_databases_as_they_were(begun: Path) -> None:
    before = databases(begun / "out")
    stuck = begun / "bin/rrdtool"
    stuck.parent.mkdir()
    stuck.write_text(f"#!/bin/sh\n: >{begun}/started\nexec cat >/dev/null\n")
    stuck.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{stuck.parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command("--log", begun / "maillog", "--output-directory", begun / "out"), env=environment
    )
    wait_for((begun / "started").exists, "a run that waits for rrdtool")
    with pytest.raises(AlreadyRunning):
        update([begun / "maillog"], begun / "out")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert databases(begun / "out") == before
    assert finish(begun) == 100


def test_an_rrdtool_that_ends_in_the_middle_is_said(begun: Path) -> None:
    bad = begun / "bin/rrdtool"
    bad.parent.mkdir()
    bad.write_text("#!/bin/sh\nread -r line\necho 'lib\033[2Jproblem'\n")
    bad.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{bad.parent}:{os.environ['PATH']}"}
    ended = run("--log", begun / "maillog", "--output-directory", begun / "out", env=environment)
    assert ended.returncode == 1
    assert b"ended in the middle of its work" in ended.stderr
    assert b"\033" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--log", "/nosuch"), 66, b"can't open /nosuch: No such file"),
        (("--log", "/dev/null", "--output-directory", "/proc/x"), 74, b"can't write in /proc/x"),
        (("--nosuch",), 2, b"unrecognized"),
    ],
)
def test_what_can_not_be_done_has_its_exit_code(
    tmp_path: Path, arguments: Sequence[str], code: int, text: bytes
) -> None:
    ended = run("--output-directory", tmp_path, *arguments)
    assert ended.returncode == code
    assert text in ended.stderr


def test_a_database_that_is_damaged_is_named(begun: Path) -> None:
    (begun / "out/session.rrd").write_bytes(b"no database")
    ended = run("--log", begun / "maillog", "--output-directory", begun / "out")
    assert ended.returncode == 1
    assert b"session.rrd" in ended.stderr
