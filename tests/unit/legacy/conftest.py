"""Old configurations that are kept in memory, and what becomes of them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

import pytest

from mmgr.config.loader import LoadResult, load
from mmgr.legacy import rendering, translation
from mmgr.legacy.draft import Draft
from mmgr.legacy.following import FileFault

Translate = Callable[..., Draft]
Load = Callable[[Draft], LoadResult]


class Shelf:
    """Files by their names; a file whose text is None can't be read."""

    def __init__(self, files: Mapping[str, str | None]) -> None:
        self.files = files

    def matches(self, pattern: str) -> list[str]:
        return sorted(name for name in self.files if fnmatch.fnmatchcase(name, pattern))

    def text(self, path: str) -> str:
        found = self.files.get(path)
        if found is None:
            raise FileFault(path, 0, "can't be read: it is a test")
        return found


@pytest.fixture
def translate() -> Translate:
    """The draft of one file, or of a directory that is given as names and texts."""

    def made(text: str = "", files: Mapping[str, str | None] | None = None) -> Draft:
        shelf = Shelf(files or {})
        return translation.of_text(shelf, "local.conf", text) if text else translation.of_directory(shelf)

    return made


@pytest.fixture
def load_back(tmp_path: Path) -> Load:
    """What the loader makes of a draft that is written to a file."""

    def loaded(draft: Draft) -> LoadResult:
        (tmp_path / "milter-manager.conf").write_text(rendering.text(draft, "local.conf"), "utf-8")
        return load(str(tmp_path), {"package.detection": "no"})

    return loaded
