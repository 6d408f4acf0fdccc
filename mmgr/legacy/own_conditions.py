"""``define_applicable_condition`` and ``restrict_accounts_by_list``: conditions of the administrator's own. PURE."""

from __future__ import annotations

from mmgr.conditions.builtin import BUILT_IN
from mmgr.config.spec import CONDITIONS
from mmgr.config.values import ValueRefused, shown, text
from mmgr.legacy.draft import Entry
from mmgr.legacy.following import Here, Translation, one_text
from mmgr.legacy.settings import MAX_CHARACTERS
from mmgr.legacy.shapes import Shape, Untranslatable, shape_of
from mmgr.legacy.stoppers import STAGES, expression

MAX_NAME_CHARACTERS = 200


def define(translation: Translation, here: Here, shape: Shape) -> None:
    """A condition that is not built in, as an expression; of a built-in one only the description may stand here."""
    name = one_text(shape)
    try:
        _define(translation, here, name, shape)
    except Untranslatable:
        if name not in translation.conditions:
            translation.lost_conditions.setdefault(name, here.place)
        raise


def _define(translation: Translation, here: Here, name: str, shape: Shape) -> None:
    description, stoppers = _body(here, shape)
    if name in BUILT_IN:
        if stoppers:
            raise Untranslatable("it changes a condition that is built in here")
        return
    if not stoppers:
        raise Untranslatable("nothing here says when it stops a milter (the output of --show-config never does)")
    if name in translation.conditions:
        raise Untranslatable("it is defined for the second time")
    written = expression(name, stoppers)
    path = (CONDITIONS, condition_name(name))
    translation.conditions.add(name)
    translation.draft.section(path, here.origin)
    if description:
        translation.put(path, "description", Entry(description, [here.origin]))
    translation.put(path, "expression", Entry(written, [here.origin]))


def condition_name(name: str) -> str:
    """A name that a section may have, as it is. Raises Untranslatable."""
    try:
        text(name)
    except ValueRefused as refused:
        raise Untranslatable(f"a condition can't be called so: {refused.problem}") from refused
    if len(name) > MAX_NAME_CHARACTERS or not name.strip() or name != name.strip() or set(name) & set("\"'[],#"):
        raise Untranslatable(f"a condition can't be called {shown(name)} here")
    return name


def _body(here: Here, shape: Shape) -> tuple[str, list[Shape]]:
    """The description and the stoppers of a condition. Raises Untranslatable for anything else."""
    if shape.block is None or len(shape.block.names) != 1:
        raise Untranslatable("it has no block that takes the condition")
    description, stoppers = "", []
    for statement in shape.block.statements:
        inner = shape_of(statement, here.bound)
        if inner.receiver != shape.block.names:
            raise Untranslatable(f"line {statement.line}: it is Ruby code")
        if inner.path.endswith(".description") and inner.operator == "=" and isinstance(inner.value, str):
            description = inner.value
        elif inner.method in STAGES and inner.block is not None and not inner.arguments:
            stoppers.append(inner)
        else:
            raise Untranslatable(f"line {statement.line}: {inner.method[:60]} has no equal here")
    return _fit(description), stoppers


def _fit(description: str) -> str:
    try:
        return text(description) if len(description) <= MAX_CHARACTERS else ""
    except ValueRefused:
        return ""
