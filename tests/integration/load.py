"""Mail that flows while something happens to the daemon."""

from __future__ import annotations

import threading

from tests.integration.daemons import is_marked
from tests.integration.rig import Rig

N_MTAS = 20


class Load:
    """MTAs that deliver until told to stop; problems holds what went wrong with any of them."""

    def __init__(self, rig: Rig) -> None:
        self.problems: list[str] = []
        self.count = 0
        self._rig = rig
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._deliver, daemon=True) for _ in range(N_MTAS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60.0)

    def _deliver(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._rig.session() as session:
                    good = [is_marked(session) for _ in range(3)]
                self.count += 1
                if not all(good):
                    self.problems.append(f"not accepted with the child's edit: {good}")
            except Exception as error:  # noqa: BLE001  whatever went wrong is what the test is after
                self.problems.append(repr(error))
