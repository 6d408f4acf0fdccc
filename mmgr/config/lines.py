"""Which line of a configuration file says what: the structure of ConfigObj's syntax, with line numbers.

PURE: bytes in, ``Scan`` out; nothing is raised for what a file may contain. ConfigObj keeps no line numbers of keys,
stops at the second section of a name, and takes exponential time over a fault at the end of a list (5.0.9: 16 quoted
items and two commas, 2 seconds). So sections and keys are found here, each value is cut out with its comment removed,
and ``loader`` lets ConfigObj turn that value into text or list. Where ConfigObj finds a key, this finds it too (a test
compares them on generated files), except in lines that ConfigObj accepts and makes nonsense of; these are faults here:

* anything but a comma or a comment behind a closing quote (``"a" b, "c"`` is one value there),
* a comment right behind a value (``unix:/x#y``),
* an item of a list that is nothing or white space (``a, , b``),
* a line that begins with '[' and is no section, and brackets inside an unquoted section name,
* control characters, and lines of more than ``MAX_LINE_CHARACTERS``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_LINE_CHARACTERS = 8192
"""The longest line; a list of a hundred sockets is shorter. ConfigObj needs quadratic time for some long lines."""

CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""What no line has: control characters other than the tab, and the characters that some editors break lines at."""

_HEADER = re.compile(r"((?:\[\s*)+)(\"[^\"]*\"|'[^']*'|[^\[\]\"'\s](?:[^\[\]]*[^\[\]\s])?)((?:\s*\])+)\s*(?:#.*)?")
_QUOTED_KEY = re.compile(r"(\"[^\"]*\"|'[^']*')\s*=")
_ITEM = re.compile(r"\"[^\"]*\"|'[^']*'|[^'\",#\s][^,#]*")
_SPACE = re.compile(r"\s*")
_ONE_LINE_TRIPLE = {
    "'''": re.compile(r"'''(.*?)'''\s*(#.*)?"),
    '"""': re.compile(r'"""(.*?)"""\s*(#.*)?'),
}
_LAST_LINE_TRIPLE = {
    "'''": re.compile(r"(.*?)'''\s*(#.*)?"),
    '"""': re.compile(r'(.*?)"""\s*(#.*)?'),
}
_RUBY = re.compile(r"(?:define_\w+|load\w*|remove_milter|require|end)\b|\w+\.\w+\b")

Path = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A section header; path is () for what stands before the first one, ("milters", "name") for a child."""

    path: Path
    line: int


@dataclass(frozen=True)
class Entry:
    """A key. source is its value as the file has it, one text per line, without the comment behind it."""

    section: Path
    key: str
    line: int
    source: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """A line that can't be read. key is the dotted key when the line has one."""

    line: int
    key: str
    problem: str
    hint: str = ""


@dataclass
class Scan:
    """What a file says, in its order. A section or key that stands there twice is a fault, and listed all the same."""

    sections: list[Section] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def scan(data: bytes) -> Scan:
    """Find the sections and keys of a file. Every fault is reported; lines that have one count as empty."""
    scanner = _Scanner()
    scanner.decode(data)
    scanner.run()
    scanner.found.faults.sort(key=lambda fault: fault.line)
    return scanner.found


class _Scanner:
    """One pass over the lines of one file."""

    def __init__(self) -> None:
        self.found = Scan()
        self.lines: list[str] = []
        self.path: Path = ()
        self.is_lost = False
        """Behind a bad header: nobody knows where the keys belong, so they are passed over."""
        self.seen: dict[Path, int] = {}

    def decode(self, data: bytes) -> None:
        """Fill ``lines``, numbered from 0. A line that is not text becomes empty."""
        if b"\0" in data:
            line = data.count(b"\n", 0, data.index(b"\0")) + 1
            self.fault(line, "", "there is a NUL byte, so this is not a text file", "write the file in UTF-8")
            return
        for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            self.lines.append(self.decoded(number, raw.rstrip(b"\r")))

    def decoded(self, number: int, raw: bytes) -> str:
        """One line as text; "" with a fault when it can't be."""
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.fault(number, "", f"byte {raw[error.start]:#04x} is not UTF-8 text", "save the file in UTF-8")
            return ""
        if len(line) > MAX_LINE_CHARACTERS:
            self.fault(number, "", f"the line is {len(line)} characters long", f"at most {MAX_LINE_CHARACTERS}")
            return ""
        control = CONTROL_CHARACTER.search(line)
        if control:
            self.fault(number, "", f"there is a control character, U+{ord(control.group()):04X}", "remove it")
            return ""
        return line

    def run(self) -> None:
        """Go through the lines; a value in triple quotes takes several at once."""
        index = 0
        while index < len(self.lines):
            line = self.lines[index].lstrip()
            if line.startswith("["):
                self.header(index + 1, line)
            elif line and not line.startswith("#"):
                index = self.entry(index, line)
            index += 1

    def header(self, number: int, line: str) -> None:
        """A section line."""
        self.is_lost = True
        parts = _HEADER.fullmatch(line)
        if not parts:
            self.fault(number, "", f"{_shown(line)} is not a section", "write [section], or [[name]] for a milter")
            return
        depth = parts.group(1).count("[")
        if depth != parts.group(3).count("]"):
            self.fault(number, "", f"{_shown(line)} opens and closes with a different number of brackets")
        elif depth > len(self.path) + 1:
            self.fault(
                number, "", f"{_shown(line)} is not inside a section", "use one bracket more than the section above"
            )
        elif not _unquoted(parts.group(2)).strip():
            self.fault(number, "", f"{_shown(line)} has no name")
        else:
            self.open((*self.path[: depth - 1], _unquoted(parts.group(2))), number)

    def open(self, path: Path, number: int) -> None:
        """A good section line."""
        self.is_lost = False
        self.path = path
        self.found.sections.append(Section(path, number))
        self.remember(path, number, "the section", "merge the two")

    def entry(self, index: int, line: str) -> int:
        """A line that should be ``key = value``; returns the index of the last line that belongs to it."""
        key, value = _key_and_value(line)
        if key is None:
            self.fault(index + 1, "", f"{_shown(line)} is neither a [section] nor key = value", _ruby_hint(line))
            return index
        path = (key,) if self.is_lost else (*self.path, key)
        if value[:3] in _ONE_LINE_TRIPLE:
            end, source = self.triple_quoted(index, path, value)
        else:
            end, source = index, self.plain(index + 1, path, value)
        if source is not None and not self.is_lost:
            self.found.entries.append(Entry(self.path, key, index + 1, source))
        if not self.is_lost:
            self.remember(path, index + 1, "the key", "keep one of the two")
        return end

    def plain(self, number: int, path: Path, value: str) -> tuple[str, ...] | None:
        """The value without the comment behind it; None with a fault."""
        end, problem = _end_of_value(value)
        if problem:
            self.fault(number, ".".join(path), f"{_shown(value)}: {problem}", _ruby_hint(path[-1]))
            return None
        return (value[:end].rstrip(),)

    def triple_quoted(self, index: int, path: Path, value: str) -> tuple[int, tuple[str, ...] | None]:
        """The last line of a value in triple quotes, and its source; None for the source with a fault."""
        quotes = value[:3]
        if _ONE_LINE_TRIPLE[quotes].fullmatch(value):
            return index, (value,)
        if quotes in value[3:]:
            self.fault(index + 1, ".".join(path), f"{_shown(value)}: there is text behind the closing {quotes}")
            return index, None
        for end in range(index + 1, len(self.lines)):
            if quotes in self.lines[end]:
                return end, self.closed(index, end, path, value)
        self.fault(index + 1, ".".join(path), f"the {quotes} of {_shown(value)} is never closed")
        return len(self.lines), None

    def closed(self, index: int, end: int, path: Path, value: str) -> tuple[str, ...] | None:
        """The source of a value whose closing quotes are in line ``end``."""
        last = self.lines[end]
        if not _LAST_LINE_TRIPLE[value[:3]].fullmatch(last):
            self.fault(end + 1, ".".join(path), f"{_shown(last)}: there is text behind the closing {value[:3]}")
            return None
        return (value, *self.lines[index + 1 : end + 1])

    def remember(self, path: Path, number: int, what: str, hint: str) -> None:
        """Note a name; it is a fault when its section has it already."""
        first = self.seen.setdefault(path, number)
        if first != number:
            self.fault(number, ".".join(path), f"{what} stands here for the second time, first in line {first}", hint)

    def fault(self, number: int, key: str, problem: str, hint: str = "") -> None:
        self.found.faults.append(Fault(number, key, problem, hint))


def _key_and_value(line: str) -> tuple[str | None, str]:
    """The two sides of ``key = value``; None for the key when the line is nothing of the kind."""
    if line[0] in "'\"":
        quoted = _QUOTED_KEY.match(line)
        return (_unquoted(quoted.group(1)), line[quoted.end() :].lstrip()) if quoted else (None, "")
    key, equals, value = line.partition("=")
    return (key.rstrip(), value.lstrip()) if key and equals else (None, "")


def _end_of_value(value: str) -> tuple[int, str]:
    """Where the value ends and its comment begins, and what is wrong with it or ""."""
    position, wants_item = 0, True
    while position < len(value) and value[position] != "#":
        item = _ITEM.match(value, position)
        if value[position] == ",":
            if wants_item and value[:position].strip(", \t"):
                return position, "there is nothing between two commas"
            if wants_item and value[position + 1 :].partition("#")[0].strip():
                return position, "there is nothing before the first comma"
            wants_item, position = True, position + 1
        elif not wants_item:
            return position, "there is text behind a closing quote"
        elif not item:
            return position, "a closing quote is missing"
        else:
            wants_item, position = False, item.end()
        space = _SPACE.match(value, position)
        position = space.end() if space else position
    if value[position : position + 1] == "#" and value[:position] and value[position - 1] not in " \t\"'":
        return position, "a '#' in a value stands in quotes, and one that begins a comment behind a blank"
    return position, ""


def _unquoted(name: str) -> str:
    return name[1:-1] if name[:1] in ("'", '"') else name


def _shown(line: str) -> str:
    line = line.strip()
    return repr(line if len(line) <= 80 else line[:77] + "...")


def _ruby_hint(line: str) -> str:
    """What to say when the line looks as if the file were milter manager 2's."""
    if _RUBY.match(line):
        return "Ruby, as milter manager 2 had it, is not read; write [section] and key = value"
    return ""
