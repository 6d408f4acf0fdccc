"""All that was read of a configuration, and what comes of it: records with defaults, or faults with their places.

``loader`` fills it in from files, command line and detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmgr.config import checks, lines
from mmgr.config.conditions import compile_conditions
from mmgr.config.detected import is_known_milter
from mmgr.config.model import ChildSettings, ConditionSettings, Config, OwnCondition
from mmgr.config.origin import Origin
from mmgr.config.spec import ANY, CHILDREN, CONDITIONS, RECORDS, spec
from mmgr.config.values import CHECKS, did_you_mean, one_line, shown
from mmgr.detect.base import Detection
from mmgr.errors import ConfigError, ConfigErrors

try:
    from configobj.validate import Validator
except ImportError:  # configobj 5.0.6, of EL 8 and 9, has it as a module of its own
    from validate import Validator

MAX_KEY_CHARACTERS = 200
"""Where the key of a message is cut."""

VALIDATOR = Validator(dict(CHECKS))

_SPEC_HINT = "write connection_spec = unix:PATH or inet:PORT@HOST"


@dataclass
class Gathered:
    """What has been read so far. Keys are dotted; children holds where each was first named, in order.

    own has the conditions of the administrator's, detection what was found, None if nothing was looked for.
    """

    paths: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    children: dict[str, Origin] = field(default_factory=dict)
    own: dict[str, Origin] = field(default_factory=dict)
    detection: Detection | None = None
    refused: set[str] = field(default_factory=set)
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    patience: checks.Patience = field(default_factory=lambda: checks.DEFAULT_PATIENCE)

    def find_unplaced(self) -> None:
        """Children of which nobody knows where they listen.

        One that is not installed (any more), or that can't be made out, is not used; any other is a mistake.
        """
        for name, origin in self.children.items():
            key, switch = f"{CHILDREN}.{name}.connection_spec", f"{CHILDREN}.{name}.enabled"
            found = [milter.name for milter in self.detection.milters] if self.detection is not None else []
            if key in self.values or key in self.refused or not self.values.get(switch, True):
                self.doubt_name(name, origin, found)
                continue
            if name in found or (self.detection is not None and is_known_milter(name)):
                self.values[switch], self.origins[switch] = False, origin
                problem = "nothing says where this milter listens" if name in found else "it was not found here"
                self.warn(origin, key, f"{problem}; it is not used", _SPEC_HINT)
            else:
                hint = did_you_mean(name, found) or _SPEC_HINT
                self.error(origin, key, "is missing: nobody knows where this milter listens", hint)

    def doubt_name(self, name: str, origin: Origin, found: Sequence[str]) -> None:
        """A section that switches off, or sets, what is not there: was a milter meant that was found?"""
        is_alone = f"{CHILDREN}.{name}.connection_spec" not in self.values and name not in found
        if is_alone and not is_known_milter(name) and did_you_mean(name, found):
            key = f"{CHILDREN}.{name}"
            self.warn(origin, key, "was not found here, so that this changes nothing", did_you_mean(name, found))

    def in_order(self, children: Sequence[ChildSettings], wanted: Sequence[str]) -> tuple[ChildSettings, ...]:
        """The children as [manager] milter_order has them: those that it names first, in its order."""
        names = [child.name for child in children]
        for name in wanted:
            if name not in names and not is_known_milter(name):
                key = "manager.milter_order"
                self.error(self.origins[key], key, f"there is no milter {shown(name)}", did_you_mean(name, names))
        places = {name: place for place, name in enumerate(dict.fromkeys(wanted))}
        return tuple(sorted(children, key=lambda child: places.get(child.name, len(places))))

    def compiled(self, config: Config) -> Config:
        """The same with all conditions ready to be asked."""
        made = compile_conditions(config)
        self.errors += made.plugin_errors
        for fault in made.faults:
            if any(key.startswith(f"{fault.key}.") for key in self.refused):
                continue  # one of its keys was wrong, which has been said
            self.error(self.origin_of(fault.key).below(fault.line), fault.key, fault.problem, fault.hint)
        for child in config.children:
            for name in child.applicable_conditions:
                if name not in made.conditions and name not in made.failed:
                    key = f"{CHILDREN}.{child.name}.applicable_conditions"
                    hint = did_you_mean(name, made.conditions) or f"known are {', '.join(made.conditions)}"
                    self.error(self.origins[key], key, f"there is no condition {shown(name)}", hint)
        return replace(config, compiled=made.conditions)

    def origin_of(self, key: str) -> Origin:
        """Where a setting, or a condition of the administrator's, was written."""
        return self.origins.get(key) or self.own.get(key.partition(".")[2]) or Origin()

    def finish(self, directory: str | None) -> Config:
        """The configuration; raises ConfigErrors when anything was wrong."""
        self.move()
        self.find_unplaced()
        config = self.compiled(self.config(directory))
        for finding in checks.check(config, self.patience):
            report = self.error if finding.is_error else self.warn
            report(self.origin_of(finding.key), finding.key, finding.problem, finding.hint)
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
        known = [child for child in children if child is not None]
        found = self.in_order(known, sections["manager"].milter_order)
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
                found[setting.field] = VALIDATOR.check(setting.check, None, missing=True)
        return found

    def refuse(self, origin: Origin, path: lines.Path, problem: str, hint: str) -> None:
        """Report an error of a setting, which counts as named all the same."""
        self.refused.add(".".join(path))
        self.error(origin, ".".join(path), problem, hint)

    def error(self, origin: Origin, key: str, problem: str, hint: str) -> None:
        """Something that must not be; reading goes on, and finds the rest."""
        self.errors.append(_at(origin, key, problem, hint))

    def warn(self, origin: Origin, key: str, problem: str, hint: str) -> None:
        """Something that is allowed and probably not meant."""
        self.warnings.append(str(_at(origin, key, problem, hint)))

    def place(self, error: ConfigError) -> tuple[int, int]:
        """For sorting: the files as they were read, the lines of each in order, the command line last."""
        return (self.paths.index(error.path) if error.path in self.paths else len(self.paths), error.line)


def _at(origin: Origin, key: str, problem: str, hint: str) -> ConfigError:
    """An error, or what a warning says, with a key that is fit to be printed."""
    printable = one_line(key)
    cut = printable if len(printable) <= MAX_KEY_CHARACTERS else printable[: MAX_KEY_CHARACTERS - 3] + "..."
    return ConfigError(origin.path or origin.text, origin.line, cut, problem, hint)
