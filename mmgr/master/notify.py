"""sd_notify: words to the service manager, as datagrams to the socket that ``NOTIFY_SOCKET`` names.

No library is needed for it, nothing here blocks, and nothing that goes wrong here stops the daemon. What is said and
when is for ``reporting``. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections import deque
from collections.abc import MutableMapping

from mmgr.log import RateLimit, quoted

log = logging.getLogger(__name__)

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

WAITING_MAX = 50
"""Messages that wait for a service manager that does not read; the oldest are lost first."""

VALUE_MAX = 500
"""Characters of one value; a status is for people."""

_LATER = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.EINTR))
_USEC_PER_S = 1_000_000


class Notifier:
    """Where messages go; an address of "" is nobody. watchdog_s is how long the manager waits for a sign of life, or 0.

    The socket is made anew for each message, so forked processes have none of it and nothing has to be closed.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else 0.0
        self._waiting: deque[bytes] = deque(maxlen=WAITING_MAX)
        self._warnings = RateLimit()

    @property
    def is_heard(self) -> bool:
        """Is there a service manager that wants to be told?"""
        return bool(self._address)

    def send(self, **values: object) -> None:
        """Say ``NAME=value`` for each, in one message. What can't be sent now is kept and goes first next time."""
        if self.is_heard:
            self._waiting.append(encode(values))
            self.flush()

    def send_now(self, **values: object) -> bool:
        """Say what would not be true later: it goes now or not at all. Did it?"""
        self.flush()
        return not self._waiting and self._is_through(encode(values))

    def flush(self) -> None:
        """Send what waits, oldest first, as far as there is room."""
        while self._waiting and self._is_through(self._waiting[0]):
            self._waiting.popleft()

    def _is_through(self, message: bytes) -> bool:
        """Is the message done with? One that can never be sent is, too."""
        if not self.is_heard:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message, self._address)
        except OSError as error:
            if error.errno in _LATER:
                return False
            repeated = self._warnings.allows(error.errno)
            if repeated is not None:
                shown = quoted(self._address.replace("\0", "@"))
                log.warning("notify-failed socket=%s error=%s%s", shown, quoted(error.strerror or str(error)), repeated)
        return True


def encode(values: MutableMapping[str, object]) -> bytes:
    r"""One message: ``{"READY": 1, "STATUS": "all is well"}`` is ``READY=1\nSTATUS=all is well``."""
    return "\n".join(f"{name}={_one_line(str(value))}" for name, value in values.items()).encode("utf-8", "replace")


def _one_line(text: str) -> str:
    """A line's end would begin another assignment."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= VALUE_MAX else line[: VALUE_MAX - 3] + "..."


def take_notifier(environ: MutableMapping[str, str], pid: int) -> Notifier:
    """What the environment says, which is taken out of it: it is meant for this process and for none of its own.

    The watchdog counts only if ``WATCHDOG_PID`` is pid or absent.
    """
    address, wanted, whose = (environ.pop(name, "") for name in VARIABLES)
    if not address.startswith(("/", "@")) or len(os.fsencode(address)) < 2:
        return Notifier()
    is_ours = whose in ("", str(pid))
    is_number = wanted.isascii() and wanted.isdigit()
    return Notifier(address, int(wanted) / _USEC_PER_S if is_ours and is_number else 0.0)
