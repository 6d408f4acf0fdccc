"""Text that may come from anywhere, made fit for people. PURE."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Text that may come from anywhere, fit to be printed in one line of a comment or a message."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return printable.encode("utf-8", "backslashreplace").decode()
