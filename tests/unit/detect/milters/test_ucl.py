from __future__ import annotations

import pytest

from mmgr.detect.milters.ucl import Assignment, Body, Macro, Scalar, Sequence, Statement, Value, read_ucl


def read(text: str) -> list[object]:
    document = read_ucl(text, "/x")
    assert document.faults == ()
    return [plain(each) for each in document.statements]


def plain(statement: Statement) -> object:
    if isinstance(statement, Macro):
        return (f".{statement.name}", dict(statement.parameters), statement.target)
    return (*statement.keys, plain_value(statement.value))


def plain_value(value: Value) -> object:
    if isinstance(value, Body):
        return {"statements": [plain(each) for each in value.statements]}
    return [plain_value(each) for each in value.items] if isinstance(value, Sequence) else value.text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('a = "x";', "x"),
        ("a = x", "x"),
        ("a: x", "x"),
        ("a x;", "x"),
        ("a = /run/a b.sock mode=0660 # c", "/run/a b.sock mode=0660"),
        ("a = /run/a mode=0660 /* c */;", "/run/a mode=0660"),
        ("a = x, ", "x"),
        ("a = 'it is $X'", "it is $X"),
        ('a = "x \\"y\\" \\n\\u0041"', 'x "y" \nA'),
        ("a = <<EOD\nx\ny\nEOD\n", "x\ny"),
        ("a = <<EOD\nEODX\nEOD;", "EODX"),
        ("a = x{1,2}y", "x{1,2}y"),
        ("a = ${X}/y", "${X}/y"),
        ('"a" = x', "x"),
        ("a = x\\;y", "x;y"),
        ('a = ""', ""),
        ("a # c\n = /* c */ x", "x"),
    ],
)
def test_a_value_is_read_in_any_notation(text: str, value: str) -> None:
    assert read(text) == [("a", value)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("worker { }", ("worker",)),
        ("worker {}", ("worker",)),
        ('worker "proxy" {}', ("worker", "proxy")),
        ("worker proxy {}", ("worker", "proxy")),
        ('a "b" c {}', ("a", "b", "c")),
        ("worker = {}", ("worker",)),
        ("worker # c\n{}", ("worker",)),
    ],
)
def test_a_section_has_names(text: str, keys: tuple[str, ...]) -> None:
    assert read(text) == [(*keys, {"statements": []})]


def test_sections_and_lists_are_nested() -> None:
    assert read("a { b [1, {c = 2}, [x y]]; d = e }") == [
        ("a", {"statements": [("b", ["1", {"statements": [("c", "2")]}, ["x y"]]), ("d", "e")]})
    ]


@pytest.mark.parametrize(
    ("text", "parameters", "target"),
    [
        ('.include "$CONFDIR/x.inc"', {}, "$CONFDIR/x.inc"),
        ('.include(try=true) "/x"', {"try": "true"}, "/x"),
        (
            '.include(try=true; priority=1,duplicate=merge) "/x"',
            {"try": "true", "priority": "1", "duplicate": "merge"},
            "/x",
        ),
        ('.include(glob = "true") /x/*.conf', {"glob": "true"}, "/x/*.conf"),
    ],
)
def test_an_include_has_parameters(text: str, parameters: dict[str, str], target: str) -> None:
    assert read(text) == [(".include", parameters, target)]


def test_comments_are_nested() -> None:
    assert read("/* a /* b */ c = d */ e = f") == [("e", "f")]


def test_lines_are_counted_through_comments_and_strings() -> None:
    (statement,) = read_ucl("# one\n/* two\n three */\n\na = <<E\nx\nE\n", "/x").statements
    assert isinstance(statement, Assignment)
    assert (statement.where.line, statement.value.where.line) == (5, 5)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{ broken", "/x:1: '{' begins no key"),
        ("a = \nb = 1 {", "/x:2: '{' begins no key"),
        ("a = ;", "/x:1: a value is missing"),
        ("a {\nb = 1\n", "/x:1: a '{' is not closed"),
        ("a = [1, 2", "/x:1: a '[' is not closed"),
        ("\n}", "/x:2: a '}' that closes nothing"),
        ("/* never", "/x:1: a comment is not closed"),
        ("a = <<EOD\nx\n", "/x:2: <<EOD is not closed"),
        ("a = [\\", "/x:1: a value is missing"),
        (".(x)", "/x:1: a '.' that begins no macro"),
    ],
)
def test_a_fault_is_kept_with_its_line(text: str, fault: str) -> None:
    found = [f"{each.where}: {each.value}" for each in read_ucl(text, "/x").faults]
    assert fault in found


def test_a_fault_loses_no_more_than_its_line() -> None:
    statements = read_ucl("a = 1\n{ broken\nb = 2\n", "/x").statements
    assert [plain(each) for each in statements] == [("a", "1"), ("b", "2")]


def test_what_is_nested_too_deep_is_a_fault() -> None:
    document = read_ucl("a " + "{ a " * 5000, "/x")
    assert any("levels" in each.value for each in document.faults)


def test_literal_strings_are_marked() -> None:
    (statement,) = read_ucl("a = '$X'", "/x").statements
    assert isinstance(statement, Assignment)
    assert statement.value == Scalar("$X", statement.value.where, is_literal=True)
