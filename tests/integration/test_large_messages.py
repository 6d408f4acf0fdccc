"""A message of 100 MB costs a worker no memory to speak of, leaves no file behind, and arrives as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import psutil
import pytest

from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.peers.behaviour import Action, Behaviour
from mmgr.peers.milter import MilterPeer
from mmgr.peers.mta import connect_peer
from mmgr.protocol.commands import Body, BodyEob, CommandMessage, Header, Mail
from mmgr.protocol.constants import ProtocolFlag
from mmgr.protocol.replies import AddHeader, Continue, Edit, ReplBody
from tests.integration.rig import PATIENCE, POSTFIX
from tests.support.daemon import Manager
from tests.support.processes import LabDirectory

N_MESSAGES = 3
ALLOWED_BYTES = 4_000_000
ALLOWED_MEANWHILE_BYTES = 6_000_000
"""While a message is on its way there are a megabyte of body that is not spooled yet, and one on its way out."""

PIECE = bytes(range(256)) * 255 + bytes(255)
"""A full chunk."""
N_PIECES = 1530
"""100 MB of them."""

NEW_PIECE = PIECE[::-1]
N_NEW_PIECES = 305
"""20 MB."""


def digest(piece: bytes, count: int) -> str:
    """Of a body that is nothing but this piece."""
    made = hashlib.sha1()
    for _ in range(count):
        made.update(piece)
    return made.hexdigest()


@dataclass
class Seen:
    """What was found while and after large messages were on their way."""

    before_bytes: int = 0
    during_bytes: list[int] = field(default_factory=list)
    after_bytes: list[int] = field(default_factory=list)
    spools: list[list[str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    told: dict[str, list[str]] = field(default_factory=dict)
    edits: list[tuple[list[Edit], str]] = field(default_factory=list)


class Course:
    """A manager with one worker between an MTA and three children; the second replaces each large body."""

    def __init__(self, lab: LabDirectory, stack: ExitStack) -> None:
        directory = lab.subdirectory("large")
        self.spool_directory = lab.subdirectory("spool")
        self.seen = Seen()
        children = {}
        for name in ("c1", "c2", "c3"):
            endpoint = Endpoint("unix", path=str(directory / f"{name}.sock"))
            behaviour = Behaviour(
                steps=ProtocolFlag.SMFIP_NR_HDR, responder=lambda name=name: Hashing(name, self).respond
            )
            stack.enter_context(MilterPeer(endpoint, behaviour, keeps_records=False, mode=0o666))
            children[name] = str(endpoint)
        sections = {"manager": {"spool_directory": str(self.spool_directory)}}
        self.manager = stack.enter_context(Manager(directory, children, n_workers=1, sections=sections))
        (self.worker,) = map(psutil.Process, self.manager.worker_pids())

    def memory_bytes(self) -> int:
        """What the worker has for itself."""
        return self.worker.memory_full_info().uss

    def run(self) -> None:
        """A small message, then large ones, all in one session."""
        with connect_peer(parse_endpoint(self.manager.spec), deadlines=PATIENCE, macros=POSTFIX) as mta:
            mta.negotiate()
            mta.connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7")
            mta.helo(b"mx.example.net")
            for number in range(1 + N_MESSAGES):
                mta.mail(b"<small@example.com>" if number == 0 else b"<large@example.com>")
                mta.rcpt(b"<b@example.org>")
                mta.data()
                mta.header(b"Subject", b"%d" % number)
                mta.eoh()
                for _ in range(1 if number == 0 else N_PIECES):
                    mta.body(PIECE)
                assert mta.end_of_message() == Continue()
                self._note(mta.edits, number)
            mta.quit()

    def _note(self, edits: Sequence[Edit], number: int) -> None:
        if number == 0:
            self.seen.before_bytes = self.memory_bytes()
            self.seen.told.clear()
            self.seen.during_bytes.clear()
            self.seen.spools.clear()
            return
        self.seen.after_bytes.append(self.memory_bytes())
        new_body = hashlib.sha1(b"".join(edit.chunk for edit in edits if isinstance(edit, ReplBody))).hexdigest()
        self.seen.edits.append(([edit for edit in edits if not isinstance(edit, ReplBody)], new_body))

    def note_end(self, name: str, body: str) -> None:
        """A child has been given a whole message."""
        self.seen.told.setdefault(name, []).append(body)
        self.seen.during_bytes.append(self.memory_bytes())
        self.seen.names += os.listdir(self.spool_directory)
        open_files = (os.readlink(f"/proc/{self.worker.pid}/fd/{number}") for number in self._descriptors())
        self.seen.spools.append([path for path in open_files if path.startswith(str(self.spool_directory))])

    def _descriptors(self) -> list[str]:
        return os.listdir(f"/proc/{self.worker.pid}/fd")


class Hashing:
    """A child that remembers of a body only its digest."""

    def __init__(self, name: str, course: Course) -> None:
        self._name = name
        self._course = course
        self._is_large = False
        self._hash = hashlib.sha1()

    def respond(self, message: CommandMessage, _macros: Mapping[bytes, bytes]) -> Sequence[Action] | None:
        """A ``Responder``."""
        if isinstance(message, Mail):
            self._is_large = message.sender.startswith(b"<large")
            self._hash = hashlib.sha1()
        elif isinstance(message, Body):
            self._hash.update(message.chunk)
        elif isinstance(message, BodyEob):
            self._course.note_end(self._name, self._hash.hexdigest())
            edit = AddHeader(b"X-" + self._name.encode(), b"seen")
            new_body = [ReplBody(NEW_PIECE)] * N_NEW_PIECES if self._name == "c2" and self._is_large else []
            return edit, *new_body, Continue()
        return () if isinstance(message, Header) else None


@pytest.fixture(scope="module")
def seen(lab: LabDirectory) -> Iterator[Seen]:
    """What came of it all."""
    with ExitStack() as stack:
        course = Course(lab, stack)
        course.run()
        yield course.seen


def test_a_worker_is_no_larger_behind_large_messages(seen: Seen) -> None:
    assert max(seen.after_bytes) - seen.before_bytes < ALLOWED_BYTES


def test_a_worker_is_no_larger_while_its_children_have_a_large_message(seen: Seen) -> None:
    assert max(seen.during_bytes) - seen.before_bytes < ALLOWED_MEANWHILE_BYTES


def test_each_child_is_told_the_body_as_it_stands(seen: Seen) -> None:
    sent, replaced = digest(PIECE, N_PIECES), digest(NEW_PIECE, N_NEW_PIECES)
    assert seen.told == {name: [body] * N_MESSAGES for name, body in (("c1", sent), ("c2", sent), ("c3", replaced))}


def test_the_mta_is_told_the_whole_new_body(seen: Seen) -> None:
    headers = [AddHeader(b"X-" + name, b"seen") for name in (b"c1", b"c2", b"c3")]
    assert seen.edits == [(headers, digest(NEW_PIECE, N_NEW_PIECES))] * N_MESSAGES


def test_the_body_lies_in_a_file_without_a_name(seen: Seen) -> None:
    assert seen.names == []
    assert len(seen.spools) == 3 * N_MESSAGES
    assert all(len(paths) == 1 and paths[0].endswith("(deleted)") for paths in seen.spools)
