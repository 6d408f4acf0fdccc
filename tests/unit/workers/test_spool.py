"""The body of a message: in memory, in a file, cut into frames, and where it can't be kept."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.protocol.commands import Body, encode_command
from mmgr.protocol.framing import PAYLOAD
from workers.spool import BodySpool, SpoolError

often = settings(max_examples=30, deadline=None)
chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


def body(frames: list[bytes]) -> bytes:
    return b"".join(frame[PAYLOAD:] for frame in frames)


def open_files() -> set[str]:
    """What the descriptors of this process stand for."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # the one that listdir itself had open
    return found


def spools(tmp_path: Path) -> list[str]:
    """The temporary files of tmp_path that are open, though unlinked."""
    return [path for path in open_files() if path.startswith(str(tmp_path))]


@often
@given(pieces=chunks, threshold_bytes=st.integers(0, 300))
def test_frames_come_out_as_they_went_in(pieces: list[bytes], threshold_bytes: int) -> None:
    spool = BodySpool(threshold_bytes)
    frames = [encode_command(Body(piece)) for piece in pieces]
    for frame in frames:
        spool.add_frame(frame)
    assert list(spool.frames()) == frames
    spool.close()


@often
@given(pieces=st.lists(st.binary(max_size=100), max_size=8), chunk_bytes=st.integers(1, 50), spills=st.booleans())
def test_bytes_come_out_in_full_frames_of_at_most_the_size_of_a_chunk(
    pieces: list[bytes], chunk_bytes: int, spills: bool
) -> None:
    spool = BodySpool(0 if spills else 10_000, chunk_bytes=chunk_bytes)
    for piece in pieces:
        spool.add_payload(piece)
    frames = list(spool.frames())
    assert body(frames) == b"".join(pieces)
    assert all(1 <= len(frame) - PAYLOAD <= chunk_bytes for frame in frames)
    spool.close()


@often
@given(before=chunks, behind=chunks, threshold_bytes=st.integers(0, 300))
def test_more_can_be_added_after_reading(before: list[bytes], behind: list[bytes], threshold_bytes: int) -> None:
    spool = BodySpool(threshold_bytes)
    for piece in before:
        spool.add_payload(piece)
    assert body(list(spool.frames())) == b"".join(before)
    for piece in behind:
        spool.add_payload(piece)
    assert body(list(spool.frames())) == b"".join(before + behind)
    spool.close()


def test_the_body_can_be_read_again_and_again() -> None:
    spool = BodySpool(10)
    spool.add_payload(b"x" * 100)
    assert list(spool.frames()) == list(spool.frames())


def test_an_unfinished_reading_does_not_disturb_the_next() -> None:
    spool = BodySpool(0, chunk_bytes=10)
    spool.add_payload(b"x" * 100)
    next(spool.frames())
    assert body(list(spool.frames())) == b"x" * 100


def test_a_frame_that_is_too_long_for_a_child_is_cut() -> None:
    spool = BodySpool(1000, chunk_bytes=30)
    spool.add_frame(encode_command(Body(b"x" * 70)))
    assert [len(frame) - PAYLOAD for frame in spool.frames()] == [30, 30, 10]


def test_the_size_is_that_of_the_body_without_its_frames() -> None:
    spool = BodySpool(0, chunk_bytes=30)
    spool.add_payload(b"x" * 70)
    spool.add_frame(encode_command(Body(b"y" * 70)))
    assert spool.size_bytes == 140


def test_no_bytes_are_no_frame() -> None:
    spool = BodySpool(1000)
    spool.add_payload(b"")
    assert list(spool.frames()) == []


def test_a_small_body_stays_in_memory(tmp_path: Path) -> None:
    spool = BodySpool(100 + PAYLOAD, str(tmp_path))
    spool.add_payload(b"x" * 100)
    assert spools(tmp_path) == []


def test_a_body_over_the_threshold_goes_to_a_file_without_a_name(tmp_path: Path) -> None:
    spool = BodySpool(100 + PAYLOAD, str(tmp_path))
    spool.add_payload(b"x" * 101)
    assert len(spools(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_closing_frees_the_file(tmp_path: Path) -> None:
    spool = BodySpool(0, str(tmp_path))
    spool.add_payload(b"x")
    spool.close()
    assert spools(tmp_path) == []


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    spool = BodySpool(0, str(tmp_path))
    spool.add_payload(b"x")
    spool.close()
    spool.close()
    assert list(spool.frames()) == []


def test_a_directory_that_is_not_there_is_named_with_the_size(tmp_path: Path) -> None:
    spool = BodySpool(0, str(tmp_path / "none"))
    with pytest.raises(SpoolError, match=rf"body of 7 bytes .* {tmp_path}/none: No such file"):
        spool.add_payload(b"x" * 7)


def in_child_with_little_room(room_bytes: int, directory: str, size_bytes: int) -> str:
    """What a process that may write files of room_bytes only gets to hear when it spools size_bytes."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, room_bytes))
            spool = BodySpool(0, directory)
            spool.add_payload(b"x" * size_bytes)
            os.write(write_fd, b"kept")
        except SpoolError as error:
            os.write(write_fd, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as told:
        text = told.read().decode()
    os.waitpid(pid, 0)
    return text


def test_a_full_disk_is_told_with_size_and_directory(tmp_path: Path) -> None:
    text = in_child_with_little_room(4096, str(tmp_path), 10_000)
    assert text == f"body of 10000 bytes can't be spooled in {tmp_path}: File too large"


def test_a_body_that_just_fits_is_kept(tmp_path: Path) -> None:
    assert in_child_with_little_room(4096, str(tmp_path), 4096 - PAYLOAD) == "kept"


def test_after_a_failure_the_body_can_still_be_closed(tmp_path: Path) -> None:
    spool = BodySpool(0, str(tmp_path / "none"))
    with pytest.raises(SpoolError):
        spool.add_payload(b"x")
    spool.close()
    assert list(spool.frames()) == []
