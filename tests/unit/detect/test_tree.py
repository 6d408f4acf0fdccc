"""``mmgr.detect.tree``: nothing outside of the root is read, and nothing inside of it holds the reader up."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.detect.base import Where
from mmgr.detect.tree import MAX_FILE_BYTES, MAX_LINKS, MAX_NAMES, Absent, Line, Tree, Unreadable

from .trees import NULL, Link, plant

NOBODY = 65534


def texts(tree: Tree, path: str) -> list[str]:
    return [line.text for line in tree.lines(path)]


def test_lines_are_counted_from_one_and_say_their_file(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/etc/a": "x\n\ny"})
    assert tree.lines("/etc/a") == (
        Line("x", Where("/etc/a", 1)),
        Line("", Where("/etc/a", 2)),
        Line("y", Where("/etc/a", 3)),
    )


def test_bytes_that_are_no_utf_8_come_back_when_encoded(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/a": b"caf\xe9\n"})
    assert texts(tree, "/a")[0].encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_carriage_returns_and_a_byte_order_mark_are_dropped(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/a": b"\xef\xbb\xbfx\r\ny\r\n"})
    assert texts(tree, "/a") == ["x", "y"]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert texts(plant(tmp_path, {"/a": b""}), "/a") == []


def test_an_absolute_link_starts_at_the_root_of_the_tree(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/etc/a": Link("/usr/b"), "/usr/b": "inside"})
    assert texts(tree, "/etc/a") == ["inside"]


def test_a_relative_link_starts_at_its_directory(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/lib": Link("usr/lib"), "/usr/lib/a": Link("../b"), "/usr/b": "inside"})
    assert texts(tree, "/lib/a") == ["inside"]


@pytest.mark.parametrize("target", ["../../../../../../../../etc/passwd", "/etc/passwd"])
def test_no_link_leaves_the_root(tmp_path: Path, target: str) -> None:
    tree = plant(tmp_path / "root", {"/etc/a": Link(target), "/etc/passwd": "of the tree"})
    assert texts(tree, "/etc/a") == ["of the tree"]


def test_dots_in_a_path_do_not_leave_the_root(tmp_path: Path) -> None:
    plant(tmp_path, {"/outside": "x"})
    tree = plant(tmp_path / "root", {"/etc": None})
    with pytest.raises(Absent):
        tree.lines("/etc/../../outside")


def test_dots_behind_a_link_go_up_from_where_it_leads(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/a": Link("/b/c"), "/b/c/x": "", "/b/d": "up", "/d": "no"})
    assert texts(tree, "/a/../d") == ["up"]


def test_a_cycle_of_links_is_reported(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/a": Link("b"), "/b": Link("a")})
    with pytest.raises(Unreadable, match="links") as caught:
        tree.lines("/a")
    assert not isinstance(caught.value, Absent)


def test_a_chain_of_links_is_followed_as_far_as_the_kernel_does(tmp_path: Path) -> None:
    chain = {f"/{number}": Link(str(number + 1)) for number in range(MAX_LINKS)}
    assert texts(plant(tmp_path, {**chain, f"/{MAX_LINKS}": "end"}), "/0") == ["end"]


def test_what_is_absent_is_told_from_what_can_not_be_read(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/file": "x", "/dangling": Link("nowhere")})
    for path in ("/none", "/file/below", "/dangling"):
        with pytest.raises(Absent):
            tree.lines(path)


@pytest.mark.parametrize("path", ["/directory", "/fifo", "/socket"])
def test_only_ordinary_files_are_opened(tmp_path: Path, path: str) -> None:
    tree = plant(tmp_path, {"/directory": None})
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(Unreadable, match="ordinary"):
            tree.lines(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/a": b""})
    os.truncate(tmp_path / "a", MAX_FILE_BYTES + 1)
    with pytest.raises(Unreadable, match="larger"):
        tree.lines("/a")


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    assert len(plant(tmp_path, {"/a": b"x" * MAX_FILE_BYTES}).lines("/a")[0].text) == MAX_FILE_BYTES


def test_a_directory_with_too_many_names_is_refused(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/d": None})
    for number in range(MAX_NAMES + 1):
        os.mkfifo(tmp_path / "d" / str(number))
    with pytest.raises(Unreadable, match="names"):
        tree.names("/d")


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that anybody can enter, while this process is nobody in particular."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def raised_as_nobody(tree: Tree, path: str) -> Unreadable:
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(Unreadable) as caught:
            tree.lines(path)
    finally:
        os.seteuid(before)
    return caught.value


def test_a_file_that_we_may_not_read_comes_with_a_hint_how_to_change_that(open_to_all: Path) -> None:
    tree = plant(open_to_all, {"/etc/a.conf": "x"})
    os.chmod(open_to_all / "etc/a.conf", 0)
    error = raised_as_nobody(tree, "/etc/a.conf")
    assert "setfacl" in error.hint
    assert "/etc/a.conf" in error.hint


def test_a_file_in_a_directory_that_we_may_not_enter_is_not_absent(open_to_all: Path) -> None:
    tree = plant(open_to_all, {"/etc/closed/a.conf": "x"})
    os.chmod(open_to_all / "etc/closed", 0)
    error = raised_as_nobody(tree, "/etc/closed/a.conf")
    os.chmod(open_to_all / "etc/closed", 0o700)
    assert not isinstance(error, Absent)


@pytest.mark.parametrize("target", [NULL, "../../dev/null", "/dev/../dev/null", "again"])
def test_a_link_to_null_is_known_without_a_device_below_the_root(tmp_path: Path, target: str) -> None:
    tree = plant(tmp_path, {"/etc/a/mask": Link(target), "/etc/a/again": Link(NULL)})
    assert tree.is_link_to_null("/etc/a/mask")


@pytest.mark.parametrize("content", ["", Link("/etc/null"), Link("mask")])
def test_nothing_else_is_a_link_to_null(tmp_path: Path, content: str | Link) -> None:
    assert not plant(tmp_path, {"/etc/mask": content}).is_link_to_null("/etc/mask")


def test_existence_is_that_of_the_end_of_a_link(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/a": "x", "/good": Link("a"), "/bad": Link("none")})
    assert [tree.exists(path) for path in ("/a", "/good", "/bad", "/none")] == [True, True, False, False]


def test_a_root_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path / "none"))
    assert not tree.exists("/")


def test_names_are_sorted(tmp_path: Path) -> None:
    assert plant(tmp_path, {"/d/b": "", "/d/a": "", "/d/c": ""}).names("/d") == ("a", "b", "c")


def outcome(tree: Tree, path: str) -> str:
    """The path that the lines or the error name."""
    try:
        lines = tree.lines(path)
    except Unreadable as error:
        return error.path
    return lines[0].where.path if lines else path


@given(path=st.text(max_size=60), content=st.binary(max_size=60))
def test_no_path_and_no_content_raises_anything_else(path: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tree = plant(Path(directory), {"/a": content, "/b": Link("/a/../..")})
        for each in (path, f"/{path}", f"/b/{path}", "/a"):
            assert outcome(tree, each) == each
