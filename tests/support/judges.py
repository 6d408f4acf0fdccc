"""What detection is compared with: the package database, systemd, and the sockets on which daemons really listen.

``detected`` and ``listening`` run where the daemons are, which may be a ``BootedMachine``; they return what JSON can
carry. Nothing of ``mmgr/detect`` is used by the judges.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import psutil

from mmgr.detect.detection import detect
from tests.support.processes import connect_to, negotiates, wait_for

DISTRIBUTED = ("clamav-milter", "opendkim", "opendmarc", "spamass-milter", "rspamd")
"""The milters of Debian 12 that the tests install, in the order in which they see a message there."""

SLOWEST_START_S = 80.0  # rspamd compiles its patterns at its first start: eight seconds of a processor
_WITHOUT_LIBMILTER = {"rspamd"}
_SERVICE_FILE = re.compile(r"(?:/etc/init\.d/|(?:/usr)?/lib/systemd/system/)([\w-]+?)(?:\.service)?")


def detected(root: str = "/") -> dict[str, dict[str, object]]:
    """What detection says of the milters below root, by name and in its order."""
    return {
        milter.name: {
            "spec": milter.connection_spec.value if milter.connection_spec else None,
            "where": str(milter.connection_spec.where) if milter.connection_spec else "",
            "is_enabled": milter.is_enabled.value,
            "why_not": milter.why_not,
            "socket_group": milter.socket_group,
        }
        for milter in detect(root).milters
    }


@cache
def installed() -> frozenset[str]:
    """The services of the installed packages that are linked with libmilter, and of rspamd, which is not."""
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Depends}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = set()
    for line in listed.stdout.splitlines():
        status, package, depends = line.split("\t")
        if status.startswith("ii") and ("libmilter1" in depends or package in _WITHOUT_LIBMILTER):
            found |= services_of(package)
    return frozenset(found)


def services_of(package: str) -> set[str]:
    """The names of the units and start scripts that a package brings."""
    files = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=True).stdout
    return {found.group(1) for found in map(_SERVICE_FILE.fullmatch, files.splitlines()) if found}


def listening(unit: str) -> list[str]:
    """Where the processes of a running unit listen, in our socket syntax, /var/run written as /run."""
    shown = ["systemctl", "show", unit, "-p", "ControlGroup", "--value"]
    group = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
    pids = set(map(int, Path(f"/sys/fs/cgroup{group}/cgroup.procs").read_text().split()))
    found = set()
    for each in psutil.net_connections("all"):
        if each.pid not in pids:
            continue
        if isinstance(each.laddr, str):  # a unix socket; what was accepted there has the same name
            if each.laddr.startswith("/"):
                found.add("unix:" + re.sub("^/var/run/", "/run/", each.laddr))
        elif each.laddr and each.status == psutil.CONN_LISTEN:
            found.add(f"inet:{each.laddr.port}@{each.laddr.ip}")
    return sorted(found)


def rspamd_says() -> list[str]:
    """Where rspamd's milter worker would listen, as rspamd reads its own configuration."""
    dumped = subprocess.run(["rspamadm", "configdump", "worker"], capture_output=True, text=True, check=True).stdout
    (proxy,) = re.findall(r"^rspamd_proxy \{\n(.*?)^\}", dumped, re.M | re.S)
    return re.findall(r'^ *bind_socket = "(.*?)(?: mode=\d+)?";', proxy, re.M)


def wait_for_answer(spec: str) -> bool:
    """Returns once a milter at spec answers an option negotiation."""
    return wait_for(lambda: negotiates(spec), f"answer at {spec}", SLOWEST_START_S)


def wait_for_scanners() -> bool:
    """Returns once spamd, which listens long before, and clamd do their work at their usual places."""
    return wait_for(_spamd_answers, "answer of spamd", SLOWEST_START_S) and wait_for(
        lambda: _says("unix:/run/clamav/clamd.ctl", b"zPING\0", b"PONG"), "answer of clamd", SLOWEST_START_S
    )


def _spamd_answers() -> bool:
    return _says("inet:783@127.0.0.1", b"PING SPAMC/1.2\r\n\r\n", b"PONG")


def _says(spec: str, question: bytes, answer: bytes) -> bool:
    try:
        with connect_to(spec, timeout_s=5.0) as connection:
            connection.sendall(question)
            return answer in connection.recv(100)
    except OSError:
        return False
