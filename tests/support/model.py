"""How an MTA applies header edits, as plainly as possible: what the edits of ``workers.message`` are measured by.

Postfix: cleanup_milter.c of 3.7.11, and seen with it (up to 3.5.23, 3.6.13, 3.7.9 and 3.8.4 it skips the topmost header
instead of its own Received in a change). Sendmail: milter.c and headers.c of 8.14 and later, with the two
headers of its own that are always there; what it would do with defaults of its own (Date, From, Message-Id) where the
message has none is left out, and so is that it may fill a deleted header's place again. PURE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from mmgr.protocol.replies import AddHeader, ChgHeader, InsHeader

HeaderEdit = Union[AddHeader, InsHeader, ChgHeader]
Pair = tuple[bytes, bytes]


@dataclass(eq=False)
class Entry:
    """One header. is_own: the MTA made it, and no milter sees it. is_gone: deleted but still in Sendmail's list."""

    name: bytes
    value: bytes
    is_own: bool = False
    is_gone: bool = False
    is_counted: bool = True

    def has_name(self, name: bytes) -> bool:
        """Upper and lower case are the same."""
        return self.name.lower() == name.lower()


class PostfixHeaders:
    """The headers in a queue file."""

    def __init__(self, headers: Iterable[Pair]) -> None:
        self.entries = [Entry(b"Received", b"from us", is_own=True)]
        self.entries += [Entry(name, value) for name, value in headers]

    def shown(self) -> list[Pair]:
        """What the next milter is shown."""
        return [(entry.name, entry.value) for entry in self.entries if not entry.is_own]

    def delivered(self) -> list[Pair]:
        """What is delivered."""
        return [(entry.name, entry.value) for entry in self.entries]

    def next_milter(self) -> None:
        """Nothing is remembered from one milter to the next."""

    def apply(self, edit: HeaderEdit) -> None:
        """Carry out one edit at once."""
        if isinstance(edit, AddHeader):
            self.entries.append(Entry(edit.name, edit.value))
        elif isinstance(edit, InsHeader):
            self.entries.insert(edit.index, Entry(edit.name, edit.value))
        else:
            self._change(edit)

    def _change(self, edit: ChgHeader) -> None:
        named = [entry for entry in self.entries if entry.has_name(edit.name) and not entry.is_own]
        number = max(edit.index, 1)
        if number > len(named):
            if edit.value:
                self.entries.append(Entry(edit.name, edit.value))
            return
        place = self.entries.index(named[number - 1])
        self.entries[place : place + 1] = [Entry(edit.name, edit.value)] if edit.value else []


class SendmailHeaders:
    """The linked list of an envelope, in which a deleted header stays without a value."""

    def __init__(self, headers: Iterable[Pair]) -> None:
        self.entries = [Entry(b"Return-Path", b"<g>", is_own=True), Entry(b"Received", b"from us", is_own=True)]
        self.entries += [Entry(name, value) for name, value in headers]

    def shown(self) -> list[Pair]:
        """What the next milter is shown."""
        return [(entry.name, entry.value) for entry in self.entries if not entry.is_own and not entry.is_gone]

    def delivered(self) -> list[Pair]:
        """What is delivered."""
        return [(entry.name, entry.value) for entry in self.entries if not entry.is_gone]

    def next_milter(self) -> None:
        """When the headers are sent to the next milter, deleted ones lose the mark by which changes count them."""
        for entry in self.entries:
            entry.is_counted = entry.is_counted and not entry.is_gone

    def apply(self, edit: HeaderEdit) -> None:
        """Carry out one edit at once."""
        if isinstance(edit, AddHeader):
            self._add(edit.name, edit.value)
        elif isinstance(edit, InsHeader):
            self.entries.insert(edit.index + 1, Entry(edit.name, edit.value))
        else:
            self._change(edit)

    def _add(self, name: bytes, value: bytes) -> None:
        for place, entry in enumerate(self.entries):
            if entry.has_name(name):
                self.entries.insert(place, Entry(name, value))
                return
        self.entries.append(Entry(name, value))

    def _change(self, edit: ChgHeader) -> None:
        number = edit.index
        for entry in self.entries:
            if entry.has_name(edit.name) and entry.is_counted and not entry.is_own:
                number -= 1
                if number <= 0:
                    entry.value = edit.value
                    entry.is_gone = not edit.value
                    return
        if edit.value:
            self._add(edit.name, edit.value)
