"""A message as a test hands it to the scriptable MTA, and how one is read from a mail file. PURE.

Header values are kept as they stand behind the colon, leading space included, folded lines joined by LF as on the
milter wire; the body has CRLF line ends. Called by ``delivery``, ``apply`` and the test tools.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import getaddresses

HeaderField = tuple[bytes, bytes]
"""(name, value), the value with whatever follows the colon."""

DEFAULT_SENDER = b"<sender@example.com>"
DEFAULT_RECIPIENT = b"<receiver@example.org>"
DEFAULT_CHUNK = b"".join(b"La de da de da %d.\r\n" % number for number in range(1, 5))
"""What the incumbent's milter-test-server sends when nothing is asked for."""


_HEADER_NAME_BYTES = bytes(byte for byte in range(33, 127) if byte != ord(":"))
"""RFC 5322, section 2.2: printable US-ASCII but the colon."""


_LONE_LF = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True)
class Message:
    """One transaction: envelope, headers, and the body in the chunks in which it is to be sent.

    sender and recipients are written as in SMTP, with angle brackets; parameters are the ESMTP parameters.
    """

    sender: bytes = DEFAULT_SENDER
    recipients: tuple[bytes, ...] = (DEFAULT_RECIPIENT,)
    headers: tuple[HeaderField, ...] = ((b"From", b" " + DEFAULT_SENDER), (b"To", b" " + DEFAULT_RECIPIENT))
    chunks: tuple[bytes, ...] = (DEFAULT_CHUNK,)
    sender_parameters: tuple[bytes, ...] = ()
    recipient_parameters: tuple[bytes, ...] = ()

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)


def without_one_space(value: bytes) -> bytes:
    """A header's value as it travels unless SMFIP_HDR_LEADSPC is negotiated: one space (never a tab) less."""
    return value[1:] if value[:1] == b" " else value


def with_crlf(text: bytes) -> bytes:
    """Text with the line ends of the wire: each LF without a CR gets one."""
    return _LONE_LF.sub(b"\r\n", text)


def in_brackets(address: bytes) -> bytes:
    """An address as SMTP writes it: ``a@b`` and ``<a@b>`` both give ``<a@b>``, nothing gives ``<>``."""
    return address if address[:1] == b"<" else b"<" + address + b">"


def without_brackets(address: bytes) -> bytes:
    """An address as macros have it: ``<a@b>`` gives ``a@b``."""
    return address[1:-1] if address[:1] == b"<" and address[-1:] == b">" else address


def parse_mail(data: bytes) -> tuple[tuple[HeaderField, ...], bytes]:
    r"""Headers and body of a mail file with LF or CRLF line ends; bytes are kept, 8-bit ones too.

    An mbox line (``From `` at the very start) is dropped. The headers end at the first empty line, or before the first
    line that is none, as in Postfix. A last line without its end gets one, as in SMTP.

    >>> parse_mail(b"A: 1\n 2\n\nhi\n")
    (((b'A', b' 1\n 2'),), b'hi\r\n')
    """
    lines = [line[:-1] if line.endswith(b"\r") else line for line in data.split(b"\n")]
    if lines[-1] == b"":
        lines.pop()
    if lines and lines[0].startswith(b"From "):
        del lines[0]
    headers, n_lines = _leading_headers(lines)
    rest = lines[n_lines:]
    return headers, b"".join(line + b"\r\n" for line in (rest[1:] if rest[:1] == [b""] else rest))


def _leading_headers(lines: list[bytes]) -> tuple[tuple[HeaderField, ...], int]:
    """The headers at the start of lines, and how many lines they take."""
    headers: list[HeaderField] = []
    for position, line in enumerate(lines):
        name, colon, value = line.partition(b":")
        if headers and line[:1] in (b" ", b"\t"):
            headers[-1] = (headers[-1][0], headers[-1][1] + b"\n" + line)
        elif colon and name and not name.strip(_HEADER_NAME_BYTES):
            headers.append((name, value))
        else:
            return tuple(headers), position
    return tuple(headers), len(lines)


def addresses(headers: tuple[HeaderField, ...], name: bytes) -> tuple[bytes, ...]:
    """All addresses in all headers of that name, each in angle brackets, in their order."""
    values = [
        value.replace(b"\n", b" ").decode("utf-8", "surrogateescape")
        for key, value in headers
        if key.lower() == name.lower()
    ]
    found = [address for _, address in getaddresses(values) if address]
    return tuple(in_brackets(address.encode("utf-8", "surrogateescape")) for address in found)
