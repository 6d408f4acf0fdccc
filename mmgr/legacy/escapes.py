"""What a string in quotes says: Ruby's escapes, in single and in double quotes. PURE."""

from __future__ import annotations

import re

from mmgr.errors import MmgrError

_SIMPLE = dict(zip("ntsr0eabfv\n", ["\n", "\t", " ", "\r", "\0", "\x1b", "\a", "\b", "\f", "\v", ""]))
_ESCAPE = re.compile(
    r"\\(?:u\{(?P<many>[0-9a-fA-F ]+)\}|u(?P<one>[0-9a-fA-F]{4})|x(?P<hex>[0-9a-fA-F]{1,2})"
    r"|(?P<octal>[0-7]{1,3})|(?P<other>.))",
    re.S,
)


class EscapeRefused(MmgrError):
    """An escape whose value is not text, such as a control or meta character."""


def single_quoted(content: str, opening: str, closing: str) -> str:
    """The text between single quotes, or between the delimiters of ``%q``: only they and the backslash are escaped."""
    if "\\" not in content:
        return content
    return re.sub(rf"\\([\\{re.escape(opening)}{re.escape(closing)}])", r"\1", content)


def double_quoted(content: str) -> str:
    """The text between double quotes. Raises EscapeRefused for bytes that are no text, and for control characters."""
    return _ESCAPE.sub(_one, content) if "\\" in content else content


def _one(found: re.Match[str]) -> str:
    if found["other"] is not None:
        if found["other"] in "ucCMx":
            raise EscapeRefused(found[0])
        return _SIMPLE.get(found["other"], found["other"])
    if found["many"] is not None:
        return "".join(_character(int(code, 16)) for code in found["many"].split())
    if found["one"] is not None:
        return _character(int(found["one"], 16))
    code = int(found["hex"], 16) if found["hex"] is not None else int(found["octal"], 8)
    if code > 0x7F:
        raise EscapeRefused(found[0])
    return chr(code)


def _character(code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise EscapeRefused(hex(code))
    return chr(code)
