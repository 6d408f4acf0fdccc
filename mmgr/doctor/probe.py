"""Puts a negotiation to a peer and says what answered. OPTNEG, the reply, QUIT: never a bare connect.

A connect that says nothing has brought milters down (opendkim of EL 7 under a monitor that did just that). It blocks up
to the timeout, and reads no more than one negotiation or the head of a banner, however much or little a peer sends.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass

from mmgr.connecting import connect
from mmgr.doctor.banners import Foreign, classify, excerpt
from mmgr.endpoint import Endpoint
from mmgr.errors import EndpointError, PeerClosed, PeerTimeout
from mmgr.protocol.constants import SMFI_VERSION_MAX, SMFI_VERSION_MIN, Command, Reply
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE, LENGTH_PREFIX, PAYLOAD, encode_frame
from mmgr.protocol.options import ALL_ACTIONS, ALL_STEPS, OptionNegotiation, decode_options, encode_options
from mmgr.stream import FrameStream

NEGOTIATION_BYTES_MAX = 65536
"""A reply with a macro list for each stage has some hundred bytes."""

BANNER_BYTES_MAX = 512
"""SMTP's longest reply line (RFC 5321, section 4.5.3.1.5); more is not needed to know a peer."""

BANNER_REST_S = 0.5
"""How long the rest of a line is waited for once it is plain that the peer is no milter."""

SO_PEERSEC = 31
_CREDENTIALS = struct.Struct("3i")

MILTER, FOREIGN, CLOSED, SILENT, REFUSED, ODD = "milter", "foreign", "closed", "silent", "refused", "odd"


@dataclass(frozen=True)
class Answer:
    """What came of it. outcome is MILTER; FOREIGN (what and excerpt say which); CLOSED without a word; SILENT; REFUSED:
    not connected, text says why; ODD: a packet of the protocol that is no good answer.

    peer_pid and peer_label are known of unix sockets: who listens, and its SELinux context ("" without SELinux).
    """

    outcome: str
    text: str = ""
    options: OptionNegotiation | None = None
    foreign: Foreign | None = None
    peer_pid: int = 0
    peer_label: str = ""


def probe(endpoint: Endpoint, timeout_s: float) -> Answer:
    """Ask whoever listens at the endpoint. Raises nothing."""
    deadline = time.monotonic() + timeout_s
    try:
        stream = connect(endpoint, deadline, NEGOTIATION_BYTES_MAX)
    except PeerTimeout:
        return Answer(REFUSED, f"not connected within {timeout_s:g} s")
    except (PeerClosed, EndpointError) as error:
        return Answer(REFUSED, str(error))
    try:
        pid, label = _peer(stream)
        answer = _negotiate(stream, deadline, timeout_s)
        return Answer(answer.outcome, answer.text, answer.options, answer.foreign, pid, label)
    finally:
        stream.close()


def _negotiate(stream: FrameStream, deadline: float, timeout_s: float) -> Answer:
    offer = OptionNegotiation(SMFI_VERSION_MAX, ALL_ACTIONS, ALL_STEPS)
    try:
        stream.write([encode_frame(Command.SMFIC_OPTNEG, encode_options(offer))], deadline)
    except (PeerClosed, PeerTimeout, RemoteProtocolError):
        pass  # what it said before it closed is still there to be read
    data, is_closed = _hear(stream, deadline)
    if not data:
        return Answer(CLOSED) if is_closed else Answer(SILENT, f"no answer within {timeout_s:g} s")
    if not _may_be_negotiation(data):
        return Answer(FOREIGN, excerpt(data), foreign=classify(data))
    if not _is_whole(data):
        state = (
            "closed the connection in the middle of a packet" if is_closed else f"was not done within {timeout_s:g} s"
        )
        return Answer(ODD, f"began to answer and {state}")
    stream.write_patiently([encode_frame(Command.SMFIC_QUIT)])
    return _judged(data)


def _judged(data: bytes) -> Answer:
    """A whole packet that looks like a negotiation."""
    (length,) = LENGTH_PREFIX.unpack_from(data)
    if data[CODE] != Reply.SMFIR_OPTNEG:
        return Answer(ODD, f"answers the negotiation with {chr(data[CODE])!r} where 'O' belongs")
    try:
        options = decode_options(data[PAYLOAD : CODE + length])
    except RemoteProtocolError as error:
        return Answer(ODD, str(error))
    if not SMFI_VERSION_MIN <= options.version <= SMFI_VERSION_MAX:
        return Answer(ODD, f"answers with version {options.version}, which does not exist or is too old", options)
    return Answer(MILTER, options=options)


def _hear(stream: FrameStream, deadline: float) -> tuple[bytes, bool]:
    """What the peer says: a packet, or enough of a banner; and whether it closed the connection."""
    data = b""
    while time.monotonic() < deadline:
        if data and not _may_be_negotiation(data):
            if len(data) >= BANNER_BYTES_MAX or b"\n" in data:
                break
            deadline = min(deadline, time.monotonic() + BANNER_REST_S)
        elif _is_whole(data):
            break
        more = _receive(stream, deadline)
        if more is None:
            break
        if not more:
            return data, True
        data += more
    return data, False


def _receive(stream: FrameStream, deadline: float) -> bytes | None:
    """What comes before the deadline, None for nothing, b"" at the end of the stream."""
    waiting = select.poll()
    waiting.register(stream.fileno(), select.POLLIN)
    if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
        return None
    try:
        return stream.receive_raw(BANNER_BYTES_MAX, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""  # reset, as by a peer that did not read what we sent


def _may_be_negotiation(data: bytes) -> bool:
    """Can these be the first bytes of a packet of a length that a negotiation has?"""
    if len(data) < CODE:
        return data[:1] in (b"", b"\x00")
    return 1 <= int(LENGTH_PREFIX.unpack_from(data)[0]) <= NEGOTIATION_BYTES_MAX


def _is_whole(data: bytes) -> bool:
    return len(data) > CODE and len(data) >= CODE + int(LENGTH_PREFIX.unpack_from(data)[0])


def _peer(stream: FrameStream) -> tuple[int, str]:
    """Process and SELinux context of whoever listens on a unix socket; 0 and "" where nobody tells."""
    connected = socket.socket(fileno=stream.fileno())
    try:
        if connected.family != socket.AF_UNIX:
            return 0, ""
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = int(_CREDENTIALS.unpack(credentials)[0])
        try:
            label = connected.getsockopt(socket.SOL_SOCKET, SO_PEERSEC, 256).rstrip(b"\0").decode("ascii", "replace")
        except OSError:
            label = ""
        return pid, label
    except OSError:
        return 0, ""
    finally:
        connected.detach()
