"""Log lines as they stand in files, for the tests of the log analyzer."""

from __future__ import annotations

import time

NOW = 1795388400.0
"""A whole minute in November 2026."""


def transaction(
    session: str = "4711.1",
    verdict: str = "accept",
    elapsed_s: float = 0.25,
    children: str = "greylist:continue:0.0100,clamav:accept:0.2000",
) -> str:
    """Our line about one message."""
    return (
        f"transaction session={session} queue_id=4bXyZ1 client=mx.example.net[192.0.2.7] sender=<a@example.org> "
        f"recipients=1 refused=0 stage=end-of-message verdict={verdict} child=- elapsed_s={elapsed_s:.4f} "
        f"size_bytes=1234 edits=1 children={children}"
    )


def syslog(message: str, at: float = NOW - 600, host: str = "mx1.example.net") -> bytes:
    """A line as syslog writes it, in local time and without a year."""
    return f"{time.strftime('%b %e %H:%M:%S', time.localtime(at))} {host} milter-manager[4711]: {message}\n".encode()


def own(message: str, at: float = NOW - 600, level: str = "info") -> str:
    """A line as our own log file has it, without its end."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.123Z [4711] {level}: {message}"
