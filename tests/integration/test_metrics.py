"""The metrics of the real daemon: what is counted, where it is shown, what Prometheus' own tools say of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmgr.peers.behaviour import Behaviour, Hang
from mmgr.peers.mail import Message
from mmgr.protocol.constants import Command
from mmgr.protocol.replies import Reject, TempFail
from tests.integration.daemons import Makers, is_marked, kill_and_wait, session_named, title
from tests.integration.rig import Rig, marking
from tests.integration.test_control import ctl, told
from tests.support.daemon import CHECKOUT
from tests.support.processes import (
    ComponentMissing,
    Daemon,
    LabDirectory,
    connect_to,
    free_port,
    require_binary,
    wait_for,
)
from tests.unit.status.readings import Samples, samples

PREFIX = "milter_manager_"
ALERTS = CHECKOUT / "etc" / "prometheus" / "alerts.yml"
DASHBOARD = CHECKOUT / "etc" / "grafana" / "milter-manager.json"


def binary(name: str) -> str:
    """One of Prometheus' programs; without it the test is skipped with the reason."""
    try:
        return require_binary(f"/usr/bin/{name}", "prometheus")
    except ComponentMissing as missing:
        pytest.skip(str(missing))


def value(found: Samples, name: str, **labels: str) -> float:
    """Of one sample; 0 if it is not there."""
    return found.get((PREFIX + name, tuple(sorted(labels.items()))), 0.0)


def asked(rig: Rig) -> Samples:
    """The metrics as milter-managerctl prints them."""
    ran = ctl(rig, "metrics")
    assert (ran.returncode, ran.stderr) == (0, "")
    return samples(ran.stdout)


def until(rig: Rig, is_so: Callable[[Samples], bool]) -> Samples:
    """The metrics once they are so; workers count when they have a moment."""
    found: list[Samples] = []

    def probe() -> bool:
        found.append(asked(rig))
        return is_so(found[-1])

    wait_for(probe, "metrics as they should be", log=rig.manager.log_tail)
    return found[-1]


class _Connection(http.client.HTTPConnection):
    """To a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetched(spec: str) -> str:
    """The page on a socket."""
    kind, _, rest = spec.partition(":")
    made = _Connection(rest) if kind == "unix" else http.client.HTTPConnection("127.0.0.1", int(rest.split("@")[0]), 20)
    try:
        made.request("GET", "/metrics")
        answer = made.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        made.close()


def exporter_of(rig: Rig) -> list[int]:
    """The process that shows the metrics."""
    return [pid for pid in rig.manager.worker_pids() if title(pid) == "milter-manager: metrics"]


def shows(rig: Rig, spec: str) -> bool:
    """Are metrics given there?"""
    try:
        return "milter_manager_build_info" in fetched(spec)
    except (OSError, http.client.HTTPException):
        return False


@pytest.fixture
def spec(lab: LabDirectory) -> str:
    return f"unix:{lab.subdirectory('metrics')}/m.sock"


@pytest.fixture(scope="module")
def trio_with_metrics(lab: LabDirectory) -> Iterator[Rig]:
    """Three children, the second of which is impatiently waited for."""
    keys = {"c2": {"reading_timeout": "0.3", "fallback_status": "temporary-failure"}}
    with Rig(lab.subdirectory("counted"), keys=keys) as made:
        yield made


# ---- what is counted


def test_messages_and_answers_are_counted(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    before = asked(rig)
    rig.behave(c3=Behaviour(at={Command.SMFIC_MAIL: (Reject(),)}))
    rig.deliver(Message(), Message(), Message())

    def more(found: Samples, name: str, **labels: str) -> float:
        labels = {"stage": "mail", "verdict": "reject", **labels}
        return value(found, name, **labels) - value(before, name, **labels)

    found = until(rig, lambda found: more(found, "child_replies_total", child="c3") == 3)
    assert (more(found, "replies_total"), more(found, "child_replies_total", child="c1")) == (3, 0)


def test_recipients_that_are_refused_are_counted_whatever_becomes_of_the_message(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    rig.behave(c3=Behaviour(at={Command.SMFIC_RCPT: (TempFail(),)}))
    labels = {"child": "c3", "verdict": "temporary-failure"}
    before = value(asked(rig), "child_recipients_refused_total", **labels)
    rig.deliver(Message(), Message())
    until(rig, lambda found: value(found, "child_recipients_refused_total", **labels) == before + 2)


def test_a_session_that_conditions_let_pass_is_counted_as_stopped(lab: LabDirectory) -> None:
    keys = {"c1": {"applicable_conditions": "Remote Network"}}
    with Rig(lab.subdirectory("local"), ["c1"], keys=keys) as rig:
        rig.deliver()
        labels = {"child": "c1", "stage": "connect", "verdict": "stopped"}
        found = until(rig, lambda found: value(found, "child_replies_total", **labels) >= 1)
        assert value(found, "child_connects_total", child="c1", result="connected") == 0


def test_the_times_of_answers_are_a_histogram(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    rig.behave()
    labels = {"child": "c1", "stage": "end-of-message"}
    before = value(asked(rig), "child_stage_seconds_count", **labels)
    rig.deliver(Message(), Message())
    found = until(rig, lambda found: value(found, "child_stage_seconds_count", **labels) == before + 2)
    assert value(found, "child_stage_seconds_bucket", le="+Inf", **labels) == before + 2


def test_edits_are_counted_by_their_kind(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    rig.behave(c1=marking("c1"))
    before = value(asked(rig), "child_edits_total", child="c1", kind="add-header")
    rig.deliver(Message(), Message())
    until(rig, lambda found: value(found, "child_edits_total", child="c1", kind="add-header") == before + 2)


def test_a_deadline_that_is_hit_is_a_failure_and_a_fallback(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    rig.behave(c2=Behaviour(at={Command.SMFIC_MAIL: (Hang(),)}))
    failure = {"child": "c2", "stage": "mail", "kind": "timeout"}
    before = asked(rig)
    rig.deliver()

    def is_counted(found: Samples) -> bool:
        return value(found, "child_failures_total", **failure) == value(before, "child_failures_total", **failure) + 1

    found = until(rig, is_counted)
    fallback = {"child": "c2", "status": "temporary-failure"}
    assert value(found, "child_fallbacks_total", **fallback) > value(before, "child_fallbacks_total", **fallback)


def test_connections_are_counted_by_what_came_of_them(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    rig.behave()
    before = asked(rig)
    with rig.down("c1", leaves_socket=True):
        rig.deliver()
    rig.forget()
    rig.deliver()

    def more(found: Samples, result: str) -> float:
        labels = {"child": "c1", "result": result}
        return value(found, "child_connects_total", **labels) - value(before, "child_connects_total", **labels)

    until(rig, lambda found: (more(found, "unavailable"), more(found, "connected")) == (1, 1))


def test_a_healthy_child_is_connected_once_a_session_whichever_way_it_goes(trio_with_metrics: Rig) -> None:
    rig = trio_with_metrics
    rig.behave()
    labels = {"child": "c1", "result": "connected"}
    before = value(asked(rig), "child_connects_total", **labels)
    for _ in range(6):  # the first of each worker the long way, all further ones the short way
        rig.deliver()
    until(rig, lambda found: value(found, "child_connects_total", **labels) == before + 6)


def test_workers_are_counted_by_what_they_do_and_were_started_for(make: Makers) -> None:
    rig = make.running(n_workers=2)
    assert is_well_once(rig)
    found = asked(rig)
    assert value(found, "worker_starts_total", reason="start") == 2
    kill_and_wait(rig, rig.manager.worker_pids()[0])
    with session_named(rig, "busy.example.net"):
        found = until(rig, lambda found: value(found, "workers", state="busy") == 1)
    assert value(found, "workers", state="idle") == 1
    assert value(found, "worker_starts_total", reason="death") == 1


def is_well_once(rig: Rig) -> bool:
    with rig.session() as session:
        return is_marked(session)


def test_a_reload_and_a_refused_one_are_told_apart(make: Makers) -> None:
    rig = make.running()
    assert ctl(rig, "reload").returncode == 0
    found = asked(rig)
    assert (value(found, "config_generation"), value(found, "config_last_reload_successful")) == (2, 1)
    rig.manager.write_config({}, extra_config="[manager]\nno_such_key = 1\n")
    assert ctl(rig, "reload").returncode == 1
    found = asked(rig)
    assert (value(found, "config_generation"), value(found, "config_last_reload_successful")) == (2, 0)
    assert [value(found, "config_reloads_total", result=result) for result in ("done", "refused")] == [1, 1]


def test_connections_that_wait_are_seen(make: Makers) -> None:
    rig = make.running(n_workers=1)
    with session_named(rig, "busy.example.net"), connect_to(rig.manager.spec), connect_to(rig.manager.spec):
        found = asked(rig)
        if (PREFIX + "backlog_connections", (("listener", rig.manager.spec),)) not in found:
            pytest.skip("this kernel does not tell")
        assert value(found, "backlog_connections", listener=rig.manager.spec) == 2


def test_no_counter_goes_backwards_over_deaths_and_reloads(make: Makers) -> None:
    rig = make.running()
    rig["c1"].behaviour = marking("c1")
    before = asked(rig)
    for _ in range(3):
        assert is_well_once(rig)
        kill_and_wait(rig, rig.manager.worker_pids()[0])
        rig.manager.renew_workers()
        found = asked(rig)
        counters = [key for key in before if key[0].endswith(("_total", "_count", "_bucket", "_sum"))]
        assert [key for key in counters if found.get(key, -1.0) < before[key]] == []
        before = found


def test_the_numbers_of_a_child_that_left_the_configuration_stay(make: Makers) -> None:
    rig = make.running()
    labels = {"child": "c1", "stage": "end-of-message", "verdict": "continue"}
    assert is_well_once(rig)
    until(rig, lambda found: value(found, "child_replies_total", **labels) == 1)
    rig.manager.write_config({})
    rig.manager.renew_workers()
    found = asked(rig)
    assert value(found, "child_replies_total", **labels) == 1
    assert not any(name == PREFIX + "child_info" for name, _ in found)


def test_the_object_has_what_the_text_is_made_of(make: Makers) -> None:
    rig = make.running()
    assert told(rig, "metrics")["generation"] == 1


# ---- where it is shown


def test_the_socket_shows_what_the_command_prints(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec}})
    names = {name for name, _ in samples(fetched(spec))}
    assert names == {name for name, _ in asked(rig)}


def test_without_the_section_there_is_no_process_for_it(make: Makers) -> None:
    assert exporter_of(make.running()) == []


def test_a_unix_socket_has_its_mode_and_is_gone_in_the_end(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec, "unix_socket_mode": "0600"}})
    path = Path(spec.partition(":")[2])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rig.manager.stop() == 0
    assert not path.exists()
    rig.manager.assert_nothing_left()


def test_a_process_that_is_killed_is_started_again_and_nobody_is_turned_away(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec}})
    for _ in range(2):
        (pid,) = wait_for(lambda: exporter_of(rig), "the process with the metrics", log=rig.manager.log_tail)
        os.kill(pid, signal.SIGKILL)
        assert "milter_manager_build_info" in fetched(spec)
        assert is_well_once(rig)
        wait_for(lambda pid=pid: exporter_of(rig) not in ([], [pid]), "another one", log=rig.manager.log_tail)
    rig.manager.wait_for_log("companion-died name=metrics ", 2)


def test_workers_know_nothing_of_its_socket(make: Makers) -> None:
    port = free_port()
    rig = make.running(sections={"metrics": {"connection_spec": f"inet:{port}@127.0.0.1"}})
    before = set(rig.manager.worker_pids()) - set(exporter_of(rig))
    assert ctl(rig, "reload").returncode == 0
    wait_for(lambda: not before & set(rig.manager.worker_pids()), "end of the old workers", log=rig.manager.log_tail)
    holders = [
        title(pid)
        for pid in rig.manager.worker_pids()
        if any(one.laddr and one.laddr.port == port for one in psutil.Process(pid).net_connections("inet"))
    ]
    assert holders == ["milter-manager: metrics"]


def test_a_reload_moves_it_switches_it_off_and_on_again(make: Makers, lab: LabDirectory) -> None:
    directory = lab.subdirectory("metrics")
    first, second = f"unix:{directory}/1.sock", f"unix:{directory}/2.sock"
    rig = make.running(sections={"metrics": {"connection_spec": first}})
    assert shows(rig, first)
    seen = []
    for settings in ({"metrics": {"connection_spec": second}}, {}, {"metrics": {"connection_spec": first}}):
        rig.manager.write_config(rig.child_keys(), settings)
        assert ctl(rig, "reload").returncode == 0
        seen.append((shows(rig, first), shows(rig, second)))
        assert is_well_once(rig)
    assert seen == [(False, True), (False, False), (True, False)]
    assert "companion-died" not in rig.manager.log_text()


def test_switched_off_there_is_no_process_left(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec}})
    wait_for(lambda: exporter_of(rig), "the process with the metrics", log=rig.manager.log_tail)
    rig.manager.write_config(rig.child_keys())
    assert ctl(rig, "reload").returncode == 0
    wait_for(lambda: exporter_of(rig) == [], "the end of the process with the metrics", log=rig.manager.log_tail)


def test_a_reload_to_a_socket_that_is_taken_is_refused_and_changes_nothing(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec}})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = f"inet:{taken.getsockname()[1]}@127.0.0.1"
        rig.manager.write_config(rig.child_keys(), {"metrics": {"connection_spec": other}})
        assert "another process listens there already" in ctl(rig, "reload").stderr
    assert shows(rig, spec)


def test_a_socket_that_others_could_reach_is_refused_at_the_start(make: Makers) -> None:
    rig = make.rig(sections={"metrics": {"connection_spec": "inet:9745"}}, extra_args=("--check-config",))
    rig.manager.spawn()
    assert rig.manager.wait() == 78
    assert "metrics.connection_spec: inet:9745 may be connected from other machines" in rig.manager.log_text()


def test_the_file_is_written_again_and_again_and_is_gone_in_the_end(make: Makers, lab: LabDirectory) -> None:
    path = lab.subdirectory("textfile") / "milter-manager.prom"
    os.chmod(path.parent, 0o777)
    rig = make.running(sections={"metrics": {"file": str(path), "file_interval": "0.1"}})
    wait_for(path.exists, "the file", log=rig.manager.log_tail)
    assert is_well_once(rig)
    wait_for(lambda: value(samples(path.read_text()), "sessions_total") >= 1, "a session in the file")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert rig.manager.stop() == 0
    assert list(path.parent.iterdir()) == []


def test_a_file_that_a_reload_moves_is_gone_from_its_old_place(make: Makers, lab: LabDirectory) -> None:
    directory = lab.subdirectory("textfile")
    old, new = directory / "old.prom", directory / "new.prom"
    os.chmod(directory, 0o777)
    rig = make.running(sections={"metrics": {"file": str(old), "file_interval": "0.01"}})
    wait_for(old.exists, "the file", log=rig.manager.log_tail)
    rig.manager.write_config(rig.child_keys(), {"metrics": {"file": str(new), "file_interval": "60"}})
    assert ctl(rig, "reload").returncode == 0
    wait_for(new.exists, "the file in its new place", log=rig.manager.log_tail)
    assert list(directory.iterdir()) == [new]


def test_a_file_that_can_not_be_written_is_told_and_mail_flows(make: Makers, lab: LabDirectory) -> None:
    path = lab.subdirectory("textfile") / "nowhere" / "milter-manager.prom"
    rig = make.running(sections={"metrics": {"file": str(path), "file_interval": "0.1"}})
    rig.manager.wait_for_log("metrics-file-failed path=")
    assert is_well_once(rig)


def test_with_the_master_goes_who_shows_its_metrics(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec}})
    (pid,) = wait_for(lambda: exporter_of(rig), "the process with the metrics")
    os.kill(rig.manager.pid, signal.SIGKILL)
    rig.manager.wait()
    wait_for(lambda: not psutil.pid_exists(pid), "its end")


def test_those_who_sit_there_silent_keep_nobody_out(make: Makers, spec: str) -> None:
    rig = make.running(sections={"metrics": {"connection_spec": spec}})
    silent = [connect_to(spec) for _ in range(30)]
    try:
        assert shows(rig, spec)
        assert is_well_once(rig)
    finally:
        for one in silent:
            one.close()


# ---- Prometheus' own tools


def test_promtool_finds_nothing_to_complain_of(trio_with_metrics: Rig) -> None:
    tool = binary("promtool")
    rig = trio_with_metrics
    rig.behave(c1=marking("c1"), c2=Behaviour(at={Command.SMFIC_MAIL: (Hang(),)}))
    rig.deliver()
    until(rig, lambda found: any(name == PREFIX + "child_failures_total" for name, _ in found))
    text = ctl(rig, "metrics").stdout
    ran = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_promtool_takes_the_alert_rules() -> None:
    ran = subprocess.run([binary("promtool"), "check", "rules", str(ALERTS)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_alerts_come_when_they_should() -> None:
    rules = CHECKOUT / "tests" / "integration" / "alerts.test.yml"
    ran = subprocess.run([binary("promtool"), "test", "rules", str(rules)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    tool = binary("promtool")
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [one["expr"] for one in dashboard["annotations"]["list"]]
    texts = [re.sub(r"\$\w+", "x", query.replace("$__rate_interval", "5m")) for query in queries]
    rules = [{"record": f"q{number}", "expr": text} for number, text in enumerate(texts)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "q", "rules": rules}]}), "utf-8")
    ran = subprocess.run([tool, "check", "rules", str(path)], capture_output=True, text=True)
    assert (ran.returncode, f"{len(rules)} rules found" in ran.stdout) == (0, True), ran.stdout + ran.stderr


class Prometheus(Daemon):
    """A Prometheus that scrapes one target every second and goes by our alert rules."""

    binary = "/usr/bin/prometheus"
    package = "prometheus"

    def __init__(self, directory: Path, target: str) -> None:
        super().__init__(directory)
        self._target = target
        self._url = f"http://127.0.0.1:{free_port()}"

    def prepare(self) -> None:
        jobs = [{"job_name": "milter-manager", "static_configs": [{"targets": [self._target]}]}]
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        rules = self.directory / "rules.yml"
        rules.write_bytes(ALERTS.read_bytes())
        config = {"global": every, "scrape_configs": jobs, "rule_files": [str(rules)]}
        (self.directory / "prometheus.yml").write_text(json.dumps(config), "utf-8")

    def command(self) -> list[str]:
        options = [f"--config.file={self.directory}/prometheus.yml", f"--storage.tsdb.path={self.directory}/data"]
        return [self.binary, *options, f"--web.listen-address={self._url.partition('//')[2]}"]

    def is_ready(self) -> bool:
        return self.asked("/-/ready") is not None

    def query(self, text: str) -> list[dict[str, Any]]:
        """What comes of a query."""
        found = self.asked(f"/api/v1/query?{urllib.parse.urlencode({'query': text})}")
        result: list[dict[str, Any]] = json.loads(found)["data"]["result"] if found else []
        return result

    def asked(self, path: str) -> bytes | None:
        """What it says, None if it says nothing yet."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=10) as answer:
                said: bytes = answer.read()
                return said
        except OSError:
            return None


def test_a_real_prometheus_scrapes_it(make: Makers, lab: LabDirectory) -> None:
    binary("prometheus")
    port = free_port()
    target = f"127.0.0.1:{port}"
    rig = make.running(sections={"metrics": {"connection_spec": f"inet:{port}@127.0.0.1"}})
    assert is_well_once(rig)
    with Prometheus(lab.subdirectory("prometheus"), target) as running:

        def sample(text: str) -> dict[str, Any]:
            return wait_for(lambda: running.query(text), text, 60.0, running.log_tail)[0]

        assert sample(f'up{{instance="{target}"}} == 1')["metric"]["job"] == "milter-manager"
        assert sample("milter_manager_config_generation")["value"][1] == "1"
        assert sample('milter_manager_child_edits_total{child="c1",kind="add-header"} == 1')
        assert sample("histogram_quantile(0.5, milter_manager_child_stage_seconds_bucket) >= 0")
        assert running.query('ALERTS{alertstate="firing"}') == []
