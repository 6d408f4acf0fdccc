"""The way to a socket: what may be found there, links inside another root, and names of any bytes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mmgr.doctor import access
from mmgr.doctor.access import walk
from tests.support.processes import LabDirectory


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return path


def test_a_socket_is_found(tmp_path: Path) -> None:
    trail = walk(str(listening(tmp_path / "s")))
    assert (trail.is_socket, trail.at) == (True, str(tmp_path / "s"))


def test_every_directory_on_the_way_is_a_step(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    listening(tmp_path / "a" / "b" / "s")
    steps = [step.path for step in walk("/a/b/s", str(tmp_path)).steps]
    assert steps == ["/a", "/a/b", "/a/b/s"]


def test_of_this_machine_the_root_is_a_step_too(tmp_path: Path) -> None:
    assert walk(str(tmp_path / "nothing")).steps[0].path == "/"


def test_directories_behind_a_link_are_steps_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    listening(tmp_path / "real" / "s")
    (tmp_path / "link").symlink_to("/real")
    assert "/real" in [step.path for step in walk("/link/s", str(tmp_path)).steps]


@pytest.mark.parametrize(
    ("name", "end", "kind"),
    [
        ("plain", access.FOUND, "a plain file"),
        ("directory", access.FOUND, "a directory"),
        ("fifo", access.FOUND, "a FIFO"),
        ("nothing", access.MISSING, ""),
        ("nowhere/below", access.MISSING, ""),
        ("dangling", access.DANGLING, ""),
        ("circle", access.LOOP, ""),
        ("circle/below", access.LOOP, ""),
        ("plain/below", access.NOT_A_DIRECTORY, ""),
        ("fifo/below", access.NOT_A_DIRECTORY, ""),
        ("x" * 300, access.UNUSABLE, ""),
        ("nul\0", access.UNUSABLE, ""),
    ],
)
def test_each_thing_that_is_no_socket_is_named(tmp_path: Path, name: str, end: str, kind: str) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("/nowhere")
    (tmp_path / "circle").symlink_to("elcric")
    (tmp_path / "elcric").symlink_to("circle")
    trail = walk(f"/{name}", str(tmp_path))
    assert (trail.end, trail.kind, trail.is_socket) == (end, kind, False)


def test_a_link_on_the_way_does_not_make_a_missing_socket_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "run").symlink_to("/run")
    trail = walk("/var/run/s", str(tmp_path))
    assert (trail.end, trail.at) == (access.MISSING, "/run/s")


@pytest.mark.parametrize("target", ["/../../../../inside/s", "../../../../../../inside/s", "inside/../../inside/s"])
def test_no_link_leads_out_of_the_root(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    listening(root / "inside" / "s")
    (root / "link").symlink_to(target)
    assert walk("/link", str(root)).at == "/inside/s"


def test_names_that_are_no_utf_8_are_found(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    listening(Path(path))
    assert walk(path).is_socket


def test_the_root_itself_is_a_directory() -> None:
    assert walk("/").kind == "a directory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_what_we_may_not_look_into_is_unseen() -> None:
    with LabDirectory() as lab:
        closed = lab.path / "closed"
        closed.mkdir()
        closed.chmod(0)
        listening(closed / "s")
        pid = os.fork()
        if pid == 0:
            end = ""
            try:
                os.setresuid(65534, 65534, 65534)
                end = walk("/closed/s", str(lab.path)).end
            finally:
                os._exit(0 if end == access.UNSEEN else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
