"""What a milter's command line says, taken apart as getopt(3) does. PURE.

A milter's file names the letters that take a value; all others are flags, and may be written together: ``-fvp SOCKET``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mmgr.detect.base import Found
from mmgr.detect.commandline import words

_SHELLS = ("sh", "bash", "dash")


class Options:
    """The options of one command line: of an option that is given twice the last one counts.

    ``-pVALUE``, ``-p=VALUE`` and ``-p VALUE`` are the same, ``--name=VALUE`` and ``--name VALUE`` too. What stands
    behind ``--`` is for another program. A value that begins with ``$`` is a variable that nobody knows, and counts as
    none.
    """

    def __init__(self, command: Sequence[Found[str]], letters: str = "", names: Sequence[str] = ()) -> None:
        self._values: dict[str, Found[str]] = {}
        self.operands: list[Found[str]] = []
        rest = list(reversed(command))
        while rest:
            word = rest.pop()
            if word.value == "--":
                break
            if word.value.startswith("--"):
                self._long(word, rest, names)
            elif word.value.startswith("-") and len(word.value) > 1:
                self._short(word, rest, letters)
            else:
                self.operands.append(word)

    def found(self, *names: str) -> Found[str] | None:
        """The value of the first of these options that is given, by letter or by long name; a flag has the value ""."""
        return next((self._values[name] for name in names if name in self._values), None)

    def _long(self, word: Found[str], rest: list[Found[str]], names: Sequence[str]) -> None:
        name, equals, value = word.value[2:].partition("=")
        if equals:
            self._keep(name, Found(value, word.where))
        elif name in names:
            if rest:
                self._keep(name, rest.pop())
        else:
            self._values[name] = Found("", word.where)

    def _short(self, word: Found[str], rest: list[Found[str]], letters: str) -> None:
        for at, letter in enumerate(word.value[1:], 2):
            if letter not in letters:
                self._values[letter] = Found("", word.where)
                continue
            value = word.value[at:]
            if value:
                self._keep(letter, Found(value[1:] if value.startswith("=") else value, word.where))
            elif rest:
                self._keep(letter, rest.pop())
            return

    def _keep(self, name: str, value: Found[str]) -> None:
        if value.value and not value.value.startswith("$"):
            self._values[name] = value


def command_words(argv: Sequence[Found[str]], environment: Mapping[str, Found[str]]) -> list[Found[str]]:
    """The words behind the program's name. Of ``sh -c TEXT`` the words of the text, variables that are known put in.

    What the shell would compute (``\\`...\\```) is not run: its words are taken as they stand.
    """
    if len(argv) > 2 and argv[0].value.rpartition("/")[2] in _SHELLS and argv[1].value == "-c":
        return [with_variable(word, environment) for word in split([argv[2]])]
    return list(argv[1:])


def split(texts: Iterable[Found[str]]) -> list[Found[str]]:
    """The words of some texts, quotes removed, each with the place of its text."""
    return [Found(word, text.where) for text in texts for word in words(text.value, is_relaxed=True)]


def with_variable(word: Found[str], environment: Mapping[str, Found[str]]) -> Found[str]:
    """``$NAME`` and ``${NAME}`` as a whole word give the variable's value and its place, where it is known."""
    if not word.value.startswith("$"):
        return word
    name = word.value[1:]
    name = name[1:-1] if name.startswith("{") and name.endswith("}") else name
    return environment.get(name, word)
