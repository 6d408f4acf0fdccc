"""What the figures were measured on, and whether Postfix can be measured here at all."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from tests.support.processes import ComponentMissing


def describe() -> dict[str, str]:
    """Hardware and software that matter, by name; what can't be found out is left away."""
    facts = {
        "processor": _field("/proc/cpuinfo", "model name", ":"),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "kernel": platform.release(),
        "system": _field("/etc/os-release", "PRETTY_NAME", "=").strip('"'),
        "Python": platform.python_version(),
        "Postfix": _output(["/usr/sbin/postconf", "-dh", "mail_version"]),
        "libmilter": _output(["dpkg-query", "-W", "-f", "${Version}", "libmilter-dev"]),
    }
    return {name: value for name, value in facts.items() if value}


def why_not_postfix() -> str:
    """The reason why nothing can be measured through Postfix here, "" if it can."""
    if os.geteuid() != 0:
        return "not root: Postfix needs it"
    if not Path("/etc/debian_version").exists():
        return "not Debian: the harness knows Debian's Postfix"
    if not os.access("/usr/sbin/postfix", os.X_OK):
        return "Postfix is not installed"
    return ""


def why_not_libmilter() -> str:
    """The reason why the C children can't be compiled here, "" if they can."""
    if shutil.which("cc") is None:
        return "there is no C compiler (package gcc)"
    if not Path("/usr/include/libmilter/mfapi.h").exists():
        return "libmilter's headers are not installed (package libmilter-dev)"
    return ""


def require(reason: str) -> None:
    """Raises ComponentMissing with the reason, if there is one."""
    if reason:
        raise ComponentMissing(reason)


def load_average() -> float:
    """How many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def _field(path: str, name: str, separator: str) -> str:
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(separator)[2].strip() for line in lines if line.startswith(name)), "")


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
