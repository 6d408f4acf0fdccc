"""Stoppers of old conditions as expressions: what is written, and that it judges as the block did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.conditions.base import Stage
from mmgr.conditions.expression import compile_expression
from mmgr.conditions.facts import Facts
from mmgr.legacy.nesting import statements
from mmgr.legacy.shapes import Untranslatable, shape_of
from mmgr.legacy.stoppers import expression
from mmgr.legacy.tokens import RubyFault

CONNECT = "define_connect_stopper do |context, host, address|"
MAIL = "define_envelope_from_stopper do |context, from|"
RCPT = "define_envelope_recipient_stopper do |context, recipient|"
HELO = "define_helo_stopper do |context, fqdn|"


def written(opening: str, body: str) -> str:
    (statement,) = statements(f"{opening}\n{body}\nend")
    return expression("x", [shape_of(statement)])


def written_or_refused(opening: str, body: str) -> str:
    try:
        return written(opening, body)
    except Untranslatable as refused:
        return str(refused)


def takes_part(text: str, stage: Stage, facts: Facts) -> bool:
    return not compile_expression("x", text).judge(stage, facts)


WRITTEN = [
    (CONNECT, 'host == "localhost"', 'not client_name == "localhost"'),
    (CONNECT, 'host != "localhost"', 'client_name == "localhost"'),
    (CONNECT, '"localhost" == host', 'not client_name == "localhost"'),
    (CONNECT, "!(host == 'a' || host == 'b')", 'client_name == "a" or client_name == "b"'),
    (CONNECT, "not host == 'a' and host != 'b'", 'client_name == "a" or client_name == "b"'),
    (CONNECT, r"host =~ /\.example\z/", r"not client_name matches /\.example\Z/"),
    (CONNECT, r"/\.example\z/ === host", r"not client_name matches /\.example\Z/"),
    (CONNECT, r"host !~ /a\/b/", r"client_name matches /a\/b/"),
    (CONNECT, "%w[a b].include?(host)", 'not client_name == "a" and not client_name == "b"'),
    (CONNECT, "['a'].include?(host)", 'not client_name == "a"'),
    (CONNECT, "host.end_with?('.example')", r"not client_name matches /\.example\Z/"),
    (CONNECT, "host.start_with?('a', 'b')", r"not client_name matches /\Aa/ and not client_name matches /\Ab/"),
    (CONNECT, "host.include?('dsl')", "not client_name matches /dsl/"),
    (CONNECT, "host.match?(/dsl/i)", "not client_name matches /dsl/"),
    (CONNECT, 'address.address == "192.0.2.1"', "not client_address == 192.0.2.1"),
    (CONNECT, 'host == "[192.0.2.1]"', r"not client_name matches /\A\[192\.0\.2\.1\]\Z/"),
    (CONNECT, "if host == 'a'\n true\nelse\n false\nend", 'not client_name == "a"'),
    (CONNECT, "if host == 'a' then false else true end", 'client_name == "a"'),
    (CONNECT, "unless host == 'a'\n true\nend", 'client_name == "a"'),
    (CONNECT, "next true if host == 'a'\nnext false", 'not client_name == "a"'),
    (CONNECT, "next false if host == 'a'\ntrue", 'client_name == "a"'),
    (CONNECT, "next false unless host == 'a'\nhost =~ /b/", 'not client_name == "a" or not client_name matches /b/'),
    (CONNECT, "case host\nwhen 'a', /b/\n false\nelse\n true\nend", 'client_name == "a" or client_name matches /b/'),
    (HELO, "fqdn == 'localhost'", 'not helo == "localhost"'),
    (MAIL, 'from == "<a@example.com>"', 'not sender == "a@example.com"'),
    (MAIL, 'from == "<>"', "not sender == <>"),
    (MAIL, r"/@example.com>\z/ =~ from", r"not sender matches /@example.com\Z/"),
    (MAIL, r"from =~ /\A<root@/", r"not sender matches /\Aroot@/"),
    (MAIL, "from.include?('@example.')", r"not sender matches /@example\./"),
    (MAIL, "from.end_with?('@example.com>')", r"not sender matches /@example\.com\Z/"),
    (MAIL, "context.authenticated?", "not authenticated"),
    (MAIL, "!context.authenticated?", "authenticated"),
    (RCPT, r"/@ml.example.com>\z/ =~ recipient", r"not recipient matches /@ml.example.com\Z/"),
]  # fmt: skip

REFUSED = [
    (CONNECT, "true"),
    (CONNECT, "false"),
    (CONNECT, ""),
    (CONNECT, "host"),
    (CONNECT, "host.size > 3"),
    (CONNECT, "address.local?"),
    (CONNECT, "address =~ /x/"),
    (CONNECT, "context.authenticated?"),
    (CONNECT, 'context.children["x"].reject?'),
    (CONNECT, 'context["macro"] == "x"'),
    (CONNECT, "x = 1\nhost == 'a'"),
    (CONNECT, "host == other"),
    (CONNECT, 'host == "a#{b}"'),
    (CONNECT, "host == 'a' ? true : false"),
    (CONNECT, "begin\n true\nend"),
    (CONNECT, "IPAddr.new('192.0.2.0/24').include?(address)"),
    (CONNECT, "next if host == 'a'\ntrue"),
    (CONNECT, "return true if host == 'a'\ntrue"),
    (CONNECT, "host == 'a' && log('x')"),
    (CONNECT, "case other\nwhen 'a'\n true\nend"),
    (CONNECT, "case host\nwhen 'a' then true\nwhen 1 then true\nend"),
    (MAIL, r"from =~ /@example\.com\z/"),
    (MAIL, r"from =~ /\Aroot@/"),
    (MAIL, r"from =~ /.@example/"),
    (MAIL, r"from =~ /a|b>/"),
    (MAIL, 'from == "a@example.com"'),
    (MAIL, "host == 'a'"),
    ("define_connect_stopper do |context, host, address, more|", "host == 'a'"),
]


@pytest.mark.parametrize(("opening", "body", "expected"), WRITTEN)
def test_a_comparison_becomes_an_expression(opening: str, body: str, expected: str) -> None:
    assert written(opening, body) == expected


@pytest.mark.parametrize(("opening", "body"), REFUSED)
def test_anything_else_is_refused(opening: str, body: str) -> None:
    with pytest.raises(Untranslatable):
        written(opening, body)


@pytest.mark.parametrize(("name", "expected"), [("unknown", True), ("mail.example", False), ("dsl1.example", True)])
def test_a_case_judges_as_it_did(name: str, expected: bool) -> None:
    text = written(CONNECT, "case host\nwhen 'unknown',\n /\\Adsl\\d/i\n false\nelse\n true\nend")
    assert takes_part(text, Stage.CONNECT, Facts(client_name=name.encode())) is expected


@pytest.mark.parametrize(("recipient", "expected"), [(b"<a@ml.example>", False), (b"<a@ml.example.org>", True)])
def test_a_recipient_is_judged_without_its_brackets_as_it_was_with_them(recipient: bytes, expected: bool) -> None:
    text = written(RCPT, r"/@ml\.example>\z/ =~ recipient")
    assert takes_part(text, Stage.RCPT, Facts(recipient=recipient, recipients=(recipient,))) is expected


def test_several_stoppers_stop_each_by_itself() -> None:
    first, second = statements(f"{CONNECT} host == 'a' end\n{MAIL} from == '<b@c>' end")
    text = expression("x", [shape_of(first), shape_of(second)])
    assert text == 'not client_name == "a" and not sender == "b@c"'


def test_a_block_with_too_many_branches_is_refused() -> None:
    body = "if host == 'a'\n true\n" + "elsif host == 'b'\n true\n" * 5000 + "end"
    with pytest.raises(Untranslatable, match="branches"):
        written(CONNECT, body)


# ---- any block of comparisons, against the same block worked out here

HOSTS = ["a", "b", "c"]
COMPARED = st.sampled_from(HOSTS).flatmap(
    lambda host: st.sampled_from(
        [
            (f"host == '{host}'", lambda name, host=host: name == host),
            (f"host != '{host}'", lambda name, host=host: name != host),
            (f"host =~ /\\A{host}\\z/", lambda name, host=host: name == host),
            (f"/{host}/ !~ host", lambda name, host=host: host not in name),
            ("true", lambda name: True),
            ("false", lambda name: False),
        ]
    )
)


def joined(inner: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
    def both(parts: tuple) -> list:  # type: ignore[type-arg]
        (left, x), (right, y) = parts
        return [
            (f"({left}) && ({right})", lambda name: x(name) and y(name)),
            (f"({left}) || ({right})", lambda name: x(name) or y(name)),
            (f"!({left})", lambda name: not x(name)),
            (f"not ({left}) and ({right})", lambda name: not x(name) and y(name)),
        ]

    return st.tuples(inner, inner).flatmap(lambda parts: st.sampled_from(both(parts)))


CONDITIONS = st.recursive(COMPARED, joined, max_leaves=5)


def block(inner: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
    def choices(parts: tuple) -> list:  # type: ignore[type-arg]
        (test, is_true), (then, x), (otherwise, y) = parts
        return [
            (f"if {test}\n {then}\nelse\n {otherwise}\nend", lambda name: x(name) if is_true(name) else y(name)),
            (f"unless {test}\n {then}\nelse\n {otherwise}\nend", lambda name: y(name) if is_true(name) else x(name)),
            (f"if {test} then {then} end", lambda name: is_true(name) and x(name)),
        ]

    return st.tuples(CONDITIONS, inner, inner).flatmap(lambda parts: st.sampled_from(choices(parts)))


@given(st.recursive(CONDITIONS, block, max_leaves=3), st.sampled_from(HOSTS))
def test_any_block_of_comparisons_judges_as_it_did(made: tuple, host: str) -> None:  # type: ignore[type-arg]
    body, stops = made
    text = written_or_refused(CONNECT, body)
    if text.startswith("it stops always, or never"):
        assert len({bool(stops(each)) for each in HOSTS}) == 1
    else:
        assert takes_part(text, Stage.CONNECT, Facts(client_name=host.encode())) is not bool(stops(host))


PIECES = st.sampled_from(
    [
        "host",
        "==",
        "'a'",
        "=~",
        "/a/",
        "(",
        ")",
        "!",
        "&&",
        "||",
        "not",
        "and",
        "if",
        "else",
        "end",
        "\n",
        "true",
        "next",
    ]
    + ["case", "when", ",", "%w[a]", ".include?(", "address.address", "then", "unless", "elsif", ";", "[", "]", "1"]
)


@given(st.lists(PIECES, max_size=15).map(" ".join))
def test_any_other_block_is_refused_or_an_expression(body: str) -> None:
    try:
        text = written(CONNECT, body)
    except (Untranslatable, RubyFault, ValueError):
        return
    compile_expression("x", text)
