"""Root directories made of a few files, for tests of detection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Union

from mmgr.detect.base import Detected, Detection
from mmgr.detect.tree import Tree

NULL = "/dev/null"


@dataclass(frozen=True)
class Link:
    """A symbolic link; its target is written as it is."""

    target: str


Content = Union[str, bytes, Link, None]
"""Text (its common indentation is removed), bytes, a link, or None for a directory."""


def plant(root: Path, files: Mapping[str, Content]) -> Tree:
    """A tree with these files; paths are those inside of it."""
    for path, content in files.items():
        place = root / path.lstrip("/")
        (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content.target, place)
        elif isinstance(content, bytes):
            place.write_bytes(content)
        elif content is not None:
            place.write_text(dedent(content).lstrip("\n"), "utf-8")
    return Tree(str(root))


def enabled(unit: str, target: str = "multi-user.target", of: str = "") -> dict[str, Content]:
    """The link that ``systemctl enable`` makes; of is the template of an instance."""
    link = Link(f"/usr/lib/systemd/system/{of or unit}")
    return {f"/etc/systemd/system/{target}.wants/{unit}": link}


def by_name(detection: Detection) -> dict[str, Detected]:
    """What was found, by the milters' names."""
    return {each.name: each for each in detection.milters}


def socket(detected: Detected) -> str:
    """The socket of a milter, "" where none was found."""
    return detected.connection_spec.value if detected.connection_spec is not None else ""


def socket_where(detected: Detected) -> str:
    """Where the socket was read."""
    return str(detected.connection_spec.where) if detected.connection_spec is not None else ""
