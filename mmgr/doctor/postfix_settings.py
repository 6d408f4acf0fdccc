"""Postfix's other milter parameters, against what this manager and its children need. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mmgr.conditions.base import Stage
from mmgr.config.model import Config
from mmgr.doctor.findings import NOTE, OK, POSTFIX, WARNING, Finding
from mmgr.doctor.maincf import DEFAULTS, MainCf, seconds
from mmgr.doctor.postfix import PostfixFiles, Reach, edit

ACTIONS: Mapping[str, tuple[str, str]] = {
    "tempfail": (OK, "mail is deferred while we can't be reached"),
    "shutdown": (OK, "mail is deferred, and the connection closed, while we can't be reached"),
    "accept": (NOTE, "mail passes unfiltered while we can't be reached"),
    "reject": (WARNING, "mail is refused for good while we can't be reached, be it for the second of a restart"),
    "quarantine": (NOTE, "mail goes to the hold queue, where somebody has to release it, while we can't be reached"),
}
"""What ``milter_default_action`` means."""

DEADLINES = (
    ("connection_timeout", "milter_connect_timeout", "connect_timeout"),
    ("writing_timeout", "milter_command_timeout", "command_timeout"),
    ("reading_timeout", "milter_command_timeout", "command_timeout"),
    ("end_of_message_timeout", "milter_content_timeout", "content_timeout"),
)
"""A child's setting, Postfix's limit for it, and how that is called in braces behind a socket."""

PARAMETERS: Mapping[Stage, str] = {
    Stage.CONNECT: "milter_connect_macros",
    Stage.HELO: "milter_helo_macros",
    Stage.MAIL: "milter_mail_macros",
    Stage.RCPT: "milter_rcpt_macros",
    Stage.DATA: "milter_data_macros",
    Stage.CONTENT: "milter_end_of_data_macros",
}
"""Which macros Postfix sends when."""

USUAL_MACROS: Mapping[str, tuple[str, str]] = {
    "milter_connect_macros": ("v", "the positions of headers depend on it"),
    "milter_end_of_data_macros": ("i", "the log names messages by it"),
}
"""What we read ourselves, and why."""


def judge(files: PostfixFiles, config: Config, reaches: Sequence[Reach]) -> Iterator[Finding]:
    """Findings about the parameters that hold where Postfix asks us, each said once; without reaches main.cf's."""
    seen: set[Finding] = set()
    for main, options in [(reach.place.main, reach.item.options) for reach in reaches] or [(files.main, {})]:
        for finding in _all(files, config, main, options):
            if finding not in seen:
                seen.add(finding)
                yield finding


def _all(files: PostfixFiles, config: Config, main: MainCf, options: Mapping[str, str]) -> Iterator[Finding]:
    yield from _protocol(files, main, options)
    yield from _action(main, options)
    yield from _deadlines(files, config, main, options)
    yield from _macros(files, config, main)


def _protocol(files: PostfixFiles, main: MainCf, options: Mapping[str, str]) -> Iterator[Finding]:
    value = options.get("protocol") or main.value("milter_protocol")
    if not value.startswith("6"):
        text = f"milter_protocol is {value}: children are kept from what came later, such as refusing to be sent bodies"
        yield Finding(POSTFIX, WARNING, text, edit(files, None, "milter_protocol", "6"))


def _action(main: MainCf, options: Mapping[str, str]) -> Iterator[Finding]:
    value = options.get("default_action") or main.value("milter_default_action")
    level, meaning = ACTIONS.get(
        value.split()[0].lower() if value.split() else "", (WARNING, "Postfix does not know it")
    )
    yield Finding(POSTFIX, level, f"milter_default_action is {value}: {meaning}")


def _deadlines(files: PostfixFiles, config: Config, main: MainCf, options: Mapping[str, str]) -> Iterator[Finding]:
    for key, parameter, option in DEADLINES:
        text = options.get(option) or main.value(parameter)
        limit_s = seconds(text)
        if limit_s is None:
            yield Finding(POSTFIX, WARNING, f"{parameter} is {text}, which is no time")
            continue
        for child in config.enabled_children:
            value_s: float = getattr(child, f"{key}_s")
            if value_s >= limit_s:
                said = (
                    f"{key} is {value_s:g} s, and Postfix waits {limit_s:g} s ({parameter}): it gives up before we do"
                )
                yield Finding(child.name, WARNING, said, _longer(files, child.name, key, parameter, value_s, limit_s))


def _longer(files: PostfixFiles, name: str, key: str, parameter: str, value_s: float, limit_s: float) -> str:
    """Either side may give way; ours does where that leaves a child some time."""
    if limit_s > 5:
        return f"# below [milters] [[{name}]] write: {key} = {int(limit_s * 5 / 6)}\nmilter-managerctl reload"
    return edit(files, None, parameter, f"{int(value_s * 6 / 5) + 1}s")


def _macros(files: PostfixFiles, config: Config, main: MainCf) -> Iterator[Finding]:
    """Lists that somebody shortened."""
    for parameter, (macro, reason) in USUAL_MACROS.items():
        if not _has(main, parameter, macro):
            hint = edit(files, None, parameter, f"{main.value(parameter)} {macro}".strip())
            yield Finding(POSTFIX, WARNING, f"{parameter} lacks {macro}: {reason}", hint)
    for child in config.enabled_children:
        for name in child.applicable_conditions:
            condition = config.compiled.get(name)
            for stage, macros in condition.reads.items() if condition else ():
                yield from _unread(files, main, child.name, name, stage, macros)


def _unread(
    files: PostfixFiles, main: MainCf, child: str, condition: str, stage: Stage, macros: Sequence[bytes]
) -> Iterator[Finding]:
    """Macros that a condition reads and Postfix would send, had nobody shortened its list."""
    parameter = PARAMETERS[stage]
    usual = DEFAULTS[parameter].split()
    names = [macro.decode("latin-1") for macro in macros]
    missing = [name for name in names if name in usual and not _has(main, parameter, name)]
    if missing:
        text = f"condition {condition} reads {' '.join(missing)}, which {parameter} of Postfix lacks"
        yield Finding(child, WARNING, text, edit(files, None, parameter, " ".join([main.value(parameter), *missing])))


def _has(main: MainCf, parameter: str, macro: str) -> bool:
    present = main.value(parameter).replace(",", " ").split()
    return macro in present or macro.strip("{}") in present
