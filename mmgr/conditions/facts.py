"""What is known of a session at the moment, as conditions see it. PURE: a worker fills it in, conditions only read.

Whatever came from the MTA is bytes and may hold anything: names of any length, controls, invalid UTF-8.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class LocalTime(NamedTuple):
    """The machine's local time. weekday counts from Monday, 0."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    weekday: int


def _no_macro(name: bytes) -> bytes | None:
    return None


def _no_headers() -> Sequence[tuple[bytes, bytes]]:
    return ()


def _no_answer(name: str) -> Sequence[str]:
    return ()


def _has_answer(name: str) -> bool:
    return False


def _epoch() -> LocalTime:
    return LocalTime(1970, 1, 1, 0, 0, 3)


@dataclass
class Facts:
    """One session, and its current message. What a stage has not reached yet is empty.

    client_name is what the MTA says at connect: a verified host name, or "[ADDRESS]" or "unknown" where there is none.
    client_address is text without brackets or "IPv6:", a path for a unix socket; client_family the letter of the
    protocol (4, 6, L, U). sender and recipients have their angle brackets, as in MAIL and RCPT; sender_arguments are
    the ESMTP parameters. recipients are those of the message that were not refused; recipient is the one that is
    asked about. size_bytes is what MAIL announced (SIZE=), 0 for nothing, and from the content on the real size.

    macro gives the value of a macro by its name, with braces if it is longer than a letter (b"j", b"{auth_type}"),
    None where the MTA sent none. headers gives names and values of the message as the milter in question would see it.
    look_up asks the DNS for the IPv4 addresses of a name, () if there are none or the DNS fails; it may block.
    is_unanswered says whether the DNS failed for a name that was looked up, as far as anybody kept that.
    is_stressed says whether the pool is short of workers. clock gives the time.
    """

    client_name: bytes = b""
    client_address: bytes = b""
    client_family: bytes = b"U"
    client_port: int = 0
    helo: bytes = b""
    sender: bytes = b""
    sender_arguments: Sequence[bytes] = ()
    recipient: bytes = b""
    recipients: Sequence[bytes] = ()
    size_bytes: int = 0
    is_stressed: bool = False
    macro: Callable[[bytes], bytes | None] = _no_macro
    headers: Callable[[], Sequence[tuple[bytes, bytes]]] = _no_headers
    look_up: Callable[[str], Sequence[str]] = _no_answer
    is_unanswered: Callable[[str], bool] = _has_answer
    clock: Callable[[], LocalTime] = _epoch
    _address: tuple[bytes, Address | None] = field(default=(b"", None), repr=False, compare=False)

    @property
    def address(self) -> Address | None:
        """The client's address as a number; None for a unix socket, an unknown client or what is no address.

        An IPv4 address that is written as IPv6 (::ffff:192.0.2.7) counts as the IPv4 address that it is.
        """
        kept, address = self._address
        if kept != self.client_address:
            address = _parsed(self.client_address) if self.client_family in (b"4", b"6") else None
            self._address = (self.client_address, address)
        return address

    @property
    def is_postfix(self) -> bool:
        """Whether the MTA is Postfix, by its macro v."""
        return b"Postfix" in (self.macro(b"v") or b"")

    @property
    def is_authenticated(self) -> bool:
        """Whether the client logged in, by the macros {auth_type} and {auth_authen} of MAIL."""
        return bool(self.macro(b"{auth_type}") or self.macro(b"{auth_authen}"))


def _parsed(text: bytes) -> Address | None:
    try:
        address = ipaddress.ip_address(text.decode("ascii").split("%", 1)[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def mailbox(value: bytes) -> bytes:
    """The address inside of the brackets of MAIL and RCPT, without a source route."""
    if value[:1] == b"<" and value[-1:] == b">":
        value = value[1:-1]
    if value[:1] == b"@" and b":" in value:
        value = value.partition(b":")[2]
    return value
