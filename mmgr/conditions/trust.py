"""Trust: the milter always takes part, and is told when the sender's domain is one that is trusted. PURE.

The macro is what milter-greylist's access lists ask for: ``sm_macro "trusted_domain" "{trusted_domain}" "yes"``.
A sender's domain proves nothing by itself, so the list that uses it should ask for a passed SPF test too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mmgr.conditions.base import NO_MACROS, Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import Patterns
from mmgr.conditions.regexes import SEEN_BYTES

ENVELOPE_FROM_DOMAINS = (
    "gmail.com",
    "hotmail.com",
    "msn.com",
    "yahoo.co.jp",
    "softbank.ne.jp",
    "ezweb.ne.jp",
    "docomo.ne.jp",
    "clear-code.com",
)

_SENDER = re.compile(rb"<[^<>@]+@([^<>@\s]+)>")
_TRUSTED: Mapping[bytes, bytes] = {b"{trusted_domain}": b"yes"}


class Trust(Condition):
    """Gives the macro {trusted_domain}, "yes", to messages whose envelope sender is of a trusted domain."""

    name = "Trust"
    description = "always; for senders of trusted domains the macro {trusted_domain} is yes"
    macro_stages = frozenset((Stage.MAIL,))

    def __init__(self, envelope_from_domains: Iterable[str] = ENVELOPE_FROM_DOMAINS) -> None:
        self._domains = Patterns(envelope_from_domains)

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Never stopped."""
        return ""

    def macros(self, stage: Stage, facts: Facts) -> Mapping[bytes, bytes]:
        """{trusted_domain} at MAIL; the sender has to be <USER@DOMAIN> to the letter."""
        if stage is not Stage.MAIL or len(facts.sender) > SEEN_BYTES:
            return NO_MACROS
        found = _SENDER.fullmatch(facts.sender)
        return _TRUSTED if found and self._domains.match(found[1].lower()) else NO_MACROS
