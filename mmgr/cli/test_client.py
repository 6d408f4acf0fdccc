"""milter-test-client: plays a milter, prints every event, and answers what its options say.

Events go to standard output, one block for each, never torn apart; everything else to standard error. Runs in the
foreground until TERM or INT.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mmgr.cli.test_client_options import PROGRAM, WITHOUT_MEANING, behaviour, make_parser
from mmgr.cli.test_client_output import block
from mmgr.cli.writing import Writer
from mmgr.errors import EndpointError, ListenError
from mmgr.peers.milter import Event, MilterPeer, MilterSession, Observer
from mmgr.protocol.commands import Quit

EXIT_FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (the process's own by default); the exit code. Blocks until a signal."""
    options = make_parser().parse_args(arguments)
    writer = Writer()
    for option in WITHOUT_MEANING:
        if getattr(options, option[2:].replace("-", "_")):
            writer.complain(f"warning: {option} has no meaning for {PROGRAM}; ignored")
    reporter = Reporter(writer, options)
    peer = MilterPeer(
        options.connection_spec,
        behaviour(options),
        reporter,
        keeps_records=False,
        mode=options.unix_socket_mode,
        group=options.unix_socket_group,
    )
    reporter.peer = peer
    try:
        with _ended_by_signals(peer):
            return _serve(peer, options, writer)
    except (ListenError, EndpointError, OSError) as error:
        writer.complain(f"{PROGRAM}: {error}")
        return EXIT_FAILED
    finally:
        peer.stop()


class Reporter(Observer):
    """Prints what each session is told. Ends the milter when nobody reads it any more."""

    def __init__(self, writer: Writer, options: argparse.Namespace) -> None:
        self.peer: MilterPeer | None = None
        self._writer = writer
        self._has_numbers = options.verbose
        self._is_silent = options.quiet or options.no_report_request

    def on_event(self, session: MilterSession, event: Event) -> None:
        """One block for the event; the end of a session is told by ``on_end``."""
        if not isinstance(event.message, Quit):
            self._print(session, block(event))

    def on_end(self, session: MilterSession) -> None:
        """``finished``, and on standard error why if that was not the MTA's doing."""
        self._print(session, b"finished\n")
        if session.ended not in ("quit", "closed", "stopped"):
            self._writer.complain(f"session {session.number}: {session.ended}")

    def _print(self, session: MilterSession, text: bytes) -> None:
        if self._is_silent:
            return
        if self._has_numbers:
            mark = b"[%d] " % session.number
            text = b"".join(mark + line for line in text.splitlines(keepends=True))
        self._writer.write(text)
        if self._writer.is_broken and self.peer:
            self.peer.end()


def _serve(peer: MilterPeer, options: argparse.Namespace, writer: Writer) -> int:
    peer.listen()
    with _pid_file(options.pid_file):
        _become(options)
        if not options.quiet:
            writer.write(f"listening on {peer.endpoint}\n".encode())
        peer.serve()
    return 0


def _become(options: argparse.Namespace) -> None:
    """Give up root for the user and group asked for; the socket goes with them, so that it can be removed."""
    if options.user is None and options.group is None:
        return
    group = options.user.pw_gid if options.group is None else options.group
    user = os.geteuid() if options.user is None else options.user.pw_uid
    if options.connection_spec.kind == "unix":
        os.chown(options.connection_spec.path, user, -1)
    os.setgroups([group])
    os.setgid(group)
    os.setuid(user)


@contextmanager
def _pid_file(path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with open(path, "wb") as file:
        file.write(b"%d\n" % os.getpid())
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)


@contextmanager
def _ended_by_signals(peer: MilterPeer) -> Iterator[None]:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        peer.end()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


if __name__ == "__main__":
    sys.exit(main())
