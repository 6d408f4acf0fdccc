"""A configuration directory that a test fills with a line or two per file, and shortcuts to what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.config.loader import LoadResult, load
from mmgr.config.model import ChildSettings, Config
from mmgr.errors import ConfigError, ConfigErrors

MAIN = "milter-manager.conf"
LOCAL = "milter-manager.local.conf"


class Directory:
    """The directory, and shortcuts to what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: str | bytes, name: str = MAIN) -> Directory:
        """Put a file there; returns itself."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return self

    def load(self, **overrides: str) -> LoadResult:
        """Read it; in the keys of overrides ``__`` stands for the dot."""
        return load(str(self.path), {key.replace("__", "."): value for key, value in overrides.items()})

    def config(self, **overrides: str) -> Config:
        return self.load(**overrides).config

    def child(self, name: str = "a") -> ChildSettings:
        """The child of that name."""
        return next(child for child in self.config().children if child.name == name)

    def errors(self, **overrides: str) -> list[ConfigError]:
        """The faults that it has."""
        with pytest.raises(ConfigErrors) as caught:
            self.load(**overrides)
        return caught.value.errors

    def places(self, **overrides: str) -> list[tuple[str, int]]:
        """File name and line of each fault."""
        return [(Path(error.path).name, error.line) for error in self.errors(**overrides)]

    def error(self, **overrides: str) -> tuple[int, str, str]:
        """Line, key and text of the only fault."""
        (error,) = self.errors(**overrides)
        return (error.line, error.key, f"{error.problem} ({error.hint})")
