r"""Ruby's regular expressions as Python's, where one means exactly what the other does. PURE.

Values are host names and addresses: one line, so that ``^`` and ``\A`` are the same. Lists here ignore upper and lower
case; an expression that asks for capital letters keeps its own view. Sources: the documentation of Onigmo (doc/RE) and
of Python's ``re``.
"""

from __future__ import annotations

import re
import warnings

from mmgr.legacy.shapes import Untranslatable
from mmgr.legacy.tokens import Regexp

_PIECE = re.compile(
    r"\\k<(?P<named>[^\W\d]\w*)>|\\(?P<digits>[0-9]+)|\\x(?P<hex>[0-9a-fA-F]{1,2})|\\(?P<escape>.)|\(\?(?P<group><[=!]|<[^>]*>|.)"
    r"|(?P<posix>\[:)|(?P<possessive>[*+?}]\+)|(?P<nested>&&|\|\||--|~~)|(?P<other>[^\\])",
    re.S,
)
_SAME_ESCAPES = frozenset("adDsSwWtnrfvbBA")
_REFUSED_ESCAPES = frozenset("GRXKpPgukcCM")
_HEX_DIGITS = "0-9a-fA-F"
_SUFFIX = re.compile(r"(\\\.|@)((?:[A-Za-z0-9_-]+\\\.)*[A-Za-z0-9_-]+)\\z")
_INLINE = re.compile(r"[imx]*(?:-[imx]+)?")


def item(regexp: Regexp) -> str:
    """The item of a list that does what the expression does: ``/.../`` or ``.example.com``. Raises Untranslatable."""
    suffix = _SUFFIX.fullmatch(regexp.source)
    if suffix and not set(regexp.flags) - set("iomu"):
        return (suffix[1] + suffix[2]).replace("\\.", ".")
    return f"/{searched(regexp)}/"


def searched(regexp: Regexp) -> str:
    """The pattern where upper and lower case are the same unless it says otherwise. Raises Untranslatable."""
    pattern = python_pattern(regexp)
    if "i" not in regexp.flags and _asks_for_capitals(regexp.source):
        return f"(?-i:{pattern})"
    return pattern


def exactly(text: str) -> str:
    """The item that matches this text and no other."""
    return f"/\\A{re.escape(text)}\\Z/"


def python_pattern(regexp: Regexp) -> str:
    """The pattern for ``re``, found anywhere in the value, without the flag for upper and lower case.

    Raises Untranslatable where Python's expressions have nothing that is exactly equal.
    """
    unknown = set(regexp.flags) - set("imo")
    if unknown:
        raise Untranslatable(f"the flag {min(unknown)} of a regular expression has no equal here")
    if not regexp.source:
        raise Untranslatable("the regular expression is empty")
    if not regexp.source.isascii() or not regexp.source.isprintable():
        raise Untranslatable("the regular expression has characters beyond ASCII")
    pattern = _Translation(regexp.source).run()
    if "m" in regexp.flags:
        pattern = f"(?s:{pattern})"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise Untranslatable(f"the regular expression has no equal here: {error}") from error
    return pattern


def _asks_for_capitals(source: str) -> bool:
    return bool(re.search("[A-Z]", re.sub(r"\\.", "", source)))


class _Translation:
    """One expression, piece by piece."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.written: list[str] = []
        self.in_class = False
        self.class_start = 0

    def run(self) -> str:
        """The whole pattern."""
        position = 0
        while position < len(self.source):
            piece = _PIECE.match(self.source, position)
            if piece is None:
                raise Untranslatable("the regular expression ends in a backslash")
            position = self.take(piece)
        if self.in_class:
            raise Untranslatable("the regular expression has a [ that is never closed")
        if "(?P<" in "".join(self.written) and re.search(r"\\[1-9]", "".join(self.written)):
            raise Untranslatable("the regular expression refers to groups by name and by number")
        return "".join(self.written)

    def take(self, piece: re.Match[str]) -> int:
        """Write one piece; returns where the next one begins."""
        rule = getattr(self, f"take_{piece.lastgroup}")
        return int(rule(piece))

    def write(self, text: str, behind: int) -> int:
        self.written.append(text)
        return behind

    def take_named(self, piece: re.Match[str]) -> int:
        """``\\k<name>``."""
        return self.write(f"(?P={piece['named']})", piece.end())

    def take_digits(self, piece: re.Match[str]) -> int:
        """A reference to a group; octal characters are not read."""
        if self.in_class or len(piece["digits"]) > 1 or piece["digits"] == "0":
            raise Untranslatable(f"\\{piece['digits']} of a regular expression has no equal here")
        return self.write(piece[0], piece.end())

    def take_hex(self, piece: re.Match[str]) -> int:
        """A character by its number."""
        code = int(piece["hex"], 16)
        if code > 0x7F:
            raise Untranslatable(f"{piece[0]} of a regular expression is no character of ASCII")
        return self.write(f"\\x{code:02x}", piece.end())

    def take_escape(self, piece: re.Match[str]) -> int:
        """A backslash and a character."""
        letter = piece["escape"]
        if letter in _REFUSED_ESCAPES or (self.in_class and letter in "HBAzZ"):
            raise Untranslatable(f"\\{letter} of a regular expression has no equal here")
        special = {"z": r"\Z", "Z": r"(?=\n?\Z)", "H": f"[^{_HEX_DIGITS}]", "e": r"\x1b", "/": "/"}
        special["h"] = _HEX_DIGITS if self.in_class else f"[{_HEX_DIGITS}]"
        if letter in special:
            return self.write(special[letter], piece.end())
        is_plain_letter = letter.isalnum() and letter not in _SAME_ESCAPES
        return self.write(letter if is_plain_letter else piece[0], piece.end())

    def take_group(self, piece: re.Match[str]) -> int:
        """``(?`` and what follows."""
        if self.in_class:
            return self.write("(", piece.start() + 1)
        kind = piece["group"]
        if kind in (":", "=", "!", "<=", "<!"):
            return self.write(piece[0], piece.end())
        if kind[0] == "<" and kind[1:-1].isidentifier():
            return self.write(f"(?P{kind}", piece.end())
        if kind in "imx-":
            return self.inline(piece)
        raise Untranslatable(f"(?{kind} of a regular expression has no equal here")

    def inline(self, piece: re.Match[str]) -> int:
        """``(?i:...)``; Ruby's m is Python's s."""
        flags = _INLINE.match(self.source, piece.start() + 2)
        assert flags
        if "x" in flags[0] or self.source[flags.end() : flags.end() + 1] != ":":
            raise Untranslatable(f"(?{flags[0]} of a regular expression has no equal here")
        return self.write(f"(?{flags[0].replace('m', 's')}:", flags.end() + 1)

    def take_posix(self, piece: re.Match[str]) -> int:
        """``[:``, which names a class of characters when it stands inside of another bracket."""
        if self.in_class:
            raise Untranslatable("[: :] of a regular expression has no equal here")
        return self.open_class(piece.start())

    def take_possessive(self, piece: re.Match[str]) -> int:
        """``*+`` and the like, which only late versions of Python have."""
        if self.in_class:
            return self.write(piece[0][0], piece.start() + 1)
        raise Untranslatable(f"{piece[0]} of a regular expression has no equal here")

    def take_nested(self, piece: re.Match[str]) -> int:
        """What computes with classes of characters, inside of one."""
        if self.in_class:
            raise Untranslatable(f"{piece[0]} in a class of characters has no equal here")
        return self.write(piece[0][0], piece.start() + 1)

    def take_other(self, piece: re.Match[str]) -> int:
        """Any other character; brackets open and close classes."""
        if piece[0] == "[":
            if self.in_class:
                raise Untranslatable("a class of characters inside another has no equal here")
            return self.open_class(piece.start())
        if piece[0] == "]":
            if not self.in_class:
                raise Untranslatable("the regular expression has a ] that closes nothing")
            self.in_class = False
        return self.write(piece[0], piece.end())

    def open_class(self, position: int) -> int:
        """``[`` or ``[^``; one that is closed at once is empty."""
        opening = "[^" if self.source.startswith("[^", position) else "["
        if self.source.startswith("]", position + len(opening)):
            raise Untranslatable("the regular expression has a class of characters without any")
        self.in_class = True
        return self.write(opening, position + len(opening))
