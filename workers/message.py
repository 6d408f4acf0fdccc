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

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from mmgr.protocol.commands import decode_header
from mmgr.protocol.constants import Command, Reply
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

    @property
    def is_short(self) -> bool:
        """Is it a single frame in memory, or none?"""

    def frames(self) -> Iterator[bytes]:
        """All frames from the first."""

    def close(self) -> None:
        """Forget everything."""


class HeaderField:
    """One header as the MTA would show it to a milter; value keeps its leading space if the MTA's does.

    frame is the packet that it came in, or None once we made it ourselves. added_by and deleted_by are the numbers of
    the children that did so, 0 for the MTA and for a header that is there.
    """

    __slots__ = ("added_by", "deleted_by", "frame", "is_hidden", "lowered", "name", "value")

    def __init__(self, name: bytes, value: bytes, frame: bytes | None = None, is_hidden: bool = False) -> None:
        self.name = name
        self.lowered = name.lower()
        self.value = value
        self.frame = frame
        self.is_hidden = is_hidden
        self.added_by = 0
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

    is_postfix chooses between the two numberings of the module's text. came are packets not taken apart yet; whoever
    collects many may append to it.
    """

    def __init__(self, is_postfix: bool) -> None:
        self._is_postfix = is_postfix
        self._child = 1
        self._group = 1
        self.came: list[bytes] = []
        self._taken_apart: list[HeaderField] = []

    @property
    def _fields(self) -> list[HeaderField]:
        """Those that came, taken apart at the first edit: most messages see none."""
        if not self._taken_apart:
            own = (b"Received",) if self._is_postfix else (b"Return-Path", b"Received")
            self._taken_apart = [HeaderField(name, b"", is_hidden=True) for name in own]
        for frame in self.came:
            header = decode_header(frame[PAYLOAD:])
            self._taken_apart.append(HeaderField(header.name, header.value, frame))
        self.came.clear()
        return self._taken_apart

    def __iter__(self) -> Iterator[HeaderField]:
        """The headers that the next child sees."""
        return (field for field in self._fields if not field.deleted_by and not field.is_hidden)

    def frames(self, drops_spaces: bool = False) -> Sequence[bytes]:
        """The packets that show these headers to the next child, optionally without the space after the colon."""
        if drops_spaces:
            return [field.without_leading_space() for field in self]
        return [field.as_frame() for field in self] if self._taken_apart else self.came

    def append(self, frame: bytes) -> None:
        """A header as the MTA sent it: a packet that ``check_command`` found in order."""
        self.came.append(frame)

    def next_child(self, starts_group: bool = True) -> None:
        """The edits that follow come from another child, which does not see what was deleted before it.

        starts_group False: it was shown the same headers as the child before, without any of that one's edits.
        """
        self._child += 1
        if starts_group:
            self._group = self._child

    def add(self, edit: AddHeader) -> Edit:
        """At the end; for Sendmail ahead of the first of that name."""
        self._insert_at(len(self._fields) if self._is_postfix else self._first_of(edit.name.lower()), edit)
        return edit

    def insert(self, edit: InsHeader) -> Edit:
        """Ahead of the header that has the index now, for Sendmail behind it; beyond the end it is added there."""
        counted = [at for at, field in enumerate(self._fields) if self._is_counted_by_child(field)]
        at = counted[edit.index] if edit.index < len(counted) else len(self._fields)
        index = sum(map(self._is_counted_by_mta, self._fields[:at]))
        if edit.index >= len(counted):
            index = max(index, edit.index)
        self._insert_at(at + (not self._is_postfix), edit)
        return edit if index == edit.index else InsHeader(index, edit.name, edit.value)

    def change(self, edit: ChgHeader) -> Edit | None:
        """The index-th of its name gets another value, an empty one deletes it; a missing one is added.

        None if another child of the group deleted that very header: there is nothing left to change.
        """
        same = [field for field in self._fields if field.lowered == edit.name.lower() and not field.is_hidden]
        seen = [field for field in same if self._is_seen_by_child(field)]
        wanted = max(edit.index, 1)
        if wanted > len(seen):
            if edit.value:
                self.add(AddHeader(edit.name, edit.value))
            index = max(wanted, 1 + sum(map(self._is_counted_by_mta, same)))
            return edit if index == wanted else ChgHeader(index, edit.name, edit.value)
        field = seen[wanted - 1]
        if field.deleted_by not in (0, self._child):
            return None
        index = 1 + sum(map(self._is_counted_by_mta, same[: same.index(field)]))
        self._change(field, edit)
        return edit if index == wanted else ChgHeader(index, edit.name, edit.value)

    def _insert_at(self, position: int, edit: AddHeader | InsHeader) -> None:
        field = HeaderField(edit.name, edit.value)
        field.added_by = self._child
        self._fields.insert(position, field)

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

    def _is_in_view(self, field: HeaderField) -> bool:
        """Was it there when the child's group was shown the headers, or is it the child's own?"""
        if field.added_by >= self._group and field.added_by != self._child:
            return False
        return field.deleted_by in (0, self._child) or field.deleted_by >= self._group

    def _is_seen_by_child(self, field: HeaderField) -> bool:
        """Does it count for a change that the child makes?"""
        return self._is_in_view(field) and not (self._is_postfix and field.deleted_by == self._child)

    def _is_counted_by_child(self, field: HeaderField) -> bool:
        """Does it count for an insert that the child makes? In Sendmail whatever was deleted still does."""
        if self._is_postfix:
            return self._is_seen_by_child(field)
        return field.added_by < self._group or field.added_by == self._child

    def _is_counted_by_mta(self, field: HeaderField) -> bool:
        """Does it count for an edit that the MTA is told, as those of one milter?"""
        return not (self._is_postfix and field.deleted_by)


class Message:
    """One message between MAIL and its end: what was collected, and what the children made of it so far.

    derived is for what others make of headers and body as they stand; an edit empties it.
    """

    def __init__(self, is_postfix: bool, body: Body) -> None:
        self.headers = HeaderList(is_postfix)
        self.body = body
        self.is_body_replaced = False
        self.edits: list[Edit] = []
        self.quarantine_reasons: list[bytes] = []
        self.derived: dict[object, Any] = {}

    def apply(self, edits: Sequence[Edit], new_body: Body | None, starts_group: bool = True) -> None:
        """All edits of one child whose verdict lets the message pass, in the order made; new_body None keeps the old.

        starts_group False: the next child was given the message without these edits, at the same time as this one.
        Never fails: what can be wrong with an edit was found by ``check_edit`` when it came.
        """
        if edits or new_body is not None:
            self.derived.clear()
        for edit in edits:
            if isinstance(edit, Quarantine):
                self.quarantine_reasons.append(edit.reason)
            elif isinstance(edit, AddHeader):
                self.edits.append(self.headers.add(edit))
            elif isinstance(edit, InsHeader):
                self.edits.append(self.headers.insert(edit))
            elif isinstance(edit, ChgHeader):
                changed = self.headers.change(edit)
                if changed is not None:
                    self.edits.append(changed)
            else:
                self.edits.append(edit)
        if new_body is not None:
            self.body.close()
            self.body = new_body
            self.is_body_replaced = True
        self.headers.next_child(starts_group)

    def quarantine(self) -> Quarantine | None:
        """The one request to hold the message, all reasons in it; None if nobody asked."""
        if not self.quarantine_reasons:
            return None
        return Quarantine(b"; ".join(dict.fromkeys(self.quarantine_reasons)))

    def edit_frames(self) -> Iterator[bytes]:
        """What the MTA is to change: edits in the order made, quarantine, the whole new body last and contiguous."""
        for edit in self.edits:
            yield encode_reply(edit)
        quarantine = self.quarantine()
        if quarantine is not None:
            yield encode_reply(quarantine)
        if self.is_body_replaced:
            if not self.body.size_bytes:
                yield encode_reply(ReplBody(b""))
            for frame in self.body.frames():
                yield encode_frame(Reply.SMFIR_REPLBODY, frame[PAYLOAD:])

    def count_edits(self) -> int:
        """How many edits the MTA is told, a new body as one."""
        return len(self.edits) + bool(self.quarantine_reasons) + self.is_body_replaced

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
    """RFC 5322, section 3.6.8: printable US-ASCII but the colon. Postfix takes any other for the end of the headers."""
    return bool(name) and all(32 < byte < 127 and byte != 58 for byte in name)
