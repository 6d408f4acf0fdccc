"""No file makes a grammar fail, and a large one takes no longer than its length accounts for.

The long texts are those for which careless patterns take quadratic or worse time: many minutes. The time limit of a
test ends such a run.
"""

from __future__ import annotations

from typing import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.detect.base import Where
from mmgr.detect.milters import key_value
from mmgr.detect.milters.greylist_conf import read_greylist
from mmgr.detect.milters.ucl import Macro, Statement, read_ucl
from mmgr.detect.milters.ucl_tree import Evaluation
from mmgr.detect.tree import MAX_FILE_BYTES, Line

STYLES = (key_value.OPENDKIM, key_value.TRUSTED_DOMAIN, key_value.CLAMAV, key_value.PYSPF, key_value.ENMA)


def lines(text: str) -> list[Line]:
    return [Line(row, Where("/x", at)) for at, row in enumerate(text.split("\n"), 1)]


def read_key_value(text: str) -> None:
    rows = lines(text)
    for style in STYLES:
        key_value.Settings(key_value.settings(rows, style), style).found("Socket")
    key_value.example_line(rows)


def read_statements(text: str) -> None:
    read_greylist(lines(text))


def read_sections(text: str) -> None:
    """UCL with the text itself as every file that it includes, as often as rspamd's own file limit allows."""
    document = read_ucl(text, "/x")
    left = [20]

    def included(macro: Macro, target: str) -> tuple[Statement, ...]:
        left[0] -= 1
        return document.statements if left[0] > 0 else ()

    node = Evaluation("worker", {"A": "$A$A"}, included).read(document.statements)
    for worker in node.nodes("worker"):
        worker.scalars("bind_socket")


GRAMMARS: tuple[Callable[[str], None], ...] = (read_key_value, read_statements, read_sections)

PIECES = (
    *("worker ", "bind_socket", "socket ", '"', "'", "\\", "{", "}", "[", "]", "=", ":", ";", ",", "#", "/*", "*/"),
    *("<<EOD\n", "EOD", "\n", ".include ", "(priority=1)", "(duplicate=merge)", "$A", "x", " ", "\t", "\r", "\x00"),
    *("Example", "racl ", "tarpit ", "9m", "/", "\udcff", "Include /x", "\u2028", "-1", ".a("),
)


@pytest.mark.parametrize("grammar", GRAMMARS)
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.text(max_size=60)))
def test_no_text_makes_a_grammar_fail(grammar: Callable[[str], None], text: str) -> None:
    grammar(text)


@pytest.mark.parametrize("grammar", GRAMMARS)
@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200))
def test_no_bytes_make_a_grammar_fail(grammar: Callable[[str], None], data: bytes) -> None:
    grammar(data.decode("utf-8", "surrogateescape"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["\n", "a\n", "a b\n", "#", " ", "a=", "a:", '"', "Socket /a # ", "Example", "x"])
def test_a_long_text_of_settings_comes_to_an_end(piece: str) -> None:
    read_key_value(many(piece))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ['"', '\\"', "/", "/a ", "\\/", "{", "x", "#", "\\", "\\\n", "racl tarpit 1s \\\n", 'socket "', "user x\n"]
)
def test_a_long_text_of_statements_comes_to_an_end(piece: str) -> None:
    read_statements(many(piece))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        *('"', "'", '\\"', "{", "[", "}", "a {", "a [", "a b ", "x", " ", "#", "\\", "\n", "a = x{", "a = x{1}", 'a "'),
        *("/*", "/* ", "*/", "/**/", "<<A\n", "a = <<A\nAB\n", "a = <<A\nA\n", ".a(", ".a(b", ".include /x\n", "a '"),
        *("a = $A;", 'k "\\",', "a = x;", "a = [1]\n", "worker { a = 1 }\n", "a = [[1],", "a=b,", ".x(a=b,c=d) 'e'\n"),
    ],
)
def test_a_long_text_of_sections_comes_to_an_end(piece: str) -> None:
    read_sections(many(piece))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("grammar", "piece"), list(zip(GRAMMARS, ("Socket /a b\n", 'racl from /a/ "b"\n', "worker { a = [1]; }\n")))
)
def test_the_largest_file_that_is_read_comes_to_an_end(grammar: Callable[[str], None], piece: str) -> None:
    grammar(many(piece, MAX_FILE_BYTES))


def many(piece: str, length: int = MAX_FILE_BYTES // 8) -> str:
    return (piece * (length // len(piece) + 1))[:length]
