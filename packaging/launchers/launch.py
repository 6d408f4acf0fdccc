"""Starts one command of milter manager: ``launch.py LAUNCHER ARGUMENT...``, where LAUNCHER's name is the command's.

The launchers call it with ``python -I -B``. The modules beside this file come before all others. A module that can't be
loaded is said in one line, with exit code 69 (EX_UNAVAILABLE), instead of a traceback.
"""

import importlib
import os
import sys

ENTRY_POINTS = {}
EX_UNAVAILABLE = 69


def main():
    """Hand over to the command."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [here, os.path.join(here, "vendor")]
    sys.argv[:] = sys.argv[1:]
    name = os.path.basename(sys.argv[0])
    module, _, function = ENTRY_POINTS[name].partition(":")
    try:
        # setproctitle (1.3) finds our arguments from where the environment begins, so it has to look before a command
        # takes variables of systemd out of it; else titles stay as they were. Held by tests/packaging/test_booted.py.
        importlib.import_module("setproctitle").getproctitle()
        start = getattr(importlib.import_module(module), function)
    except ImportError as error:
        version = "{}.{}".format(*sys.version_info[:2])
        sys.stderr.write(
            f"{name}: {error} (Python {version}, {here}): a file is missing or damaged; install milter-manager anew\n"
        )
        sys.exit(EX_UNAVAILABLE)
    sys.exit(start())


if __name__ == "__main__":
    main()
