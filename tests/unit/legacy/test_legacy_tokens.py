"""``mmgr.legacy.lexing`` and ``nesting``: what the words of a Ruby file are, and where its statements end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.legacy.lexing import read
from mmgr.legacy.nesting import statements
from mmgr.legacy.shapes import Untranslatable, literal, shape_of
from mmgr.legacy.tokens import NEWLINE, Regexp, RubyFault, Symbol, Value

LITERALS: list[tuple[str, Value]] = [
    ('"plain"', "plain"),
    ("'plain'", "plain"),
    (r'"a\tb\n\x41\u0042\u{43 44}\101\e"', "a\tb\nABCDA\x1b"),
    (r"'a\tb\'c\\d'", r"a\tb'c\d"),
    ('"side" "by" \'side\'', "sidebyside"),
    ("%q(a (nested) b)", "a (nested) b"),
    ("%Q[a]", "a"),
    ("%(a)", "a"),
    ("%w[a b\n c]", ["a", "b", "c"]),
    ("%i[a b]", [Symbol("a"), Symbol("b")]),
    (":symbol", Symbol("symbol")),
    (':"a b"', Symbol("a b")),
    ("0660", 0o660),
    ("0o660", 0o660),
    ("0x1F", 31),
    ("0b101", 5),
    ("65_535", 65535),
    ("-5", -5),
    ("12.5", 12.5),
    ("1e3", 1000.0),
    ("true", True),
    ("false", False),
    ("nil", None),
    ("[1, 'a', [true]]", [1, "a", [True]]),
    ("[\n  # a comment\n  1,\n  2,\n]", [1, 2]),
    ("/a#b\\/c/i", Regexp("a#b\\/c", "i")),
    ("%r{a/b}m", Regexp("a/b", "m")),
    ("<<EOS\nline\nEOS", "line\n"),
    ("<<~EOS\n    a\n      b\n  EOS", "a\n  b\n"),
    ("<<-'EOS'\n#{x}\n  EOS", "#{x}\n"),
    ("?a", "a"),
    ("''", ""),
    ('"#"', "#"),
    ('"\u00e9"', "\u00e9"),
]

COMPUTED = [
    '"a#{b}c"',
    '"#@x"',
    "`ls`",
    "%x(ls)",
    '"a" + "b"',
    '"a".freeze',
    "5.minutes",
    "variable",
    "CONSTANT",
    "@instance",
    "method(1)",
    "a ? b : c",
    "[1, x]",
    '"\\M-a"',
    "<<EOS\n#{x}\nEOS",
    "5 * 60",
    "",
]

BROKEN = [
    ('x = "open', 1, "missing"),
    ("a = 1\nx = 'open\n\n", 2, "missing"),
    ("x = /open", 1, "missing"),
    ("x = %w[open", 1, "missing"),
    ("\n\nx = <<EOS\nopen\n", 3, "never closed"),
    ("\nfoo do\nbar", 2, "'do' is never closed"),
    ("foo(\nbar", 1, "'(' is never closed"),
    ("end", 1, "'end' closes nothing"),
    ("foo(]", 1, "']' closes nothing"),
    ("a\n=begin\nb", 2, "=begin"),
    ('"#{' * 100, 1, "inside each other"),
    ("x = 1a", 1, "number"),
    ("x = 089", 1, "number"),
]

STATEMENTS = [
    ("a = 1; b = 2", ["a = 1", "b = 2"]),
    ("a = 1 # comment ; not a statement", ["a = 1"]),
    ("a\n  .b\n  .c", ["a\n  .b\n  .c"]),
    ("a = [\n1,\n2]\nb", ["a = [\n1,\n2]", "b"]),
    ("f 1,\n  2\ng", ["f 1,\n  2", "g"]),
    ("f a &&\n b\ng", ["f a &&\n b", "g"]),
    ("f \\\n 1\ng", ["f \\\n 1", "g"]),
    ("f do\n if a then b end\n c if d\nend\ng", ["f do\n if a then b end\n c if d\nend", "g"]),
    ("while a do\n b\nend\ng", ["while a do\n b\nend", "g"]),
    ("until a\n f do\n end\nend\ng", ["until a\n f do\n end\nend", "g"]),
    ("def a = 1\ng", ["def a = 1", "g"]),
    ("def a=(b)\n c\nend\ng", ["def a=(b)\n c\nend", "g"]),
    ("def a(b) = b\ng", ["def a(b) = b", "g"]),
    ("x = if a\n b\n else\n c\n end\ng", ["x = if a\n b\n else\n c\n end", "g"]),
    ("begin\n a\nrescue\n b\nend while c\ng", ["begin\n a\nrescue\n b\nend while c", "g"]),
    ("a.class.end.if\ng", ["a.class.end.if", "g"]),
    ("f(:end, if: 1)\ng", ["f(:end, if: 1)", "g"]),
    ("a = b / c / d\ng", ["a = b / c / d", "g"]),
    ("f /end/\ng", ["f /end/", "g"]),
    ("a = b % c\ng", ["a = b % c", "g"]),
    ("f(<<A, <<B)\nend\nA\ndo\nB\ng", ["f(<<A, <<B)", "g"]),
    ("class << self\n a\nend\ng", ["class << self\n a\nend", "g"]),
    ("=begin\nend end\n=end\ng", ["g"]),
    ('g\n__END__\nend end "', ["g"]),
    ("a ||= 1\nb != 2\nc!=3\nd? 1 : 2", ["a ||= 1", "b != 2", "c!=3", "d? 1 : 2"]),
    ("f { |a, b| a }\ng", ["f { |a, b| a }", "g"]),
    ("\r\na\r\nb\r\n", ["a", "b"]),
    ("", []),
]

RUBYLIKE = st.lists(
    st.sampled_from(
        [
            "do",
            "end",
            "if",
            "def",
            "class",
            "while",
            "{",
            "}",
            "(",
            ")",
            "[",
            "]",
            '"',
            "'",
            "/",
            "#{",
            "#",
            "\n",
            "|",
            ",",
        ]
        + ["a", "b.c", "=", "<<A", "A", "%w(", "?", ":", "1", "0.5", "\\", "=begin", "=end", " ", "next", "m.x", "'s'"]
        + [
            '"s"',
            "define_milter",
            "defined_milters.each",
            "s25r.add_whitelist",
            "/x/",
            "=~",
            "==",
            "&&",
            "not",
            "\udc80",
        ]
    ),
    max_size=40,
).map("".join)
HOSTILE = RUBYLIKE | st.text(max_size=60)


@pytest.mark.parametrize(("source", "value"), LITERALS)
def test_a_literal_has_the_value_that_ruby_gives_it(source: str, value: Value) -> None:
    (statement,) = statements(f"x = {source}\n")
    assert shape_of(statement).value == value


@pytest.mark.parametrize("source", ["true", "1", "1.0", ":a", "'a'"])
def test_a_literal_keeps_its_type(source: str) -> None:
    types = {"true": bool, "1": int, "1.0": float, ":a": Symbol, "'a'": str}
    assert type(literal(statements(source)[0])) is types[source]


@pytest.mark.parametrize("source", COMPUTED)
def test_what_has_to_be_computed_is_no_literal(source: str) -> None:
    with pytest.raises(Untranslatable):
        shape_of(statements(f"x = {source}\n")[0])


@pytest.mark.parametrize(("source", "line", "problem"), BROKEN)
def test_what_is_never_closed_is_said_with_its_line(source: str, line: int, problem: str) -> None:
    with pytest.raises(RubyFault) as caught:
        statements(source)
    assert (caught.value.line, problem in caught.value.problem) == (line, True)


@pytest.mark.parametrize(("source", "expected"), STATEMENTS)
def test_statements_end_where_ruby_ends_them(source: str, expected: list[str]) -> None:
    assert [statement.text.strip() for statement in statements(source)] == expected


def test_every_statement_knows_its_line() -> None:
    source = "a\n\nb = <<E\nx\nE\n# c\nc do\n\nend\nd"
    assert [statement.line for statement in statements(source)] == [1, 3, 7, 10]


def test_a_comment_over_a_statement_is_kept() -> None:
    source = "# one\na\nb # two\nc\nd(\n  # three\n  1)"
    assert [statement.comment for statement in statements(source)] == ["one", "", "", ""]


@given(HOSTILE)
def test_any_text_is_read_or_refused_with_a_line_that_it_has(text: str) -> None:
    try:
        lines = [statement.line for statement in statements(text)]
    except RubyFault as fault:
        lines = [fault.line]
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)


@given(HOSTILE)
def test_words_stand_one_behind_the_other(text: str) -> None:
    try:
        tokens = read(text).tokens
    except RubyFault:
        return
    assert all(before.end <= after.start for before, after in zip(tokens, tokens[1:]))
    assert tokens[-1].kind == NEWLINE
