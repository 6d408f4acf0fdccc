"""The state of a translation: statements are followed one by one into a ``Draft``. PURE.

What a statement is stands in the table of verbs, which ``translation`` makes; whatever is not in it, or has something
in it that has to be computed, is reported with its place and never guessed. Files come from whoever calls
(``gathering.Disk``).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, Protocol

from mmgr.conditions.builtin import BUILT_IN
from mmgr.config.ruby import has_statements, section_line
from mmgr.config.spec import spec
from mmgr.config.values import did_you_mean, one_line
from mmgr.errors import MmgrError
from mmgr.legacy import settings
from mmgr.legacy.draft import MAX_SHOWN, Draft, Entry, Finding, Path, Place, shown
from mmgr.legacy.nesting import Statement, statements
from mmgr.legacy.shapes import Shape, Untranslatable, shape_of
from mmgr.legacy.tokens import KEYWORD, RubyFault, Value

MAX_FILES = 500
"""How many files are read; one that is loaded twice counts twice."""

SUFFIXES = (".ruby", ".rpmsave", ".rpmorig")
"""What an upgrade, or rpm, puts behind the name of a file of milter manager 2 that it moves away."""

MAX_DEPTH = 20
"""How deep files may load each other, and statements stand inside each other."""

SHIPPED_CONDITIONS = frozenset(
    f"{name}.conf"
    for name in (
        "authentication", "dnsbl", "remote-network", "restrict-accounts", "s25r", "sendmail-compatible", "stress",
        "trust",
    )
)  # fmt: skip
"""The files of ``applicable-conditions`` that come with milter manager 2."""

_SECTIONS = ("package", "security", "log", "manager", "controller")
_ENDS_EARLY = ("next", "break", "return", "redo", "retry", "yield")
_PATTERN = re.compile(r"[*?\[]")
_XML = re.compile(r"\s*<[?!a-z]")
_ORIGIN = re.compile(r"/\S{1,250}:\d{1,7}")
_HOOK = "it is Ruby code that runs inside the daemon"
_LEFT_CALLS = {
    "define_policy": "there are no policies; conditions say the same, each with its milters",
    "restrict_accounts_generic": "a Ruby block decides",
    "manager.maintained": _HOOK,
    "manager.event_loop_created": _HOOK,
    "manager.define_connection_checker": _HOOK,
    "require": "it loads Ruby code",
    "require_relative": "it loads Ruby code",
    "include": "it loads Ruby code",
    "exit": "the rest of the file may not have counted",
    "raise": "the rest of the file may not have counted",
}
_NOTED_CALLS = {
    "manager.use_netstat_connection_checker": "not needed: the MTA's own connection tells when it is closed",
    "manager.report_memory_statistics": "not needed: a worker that grows beyond [workers] max_memory is replaced",
}


class FileFault(MmgrError):
    """A file that can't be read, or is no text: path, line (0: as a whole) and problem."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(path, line, problem)
        self.path = path
        self.line = line
        self.problem = problem


class Files(Protocol):
    """Where files come from."""

    def matches(self, pattern: str) -> list[str]:
        """The files that a ``load`` of this name means."""

    def text(self, path: str) -> str:
        """All of a file. Raises FileFault."""


@dataclass(frozen=True)
class Here:
    """A statement at its place, with what the names of the loops around it stand for, and the section it is about."""

    path: str
    statement: Statement
    bound: Mapping[str, Value] = field(default_factory=dict)
    section: Path = ()
    depth: int = 0

    @property
    def place(self) -> Place:
        """File and line."""
        return Place(self.path, self.statement.line)

    @property
    def origin(self) -> str:
        """Where it comes from, for a comment. ``--show-config`` says that over each value."""
        comment = self.statement.comment
        return f"{one_line(comment)} ({self.place})" if _ORIGIN.fullmatch(comment) else str(self.place)

    def inner(self, statement: Statement, section: Path | None = None) -> Here:
        """A statement inside of this one."""
        if self.depth >= MAX_DEPTH:
            raise Untranslatable(f"it stands inside of {self.depth} other statements")
        return Here(self.path, statement, self.bound, self.section if section is None else section, self.depth + 1)


Verb = Callable[["Translation", Here, Shape], None]
Verbs = Mapping[tuple[str, bool], Verb]
"""What to do by what is called, and whether it is an assignment."""


class Translation:
    """One old configuration. is_detecting: milters may be found on the machine before the first statement counts."""

    def __init__(self, files: Files, verbs: Verbs, is_detecting: bool) -> None:
        self.verbs = verbs
        self.draft = Draft()
        self.files = files
        self.is_detecting = is_detecting
        self.conditions = set(BUILT_IN)
        self.lost_conditions: dict[str, Place] = {}
        self.removed: set[str] = set()
        self.loading: list[str] = []
        self.files_read = 0

    # ---- files

    def file(self, path: str) -> None:
        """Follow a file. Raises FileFault."""
        self.text(path, self.files.text(path))

    def text(self, path: str, text: str) -> None:
        """Follow the text of a file; one that is no Ruby is reported and does nothing, as in milter manager 2."""
        name = one_line(path)
        xml, ours = _XML.match(text), section_line(text)
        if xml:
            reason = "this is XML, which the control interface wrote, and not read"
            self.report(Place(name, text.count("\n", 0, xml.end()) + 1), "", reason, True)
            return
        if ours:
            self.report(Place(name, ours), "", "this is no Ruby, but a configuration of this program already", True)
            return
        try:
            found = statements(text)
        except RubyFault as fault:
            reason = f"{fault.problem}, so that nothing of this file is translated"
            self.report(Place(name, fault.line), "", reason, True)
            return
        self.loading.append(path)
        for statement in found:
            self.follow(Here(name, statement))
        self.loading.pop()

    def load(self, here: Here, shape: Shape) -> None:
        """``load`` and ``load_if_exist``."""
        pattern = one_text(shape)
        found = self.files.matches(pattern)
        if not found and not _PATTERN.search(pattern):
            found = self.beside(pattern)[:1]
            for path in found:
                self.note(here, f"there is no such file any more, so {one_line(path)} is read")
        if not found and shape.method == "load":
            raise Untranslatable("there is no such file")
        shipped = [path for path in found if _is_shipped(path)]
        if shipped:
            reason = (
                "the conditions that came with milter manager 2 are built in here; "
                "whether somebody changed their files is not looked at (rpm -V milter-manager tells)"
            )
            self.note(here, reason)
        for path in found:
            if path not in shipped:
                self.load_one(here, path)

    def load_one(self, here: Here, path: str) -> None:
        """Follow one file that is loaded; what is wrong with it is reported with its own name."""
        if posixpath.basename(posixpath.dirname(path)) == "defaults":
            self.load_default(here, Shape((), "load_default"))
        elif path in self.loading:
            self.left(here, f"{one_line(path)} loads itself")
        elif self.files_read >= MAX_FILES or len(self.loading) >= MAX_DEPTH:
            self.left(here, f"too many files load each other, so {one_line(path)} is not read")
        else:
            self.files_read += 1
            try:
                self.file(self.ruby_of(path))
            except FileFault as fault:
                self.report(Place(fault.path, fault.line), "", fault.problem, True)

    def ruby_of(self, path: str) -> str:
        """The file, or the Ruby that an upgrade put beside it; which one is read is reported. Raises FileFault."""
        if self.files.matches(path) and is_ruby(self.files.text(path)):
            return path
        for beside in self.beside(path):
            if is_ruby(self.files.text(beside)):
                reason = f"this file is read, as {one_line(path)} is not there as Ruby any more"
                self.report(Place(one_line(beside), 1), "", reason, False)
                return beside
        return path

    def beside(self, path: str) -> list[str]:
        """What an upgrade left of a file, under its name with a suffix."""
        return [found for suffix in SUFFIXES for found in self.files.matches(path + suffix)]

    def load_default(self, here: Here, shape: Shape) -> None:
        """``load_default`` looked for installed milters, which this program does by itself."""
        self.is_detecting = True
        self.note(here, "milters that are installed are found by this program itself")

    # ---- statements

    def follow(self, here: Here) -> None:
        """Do what a statement says, or report it."""
        try:
            self.do(here, shape_of(here.statement, here.bound))
        except Untranslatable as error:
            self.left(here, str(error))

    def do(self, here: Here, shape: Shape) -> None:
        """One statement whose shape is known. Raises Untranslatable."""
        verb = self.verbs.get((shape.path, bool(shape.operator)))
        if verb is not None:
            verb(self, here, shape)
        elif shape.operator and shape.receiver == ("database",):
            if shape.value is not None:  # which may be a password
                self.report(here.place, shape.path[:MAX_SHOWN], "there is no database here", True)
        elif shape.operator == "=" and len(shape.receiver) == 1 and shape.receiver[0] in _SECTIONS:
            self.set(here, shape.receiver[0], shape.method, shape.value)
        elif shape.path in _NOTED_CALLS and not shape.block:
            self.note(here, _NOTED_CALLS[shape.path])
        else:
            raise Untranslatable(_reason(shape))

    def set(self, here: Here, section: str, key: str, value: Value, path: Path = ()) -> None:
        """Give a setting its value; path is our section where it has another name. nil restores the default."""
        setting = spec().sections[section].get(key)
        if setting is None:
            hint = did_you_mean(key, spec().sections[section])
            raise Untranslatable(f"there is no setting {key}" + (f" ({hint})" if hint else ""))
        target, _, moved_key = setting.moved_to.partition(".")
        if target:
            setting, key = spec().sections[target][moved_key], moved_key
        path = (target,) if target else path or (section,)
        is_default = here.statement.comment == "default"
        if value is None or (is_default and settings.is_old_default(f"{section}.{key}", value)):
            if path in self.draft.sections:
                self.draft.sections[path].entries.pop(key, None)
        elif not setting.is_live:
            self.report(here.place, shown(here.statement), f"not needed: {_lowered(setting.meaning)}", False, path)
        else:
            text = settings.translated(setting, value)
            remarks = [settings.deadline_remark(setting, text)]
            remarks += ["no default of milter manager 2, so it was set by an option"] if is_default else []
            self.put(path, key, Entry(text, [here.origin], list(filter(None, remarks))))

    def put(self, path: Path, key: str, entry: Entry) -> None:
        """Set a value; a later one takes the place of an earlier."""
        self.draft.section(path).entries[key] = entry

    def add(self, here: Here, path: Path, key: str, items: list[str], initial: list[str], remark: str = "") -> None:
        """Add to a list; initial is what it has when nothing was set."""
        entry = self.draft.section(path, here.origin).entries.setdefault(key, Entry(list(initial), []))
        assert isinstance(entry.value, list)
        entry.value += [item for item in items if item not in entry.value]
        entry.origins += [here.origin] if here.origin not in entry.origins else []
        entry.remarks += [remark] if remark and remark not in entry.remarks else []

    # ---- reports

    def left(self, here: Here, reason: str) -> None:
        """Report a statement that is not translated."""
        self.report(here.place, shown(here.statement), reason, True, here.section)

    def note(self, here: Here, reason: str) -> None:
        """Report what should be known of a statement."""
        self.report(here.place, shown(here.statement), reason, False, here.section)

    def report_line(self, path: str, line: int, text: str, reason: str, section: Path = ()) -> None:
        """Report a line of a file that is no Ruby."""
        self.report(Place(one_line(path), line), text[:MAX_SHOWN], reason, True, section)

    def report(self, place: Place, text: str, reason: str, is_left: bool, section: Path = ()) -> None:
        """Report anything."""
        self.draft.report(Finding(place, one_line(text), one_line(reason), is_left), section)


def is_ruby(text: str) -> bool:
    """Whether a file has statements, and no section of ours."""
    return has_statements(text) and not section_line(text)


def ends_early(statement: Statement) -> bool:
    """Whether a word in the statement leaves a block before its end."""
    return any(token.kind == KEYWORD and token.text in _ENDS_EARLY for token in statement.tokens)


def one_text(shape: Shape) -> str:
    """The only argument of a call, which is text. Raises Untranslatable for others."""
    if len(shape.arguments) != 1 or not isinstance(shape.arguments[0], str) or shape.options:
        raise Untranslatable("it has not one text as its argument")
    return shape.arguments[0]


def _is_shipped(path: str) -> bool:
    directory, name = posixpath.split(path)
    return posixpath.basename(directory) == "applicable-conditions" and name in SHIPPED_CONDITIONS


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")


def _reason(shape: Shape) -> str:
    """Why a statement that could be read has no equal here."""
    if shape.path in _LEFT_CALLS:
        return _LEFT_CALLS[shape.path]
    if shape.receiver[:1] == ("database",):
        return "there is no database here"
    if shape.operator and not shape.receiver:
        return "it sets a Ruby variable"
    if shape.operator:
        return f"there is no setting {one_line(shape.path[:80])}"
    return f"the Ruby method {one_line(shape.path[:80])} is not known here"
