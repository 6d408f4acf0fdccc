"""Tries a tree that was laid out, before it becomes a package: ``check_tree.py APPDIR``.

Every module loads with this Python, the modules of others come from the tree, and the daemon serves a session. It runs
in ``%check`` with nothing but Python, as root or not, and uses no network.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Raises SystemExit with what is wrong."""
    app = Path(sys.argv[1]).resolve()
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(app), str(app / "vendor")]
    for name in ("mmgr", "workers"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in sorted(file.parent.name for file in (app / "vendor").glob("*/__init__.py")):
        found = importlib.import_module(name).__file__
        if found is None or not Path(found).is_relative_to(app):
            sys.exit(f"{name} comes from {found}")
    _serve(app)
    sys.stdout.write(f"{app}: whole with Python {sys.version.split()[0]}\n")


def _serve(app: Path) -> None:
    """One session through the daemon, with its sample milters."""
    start = [sys.executable, "-I", "-B", str(app / "launch.py")]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        user = pwd.getpwnam("nobody")
        if os.geteuid() == 0:
            os.chown(directory, user.pw_uid, user.pw_gid)
        spec = f"unix:{directory}/m.sock"
        options = ["--samples", "--no-daemon", "-c", name, "-s", spec, "--control-spec", f"unix:{directory}/c.sock"]
        options += ["-u", user.pw_name] if os.geteuid() == 0 else []
        daemon = subprocess.Popen([*start, "milter-manager", *options], stdout=subprocess.PIPE, text=True)
        try:
            said = daemon.stdout.readline() if daemon.stdout else ""  # it speaks once it serves
            test = subprocess.run([*start, "milter-test-server", "-s", spec], check=False, timeout=60)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=60)
    if test.returncode != 0 or daemon.returncode != 0:
        sys.exit(f"a session ended with {test.returncode}, the daemon with {daemon.returncode}, having said {said!r}")


if __name__ == "__main__":
    main()
