"""One message as it stands: headers and body with the edits so far, and what the MTA has to be told. PURE.

A child's edits arrive in that child's view and numbering; ``Message.apply`` changes our copy, which the next child
sees, and notes each edit in the view of the MTA, which takes us for a single milter.

Numbering. Both MTAs count changes per name from 1, and inserts over all headers from 0. Both keep a Received of their
own, and Sendmail a Return-Path above it, from milters: they count for inserts and not for changes. Postfix numbers anew
after a delete, so each edit reaches it as the child made it. Sendmail goes on counting a deleted header for inserts,
and for changes until its next milter starts, so a change has to skip what an earlier child deleted. Sendmail inserts
behind the header that has the index, and adds one ahead of the first that has the same name. It also has further
headers of its own, as far as the message came without them, which nobody sees: an insert is certain only at the front
and at the end. Sources: Postfix cleanup_milter.c; sendmail milter.c (``milter_changeheader``) and headers.c
(``addheader``, ``insheader``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from mmgr.protocol.commands import Header
from mmgr.protocol.constants import Command
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import shown, terminated
from mmgr.protocol.framing import PAYLOAD, encode_frame
from mmgr.protocol.replies import AddHeader, ChgHeader, Edit, InsHeader, Quarantine, ReplBody, encode_reply

INDEX_MAX = 0x7FFFFFFF
"""A header index from here on is a configuration error in Postfix (``milter8_event``)."""


class Body(Protocol):
    """What a message needs of its body: ``workers.spool.BodySpool``."""

    size_bytes: int

    def add_frame(self, frame: bytes) -> None:
        """Keep one body frame."""

    def add_payload(self, payload: bytes) -> None:
        """Keep bytes of body."""

    def frames(self) -> Iterator[bytes]:
        """All frames from the first."""

    def close(self) -> None:
        """Forget everything."""


class HeaderField:
    """One header as the MTA would show it to a milter; value keeps its leading space if the MTA's does.

    frame is the packet that it came in, or None once we made it ourselves. deleted_by counts children: the number of
    the child that deleted it, 0 for a header that is there.
    """

    __slots__ = ("deleted_by", "frame", "is_hidden", "lowered", "name", "value")

    def __init__(self, name: bytes, value: bytes, frame: bytes | None = None, is_hidden: bool = False) -> None:
        self.name = name
        self.lowered = name.lower()
        self.value = value
        self.frame = frame
        self.is_hidden = is_hidden
        self.deleted_by = 0

    def as_frame(self) -> bytes:
        """The packet that shows this header to a child with the same leading-space convention as the MTA."""
        if self.frame is None:
            self.frame = encode_frame(Command.SMFIC_HEADER, terminated(self.name, self.value))
        return self.frame

    def without_leading_space(self) -> bytes:
        """The packet for a child that did not negotiate SMFIP_HDR_LEADSPC while the MTA did."""
        value = self.value[1:] if self.value[:1] == b" " else self.value
        return encode_frame(Command.SMFIC_HEADER, terminated(self.name, value))


class HeaderList:
    """The headers of one message in their order, with the numbering of the MTA that is talking to us.

    is_postfix chooses between the two numberings of the module's text.
    """

    def __init__(self, is_postfix: bool) -> None:
        self._is_postfix = is_postfix
        self._child = 1
        own = (b"Received",) if is_postfix else (b"Return-Path", b"Received")
        self._fields = [HeaderField(name, b"", is_hidden=True) for name in own]

    def __iter__(self) -> Iterator[HeaderField]:
        """The headers that the next child sees."""
        return (field for field in self._fields if not field.deleted_by and not field.is_hidden)

    def append(self, header: Header, frame: bytes) -> None:
        """A header as the MTA sent it."""
        self._fields.append(HeaderField(header.name, header.value, frame))

    def next_child(self) -> None:
        """The edits that follow come from another child, which does not see what was deleted before it."""
        self._child += 1

    def add(self, edit: AddHeader) -> Edit:
        """At the end; for Sendmail ahead of the first of that name."""
        position = len(self._fields) if self._is_postfix else self._first_of(edit.name.lower())
        self._fields.insert(position, HeaderField(edit.name, edit.value))
        return edit

    def insert(self, edit: InsHeader) -> Edit:
        """Ahead of the header that has the index now, for Sendmail behind it; beyond the end it is added there."""
        counted = [at for at, other in enumerate(self._fields) if not (self._is_postfix and other.deleted_by)]
        position = len(self._fields)
        if edit.index < len(counted):
            position = counted[edit.index] + (not self._is_postfix)
        self._fields.insert(position, HeaderField(edit.name, edit.value))
        return edit

    def change(self, edit: ChgHeader) -> Edit:
        """The index-th of its name gets another value, an empty one deletes it; a missing one is added."""
        same = [field for field in self._fields if field.lowered == edit.name.lower() and not field.is_hidden]
        seen = [field for field in same if self._is_seen_by_child(field)]
        counted = seen if self._is_postfix else same
        wanted = max(edit.index, 1)
        if wanted > len(seen):
            if edit.value:
                self.add(AddHeader(edit.name, edit.value))
            index = wanted + len(counted) - len(seen)
        else:
            self._change(seen[wanted - 1], edit)
            index = 1 + counted.index(seen[wanted - 1])
        return edit if index == wanted else ChgHeader(index, edit.name, edit.value)

    def _first_of(self, lowered: bytes) -> int:
        """Where the first header of that name stands, deleted ones included; the end if there is none."""
        places = (at for at, field in enumerate(self._fields) if field.lowered == lowered)
        return next(places, len(self._fields))

    def _change(self, field: HeaderField, edit: ChgHeader) -> None:
        field.frame = None
        field.value = edit.value
        field.deleted_by = 0 if edit.value else self._child
        if self._is_postfix:
            field.name = edit.name

    def _is_seen_by_child(self, field: HeaderField) -> bool:
        if self._is_postfix:
            return not field.deleted_by
        return field.deleted_by in (0, self._child)


class Message:
    """One message between MAIL and its end: what was collected, and what the children made of it so far."""

    def __init__(self, is_postfix: bool, body: Body) -> None:
        self.headers = HeaderList(is_postfix)
        self.has_end_of_headers = False
        self.body = body
        self.is_body_replaced = False
        self.edits: list[Edit] = []
        self.quarantine_reasons: list[bytes] = []

    def apply(self, edits: Iterable[Edit], new_body: Body | None) -> None:
        """All edits of one child whose verdict lets the message pass, in the order made; new_body None keeps the old.

        Never fails: what can be wrong with an edit was found by ``check_edit`` when it came.
        """
        for edit in edits:
            if isinstance(edit, Quarantine):
                self.quarantine_reasons.append(edit.reason)
            elif isinstance(edit, AddHeader):
                self.edits.append(self.headers.add(edit))
            elif isinstance(edit, InsHeader):
                self.edits.append(self.headers.insert(edit))
            elif isinstance(edit, ChgHeader):
                self.edits.append(self.headers.change(edit))
            else:
                self.edits.append(edit)
        if new_body is not None:
            self.body.close()
            self.body = new_body
            self.is_body_replaced = True
        self.headers.next_child()

    def quarantine(self) -> Quarantine | None:
        """The one request to hold the message, all reasons in it; None if nobody asked."""
        if not self.quarantine_reasons:
            return None
        return Quarantine(b"; ".join(dict.fromkeys(self.quarantine_reasons)))

    def edit_frames(self) -> list[bytes]:
        """What the MTA is to change: edits in the order made, quarantine, the whole new body last and contiguous."""
        frames = [encode_reply(edit) for edit in self.edits]
        quarantine = self.quarantine()
        if quarantine is not None:
            frames.append(encode_reply(quarantine))
        if self.is_body_replaced:
            body = [encode_reply(ReplBody(frame[PAYLOAD:])) for frame in self.body.frames()]
            frames += body or [encode_reply(ReplBody(b""))]
        return frames

    def close(self) -> None:
        """The message is over."""
        self.body.close()


def check_edit(edit: Edit) -> None:
    """Raise RemoteProtocolError for an edit that would break the MTA's side: an unusable header name, a bad index."""
    if isinstance(edit, (AddHeader, InsHeader, ChgHeader)) and not _is_header_name(edit.name):
        raise RemoteProtocolError(f"edit of a header with an unusable name: {shown(edit.name)}")
    if isinstance(edit, (InsHeader, ChgHeader)) and edit.index >= INDEX_MAX:
        raise RemoteProtocolError(f"edit of a header at an impossible index: {edit.index}")
    if isinstance(edit, ReplBody):
        raise RemoteProtocolError("a replaced body is no edit of the envelope or the headers")


def _is_header_name(name: bytes) -> bool:
    """RFC 5322, section 3.6.8: printable US-ASCII but the colon; 8-bit names pass, as both MTAs let them pass."""
    return bool(name) and all(byte > 32 and byte != 127 and byte != 58 for byte in name)
