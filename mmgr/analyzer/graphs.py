"""The graphs: what rrdtool is told to draw. PURE: databases in, words of commands out.

Curves are of rates per minute; what stands below them are totals of the whole period, so that a year's graph still
says how many messages were rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmgr.analyzer.layout import FAILURE, IN_STATISTICS, LATENCY, REPORT, SESSION, STATUS, STEP_S, Database

WIDTH, HEIGHT = 600, 160
PERIODS = {"day": 86400, "week": 7 * 86400, "month": 31 * 86400, "year": 366 * 86400}
"""The names are parts of file names; the lengths in seconds."""

COLOURS = {
    "pass": "5b8fd0",
    "accept": "4fae6b",
    "reject": "d1495b",
    "discard": "7a3e9d",
    "temporary_failure": "edae49",
    "quarantine": "b86b2f",
    "abort": "9a9a9a",
    "error": "1d1d1d",
    "stop": "a9c4e6",
    "shutdown": "7d1128",
    "smtp": "3c6fb4",
    "message": "4fae6b",
    "child": "edae49",
    "disconnected": "9a9a9a",
    "concurrent": "7a3e9d",
    "average": "5b8fd0",
    "maximum": "d1495b",
    "unavailable": "1d1d1d",
    "timeout": "edae49",
    "protocol": "d1495b",
    "spam": "d1495b",
    "virus": "7a3e9d",
    "uribl": "b86b2f",
    "greylisting_pass": "4fae6b",
    "tarpitting_pass": "2f7f4f",
    "spf_pass": "5b8fd0",
    "spf_fail": "1f4e8c",
    "sender_id_pass": "8fc1e3",
    "sender_id_fail": "3d6d8c",
    "dkim_pass": "edae49",
    "dkim_fail": "b07d1e",
    "dkim_adsp_pass": "d9d26a",
    "dkim_adsp_fail": "8c8726",
}
LABELS = {
    "smtp": "SMTP sessions",
    "message": "messages",
    "child": "milters asked",
    "disconnected": "disconnected",
    "concurrent": "at a time (most)",
    "pass": "pass (continue)",
    "stop": "stopped by condition",
    "error": "failed",
    "temporary_failure": "temporary failure",
}
_STACKED = (STATUS, FAILURE)
_AXES = {SESSION: "per minute", STATUS: "per minute", REPORT: "per minute", FAILURE: "per minute", LATENCY: "seconds"}


@dataclass(frozen=True)
class Graph:
    """One picture of one database over one period; has_statistics draws what only ``[statistics]`` lines tell, too."""

    database: Database
    period: str
    has_statistics: bool = False

    @property
    def file(self) -> str:
        """Its name: ``session.day.png``."""
        return f"{self.database.stem}.{self.period}.png"

    def command(self, end: int, folder: str) -> list[str]:
        """The words for rrdtool, which stands beside folder, where the databases are; end is a POSIX time."""
        words = [
            "graph",
            self.file,
            "--imgformat",
            "PNG",
            "--start",
            str(end - PERIODS[self.period]),
            "--end",
            str(end),
        ]
        words += ["--width", str(WIDTH), "--height", str(HEIGHT), "--lower-limit", "0", "--slope-mode"]
        words += ["--vertical-label", _AXES[self.database.kind], "--color", "BACK#ffffff", "--border", "0"]
        words += ["--alt-autoscale-max", "--units-exponent", "0"]
        words += list(self._curves(f"{folder}/{self.database.file}"))
        return words

    def _curves(self, path: str) -> Iterator[str]:
        fields = self.database.kind.fields
        if self.database.kind is SESSION and not self.has_statistics:
            fields = tuple(field for field in fields if field not in IN_STATISTICS)
        for number, field in enumerate(fields):
            yield f"DEF:{field}={path}:{field}:AVERAGE"
            yield f"DEF:most_{field}={path}:{field}:MAX"
            yield from self._times(field) if self.database.kind is LATENCY else self._counts(field, number)

    def _counts(self, field: str, number: int) -> Iterator[str]:
        """One field; the total is the area below the curve, which counts in minutes."""
        label = f"{LABELS.get(field, field.replace('_', ' ')):<21}"
        if field == "concurrent":
            yield f"LINE1:most_{field}#{COLOURS[field]}:{label}"
        elif self.database.kind in _STACKED:
            yield f"AREA:{field}#{COLOURS[field]}:{label}{':STACK' if number else ''}"
        else:
            yield f"LINE2:{field}#{COLOURS[field]}:{label}"
        yield f"CDEF:by_second_{field}={field},{STEP_S},/"
        yield f"VDEF:total_{field}=by_second_{field},TOTAL"
        yield f"VDEF:top_{field}=most_{field},MAXIMUM"
        if field != "concurrent":
            yield f"GPRINT:total_{field}:%10.0lf in all"
        yield (
            f"GPRINT:top_{field}:%8.0lf a minute at most\\l"
            if field != "concurrent"
            else f"GPRINT:top_{field}:%10.0lf\\l"
        )

    def _times(self, field: str) -> Iterator[str]:
        shape, curve = ("AREA", field) if field == "average" else ("LINE1", f"most_{field}")
        yield f"{shape}:{curve}#{COLOURS[field]}:{field:<21}"
        yield f"VDEF:mean_{field}={field},AVERAGE"
        yield f"VDEF:top_{field}=most_{field},MAXIMUM"
        yield f"GPRINT:mean_{field}:%10.3lf s on average"
        yield f"GPRINT:top_{field}:%10.3lf s at most\\l"


def is_png(data: bytes) -> bool:
    """Is a picture whole? One that was cut off by a full disk has no end."""
    return data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
