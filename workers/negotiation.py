"""Negotiation: what children are offered, what the MTA is told, given what the children want. PURE.

Sources: Sendmail accepts only subsets of its offer; Postfix checks actions alone. Both accept a milter that declines
everything but the end of a message. Macro lists: ``mmgr.protocol.macros``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mmgr.config.model import ChildSettings
from mmgr.protocol.constants import SMFI_VERSION_MAX, SMFI_VERSION_MIN, ActionFlag, Command, MacroStage, ProtocolFlag
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import PAYLOAD
from mmgr.protocol.macros import DEFAULT_MACROS, merge_macro_lists
from mmgr.protocol.options import (
    ACTIONS_OF_VERSION,
    ALL_ACTIONS,
    NO_REPLY,
    NO_STEP,
    STEPS_OF_VERSION,
    OptionNegotiation,
    decode_options,
)
from workers.verdict import fallback, is_deciding

COLLECTED = (Command.SMFIC_HEADER, Command.SMFIC_EOH, Command.SMFIC_BODY)
"""Commands that we only collect, so the MTA need not wait for a reply to them."""

OWN_MACROS = {
    MacroStage.SMFIM_CONNECT: (b"v",),
    MacroStage.SMFIM_ENVFROM: (b"i",),
    MacroStage.SMFIM_ENVRCPT: (b"i", b"{rcpt_mailer}"),
    MacroStage.SMFIM_DATA: (b"i",),
    MacroStage.SMFIM_EOM: (b"i",),
    MacroStage.SMFIM_EOH: (b"i",),
}
"""What we read ourselves: which MTA it is, the queue id, and whether the MTA refused a recipient."""

_ALL_NO_STEPS = int(sum(NO_STEP.values()))
ONLY_WITH_THE_MTA = int(ProtocolFlag.SMFIP_RCPT_REJ | ProtocolFlag.SMFIP_HDR_LEADSPC)
"""What a milter gets only if the MTA is asked for it: refused recipients, and the space after the colon of a header."""

WANTS_NOTHING = OptionNegotiation(SMFI_VERSION_MAX, 0, _ALL_NO_STEPS)
"""A child that failed and whose fallback is accept."""

WANTS_MAIL = OptionNegotiation(SMFI_VERSION_MAX, 0, _ALL_NO_STEPS & ~ProtocolFlag.SMFIP_NOMAIL)
"""A child that failed and whose fallback is a refusal: it is given at MAIL, so the MTA has to send that."""


def check_offer(offer: OptionNegotiation) -> None:
    """Raise RemoteProtocolError unless the MTA's first packet can be answered at all."""
    if offer.version < SMFI_VERSION_MIN:
        raise RemoteProtocolError(
            f"milter protocol version {offer.version} of the MTA is older than {SMFI_VERSION_MIN}"
        )


@functools.lru_cache(maxsize=16)
def decode_offer(frame: bytes) -> OptionNegotiation:
    """The MTA's first packet, which is the same in every session. Raises RemoteProtocolError."""
    offer = decode_options(frame[PAYLOAD:])
    check_offer(offer)
    return offer


@functools.lru_cache(maxsize=16)
def offer_to_children(mta: OptionNegotiation) -> OptionNegotiation:
    """What a child is offered: what this MTA offers itself, every step that we can leave out on our own included.

    Bits that nobody knows and the internal ones for larger data sizes are left away. Rejected recipients and intact
    leading space exist only if the MTA sends them.
    """
    version = min(mta.version, SMFI_VERSION_MAX)
    steps = STEPS_OF_VERSION[version] & ~ONLY_WITH_THE_MTA | mta.steps & STEPS_OF_VERSION[version]
    return OptionNegotiation(version, mta.actions & ACTIONS_OF_VERSION[SMFI_VERSION_MAX], steps)


def check_answer(offer: OptionNegotiation, answer: OptionNegotiation) -> None:
    """Raise RemoteProtocolError unless a child's answer is one that an MTA would take (Postfix's rules).

    Protocol bits are not judged: rspamd sets all no-reply bits, whatever was offered.
    """
    if not 1 <= answer.version <= offer.version:
        raise RemoteProtocolError(f"negotiation: version {answer.version}, offered was {offer.version}")
    if answer.actions & ~offer.actions & ALL_ACTIONS or answer.actions & ~ALL_ACTIONS:
        raise RemoteProtocolError(f"negotiation: actions {answer.actions:#x}, offered were {offer.actions:#x}")


def answer_to_mta(mta: OptionNegotiation, children: Sequence[OptionNegotiation]) -> OptionNegotiation:
    """``merged``, which is the same for nearly every session and therefore remembered."""
    return merged(mta, tuple(children))


@functools.lru_cache(maxsize=64)
def merged(mta: OptionNegotiation, children: tuple[OptionNegotiation, ...]) -> OptionNegotiation:
    """The union of what the children need, as an answer to the MTA's offer.

    A step that no child wants is switched off; headers, end of headers and body need no reply as far as the MTA can do
    without; other steps only if no child that gets them replies.
    """
    version = min(mta.version, SMFI_VERSION_MAX)
    steps = 0
    for command, bit in NO_STEP.items():
        if not any(child.wants(command) for child in children):
            steps |= bit
    for command, bit in NO_REPLY.items():
        if command in COLLECTED or _is_silent(command, children):
            steps |= bit
    for child in children:
        steps |= child.steps & ONLY_WITH_THE_MTA
    actions = 0
    for child in children:
        actions |= child.actions & ~ActionFlag.SMFIF_SETSYMLIST
    lists = _macro_lists(children) if mta.actions & ActionFlag.SMFIF_SETSYMLIST else {}
    if lists:
        actions |= ActionFlag.SMFIF_SETSYMLIST
    return OptionNegotiation(version, actions & mta.actions, steps & mta.steps, lists)


def options_of_failed(settings: ChildSettings) -> OptionNegotiation:
    """What a child that can't be negotiated with needs of the MTA: MAIL, if its fallback is a refusal to give there."""
    counts = fallback(settings.fallback_status, Command.SMFIC_MAIL)
    return WANTS_MAIL if is_deciding(counts) and not settings.evaluation_mode else WANTS_NOTHING


def _is_silent(command: int, children: Sequence[OptionNegotiation]) -> bool:
    wanting = [child for child in children if child.wants(command)]
    return bool(wanting) and not any(child.answers(command) for child in wanting)


def _macro_lists(children: Sequence[OptionNegotiation]) -> dict[MacroStage, tuple[bytes, ...]]:
    lists = merge_macro_lists(child.macro_lists for child in children)
    if MacroStage.SMFIM_EOM in lists and MacroStage.SMFIM_EOH not in lists:
        # Sendmail 8.18 uses a milter's list for end of message only if there is one for end of headers as well.
        lists[MacroStage.SMFIM_EOH] = DEFAULT_MACROS[MacroStage.SMFIM_EOH]
    return {stage: tuple(dict.fromkeys((*OWN_MACROS.get(stage, ()), *names))) for stage, names in lists.items()}
