"""The life of the process that shows the metrics: by HTTP on a socket, in a file for node_exporter, or both.

Forked by the master, which it asks for what it shows. It sees no mail and no milter; when it dies another one is
started. It ends by TERM, with the master, or when the master does not answer any more.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from mmgr.config.model import MetricsSettings
from mmgr.control import Line
from mmgr.endpoint import Endpoint
from mmgr.errors import ControlError, ControlUnanswered
from mmgr.log import quoted
from mmgr.status.exposition import Exposition
from mmgr.status.metrics import CONTENT_TYPE, render
from mmgr.status.promfile import PromFile

log = logging.getLogger(__name__)

FRESH_S = 0.5
"""Those who ask within this time are shown the same."""

REST_S = 0.5
"""How long no connection is taken after one could not be."""


class Source:
    """What the master says, as text; for any number of threads, of which one asks at a time."""

    def __init__(self, line: Line) -> None:
        self.is_broken = False
        self._line = line
        self._lock = threading.Lock()
        self._made_at = 0.0
        self._text = b""

    def text(self) -> bytes:
        """All metrics, at most ``FRESH_S`` old. Raises ControlError."""
        with self._lock:
            if not self._text or time.monotonic() - self._made_at > FRESH_S:
                self._text = b""
                self._text = render(self._ask)
                self._made_at = time.monotonic()
            return self._text

    def _ask(self) -> Mapping[str, Any]:
        """An answer that did not come in time would be taken for that of the next question."""
        if self.is_broken:
            raise ControlUnanswered("the daemon does not answer")
        try:
            answer = self._line.ask("metrics")
        except ControlError:
            self.is_broken = True
            raise
        if answer.get("is_done") is not True:
            raise ControlError("; ".join(map(str, answer.get("errors", ["the daemon refused"]))))
        result: Mapping[str, Any] = answer["result"]
        return result


class _Exporter:
    """The loop."""

    def __init__(self, settings: MetricsSettings, listening: socket.socket | None, source: Source) -> None:
        self._settings = settings
        self._listening = listening
        self._source = source
        self._exposition = Exposition(source.text, CONTENT_TYPE)
        self._file = PromFile(settings.file) if settings.file else None
        self._write_at = 0.0

    def serve(self, life_fd: int) -> None:
        """Until the master is gone, or does not answer."""
        poll = select.poll()
        poll.register(life_fd, select.POLLIN)
        if self._listening is not None:
            poll.register(self._listening, select.POLLIN)
        while not self._source.is_broken:
            for descriptor, _ in poll.poll(self._wait_s() * 1000):
                if descriptor == life_fd:
                    return
                self._take()
            self._write_file()

    def _wait_s(self) -> float:
        """Until something is due by time alone; that the line is broken is noticed within a second."""
        return 1.0 if self._file is None else min(1.0, max(0.0, self._write_at - time.monotonic()))

    def _take(self) -> None:
        assert self._listening is not None
        try:
            self._exposition.take(self._listening)
        except OSError:
            time.sleep(REST_S)  # no descriptor is left; or the socket is going, and so are we

    def _write_file(self) -> None:
        if self._file is None or time.monotonic() < self._write_at:
            return
        self._write_at = time.monotonic() + self._settings.file_interval_s
        try:
            text = self._source.text()
        except ControlError as error:
            log.warning("metrics-unanswered error=%s", quoted(str(error)))
        else:
            self._file.write(text)


def run(settings: MetricsSettings, listening: socket.socket | None, line: socket.socket, life_fd: int) -> None:
    """Show the metrics until the end of the master, which line leads to and life_fd tells of."""
    source = Source(Line(Endpoint("unix", path="the daemon"), connected=line))
    _Exporter(settings, listening, source).serve(life_fd)
