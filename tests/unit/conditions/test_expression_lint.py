"""Expressions that can never be true, where that is simple to see."""

from __future__ import annotations

import pytest

from mmgr.conditions.expression import compile_expression

NEVER = [
    "size < 10 and size > 100",
    "size < 10 and not size < 10",
    "size > 10 and tls and size <= 10",
    "size == 5 and size >= 1k",
    "recipient_count < 0",
    "tls and not tls",
    "sender == a@example.org and tls and sender != a@example.org",
    "tls and (size < 1 or authenticated) and size < 5 and size > 6",
    "(tls and not tls) or (size > 5 and size < 5)",
    "client_address in local and client_address not in local",
    "header X == a and not header X == a",
]
PERHAPS = [
    "size < 100 and size > 10",
    "size >= 10 and size <= 10",
    "size != 10 and size < 20",
    "tls or not tls",
    "(tls and not tls) or authenticated",
    "any recipient == a@b.org and any recipient != a@b.org",
    "header X == a and header X == b",
    "header X > 10 and header X < 5",
    "time > 22:00 and time < 06:00",
    "client_name in .a.org and not client_name in .b.org",
    "macro j == a and not macro i == a",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_is_never_true_is_doubted(text: str) -> None:
    assert compile_expression("x", text).doubt


@pytest.mark.parametrize("text", PERHAPS)
def test_what_may_be_true_is_not(text: str) -> None:
    assert compile_expression("x", text).doubt == ""
