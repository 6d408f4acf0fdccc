"""Two sample children for a newcomer's first run: one adds a header, one refuses messages that carry a marker.

Each serves in the calling process (a fork of the manager's master) until SIGTERM or SIGINT, or until life_fd can be
read: that is a pipe whose other end the parent holds, so that a sample never outlives it. All is imported by then.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Callable

from mmgr import __version__
from mmgr.endpoint import Endpoint
from mmgr.peers.behaviour import Action, Behaviour, Responder
from mmgr.peers.milter import MilterPeer
from mmgr.protocol.commands import Body, BodyEob, CommandMessage, Header, Mail
from mmgr.protocol.constants import ActionFlag, MacroStage, ProtocolFlag
from mmgr.protocol.fields import shown
from mmgr.protocol.replies import AddHeader, Continue, ReplyCode

SAMPLE_HEADER = b"X-Milter-Manager-Sample"
"""What ``add_header`` adds to each message: the version and the queue id."""

MARKER = b"X-MILTER-MANAGER-SAMPLE-REJECT"
"""What makes ``reject_marked`` refuse a message: this string, anywhere in a Subject header or in the body."""

REJECTION = b"550 5.7.1 Rejected by the sample milter of milter manager"

_NO_ENVELOPE = (
    ProtocolFlag.SMFIP_NOCONNECT
    | ProtocolFlag.SMFIP_NOHELO
    | ProtocolFlag.SMFIP_NORCPT
    | ProtocolFlag.SMFIP_NODATA
    | ProtocolFlag.SMFIP_NOUNKNOWN
)
_NO_CONTENT = ProtocolFlag.SMFIP_NOHDRS | ProtocolFlag.SMFIP_NOEOH | ProtocolFlag.SMFIP_NOBODY
_NO_CONTENT_REPLY = (
    ProtocolFlag.SMFIP_NR_MAIL | ProtocolFlag.SMFIP_NR_HDR | ProtocolFlag.SMFIP_NR_EOH | ProtocolFlag.SMFIP_NR_BODY
)


def add_header(endpoint: Endpoint, life_fd: int | None = None) -> None:
    """Serve a milter that adds SAMPLE_HEADER to each message. Blocks; raises ListenError, EndpointError."""
    behaviour = Behaviour(
        actions=ActionFlag.SMFIF_ADDHDRS | ActionFlag.SMFIF_SETSYMLIST,
        steps=_NO_ENVELOPE | ProtocolFlag.SMFIP_NOMAIL | _NO_CONTENT,
        macro_lists={MacroStage.SMFIM_EOM: (b"i",)},
        responder=lambda: _add_header,
    )
    _serve_until_told(endpoint, behaviour, life_fd)


def reject_marked(endpoint: Endpoint, life_fd: int | None = None) -> None:
    """Serve a milter that refuses marked messages with REJECTION. Blocks; raises ListenError, EndpointError."""
    behaviour = Behaviour(actions=0, steps=_NO_ENVELOPE | _NO_CONTENT_REPLY, responder=_marker_search)
    _serve_until_told(endpoint, behaviour, life_fd)


def _add_header(message: CommandMessage, macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
    if not isinstance(message, BodyEob):
        return None
    queue_id = shown(macros.get(b"i", b"unknown"))
    return AddHeader(SAMPLE_HEADER, f"{__version__}; queue_id={queue_id}".encode()), Continue()


def _marker_search() -> Responder:
    """A responder that remembers whether the current message has the marker, also when it spans two chunks."""
    is_marked = False
    tail = b""

    def respond(message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        nonlocal is_marked, tail
        if isinstance(message, Mail):
            is_marked, tail = False, b""
        elif isinstance(message, Header):
            is_marked = is_marked or (message.name.lower() == b"subject" and MARKER in message.value)
        elif isinstance(message, Body):
            is_marked = is_marked or MARKER in tail + message.chunk
            tail = (tail + message.chunk)[-len(MARKER) + 1 :]
        elif isinstance(message, BodyEob):
            verdict = ReplyCode(REJECTION) if is_marked else Continue()
            is_marked, tail = False, b""
            return (verdict,)
        return None

    return respond


def _serve_until_told(endpoint: Endpoint, behaviour: Behaviour, life_fd: int | None) -> None:
    peer = MilterPeer(endpoint, behaviour, keeps_records=False)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        peer.end()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        peer.listen()
        peer.serve(*(() if life_fd is None else (life_fd,)))
    finally:
        peer.stop(patience_s=1.0)
        for number, previous in before.items():
            signal.signal(number, previous)


SAMPLES: Mapping[str, Callable[[Endpoint, int | None], None]] = {
    "sample-add-header": add_header,
    "sample-reject-marked": reject_marked,
}
"""The samples by the name under which the manager lists them as children."""
