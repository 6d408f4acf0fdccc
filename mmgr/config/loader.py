"""Reads the configuration: files and command line in, one ``Config`` out, or every fault that they have.

The command line and the reload call ``load``. What a line is, ``lines`` says; what a value may be, ``values``; what
has to hold between settings, ``checks``. Nothing is logged here: warnings are handed back. It blocks for as long as
reading a few small files takes, and resolves no names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from configobj import ConfigObj, ConfigObjError

from mmgr.config import files, lines
from mmgr.config.conditions import check_condition_name
from mmgr.config.detected import Layer, detected_layer
from mmgr.config.gathered import VALIDATOR, Gathered
from mmgr.config.model import Config
from mmgr.config.origin import Origin, in_file
from mmgr.config.patience import postfix_patience
from mmgr.config.ruby import ruby_line
from mmgr.config.spec import ANY, CHILDREN, CONDITIONS, Setting, spec
from mmgr.config.values import Raw, ValueRefused, check_child_name, did_you_mean, one_line, shown
from mmgr.detect.base import Detection
from mmgr.errors import ConfigError

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class LoadResult:
    """A configuration without faults. warnings are lines for people, each with its place and key.

    detection is what was found of installed milters, None if nothing was looked for.
    """

    config: Config
    warnings: tuple[str, ...] = ()
    detection: Detection | None = None


def load(
    directory: str | None,
    overrides: Mapping[str, str] | None = None,
    root: str | None = None,
    before: Detection | None = None,
) -> LoadResult:
    """Read defaults, what is installed, the files, the overrides; later wins, and milters merge key by key.

    directory None reads no files. overrides maps dotted keys ("manager.connection_spec", "milters.NAME.enabled") to
    text; the items of a list stand between commas. root is the tree in which installed milters are looked for, unless
    the files say not to; None looks nowhere. before is what was found the last time, which counts where a milter's file
    can't be read any more. Raises ConfigErrors with every fault of every file, in the order of reading.
    """
    reading = _Reading()
    if directory is not None:
        reading.directory(directory)
    for key, value in (overrides or {}).items():
        reading.override(key, value)
    if root is not None and not files.is_directory(root):
        where = Origin(COMMAND_LINE, COMMAND_LINE)
        reading.error(where, "--root", f"{shown(root)} is not a directory", "name the top of a tree, or leave it out")
    elif root is not None:
        reading.detect(root, before)
        reading.patience = postfix_patience(root)
    return LoadResult(reading.finish(directory), tuple(reading.warnings), reading.detection)


def glance(directory: str | None) -> Config:
    """What of the files can be read, without what is wrong; for a command that looks for the daemon's sockets."""
    reading = _Reading()
    if directory is not None:
        reading.directory(directory)
    reading.move()
    return reading.config(directory)


class _Reading(Gathered):
    """The files, the command line and the machine, read one after another."""

    def directory(self, directory: str) -> None:
        """Read its files."""
        found, errors = files.configuration_files(directory)
        self.errors += errors
        for path in found:
            self.file(path)

    def file(self, path: str) -> None:
        """Read one file."""
        self.paths.append(one_line(path))
        try:
            data = files.read_bytes(path)
        except ConfigError as error:
            self.errors.append(error)
            return
        ruby = ruby_line(data)
        if ruby:
            problem = "this looks like the Ruby configuration of milter manager 2"
            self.error(in_file(path, ruby), "", problem, "run milter-manager-import, which translates it")
            return
        scan = lines.scan(data)
        for fault in scan.faults:
            self.refused.add(fault.key)
            self.error(in_file(path, fault.line), fault.key, fault.problem, fault.hint)
        for section in scan.sections:
            self.section(section.path, in_file(path, section.line))
        for entry in scan.entries:
            self.entry(entry, in_file(path, entry.line))

    def section(self, path: lines.Path, origin: Origin) -> bool:
        """Note a section; False when there is no such one. Only the outermost bad section is an error."""
        top, depth = path[0], len(path)
        if top in spec().reserved:
            return True
        if top not in spec().sections:
            if depth == 1:
                self.error(origin, top, f"there is no section [{one_line(top[:80])}]", _section_hint(top))
            return False
        if top == CHILDREN and depth == 2:
            return self.child(path[1], origin)
        if top == CONDITIONS and depth == 2:
            return self.condition(path[1], origin)
        if depth == (3 if top in (CHILDREN, CONDITIONS) else 2):
            hint = "a milter is a section [[NAME]] below [milters]"
            problem = f"{shown(path[-1])} can't be a section of {_section_name(path[:-1])}"
            self.error(origin, ".".join(path), problem, hint)
        return depth == 1

    def child(self, name: str, origin: Origin) -> bool:
        """Note a child; False when it can't be called so."""
        try:
            check_child_name(name)
        except ValueRefused as refused:
            self.error(origin, CHILDREN, refused.problem, refused.hint)
            return False
        self.children.setdefault(name, origin)
        return True

    def condition(self, name: str, origin: Origin) -> bool:
        """Note a condition that is set or made; False when it can't be called so."""
        if name != ANY and f"{CONDITIONS}.{name}" in spec().sections:
            return True
        try:
            check_condition_name(name)
        except ValueRefused as refused:
            self.error(origin, CONDITIONS, refused.problem, refused.hint)
            return False
        self.own.setdefault(name, origin)
        return True

    def entry(self, entry: lines.Entry, origin: Origin) -> None:
        """Take one key of a file, unless its section is bad, which has been said already."""
        if not entry.section:
            hint = _key_hint((), entry.key)
            self.error(origin, entry.key, "stands before the first section", hint)
        elif entry.section == (CHILDREN,):
            hint = "a milter is a section [[NAME]] below [milters]"
            self.error(origin, f"{CHILDREN}.{entry.key}", "stands outside of a milter", hint)
        elif self.is_good(entry.section):
            self.raw_value(entry, origin)

    def is_good(self, section: lines.Path) -> bool:
        """Whether keys may stand in the section."""
        if section[0] == CHILDREN:
            return len(section) == 2 and section[1] in self.children
        if section[0] == CONDITIONS and len(section) == 2:
            return section[1] in self.own or ".".join(section) in spec().sections
        return section[0] in spec().reserved or (section[0] in spec().sections and len(section) == 1)

    def raw_value(self, entry: lines.Entry, origin: Origin) -> None:
        """Let ConfigObj say what the text of the value is."""
        try:
            value: Raw = ConfigObj(["value = " + entry.source[0], *entry.source[1:]], interpolation=False)["value"]
        except ConfigObjError as error:
            self.refuse(origin, (*entry.section, entry.key), f"{shown(entry.source[0])}: {error}", "")
            return
        setting = spec().keys_of(entry.section).get(entry.key)
        if isinstance(value, list) and setting is not None and setting.kind == "expression":
            value = entry.source[0].strip()
        self.set(entry.section, entry.key, value, origin)

    def override(self, dotted: str, text: str) -> None:
        """Take one setting of the command line."""
        origin = Origin(COMMAND_LINE, COMMAND_LINE)
        top, _, rest = dotted.partition(".")
        name, dot, key = rest.rpartition(".")
        path = (top, name) if top in (CHILDREN, CONDITIONS) and dot else (top,)
        if path == (CHILDREN,) or not rest:
            self.error(origin, dotted, "is not a setting", "write SECTION.KEY, or milters.NAME.KEY")
        elif self.section(path, origin):
            key = key if len(path) == 2 else rest
            setting = spec().keys_of(path).get(key)
            is_list = bool(text) and setting is not None and setting.is_list
            self.set(path, key, [item.strip() for item in text.split(",")] if is_list else text, origin)

    def set(self, section: lines.Path, key: str, raw: Raw, origin: Origin) -> None:
        """Give a setting its value, check it, and remember where it came from."""
        dotted = ".".join((*section, key))
        setting = spec().keys_of(section).get(key)
        if section[0] in spec().reserved:
            self.warn(origin, dotted, "not used by this version", "")
        elif setting is None:
            self.refuse(origin, (*section, key), "there is no such setting", _key_hint(section, key))
        elif setting.kind == "ignored":
            self.warn(origin, dotted, "is ignored", setting.meaning[0].lower() + setting.meaning[1:].rstrip("."))
        else:
            self.checked(setting, section, raw, origin)

    def checked(self, setting: Setting, section: lines.Path, raw: Raw, origin: Origin) -> None:
        """Take a value of a known setting when its check does."""
        dotted = ".".join((*section, setting.key))
        target, _, key = setting.moved_to.partition(".")
        try:
            value = VALIDATOR.check(spec().sections[target][key].check if target else setting.check, raw)
            if setting.kind in ("names", "patterns"):
                value, faults = files.with_lists(value, origin.path)
                for fault in faults:  # what could be read is looked at all the same
                    self.refuse(origin, (*section, setting.key), fault.problem, fault.hint)
        except ValueRefused as refused:
            self.refuse(origin, (*section, setting.key), refused.problem, refused.hint)
            return
        if target:
            self.warn(origin, dotted, f"is {key} of [{target}] now", "")
        self.values[dotted] = value
        self.origins[dotted] = origin

    def detect(self, root: str, before: Detection | None) -> None:
        """Put what is installed in front of what was read."""
        if not self.values.get("package.detection", True):
            return
        options = dict(pair.split("=", 1) for pair in self.values.get("package.options", ()))
        self.put_in_front(detected_layer(root, self.values.get("package.platform", ""), options, before))

    def put_in_front(self, layer: Layer) -> None:
        """Values that count where no file has any, and children that come first."""
        self.warnings += layer.warnings
        self.detection = layer.detection
        self.children = {**layer.children, **self.children}
        for key, (value, origin) in layer.values.items():
            if key not in self.values and key not in self.refused:
                self.values[key] = value
                self.origins[key] = origin


def _section_name(path: lines.Path) -> str:
    return "[" * len(path) + one_line(path[-1]) + "]" * len(path)


def _section_hint(name: str) -> str:
    names = [*spec().sections, *spec().reserved]
    return did_you_mean(name, names) or "a milter is a section [[NAME]] below [milters]"


def _key_hint(path: lines.Path, key: str) -> str:
    """What to do about a key that its section does not have."""
    section = spec().name_of(path) if path else ""
    section_of_old, dot, key_of_old = key.partition(".")
    if dot and key_of_old in spec().sections.get(section_of_old, {}):
        return f"write {key_of_old} below [{section_of_old}]"
    homes = [setting.section for setting in spec().live if setting.key == key]
    if homes:
        return " or ".join(
            f"put it into a [[NAME]] below [{h}]" if h == CHILDREN else f"put it below [{h.replace('.', '] [[')}]"
            for h in homes
        )
    here = [setting.key for setting in spec().live if section in ("", setting.section)]
    return did_you_mean(key, here)
