"""Ruby cut into words, each with its line. PURE.

Only the part of Ruby's grammar is known that tells where a literal, a comment or a statement ends. Source: the lexical
rules of Ruby 2 and 3, https://docs.ruby-lang.org/en/3.3/syntax/literals_rdoc.html.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mmgr.legacy.escapes import EscapeRefused, double_quoted, single_quoted
from mmgr.legacy.tokens import (
    CONSTANT,
    DYNAMIC,
    KEYWORD,
    LABEL,
    MAX_NESTING,
    NAME,
    NEWLINE,
    NUMBER,
    OPERATOR,
    REGEXP,
    STRING,
    SYMBOL,
    WORDS,
    Regexp,
    RubyFault,
    Source,
    Symbol,
    Token,
    Value,
)

_WORDS_OF_RUBY = """
    alias and BEGIN begin break case class def defined? do else elsif END end ensure false for if in module next nil not
    or redo rescue retry return self super then true undef unless until when while yield __FILE__ __LINE__
"""
_KEYWORDS = frozenset(_WORDS_OF_RUBY.split())
_VALUE_KEYWORDS = ("end", "self", "true", "false", "nil", "__FILE__", "__LINE__")
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}

_SPACE = re.compile(r"(?:[ \t\r\f\v]|\\\r?\n)+")
_NAME = re.compile(r"(?:@@?|\$)?[^\W\d]\w*(?:[?!](?!=(?![=~>])))?|\$(?:\d+|-\w|[^\w\s])|[@$]")
_NUMBER = re.compile(
    r"0[xX](?P<hex>[0-9a-fA-F_]+)|0[bB](?P<binary>[01_]+)|0[dD](?P<plain>[0-9_]+)"
    r"|(?P<float>\d[\d_]*(?:\.\d[\d_]*(?:[eE][+-]?\d+)?|[eE][+-]?\d+))"
    r"|0[oO]?(?P<octal>[0-7_]*[0-7])(?![0-9])|(?P<decimal>[1-9][\d_]*|0)"
)
_OPERATOR = re.compile(
    r"\*\*=|<=>|===|\.\.\.|<<=|>>=|&&=|\|\|=|&\.|\*\*|==|=~|!~|!=|>=|<=|=>|->|::|\.\.|&&|\|\||<<|>>|[-+*/%&|^]=|."
)
_SYMBOL = re.compile(r":([^\W\d]\w*[?!=]?(?![=~>])|[^\W\d]\w*|\[\]=?|[-+*/<>!~%^&|]|==|=~|===|<=>|<=|>=|<<|>>)")
_HEREDOC = re.compile(r"<<([~-]?)(?:\"([^\"\n]+)\"|'([^'\n]+)'|`([^`\n]+)`|([^\W\d]\w*))")
_PERCENT = re.compile(r"%([qQwWiIrsx]?)([^\w\s])")
_CHARACTER = re.compile(r"\?([!-~])(?!\w)")
_FLAGS = re.compile(r"[a-z]*")
_LINE = re.compile(r"[^\n]*")
_BLOCK_COMMENT = re.compile(r"=begin\b.*?^=end\b[^\n]*", re.S | re.M)
_SAFE_BASES = {"hex": 16, "binary": 2, "octal": 8, "plain": 10, "decimal": 10}


def read(text: str) -> Source:
    """Cut a file into words; the last token is a NEWLINE. Raises RubyFault where a literal is never closed."""
    reader = _Reader(text)
    reader.run()
    return reader.found


class _Heredoc(NamedTuple):
    place: int
    word: str
    is_indented: bool
    is_squiggly: bool
    is_raw: bool


class _Reader:
    """One pass over one file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.line = 1
        self.counted = 0
        """Up to where line ends are in ``line``."""
        self.is_spaced = False
        self.found = Source(text)
        self.heredocs: list[_Heredoc] = []

    def run(self) -> None:
        """All of it."""
        while self.position < len(self.text):
            space = _SPACE.match(self.text, self.position)
            self.is_spaced = bool(space)
            if space:
                self.position = space.end()
            if self.position < len(self.text) and not self.skip_comment():
                if self.at_line_start() and _LINE.match(self.text, self.position)[0].strip() == "__END__":  # type: ignore[index]
                    break
                self.word(self.text[self.position])
        if self.heredocs:
            raise RubyFault(self.line_at(self.position), f"the text behind <<{self.heredocs[0].word} is never closed")
        self.add(NEWLINE, self.position)

    def line_at(self, position: int) -> int:
        """The line of an offset that is not before the last one asked for."""
        self.line += self.text.count("\n", self.counted, position)
        self.counted = max(self.counted, position)
        return self.line

    def at_line_start(self) -> bool:
        return self.position == 0 or self.text[self.position - 1] == "\n"

    def skip_comment(self) -> bool:
        """Whether a comment stood here."""
        if self.text[self.position] == "#":
            comment = _LINE.match(self.text, self.position)
            assert comment
            if self.is_first_in_line():
                self.found.comments[self.line_at(self.position)] = comment[0][1:].strip()
            self.position = comment.end()
            return True
        if self.at_line_start() and self.text.startswith("=begin", self.position):
            block = _BLOCK_COMMENT.match(self.text, self.position)
            if not block:
                raise RubyFault(self.line_at(self.position), "the comment behind =begin is never closed")
            self.position = block.end()
            return True
        return False

    def is_first_in_line(self) -> bool:
        """Whether nothing but white space stands before this place in its line."""
        start = self.text.rfind("\n", 0, self.position) + 1
        return not self.text[start : self.position].strip()

    def word(self, first: str) -> None:
        """One token that begins with this character."""
        if first == "\n":
            self.newline()
        elif first in "\"'`":
            self.quoted(self.position + 1, first, first, is_raw=first == "'")
        elif first.isdecimal() and first.isascii():
            self.number()
        elif first.isalnum() or first in "_@$":
            self.name()
        elif not self.special_literal(first):
            match = _OPERATOR.match(self.text, self.position)
            self.add(OPERATOR, match.end() if match else self.position + 1)

    def newline(self) -> None:
        """The end of a line; texts that were announced in it begin here."""
        if self.text[self.position - 1 : self.position] != "\n" or not self.found.tokens:
            self.add(NEWLINE, self.position + 1)
        else:
            self.position += 1
        announced, self.heredocs = self.heredocs, []
        for heredoc in announced:
            self.heredoc_body(heredoc)

    def name(self) -> None:
        """A name, keyword, constant or ``label:``."""
        match = _NAME.match(self.text, self.position)
        end = match.end() if match else self.position + 1
        text = self.text[self.position : end]
        is_label = self.text.startswith(":", end) and not self.text.startswith("::", end) and not self.is_ternary()
        if is_label and not self.is_after_dot():
            self.add(LABEL, end + 1, text)
        elif text in _KEYWORDS and not self.is_after_dot() and not self.is_after_def():
            self.add(KEYWORD, end)
        else:
            self.add(CONSTANT if text[0].isupper() else NAME, end)

    def number(self) -> None:
        match = _NUMBER.match(self.text, self.position)
        if not match or self.text[match.end() : match.end() + 1].isalnum():
            raise RubyFault(self.line_at(self.position), "there is a number that Ruby would not read")
        kind, digits = match.lastgroup or "decimal", match[match.lastgroup or 0].replace("_", "")
        if len(digits) > 100 or not digits:
            raise RubyFault(self.line_at(self.position), "there is a number that is too long")
        self.add(NUMBER, match.end(), float(digits) if kind == "float" else int(digits, _SAFE_BASES[kind]))

    def special_literal(self, first: str) -> bool:
        """Whether a literal stands here that begins with an operator's character."""
        rule = {"/": self.slash, "%": self.percent, ":": self.symbol, "<": self.heredoc, "?": self.character}.get(first)
        return rule is not None and rule()

    def slash(self) -> bool:
        if self.may_be_literal():
            self.regexp(self.position + 1, "/", "/")
            return True
        return False

    def percent(self) -> bool:
        match = _PERCENT.match(self.text, self.position)
        if not match or not self.may_be_literal() or (match[2] == "=" and self.is_after_value()):
            return False
        kind, opening = match[1], match[2]
        closing = _CLOSING.get(opening, opening)
        if kind == "r":
            self.regexp(match.end(), opening, closing)
        else:
            self.quoted(match.end(), opening, closing, is_raw=kind in "qwis" and kind != "", kind=kind)
        return True

    def symbol(self) -> bool:
        match = _SYMBOL.match(self.text, self.position)
        if match and not self.text.startswith("::", self.position):
            self.add(SYMBOL, match.end(), Symbol(match[1]))
            return True
        if self.text[self.position + 1 : self.position + 2] in ("'", '"') and not self.is_after_value():
            quote = self.text[self.position + 1]
            self.quoted(self.position + 2, quote, quote, is_raw=quote == "'", kind="s")
            return True
        return False

    def character(self) -> bool:
        match = None if self.is_after_value() else _CHARACTER.match(self.text, self.position)
        if match:
            self.add(STRING, match.end(), match[1])
        return bool(match)

    def heredoc(self) -> bool:
        match = _HEREDOC.match(self.text, self.position)
        if not match or (self.is_after_value() and not (match[1] and self.may_be_literal())):
            return False
        word = match[2] or match[3] or match[4] or match[5]
        self.heredocs.append(
            _Heredoc(len(self.found.tokens), word, bool(match[1]), match[1] == "~", match[3] is not None)
        )
        self.add(DYNAMIC if match[4] else STRING, match.end(), "")
        return True

    def heredoc_body(self, heredoc: _Heredoc) -> None:
        """Read up to the line that closes it, and give the token its value."""
        lines: list[str] = []
        while self.position < len(self.text):
            end = self.text.find("\n", self.position)
            end = len(self.text) if end < 0 else end
            line = self.text[self.position : end].rstrip("\r")
            self.position = min(end + 1, len(self.text))
            if (line.lstrip() if heredoc.is_indented else line) == heredoc.word:
                self.fill(heredoc, lines)
                return
            lines.append(line)
        raise RubyFault(self.found.tokens[heredoc.place].line, f"the text behind <<{heredoc.word} is never closed")

    def fill(self, heredoc: _Heredoc, lines: list[str]) -> None:
        if heredoc.is_squiggly:
            widths = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
            lines = [line[min(widths, default=0) :] for line in lines]
        body = "".join(f"{line}\n" for line in lines)
        token = self.found.tokens[heredoc.place]
        is_dynamic = not heredoc.is_raw and ("#{" in body or "\\" in body)
        if is_dynamic:
            self.found.tokens[heredoc.place] = token._replace(kind=DYNAMIC, value=None)
        elif token.kind == STRING:
            self.found.tokens[heredoc.place] = token._replace(value=body)

    def quoted(self, start: int, opening: str, closing: str, is_raw: bool, kind: str = "") -> None:
        """A string, or what else stands in quotes: ``%w`` and its kind, a symbol, a command line."""
        end, is_dynamic = self.closing_of(start, opening, closing, is_raw)
        content = self.text[start:end]
        value: Value = None
        if not is_dynamic:
            try:
                value = single_quoted(content, opening, closing) if is_raw else double_quoted(content)
            except EscapeRefused:
                is_dynamic = True
        token_kind = {"w": WORDS, "W": WORDS, "i": WORDS, "I": WORDS, "s": SYMBOL}.get(kind, STRING)
        if is_dynamic or closing == "`" or kind == "x" or (token_kind == WORDS and "\\" in content):
            self.add(DYNAMIC, end + 1)
        elif token_kind == WORDS:
            self.add(WORDS, end + 1, [Symbol(word) if kind in "iI" else word for word in content.split()])
        else:
            self.add(token_kind, end + 1, Symbol(value) if token_kind == SYMBOL else value)

    def regexp(self, start: int, opening: str, closing: str) -> None:
        end, is_dynamic = self.closing_of(start, opening, closing, is_raw=False)
        flags = _FLAGS.match(self.text, end + 1)
        assert flags
        source = self.text[start:end]
        self.add(DYNAMIC if is_dynamic else REGEXP, flags.end(), None if is_dynamic else Regexp(source, flags[0]))

    def closing_of(self, start: int, opening: str, closing: str, is_raw: bool, depth: int = 0) -> tuple[int, bool]:
        """Where a literal that begins here is closed, and whether something in it is computed."""
        interesting = _interesting(opening, closing)
        position, inner, is_dynamic = start, 0, False
        while True:
            match = interesting.search(self.text, position)
            if not match:
                raise RubyFault(self.line_at(self.position), f"the {closing} of a literal that begins here is missing")
            position = match.end()
            if match[0][0] == "\\":
                continue
            if match[0] == closing:
                if not inner:
                    return match.start(), is_dynamic
                inner -= 1
            elif match[0] == opening:
                inner += 1
            elif not is_raw:
                is_dynamic = True
                position = self.behind_interpolation(position, depth) if match[0] == "#{" else position

    def behind_interpolation(self, position: int, depth: int) -> int:
        """Behind the ``}`` that closes a ``#{``."""
        if depth >= MAX_NESTING:
            raise RubyFault(self.line_at(self.position), f"there are literals inside each other, {depth} deep")
        inner = 1
        while inner:
            match = _IN_INTERPOLATION.search(self.text, position)
            if not match:
                raise RubyFault(self.line_at(self.position), "the } of a literal that begins here is missing")
            position = match.end()
            if match[0] in "{}":
                inner += 1 if match[0] == "{" else -1
            elif match[0] in "\"'`":
                position = self.closing_of(position, match[0], match[0], match[0] == "'", depth + 1)[0] + 1
        return position

    def add(self, kind: str, end: int, value: Value = None) -> None:
        text = self.text[self.position : end]
        line = self.line_at(self.position)
        self.found.tokens.append(Token(kind, text, value, line, self.position, end, self.is_spaced))
        self.position = end

    def last(self) -> Token | None:
        return self.found.tokens[-1] if self.found.tokens else None

    def is_after_value(self) -> bool:
        """Whether what stands before this place is something that an operator can follow."""
        last = self.last()
        if last is None or last.kind in (NEWLINE, LABEL):
            return False
        if last.kind == KEYWORD:
            return last.text in _VALUE_KEYWORDS
        return last.kind != OPERATOR or last.text in (")", "]", "}")

    def may_be_literal(self) -> bool:
        """Whether '/' and the like open a literal here: no operand stands before, or a method takes it as argument."""
        if not self.is_after_value():
            return True
        last = self.last()
        following = self.text[self.position + 1 : self.position + 2]
        is_call = last is not None and last.kind == NAME
        return is_call and self.is_spaced and not following.isspace() and following != "="

    def is_after_dot(self) -> bool:
        last = self.last()
        return last is not None and last.kind == OPERATOR and last.text in (".", "&.", "::")

    def is_after_def(self) -> bool:
        last = self.last()
        return last is not None and last.kind == KEYWORD and last.text == "def"

    def is_ternary(self) -> bool:
        last = self.last()
        return last is not None and last.kind == OPERATOR and last.text == "?"


_IN_INTERPOLATION = re.compile(r"[{}\"'`]|\\.", re.S)
_CACHE: dict[tuple[str, str], re.Pattern[str]] = {}


def _interesting(opening: str, closing: str) -> re.Pattern[str]:
    """What has to be looked at inside a literal with these delimiters."""
    if (opening, closing) not in _CACHE:
        delimiters = re.escape(opening) + re.escape(closing)
        _CACHE[opening, closing] = re.compile(rf"\\.|#[{{@$]|[{delimiters}]", re.S)
    return _CACHE[opening, closing]
