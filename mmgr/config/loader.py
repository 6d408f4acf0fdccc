"""Reads the configuration: files and command line in, one ``Config`` out, or every fault that they have.

The command line and the reload call ``load``. What a line is, ``lines`` says; what a value may be, ``values``; what
has to hold between settings, ``checks``. Nothing is logged here: warnings are handed back. It blocks for as long as
reading a few small files takes, and resolves no names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from configobj import ConfigObj, ConfigObjError

from mmgr.config import checks, files, lines
from mmgr.config.conditions import check_condition_name, compile_conditions
from mmgr.config.detected import Layer, detected_layer
from mmgr.config.model import ChildSettings, ConditionSettings, Config, OwnCondition
from mmgr.config.origin import Origin, in_file
from mmgr.config.spec import ANY, CHILDREN, CONDITIONS, RECORDS, Setting, spec
from mmgr.config.values import CHECKS, Raw, ValueRefused, check_child_name, did_you_mean, one_line, shown
from mmgr.errors import ConfigError, ConfigErrors

try:
    from configobj.validate import Validator
except ImportError:  # configobj 5.0.6, of EL 8 and 9, has it as a module of its own
    from validate import Validator

COMMAND_LINE = "command line"

MAX_KEY_CHARACTERS = 200
"""Where the key of a message is cut."""

_VALIDATOR = Validator(dict(CHECKS))


@dataclass(frozen=True)
class LoadResult:
    """A configuration without faults. warnings are lines for people, each with its place and key."""

    config: Config
    warnings: tuple[str, ...] = ()


def load(directory: str | None, overrides: Mapping[str, str] | None = None, root: str | None = None) -> LoadResult:
    """Read defaults, what is installed, the files, the overrides; later wins, and milters merge key by key.

    directory None reads no files. root is the tree in which installed milters are looked for, unless the files say not
    to; None looks nowhere. overrides maps dotted keys ("manager.connection_spec", "milters.NAME.enabled") to
    text; the items of a list stand between commas. Raises ConfigErrors with every fault of every file, in the order
    of reading.
    """
    reading = _Reading()
    if directory is not None:
        reading.directory(directory)
    for key, value in (overrides or {}).items():
        reading.override(key, value)
    if root is not None:
        reading.detect(root)
    return LoadResult(reading.finish(directory), tuple(reading.warnings))


def glance(directory: str | None) -> Config:
    """What of the files can be read, without what is wrong; for a command that looks for the daemon's sockets."""
    reading = _Reading()
    if directory is not None:
        reading.directory(directory)
    reading.move()
    return reading.config(directory)


@dataclass
class _Reading:
    """What has been read so far. Keys are dotted; children holds where each was first named, in order.

    own has the conditions of the administrator's, detected the children that were found rather than configured.
    """

    paths: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    children: dict[str, Origin] = field(default_factory=dict)
    own: dict[str, Origin] = field(default_factory=dict)
    detected: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

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
            scan = lines.scan(files.read_bytes(path))
        except ConfigError as error:
            self.errors.append(error)
            return
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
            value = _VALIDATOR.check(spec().sections[target][key].check if target else setting.check, raw)
            if setting.kind in ("names", "patterns"):
                value = files.with_lists(value, origin.path)
        except ValueRefused as refused:
            self.refuse(origin, (*section, setting.key), refused.problem, refused.hint)
            return
        if target:
            self.warn(origin, dotted, f"is {key} of [{target}] now", "")
        self.values[dotted] = value
        self.origins[dotted] = origin

    def detect(self, root: str) -> None:
        """Put what is installed in front of what was read."""
        if not self.values.get("package.detection", True):
            return
        options = dict(pair.split("=", 1) for pair in self.values.get("package.options", ()))
        self.put_in_front(detected_layer(root, self.values.get("package.platform", ""), options))

    def put_in_front(self, layer: Layer) -> None:
        """Values that count where no file has any, and children that come first."""
        self.warnings += layer.warnings
        self.detected = set(layer.children)
        self.children = {**layer.children, **self.children}
        for key, (value, origin) in layer.values.items():
            if key not in self.values and key not in self.refused:
                self.values[key] = value
                self.origins[key] = origin

    def find_unplaced(self) -> None:
        """Children of which nobody knows where they listen: configured ones are wrong, detected ones are not used."""
        for name, origin in self.children.items():
            key, switch = f"{CHILDREN}.{name}.connection_spec", f"{CHILDREN}.{name}.enabled"
            if key in self.values or key in self.refused or not self.values.get(switch, True):
                continue
            hint = "write connection_spec = unix:PATH or inet:PORT@HOST"
            if name in self.detected:
                self.values[switch], self.origins[switch] = False, origin
                self.warn(origin, key, "nothing says where this milter listens; it is not used", hint)
            else:
                self.error(origin, key, "is missing: nobody knows where this milter listens", hint)

    def compiled(self, config: Config) -> Config:
        """The same with all conditions ready to be asked."""
        made = compile_conditions(config)
        self.errors += made.plugin_errors
        for fault in made.faults:
            if any(key.startswith(f"{fault.key}.") for key in self.refused):
                continue  # one of its keys was wrong, which has been said
            origin = self.origins.get(fault.key) or self.own.get(fault.key.partition(".")[2]) or Origin()
            self.error(origin.below(fault.line), fault.key, fault.problem, fault.hint)
        for child in config.children:
            for name in child.applicable_conditions:
                if name not in made.conditions and name not in made.failed:
                    key = f"{CHILDREN}.{child.name}.applicable_conditions"
                    hint = did_you_mean(name, made.conditions) or f"known are {', '.join(made.conditions)}"
                    self.error(self.origins[key], key, f"there is no condition {shown(name)}", hint)
        return replace(config, compiled=made.conditions)

    def finish(self, directory: str | None) -> Config:
        """The configuration; raises ConfigErrors when anything was wrong."""
        self.move()
        self.find_unplaced()
        config = self.compiled(self.config(directory))
        for finding in checks.check(config):
            report = self.error if finding.is_error else self.warn
            report(self.origins.get(finding.key, Origin()), finding.key, finding.problem, finding.hint)
        if self.errors:
            raise ConfigErrors(sorted(self.errors, key=self.place))
        return config

    def move(self) -> None:
        """Let keys that stand elsewhere now count, where the new key is not set."""
        for settings in spec().sections.values():
            for setting in settings.values():
                old = f"{setting.section}.{setting.key}"
                if setting.moved_to and old in self.values:
                    self.values.setdefault(setting.moved_to, self.values.pop(old))
                    self.origins.setdefault(setting.moved_to, self.origins.pop(old))

    def config(self, directory: str | None) -> Config:
        """All records, with defaults for what was not set or was refused."""
        plain = {
            name: record for name, record in RECORDS.items() if name not in (CHILDREN, CONDITIONS) and "." not in name
        }
        sections = {name: record(**self.fields((name,))) for name, record in plain.items()}
        if "controller.connection_spec" in self.refused:
            sections["controller"] = replace(sections["controller"], connection_spec=None)
        if "manager.connection_spec" in self.refused:  # its default must not be found in a loop that nobody wrote
            sections["manager"] = replace(sections["manager"], connection_spec=())
        children = (self.child_settings(name) for name in self.children)
        found = tuple(child for child in children if child is not None)
        conditions = self.condition_settings()
        return Config(**sections, conditions=conditions, children=found, origins=self.origins, directory=directory)

    def condition_settings(self) -> ConditionSettings:
        """All of [conditions]."""
        names = (name.split(".", 1)[1] for name in spec().sections if name.startswith(f"{CONDITIONS}."))
        built_in = {
            name: RECORDS[f"{CONDITIONS}.{name}"](**self.fields((CONDITIONS, name))) for name in names if name != ANY
        }
        own = tuple(OwnCondition(name, **self.fields((CONDITIONS, name))) for name in self.own)
        return ConditionSettings(**self.fields((CONDITIONS,)), built_in=built_in, own=own)

    def child_settings(self, name: str) -> ChildSettings | None:
        """One child; None when nobody knows where it listens, and it is not switched off."""
        found = self.fields((CHILDREN, name))
        if "connection_spec" not in found and found["enabled"]:
            return None
        return ChildSettings(**{"name": name, "connection_spec": (), **found})

    def fields(self, path: lines.Path) -> dict[str, Any]:
        """The fields of a section's record, by their names in the model."""
        found = {}
        for setting in spec().keys_of(path).values():
            dotted = ".".join((*path, setting.key))
            if dotted in self.values:
                found[setting.field] = self.values[dotted]
            elif setting.is_live and not setting.is_required:
                found[setting.field] = _VALIDATOR.check(setting.check, None, missing=True)
        return found

    def refuse(self, origin: Origin, path: lines.Path, problem: str, hint: str) -> None:
        """Report an error of a setting, which counts as named all the same."""
        self.refused.add(".".join(path))
        self.error(origin, ".".join(path), problem, hint)

    def error(self, origin: Origin, key: str, problem: str, hint: str) -> None:
        self.errors.append(_at(origin, key, problem, hint))

    def warn(self, origin: Origin, key: str, problem: str, hint: str) -> None:
        self.warnings.append(str(_at(origin, key, problem, hint)))

    def place(self, error: ConfigError) -> tuple[int, int]:
        """For sorting: the files as they were read, the lines of each in order, the command line last."""
        return (self.paths.index(error.path) if error.path in self.paths else len(self.paths), error.line)


def _at(origin: Origin, key: str, problem: str, hint: str) -> ConfigError:
    """An error, or what a warning says, with a key that is fit to be printed."""
    printable = one_line(key)
    cut = printable if len(printable) <= MAX_KEY_CHARACTERS else printable[: MAX_KEY_CHARACTERS - 3] + "..."
    return ConfigError(origin.path or origin.text, origin.line, cut, problem, hint)


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
