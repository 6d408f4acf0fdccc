"""Trust: whose senders are trusted, and hostile senders that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import PatternError
from mmgr.conditions.trust import ENVELOPE_FROM_DOMAINS, Trust

YES = {b"{trusted_domain}": b"yes"}


def told(sender: bytes, condition: Trust | None = None) -> dict[bytes, bytes]:
    return dict((condition or Trust()).macros(Stage.MAIL, Facts(sender=sender)))


@pytest.mark.parametrize("domain", ENVELOPE_FROM_DOMAINS)
def test_a_shipped_domain_is_trusted(domain: str) -> None:
    assert told(f"<ann@{domain}>".encode()) == YES


def test_upper_case_letters_of_a_domain_do_not_count() -> None:
    assert told(b"<Ann@GMail.COM>") == YES


@pytest.mark.parametrize(
    "sender",
    [
        b"",
        b"<>",
        b"ann@gmail.com",
        b"<@gmail.com>",
        b"<gmail.com>",
        b"<ann@gmail.com",
        b"<ann@example.com>",
        b"<ann@mail.gmail.com>",
        b"<ann@gmail.com.evil.example>",
        b"<ann@evil.example@gmail.com>",
        b"<@gmail.com:ann@gmail.com>",
        b"<ann@gmail.com> ",
        b"<ann@gmail.com>\n",
        b"<ann@gmail.com\0>",
        b"<ann@gmail.com\n>",
        b"<" + b"a" * 100_000 + b"@gmail.com>",
    ],
)
def test_another_sender_is_not_trusted(sender: bytes) -> None:
    assert told(sender) == {}


def test_a_list_of_ones_own_replaces_the_shipped_one() -> None:
    own = Trust(envelope_from_domains=(".example.com",))
    assert (told(b"<ann@a.example.com>", own), told(b"<ann@gmail.com>", own)) == (YES, {})


def test_a_broken_domain_is_refused() -> None:
    with pytest.raises(PatternError):
        Trust(envelope_from_domains=("*.example.com",))


def test_trust_never_stops() -> None:
    assert Trust().judge(Stage.MAIL, Facts(sender=b"<ann@example.com>")) == ""


@given(st.one_of(st.binary(max_size=300), st.from_regex(rb"<[^@]*@[a-z.]{1,20}>?")))
def test_any_sender_gets_the_macro_or_nothing(sender: bytes) -> None:
    assert told(sender) in ({}, YES)
