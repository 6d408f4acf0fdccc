"""milter-managerctl: asks a running daemon, by its control socket, how it is, and tells it what to do.

Answers go to standard output, reasons to standard error. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no daemon
answers. The sub-commands ``doctor`` and ``explain`` ask no daemon, and have exit codes of their own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from mmgr.cli import managerctl_doctor as doctor
from mmgr.cli import managerctl_explain as explain
from mmgr.cli import managerctl_options as options
from mmgr.cli import managerctl_output as output
from mmgr.cli.managerctl_top import Top
from mmgr.cli.writing import Writer
from mmgr.control import ASK_TIMEOUT_S, CHANGE_TIMEOUT_S, Line
from mmgr.errors import ControlError, ControlUnanswered

EXIT_REFUSED = 1
EXIT_UNANSWERED = 3
EXIT_INTERRUPTED = 130

_TEXTS = {"status": output.status, "workers": output.workers, "milters": output.milters}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    given = options.parser().parse_args(arguments)
    writer = Writer()
    try:
        if given.command == doctor.COMMAND:
            return doctor.run(given, writer)
        if given.command == explain.COMMAND:
            return explain.run(given, writer)
        return Command(given, writer).run()
    except ControlUnanswered as error:
        complain(writer, str(error))
        return EXIT_UNANSWERED
    except ControlError as error:
        complain(writer, str(error))
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def complain(writer: Writer, reason: str) -> None:
    """One reason on standard error, fit for a terminal."""
    writer.complain(f"{options.PROGRAM}: {output.printable(reason)}")


class Command:
    """What was asked for on the command line."""

    def __init__(self, given: argparse.Namespace, writer: Writer) -> None:
        self._given = given
        self._writer = writer
        self._sockets = options.sockets(given)

    def run(self) -> int:
        """Do it and return the exit code. Raises ControlError."""
        name = self._given.command
        if name == "top":
            return Top(self._look, self._writer, self._given).run()
        if name == "metrics" and not self._given.is_json:
            return self._show_metrics()
        if name in options.QUESTIONS:
            (result,) = self._look(name)
            self._write(result, _TEXTS.get(name, output.status))
            return 0
        return self._order(name)

    def _show_metrics(self) -> int:
        """What the page of the metrics shows."""
        try:
            from mmgr.status.metrics import render  # no other command has to wait for prometheus_client
        except ImportError as error:
            raise ControlError(f"the Python package prometheus_client can't be loaded: {error}") from error
        (result,) = self._look("metrics")
        try:
            text = render(lambda: result)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ControlError("the answer is one of another version of milter-manager; try --json") from error
        self._writer.write(text)
        return 0

    def _order(self, name: str) -> int:
        arguments = {"milter": self._given.milter} if name in options.ORDERS_ABOUT_A_MILTER else {}
        with self._connect() as line:
            answer = line.ask(name, ASK_TIMEOUT_S if name == "stop" else CHANGE_TIMEOUT_S, **arguments)
        errors = output.errors_of(answer)
        for error in errors:
            complain(self._writer, error)
        if errors:
            if self._given.is_json:
                self._write({"is_done": False, "errors": errors})
            return EXIT_REFUSED
        self._write({"is_done": True, **answer["result"]}, lambda result: output.ordered(name, arguments, result))
        return 0

    def _look(self, *requests: str) -> list[dict[str, Any]]:
        """The results of some questions that are put one behind the other."""
        found = []
        with self._connect() as line:
            for request in requests:
                answer = line.ask(request)
                errors = output.errors_of(answer)
                if errors:
                    raise ControlError("; ".join(errors))
                found.append(answer["result"])
        return found

    def _connect(self) -> Line:
        """To the first socket that takes us; if none does, what the first one said counts."""
        refusals: list[ControlError] = []
        for endpoint in self._sockets:
            try:
                return Line(endpoint)
            except ControlError as error:
                refusals.append(error)
        raise refusals[0] if refusals else ControlUnanswered("no control socket is configured")

    def _write(self, result: dict[str, Any], text: Any = None) -> None:
        if self._given.is_json:
            self._writer.write(json.dumps(result).encode("ascii") + b"\n")
        elif text is not None:
            self._writer.write("".join(f"{line}\n" for line in text(result)).encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
