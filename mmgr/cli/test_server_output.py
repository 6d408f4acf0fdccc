"""What milter-test-server prints about one message, as bytes. The format is the incumbent's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from mmgr.cli.writing import on_one_line, printable
from mmgr.peers.delivery import Outcome, Status, status_of
from mmgr.peers.mail import HeaderField, Message, in_brackets
from mmgr.protocol.replies import ReplyCode, Verdict

ENVELOPE_TITLE = b"Envelope:------------------------------"
HEADER_TITLE = b"Header:--------------------------------"
BODY_TITLE = b"Body:----------------------------------"

_COLOURS = {b"+ ": b"\x1b[01;32m", b"- ": b"\x1b[01;31m"}
_NO_COLOUR = b"\x1b[00m"
_REPLY_LINE = re.compile(rb"[45][0-9]{2}[ -]?(?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?(.*)", re.DOTALL)

Line = tuple[bytes, bytes]
"""(prefix of two characters, text)"""


def result(outcome: Outcome, elapsed_s: float, is_verbose: bool) -> bytes:
    """The lines about the verdict; an empty line ends them."""
    lines = [
        b"status: " + described(outcome.status, outcome.verdict),
        b"elapsed-time: %.6f seconds" % elapsed_s,
    ]
    if outcome.quarantine is not None:
        lines.append(b"Quarantine reason: <" + on_one_line(outcome.quarantine) + b">")
    if is_verbose:
        lines.append(b"stage: " + outcome.stage.encode())
        lines += [
            b"refused: " + on_one_line(recipient) + b" " + described(status_of(verdict), verdict)
            for recipient, verdict in outcome.refused
        ]
    return b"".join(line + b"\n" for line in lines) + b"\n"


def described(status: Status, verdict: Verdict) -> bytes:
    """A status word, and the reply code as ``[CODE]<EXTENDED CODE>(MESSAGE)`` if the milter gave one."""
    word = status.value.encode()
    if not isinstance(verdict, ReplyCode):
        return word
    found = [_REPLY_LINE.fullmatch(line) for line in verdict.text.split(b"\r\n")]
    texts = [match.group(2) if match else b"" for match in found]
    extended = found[0].group(1) if found[0] else None
    code = b"[" + verdict.text[:3] + b"]" + (b"<" + extended + b">" if extended else b"")
    return word + b" " + code + b"(" + on_one_line(b" / ".join(texts)) + b")"


def resulting_message(outcome: Outcome, has_colours: bool) -> bytes:
    """The message with the milter's edits: envelope and headers with a mark per line, the body plainly."""
    before, after = outcome.original, outcome.message
    body = printable(after.body)
    return b"".join(
        [
            ENVELOPE_TITLE + b"\n",
            *(_marked(line, has_colours) for line in envelope_lines(before, after)),
            HEADER_TITLE + b"\n",
            *(_marked(line, has_colours) for line in header_lines(before.headers, after.headers)),
            BODY_TITLE + b"\n",
            body,
            b"" if body.endswith(b"\n") or not body else b"\n",
            b"\n",
        ]
    )


def envelope_lines(before: Message, after: Message) -> Iterator[Line]:
    """The sender, then the old recipients in their order, then the new ones."""
    old, new = (_sender(message) for message in (before, after))
    if old == new:
        yield b"  ", old
    else:
        yield b"- ", old
        yield b"+ ", new
    left = [in_brackets(recipient) for recipient in after.recipients]
    known = [in_brackets(recipient) for recipient in before.recipients]
    for recipient in known:
        yield (b"  " if recipient in left else b"- "), b"RCPT TO:" + recipient
    for recipient in left:
        if recipient not in known:
            yield b"+ ", b"RCPT TO:" + recipient


def header_lines(before: tuple[HeaderField, ...], after: tuple[HeaderField, ...]) -> Iterator[Line]:
    """The new headers in their order, each deletion behind what came in its place; one line per folded line."""
    for what, old_start, old_end, new_start, new_end in SequenceMatcher(None, before, after, False).get_opcodes():
        if what == "equal":
            yield from _header_lines(b"  ", after[new_start:new_end])
        else:
            yield from _header_lines(b"+ ", after[new_start:new_end])
            yield from _header_lines(b"- ", before[old_start:old_end])


def _sender(message: Message) -> bytes:
    return b" ".join((b"MAIL FROM:" + in_brackets(message.sender), *message.sender_parameters))


def _header_lines(mark: bytes, headers: tuple[HeaderField, ...]) -> Iterator[Line]:
    for name, value in headers:
        for line in (name + b":" + value).split(b"\n"):
            yield mark, line


def _marked(line: Line, has_colours: bool) -> bytes:
    mark, text = line
    shown = mark + on_one_line(text)
    if has_colours and mark in _COLOURS:
        shown = _COLOURS[mark] + shown + _NO_COLOUR
    return shown + b"\n"
