"""``mmgr.config.lines``: line numbers and faults of ConfigObj's syntax, compared with ConfigObj itself."""

from __future__ import annotations

from typing import Any

import pytest
from configobj import ConfigObj, ConfigObjError
from hypothesis import given
from hypothesis import strategies as st

from mmgr.config.lines import MAX_LINE_CHARACTERS, Scan, scan

Places = dict[tuple[str, ...], int]


def places(found: Scan) -> Places:
    """Where each section and key stands."""
    keys = {(*entry.section, entry.key): entry.line for entry in found.entries}
    return {**{section.path: section.line for section in found.sections}, **keys}


def faults(text: str | bytes) -> list[tuple[int, str]]:
    data = text.encode() if isinstance(text, str) else text
    return [(fault.line, fault.problem) for fault in scan(data).faults]


def names_in(parsed: Any) -> dict[tuple[str, ...], Any]:
    """Every section (as None) and key of a ConfigObj, with its value."""
    found: dict[tuple[str, ...], Any] = {}
    waiting = [((), parsed)]
    while waiting:
        path, section = waiting.pop()
        for key in section.scalars:
            found[(*path, key)] = section[key]
        for name in section.sections:
            found[(*path, name)] = None
            waiting.append(((*path, name), section[name]))
    return found


def values_of(found: Scan) -> dict[tuple[str, ...], Any]:
    """Every section (as None) and key of a scan, with its value as ConfigObj reads it alone."""
    values: dict[tuple[str, ...], Any] = {section.path: None for section in found.sections}
    for entry in found.entries:
        alone = ConfigObj(["x = " + entry.source[0], *entry.source[1:]], interpolation=False)
        values[(*entry.section, entry.key)] = alone["x"]
    return values


def test_a_key_is_found_in_its_section_and_line() -> None:
    assert places(scan(b"# c\n\na = 1\n[s]\n\n  b = 2\n")) == {("a",): 3, ("s",): 4, ("s", "b"): 6}


def test_nested_sections_are_found_below_their_parents() -> None:
    text = b"[a]\n[[b]]\nx = 1\n[[[c]]]\ny = 1\n[[d]]\nz = 1\n[e]\n"
    expected = {("a",): 1, ("a", "b"): 2, ("a", "b", "x"): 3, ("a", "b", "c"): 4, ("a", "b", "c", "y"): 5}
    assert places(scan(text)) == {**expected, ("a", "d"): 6, ("a", "d", "z"): 7, ("e",): 8}


def test_the_lines_of_a_value_in_triple_quotes_are_counted() -> None:
    assert places(scan(b'a = """x\n[no]\nb = 1\n"""  # end\nc = 2\n')) == {("a",): 1, ("c",): 5}


def test_a_value_in_triple_quotes_keeps_its_lines_as_they_are() -> None:
    found = scan(b"a = '''x  \n  y = 1\n # z'''\n")
    assert found.entries[0].source == ("'''x  ", "  y = 1", " # z'''")


def test_a_comment_behind_a_value_is_not_part_of_it() -> None:
    assert scan(b'a = "x # y", z  # "q", r\n').entries[0].source == ('"x # y", z',)


def test_names_lose_their_quotes() -> None:
    assert places(scan(b"[' a ']\n\"b = c\" = 1\n")) == {(" a ",): 1, (" a ", "b = c"): 2}


def test_a_byte_order_mark_and_carriage_returns_do_not_count() -> None:
    assert places(scan(b"\xef\xbb\xbf[a]\r\nb = 1\r\n")) == {("a",): 1, ("a", "b"): 2}


def test_a_last_line_without_its_end_counts() -> None:
    assert places(scan(b"[a]\nb = 1")) == {("a",): 1, ("a", "b"): 2}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("\n[a\n", 2, "'[a' is not a section"),
        ("[]\n", 1, "'[]' is not a section"),
        ("['']\n", 1, "has no name"),
        ("[a] b\n", 1, "is not a section"),
        ("[a] = b\n", 1, "is not a section"),
        ("[a]b]\n", 1, "is not a section"),
        ("[a\n[b]\n", 1, "is not a section"),
        ("[[a]\n", 1, "opens and closes with a different number of brackets"),
        ("[a]\n[[[b]]]\n", 2, "is not inside a section"),
        ("[[a]]\n", 1, "is not inside a section"),
        ("a\n", 1, "'a' is neither a [section] nor key = value"),
        ("= b\n", 1, "is neither a [section] nor key = value"),
        ('"a = b\n', 1, "is neither a [section] nor key = value"),
        ('"a" b = c\n', 1, "is neither a [section] nor key = value"),
        ('a = "b\n', 1, "a closing quote is missing"),
        ("a = b, 'c\n", 1, "a closing quote is missing"),
        ('a = "b" c\n', 1, "there is text behind a closing quote"),
        ("a = b, , c\n", 1, "there is nothing between two commas"),
        ("a = , b\n", 1, "there is nothing before the first comma"),
        ('a = """b\nc\n', 1, "is never closed"),
        ('a = """b""" c\n', 1, 'there is text behind the closing """'),
        ("a = '''b\nc''' d\n", 2, "there is text behind the closing '''"),
        ("[a]\n[b]\n[a]\n", 3, "the section stands here for the second time, first in line 1"),
        ("[a]\nb = 1\nc = 2\nb = 3\n", 4, "the key stands here for the second time, first in line 2"),
        ("[a]\nb = 1\n[[b]]\n", 3, "the section stands here for the second time, first in line 2"),
        ("a = 1\nb = \x07\n", 2, "there is a control character, U+0007"),
        ("a = 1\rb = 2\n", 1, "there is a control character, U+000D"),
        ("a = \u2028\n", 1, "there is a control character, U+2028"),
        ("a = 1\n\nb = " + "x" * MAX_LINE_CHARACTERS, 3, "the line is 8196 characters long"),
    ],
)
def test_a_line_that_can_not_be_read_is_a_fault_with_its_number(text: str, line: int, problem: str) -> None:
    assert [(number, problem in said) for number, said in faults(text)] == [(line, True)]


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"a = 1\nb = \xff\nc = 2\n", 2, "byte 0xff is not UTF-8 text"),
        (b"a = 1\n\0\0\0\n", 2, "there is a NUL byte, so this is not a text file"),
        ("a = 1\n".encode("utf-16"), 1, "there is a NUL byte, so this is not a text file"),
    ],
)
def test_bytes_that_are_no_text_are_a_fault_with_their_line(data: bytes, line: int, problem: str) -> None:
    assert faults(data) == [(line, problem)]


def test_every_fault_of_a_file_is_found() -> None:
    assert [line for line, _ in faults(b'x\n[a]\ny\nb = "\nc = 1\n[c\nz\n\xff\n')] == [1, 3, 4, 6, 7, 8]


def test_lines_behind_a_fault_are_read_on() -> None:
    assert places(scan(b"[a]\nx\nb = 1\n")) == {("a",): 1, ("a", "b"): 3}


def test_keys_below_a_bad_section_are_passed_over() -> None:
    assert places(scan(b"[a]\n[b\nc = 1\n[d]\ne = 1\n")) == {("a",): 1, ("d",): 4, ("d", "e"): 5}


def test_a_fault_names_the_key_that_it_is_in() -> None:
    assert scan(b'[a]\n[[b]]\nc = "\n').faults[0].key == "a.b.c"


@pytest.mark.parametrize("line", ['define_milter("x") do |m|', "end", "load_default", "manager.daemon"])
def test_ruby_is_recognised(line: str) -> None:
    assert "Ruby" in scan(line.encode()).faults[0].hint


@pytest.mark.parametrize(
    "line",
    [
        "x = " + '"a", ' * 1000 + '"',
        "x = " + "a  ,  " * 1000 + '"',
        "x = " + "'' " * 2000,
        "x" + " " * 8000,
        " " * 8000 + "x",
        "[" * 8000,
        "[" * 4000 + "a" + "]" * 4000,
        "[a" + " ]" * 4000 + " x",
        "[a" + " " * 8000 + "x",
        "x = '''" + "''' " * 2000 + "y",
    ],
    ids=str.__len__,
)
def test_a_line_made_to_take_long_is_a_fault_at_once(line: str) -> None:
    assert len(faults(line)) == 1


def test_sections_nested_a_thousand_deep_are_found() -> None:
    text = "\n".join("[" * depth + "a" + "]" * depth for depth in range(1, 1001))
    assert len(scan(text.encode()).sections) == 1000


PLAIN = st.text("abz0_.:/@-", min_size=1, max_size=8)
NAMES = PLAIN | st.sampled_from(["a b", "\u00e9", "x'y", "a#b"])
SPACE = st.sampled_from(["", " ", "\t", "  "])
COMMENT = st.sampled_from(["", " # c", " #", '  # it\'s a "comment"'])
WORDS = st.text("ab ,#'\"=[]%$\u00e9", max_size=8)


@st.composite
def values(draw: st.DrawFn) -> list[str]:
    """The lines of a value, in one of the ways that ConfigObj knows."""
    text = draw(WORDS)
    kind = draw(st.sampled_from(["bare", "double", "single", "list", "triple", "lines"]))
    if kind == "double":
        return ['"' + text.replace('"', "") + '"']
    if kind == "single":
        return ["'" + text.replace("'", "") + "'"]
    if kind == "list":
        items = draw(st.lists(PLAIN | WORDS.map(lambda t: '"' + t.replace('"', "") + '"'), max_size=4))
        return [draw(SPACE).join(f"{item}," for item in items) or ","]
    if kind == "triple":
        return ["'''" + text.replace("'", "") + "'''"]
    if kind == "lines":
        return ['"""' + text.replace('"', ""), draw(st.sampled_from(["[no]", "k = v", "# c", ""])), '"""']
    return [draw(PLAIN | st.just(""))]


@st.composite
def config_files(draw: st.DrawFn) -> tuple[str, Places]:
    """A file that ConfigObj takes, and where its sections and keys are."""
    lines: list[str] = []
    expected: Places = {}
    path: tuple[str, ...] = ()
    for _ in range(draw(st.integers(0, 12))):
        lines += draw(st.lists(st.sampled_from(["", "   ", "# [c] = 1", "\t#"]), max_size=2))
        name = draw(NAMES)
        if draw(st.booleans()):
            depth = draw(st.integers(1, len(path) + 1))
            if (*path[: depth - 1], name) in expected:
                continue
            path = (*path[: depth - 1], name)
            shown = f'"{name}"' if draw(st.booleans()) else name
            brackets = draw(SPACE).join("[" * depth), draw(SPACE).join("]" * depth)
            expected[path] = len(lines) + 1
            lines.append(draw(SPACE) + brackets[0] + draw(SPACE) + shown + draw(SPACE) + brackets[1] + draw(COMMENT))
        elif (*path, name) not in expected:
            value = draw(values())
            expected[(*path, name)] = len(lines) + 1
            shown = f'"{name}"' if draw(st.booleans()) or name.startswith("#") else name
            lines.append(draw(SPACE) + shown + draw(SPACE) + "=" + draw(SPACE) + value[0])
            lines += value[1:]
            lines[-1] += draw(COMMENT)
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines), expected


def read_by_config_obj(text: str) -> Any:
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return ConfigObj(lines, interpolation=False, list_values=True)


@given(config_files())
def test_every_key_and_section_has_the_line_that_it_was_written_in(generated: tuple[str, Places]) -> None:
    text, expected = generated
    assert (places(scan(text.encode())), faults(text)) == (expected, [])


@given(config_files())
def test_a_file_says_the_same_to_config_obj(generated: tuple[str, Places]) -> None:
    text = generated[0]
    assert values_of(scan(text.encode())) == names_in(read_by_config_obj(text))


FRAGMENTS = [
    "[",
    "]",
    "a",
    "b",
    "=",
    " ",
    '"',
    "'",
    '"""',
    "'''",
    ",",
    "#",
    "\n",
    "\n",
    "a = ",
    "[a]",
    "[[b]]",
    "\u00e9",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_where_no_fault_is_found_config_obj_finds_the_same_names(text: str) -> None:
    found = scan(text.encode())
    if not found.faults:
        assert set(places(found)) == set(names_in(read_by_config_obj(text)))


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
def test_what_config_obj_refuses_is_a_fault(text: str) -> None:
    try:
        read_by_config_obj(text)
    except ConfigObjError:
        assert scan(text.encode()).faults


@given(st.binary(max_size=200))
def test_any_bytes_are_scanned(data: bytes) -> None:
    assert isinstance(scan(data), Scan)


@pytest.mark.parametrize("value", ["unix:/x#y", "/a#b/", "a, b#c", "yes#on", "a,#b"])
def test_a_comment_right_behind_a_value_is_a_fault(value: str) -> None:
    ((line, problem),) = faults(f"[s]\nkey = {value}\n")
    assert (line, "a '#' in a value stands in quotes" in problem) == (2, True)


@pytest.mark.parametrize("value", ["unix:/x #y", "unix:/x\t#y", '"unix:/x#y"', "'a'#b", "#", "", "a, # b"])
def test_a_comment_behind_a_blank_and_a_sign_in_quotes_are_none(value: str) -> None:
    assert faults(f"[s]\nkey = {value}\n") == []
