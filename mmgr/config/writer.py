"""The configuration and its settings as text: ``--show-config``, the commented sample, the table of the documentation.

PURE but for ``spec``, which is read with the program. What ``show`` gives, ``loader`` reads back as the same
configuration (a property test holds that). ``docs/configuration.md`` and ``etc/milter-manager.conf`` are written by
``tests/support/regenerate_docs.py`` from ``reference`` and ``sample``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any

from mmgr.config.model import Config, Origin
from mmgr.config.spec import ANY, CHILDREN, CONDITIONS, Setting, spec
from mmgr.config.values import one_line

_BARE = re.compile(r"[\w./:@\[\]%+=-]+(?: [\w./:@\[\]%+=-]+)*")
_BARE_NAME = re.compile(r"[\w./:@%+=-]+(?: [\w./:@%+=-]+)*")
_COMMENT_WIDTH = 100


def show(config: Config) -> str:
    """The effective configuration in the syntax of the files; a comment over each value says where it came from."""
    lines = []
    for section in spec().sections:
        if section != CHILDREN and "." not in section:
            lines += [f"[{section}]", *_shown_values(config, section, section, getattr(config, section)), ""]
        if section == CONDITIONS:
            lines += _shown_conditions(config)
    lines.append(f"[{CHILDREN}]")
    for child in config.children:
        lines += [f"[[{quoted_name(child.name)}]]"]
        lines += [*_shown_values(config, CHILDREN, f"{CHILDREN}.{child.name}", child), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _shown_conditions(config: Config) -> Iterator[str]:
    for name, record in config.conditions.built_in.items():
        yield f"[[{quoted_name(name)}]]"
        yield from (*_shown_values(config, f"{CONDITIONS}.{name}", f"{CONDITIONS}.{name}", record), "")
    for own in config.conditions.own:
        yield f"[[{quoted_name(own.name)}]]"
        yield from (*_shown_values(config, f"{CONDITIONS}.{ANY}", f"{CONDITIONS}.{own.name}", own), "")


def _shown_values(config: Config, section: str, prefix: str, record: Any) -> Iterator[str]:
    for setting in spec().sections[section].values():
        if setting.is_live:
            yield f"# {one_line(str(config.origins.get(f'{prefix}.{setting.key}', Origin())))}"
            yield f"{setting.key} = {_written(setting, getattr(record, setting.field))}"


def _written(setting: Setting, value: Any) -> str:
    """A value of the model as the file has it."""
    if isinstance(value, tuple):
        return ", ".join(quoted(str(item)) for item in value) or '""'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if setting.kind == "endpoint":
        return quoted("" if value is None else str(value))
    if isinstance(value, Enum):
        return str(value.value)
    if setting.kind == "mode":
        return f"{value:04o}"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """Text as ConfigObj reads it back, in quotes where it needs some.

    Text with both kinds of triple quotes has no such form; ``values`` lets none pass.
    """
    if _BARE.fullmatch(text):
        return text
    is_one_line = "\n" not in text
    if is_one_line and '"' not in text:
        return f'"{text}"'
    if is_one_line and "'" not in text:
        return f"'{text}'"
    return f"'''{text}'''" if '"""' in text else f'"""{text}"""'


def quoted_name(name: str) -> str:
    """The name of a section as ConfigObj reads it back."""
    if _BARE_NAME.fullmatch(name):
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


def sample() -> str:
    """``milter-manager.conf`` as it is installed: every setting with its meaning and default, all commented out."""
    lines = [
        *_comment("The settings of milter manager, all with their defaults. Take away the '#' of a line to change it."),
        "#",
        *_comment(
            "Read in this order, later wins: installed milters, conditions/*.conf, this file, conf.d/*.conf, "
            "milter-manager.local.conf. "
            "milter-manager --check-config says what is wrong, --show-config what is in force."
        ),
    ]
    for section, settings in spec().sections.items():
        if section.endswith(f".{ANY}"):
            continue
        top, _, below = section.partition(".")
        lines += ["", "", *_comment(spec().about[section]), f"[[{below}]]" if below else f"[{top}]"]
        lines += ["", "#[[example-milter]]"] if section == CHILDREN else []
        for setting in settings.values():
            lines += _sample_of(setting) if setting.is_live else []
    return "\n".join(lines) + "\n"


def _sample_of(setting: Setting) -> list[str]:
    default = "unix:/run/example-milter/example-milter.sock" if setting.is_required else setting.default
    named = "empty" if default == '""' else setting.default
    facts = f"Unit: {setting.unit}. Default: {named}."
    return ["", *_comment(setting.meaning), *_comment(facts), f"#{setting.key} = {default}"]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _COMMENT_WIDTH)]


def reference() -> str:
    """The Markdown of all settings, and of what milter manager 2 had besides: made from ``spec.ini``."""
    lines: list[str] = []
    for section, settings in spec().sections.items():
        top, _, below = section.partition(".")
        below = "NAME" if section == CHILDREN or below == ANY else below
        name = f"[{top}] [[{below}]]" if below else f"[{top}]"
        lines += [f"### `{name}`", "", spec().about[section], ""]
        lines += ["| key | unit | default | since | meaning |", "| --- | --- | --- | --- | --- |"]
        lines += [_reference_row(setting) for setting in settings.values() if setting.is_live]
        lines.append("")
    return "\n".join([*lines, *_dropped()]) + "\n"


def _reference_row(setting: Setting) -> str:
    default = setting.default if setting.is_required else f"`{setting.default}`"
    return f"| `{setting.key}` | {setting.unit} | {default} | {setting.since} | {setting.meaning} |"


def _dropped() -> Iterator[str]:
    """The keys and sections that are accepted and do nothing, or count elsewhere."""
    yield from ("### Accepted with a warning", "", "| key | reason |", "| --- | --- |")
    for settings in spec().sections.values():
        for setting in settings.values():
            if not setting.is_live:
                section = f"{CHILDREN}.NAME" if setting.section == CHILDREN else setting.section
                yield f"| `{section}.{setting.key}` | {setting.meaning} |"
    for section in spec().reserved:
        yield f"| all of `[{section}]` | Not used by this version. {spec().about[section]} |"
