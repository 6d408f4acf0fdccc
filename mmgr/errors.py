"""The errors of this project that are not the wire's; those are in ``mmgr.protocol.errors``.

Each class says what its catcher should do. ``OSError`` is translated into one of these once, at the edge.
"""

from __future__ import annotations


class MmgrError(Exception):
    """Whatever this program raises on purpose; its text is fit for the log and for a terminal."""


class ConfigError(MmgrError):
    """One fault in the configuration. The reader collects all of them; nothing is started or swapped while one stands.

    path is the file (or "command line"), line counts from 1 (0: the file as a whole), key is the dotted key or "",
    problem says what is wrong including the offending text, hint what to do about it (may be empty).
    """

    def __init__(self, path: str, line: int, key: str, problem: str, hint: str = "") -> None:
        super().__init__(path, line, key, problem, hint)
        self.path = path
        self.line = line
        self.key = key
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {key}{self.problem}{hint}"


class ConfigErrors(MmgrError):
    """All faults of one reading, in the order of files and lines."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__(*errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class EndpointError(MmgrError):
    """A socket address that can't be parsed; the text says what is wrong with which part."""


class ListenError(MmgrError):
    """A socket that can't be bound: taken by a live instance, too long, not writable. Exit 1, nothing was changed."""


class ControlError(MmgrError):
    """The control socket: a request that is refused, or a daemon that can't be asked. The text says why."""


class ControlUnanswered(ControlError):
    """No daemon answers on the control socket."""


class PrivilegeError(MmgrError):
    """The user or group to run as does not exist or can't be taken. Exit 1."""


class PeerClosed(MmgrError):
    """The other end closed the connection; for an MTA an ordinary end, for a child while a reply is due a failure."""


class PeerTruncated(PeerClosed):
    """The other end closed the connection in the middle of a packet."""


class PeerTimeout(MmgrError):
    """The other end did not read or write in time. The connection is out of step and has to be closed."""


class ChildError(MmgrError):
    """A child failed: it is out for the session, and its fallback applies."""


class ChildUnavailable(ChildError):
    """The child's socket can't be connected, or the connection was closed."""


class ChildTimeout(ChildError):
    """The child did not answer within its deadline."""


class ChildProtocolError(ChildError):
    """The child sent what the protocol does not allow."""
