"""A launcher that hands over sockets as systemd does: DESCRIPTORS NAMES COMMAND..., lists with "," and ":".

``systemd-socket-activate`` waits for a first connection and makes its sockets itself; here the test keeps them open, as
systemd does while a service is started anew.
"""

from __future__ import annotations

import fcntl
import os
import sys

FIRST = 3
OUT_OF_THE_WAY = 100


def main(descriptors: str, names: str, *command: str) -> None:
    """Put the descriptors from FIRST on, say so in the environment, and become the command."""
    given = [int(text) for text in descriptors.split(",")]
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, OUT_OF_THE_WAY) for descriptor in given]
    for descriptor in given:
        os.close(descriptor)
    for index, descriptor in enumerate(moved):
        os.dup2(descriptor, FIRST + index, inheritable=True)
        os.close(descriptor)
    pid, number = str(os.getpid()), str(len(moved))
    os.environ.update(LISTEN_PID=pid, LISTEN_FDS=number, LISTEN_FDNAMES=names)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
