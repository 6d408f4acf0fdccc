"""What people said of a milter at run time, over what the configuration says of it: kept until they take it back.

PURE. A reload applies these to each new configuration; ``control`` takes them from milter-managerctl. They are not
written down: a restart forgets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from mmgr.config.model import ChildSettings, Config
from mmgr.errors import ControlError


class Override(Enum):
    """Asked and heard; not asked; asked and not heard. The words are those of commands, logs and status."""

    ENABLE = "enable"
    DISABLE = "disable"
    EVALUATE = "evaluate"


Overrides = Mapping[str, Override]
"""By the name of the milter; also of one that has left the configuration, which may come back."""


@dataclass(frozen=True)
class Change:
    """One milter gets an override, or None takes it back."""

    child: str
    override: Override | None


def changed(overrides: Overrides, change: Change, config: Config) -> Overrides:
    """With one change more. Raises ControlError for a milter that neither the configuration nor an override knows."""
    names = [child.name for child in config.children]
    if change.child not in names and (change.override is not None or change.child not in overrides):
        known = ", ".join(names) or "none at all"
        raise ControlError(f"there is no milter {change.child[:100]}; there are {known[:1000]}")
    rest = {name: override for name, override in overrides.items() if name != change.child}
    return rest if change.override is None else {**rest, change.child: change.override}


def overridden(config: Config, overrides: Overrides) -> Config:
    """The configuration as it counts with these."""
    children = tuple(_child(child, overrides.get(child.name)) for child in config.children)
    return replace(config, children=children)


def _child(child: ChildSettings, override: Override | None) -> ChildSettings:
    if override is None:
        return child
    if override is Override.DISABLE:
        return replace(child, enabled=False)
    return replace(child, enabled=True, evaluation_mode=override is Override.EVALUATE)
