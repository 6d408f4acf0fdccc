"""The page that shows the graphs. PURE. Names of milters come from logs, so they are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from urllib.parse import quote

from mmgr.analyzer.counting import MANAGER
from mmgr.analyzer.graphs import PERIODS, Graph
from mmgr.analyzer.layout import FAILURE, LATENCY, REPORT, SESSION, STATUS, Database

REFRESH_S = 300
TITLES = {
    SESSION: "Sessions and messages",
    STATUS: "Verdicts",
    LATENCY: "Time taken",
    FAILURE: "Failures",
    REPORT: "What headers of milters tell",
}
_ORDER = tuple(TITLES)

_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="{REFRESH_S}">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Milter manager</title>
<style>
body {{ font-family: sans-serif; max-width: 90rem; margin: 1rem auto; padding: 0 1rem; color: #222; background: #fff }}
nav a {{ margin-right: 1rem }}
.graphs {{ display: flex; flex-wrap: wrap; gap: 1rem }}
figure {{ margin: 0; max-width: 100% }}
img {{ max-width: 100%; border: 1px solid #ccc }}
figcaption {{ font-size: small; color: #555 }}
</style>
</head>
<body>
<h1>Milter manager</h1>
"""


def shown(child: bytes) -> str:
    """A milter's name as text of the page: what is no UTF-8 or can't be seen as ``\\\\xNN``, and escaped."""
    text = child.decode("utf-8", "backslashreplace")
    return escape("".join(each if each.isprintable() else ascii(each)[1:-1] for each in text))


def page(databases: Iterable[Database], made_at: str) -> str:
    """The whole page; made_at is a time as people read it."""
    by_child: dict[bytes, list[Database]] = {}
    for each in sorted(databases, key=lambda each: (each.child, _ORDER.index(each.kind))):
        by_child.setdefault(each.child, []).append(each)
    children = [child for child in by_child if child != MANAGER]
    parts = [_HEAD, f"<p>As of {escape(made_at)}</p>\n"]
    if not by_child:
        parts.append("<p>Nothing was counted yet.</p>\n")
    if children:
        links = "".join(f'<a href="#{_anchor(child)}">{shown(child)}</a>\n' for child in children)
        parts.append(f"<nav>\n{links}</nav>\n")
    for child, ones in by_child.items():
        if child != MANAGER:
            parts.append(f'<h2 id="{_anchor(child)}">{shown(child)}</h2>\n')
        parts += _sections(ones, 2 if child == MANAGER else 3)
    return "".join(parts) + "</body>\n</html>\n"


def _sections(databases: Sequence[Database], level: int) -> Iterator[str]:
    for database in databases:
        title = TITLES[database.kind]
        yield f'<h{level}>{title}</h{level}>\n<div class="graphs">\n'
        for period in PERIODS:
            name = "" if database.child == MANAGER else f", {shown(database.child)}"
            source = quote(Graph(database, period).file)
            yield f'<figure><img src="{source}" loading="lazy" alt="{title}{name}, last {period}">'
            yield f"<figcaption>Last {period}</figcaption></figure>\n"
        yield "</div>\n"


def _anchor(child: bytes) -> str:
    return f"milter-{child.hex()}"
