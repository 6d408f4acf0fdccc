"""Pictures as rrdtool and our own tools draw them, taken apart: how large they are, and what colours are in them."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height."""
    header = dict(_chunks(data))[b"IHDR"]
    width, height = struct.unpack(">II", header[:8])
    return width, height


def colours_of(data: bytes) -> Counter[bytes]:
    """How many pixels there are of each colour, as three bytes; for pictures of eight bits without a palette."""
    depth, kind, _, _, interlaced = dict(_chunks(data))[b"IHDR"][8:13]
    assert (depth, interlaced) == (8, 0), "another kind of picture than rrdtool draws"
    channels = _CHANNELS[kind]
    packed = b"".join(content for name, content in _chunks(data) if name == b"IDAT")
    width, height = size_of(data)
    counts: Counter[bytes] = Counter()
    for row in _rows(zlib.decompress(packed), width * channels, height, channels):
        counts.update(bytes(row[at : at + 3]) for at in range(0, len(row), channels))
    return counts


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    assert data.startswith(_SIGNATURE), "no PNG"
    at = len(_SIGNATURE)
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def _rows(raw: bytes, length: int, height: int, step: int) -> Iterator[bytearray]:
    """The rows without the filters of PNG, section 9."""
    above = bytearray(length)
    for number in range(height):
        start = number * (length + 1)
        row = bytearray(raw[start + 1 : start + 1 + length])
        kind = raw[start]
        for at in range(length) if kind else ():
            left = row[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            row[at] = (row[at] + _predicted(kind, left, above[at], corner)) & 0xFF
        yield row
        above = row


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))
