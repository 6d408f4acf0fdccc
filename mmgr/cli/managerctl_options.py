"""The options of ``milter-managerctl``, and the sockets where its daemon may be found."""

from __future__ import annotations

import argparse
import functools
from typing import Any

from mmgr import __version__
from mmgr.cli import managerctl_doctor as doctor
from mmgr.cli import managerctl_explain as explain
from mmgr.cli import values
from mmgr.cli.options import DEFAULT_DIRECTORY, configuration_directory
from mmgr.config.loader import glance
from mmgr.config.model import ControllerSettings
from mmgr.endpoint import Endpoint

PROGRAM = "milter-managerctl"

QUESTIONS = {
    "status": "what the daemon does as a whole",
    "workers": "each worker process",
    "milters": "each milter, and what it answered so far",
    "metrics": "all that is counted and measured, in the text format of Prometheus",
    "top": "sessions per second, workers, and each milter's answers and times, again and again",
}
"""What anybody may ask who may connect to one of the two sockets."""

ORDERS = {
    "reload": "read the configuration anew; if anything is wrong with it, say what, and change nothing",
    "stop": "end the daemon after the sessions that run",
}
ORDERS_ABOUT_A_MILTER = {
    "enable": "ask the milter, and count what it says, whatever the configuration says",
    "disable": "do not ask the milter, until it is reset or the daemon restarted",
    "evaluate": "ask the milter and log what it says, but count none of it",
    "reset": "treat the milter as configured again",
}

_EPILOG = f"""exit codes: 0 done; 1 refused or failed, with the reason; 2 usage; 3 no daemon answers;
of doctor 0 fine, 1 warnings, 4 errors.
Without -s the socket is the one of the configuration in -c, $MILTER_MANAGER_CONFIG_DIR or {DEFAULT_DIRECTORY},
as far as that can be read, else {ControllerSettings().connection_spec}."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Ask a running milter-manager how it is, and tell it what to do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    _add_common(made, None, False)
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, meaning in {**QUESTIONS, **ORDERS, **ORDERS_ABOUT_A_MILTER}.items():
        command = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
        _add_common(command, argparse.SUPPRESS, argparse.SUPPRESS)
        if name in ORDERS_ABOUT_A_MILTER:
            command.add_argument("milter", metavar="MILTER", help="its name in the configuration")
        if name == "top":
            _add_top(command)
    _add_local(commands, doctor)
    _add_local(commands, explain)
    return made


def _add_local(to: argparse._SubParsersAction[argparse.ArgumentParser], command: Any) -> None:
    """A sub-command that asks no daemon."""
    made = to.add_parser(
        command.COMMAND,
        help=command.MEANING,
        description=getattr(command, "DESCRIPTION", command.MEANING),
        epilog=command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_common(made, argparse.SUPPRESS, argparse.SUPPRESS)
    command.add_options(made)


def _add_common(to: argparse.ArgumentParser, absent: object, off: object) -> None:
    """What may stand before the command and behind it. What is absent there must not undo what was given before."""
    to.add_argument(
        "-s", "--connection-spec", dest="spec", type=values.endpoint, metavar="SPEC", default=absent,
        help="control socket: unix:PATH, or inet:PORT@HOST of one for reading alone",
    )  # fmt: skip
    to.add_argument(
        "-c", "--config-dir", metavar="DIRECTORY", default=absent, help="where the daemon's configuration is"
    )
    to.add_argument("--json", dest="is_json", action="store_true", default=off, help="one JSON object instead of text")


def _add_top(to: argparse.ArgumentParser) -> None:
    to.add_argument("--once", action="store_true", help="show one interval and end")
    to.add_argument(
        "--interval", type=values.seconds, default=2.0, metavar="SECONDS", help="time between two looks (2)"
    )
    to.add_argument(
        "--count", type=functools.partial(values.count, least=1, most=1_000_000), metavar="N", help="end after N looks"
    )


def sockets(given: argparse.Namespace) -> list[Endpoint]:
    """Where the daemon may be asked, best first; questions may go to the socket for reading, too."""
    if given.spec is not None:
        return [given.spec]
    settings = glance(configuration_directory(given)).controller
    found = [settings.connection_spec]
    if given.command in QUESTIONS:
        found.append(settings.read_only_connection_spec)
    return [endpoint for endpoint in found if endpoint is not None] or _built_in()


def _built_in() -> list[Endpoint]:
    endpoint = ControllerSettings().connection_spec
    return [] if endpoint is None else [endpoint]
