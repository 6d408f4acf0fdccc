"""Values of the old configuration as the text that our files have, each tried by the check of our own setting. PURE."""

from __future__ import annotations

from enum import Enum
from typing import Any

from mmgr.config.checks import POSTFIX_COMMAND_S, POSTFIX_CONNECT_S, POSTFIX_CONTENT_S
from mmgr.config.spec import Setting
from mmgr.config.values import CHECKS, ValueRefused
from mmgr.legacy.draft import Text
from mmgr.legacy.shapes import Untranslatable
from mmgr.legacy.tokens import Value

try:
    from configobj.validate import Validator
except ImportError:  # configobj 5.0.6, of EL 8 and 9, has it as a module of its own
    from validate import Validator

OLD_DEFAULTS: dict[str, tuple[Value, ...]] = {
    "security.privilege_mode": (False, True),
    "security.effective_user": ("milter-manager",),
    "security.effective_group": ("milter-manager",),
    "log.level": ("default",),
    "log.use_syslog": (True,),
    "log.syslog_facility": ("mail",),
    "manager.connection_spec": (
        "unix:/var/run/milter-manager/milter-manager.sock", "unix:/run/milter-manager/milter-manager.sock",
        "inet:10025@[127.0.0.1]",
    ),
    "manager.unix_socket_mode": (0o660,),
    "manager.unix_socket_group": ("milter-manager",),
    "manager.remove_unix_socket_on_create": (True,),
    "manager.remove_unix_socket_on_close": (True,),
    "manager.daemon": (False,),
    "manager.maintenance_interval": (10,),
    "manager.suspend_time_on_unacceptable": (5,),
    "manager.max_connections": (0,),
    "manager.max_file_descriptors": (0,),
    "manager.fallback_status": ("accept",),
    "manager.fallback_status_at_disconnect": ("temporary-failure",),
    "manager.event_loop_backend": ("glib",),
    "manager.n_workers": (0,),
    "manager.packet_buffer_size": (0,),
    "manager.connection_check_interval": (0,),
    "manager.chunk_size": (65535,),
    "manager.max_pending_finished_sessions": (0,),
    "controller.unix_socket_mode": (0o660,),
    "controller.remove_unix_socket_on_create": (True,),
    "controller.remove_unix_socket_on_close": (True,),
    "milters.enabled": (True,),
    "milters.fallback_status": ("accept",),
    "milters.evaluation_mode": (False,),
    "milters.applicable_conditions": ([],),
    "milters.connection_timeout": (297.0,),
    "milters.writing_timeout": (7.0,),
    "milters.reading_timeout": (7.0,),
    "milters.end_of_message_timeout": (297.0,),
}  # fmt: skip
"""What milter manager 2 takes where nothing is set; its ``--show-config`` prints it, marked as default."""

MAX_CHARACTERS = 8000
"""A line of our files may have 8192."""

_TEXT = (str,)


_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "mode": (int,),
    "seconds": (int, float),
    "endpoints": _TEXT,
    "endpoint": _TEXT,
    "text": _TEXT,
    "prose": _TEXT,
    "pairs": _TEXT,
    "status": _TEXT,
    "option": _TEXT,
    "level": _TEXT,
}
_NEEDED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_DEADLINES_S = {
    "connection_timeout": POSTFIX_CONNECT_S,
    "writing_timeout": POSTFIX_COMMAND_S,
    "reading_timeout": POSTFIX_COMMAND_S,
    "end_of_message_timeout": POSTFIX_CONTENT_S,
}
_VALIDATOR = Validator(dict(CHECKS))


def is_old_default(key: str, value: Value) -> bool:
    """Whether milter manager 2 takes this value where nothing is set; its platform is any that it was made for."""
    return key == "package.platform" or value in OLD_DEFAULTS.get(key, ())


def translated(setting: Setting, value: Value) -> Text:
    """The text of a value for our setting. Raises Untranslatable where milter manager 2 or we would not take it."""
    types = _TYPES.get(setting.kind)
    if types is None:
        raise Untranslatable("milter manager 2 had no such setting")
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise Untranslatable(f"the value is not {_NEEDED[types[-1]]}, so milter manager 2 did not take it")
    text = written(setting, value)
    fit(text)
    checked = check(setting, text)
    if isinstance(checked, Enum):
        return str(checked.value)
    return checked if isinstance(checked, str) else text


def written(setting: Setting, value: Value) -> Text:
    """A value as text; not looked at any further."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if setting.kind == "mode" and isinstance(value, int):
        return f"{value:04o}" if value >= 0 else str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if setting.kind == "pairs" and isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value else []
    return str(value)


def check(setting: Setting, text: Text) -> Any:
    """What our own check makes of the text. Raises Untranslatable where it refuses it."""
    try:
        return _VALIDATOR.check(setting.check, text)
    except ValueRefused as refused:
        hint = f" ({refused.hint})" if refused.hint else ""
        raise Untranslatable(f"{refused.problem}{hint}") from refused


def fit(text: Text) -> None:
    """Raise Untranslatable for text that has no place in a line of our files."""
    if any(len(item) > MAX_CHARACTERS for item in (text if isinstance(text, list) else [text])):
        raise Untranslatable(f"it is longer than {MAX_CHARACTERS} characters")


def deadline_remark(setting: Setting, text: Text) -> str:
    """What should be known of a deadline that is not below the MTA's own; "" of any other value."""
    limit_s = _DEADLINES_S.get(setting.key)
    if limit_s is None or not isinstance(text, str) or float(text) < limit_s:
        return ""
    return f"not below the {limit_s} seconds that Postfix waits, which gives up first"


def default(setting: Setting) -> Any:
    """What our setting is when nothing is written."""
    return _VALIDATOR.check(setting.check, None, missing=True)
