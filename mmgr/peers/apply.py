"""The message that comes out when an MTA applies a milter's edits, with Postfix's numbering. PURE.

For ``milter-test-server --output-message`` and for tests that compare. Source: Postfix src/cleanup/cleanup_milter.c
(``cleanup_ins_header``, ``cleanup_upd_header``, ``cleanup_del_rcpt``), seen with Postfix 3.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Callable

from mmgr.peers.mail import HeaderField, Message, in_brackets
from mmgr.protocol.replies import (
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    DelRcpt,
    Edit,
    InsHeader,
    Quarantine,
    ReplBody,
)


def apply_edits(message: Message, edits: Iterable[Edit], has_leading_space: bool, own_headers: int = 0) -> Message:
    """The message after all edits, in their order. Quarantine changes nothing in it (``quarantine_reason``).

    has_leading_space: values come with what follows the colon (SMFIP_HDR_LEADSPC); else one space is put there.
    own_headers: how many headers of its own the MTA has put on top of those in message (Postfix: its Received, 1); they
    count for the position of an insertion only.
    """
    draft = _Draft(message, b"" if has_leading_space else b" ", own_headers)
    for edit in edits:
        _APPLY[type(edit)](draft, edit)
    return draft.message()


def quarantine_reason(edits: Iterable[Edit]) -> bytes | None:
    """The reason of the last quarantine among edits, or None."""
    reasons = [edit.reason for edit in edits if isinstance(edit, Quarantine)]
    return reasons[-1] if reasons else None


class _Draft:
    """A message while its edits are applied."""

    def __init__(self, message: Message, colon_space: bytes, own_headers: int) -> None:
        self._original = message
        self._colon_space = colon_space
        self._own_headers = own_headers
        self._sender = message.sender
        self._sender_parameters = message.sender_parameters
        self._recipients = list(message.recipients)
        self._headers = list(message.headers)
        self._chunks: list[bytes] | None = None

    def message(self) -> Message:
        """What came out."""
        chunks: Sequence[bytes] = self._original.chunks if self._chunks is None else self._chunks
        return replace(
            self._original,
            sender=self._sender,
            sender_parameters=self._sender_parameters,
            recipients=tuple(self._recipients),
            headers=tuple(self._headers),
            chunks=tuple(chunks),
        )

    def _field(self, name: bytes, value: bytes) -> HeaderField:
        return name, self._colon_space + value

    def add_header(self, edit: AddHeader) -> None:
        self._headers.append(self._field(edit.name, edit.value))

    def insert_header(self, edit: InsHeader) -> None:
        """Index counts all headers from 0, the MTA's own on top included; beyond the end appends."""
        self._headers.insert(max(edit.index - self._own_headers, 0), self._field(edit.name, edit.value))

    def change_header(self, edit: ChgHeader) -> None:
        """The n-th of that name as numbered now: a deletion renumbers at once. A missing one is appended, or no-op."""
        wanted = edit.name.lower()
        places = [place for place, (name, _) in enumerate(self._headers) if name.lower() == wanted]
        nth = max(edit.index, 1)
        if nth <= len(places):
            new = [self._field(edit.name, edit.value)] if edit.value else []
            self._headers[places[nth - 1] : places[nth - 1] + 1] = new
        elif edit.value:
            self._headers.append(self._field(edit.name, edit.value))

    def add_recipient(self, edit: AddRcpt | AddRcptPar) -> None:
        """Once: Postfix filters duplicates."""
        recipient = in_brackets(edit.recipient)
        if recipient not in map(in_brackets, self._recipients):
            self._recipients.append(recipient)

    def delete_recipient(self, edit: DelRcpt) -> None:
        """Compared as it stands, case included, but for the brackets."""
        unwanted = in_brackets(edit.recipient)
        self._recipients = [recipient for recipient in self._recipients if in_brackets(recipient) != unwanted]

    def change_sender(self, edit: ChgFrom) -> None:
        self._sender = in_brackets(edit.sender)
        self._sender_parameters = tuple((edit.parameters or b"").split())

    def replace_body(self, edit: ReplBody) -> None:
        """The first chunk drops the old body, an empty one alone leaves an empty body."""
        self._chunks = [*(self._chunks or []), edit.chunk]

    def quarantine(self, edit: Quarantine) -> None:
        """The message itself stays as it is."""


_APPLY: dict[type[object], Callable[..., None]] = {
    AddHeader: _Draft.add_header,
    InsHeader: _Draft.insert_header,
    ChgHeader: _Draft.change_header,
    AddRcpt: _Draft.add_recipient,
    AddRcptPar: _Draft.add_recipient,
    DelRcpt: _Draft.delete_recipient,
    ChgFrom: _Draft.change_sender,
    ReplBody: _Draft.replace_body,
    Quarantine: _Draft.quarantine,
}
