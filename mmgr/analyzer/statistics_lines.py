"""The ``[statistics]`` lines of milter manager 2, also written here with ``[log] statistics = yes``. PURE.

The formats are its stable interface; what they count as, its own log analyzer set: headers that milters add tell of
spam, viruses and the results of authentication.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WORDS = ("pass", "accept", "reject", "discard", "temporary-failure", "quarantine", "abort", "error", "stop")
STATUSES = {word: word.replace("-", "_") for word in _WORDS}
REPORTS = (
    *("spam", "virus", "uribl", "greylisting_pass", "tarpitting_pass", "spf_pass", "spf_fail"),
    *("sender_id_pass", "sender_id_fail", "dkim_pass", "dkim_fail", "dkim_adsp_pass", "dkim_adsp_fail"),
)

VALUE_BYTES_MAX = 8192
"""What stands behind that in a header is not looked at."""

_TAG = rb"\(\d+\)"
_SECONDS = rb"([0-9.e+-]{1,30})"
_SESSION_END = re.compile(rb"\[session\]\[end\]\[[\w-]+\]\[([a-z-]+)\]\[" + _SECONDS + rb"\]" + _TAG)
_MILTER_END = re.compile(rb"\[milter\]\[end\]\[[\w-]+\]\[([a-z-]+)\]\[" + _SECONDS + rb"\]" + _TAG + rb": (\S+)")
_HEADER = re.compile(rb"\[milter\]\[header\]\[add\]" + _TAG + rb": <([^=>]+)=(.*)>: (\S+)", re.DOTALL)
_FINISHED = re.compile(rb"\[sessions\]\[finished\] \d+\(\+\d+\) (\d{1,9})")
_DISCONNECTED = re.compile(rb"\[session\]\[disconnected\]\[" + _SECONDS + rb"\]" + _TAG)
_RESULT = re.compile(rb"(?<![\w-])(spf|sender-id|dkim|dkim-adsp)=(pass|fail|hardfail)\b", re.IGNORECASE)
_NEUTRAL = re.compile(rb"(?<![\w-])(dkim|dkim-adsp)=neutral\b[^;]*\(verification failed\)", re.IGNORECASE)


class Statistics(NamedTuple):
    """What one line adds; child is empty where it is about the session as a whole."""

    child: bytes = b""
    status: str = ""
    seconds: float | None = None
    sessions: tuple[tuple[str, int], ...] = ()
    concurrent: int | None = None
    reports: tuple[str, ...] = ()


def parse(message: bytes) -> Statistics | None:
    """A line from ``[statistics]`` on; None if it is cut. One that tells nothing to count gives an empty record."""
    text = message.partition(b" ")[2].rstrip()
    for pattern, make in _PARSERS:
        found = pattern.fullmatch(text)
        if found:
            return make(found)
    return None if text.startswith((b"[session][end]", b"[milter]", b"[sessions]")) else Statistics()


def _session_end(found: re.Match[bytes]) -> Statistics | None:
    status, seconds = STATUSES.get(found[1].decode()), _number(found[2])
    if status is None or seconds is None:
        return None
    return Statistics(status="error" if status == "stop" else status, seconds=seconds, sessions=(("smtp", 1),))


def _milter_end(found: re.Match[bytes]) -> Statistics | None:
    status, seconds = STATUSES.get(found[1].decode()), _number(found[2])
    if status is None or seconds is None:
        return None
    return Statistics(found[3], status, seconds, (("child", 1),))


def _header(found: re.Match[bytes]) -> Statistics:
    return Statistics(found[3], reports=tuple(reports_of(found[1].lower(), found[2])))


def _finished(found: re.Match[bytes]) -> Statistics:
    return Statistics(concurrent=int(found[1]))


def _disconnected(found: re.Match[bytes]) -> Statistics:
    return Statistics(sessions=(("disconnected", 1),))


_PARSERS = (
    (_SESSION_END, _session_end),
    (_MILTER_END, _milter_end),
    (_HEADER, _header),
    (_FINISHED, _finished),
    (_DISCONNECTED, _disconnected),
)


def reports_of(name: bytes, value: bytes) -> list[str]:
    """What a header that a milter added tells; name in small letters."""
    value = value[:VALUE_BYTES_MAX]
    if name in (b"x-spam", b"x-spam-flag"):
        return ["spam"] if value.strip().lower().startswith(b"yes") else []
    if name == b"x-spam-status":
        return ["uribl"] if re.search(rb"tests=\S*URIBL_", value) else []
    if name == b"x-virus-status":
        return ["virus"] if value.strip().lower().startswith(b"infected") else []
    if name == b"x-greylist":
        return _greylist(value)
    if name == b"authentication-results":
        return _authentication(value)
    return []


def _greylist(value: bytes) -> list[str]:
    if b"Delayed for" in value:
        return ["greylisting_pass"]
    if b"whitelisted by tarpit" in value:
        return ["tarpitting_pass"]
    return ["spf_pass"] if b"SPF-compliant" in value or b"passed SPF test" in value else []


def _authentication(value: bytes) -> list[str]:
    found = []
    for method, result in _RESULT.findall(value):
        word = method.lower().decode().replace("-", "_")
        found.append(f"{word}_pass" if result.lower() == b"pass" else f"{word}_fail")
    found += [f"{method.lower().decode().replace('-', '_')}_fail" for method in _NEUTRAL.findall(value)]
    return found


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None
