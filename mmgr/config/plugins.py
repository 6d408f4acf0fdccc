"""Conditions that are Python: the classes in ``conditions.d/*.py`` below the configuration directory.

``conditions`` calls ``load_plugins`` when plug-ins are switched on. What may be loaded at all, ``trusted`` files say;
here sources become classes, classes conditions, and each condition is wrapped so that its faults cost no mail. Nothing
is written, byte code included, and every reading begins anew.
"""

from __future__ import annotations

import ast
import logging
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mmgr.conditions.base import NO_MACROS, Condition, Stage
from mmgr.conditions.builtin import BUILT_IN
from mmgr.conditions.facts import Facts
from mmgr.config.plugins_files import PluginFile, PluginRefused, plugin_files
from mmgr.config.values import one_line, shown
from mmgr.errors import ConfigError
from mmgr.log import quoted

log = logging.getLogger(__name__)

DIRECTORY = "conditions.d"
MODULE_PREFIX = "mmgr_conditions_"
MAX_MACROS_BYTES = 65535
"""What all macros that a plug-in adds at one stage may have together."""

_MACRO_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,254}|\{[A-Za-z_][A-Za-z0-9_.-]{0,254}\}")
_DOES_NOTHING = "judge or macros would never be called"


def load_plugins(directory: str) -> tuple[dict[str, Condition], list[ConfigError]]:
    """All conditions of conditions.d in the order of files and classes, by name, and every fault.

    directory is that of the configuration. Runs the files that nobody but root and the effective user can write, and
    none else; it blocks for as long as they do. Raises nothing, whatever is in them.
    """
    found: dict[str, Condition] = {}
    errors: list[ConfigError] = []
    files, refused = plugin_files(directory, DIRECTORY)
    errors += map(_refusal, refused)
    taken = {name.casefold(): "a condition that is built in" for name in BUILT_IN}
    for file in files:
        conditions, faults = _Loading(file).conditions()
        for condition, line in conditions:
            key = condition.name.casefold()
            if key in taken:
                faults.append((line, f"{shown(condition.name)} is the name of {taken[key]}", "give it another name"))
                continue
            taken[key] = f"a condition in {one_line(file.path)} too"
            found[condition.name] = condition
        errors += [ConfigError(one_line(file.path), line, DIRECTORY, *words) for line, *words in sorted(faults)]
    return found, errors


def _refusal(refused: PluginRefused) -> ConfigError:
    return ConfigError(one_line(refused.path), 0, DIRECTORY, refused.problem, refused.hint)


Fault = tuple[int, str, str]
"""Line, problem and hint."""


class _Loading:
    """One file on its way to conditions."""

    def __init__(self, file: PluginFile) -> None:
        self._file = file
        self._faults: list[Fault] = []
        self._lines: dict[str, int] = {}

    def conditions(self) -> tuple[list[tuple[Condition, int]], list[Fault]]:
        """The conditions that the file defines, wrapped, each with its line, and what is wrong with it."""
        classes = self._classes()
        found = []
        for each in classes:
            line = self._lines.get(each.__qualname__, 1)
            condition = self._condition(each, line)
            if condition is not None:
                found.append((condition, line))
        if not found and not self._faults:
            hint = "a condition is a class that derives from mmgr.conditions.base.Condition and has a name"
            self._fault(0, "defines no condition", hint)
        return found, self._faults

    def _classes(self) -> list[type[Condition]]:
        """The classes of conditions that the file itself defines and that have a name, each once; [] after a fault."""
        module = types.ModuleType(MODULE_PREFIX + self._file.stem)
        module.__file__ = self._file.path
        try:
            self._run(module)
            return list(dict.fromkeys(_own_conditions(module)))
        except BaseException as error:  # noqa: BLE001  SystemExit and the like would end the daemon
            sys.modules.pop(module.__name__, None)
            self._fault(_line_of(error, self._file.path), f"can't be loaded: {_said(error)}", "")
            return []

    def _run(self, module: types.ModuleType) -> None:
        """Fill the module by running the file. Raises whatever the file does."""
        tree = ast.parse(self._file.source, self._file.path)
        self._lines = {node.name: node.lineno for node in tree.body if isinstance(node, ast.ClassDef)}
        code = compile(self._file.source, self._file.path, "exec", dont_inherit=True)
        sys.modules[module.__name__] = module  # dataclasses look for the module of a class there
        exec(code, module.__dict__)

    def _condition(self, plugin: type[Condition], line: int) -> Condition | None:
        """The wrapped condition of a class; None after a fault."""
        try:
            inner = plugin()
            guarded = Guarded(inner, self._file.path)
        except _WrongShape as wrong:
            self._fault(line, f"class {plugin.__name__}: {wrong}", "")
        except BaseException as error:  # noqa: BLE001  whatever a constructor or a property raises
            place = _line_of(error, self._file.path) or line
            self._fault(place, f"class {plugin.__name__} can't be made: {_said(error)}", "")
        else:
            return guarded
        return None

    def _fault(self, line: int, problem: str, hint: str) -> None:
        self._faults.append((line, problem, hint))


def _own_conditions(module: types.ModuleType) -> Iterator[type[Condition]]:
    for value in vars(module).values():
        is_own = isinstance(value, type) and issubclass(value, Condition) and value.__module__ == module.__name__
        if is_own and getattr(value, "name", None) not in ("", None):
            yield value


def _line_of(error: BaseException, path: str) -> int:
    """The line of a file at which an exception arose, the innermost one; 0 if it did elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 0
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _said(error: BaseException) -> str:
    """An exception for people, also one that can't be turned into text."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # noqa: BLE001  its own __str__ is the plug-in's
        text = ""
    text = one_line(str(text))[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# ---- the shape of a condition


class _WrongShape(Exception):
    """An attribute of a plug-in that is not what ``Condition`` says."""


@dataclass(frozen=True)
class _Shape:
    """The attributes of a condition, checked and copied."""

    name: str
    description: str
    stages: frozenset[Stage]
    macro_stages: frozenset[Stage]
    reads: Mapping[Stage, tuple[bytes, ...]] = field(default_factory=dict)


def _shape(inner: Condition) -> _Shape:
    name, description = inner.name, inner.description
    if not isinstance(name, str) or not _is_line(name) or not name.strip() or any(c in name for c in ",\"'"):
        raise _WrongShape(f"name {shown(name)} can't be used: it has to be text in one line, without commas and quotes")
    if not isinstance(description, str) or (description and not _is_line(description)):
        raise _WrongShape(f"description {shown(description)} is not text in one line")
    stages, macro_stages = _stages("stages", inner.stages), _stages("macro_stages", inner.macro_stages)
    if not stages and not macro_stages:
        raise _WrongShape(f"stages and macro_stages are both empty, so that {_DOES_NOTHING}")
    for method, called in (("judge", stages), ("macros", macro_stages)):
        if called and getattr(type(inner), method) is getattr(Condition, method):
            raise _WrongShape(f"has no method {method}, which its stages need")
    return _Shape(name.strip(), description, stages, macro_stages, _reads(inner.reads))


def _is_line(text: str) -> bool:
    return text.isprintable() and len(text) <= 200


def _stages(attribute: str, value: object) -> frozenset[Stage]:
    if not isinstance(value, (frozenset, set, tuple, list)) or not all(isinstance(each, Stage) for each in value):
        raise _WrongShape(f"{attribute} {shown(value)} is not a set of stages, such as frozenset((Stage.MAIL,))")
    return frozenset(value)


def _reads(value: object) -> Mapping[Stage, tuple[bytes, ...]]:
    problem = (
        f"reads {shown(value)} does not give names of macros by stage, such as {{Stage.MAIL: (b'{{auth_type}}',)}}"
    )
    if not isinstance(value, Mapping):
        raise _WrongShape(problem)
    for stage, names in value.items():
        if not isinstance(stage, Stage) or not isinstance(names, (tuple, list)) or not all(map(_is_macro, names)):
            raise _WrongShape(problem)
    return {stage: tuple(names) for stage, names in value.items()}


def _is_macro(name: object) -> bool:
    return isinstance(name, bytes) and _MACRO_NAME.fullmatch(name) is not None


# ---- at work


class _WrongResult(Exception):
    """What a method of a plug-in gave back is not what ``Condition`` says."""


class Guarded(Condition):
    """A plug-in's condition whose faults mean that the milter takes part, or is sent no more macros.

    Each worker tells of the first fault at each stage. Raises _WrongShape for attributes that can't be used.
    """

    def __init__(self, inner: Condition, path: str) -> None:
        shape = _shape(inner)
        self.name = shape.name
        self.description = shape.description
        self.stages = shape.stages
        self.macro_stages = shape.macro_stages
        self.reads = shape.reads
        self._inner = inner
        self._path = path
        self._told: set[Stage] = set()

    def judge(self, stage: Stage, facts: Facts) -> str:
        """What the plug-in says; "" if it fails to say anything."""
        try:
            reason = self._inner.judge(stage, facts)
            if type(reason) is not str:  # one of a class of its own might fail later
                raise _WrongResult(f"judge gave {shown(reason)}, which is no text")
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001  a fault must not leave mail unfiltered
            self._tell(stage, error)
            return ""
        return reason

    def macros(self, stage: Stage, facts: Facts) -> Mapping[bytes, bytes]:
        """The macros of the plug-in, copied; none if it fails to give any."""
        try:
            return _macros(self._inner.macros(stage, facts))
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001  the milter does without
            self._tell(stage, error)
            return NO_MACROS

    def _tell(self, stage: Stage, error: BaseException) -> None:
        if stage in self._told:
            return
        self._told.add(stage)
        line = _line_of(error, self._path)
        log.error(
            "condition-failed condition=%s stage=%s error=%s at=%s",
            quoted(self.name),
            stage.name.lower(),
            quoted(_said(error).replace("_WrongResult: ", "")),
            quoted(f"{self._path}:{line}" if line else self._path),
        )


def _macros(given: object) -> Mapping[bytes, bytes]:
    if not isinstance(given, Mapping):
        raise _WrongResult(f"macros gave {shown(given)}, which is no mapping")
    found = dict(given)
    for name, value in found.items():
        if not _is_macro(name):
            raise _WrongResult(f"macros gave {shown(name)}, which can't be the name of a macro")
        if not isinstance(value, bytes) or b"\0" in value:
            raise _WrongResult(f"macros gave {shown(name)} the value {shown(value)}, which is not bytes without NUL")
    if _size(found.items()) > MAX_MACROS_BYTES:
        raise _WrongResult(f"macros gave more than {MAX_MACROS_BYTES} bytes")
    return found


def _size(macros: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in macros)
