"""Protocol errors, h11's way: ours and theirs are different things."""

from __future__ import annotations


class ProtocolError(Exception):
    """Something that the milter protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """We tried something illegal: our bug. Traceback to the log; the MTA gets a temporary failure."""


class RemoteProtocolError(ProtocolError):
    """The peer did something illegal: warn and end that peer. The text names what came, cut and escaped."""
