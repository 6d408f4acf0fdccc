"""Reads ``tests/vectors/*.txt``; the README beside them says how they are written."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgr.protocol import commands, constants, options, replies
from mmgr.protocol.commands import decode_command, encode_command
from mmgr.protocol.replies import decode_reply, encode_reply

DIRECTORY = Path(__file__).resolve().parents[2] / "vectors"
NAMES = {**vars(options), **vars(constants), **vars(commands), **vars(replies)}

_PIECE = re.compile(r'\s*(?:(\d+)\*)?(?:"((?:[^"\\]|\\.)*)"|((?:[0-9a-f]{2})+))(?=\s|$)', re.ASCII)


@dataclass(frozen=True)
class Vector:
    """One packet: where it stands, which way it goes, its bytes, and what it decodes to or why it is refused."""

    place: str
    title: str
    is_command: bool
    frame: bytes
    message: Any = None
    error: str = ""
    encoded: bytes = b""

    def decode(self, frame: bytes) -> Any:
        return decode_command(frame) if self.is_command else decode_reply(frame)

    def encode(self) -> bytes:
        return encode_command(self.message) if self.is_command else encode_reply(self.message)


def load(pattern: str) -> list[Vector]:
    """The packets of all files of that name, in the order of files and lines."""
    paths = sorted(DIRECTORY.glob(pattern))
    return [vector for path in paths for vector in parse_vectors(path.stem, path.read_text("ascii"))]


def parse_vectors(name: str, text: str) -> Iterator[Vector]:
    """The packets of one file in their order; ValueError where a line can't be understood."""
    title = place = ""
    parts: dict[str, str] = {}
    for number, line in _whole_lines(text):
        mark, rest = line[0], line[1:].strip()
        if mark not in "#<>=~!":
            raise ValueError(f"{name}:{number}: a line begins with {mark!r}")
        if mark in "#<>" and parts:
            yield _vector(place, title, parts)
            parts = {}
        if mark == "#":
            title = rest
            continue
        place = place if parts else f"{name}:{number}"
        parts[mark] = rest
    if parts:
        yield _vector(place, title, parts)


def _whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not empty, with the lines that continue it."""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" "):
            lines[-1] = (lines[-1][0], lines[-1][1] + line)
        elif line:
            lines.append((number, line))
    return iter(lines)


def _vector(place: str, title: str, parts: dict[str, str]) -> Vector:
    if len(parts.keys() & {"<", ">"}) != 1 or len(parts.keys() & {"=", "!"}) != 1:
        raise ValueError(f"{place}: a packet has one line of bytes and either a record or an error")
    is_command = ">" in parts
    frame = parse_bytes(parts[">" if is_command else "<"])
    if "!" in parts:
        return Vector(place, title, is_command, frame, error=parts["!"])
    encoded = parse_bytes(parts["~"]) if "~" in parts else frame
    return Vector(place, title, is_command, frame, eval(parts["="], dict(NAMES)), encoded=encoded)


def parse_bytes(text: str) -> bytes:
    """The bytes of one packet as the files write them."""
    data = b""
    position = 0
    text = text.rstrip()
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            raise ValueError(f"neither hex nor quoted text: {text[position:]}")
        times, quoted, digits = piece.groups()
        raw = bytes.fromhex(digits) if quoted is None else codecs.decode(quoted, "unicode_escape").encode("latin-1")
        data += raw * int(times or 1)
        position = piece.end()
    return data
