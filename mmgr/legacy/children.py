"""``define_milter`` and ``remove_milter``: what the old configuration says of one milter. PURE."""

from __future__ import annotations

from mmgr.config.spec import CHILDREN
from mmgr.config.values import ValueRefused, check_child_name
from mmgr.legacy.draft import Entry, Place
from mmgr.legacy.following import Here, Translation, ends_early, one_text
from mmgr.legacy.shapes import Shape, Untranslatable, shape_of

_CONTENT_FILTER = ("Remote Network", "Unauthenticated", "No Stress")
_NONE_AT_ALL: tuple[str, ...] = ()

CONDITIONS_BY_DEFAULT: dict[str, tuple[str, ...]] = {
    "milter-greylist": ("Sendmail Compatible", "Stress Notify", "Trust", "Remote Network", "S25R", "Unauthenticated"),
    **dict.fromkeys(
        ("spamass-milter", "rspamd", "enma", "spfmilter", "milter-sid", "milter-enma", "milter-regex"),
        _CONTENT_FILTER,
    ),
    **dict.fromkeys(
        ("clamav-milter", "opendkim", "milter-opendkim", "dkim-filter", "milter-dkim", "dk-milter", "amavisd")
        + ("amavisd-new-milter", "amavis-milter", "amavismilter", "mimedefang"),
        _NONE_AT_ALL,
    ),
}
"""The conditions that milter manager 2 gave to the milters that it found, on all platforms alike."""

MAX_NAME_CHARACTERS = 200

_LIST = "applicable_conditions"
_RESET_BY_MERGE = ("fallback_status", "evaluation_mode")


def define(translation: Translation, here: Here, shape: Shape) -> None:
    """``define_milter``: a new milter, or more about one."""
    name = one_text(shape)
    if shape.block is None or len(shape.block.names) != 1:
        raise Untranslatable("it has no block that takes the milter")
    if ends_early(here.statement):
        raise Untranslatable("a Ruby condition decides where its block ends")
    path = child_path(name)
    known = [child for child in translation.draft.children() if child not in translation.removed]
    _forget_removal(translation, name)
    section = translation.draft.section(path, here.origin)
    before = set(section.entries) if name in known else set()
    for statement in shape.block.statements:
        inner = here.inner(statement, path)
        try:
            _about_child(translation, inner, name, shape.block.names[0])
        except Untranslatable as error:
            translation.left(inner, str(error))
    if name in known:
        _remark_merge(translation, here, name, known, before)


def child_path(name: str) -> tuple[str, str]:
    """The section of a milter. Raises Untranslatable if it can't be called so."""
    if len(name) > MAX_NAME_CHARACTERS:
        raise Untranslatable(f"the name of a milter is longer than {MAX_NAME_CHARACTERS} characters")
    try:
        check_child_name(name)
    except ValueRefused as refused:
        raise Untranslatable(f"{refused.problem} ({refused.hint})") from refused
    return (CHILDREN, name)


def _about_child(translation: Translation, here: Here, name: str, variable: str) -> None:
    """One statement in the block of a milter."""
    shape = shape_of(here.statement, here.bound)
    if shape.receiver != (variable,):
        translation.do(here, shape)
    elif shape.method == _LIST and shape.operator:
        _set_conditions(translation, here, name, shape)
    elif shape.method in ("add_applicable_condition", "remove_applicable_condition") and not shape.block:
        change_conditions(translation, here, name, [one_text(shape)], is_added=shape.method.startswith("add"))
    elif shape.operator == "=":
        translation.set(here, CHILDREN, shape.method, shape.value, (CHILDREN, name))
    else:
        raise Untranslatable(f"a milter has no {shape.method[:60]} here")


def _set_conditions(translation: Translation, here: Here, name: str, shape: Shape) -> None:
    """``applicable_conditions``, all of them, more or fewer."""
    value = shape.value if isinstance(shape.value, list) else [shape.value]
    names = [item for item in value if isinstance(item, str)]
    if len(names) != len(value) or shape.operator not in ("=", "+=", "-=", "<<"):
        raise Untranslatable("it is no list of names")
    if shape.operator == "=":
        entry = Entry([], [here.origin])
        translation.put((CHILDREN, name), _LIST, entry)
        if not names and here.statement.comment == "default":
            translation.draft.sections[CHILDREN, name].entries.pop(_LIST)
            return
    change_conditions(translation, here, name, names, is_added=shape.operator != "-=")


def change_conditions(translation: Translation, here: Here, name: str, names: list[str], is_added: bool) -> None:
    """Add conditions to a milter's, or take some away; those that are not known are reported."""
    path = (CHILDREN, name)
    initial, remark = _conditions_so_far(translation, name)
    if not is_added:
        translation.add(here, path, _LIST, [], initial, remark)
        entry = translation.draft.sections[path].entries[_LIST]
        entry.value = [item for item in entry.value if item not in names]
        return
    good = [each for each in names if each in translation.conditions]
    if good or not names:
        translation.add(here, path, _LIST, good, initial, remark)
    for each in names:
        if each in translation.lost_conditions:
            where = translation.lost_conditions[each]
            translation.left(here, f"the condition {each} of {where} is not translated, so the milter sees more mail")
        elif each not in translation.conditions:
            translation.left(here, f"there is no condition {each}")


def _conditions_so_far(translation: Translation, name: str) -> tuple[list[str], str]:
    """What a milter has before something is added, and what should be known about that."""
    draft = translation.draft
    if draft.has((CHILDREN, name), _LIST) or not translation.is_detecting:
        return draft.items((CHILDREN, name), _LIST), ""
    if name in CONDITIONS_BY_DEFAULT:
        found = list(CONDITIONS_BY_DEFAULT[name])
        return found, "milter manager 2 gave these to it when it found it by itself" if found else ""
    if draft.has((CHILDREN, name), "connection_spec"):
        return [], ""
    raise Untranslatable("which conditions it has already is not known here")


def _remark_merge(translation: Translation, here: Here, name: str, known: list[str], before: set[str]) -> None:
    """Say where milter manager 2 did something else with the second definition of a milter."""
    if known[-1] != name and not here.bound:  # a loop over all of them leaves their order as it was
        translation.note(
            Here(here.path, here.statement, here.bound, (CHILDREN, name)),
            "defined again, which moved it behind the others in milter manager 2; here it stays in its place",
        )
    for key in sorted(before.intersection(_RESET_BY_MERGE)):
        translation.note(
            Here(here.path, here.statement, here.bound, (CHILDREN, name)),
            f"defined again, which reset its {key} in milter manager 2 unless it was set again; here it keeps it",
        )


def remove(translation: Translation, here: Here, shape: Shape) -> None:
    """``remove_milter``; one that may be found on the machine has to be switched off."""
    name = one_text(shape)
    path = child_path(name)
    if name not in translation.draft.children() and not translation.is_detecting:
        raise Untranslatable("there is no such milter")
    section = translation.draft.section(path, here.origin)
    section.entries.clear()
    translation.put(path, "enabled", Entry("no", [here.origin]))
    translation.removed.add(name)


def _forget_removal(translation: Translation, name: str) -> None:
    if name in translation.removed:
        translation.removed.discard(name)
        translation.draft.sections.pop((CHILDREN, name))


def each(translation: Translation, here: Here, shape: Shape) -> None:
    """``defined_milters.each``: the block for every milter that is known so far."""
    block = shape.block
    if block is None or len(block.names) != 1 or shape.arguments:
        raise Untranslatable("it is a loop")
    if ends_early(here.statement):
        raise Untranslatable("it is a loop in which a Ruby condition decides")
    if here.bound:
        raise Untranslatable("it is a loop inside of another")
    for name in [name for name in translation.draft.children() if name not in translation.removed]:
        inside = Here(here.path, here.statement, {block.names[0]: name}, here.section, here.depth)
        for statement in block.statements:
            translation.follow(inside.inner(statement))
    if translation.is_detecting:
        translation.left(
            here, "milters that are found on the machine are not known here; write [[NAME]] for each of them"
        )


def finish(translation: Translation) -> None:
    """What is missing when everything has been read."""
    for name in translation.draft.children():
        path = (CHILDREN, name)
        if name in translation.removed or translation.draft.has(path, "connection_spec"):
            continue
        section = translation.draft.sections[path]
        place = Place(*_first_place(section.origin))
        if translation.is_detecting:
            reason = (
                "where it listens is not said, so it has to be one that this program finds, in the place where it does"
            )
            translation.report(place, f"milter {name}", reason, False, path)
        else:
            reason = "where it listens is not said, so it is switched off"
            translation.report(place, f"milter {name}", reason, True, path)
            translation.put(path, "enabled", Entry("no", [section.origin]))


def _first_place(origin: str) -> tuple[str, int]:
    path, _, line = origin.partition(" (")[0].rpartition(":")
    return path, int(line)
