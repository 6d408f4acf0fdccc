"""The installed service under a real systemd: it starts, serves, reloads, and says plainly what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from systemd_machine import Machine

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(110)]

SOCKET = "unix:/var/run/milter-manager/milter-manager.sock"
LOCAL = "/etc/milter-manager/milter-manager.local.conf"
SYSCONFIG = "/etc/sysconfig/milter-manager"


@pytest.fixture(autouse=True)
def _as_it_was(machine: Machine) -> Iterator[None]:
    """Whatever a test changed, the next one finds the service as it was installed, and running."""
    machine.shell(f"cp {SYSCONFIG} /root/sysconfig")
    yield
    machine.shell(f"""
        is_touched() {{
            [ -e {LOCAL} ] || ! cmp -s /root/sysconfig {SYSCONFIG} || ls /etc/systemd/system/milter-manager* 2>/dev/null
        }}
        if ! is_touched && systemctl is-active milter-manager && ! systemctl is-active milter-manager.socket; then
            exit 0
        fi
        rm -rf {LOCAL} /etc/systemd/system/milter-manager*
        cp /root/sysconfig {SYSCONFIG}
        systemctl daemon-reload
        systemctl stop milter-manager.socket milter-manager
        systemctl reset-failed
        systemctl start milter-manager""")


def serves(machine: Machine, user: str = "postfix") -> bool:
    command = f"setpriv --reuid {user} --regid {user} --init-groups milter-test-server -s {SOCKET}"
    done = machine.attempt("bash", "-c", command)
    return done.stdout.startswith("status: accept\nelapsed-time: ") and done.returncode == 0


def generation(machine: Machine) -> int:
    found: int = json.loads(machine.run("milter-managerctl", "--json", "status"))["generation"]
    return found


def test_postfix_may_use_the_socket_at_once(machine: Machine) -> None:
    assert serves(machine, "postfix")


def test_our_own_user_may_use_the_socket(machine: Machine) -> None:
    assert serves(machine, "milter-manager")


def test_others_may_not_use_the_socket(machine: Machine) -> None:
    assert not serves(machine, "nobody")


def test_titles_say_what_everybody_does(machine: Machine) -> None:
    master = machine.property("MainPID")
    end = time.monotonic() + 20
    while (title := machine.run("ps", "-o", "args=", "-p", master)).startswith("/") and time.monotonic() < end:
        time.sleep(0.05)
    assert title.startswith("milter-manager: master unix:/run/milter-manager/milter-manager.sock")


def test_it_does_not_run_as_root(machine: Machine) -> None:
    assert machine.run("ps", "-o", "user:32=", "-p", machine.property("MainPID")).strip() == "milter-manager"


def test_a_reload_returns_once_the_new_generation_is_in_force(machine: Machine) -> None:
    before = generation(machine)
    machine.run("systemctl", "reload", "milter-manager")
    assert generation(machine) == before + 1


def test_a_reload_with_a_fault_fails(machine: Machine) -> None:
    machine.shell(f"echo nonsense >{LOCAL}")
    assert machine.attempt("systemctl", "reload", "milter-manager").returncode != 0


def test_a_reload_with_a_fault_says_where_it_is(machine: Machine) -> None:
    machine.shell(f"echo nonsense >{LOCAL}")
    machine.attempt("systemctl", "reload", "milter-manager")
    assert f"{LOCAL}:1: " in machine.journal()


def test_a_reload_with_a_fault_leaves_the_old_generation_at_work(machine: Machine) -> None:
    before = generation(machine)
    machine.shell(f"echo nonsense >{LOCAL}")
    machine.attempt("systemctl", "reload", "milter-manager")
    assert (generation(machine), serves(machine)) == (before, True)


def test_a_reload_works_without_a_control_socket_too(machine: Machine) -> None:
    machine.shell(f"printf '[controller]\\nconnection_spec = \"\"\\n' >{LOCAL}; systemctl restart milter-manager")
    machine.run("systemctl", "reload", "milter-manager")
    end = time.monotonic() + 20
    while "reloaded generation=2" not in machine.journal() and time.monotonic() < end:
        time.sleep(0.05)
    assert "reloaded generation=2" in machine.journal()


@pytest.mark.parametrize(
    "arguments",
    ["--verbose --no-daemon", "--daemon", "-c /etc/milter-manager --control-spec unix:/run/milter-manager/c"],
)
def test_it_starts_and_reloads_with_options(machine: Machine, arguments: str) -> None:
    machine.shell(f"echo 'OPTION_ARGS=\"{arguments}\"' >>{SYSCONFIG}; systemctl restart milter-manager")
    machine.run("systemctl", "reload", "milter-manager")
    assert serves(machine)


def test_the_variables_of_the_old_service_are_understood(machine: Machine) -> None:
    spec = "unix:/run/milter-manager/other.sock"
    machine.shell(f"""printf '%s\\n' USER=milter-manager GROUP=milter-manager SOCKET_GROUP=milter-manager \\
        CONNECTION_SPEC={spec} >{SYSCONFIG}; systemctl restart milter-manager""")
    assert machine.run("stat", "-c", "%U:%G %a", spec[5:]).strip() == "milter-manager:milter-manager 660"


def test_a_socket_group_that_does_not_exist_is_only_warned_of(machine: Machine) -> None:
    machine.shell(f"echo SOCKET_GROUP=nosuch >>{SYSCONFIG}; systemctl restart milter-manager")
    assert "SOCKET_GROUP=nosuch: milter-manager is not in such a group" in machine.journal()


def test_another_user_in_the_variables_is_warned_of(machine: Machine) -> None:
    machine.shell(f"echo USER=nobody >>{SYSCONFIG}; systemctl restart milter-manager")
    assert "USER=nobody of /etc/sysconfig/milter-manager has no effect" in machine.journal()


def test_a_faulty_configuration_is_not_started_again_and_again(machine: Machine) -> None:
    machine.shell(f"echo nonsense >{LOCAL}")
    machine.attempt("systemctl", "restart", "milter-manager")
    assert (machine.property("ExecMainStatus"), machine.property("ActiveState")) == ("78", "failed")


@pytest.mark.parametrize(
    ("file", "module"),
    [("mmgr/endpoint.py", "mmgr.endpoint"), ("vendor/configobj", "configobj")],
)
def test_a_missing_module_is_named(machine: Machine, file: str, module: str) -> None:
    if machine.attempt("/usr/bin/python3", "-I", "-c", f"import {module}").returncode == 0:
        pytest.skip(f"the system has a {module} of its own")
    path = f"/usr/lib64/milter-manager/{file}"
    machine.shell(f"mv {path} /root/moved")
    machine.attempt("systemctl", "restart", "milter-manager")
    machine.shell(f"mv /root/moved {path}")
    assert (machine.property("ExecMainStatus"), f"No module named '{module}'" in machine.journal()) == ("69", True)


def test_a_command_that_needs_psutil_names_it_when_it_is_missing(machine: Machine) -> None:
    if machine.attempt("/usr/bin/python3", "-I", "-c", "import psutil").returncode == 0:
        pytest.skip("the system has a psutil of its own")
    machine.shell("mv /usr/lib64/milter-manager/vendor/psutil /root/moved")
    done = machine.attempt("milter-report-statistics", "--help")
    machine.shell("mv /root/moved /usr/lib64/milter-manager/vendor/psutil")
    assert (done.returncode, "No module named 'psutil'" in done.stderr) == (69, True)


def test_a_full_run_is_said_with_the_path_of_the_socket(machine: Machine) -> None:
    machine.shell("systemctl stop milter-manager; mount -t tmpfs -o nr_inodes=1 full /run/milter-manager")
    machine.attempt("systemctl", "start", "milter-manager")
    machine.shell("systemctl stop milter-manager; umount /run/milter-manager")
    assert "milter-manager.sock: No space left on device" in machine.journal()


def test_a_killed_master_is_started_again(machine: Machine) -> None:
    before = machine.property("MainPID")
    machine.run("kill", "-KILL", before)
    end = time.monotonic() + 30
    while machine.property("MainPID") in ("0", before) and time.monotonic() < end:
        time.sleep(0.05)
    assert machine.property("MainPID") not in ("0", before)


def test_the_socket_unit_starts_the_service_at_the_first_connection(machine: Machine) -> None:
    machine.shell("systemctl stop milter-manager; systemctl start milter-manager.socket")
    assert serves(machine, "milter-manager")


def test_the_socket_of_the_socket_unit_outlives_the_service(machine: Machine) -> None:
    machine.shell("systemctl stop milter-manager; systemctl start milter-manager.socket milter-manager")
    machine.run("systemctl", "restart", "milter-manager")
    machine.run("systemctl", "stop", "milter-manager")
    assert serves(machine, "milter-manager")


def test_the_socket_unit_can_be_enabled_as_documented(machine: Machine) -> None:
    machine.shell("""mkdir /etc/systemd/system/milter-manager.socket.d
        printf '[Socket]\\nSocketGroup=postfix\\n' >/etc/systemd/system/milter-manager.socket.d/override.conf
        systemctl daemon-reload; systemctl stop milter-manager
        systemctl enable --now milter-manager.socket; systemctl start milter-manager""")
    held = machine.run("systemctl", "is-active", "milter-manager.socket").strip()
    works = serves(machine, "postfix")
    machine.run("systemctl", "disable", "milter-manager.socket")
    assert (held, works) == ("active", True)


@pytest.mark.parametrize("unit", ["milter-manager.service", "milter-manager.socket"])
def test_the_units_are_without_faults(machine: Machine, unit: str) -> None:
    assert machine.run("systemd-analyze", "verify", "--man=yes", unit) == ""


@pytest.mark.parametrize("kind", ["service", "timer"])
def test_the_units_of_the_log_analyzer_are_without_faults(machine: Machine, kind: str) -> None:
    machine.install("milter-manager-log-analyzer")
    assert machine.run("systemd-analyze", "verify", "--man=yes", f"milter-manager-log-analyzer.{kind}") == ""
