"""What counts of several files, as ``rspamadm configdump`` of rspamd 3.4 shows it for the same files."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mmgr.detect.milters.ucl import Macro, Statement, read_ucl
from mmgr.detect.milters.ucl_tree import Evaluation, Node, is_true, whole_number

from .services import found

MAIN = """
.include "/common"
worker "normal" { bind_socket = "localhost:11333"; .include(try=true; priority=1,duplicate=merge) "/local/normal" }
worker "proxy" {
  bind_socket = "localhost:11332";
  .include "/default"
  .include(try=true; priority=1,duplicate=merge) "/local"
  .include(try=true; priority=10) "/override"
}
"""


def evaluated(files: Mapping[str, str], **variables: str) -> Node:
    """The merged view of the main file and of these; a file that is not among them is empty."""
    texts = {"/main": MAIN, "/default": "milter = yes; count = 1;", **files}

    def included(macro: Macro, target: str) -> tuple[Statement, ...]:
        return read_ucl(texts.get(target, ""), target).statements

    return Evaluation("worker", variables, included).read(read_ucl(texts["/main"], "/main").statements)


def proxies(node: Node) -> list[Node]:
    return [proxy for worker in node.nodes("worker") for proxy in worker.nodes("proxy")]


def sockets(files: Mapping[str, str]) -> list[str]:
    """All sockets of all proxies with the file that says them."""
    return [f"{each.value} {each.where.path}" for each in all_of("bind_socket", files)]


def all_of(key: str, files: Mapping[str, str]) -> list[object]:
    return [each for proxy in proxies(evaluated(files)) for each in proxy.scalars(key)]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ["localhost:11332 /main"]),
        ({"/local": 'bind_socket = "*:1"'}, ["*:1 /local"]),
        ({"/local": 'bind_socket = "*:1"', "/override": 'bind_socket = "/a"'}, ["/a /override"]),
        ({"/override": 'bind_socket = "/a"'}, ["/a /override"]),
        ({"/local": 'bind_socket = ["*:1", "/b"]'}, ["*:1 /local", "/b /local"]),
        ({"/local": 'bind_socket = "*:1"; bind_socket = "/b"'}, ["*:1 /local", "/b /local"]),
        ({"/local": 'bind_socket = "/b"; bind_socket = ["/e"]'}, ["/b /local", "/e /local"]),
        ({"/local": 'bind_socket = ["*:1", "/b"]\nbind_socket = ["/e"]'}, ["*:1 /local", "/b /local", "/e /local"]),
        ({"/local": 'bind_socket = ["*:1", "/b"]\nbind_socket = "/e"'}, ["/e /local"]),
        ({"/default": 'bind_socket = "/d"'}, ["localhost:11332 /main", "/d /default"]),
        ({"/common": 'worker "proxy" { bind_socket = "/x" }'}, ["/x /common", "localhost:11332 /main"]),
        ({"/common": 'bind_socket = "/x"'}, ["localhost:11332 /main"]),
    ],
)
def test_which_socket_counts(files: Mapping[str, str], expected: list[str]) -> None:
    assert sockets(files) == expected


def test_a_section_of_higher_priority_takes_the_place_of_all_others() -> None:
    files = {"/common": '.include(priority=10) "/wins"', "/wins": 'worker { proxy { bind_socket = "/k" } }'}
    assert sockets(files) == ["/k /wins"]


def test_a_section_is_merged_into_the_one_that_is_there() -> None:
    main = 'worker "proxy" { a = 1; }\n.include(duplicate=merge) "/more"\n'
    node = evaluated({"/main": main, "/more": 'worker "proxy" { b = 2 }'})
    assert [sorted(proxy.values) for proxy in proxies(node)] == [["a", "b"]]


def test_duplicate_rewrite_counts_whatever_the_priority() -> None:
    main = 'worker "proxy" { .include(priority=9) "/high"\n .include(duplicate=rewrite) "/low"\n }'
    assert sockets({"/main": main, "/high": "bind_socket = /h", "/low": "bind_socket = /l"}) == ["/l /low"]


def test_variables_are_put_in() -> None:
    files = {"/local": 'bind_socket = "$RUNDIR/${NAME}/$$ $RUNDIR1"'}
    (proxy,) = proxies(evaluated(files, RUNDIR="/run/rspamd"))
    assert [each.value for each in proxy.scalars("bind_socket")] == ["/run/rspamd/${NAME}/$ $RUNDIR1"]


def test_variables_are_put_into_the_names_of_files() -> None:
    main = 'worker "proxy" { .include "$D/x" }'
    node = evaluated({"/main": main, "/etc/x": "bind_socket = /a"}, D="/etc")
    assert [each.value for proxy in proxies(node) for each in proxy.scalars("bind_socket")] == ["/a"]


def test_includes_of_other_sections_are_not_read() -> None:
    asked: list[str] = []

    def included(macro: Macro, target: str) -> tuple[Statement, ...]:
        asked.append(target)
        return ()

    text = '.include "/a"\nlogging { .include "/b" }\nworker { .include "/c" }'
    Evaluation("worker", {}, included).read(read_ucl(text, "/main").statements)
    assert asked == ["/a", "/c"]


def test_a_file_that_includes_itself_comes_to_an_end() -> None:
    assert sockets({"/local": '.include(duplicate=merge) "/local"\nbind_socket = ["/a"]'})[0] == "/a /local"


def test_files_and_sections_that_nest_each_other_come_to_an_end() -> None:
    deep = 'worker "proxy" { ' + "a { " * 30 + '.include "/deep"\n' + "} " * 30 + " }"
    assert proxies(evaluated({"/main": '.include "/deep"', "/deep": deep}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("yes", True), ("True", True), ("on", True), ("1", True), ("no", False), ("off", False), ("false", False)],
)
def test_a_boolean_has_many_names(text: str, expected: bool) -> None:
    assert is_true(found({"x": text})["x"], otherwise=not expected) is expected


def test_what_is_no_boolean_leaves_the_default() -> None:
    assert is_true(found({"x": "maybe"})["x"], otherwise=True)


@pytest.mark.parametrize(("text", "number"), [("4", 4), ("-1", -1), ("10k", 10), ("1.5", 1), ("x", None), ("", None)])
def test_a_number_may_have_a_unit(text: str, number: object) -> None:
    assert whole_number(found({"x": text})["x"]) == number
