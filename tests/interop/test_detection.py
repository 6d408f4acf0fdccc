"""The milters of Debian 12 as apt installs them: found without any configuration, and those in use see the mail.

Judges are the package database, ``systemctl is-enabled``, and the sockets on which the daemons listen when their own
unit or script starts them. Nothing is changed on the machine itself: a real systemd is booted on a copy that is
forgotten afterwards, or a part of the tree is copied. So it does not matter what runs here already.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import judges
from tests.support.booted import BootedMachine, CannotBoot
from tests.support.lab import Lab
from tests.support.mailsite import Site, took_part
from tests.support.processes import ComponentMissing, LabDirectory
from tests.support.smtp import new_mail

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

JUDGES = "tests.support.judges"
SCRIPTS = {"clamav-milter", "spamass-milter"}  # these packages have no unit of their own
COPIED = ["/etc/systemd", "/etc/init.d", "/etc/default", "/etc/clamav", "/etc/rspamd", "/etc/opendkim.conf"]
COPIED += ["/etc/opendmarc.conf", "/etc/os-release", "/usr/lib/os-release", "/usr/lib/systemd/system", "/lib", "/sbin"]
PROGRAMS = ("postfix", "clamav-milter", "spamass-milter")


def need(name: str) -> None:
    """Skips the test where a milter is not installed."""
    for program in ("dpkg-query", "systemctl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}: this is not a Debian with systemd")
    if name not in judges.installed():
        pytest.skip(f"package {name} is not installed")


@pytest.fixture(params=judges.DISTRIBUTED)
def name(request: pytest.FixtureRequest) -> str:
    """Each milter that Debian has and the tests install."""
    need(request.param)
    return str(request.param)


@contextmanager
def booted() -> Iterator[BootedMachine]:
    with LabDirectory() as lab:
        for each in ("machine", "shared"):
            (lab.path / each).mkdir()
        try:
            with BootedMachine(lab.path / "machine", lab.path / "shared") as made:
                yield made
        except (ComponentMissing, CannotBoot) as reason:
            pytest.skip(f"no machine can be booted here: {reason}")


@pytest.fixture
def machine() -> Iterator[BootedMachine]:
    """A machine where nothing was changed yet and no milter runs."""
    with booted() as made:
        yield made


def detected(machine: BootedMachine, name: str) -> dict[str, object]:
    """What detection says of one milter there."""
    found: dict[str, object] = machine.call(f"{JUDGES}:detected")[name]
    return found


def in_use(machine: BootedMachine) -> dict[str, object]:
    """What detection says there of each milter: whether it is used."""
    return {name: milter["is_enabled"] for name, milter in machine.call(f"{JUDGES}:detected").items()}


# As installed


def test_exactly_the_installed_milters_are_found() -> None:
    need("opendkim")
    assert set(judges.detected()) == judges.installed()


def test_they_stand_in_the_order_of_debian() -> None:
    need("opendkim")
    assert [each for each in judges.detected() if each in judges.DISTRIBUTED] == [
        each for each in judges.DISTRIBUTED if each in judges.installed()
    ]


def test_a_milter_is_in_use_as_systemctl_says_it_is_enabled(name: str) -> None:
    is_enabled = subprocess.run(["systemctl", "--root=/", "is-enabled", name], capture_output=True).returncode == 0
    assert judges.detected()[name]["is_enabled"] is is_enabled


def test_what_is_in_use_is_what_a_boot_would_start(machine: BootedMachine) -> None:
    wanted = machine.run("systemctl", "show", "multi-user.target", "-p", "Wants", "--value").split()
    found = in_use(machine)
    assert found == {name: f"{name}.service" in wanted for name in found}


# Taken out, on a machine with a real systemd


@pytest.mark.parametrize(
    "switch", [["disable"], ["mask"], ["mask", "--runtime"]], ids=["disable", "mask", "mask until the next boot"]
)
def test_switched_milters_are_in_use_as_systemctl_says(machine: BootedMachine, switch: list[str]) -> None:
    names = list(in_use(machine))
    for name in names:
        machine.run("systemctl", *switch, name)
    says_enabled = {name: machine.attempt("systemctl", "is-enabled", name).returncode == 0 for name in names}
    assert in_use(machine) == says_enabled == dict.fromkeys(names, False)


@pytest.mark.parametrize("name", ["opendkim", "spamass-milter"])
def test_a_disabled_milter_leaves_the_others_as_they_are(machine: BootedMachine, name: str) -> None:
    need(name)
    before = machine.call(f"{JUDGES}:detected")
    machine.run("systemctl", "disable", name)
    after = machine.call(f"{JUDGES}:detected")
    assert {each for each in before if before[each] != after[each]} == {name}


def test_a_milter_whose_script_refuses_its_settings_is_not_in_use(machine: BootedMachine) -> None:
    need("clamav-milter")
    machine.shell("echo Example >>/etc/clamav/clamav-milter.conf; systemctl start clamav-milter")
    state = machine.run("systemctl", "show", "clamav-milter", "-p", "SubState", "--value").strip()
    assert (in_use(machine)["clamav-milter"], state) == (False, "exited")


# Taken out, in a copy of a part of the tree: for where nothing can be booted


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root directory with the units, scripts and settings of this machine."""
    if os.geteuid() != 0:
        pytest.skip("not root: not all of /etc can be copied")
    need("opendkim")
    links = sorted(Path("/etc").glob("rc?.d"))
    there = [str(each)[1:] for each in [*map(Path, COPIED), *links] if os.path.lexists(each)]
    packed = subprocess.run(["tar", "-C", "/", "-c", *there], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-C", tmp_path, "-x"], input=packed, check=True)
    (tmp_path / "usr/sbin").mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        if Path("/usr/sbin", program).exists():
            (tmp_path / "usr/sbin" / program).touch(0o755)
    return tmp_path


def switch_in_tree(tree: Path, verb: str, name: str) -> None:
    """``systemctl VERB NAME``, without the help of a program in the tree that it asks for scripts."""
    if name in SCRIPTS and verb == "disable":
        command = ["update-rc.d", name, "disable"]
    else:
        command = ["systemctl", f"--root={tree}", verb, name]
    environment = {**os.environ, "DPKG_ROOT": str(tree), "SYSTEMCTL_SKIP_SYSV": "1", "_SKIP_SYSTEMD_NATIVE": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True)


@pytest.mark.parametrize("verb", ["disable", "mask"])
def test_a_milter_that_was_taken_out_of_a_tree_is_not_in_use_there(tree: Path, name: str, verb: str) -> None:
    before = judges.detected(str(tree))[name]["is_enabled"]
    switch_in_tree(tree, verb, name)
    assert (before, judges.detected(str(tree))[name]["is_enabled"]) == (True, False)


# Sockets that somebody moved

MOVED = {
    "opendkim": """mkdir -p /etc/systemd/system/opendkim.service.d
        printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/opendkim -p local:/run/opendkim/moved.sock\\n' \\
            >/etc/systemd/system/opendkim.service.d/moved.conf""",
    "opendmarc": """sed -i 's,^SOCKET=.*,SOCKET=inet:12345@127.0.0.1,' /etc/default/opendmarc
        /lib/opendmarc/opendmarc.service.generate""",
    "spamass-milter": "echo SOCKET=/run/moved/spamass.sock >>/etc/default/spamass-milter",
    "clamav-milter": """mkdir -p /run/clamav
        chown clamav: /run/clamav
        sed -i 's,^MilterSocket .*,MilterSocket inet:12346@127.0.0.1,' /etc/clamav/clamav-milter.conf""",
    "rspamd": """printf 'bind_socket = "/run/rspamd/moved.sock mode=0666";\\n' >/etc/rspamd/local.d/worker-proxy.inc""",
}
PLACES = {
    "opendkim": "/etc/systemd/system/opendkim.service.d/moved.conf:3",
    "rspamd": "/etc/rspamd/local.d/worker-proxy.inc:1",
}


@pytest.mark.parametrize("name", [each for each in MOVED if each != "rspamd"])
def test_a_milter_whose_socket_was_moved_is_found_where_it_listens(machine: BootedMachine, name: str) -> None:
    need(name)
    machine.shell(f"{MOVED[name]}\nsystemctl daemon-reload\nsystemctl start {name}")
    assert [detected(machine, name)["spec"]] == machine.call(f"{JUDGES}:listening", name)


def test_a_moved_socket_of_rspamd_is_the_one_that_rspamd_reads(machine: BootedMachine) -> None:
    need("rspamd")
    machine.shell(MOVED["rspamd"])
    assert [detected(machine, "rspamd")["spec"]] == [f"unix:{path}" for path in machine.call(f"{JUDGES}:rspamd_says")]


@pytest.mark.parametrize("name", PLACES)
def test_the_place_that_moved_a_socket_is_told(machine: BootedMachine, name: str) -> None:
    need(name)
    machine.shell(MOVED[name])
    assert detected(machine, name)["where"] == PLACES[name]


# Mail


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    for each in judges.DISTRIBUTED:
        need(each)
    with booted() as machine:
        yield Site(lab.postfix, machine)


def addresses(spec: object) -> set[str]:
    """A socket with its host as addresses."""
    scheme, _, rest = str(spec).partition(":")
    port, _, host = rest.partition("@")
    if scheme != "inet":
        return {str(spec)}
    return {f"inet:{port}@{found[4][0]}" for found in socket.getaddrinfo(host, int(port), socket.AF_INET)}


def test_a_milter_listens_where_it_is_found(site: Site, name: str) -> None:
    listens = site.machine.call(f"{JUDGES}:listening", name)
    assert addresses(detected(site.machine, name)["spec"]) <= set(listens)


def test_all_take_part_in_mail_without_any_configuration(site: Site) -> None:
    assert site.marks() == set(judges.DISTRIBUTED)


def test_all_answer_the_mail_and_none_fails(site: Site) -> None:
    with site.session() as session:
        outcomes = site.outcomes(session.send(new_mail()).queue_id)
    assert (set(outcomes), set(outcomes.values()) - {"accept", "continue"}) == (set(judges.DISTRIBUTED), set())


def test_each_disabled_milter_takes_part_no_more_after_a_reload_and_the_others_go_on(site: Site) -> None:
    seen = []
    try:
        for name in judges.DISTRIBUTED:
            site.switch("disable", name)
            seen.append(site.marks())
    finally:
        site.switch("enable", *judges.DISTRIBUTED)
    assert seen == [set(judges.DISTRIBUTED[step:]) for step in range(1, len(judges.DISTRIBUTED) + 1)]


def test_a_milter_that_is_enabled_again_takes_part_again(site: Site) -> None:
    with site.without("opendmarc"):
        pass
    assert site.marks() == set(judges.DISTRIBUTED)


def test_a_session_that_was_open_at_the_reload_goes_on_as_it_began(site: Site) -> None:
    with site.session() as session:
        assert "opendkim" in took_part(site.deliver(session, new_mail()))
        with site.without("opendkim"):
            assert took_part(site.deliver(session, new_mail())) == set(judges.DISTRIBUTED)


def test_no_session_is_lost_while_a_milter_goes_and_comes(site: Site) -> None:
    is_over = threading.Event()

    def send_on() -> set[str]:
        answers = set()
        while not is_over.is_set():
            with site.session() as session:
                answers.add(session.send(new_mail()).masked()[-1])
        return answers

    with ThreadPoolExecutor() as pool:
        sender = pool.submit(send_on)
        try:
            with site.without("opendkim"):
                pass
        finally:
            is_over.set()
    assert sender.result() == {"250 2.0.0 Ok: queued as QUEUEID"}
