"""Lessons are found by all processes that share them, in their own generation alone, whole or not at all."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.lessons import PLACES, ROOM_BYTES, Lessons

some_bytes = st.binary(max_size=40)


def in_child(lessons: Lessons, key: bytes, note: bytes) -> int:
    """Teach in a forked process; its exit code says whether that was possible."""
    pid = os.fork()
    if pid == 0:
        os._exit(int(lessons.teach(1, key, note)))
    return os.WEXITSTATUS(os.waitpid(pid, 0)[1])


def test_what_one_process_teaches_another_finds() -> None:
    lessons = Lessons()
    assert in_child(lessons, b"key", b"note") == 1
    assert lessons.find(1, b"key") == b"note"


def test_a_key_that_nobody_taught_is_not_found() -> None:
    assert Lessons().find(1, b"key") is None


def test_a_later_note_takes_the_place_of_an_earlier_one() -> None:
    lessons = Lessons()
    lessons.teach(1, b"key", b"a long note")
    lessons.teach(1, b"key", b"short")
    assert list(lessons.all(1)) == [(b"key", b"short")]


def test_another_generation_finds_nothing() -> None:
    lessons = Lessons()
    lessons.teach(1, b"key", b"note")
    assert lessons.find(2, b"key") is None


def test_what_an_older_generation_taught_makes_room() -> None:
    lessons = Lessons()
    for number in range(PLACES):
        lessons.teach(1, b"%d" % number, b"old")
    for number in range(PLACES):
        lessons.teach(2, b"%d" % number, b"new")
    assert len(list(lessons.all(2))) == PLACES


@pytest.mark.parametrize("note_bytes", [ROOM_BYTES - 3, 2 * ROOM_BYTES])
def test_what_is_too_long_is_not_taught(note_bytes: int) -> None:
    lessons = Lessons()
    assert not lessons.teach(1, b"1234", bytes(note_bytes))
    assert list(lessons.all(1)) == []


def test_what_just_fits_is_taught() -> None:
    lessons = Lessons()
    lessons.teach(1, b"1234", b"x" * (ROOM_BYTES - 4))
    assert lessons.find(1, b"1234") == b"x" * (ROOM_BYTES - 4)


def test_who_invents_keys_all_the_time_does_not_keep_others_out() -> None:
    lessons = Lessons()
    for number in range(5 * PLACES):
        lessons.teach(1, b"invented %d" % number, b"note")
    lessons.teach(1, b"key", b"note")
    assert lessons.find(1, b"key") == b"note"


def test_nobody_waits_for_one_who_was_stopped_while_he_taught() -> None:
    lessons = Lessons()
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        lessons._write = lambda *_: (os.write(write_fd, b"."), signal.pause())  # type: ignore[assignment]
        lessons.teach(1, b"key", b"note")
    os.read(read_fd, 1)
    is_taught = lessons.teach(1, b"other", b"note")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(read_fd)
    os.close(write_fd)
    assert not is_taught
    assert lessons.teach(1, b"other", b"note"), "the lock of the dead is free again"


def test_what_is_only_half_written_is_not_found() -> None:
    lessons = Lessons()
    lessons.teach(1, b"key", b"note")
    lessons._map[0] = lessons._map[0] | 1
    assert lessons.find(1, b"key") is None


@given(st.lists(st.tuples(some_bytes, some_bytes), max_size=PLACES))
def test_every_key_has_its_last_note(taught: list[tuple[bytes, bytes]]) -> None:
    lessons = Lessons()
    for key, note in taught:
        lessons.teach(1, key, note)
    assert dict(lessons.all(1)) == dict(taught)
