"""``milter-managerctl doctor`` as a process: real sockets with real modes, peers of all kinds, and Postfix's files."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmgr.cli.managerctl_doctor import as_object
from mmgr.doctor.examination import Request, examine
from mmgr.doctor.running import process_identity
from tests.support.daemon import Manager
from tests.support.processes import LabDirectory

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TIMEOUT_S = 60
NOBODY = 65534
GROUP_ID = 61234
"""A group that no machine has: usermod would be given its number."""

MASTER = "smtp inet n - n - - smtpd\ncleanup unix n - n - 0 cleanup\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and becomes others")


@dataclass(frozen=True)
class Findings:
    """What a run gave."""

    code: int
    rows: list[dict[str, Any]]

    def of(self, subject: str, *levels: str) -> list[str]:
        """The texts about a subject."""
        return [row["text"] for row in self.rows if row["subject"] == subject and row["level"] in levels]

    def hints(self, subject: str) -> list[str]:
        """All lines to type about a subject."""
        return [line for row in self.rows if row["subject"] == subject for line in row["hint"].split("\n") if line]


class House:
    """A directory with a configuration, Postfix's files and sockets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = f"unix:{path}/mm.sock"
        (path / "config").mkdir(exist_ok=True)
        (path / "postfix").mkdir()
        self.postfix(f"smtpd_milters = {self.spec}\nnon_smtpd_milters = $smtpd_milters\nmail_owner = nobody\n")

    def postfix(self, main: str, master: str = MASTER) -> None:
        (self.path / "postfix" / "main.cf").write_text(main)
        (self.path / "postfix" / "master.cf").write_text(master)

    def configure(self, children: Mapping[str, str], more: str = "") -> None:
        lines = ["[package]\ndetection = no\n[security]\neffective_user = nobody\n[controller]\nconnection_spec = \n"]
        lines += [f"[manager]\nconnection_spec = {self.spec}\n[milters]"]
        lines += [f"[[{name}]]\nconnection_spec = {spec}\n{more}" for name, spec in children.items()]
        (self.path / "config" / "milter-manager.conf").write_text("\n".join(lines) + "\n")

    def command(self, *arguments: str) -> list[str]:
        where = ["-c", str(self.path / "config"), "--postfix-dir", str(self.path / "postfix")]
        return [sys.executable, "-m", "mmgr.cli.managerctl", *where[:2], "doctor", *where[2:], *arguments]

    def run(self, *arguments: str, **more: Any) -> Findings:
        done = subprocess.run(
            self.command("--json", "--timeout", "5", *arguments),
            capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S, cwd=self.path, check=False, **more,
        )  # fmt: skip
        assert done.stderr == b""
        return Findings(done.returncode, json.loads(done.stdout)["findings"])


@pytest.fixture
def house() -> Iterator[House]:
    with LabDirectory() as lab:
        yield House(lab.path)


@contextmanager
def milter(spec: str) -> Iterator[None]:
    """A milter-test-client that listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mmgr.cli.test_client", "-s", spec], stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"listening on {spec}\n".encode()
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def saying(path: Path, banner: bytes) -> Iterator[None]:
    """A service of another kind."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        connection.sendall(banner)
                        while connection.recv(4096):
                            pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_with_a_daemon_a_milter_and_postfix_in_order_nothing_is_wrong(house: House) -> None:
    child = f"unix:{house.path}/child.sock"
    directory = house.path / "daemon"
    directory.mkdir()
    with ExitStack() as held:
        held.enter_context(milter(child))
        (house.path / "child.sock").chmod(0o666)
        manager = held.enter_context(Manager(directory, {"child": child}))
        house.postfix(f"smtpd_milters = {manager.spec}\nnon_smtpd_milters = $smtpd_milters\nmail_owner = nobody\n")
        (house.path / "config").rmdir()
        (house.path / "config").symlink_to(manager.config_directory)
        user = "nobody" if os.geteuid() == 0 else str(os.geteuid())
        found = house.run("--user", user)
    assert [row for row in found.rows if row["level"] in ("warning", "error")] == []
    assert found.code == 0


def test_a_warning_alone_ends_with_1(house: House) -> None:
    child = f"unix:{house.path}/child.sock"
    with milter(child), milter(house.spec):
        for name in ("child.sock", "mm.sock"):
            (house.path / name).chmod(0o666)
        house.configure({"child": child}, "reading_timeout = 40")
        found = house.run()
    assert (found.code, len(found.of("child", "warning"))) == (1, 1)


def test_the_loaders_guess_at_postfixs_deadlines_is_not_said_besides(house: House) -> None:
    house.configure({"child": f"unix:{house.path}/child.sock"}, "reading_timeout = 40")
    assert not [text for text in house.run().of("manager", "warning") if "reading_timeout" in text]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("plain", "is a plain file, not a socket"),
        ("fifo", "is a FIFO, not a socket"),
        ("circle", "leads in a circle of links"),
        ("dangling", "is a link that leads to /nowhere, which does not exist"),
        ("missing", "does not exist"),
        ("stale", "Connection refused, the socket was left behind"),
    ],
)
def test_what_is_no_milters_socket_ends_with_4_and_is_named(house: House, kind: str, text: str) -> None:
    path = house.path / kind
    if kind == "plain":
        path.write_text("")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "stale":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        path.chmod(0o666)
    elif kind != "missing":
        path.symlink_to(path if kind == "circle" else "/nowhere")
    house.configure({"child": f"unix:{path}"})
    found = house.run()
    ((said),) = found.of("child", "error")
    assert found.code == 4
    assert said.endswith(text)


@pytest.mark.parametrize(
    ("banner", "what"),
    [
        (b"220 mx ESMTP\r\n", "an SMTP service"),
        (b"HTTP/1.1 400 Bad\r\n", "an HTTP service"),
        (b"UNKNOWN COMMAND\n", "clamd"),
    ],
)
def test_a_service_that_is_no_milter_is_named(house: House, banner: bytes, what: str) -> None:
    house.configure({"child": f"unix:{house.path}/c"})
    with saying(house.path / "c", banner):
        (house.path / "c").chmod(0o666)
        (text,) = house.run().of("child", "error")
    assert f"is no milter but {what}" in text


def connects_as_nobody(path: Path, *groups: int) -> bool:
    """Whether a process of user nobody with further groups really connects."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            os.setgroups(groups)
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
            code = 0
        except PermissionError:
            code = 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return code == 0


@as_root
@pytest.mark.parametrize(("directory", "target"), [(0o710, 0o660), (0o750, 0o770), (0o711, 0o620), (0o710, 0o666)])
def test_the_group_that_is_named_is_the_one_that_the_kernel_wants(house: House, directory: int, target: int) -> None:
    (house.path / "d").mkdir()
    path = house.path / "d" / "s"
    with milter(f"unix:{path}"):
        for each, mode in ((path.parent, directory), (path, target)):
            os.chown(each, 61233, GROUP_ID)
            each.chmod(mode)
        house.configure({"child": f"unix:{path}"})
        assert not connects_as_nobody(path)
        assert house.run().hints("child")[0] == f"usermod -aG {GROUP_ID} nobody"
        assert connects_as_nobody(path, GROUP_ID)


@as_root
def test_a_socket_that_its_group_may_not_write_to_asks_for_another_mode(house: House) -> None:
    path = house.path / "clamav-milter.sock"
    with milter(f"unix:{path}"):
        os.chown(path, 61233, GROUP_ID)
        path.chmod(0o755)
        house.configure({"clamav-milter": f"unix:{path}"})
        assert "MilterSocketMode 660" in house.run().hints("clamav-milter")[0]


@as_root
def test_postfix_that_may_not_open_our_socket_is_an_error_with_its_group(house: House) -> None:
    child = f"unix:{house.path}/child.sock"
    with milter(child), milter(house.spec):
        (house.path / "child.sock").chmod(0o666)
        os.chown(house.path / "mm.sock", 61233, GROUP_ID)
        (house.path / "mm.sock").chmod(0o660)
        house.configure({"child": child})
        found = house.run()
    assert found.hints("postfix")[:2] == [f"usermod -aG {GROUP_ID} nobody", "postfix reload"]
    assert found.code == 4


def test_a_chroot_that_hides_our_socket_is_an_error(house: House) -> None:
    house.configure({})
    house.postfix(
        f"smtpd_milters = {house.spec}\nmail_owner = nobody\n", MASTER.replace("smtp inet n - n", "smtp inet n - y")
    )
    found = house.run("--no-probe")
    assert any("runs in a chroot" in text for text in found.of("postfix", "error"))
    assert f"postconf -c {house.path}/postfix -F smtp/inet/chroot=n" in found.hints("postfix")


def test_without_a_daemon_that_postfix_asks_the_start_is_shown(house: House) -> None:
    house.configure({})
    found = house.run()
    assert found.of("manager", "error") == [
        f"{house.path}/mm.sock does not exist: the daemon does not run, and Postfix asks us there"
    ]
    assert "systemctl enable --now milter-manager" in found.hints("manager")


def test_each_fault_of_the_configuration_is_a_finding_and_the_rest_is_looked_at(house: House) -> None:
    house.configure({"child": f"unix:{house.path}/none"}, "reading_timeout = soon\nfallback_status = maybe")
    found = house.run("--no-probe")
    assert [text.split(": ")[1] for text in found.of("child", "error")[:2]] == [
        "milters.child.reading_timeout",
        "milters.child.fallback_status",
    ]
    assert any(text.endswith("none does not exist") for text in found.of("child", "error"))


@pytest.mark.parametrize("what", ["unreadable", "directory", "absent", "garbage"])
def test_whatever_main_cf_is_the_children_are_looked_at(house: House, what: str) -> None:
    main = house.path / "postfix" / "main.cf"
    main.unlink()
    if what == "directory":
        main.mkdir()
    elif what == "unreadable":
        main.symlink_to("main.cf")
    elif what == "garbage":
        main.write_bytes(bytes(range(256)) * 100)
    house.configure({"child": f"unix:{house.path}/none"})
    found = house.run("--no-probe")
    assert found.of("child", "error")
    assert found.of("postfix", "note", "warning", "error")


def test_without_a_probe_nobody_is_connected(house: House) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(house.path / "c"))
        listener.listen()
        (house.path / "c").chmod(0o666)
        house.configure({"child": f"unix:{house.path}/c"})
        house.run("--no-probe")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def as_nobody(request: Request) -> Findings:
    """What nobody finds out; forked, because nobody may not read the interpreter's files everywhere."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, json.dumps(as_object(examine(request))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        rows = json.load(said)["findings"]
    os.waitpid(pid, 0)
    return Findings(0, rows)


@as_root
def test_somebody_else_is_told_what_could_not_be_seen(house: House) -> None:
    (house.path / "closed").mkdir(mode=0o700)
    house.configure({"child": f"unix:{house.path}/closed/s"})
    found = as_nobody(Request(str(house.path / "config"), postfix_directory=str(house.path / "postfix")))
    assert any("we may not look below" in text for text in found.of("child", "warning"))
    assert any("not run as root" in text for text in found.of("manager", "note"))


# ---- another tree


def tree(path: Path) -> Path:
    """A machine's files: users, groups, our configuration, Postfix's."""
    for directory in ("etc/milter-manager", "etc/postfix", "run/clamav-milter", "var"):
        (path / directory).mkdir(parents=True)
    (path / "var" / "run").symlink_to("/run")
    (path / "etc/passwd").write_text(
        "milter-manager:x:990:990::/:/x\nclamilt:x:61235:61235::/:/x\npostfix:x:89:89::/:/x\n"
    )
    (path / "etc/group").write_text("clamilt:x:61235:\nmilter-manager:x:990:\npostfix:x:89:\n")
    (path / "etc/milter-manager/milter-manager.conf").write_text(
        "[package]\ndetection = no\n[milters]\n[[clamav-milter]]\nconnection_spec = unix:/var/run/clamav-milter/s\n"
    )
    (path / "etc/postfix/main.cf").write_text(
        "compatibility_level = 2\nsmtpd_milters = unix:/run/milter-manager/milter-manager.sock\n"
    )
    (path / "etc/postfix/master.cf").write_text("smtp inet n - - - - smtpd\n")
    return path


def in_tree(path: Path) -> Findings:
    command = [sys.executable, "-m", "mmgr.cli.managerctl", "doctor", "--json", "--root", str(path)]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT_S, cwd="/", check=False)
    assert done.stderr == b""
    return Findings(done.returncode, json.loads(done.stdout)["findings"])


@as_root
def test_a_tree_is_judged_by_its_own_users_groups_and_files(tmp_path: Path) -> None:
    path = tree(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path / "run/clamav-milter/s"))
    for each, mode in ((path / "run/clamav-milter", 0o710), (path / "run/clamav-milter/s", 0o660)):
        os.chown(each, 61235, 61235)
        each.chmod(mode)
    found = in_tree(path)
    assert found.hints("clamav-milter")[0] == "usermod -aG clamilt milter-manager"
    assert "smtp/inet: smtpd_milters names our socket" in found.of("postfix", "ok")


@as_root
def test_where_nobody_stands_in_for_our_user_groups_are_for_ours(tmp_path: Path) -> None:
    path = tree(tmp_path)
    (path / "etc/passwd").write_text("nobody:x:65534:65534::/:/x\nclamilt:x:61235:61235::/:/x\n")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path / "run/clamav-milter/s"))
    for each, mode in ((path / "run/clamav-milter", 0o710), (path / "run/clamav-milter/s", 0o660)):
        os.chown(each, 61235, 61235)
        each.chmod(mode)
    hints = in_tree(path).hints("clamav-milter")
    assert hints[:2] == ["# once there is a user milter-manager:", "usermod -aG clamilt milter-manager"]


def test_in_a_tree_where_nothing_runs_a_missing_socket_is_a_note(tmp_path: Path) -> None:
    found = in_tree(tree(tmp_path))
    assert found.of("clamav-milter", "note", "warning", "error") == [
        "/var/run/clamav-milter/s does not exist, as long as nothing runs in this tree"
    ]


@as_root
def test_postfix_that_will_not_be_let_in_is_told_beforehand(tmp_path: Path) -> None:
    found = in_tree(tree(tmp_path))
    assert "usermod -aG milter-manager postfix" in found.hints("postfix")


def test_a_root_that_is_no_directory_is_bad_usage() -> None:
    command = [sys.executable, "-m", "mmgr.cli.managerctl", "doctor", "--root", "/nonexistent"]
    assert subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=False).returncode == 2


# ---- what a terminal sees


def seen(house: House, **environment: str) -> bytes:
    """The output on a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        house.command("--no-probe"), stdout=slave, env={**ENVIRONMENT, "TERM": "xterm", **environment}
    ) as process:
        os.close(slave)
        output = b""
        with suppress(OSError):
            while more := os.read(master, 65536):
                output += more
        process.wait(TIMEOUT_S)
    os.close(master)
    return output


def test_a_terminal_sees_colours(house: House) -> None:
    house.configure({})
    assert re.search(rb"\x1b\[[0-9]+mERR", seen(house, NO_COLOR=""))


def test_no_color_is_respected(house: House) -> None:
    house.configure({})
    assert b"\x1b" not in seen(house, NO_COLOR="1")


def test_the_text_ends_with_how_much_is_wrong(house: House) -> None:
    house.configure({})
    done = subprocess.run(house.command("--no-probe"), capture_output=True, env=ENVIRONMENT, check=False)
    assert done.stdout.splitlines()[-1] == b"1 error, 1 warning"


def test_a_daemons_user_that_is_everybodys_is_a_warning(tmp_path: Path) -> None:
    path = tree(tmp_path)
    (path / "etc/passwd").write_text("nobody:x:65534:65534::/:/x\n")
    found = in_tree(path)
    assert any("the daemon becomes nobody" in text for text in found.of("manager", "warning"))


def test_a_user_that_does_not_exist_is_an_error(house: House) -> None:
    house.configure({})
    assert (
        house.run("--no-probe", "--user", "no-such-user").of("manager", "error")[0] == "there is no user no-such-user"
    )


def test_a_name_that_is_no_utf_8_is_printed_escaped(house: House) -> None:
    (house.path / "config" / "milter-manager.conf").write_bytes(
        b"[package]\ndetection = no\n[milters]\n[[child]]\nconnection_spec = unix:/nowhere/\xc3\xa4\n"
    )
    done = subprocess.run(
        house.command("--no-probe"),
        capture_output=True,
        env={**ENVIRONMENT, "LC_ALL": "C", "PYTHONUTF8": "0"},
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert b"/nowhere/" in done.stdout


@as_root
def test_whom_a_running_daemon_acts_as_is_read(house: House) -> None:
    directory = house.path / "daemon"
    directory.mkdir()
    with Manager(directory, {}, sections={"security": {"effective_user": "nobody"}}) as manager:
        pid = manager.pid
        identity = process_identity(pid)
    assert identity is not None
    assert identity.uid == NOBODY


def test_the_directory_of_postfix_may_be_given_from_here(house: House) -> None:
    house.configure({})
    found = house.run("--postfix-dir", "postfix", "--no-probe")
    assert not [text for text in found.of("postfix", "note") if "there is no" in text]
