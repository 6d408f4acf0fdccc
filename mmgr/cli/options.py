"""The options of ``milter-manager``: the incumbent's names and meaning; those without a meaning here say so."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from mmgr import __version__
from mmgr.endpoint import parse_endpoint
from mmgr.errors import EndpointError

DEFAULT_DIRECTORY = "/etc/milter-manager"
DIRECTORY_VARIABLE = "MILTER_MANAGER_CONFIG_DIR"

_LEVELS = {
    "none": "error",
    "critical": "error",
    "error": "error",
    "warning": "warning",
    "default": "info",
    "message": "info",
    "statistics": "info",
    "info": "info",
    "debug": "debug",
    "profile": "debug",
    "trace": "debug",
    "all": "debug",
}
_BY_VERBOSITY = ("error", "warning", "info", "debug")

_IGNORED = {
    "--event-loop-backend": "workers are processes, there is no event loop to choose",
    "--packet-buffer-size": "edits are always sent together",
    "--max-pending-finished-sessions": "a session is closed when it ends",
}

_EPILOG = """exit codes: 0 ended as asked; 1 a socket, user or file can't be taken; 2 usage; 78 faulty configuration.
signals: TERM ends after the running sessions, INT and QUIT at once, HUP reads the configuration anew, USR1 reopens
logs, TTIN and TTOU: one worker more, one less. Read are milter-manager.conf, conf.d/*.conf and
milter-manager.local.conf of the configuration directory."""


def parser() -> argparse.ArgumentParser:
    """The command line of the daemon."""
    made = argparse.ArgumentParser(
        prog="milter-manager",
        description="One milter in front of many: finds, conditions, merges and supervises mail filters.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"milter-manager {__version__}")
    _add_configuration(made.add_argument_group("configuration"))
    _add_process(made.add_argument_group("process and socket"))
    _add_log(made.add_argument_group("log"))
    ignored = made.add_argument_group("accepted for old command lines, without effect")
    for name, reason in _IGNORED.items():
        ignored.add_argument(name, metavar="VALUE", help=reason)
    made.add_argument("nothing", nargs="*", type=_nothing, help=argparse.SUPPRESS)
    return made


def _nothing(text: str) -> str:
    """The incumbent's systemd unit passes an empty word where no options are set."""
    if text:
        raise argparse.ArgumentTypeError(f"unrecognized arguments: {text}")
    return text


def _add_configuration(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-c", "--config-dir", metavar="DIRECTORY", help=f"configuration ({DEFAULT_DIRECTORY})")
    group.add_argument("--root", metavar="DIRECTORY", help="look for installed milters in that tree (/)")
    group.add_argument("--show-config", action="store_true", help="print the effective configuration and exit")
    group.add_argument("--check-config", action="store_true", help="check the configuration and exit")
    group.add_argument(
        "--samples", action="store_true", help="where no milter is configured, run two sample milters of our own"
    )


def _add_process(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-s", "--connection-spec", metavar="SPEC", help="unix:PATH, inet:PORT[@HOST], inet6:PORT[@HOST]")
    group.add_argument("--control-spec", metavar="SPEC", help="control socket of milter-managerctl; '' for none")
    group.add_argument("--unix-socket-mode", metavar="MODE", help="mode of a unix socket, octal (0660)")
    group.add_argument("--unix-socket-group", "--socket-group-name", metavar="GROUP", help="group of a unix socket")
    group.add_argument("-u", "--user", "--user-name", "--user-id", dest="user", metavar="USER", help="user to run as")
    group.add_argument("-g", "--group", "--group-name", "--group-id", dest="group", metavar="GROUP", help="its group")
    group.add_argument("--daemon", dest="daemon", action="store_true", default=None, help="run in the background")
    group.add_argument("--no-daemon", dest="daemon", action="store_false", help="run in the foreground")
    group.add_argument("--pid-file", metavar="FILE", help="file to write the process id to")
    group.add_argument(
        "--n-workers", type=_count, metavar="N", help="fix the number of worker processes (0: as many as it takes)"
    )


def _add_log(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--log-level", type=_level, metavar="LEVEL", help="error, warning, info or debug")
    group.add_argument("--log-path", metavar="PATH", help="log file; - is standard error")
    group.add_argument("-v", "--verbose", dest="log_level", action="store_const", const="debug", help="log everything")
    group.add_argument("-q", "--quiet", dest="log_level", action="store_const", const="error", help="log errors alone")
    group.add_argument("--syslog", action="store_true", default=None, help="log to syslog too")
    group.add_argument("--syslog-facility", metavar="FACILITY", help="facility for syslog (mail)")


def _count(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers")
    return text


def _level(text: str) -> str:
    """Our level for the incumbent's ``error|warning``: the most talkative of the names."""
    names = [name.strip().lstrip("+-") for name in text.split("|")]
    unknown = [name for name in names if name not in _LEVELS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_LEVELS)}")
    return max((_LEVELS[name] for name in names), key=_BY_VERBOSITY.index)


def overrides(given: argparse.Namespace) -> dict[str, str]:
    """What the command line says, as dotted keys of the configuration. Raises EndpointError for an unusable -s."""
    values = {
        "manager.connection_spec": given.connection_spec,
        "controller.connection_spec": given.control_spec,
        "manager.unix_socket_mode": given.unix_socket_mode,
        "manager.unix_socket_group": given.unix_socket_group,
        "manager.daemon": given.daemon,
        "manager.pid_file": given.pid_file,
        "security.effective_user": given.user,
        "security.effective_group": given.group,
        "workers.n_workers": given.n_workers,
        "log.level": given.log_level,
        "log.path": given.log_path,
        "log.use_syslog": given.syslog,
        "log.syslog_facility": given.syslog_facility,
    }
    if given.connection_spec is not None:
        try:
            parse_endpoint(given.connection_spec)
        except EndpointError as error:
            raise EndpointError(f"-s: {error}") from error
    return {key: _as_text(value) for key, value in values.items() if value is not None}


def _as_text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def configuration_directory(given: argparse.Namespace) -> str | None:
    """Where the configuration is: as asked, else from the environment, else the default one if it exists."""
    named: str | None = given.config_dir or os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return named
    return DEFAULT_DIRECTORY if os.path.isdir(DEFAULT_DIRECTORY) else None


def warnings(given: argparse.Namespace) -> Iterator[str]:
    """A line for each option that was given and has no meaning here."""
    for name, reason in _IGNORED.items():
        if getattr(given, name[2:].replace("-", "_")) is not None:
            yield f"option {name} has no effect: {reason}"
