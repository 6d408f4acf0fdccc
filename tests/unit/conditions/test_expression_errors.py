"""Expressions that can't be meant: each is refused with line, column and what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmgr.conditions.expression import ExpressionError, compile_expression
from mmgr.conditions.expression_lexer import MAX_TEXT_BYTES
from mmgr.conditions.expression_names import NAMES
from mmgr.conditions.expression_parser import MAX_DEPTH

FAULTS = [
    ("", 1, "the expression is empty", "for example"),
    (" \n ", 2, "the expression is empty", ""),
    ("clint_name == a", 1, "there is no name 'clint_name'", "did you mean client_name?"),
    ("tls and autenticated", 9, "there is no name 'autenticated'", "did you mean authenticated?"),
    ("zzz", 1, "there is no name 'zzz'", "there are client_address, "),
    ("recipients == a", 1, "of recipients there are several", "any recipient"),
    ("{auth_type}", 1, "'{auth_type}' is no name", "macro {auth_type}"),
    ("192.0.2.7 == client_address", 1, "there is no name '192.0.2.7'", ""),
    ("'a' == helo", 1, "'a' stands where a test should", "begins with a name"),
    ("tls and", 8, "the end stands where a test should", "begins with a name"),
    ("tls and or tls", 9, "'or' stands where a test should", ""),
    ("tls tls", 5, "'tls' can't stand here", "join two tests with and, or"),
    ("tls adn tls", 5, "'adn' can't stand here", "did you mean and?"),
    ("helo is a", 6, "'is' can't stand here", "write =="),
    ("header X contains a", 10, "'contains' can't stand here", "write matches"),
    ("helo = a", 6, "'=' has no meaning here", "write =="),
    ("helo =~ a", 6, "'=' has no meaning here", "matches"),
    ("!tls", 1, "'!' has no meaning here", "write not"),
    ("tls && tls", 5, "'&' has no meaning here", "write and"),
    ("tls || tls", 5, "'|' has no meaning here", "write or"),
    ("helo == *.example.com", 9, "'*' has no meaning here", ".example.com"),
    ("client_port > -1", 15, "'-' has no meaning here", "0 or more"),
    ("helo == b\xfccher.example", 10, r"'\xfc' has no meaning here", "stands in quotes"),
    ("helo == 'a", 9, "the string is not closed", ""),
    ('helo == "a\nb"', 9, "the string is not closed", "on its line"),
    ("helo matches /a", 14, "the regular expression is not closed, or is empty", "between two slashes"),
    ("helo matches //", 14, "the regular expression is not closed, or is empty", ""),
    ("helo matches a", 14, "'a' is no regular expression", "matches /a/"),
    ("helo matches /a(b/", 16, "the regular expression is broken: missing ), unterminated subpattern", ""),
    ("helo matches /[[a]/", 14, "the regular expression can't be used: Possible nested set", ""),
    ("helo matches /" + "(" * 3000 + ")" * 3000 + "/", 14, "the regular expression can't be used", ""),
    ("helo matches /a{9999999999999}/", 14, "the regular expression can't be used", ""),
    ("(tls", 1, "this parenthesis is not closed", ""),
    ("tls)", 4, "this parenthesis was never opened", ""),
    ("(tls tls)", 6, "'tls' can't stand here", ""),
    ("helo == a, b", 10, "a list can't stand here", "write in"),
    ("helo in a, ", 12, "the end stands where a value should", ""),
    ("helo in (a b)", 12, "'b' stands where ',' or ')' should", "not closed"),
    ("helo in and", 9, "'and' stands where a value should", "in quotes"),
    ("helo not == a", 10, "'==' can't follow not", "not in"),
    ("helo in /a/", 9, "a regular expression can't be in a list", "helo matches /a/"),
    ("sender_domain == helo", 18, "helo is itself a name", "two names can't be compared"),
    ("1 < size", 1, "there is no name '1'", ""),
    ("size > 1 > 0", 10, "one comparison can't follow another", "with and"),
    ("size > 10x", 8, "'10x' is no number", "10M"),
    ("size", 1, "size has to be compared with something", "size > 0"),
    ("weekday", 1, "weekday has to be compared with something", "mon-fri"),
    ("size matches /1/", 14, "size is a number, which no regular expression can look at", ""),
    ("helo > a", 8, "helo has no order that > could compare", "helo == "),
    ("weekday > mon", 11, "weekday has no order", "mon-fri"),
    ("tls == yes", 8, "tls is yes or no and can't be compared", "not tls"),
    ("authenticated in a", 18, "authenticated is yes or no", ""),
    ("client_address in 192.0.2.1/24", 19, "'192.0.2.1/24' is no address or network", "192.0.2.0/24"),
    ("client_address in 192.0.2", 19, "'192.0.2' is no address or network", ""),
    ("client_address == example.com", 19, "'example.com' is no address or network", "client_name"),
    ("client_address in ::ffff:192.0.2.0/120", 19, "'::ffff:192.0.2.0/120' is an IPv4 network", "192.0.2.0/24"),
    ("helo == a@b.c", 9, "'a@b.c' is a mail address, and helo is a name", "write b.c"),
    ("client_name in 192.0.2.0/24", 16, "'192.0.2.0/24' is no name", "client_address"),
    ("helo == '*.example.com'", 9, "'*.example.com': an asterisk stands for nothing here", ".example.com"),
    ("helo in 'a b'", 9, "there is a blank in 'a b'", "quotes of its own"),
    ("sender in example.com", 11, "'example.com' is a domain, and sender is a mail address", "@example.com"),
    ("recipient == postmaster@", 14, "'postmaster@' has no domain", "matches /^postmaster@/"),
    ("time == 24:00", 9, "'24:00' is no time of day", "22:00"),
    ("time in 22:00-25:00", 9, "'25:00' is no time of day", ""),
    ("time in 10:00-10:00", 9, "'10:00-10:00' begins and ends at the same time", "00:00-24:00"),
    ("time > 10", 8, "'10' is no time of day", ""),
    ("weekday == mo", 12, "'mo' is no weekday", "mon"),
    ("weekday in mon-fry", 12, "'fry' is no weekday", ""),
    ("tls_version >= 1.2", 16, "'1.2' is no version of TLS", ""),
    ("tls_version == TLSv12", 16, "'TLSv12' is no version of TLS", "did you mean"),
    ("mta == exim", 8, "'exim' is no MTA", "postfix or sendmail"),
    ("any sender == a", 5, "'sender' can't follow any", "any recipient"),
    ("header == a", 8, "the name of the header is missing", "header Subject"),
    ("header(Subject == a", 16, "'==' stands where ')' should", ""),
    ("header 'a b'", 8, "'a b' can't be the name of a header", ""),
    ("macro 'a\tb'", 7, r"'a\tb' can't be the name of a macro", ""),
    ("macro {}", 7, "'{}' can't be the name of a macro", ""),
    ("helo == '\ud800'", 10, "is not text in UTF-8", ""),
]


def fault(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("test", text)
    return caught.value


@pytest.mark.parametrize(("text", "column", "problem", "hint"), FAULTS, ids=[text[:40] for text, *_ in FAULTS])
def test_the_fault_is_named_with_its_column_and_a_hint(text: str, column: int, problem: str, hint: str) -> None:
    error = fault(text)
    assert (error.column, error.problem.startswith(problem), hint in error.hint) == (column, True, True), str(error)


def test_the_line_counts_from_the_first_of_the_text() -> None:
    error = fault("tls\nand tls\r\n  and size\n")
    assert (error.line, error.column) == (3, 7)


def test_a_fault_at_the_end_is_behind_the_last_character() -> None:
    error = fault("tls\nand (tls or")
    assert (error.line, error.column) == (2, 12)


def test_text_that_is_too_long_is_refused() -> None:
    assert "bytes, and at most" in fault("tls or " * (MAX_TEXT_BYTES // 7) + "tls or tls").problem


def test_text_of_the_largest_size_is_taken() -> None:
    compile_expression("test", ("tls or " * MAX_TEXT_BYTES)[: MAX_TEXT_BYTES - 3].rsplit(" or", 1)[0])


def test_parentheses_that_are_too_deep_are_refused_where_they_are() -> None:
    error = fault("(" * 8000 + "tls" + ")" * 8000)
    assert (error.column, error.problem) == (101, f"parentheses stand more than {MAX_DEPTH} deep in each other")


def test_any_number_of_not_is_taken() -> None:
    compile_expression("test", "not " * 4000 + "tls")


def test_the_text_of_the_error_has_place_problem_and_hint() -> None:
    assert str(fault("tlz")) == "line 1, column 1: there is no name 'tlz' (did you mean tls?)"


# ---- garbage

MARKS = ("(", ")", ",", "==", "!=", "<", "<=", ">", ">=", "<>", "/", '"', "'", "\n", "\\", "{", "/[/", "'\x00'")
KEYWORDS = ("and", "or", "not", "in", "matches", "any", "all", "header", "macro", "recipient", "recipients")
VALUES = (
    "192.0.2.0/24",
    "::/0",
    "a@b.c",
    "@b",
    ".b",
    "10M",
    "22:00-06:00",
    "mon-fri",
    "TLSv1.2",
    "{j}",
    "j",
    "/a/",
    "'x'",
)
WORDS = (*NAMES, *MARKS, *KEYWORDS, *VALUES)
garbage = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=12).map("".join),
)


@settings(max_examples=500, deadline=None)
@given(garbage)
@example("any")
@example("header (")
@example("macro('\u0130')")
@example("time in -")
@example("client_address in []")
@example("client_address in [::1")
@example("sender in @")
@example("size > \u0661")
def test_garbage_is_taken_or_refused_at_a_place_in_the_text(text: str) -> None:
    error = fault_of(text)
    if error is not None:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1


def fault_of(text: str) -> ExpressionError | None:
    try:
        compile_expression("test", text)
    except ExpressionError as error:
        return error
    return None
