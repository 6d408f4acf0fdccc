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

_PIECE = re.compile(r'\s*(?:(\d+)\*)?(?:"((?:[^"\\]|\\.)*)"|([0-9a-f]+))(?=\s|$)', re.ASCII)


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

    def decode(self) -> Any:
        return decode_command(self.frame) if self.is_command else decode_reply(self.frame)

    def encode(self) -> bytes:
        return encode_command(self.message) if self.is_command else encode_reply(self.message)


def parse_bytes(text: str) -> bytes:
    """The bytes of one packet as the files write them; ValueError where they can't be read."""
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


def parse_vectors(name: str, text: str) -> Iterator[Vector]:
    """The packets of one file in their order."""
    title = ""
    entry: dict[str, str] = {}
    place = ""
    for number, line in enumerate([*_joined(text), "#"], 1):
        mark, rest = line[:1], line[1:].strip()
        if mark and (mark in "<>" or mark == "#") and ("=" in entry or "!" in entry):
            yield _vector(place, title, entry)
            entry = {}
        if mark == "#":
            title = rest
        elif mark and mark in "<>=~!":
            place = place if entry else f"{name}:{number}"
            entry[mark] = rest
        elif mark:
            raise ValueError(f"{name}:{number}: a line begins with {mark!r}")
    if entry:
        raise ValueError(f"{place}: what does it decode to?")


def _joined(text: str) -> list[str]:
    """Lines with their continuations; the joined ones leave empty lines behind, so that numbers stay right."""
    lines: list[str] = []
    head = 0
    for line in text.splitlines():
        if line[:1] == " ":
            lines[head] += line
            lines.append("")
        else:
            head = len(lines)
            lines.append(line)
    return lines


def _vector(place: str, title: str, entry: dict[str, str]) -> Vector:
    is_command = ">" in entry
    frame = parse_bytes(entry[">" if is_command else "<"])
    if "!" in entry:
        return Vector(place, title, is_command, frame, error=entry["!"])
    message = eval(entry["="], NAMES)  # our own data files
    encoded = parse_bytes(entry["~"]) if "~" in entry else frame
    return Vector(place, title, is_command, frame, message, encoded=encoded)


def load(pattern: str = "*.txt") -> list[Vector]:
    """The packets of all files of that name, in the order of files and lines."""
    paths = sorted(DIRECTORY.glob(pattern))
    return [vector for path in paths for vector in parse_vectors(path.stem, path.read_text("ascii"))]
