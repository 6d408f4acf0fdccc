"""This machine once more, booted by a real systemd in namespaces: what is done there is forgotten when it ends.

Its root is an overlay in memory over the running system, so it has every package as apt left it, with the units, the
scripts, the users and their groups. It has no network but the loopback, no milter runs in it until a test starts one,
and one directory is shared with the tests: unix sockets in it are reachable from both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.daemon import CHECKOUT
from tests.support.processes import HarnessError, require_binary, require_root, wait_for

CGROUPS = Path("/sys/fs/cgroup")
SHARED = "/srv/shared"
SOURCE = "/srv/source"
PYTHON = "/srv/python/bin/python"
BOOT_S = 30.0
COMMAND_S = 100.0

_BOOT = r"""
set -eu
directory=$1 shared=$2 source=$3 environment=$4 interpreter=$5
mount -t tmpfs memory "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
mount -t overlay root -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$directory/root"
root=$directory/root
mkdir -p "$root/srv/shared" "$root/srv/source" "$root/srv/python"
mount --bind "$shared" "$root/srv/shared"
mount --bind -o ro "$source" "$root/srv/source"
mount --bind -o ro "$environment" "$root/srv/python"
if [ ! -e "$root$interpreter/bin" ]; then # on a file system of its own
    mkdir -p "$root$interpreter"
    mount --bind -o ro "$interpreter" "$root$interpreter"
fi
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys" # the kernel is that of the machine that runs the tests
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do cp -a /dev/$device "$root/dev/"; done
mkdir "$root/dev/pts" "$root/dev/shm"
chmod 1777 "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t cgroup2 none "$root/sys/fs/cgroup"
for unit in systemd-modules-load systemd-remount-fs; do ln -sf /dev/null "$root/etc/systemd/system/$unit.service"; done
# multi-user.target stays as it is, but is not what is booted: nothing starts by itself
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$root/etc/systemd/system/lab.target"
cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=lab.target
"""


class CannotBoot(Exception):
    """There is no way to boot here; the text says what failed."""


class BootedMachine:
    """A context manager over such a machine; commands are run in it as root.

    directory   an existing empty one for the machine's own use
    shared      an existing one, SHARED inside of the machine
    """

    def __init__(self, directory: Path, shared: Path) -> None:
        self.directory = directory
        self.shared = shared
        self._groups: list[Path] = []
        self._starter: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> BootedMachine:
        """Boots; raises ComponentMissing or CannotBoot."""
        require_root()
        require_binary("/lib/systemd/systemd", "systemd")
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Ends the machine with all that runs there."""
        if self._starter is not None:
            self._starter.kill()
            self._starter.wait()
        for group in self._groups:
            remove_group(group)

    def _boot(self) -> None:
        self._groups = own_groups(f"milter-manager-machine-{os.getpid()}-{time.monotonic_ns()}")
        if not self._groups:
            raise CannotBoot(f"no control group of our own can be made in {CGROUPS}")
        # in groups of its own first: systemd takes the group that it finds itself in for the whole machine's
        join = "".join(f"echo $$ >{group}/cgroup.procs && " for group in self._groups)
        mortal = "exec setpriv --pdeathsig KILL "
        unshare = "unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child --propagation private "
        root = self.directory / "machine"
        root.mkdir()
        mounted = [root, self.shared, CHECKOUT, sys.prefix, sys.base_prefix]
        command = ["bash", "-c", f'{join}{mortal}{unshare} bash -c "$0" boot "$@"', _BOOT, *map(str, mounted)]
        with open(self.directory / "boot.log", "wb") as log:
            self._starter = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(self._is_up, "answer of systemd", BOOT_S)
        except HarnessError as late:
            raise CannotBoot(str(late)) from None

    def _is_up(self) -> bool:
        assert self._starter is not None
        if self._starter.poll() is not None:
            said = (self.directory / "boot.log").read_text("utf-8", "replace").strip()
            raise CannotBoot(said[-300:] or f"unshare ended with {self._starter.returncode}")
        if not self._leader:
            self._leader = leader_of(self._starter.pid)
        return bool(self._leader) and self.attempt("systemctl", "is-system-running").stdout.strip() in (
            "running",
            "degraded",
        )

    # Commands

    def attempt(self, *command: str, as_user: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command that may fail."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        environment = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        become = ["setpriv", f"--reuid={as_user}", f"--regid={as_user}", "--init-groups"] if as_user else []
        return subprocess.run(
            [*enter, *become, *command], capture_output=True, text=True, env=environment, timeout=COMMAND_S
        )

    def run(self, *command: str) -> str:
        """What a command prints, which has to succeed."""
        done = self.attempt(*command)
        if done.returncode != 0:
            raise HarnessError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def shell(self, script: str) -> str:
        """What a shell script prints, which has to succeed."""
        return self.run("bash", "-ec", script)

    def call(self, function: str, *arguments: object) -> Any:
        """What a function of the checkout (``package.module:name``) returns there, as JSON carries it."""
        module, _, name = function.partition(":")
        script = f"import json\nfrom {module} import {name}\nprint(json.dumps({name}(*{arguments!r})))"
        return json.loads(self.run("env", f"PYTHONPATH={SOURCE}", PYTHON, "-B", "-c", script))

    def journal(self, *units: str) -> str:
        """What these units said, everybody when none is named."""
        names = [word for unit in units for word in ("-u", unit)]
        return self.attempt("journalctl", "--no-pager", "-b", "-o", "short-monotonic", *names).stdout


def leader_of(starter: int) -> int:
    """The process id of the systemd that unshare started, 0 before it is there."""
    with suppress(OSError, IndexError):
        child = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()[0]
        if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
            return int(child)
    return 0


def own_groups(name: str) -> list[Path]:
    """A new control group in the unified hierarchy and in that of systemd, as far as they are here."""
    hierarchies = [CGROUPS] if (CGROUPS / "cgroup.procs").exists() else [CGROUPS / "unified", CGROUPS / "systemd"]
    made = []
    for hierarchy in hierarchies:
        with suppress(OSError):
            if hierarchy.is_dir():
                (hierarchy / name).mkdir()
                made.append(hierarchy / name)
    return made


def remove_group(group: Path) -> None:
    """Removes a control group and those that systemd made in it, once their processes are gone."""

    def is_gone() -> bool:
        for directory, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
        return not group.exists()

    with suppress(HarnessError):  # an empty group harms nobody
        wait_for(is_gone, f"end of {group}", 5.0)
