"""Expressions: what each name, operator and kind of value means, and what is said when a milter is stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmgr.conditions.base import Stage
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.facts import Facts, LocalTime
from mmgr.protocol.macros import braced

MACROS = {
    b"j": b"mail.example.net",
    b"v": b"Postfix 3.7.11",
    b"i": b"4F2B1A",
    b"{tls_version}": b"TLSv1.2",
    b"{cipher_bits}": b"256",
    b"{auth_type}": b"PLAIN",
    b"{auth_authen}": b"j.smith",
    b"{auth_ssf}": b"",
    b"{rcpt_mailer}": b"local",
    b"{msg_id}": b"<1@example.org>",
}
HEADERS = (
    (b"Subject", b"Invoice\r\n\tnumber 7"),
    (b"X-Spam-Level", b" 12 "),
    (b"received", b"from a"),
    (b"Received", b"from b"),
    (b"X-Empty", b""),
)
FACTS = Facts(
    client_name=b"mx1.Mail.example.org.",
    client_address=b"198.51.100.7",
    client_family=b"4",
    client_port=40025,
    helo=b"MX1.example.org",
    sender=b"<News+7@Lists.Example.COM>",
    sender_arguments=(b"BODY=8BITMIME", b"size=20480"),
    recipient=b"<info@example.net>",
    recipients=(b"<info@example.net>", b"<sales@example.net>"),
    size_bytes=30720,
    macro=MACROS.get,
    headers=lambda: HEADERS,
    clock=lambda: LocalTime(2026, 11, 22, 22, 30, 6),
)

TRUE = """
client_address in 192.0.2.0/24, 198.51.100.0/24
client_address in (2001:db8::/32, 198.51.100.7)
client_address == 198.51.100.7
client_address not in local
client_address != 198.51.100.8
client_address matches /^198\\./
client_address
client_name in .example.org
client_name == mx1.mail.example.org
client_name == "MX1.mail.EXAMPLE.org."
client_name not in example.org, .mx1.mail.example.org
client_name matches /^mx[0-9]+\\./
client_name matches '^MX[0-9]'
client_name not matches /(?-i:^MX)/
client_name
client_port >= 1024
client_port in 25, 40025
helo == mx1.example.org
helo not in .mail.example.org
sender == news+7@lists.example.com
sender in @example.com, @lists.example.com
sender in .example.com
sender not in @example.com, "lists.example.com"
sender matches /^news\\+[0-9]+@/
sender != <>
sender
sender_domain in example.com, lists.example.com
sender_domain in .example.com
recipient == info@example.net
recipient_domain == example.net
recipient_count == 2
any recipient in sales@example.net
any recipient not in sales@example.net
all recipients in @example.net
all recipient not in @example.org
any recipient matches /^sales@/
not all recipients matches /^sales@/
size > 20k
size < 1M
size == 30720
size <= 30K
announced_size == 20k
header Subject matches /^invoice\\s+number [0-9]$/
header "Subject" matches "number"
header(subject) matches /invoice/
header Subject: != invoice
header X-Spam-Level >= 5
header X-Spam-Level == 12
header Received == "from b"
header Received in "from c", "from a"
header Received != "from c"
header X-Missing == ""
not header X-Missing
not header X-Empty
header Received
macro j == mail.example.net
macro(j) in .example.net
macro {auth_type} in plain, login
macro auth_type
macro("{auth_type}") matches /^pl/
macro {cipher_bits} >= 128
not macro {auth_ssf} >= 0
macro {unheard_of} == ""
macro {rcpt_mailer} == local
authenticated
auth_user == j.smith
auth_user in J.Smith, other
tls
tls_version >= TLSv1.2
tls_version in tlsv1.2, TLSv1.3
tls_version != SSLv3
tls_version matches /1\\.2/
cipher_bits >= 128
time >= 22:00
time == 22:30
time in 22:00-06:00
time in 8:00-9:00, 22:30-22:31
time not in 06:00-22:30
weekday in sat, sun
weekday == Sunday
weekday in fri-mon
weekday not in mon-fri
mta == postfix
mta != sendmail
MTA IN Postfix AND NOT size > 1G
not not tls
tls and (not authenticated or size > 1) and not (size > 1G or not tls)
""".strip().splitlines()

FALSE = {
    "client_address in 192.0.2.0/24, local": "client_address 198.51.100.7 is not in 192.0.2.0/24, local",
    "not client_address == 198.51.100.7": "client_address 198.51.100.7 is 198.51.100.7",
    "client_name in .example.com": "client_name mx1.Mail.example.org. is not in .example.com",
    "helo matches /^\\[/": r"helo MX1.example.org does not match /^\[/",
    "helo not matches /^mx/": "helo MX1.example.org matches /^mx/",
    "sender == <>": 'sender News+7@Lists.Example.COM is not ""',
    "recipient not in @example.net": "recipient info@example.net is in @example.net",
    "recipient_count > 2": "recipient_count 2 is not more than 2",
    "any recipient in a@b.c, d@e.f": "none of 2 recipients is in a@b.c, d@e.f",
    "all recipients matches /^info/": "not every one of 2 recipients matches /^info/",
    "not all recipients in @example.net": "every one of 2 recipients is in @example.net",
    "size <= 10k": "size 30720 is not at most 10k",
    "header Received == x": "header Received from a and 1 more is not x",
    "header X-Missing": "header X-Missing (empty) is empty",
    "macro j == x": "macro j mail.example.net is not x",
    "not authenticated": "the client is authenticated",
    "not tls": "the connection is encrypted",
    "tls_version < TLSv1.1": "tls_version TLSv1.2 is not less than TLSv1.1",
    "time in 6:00-22:00": "time 22:30 is not in 6:00-22:00",
    "weekday in mon-fri": "weekday sunday is not in mon-fri",
    "mta == sendmail": "mta postfix is not sendmail",
    "tls and size < 1k and not tls": "size 30720 is not less than 1k",
    "size < 1k or not tls": "size 30720 is not less than 1k and the connection is encrypted",
    "not (size > 1k or tls)": "size 30720 is more than 1k",
}


def why(text: str, facts: Facts = FACTS, stage: Stage = Stage.CONTENT) -> str:
    return compile_expression("test", text).judge(stage, facts)


def last_stage(text: str) -> Stage:
    """The last one at which the expression is judged."""
    return max(compile_expression("test", text).stages)


@pytest.mark.parametrize("text", TRUE)
def test_the_milter_takes_part_where_the_expression_is_true(text: str) -> None:
    assert why(text, stage=last_stage(text)) == ""


@pytest.mark.parametrize("text", [each for each in TRUE if " or " not in each])
def test_the_opposite_of_what_is_true_stops_the_milter(text: str) -> None:
    assert why(f"not ({text})", stage=last_stage(text)) != ""


@pytest.mark.parametrize(("text", "reason"), FALSE.items())
def test_the_reason_says_which_test_was_false(text: str, reason: str) -> None:
    assert why(text, stage=last_stage(text)) == reason


def test_an_ipv4_address_that_is_written_as_ipv6_is_in_its_network() -> None:
    facts = replace(FACTS, client_address=b"::ffff:192.0.2.7", client_family=b"6")
    assert why("client_address in 192.0.2.0/24", facts) == ""


def test_a_client_on_a_unix_socket_is_in_no_network() -> None:
    facts = replace(FACTS, client_address=b"/run/socket", client_family=b"L")
    assert why("client_address in 0.0.0.0/0, ::/0", facts) == "client_address /run/socket is not in 0.0.0.0/0, ::/0"


@pytest.mark.parametrize("name", [b"unknown", b"[198.51.100.7]"])
def test_a_client_without_a_name_is_unknown_whichever_way_the_mta_says_it(name: bytes) -> None:
    assert why("client_name == unknown and not client_name", replace(FACTS, client_name=name)) == ""


def test_a_null_sender_is_the_empty_string() -> None:
    assert why("sender == <> and sender == '' and not sender", replace(FACTS, sender=b"<>")) == ""


def test_a_source_route_is_no_part_of_an_address() -> None:
    facts = replace(FACTS, sender=b"<@relay.example,@other.example:a@example.org>")
    assert why("sender == a@example.org and sender_domain == example.org", facts) == ""


def test_a_local_address_has_no_domain() -> None:
    assert why("sender == root and sender_domain == ''", replace(FACTS, sender=b"<root>")) == ""


def test_nothing_announced_is_a_size_of_zero() -> None:
    assert why("announced_size == 0", replace(FACTS, sender_arguments=(b"SIZE=x", b"SIZE"))) == ""


def test_an_expression_may_stand_on_several_lines() -> None:
    assert why("\n  tls\n  and\tsize\n> 1 \r\n") == ""


def test_and_binds_more_strongly_than_or() -> None:
    assert why("tls or tls and not tls") == ""


def test_a_header_is_looked_at_up_to_8192_bytes() -> None:
    facts = replace(FACTS, headers=lambda: [(b"X", b"a" * 8191 + b"bc")])
    assert (why("header X matches /b/", facts), why("header X not matches /c/", facts)) == ("", "")


def test_a_name_is_looked_at_up_to_1024_bytes_by_a_regular_expression() -> None:
    facts = replace(FACTS, helo=b"a" * 1023 + b"bc")
    assert (why("helo matches /b/", facts), why("helo not matches /c/", facts)) == ("", "")


@pytest.mark.parametrize("pattern", [r"@example\.com$", r"@example\.com\Z", r"@example\.com(?!.)", r"@example\.com\b"])
def test_the_cut_of_a_long_value_is_no_end_for_a_regular_expression(pattern: str) -> None:
    facts = replace(FACTS, sender=b"<" + b"x" * (1024 - len(b"@example.com")) + b"@example.coma.evil.org>")
    assert why(f"sender matches /{pattern}/", facts) != ""


def test_a_long_address_is_compared_whole() -> None:
    facts = replace(FACTS, sender=b"<" + b"x" * 5000 + b"@example.com>")
    assert why("sender == @example.com", facts) == ""


def test_the_cut_of_a_long_header_is_no_end() -> None:
    facts = replace(FACTS, headers=lambda: [(b"X", b"yes" + b" " * 8189 + b"not at all")])
    assert why("header X == yes", facts) != ""


def test_a_reason_looks_through_the_headers_once_more_and_no_oftener() -> None:
    asked = []
    why("header X == a and tls", replace(FACTS, headers=lambda: asked.append(1) or ()))
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("any recipient == a@b", "none of 2 recipients is a@b"),
        ("not any recipient == info@example.net", "one of 2 recipients is info@example.net"),
        ("all recipient == a@b", "not every one of 2 recipients is a@b"),
        ("not all recipient in @example.net", "every one of 2 recipients is in @example.net"),
    ],
)
def test_the_reason_says_how_many_recipients_passed(text: str, reason: str) -> None:
    assert why(text) == reason


def test_text_in_the_configuration_is_utf_8() -> None:
    facts = replace(FACTS, headers=lambda: [(b"Subject", "Gr\xfc\xdfe".encode())])
    assert why('header Subject == "Gr\xfc\xdfe" and header Subject matches /\xfc\xdf/', facts) == ""


def test_a_value_is_cut_and_escaped_in_the_reason() -> None:
    facts = replace(FACTS, helo=b"\xff\n" + b"x" * 60000)
    assert why("helo == a", facts) == r"helo \xff\n" + "x" * 98 + "... is not a"


def test_a_long_list_is_cut_in_the_reason() -> None:
    text = ", ".join(f"192.0.2.{each}" for each in range(100))
    assert why(f"client_address in {text}").endswith("... (100 in all)")


def test_the_description_is_the_expression_itself_where_none_is_given() -> None:
    assert compile_expression("a", "tls\n and  authenticated").description == "tls and authenticated"


def test_name_and_description_are_those_of_the_configuration() -> None:
    condition = compile_expression("night", "tls", "Nights")
    assert (condition.name, condition.description) == ("night", "Nights")


def test_a_macro_that_was_not_sent_is_asked_for_by_its_name_in_braces() -> None:
    asked = []
    why("macro auth_ssf == 1 or macro j == 2", replace(FACTS, macro=asked.append))
    assert set(asked) == {braced(b"auth_ssf"), b"j"}


def test_a_hundred_parentheses_are_judged_like_none() -> None:
    assert why("(" * 100 + "tls" + ")" * 100) == ""


def test_a_clock_that_goes_on_between_the_answer_and_the_reason_does_no_harm() -> None:
    minutes = iter((0, 1, 2))
    facts = replace(FACTS, clock=lambda: LocalTime(2026, 11, 22, 22, next(minutes), 6))
    assert why("tls and time > 22:00", facts).startswith("time 22:0")
