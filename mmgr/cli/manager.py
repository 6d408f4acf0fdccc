"""``milter-manager``: reads the command line and the configuration, takes the sockets, and hands over to the master.

Exit codes: 0 ended as asked, 1 a socket, user or file can't be taken, 2 usage, 78 (EX_CONFIG) faults in the
configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import encodings.idna  # noqa: F401  getaddrinfo wants it later, when our own files may be out of reach for us
import errno
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from setproctitle import getproctitle

from mmgr import __version__
from mmgr import log as logs
from mmgr.cli import options
from mmgr.config import writer
from mmgr.config.loader import load
from mmgr.config.model import ChildSettings, Config, ManagerSettings
from mmgr.detect.base import Detection
from mmgr.endpoint import Endpoint
from mmgr.errors import ConfigErrors, MmgrError, PrivilegeError
from mmgr.master import exporting, privileges
from mmgr.master.activation import HandedSockets, take_sockets
from mmgr.master.background import Background
from mmgr.master.companions import Companion
from mmgr.master.control import Control
from mmgr.master.listeners import Listener, SocketRights
from mmgr.master.notify import take_notifier
from mmgr.master.pidfile import PidFile
from mmgr.master.policy import Pool
from mmgr.master.supervisor import Duties, Supervisor
from mmgr.peers import samples
from workers import main as worker
from workers import reserve

EXIT_FAILURE = 1
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130

SAMPLES = {"sample-add-header": samples.add_header, "sample-reject-marked": samples.reject_marked}

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; ends the process."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the master listens for it
    getproctitle()  # it has to see the environment as it was: without the first variable setproctitle 1.3 does nothing
    given = options.parser().parse_args(arguments)
    try:
        sys.exit(_Start(given).run())
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except ConfigErrors as errors:
        for error in errors.errors:
            _complain(f"error: {error}")
        _complain(f"{len(errors.errors)} faults in the configuration; nothing was started")
        sys.exit(EXIT_CONFIG)
    except MmgrError as error:
        _complain(str(error))
        sys.exit(EXIT_FAILURE)
    except OSError as error:
        _complain(f"{error.filename or 'start'}: {error.strerror}")
        sys.exit(EXIT_FAILURE)


class _Start:
    """One start: what was asked for, and what is held until the end."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._overrides = options.overrides(given)
        self._detection: Detection | None = None
        self._sample_directory = ""
        self._background: Background | None = None
        self._sockets = HandedSockets()

    def run(self) -> int:
        """Do what was asked for and return the exit code. Raises MmgrError."""
        for warning in options.warnings(self._given):
            _complain(f"warning: {warning}")
        config = self._load(lambda warning: _complain(f"warning: {warning}"))
        if self._given.show_config:
            sys.stdout.write(writer.show(config))
            return 0
        if self._given.check_config:
            return self._check(config)
        return self._serve(config)

    def _check(self, config: Config) -> int:
        """Beyond the files themselves: do the user, the groups and the directories that they name exist here?"""
        faults = list(_missing(config))
        for fault in faults:
            _complain(f"error: {fault}")
        for fault in _unreachable(config):
            _complain(f"warning: {fault}")
        if not faults:
            print("the configuration is without faults")
        return EXIT_CONFIG if faults else 0

    def _load(self, tell: Callable[[str], None]) -> Config:
        """Read the configuration, telling of its warnings. Raises ConfigErrors."""
        root = None if self._given.samples else self._given.root or "/"
        result = load(options.configuration_directory(self._given), self._overrides, root, self._detection)
        self._detection = result.detection
        for warning in result.warnings:
            tell(warning)
        return result.config

    def _load_anew(self) -> Config:
        return self._with_samples(self._load(_log_warning))

    def _serve(self, config: Config) -> int:
        identity = privileges.look_up(config.security.effective_user, config.security.effective_group)
        notifier = take_notifier(os.environ, os.getpid())
        self._sockets = take_sockets(os.environ, os.getpid())
        if config.manager.daemon:
            self._background = Background()
            code = self._background.detach()
            if code is not None:
                return code
        with contextlib.ExitStack() as held:
            if config.manager.pid_file:
                pid_file = PidFile(config.manager.pid_file)
                held.callback(pid_file.close)
                pid_file.write()
            listeners = [
                held.enter_context(self._listening(spec, config.manager, identity))
                for spec in config.manager.connection_spec
            ]
            control = Control()
            held.callback(control.close)
            control.open(config, identity)
            exporter = exporting.Exporter(_find_metrics)
            held.callback(exporter.close)
            exporter.open(config, identity)
            companions = self._companions(config, identity, held)
            if identity is not None:
                privileges.become(identity)
            logs.set_up(config.log)  # as whom it will be reopened
            self._sockets.report(listeners, _rights(config.manager, None))
            announce, listen_later = self._announce, self._listen_later
            duties = Duties(
                self._load_anew,
                listen_later,
                worker.run,
                reserve.run,
                announce,
                companions,
                notifier,
                control,
                exporter,
                worker.prepare,
            )
            self._config = self._with_samples(config)
            return Supervisor(self._config, listeners, duties).run()

    # ---- sockets

    @contextlib.contextmanager
    def _listening(
        self, endpoint: Endpoint, settings: ManagerSettings, identity: privileges.Identity | None
    ) -> Iterator[Listener]:
        listener = self._sockets.listener(endpoint, _rights(settings, identity), settings.remove_unix_socket_on_create)
        try:
            yield listener
        finally:
            listener.close(settings.remove_unix_socket_on_close)

    def _listen_later(self, endpoint: Endpoint, config: Config) -> Listener:
        """A socket that a reload adds, made by the user that we have become. Raises ListenError, PrivilegeError."""
        settings = config.manager
        return self._sockets.listener(endpoint, _rights(settings, None), settings.remove_unix_socket_on_create)

    # ---- samples, for a newcomer's first run

    def _companions(
        self, config: Config, identity: privileges.Identity | None, held: contextlib.ExitStack
    ) -> list[Companion]:
        if not self._given.samples or config.enabled_children:
            return []
        self._sample_directory = tempfile.mkdtemp(prefix="milter-manager-")
        held.callback(shutil.rmtree, self._sample_directory, ignore_errors=True)
        if identity is not None:
            os.chown(self._sample_directory, identity.uid, identity.gid)
        return [Companion(name, self._sample_life(name)) for name in SAMPLES]

    def _sample_life(self, name: str) -> Callable[[int, socket.socket | None], None]:
        return lambda life_fd, _line: SAMPLES[name](self._sample_endpoint(name), life_fd)

    def _sample_endpoint(self, name: str) -> Endpoint:
        return Endpoint("unix", path=os.path.join(self._sample_directory, f"{name}.sock"))

    def _with_samples(self, config: Config) -> Config:
        """The configuration with the sample milters as children, if they run and no other child is enabled."""
        if not self._sample_directory or config.enabled_children:
            return config
        children = [ChildSettings(name, (self._sample_endpoint(name),)) for name in SAMPLES]
        return dataclasses.replace(config, children=(*config.children, *children))

    # ---- what people see

    def _announce(self, pool: Pool, backlog: int) -> None:
        """Once it serves: one line, and with the samples the command to try next."""
        config = self._config
        specs = ", ".join(map(str, config.manager.connection_spec))
        names = ", ".join(child.name for child in config.enabled_children) or "none: all mail passes"
        log.info(
            "serving spec=%s workers=%d max_workers=%d backlog=%d children=%d",
            logs.quoted(specs),
            pool.floor,
            pool.max_workers,
            backlog,
            len(config.enabled_children),
        )
        number = str(pool.floor) if pool.floor == pool.max_workers else f"{pool.floor} to {pool.max_workers}"
        lines = [f"milter-manager {__version__} serves on {specs} with {number} workers; milters: {names}"]
        if self._sample_directory:
            tool = os.path.join(os.path.dirname(sys.argv[0]), "milter-test-server")
            lines.append(f"try next: {os.path.relpath(tool)} -s {config.manager.connection_spec[0]}")
        with contextlib.suppress(OSError):
            print("\n".join(lines), flush=True)
        if self._background is not None:
            self._background.serving()


def _find_metrics() -> exporting.Life:
    """The life of the process that shows metrics: loaded only where they are wanted, as it takes memory."""
    try:
        life: exporting.Life = importlib.import_module("mmgr.status.exporter").run
    except ImportError as error:
        hint = "install prometheus_client and restart"
        raise MmgrError(f"[metrics] is switched on and its code can't be loaded: {error} ({hint})") from error
    return life


def _missing(config: Config) -> Iterator[str]:
    """What the configuration names and this machine does not have."""
    try:
        if config.manager.unix_socket_group:
            privileges.group_id(config.manager.unix_socket_group)
    except PrivilegeError as error:
        yield f"manager.unix_socket_group: {error}"
    for section, key in (
        ("controller", "unix_socket_group"),
        ("controller", "read_only_unix_socket_group"),
        ("metrics", "unix_socket_group"),
    ):
        group = getattr(getattr(config, section), key)
        try:
            if group:
                privileges.group_id(group)
        except PrivilegeError as error:
            yield f"{section}.{key}: {error}"
    yield from _missing_identity(config.security.effective_user, config.security.effective_group)
    spool = config.manager.spool_directory
    if spool and not os.path.isdir(spool):
        yield f"manager.spool_directory: there is no directory {spool}"


def _missing_identity(user: str, group: str) -> Iterator[str]:
    """The user and the group each alone, so that both are told of."""
    try:
        privileges.look_up(user, "")
    except PrivilegeError as error:
        yield f"security.effective_user: {error}"
    try:
        if group and os.geteuid() == 0:
            privileges.group_id(group)
        elif group:
            privileges.look_up("", group)
    except PrivilegeError as error:
        yield f"security.effective_group: {error}"


def _unreachable(config: Config) -> Iterator[str]:
    """Sockets of milters that nobody listens on at the moment, as far as a connection tells."""
    for child in config.enabled_children:
        for endpoint in child.connection_spec:
            if endpoint.kind == "unix":
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trial:
                    code = trial.connect_ex(endpoint.path)
                if code not in (0, errno.EAGAIN, errno.EINPROGRESS):
                    why = f"{endpoint} can't be connected: {os.strerror(code)}; milter-managerctl doctor says more"
                    yield f"milters.{child.name}.connection_spec: {why}"


def _log_warning(warning: str) -> None:
    log.warning("configuration-warning text=%s", logs.quoted(warning, 500))


def _rights(settings: ManagerSettings, identity: privileges.Identity | None) -> SocketRights:
    gid = privileges.group_id(settings.unix_socket_group) if settings.unix_socket_group else -1
    if identity is None:
        return SocketRights(settings.unix_socket_mode, -1, gid)
    return SocketRights(settings.unix_socket_mode, identity.uid, identity.gid if gid == -1 else gid)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"milter-manager: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
