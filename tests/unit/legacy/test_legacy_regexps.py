"""``mmgr.legacy.regexps``: Ruby's regular expressions as items of our lists."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.patterns import Patterns
from mmgr.legacy.regexps import exactly, item, python_pattern
from mmgr.legacy.shapes import Untranslatable
from mmgr.legacy.tokens import Regexp

EQUAL = [
    (r"\.example\.com\z", "", ".example.com"),
    (r"@example\.com\z", "", "@example.com"),
    (r"\.example\.com\z", "i", ".example.com"),
    (r"\Amail\d+\.", "", r"/\Amail\d+\./"),
    (r"^mail$", "", "/^mail$/"),
    (r"mail\z", "", r"/mail\Z/"),
    (r"mail\Z", "", r"/mail(?=\n?\Z)/"),
    (r"\h+", "", "/[0-9a-fA-F]+/"),
    (r"[\h.]", "", "/[0-9a-fA-F.]/"),
    (r"\H", "", "/[^0-9a-fA-F]/"),
    (r"a\/b", "", "/a/b/"),
    (r"(?<n>a)\k<n>", "", "/(?P<n>a)(?P=n)/"),
    (r"(a)\1", "", r"/(a)\1/"),
    (r"(?i:a)b", "", "/(?i:a)b/"),
    (r"(?m:a.)", "", "/(?s:a.)/"),
    (r"a.b", "m", "/(?s:a.b)/"),
    (r"(?=a)(?!b)(?<=c)(?<!d)(?:e)", "", "/(?=a)(?!b)(?<=c)(?<!d)(?:e)/"),
    (r"[^.\]\-]x", "", r"/[^.\]\-]x/"),
    (r"\ya", "", "/ya/"),
    (r"MAIL", "", "/(?-i:MAIL)/"),
    (r"MAIL", "i", "/MAIL/"),
    (r"[A-Z]\d", "", r"/(?-i:[A-Z]\d)/"),
    (r"\D\S\W", "", r"/\D\S\W/"),
    (r"a{2,3}\x2d\e", "", r"/a{2,3}\x2d\x1b/"),
]

REFUSED = [
    ("a", "x", "the flag x"),
    ("a", "n", "the flag n"),
    ("", "", "empty"),
    ("\u00e9", "", "beyond ASCII"),
    ("a\nb", "", "beyond ASCII"),
    ("[[:alpha:]]", "", "[: :]"),
    ("[a[b]]", "", "inside another"),
    ("[a&&b]", "", "class of characters"),
    ("[]a]", "", "without any"),
    ("[^]a]", "", "without any"),
    ("[a", "", "never closed"),
    ("a]", "", "closes nothing"),
    ("a++", "", "++"),
    ("a{2}+", "", "}+"),
    ("(?>a)", "", "(?>"),
    ("(?i)a", "", "(?i"),
    ("(?x:a)", "", "(?x"),
    ("(?~a)", "", "(?~"),
    ("(?<n>a)(b)\\1", "", "by name and by number"),
    (r"\p{Alpha}", "", r"\p"),
    (r"\Ga", "", r"\G"),
    (r"\R", "", r"\R"),
    (r"\X", "", r"\X"),
    (r"\Ka", "", r"\K"),
    (r"\g<n>", "", r"\g"),
    (r"\u0041", "", r"\u"),
    (r"\x80", "", r"\x80"),
    (r"\012", "", r"\012"),
    (r"[\1]", "", r"\1"),
    (r"[\H]", "", r"\H"),
    (r"(?<=a+)b", "", "no equal"),
    ("(a", "", "no equal"),
    ("*a", "", "no equal"),
    ("a\\", "", "backslash"),
]

PIECES = st.sampled_from(
    list("ab.01-^$|()[]{}*+?/\\@&~:<>=!i") + [r"\z", r"\A", r"\h", r"\d", "(?:", "(?<n>", "[^", "[:", r"\1", "++"]
)


@pytest.mark.parametrize(("source", "flags", "expected"), EQUAL)
def test_an_expression_with_an_equal_becomes_it(source: str, flags: str, expected: str) -> None:
    assert item(Regexp(source, flags)) == expected


@pytest.mark.parametrize(("source", "flags", "expected"), EQUAL)
def test_what_it_becomes_is_an_item_of_a_list(source: str, flags: str, expected: str) -> None:
    assert Patterns([expected]).items


@pytest.mark.parametrize(("source", "flags", "reason"), REFUSED)
def test_an_expression_without_an_equal_is_refused(source: str, flags: str, reason: str) -> None:
    with pytest.raises(Untranslatable, match=re.escape(reason)):
        item(Regexp(source, flags))


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=12), st.sampled_from(["", "i", "m", "x"]))
def test_any_expression_is_refused_or_compiles(source: str, flags: str) -> None:
    try:
        pattern = python_pattern(Regexp(source, flags))
    except Untranslatable:
        return
    re.compile(pattern, re.IGNORECASE | re.ASCII)


@given(st.text("ab.0-[]()*+?^$\\|/ ", min_size=1, max_size=12), st.text("ab.0-[]()*+?^$\\|/ ", max_size=12))
def test_a_text_as_a_whole_matches_itself_alone(text: str, other: str) -> None:
    patterns = Patterns([exactly(text)])
    assert bool(patterns.match(text.encode())) is True
    assert bool(patterns.match(other.encode())) is (other == text)
