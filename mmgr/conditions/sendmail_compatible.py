"""Sendmail Compatible: behind Postfix, the milter gets macros that Sendmail would have sent and Postfix does not. PURE.

Source: the default lists of sendmail's cf/README and of Postfix (``milter_connect_macros`` and so on); how their values
are formed, Postfix src/smtpd/smtpd_milter.c and sendmail/daemon.c. Only what follows from the session is filled in:
{auth_ssf}, {mail_host} and {mail_mailer} are known to the MTA alone, and {msg_id} would take the whole message from the
MTA even where no milter wants it. The queue id is the one exception: Postfix has
none before DATA or the second recipient, and milters written for Sendmail want one at MAIL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Callable

from mmgr.conditions.base import NO_MACROS, Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.regexes import SEEN_BYTES

DUMMY_ID = b"dummy-id"
"""The queue id while there is none."""

_UNFIT = re.compile(rb"[\x00-\x1f\x7f]")
_HOST_NAME = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+\.?")

Pair = tuple[bytes, bytes]


def _connect(facts: Facts) -> Iterator[Pair]:
    yield from _interface(facts)
    address = facts.address
    if address is None:
        return
    plain = str(address).encode("ascii")
    tagged = _tagged(plain)
    yield b"{client_addr}", tagged
    if facts.client_port:
        yield b"{client_port}", b"%d" % facts.client_port
    name = facts.client_name
    if _HOST_NAME.fullmatch(name):  # Postfix has verified it: the address has this name, and the name this address
        yield b"{client_name}", name
        yield b"{client_ptr}", name
        yield b"{client_resolve}", b"OK"
        yield b"_", b"%s [%s]" % (name, plain)
    elif name[:1] == b"[" or name == b"unknown":
        yield b"{client_name}", b"unknown"
        yield b"_", b"[%s]" % plain


def _interface(facts: Facts) -> Iterator[Pair]:
    """Where the client connected to: {if_addr} from what Postfix 3.2 and later says, {if_name} from its own name."""
    try:
        daemon = ipaddress.ip_address((facts.macro(b"{daemon_addr}") or b"").decode("ascii"))
        yield b"{if_addr}", _tagged(str(daemon).encode("ascii"))
    except ValueError:
        pass
    for macro in (b"{daemon_name}", b"j"):
        name = facts.macro(macro) or b""
        if _HOST_NAME.fullmatch(name):
            yield b"{if_name}", name
            return


def _tagged(address: bytes) -> bytes:
    """An address as Sendmail writes it."""
    return b"IPv6:" + address if b":" in address else address


def _mail(facts: Facts) -> Iterator[Pair]:
    yield b"i", DUMMY_ID
    yield b"{mail_addr}", _without_brackets(facts.sender)


def _without_brackets(address: bytes) -> bytes:
    return address[1:-1] if address[:1] == b"<" and address[-1:] == b">" else address


_OF_STAGE: Mapping[Stage, Callable[[Facts], Iterator[Pair]]] = {Stage.CONNECT: _connect, Stage.MAIL: _mail}


class SendmailCompatible(Condition):
    """Fills in the macros that milters written for Sendmail miss. Does nothing unless the MTA is Postfix."""

    name = "Sendmail Compatible"
    description = "always; behind Postfix, macros that only Sendmail sends are filled in"
    macro_stages = frozenset(_OF_STAGE)
    reads = {
        Stage.CONNECT: (b"v", b"j", b"_", b"{daemon_name}", b"{daemon_addr}", b"{daemon_port}", b"{if_addr}")
        + (b"{if_name}", b"{client_addr}", b"{client_name}", b"{client_port}", b"{client_ptr}", b"{client_resolve}"),
        Stage.MAIL: (b"i", b"{mail_addr}"),
    }  # fmt: skip

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Never stopped."""
        return ""

    def macros(self, stage: Stage, facts: Facts) -> Mapping[bytes, bytes]:
        """What of the stage's macros the MTA did not send and can be derived, by name."""
        derive = _OF_STAGE.get(stage)
        if derive is None or not facts.is_postfix:
            return NO_MACROS
        return {name: value for name, value in derive(facts) if facts.macro(name) is None and _is_fit(value)}


def _is_fit(value: bytes) -> bool:
    """Whether it may be sent as a macro: no NUL, which would end it, and nothing else that is no text."""
    return len(value) <= SEEN_BYTES and not _UNFIT.search(value)
