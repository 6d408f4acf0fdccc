"""``join-groups`` alone, with stand-ins for what it asks and changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "packaging" / "systemd" / "join-groups.in"


def run(directory: Path, keys: str) -> subprocess.CompletedProcess[str]:
    """Run it where opendkim alone is installed; keys is what find says of key files that its group may read."""
    program = directory / "opendkim"
    for name, text in {
        "opendkim": "",
        "id": '[ "$1" = -Gn ] && echo milter-manager; exit 0',
        "getent": "",
        "find": f"printf '%s' '{keys}'",
        "usermod": 'echo "usermod $*"',
    }.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        (directory / name).chmod(0o755)
    text = SCRIPT.read_text("utf-8").replace("/usr/sbin/opendkim", str(program))
    for other in ("clamav-milter", "milter-greylist", "postfix", "opendmarc", "mimedefang", "amavisd-milter"):
        text = text.replace(f"/usr/sbin/{other}", "/nonexistent").replace(f"/usr/bin/{other}", "/nonexistent")
    environment = {"PATH": f"{directory}:/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", text], env=environment, capture_output=True, text=True, timeout=20, check=False
    )


def test_the_user_joins_the_group_of_a_milter_that_is_here(tmp_path: Path) -> None:
    done = run(tmp_path, keys="")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "usermod -a -G opendkim milter-manager")


def test_the_user_does_not_join_a_group_that_may_read_keys(tmp_path: Path) -> None:
    done = run(tmp_path, keys="/etc/opendkim/keys/default.private")
    assert (done.returncode, done.stdout) == (0, "")
    assert "RequireSafeKeys" in done.stderr


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_it_is_a_script_that_shells_can_read(shell: str) -> None:
    assert subprocess.run([shell, "-n", str(SCRIPT)], timeout=20, check=False).returncode == 0
