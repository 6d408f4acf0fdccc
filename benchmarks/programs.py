"""The C programs of the benchmarks, compiled into a temporary directory, and the children that run one of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import ComponentMissing, Daemon, give_to_unprivileged, negotiates

HERE = Path(__file__).resolve().parent
MILTER_HEADER = Path("/usr/include/libmilter/mfapi.h")


def build(source: str, target: Path, libraries: Sequence[str] = ()) -> Path:
    """Compiles one of our C files. Raises ComponentMissing when there is no compiler or no libmilter."""
    if "-lmilter" in libraries and not MILTER_HEADER.exists():
        raise ComponentMissing(f"{MILTER_HEADER} is not there (package libmilter-dev)")
    command = ["cc", "-O2", "-o", str(target), str(HERE / source), *libraries]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ComponentMissing("there is no C compiler (package gcc)") from None
    if done.returncode != 0:
        raise ComponentMissing(f"{' '.join(command)} failed:\n{done.stderr}")
    return target


def build_child(directory: Path) -> Path:
    """child.c as a program in directory."""
    return build("child.c", directory / "child", ["-lmilter", "-lpthread"])


def build_load(directory: Path) -> Path:
    """load.c as a program in directory."""
    return build("load.c", directory / "load")


class LibmilterChild(Daemon):
    """child.c as a process. spec is in the manager's notation; arguments are the program's, beyond -s and -c."""

    package = "libmilter-dev"

    def __init__(self, directory: Path, program: Path, arguments: Sequence[str] = (), port: int = 0) -> None:
        super().__init__(directory)
        self.binary = str(program)
        self.spec = f"inet:{port}@127.0.0.1" if port else f"unix:{directory}/child.sock"
        self._arguments = list(arguments)
        self._count = directory / "count"

    def prepare(self) -> None:
        self._count.write_bytes(bytes(8))
        give_to_unprivileged(self._count)

    def command(self) -> Sequence[str]:
        return [self.binary, "-s", self.spec, "-c", str(self._count), *self._arguments]

    def is_ready(self) -> bool:
        return negotiates(self.spec)

    def messages_seen(self) -> int:
        """How many messages came to their end here."""
        return int.from_bytes(self._count.read_bytes(), "little")
