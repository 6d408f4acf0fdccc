"""A machine of our own for a moment: systemd in namespaces, on a copy of this root that forgets what is written.

The root is an overlay in memory over the running system, so it has its programs, users and groups, and leaves no trace.
It has no network, and its processes end with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CGROUPS = Path("/sys/fs/cgroup")
BOOT_S = 30

_BOOT = r"""
set -eu
directory=$1 repository=$2 source=$3
mount -t tmpfs memory "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
mount -t overlay root -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$directory/root"
root=$directory/root
cp -a "$repository" "$root/srv/repository"
mkdir "$root/srv/source"
mount --bind -o ro "$source" "$root/srv/source"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do cp -a /dev/$device "$root/dev/"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t cgroup2 none "$root/sys/fs/cgroup"
rm -rf "$root"/etc/rc?.d "$root"/etc/systemd/system/*.wants
rm -rf "$root"/etc/systemd/system/milter-manager* "$root/etc/milter-manager"
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$root/etc/systemd/system/lab.target"
mkdir -p "$root/etc/systemd/system-preset"
echo 'disable *' >"$root/etc/systemd/system-preset/00-as-on-el.preset"
printf '%%_dbpath /var/lib/rpm\n' >"$root/root/.rpmmacros"
cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=lab.target
"""


class CannotBoot(Exception):
    """There is no way to boot here; the text says what failed."""


class Machine:
    """A machine that runs. Commands are run in it as root."""

    def __init__(self, starter: subprocess.Popen[str], groups: list[Path]) -> None:
        self._starter = starter
        self._groups = groups
        self._leader = 0

    def wait_until_up(self, output: Path) -> None:
        """Raises CannotBoot."""
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end and self._starter.poll() is None:
            if self._leader or self._find_leader():
                state = self._enter("systemctl", "is-system-running").stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.05)
        raise CannotBoot(output.read_text("utf-8", "replace").strip()[-300:] or "systemd does not come up")

    def _find_leader(self) -> bool:
        pid = self._starter.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            self._leader = int(children[0])
        return self._leader != 0

    def _enter(self, *command: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        environment = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        return subprocess.run([*enter, *command], capture_output=True, text=True, env=environment)

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return self._enter(*command)

    def run(self, *command: str) -> str:
        """What a command says, which has to succeed."""
        done = self._enter(*command)
        assert done.returncode == 0, (
            f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}{self.journal()}"
        )
        return done.stdout + done.stderr

    def shell(self, script: str) -> str:
        """What a script of the shell says, which has to succeed."""
        return self.run("bash", "-ec", script)

    def install(self, *packages: str, repository: str = "first") -> str:
        """``dnf install`` or upgrade; what it said, scriptlets included."""
        return self.dnf("install", *packages, repository=repository)

    def dnf(self, *words: str, repository: str = "first") -> str:
        """A command of dnf with one repository alone."""
        return self.run("dnf", "-y", *self.dnf_options(repository), *words)

    def dnf_options(self, repository: str) -> list[str]:
        """What makes dnf use one repository alone."""
        options = [
            "--releasever=9",
            "--disablerepo=*",
            f"--repofrompath={repository},file:///srv/repository/{repository}",
        ]
        return [*options, "--nogpgcheck", "--setopt=install_weak_deps=0", "--setopt=reposdir=/nonexistent"]

    def journal(self) -> str:
        """What the service said and what systemd said of it."""
        return self._enter("journalctl", "--no-pager", "-o", "cat", "-u", "milter-manager").stdout

    def property(self, name: str) -> str:
        """A property of the service."""
        return self.run("systemctl", "show", "milter-manager", "-p", name, "--value").strip()

    def close(self) -> None:
        """End it with all that runs there."""
        self._starter.kill()
        self._starter.wait()
        for group in self._groups:
            _remove_group(group)


def boot(directory: Path, repository: Path) -> Machine:
    """Boot a machine with a copy of repository in /srv/repository, and this tree to read in /srv/source.

    Raises CannotBoot.
    """
    root = directory / "overlay"
    root.mkdir()
    groups = _own_groups(f"milter-manager-lab-{os.getpid()}-{time.monotonic_ns()}")
    if not groups:
        raise CannotBoot(f"no control group of our own can be made in {CGROUPS}")
    # in groups of its own first: systemd takes the group that it finds itself in for the whole machine's
    join = "".join(f"echo $$ >{group}/cgroup.procs && " for group in groups)
    unshare = "exec unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child --propagation private "
    command = ["bash", "-c", f'{join}{unshare} bash -c "$0" boot "$@"', _BOOT, str(root), str(repository), str(ROOT)]
    output = directory / "boot.log"
    with output.open("w") as log:
        starter = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)
    machine = Machine(starter, groups)
    try:
        machine.wait_until_up(output)
    except CannotBoot:
        machine.close()
        raise
    return machine


def _own_groups(name: str) -> list[Path]:
    """A group in the unified hierarchy and in that of systemd, as far as they are here."""
    hierarchies = [CGROUPS] if (CGROUPS / "cgroup.procs").exists() else [CGROUPS / "unified", CGROUPS / "systemd"]
    made = []
    for hierarchy in hierarchies:
        try:
            if hierarchy.is_dir():
                (hierarchy / name).mkdir()
                made.append(hierarchy / name)
        except OSError:
            continue
    return made


def _remove_group(group: Path) -> None:
    """With those that systemd made in it; the processes are gone in a moment."""
    end = time.monotonic() + 5
    while group.exists() and time.monotonic() < end:
        for directory, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                time.sleep(0.01)
    shutil.rmtree(group, ignore_errors=True)
