"""milter-test-server: plays the MTA against one milter, with one or more messages, and prints what became of each.

Options and output are the incumbent's; what differs is in docs/test-tools.md. Results go to standard output,
everything else to standard error; the exit code says which outcome it was.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from mmgr.cli.test_server_output import result, resulting_message
from mmgr.cli.test_server_plan import Plan, read_plan
from mmgr.cli.writing import Writer
from mmgr.errors import EndpointError, PeerClosed, PeerTimeout
from mmgr.peers.delivery import Session, Status
from mmgr.peers.mta import MtaPeer, connect_peer
from mmgr.peers.strict import offer
from mmgr.protocol.errors import RemoteProtocolError

EXIT_CONNECTION = 1
EXIT_PROTOCOL = 3
EXIT_TIMEOUT = 4
EXIT_INTERRUPTED = 130
EXIT_OF_STATUS = {
    Status.ACCEPT: 0,
    Status.REJECT: 10,
    Status.TEMPORARY_FAILURE: 11,
    Status.DISCARD: 12,
    Status.QUARANTINE: 13,
    Status.SHUTDOWN: 14,
}
FROM_GOOD_TO_BAD = (0, 13, 12, 11, 10, 14, EXIT_TIMEOUT, EXIT_CONNECTION, EXIT_PROTOCOL)


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code."""
    try:
        return Run(read_plan(arguments), Writer()).run_all()
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)  # threads may be waiting for a milter for minutes; all output is flushed


class Run:
    """All sessions of one plan, and the worst exit code so far."""

    def __init__(self, plan: Plan, writer: Writer) -> None:
        self._plan = plan
        self._writer = writer
        self._exit_codes = [0]
        self._has_colours = _is_terminal() if plan.has_colours is None else plan.has_colours

    def run_all(self) -> int:
        """Run the sessions, each in its own thread if there are several; the worst exit code."""
        if self._plan.session_count == 1:
            self._run_one()
        else:
            threads = [threading.Thread(target=self._run_one, daemon=True) for _ in range(self._plan.session_count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return max(self._exit_codes, key=FROM_GOOD_TO_BAD.index)

    def _run_one(self) -> None:
        started = time.monotonic()
        plan = self._plan
        try:
            peer = connect_peer(plan.endpoint, offer(plan.version), plan.deadlines, plan.macros)
        except PeerTimeout:
            self._fail(EXIT_TIMEOUT, f"Failed to connect to {plan.endpoint}: connection timeout")
        except (PeerClosed, EndpointError) as error:
            self._fail(EXIT_CONNECTION, f"Failed to connect to {plan.endpoint}: {error}")
        else:
            self._converse(peer, started)

    def _converse(self, peer: MtaPeer, started: float) -> None:
        """One session on a connection that stands; the first message's time includes connecting and greeting."""
        try:
            with Session(peer, self._plan.client) as session:
                for message in self._plan.messages:
                    outcome = session.deliver(message)
                    ended = time.monotonic()
                    block = result(outcome, ended - started, self._plan.is_verbose)
                    if self._plan.shows_message:
                        block += resulting_message(outcome, self._has_colours)
                    self._exit_codes.append(EXIT_OF_STATUS[outcome.status])
                    self._writer.write(block)
                    started = ended
        except PeerTimeout as error:
            self._fail(EXIT_TIMEOUT, str(error))
        except PeerClosed as error:
            self._fail(EXIT_PROTOCOL, f"The milter is gone: {error}")
        except RemoteProtocolError as error:
            self._fail(EXIT_PROTOCOL, f"Protocol error: {error}")
        for violation in peer.violations:
            self._writer.complain(f"warning: {violation}")

    def _fail(self, exit_code: int, text: str) -> None:
        self._exit_codes.append(exit_code)
        self._writer.complain(text)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


if __name__ == "__main__":
    sys.exit(main())
