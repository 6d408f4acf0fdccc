"""What detection found, as values of the configuration, each with the file and line that it was read from.

``loader`` puts them in front of what the files say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmgr.config.model import ChildSettings
from mmgr.config.origin import Origin
from mmgr.config.spec import CHILDREN
from mmgr.config.text import one_line
from mmgr.config.values import ValueRefused, check_child_name
from mmgr.detect.base import Detected, Detection, Where
from mmgr.detect.detection import detect
from mmgr.detect.registry import candidate
from mmgr.endpoint import parse_endpoint
from mmgr.errors import EndpointError


@dataclass
class Layer:
    """children in their order, values by dotted key, warnings for people; detection is what it was made from."""

    children: dict[str, Origin] = field(default_factory=dict)
    values: dict[str, tuple[Any, Origin]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    detection: Detection = field(default_factory=lambda: Detection(""))


def detected_layer(root: str, platform: str, options: Mapping[str, str], before: Detection | None) -> Layer:
    """Look for milters below root; before is what was found at an earlier time. Raises nothing."""
    return layer_of(remembering(detect(root, platform, options), before))


def remembering(found: Detection, before: Detection | None) -> Detection:
    """With what was read before in place of what has to be assumed now.

    The daemon may start as root and reload as its own user, who can't read the files of some milters: a reload must not
    move them to other sockets. That a milter was switched off is seen all the same.
    """
    known = {milter.name: milter for milter in before.milters} if before is not None else {}
    milters = []
    for milter in found.milters:
        earlier = known.get(milter.name)
        if earlier is not None and _is_guessed(milter) and not _is_guessed(earlier):
            is_enabled = earlier.is_enabled if milter.is_enabled.value else milter.is_enabled
            why_not = earlier.why_not if milter.is_enabled.value else milter.why_not
            milter = replace(earlier, is_enabled=is_enabled, why_not=why_not)
        milters.append(milter)
    return replace(found, milters=tuple(milters))


def is_known_milter(name: str) -> bool:
    """Is it the name of a milter that would be found if it were installed?"""
    return candidate((name,)) is not None


def _is_guessed(milter: Detected) -> bool:
    spec = milter.connection_spec
    return spec is None or spec.where.is_assumed


def layer_of(detection: Detection) -> Layer:
    """The values of what was found."""
    layer = Layer(detection=detection)
    for problem in detection.problems:
        hint = f" ({problem.hint})" if problem.hint else ""
        name = f"{problem.milter}: " if problem.milter else ""
        layer.warnings.append(one_line(f"{problem.where}: {name}{problem.text}{hint}"))
    for milter in detection.milters:
        try:
            check_child_name(milter.name)
        except ValueRefused as refused:
            layer.warnings.append(one_line(f"{milter.unit}: {refused.problem}; this milter is left out"))
            continue
        layer.children[milter.name] = origin_of(milter.unit)
        for key, value, where in _values(milter, layer.warnings):
            why = milter.why_not if key == "enabled" else ""
            layer.values[f"{CHILDREN}.{milter.name}.{key}"] = (value, origin_of(where, why))
    return layer


def origin_of(where: Where, why: str = "") -> Origin:
    """As ``--show-config`` writes it; why is the reason for a value that surprises people."""
    text = f"assumed: {where.path}" if where.is_assumed else f"detected: {where}"
    text += f" ({why})" if why else ""
    return Origin(one_line(text), one_line(where.path), where.line)


def _values(milter: Detected, warnings: list[str]) -> list[tuple[str, Any, Where]]:
    found: list[tuple[str, Any, Where]] = [("enabled", milter.is_enabled.value, milter.is_enabled.where)]
    if milter.connection_spec is not None:
        try:
            endpoint = parse_endpoint(milter.connection_spec.value)
            found.append(("connection_spec", (endpoint,), milter.connection_spec.where))
        except EndpointError as error:
            warnings.append(one_line(f"{milter.connection_spec.where}: {milter.name}: {error}"))
    if milter.description is not None:
        found.append(("description", one_line(milter.description.value).strip(), milter.description.where))
    found.append(("applicable_conditions", milter.conditions, Where(f"by default for {milter.name}", is_assumed=True)))
    if milter.extra_timeout_s:
        where = milter.extra_timeout_where or milter.unit
        for key in ("writing_timeout", "reading_timeout"):
            usual_s: float = getattr(ChildSettings, f"{key}_s")
            found.append((key, usual_s + milter.extra_timeout_s, where))
    return found
