"""One Postfix, each real milter at most once, and managers in front of them: what the interop tests share.

``Lab.port`` answers the question that every such test has: on which port does Postfix listen with these children,
listed directly or behind a manager? Components start when first asked for and are stopped together.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from tests.support.daemon import Manager
from tests.support.milters import ClamavMilter, Clamd, MilterDaemon, Opendkim, PymilterChild, SpamassMilter, Spamd
from tests.support.postfix import Delivery, PostfixInstance
from tests.support.processes import Daemon, LabDirectory, free_port, stop_together
from tests.support.smtp import Mail, send

DIRECT = "direct"
MANAGER = "manager"
TIMEOUTS = ("connection_timeout", "writing_timeout", "reading_timeout", "end_of_message_timeout")
POSTFIX_ACTIONS = {"accept": "accept", "temporary-failure": "tempfail", "reject": "reject"}


@dataclass(frozen=True)
class Route:
    """A port of Postfix, and the manager behind it when there is one."""

    port: int
    manager: Manager | None = None


class Lab:
    """A context manager over all components; see the module."""

    def __init__(self) -> None:
        self.directory = LabDirectory()
        self.postfix = PostfixInstance(self.directory.path / "postfix")
        self.daemons: list[Daemon] = []
        self.managers: list[Manager] = []
        self._kept = ExitStack()
        self._seen_characters: dict[Callable[[], str], int] = {}
        self._children: dict[str, MilterDaemon] = {}
        self._routes: dict[object, Route] = {}

    def __enter__(self) -> Lab:
        try:
            self.postfix.directory.mkdir()
            self.postfix.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for daemon in self.daemons:
            daemon.terminate()  # libmilter takes its seconds while the rest is stopped
        try:
            self._kept.close()
        finally:
            self.postfix.stop()
            stop_together(self.daemons)
            self.directory.remove()

    # Children

    def run(self, daemon: Daemon) -> Daemon:
        """Starts a daemon that lives until the end of the lab."""
        daemon.start()
        self.daemons.append(daemon)
        return daemon

    def subdirectory(self, name: str) -> Path:
        return self.directory.subdirectory(name)

    def child(self, name: str) -> MilterDaemon:
        """The one milter of that name, started at the first call; raises ComponentMissing when it is not installed."""
        if name not in self._children:
            child = CHILDREN[name](self, name)
            self.run(child)
            self._children[name] = child
        return self._children[name]

    def pymilter(self, name: str = "pymilter") -> PymilterChild:
        """A child that does what mails ask for: pymilter, second, or one with another negotiation."""
        child = self.child(name)
        assert isinstance(child, PymilterChild)
        return child

    def opendkim(self) -> Opendkim:
        child = self.child("opendkim")
        assert isinstance(child, Opendkim)
        return child

    def certificate(self) -> Path:
        """A file with a key and a certificate signed by itself, for Postfix's smtpd_tls_chain_files."""
        chain = self.directory.path / "chain.pem"
        if not chain.exists():
            key, certificate = (self.directory.path / name for name in ("key.pem", "certificate.pem"))
            subject = ["-subj", "/CN=mx.test", "-days", "2"]
            command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
            subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
            chain.write_bytes(key.read_bytes() + certificate.read_bytes())
        return chain

    # Mail

    def deliver(self, port: int, mail: Mail, copies: int = 1, helo: str = "client.test") -> list[Delivery]:
        """Sends a mail, waits until Postfix has done with it and returns what lies in the sink, by recipient."""
        answers = send(port, mail, helo)
        self.postfix.wait_until_finished(answers.queue_id)
        return self.postfix.deliveries(mail.token, copies)

    # Logs

    def new_log_text(self) -> Iterator[tuple[str, str]]:
        """(name, text) for what Postfix and each manager logged since the last call of this."""
        sources = {"maillog": self.postfix.log_text}
        sources.update({f"log of {manager.directory.name}": manager.log_text for manager in self.managers})
        for name, read in sources.items():
            text = read()
            if len(text) > self._seen_characters.get(read, 0):
                yield name, text[self._seen_characters.get(read, 0) :]
            self._seen_characters[read] = len(text)

    # Ports

    def port(self, via: str, *names: str, **settings: Any) -> int:
        """The port on which these children see the mail, in this order, listed directly or behind a manager."""
        return self.route(via, {name: self.child(name).spec for name in names}, **settings).port

    def route(self, via: str, specs: Mapping[str, str], **settings: Any) -> Route:
        """As new_route, kept until the end of the lab and made only once."""
        key = (via, tuple(specs.items()), repr(settings))
        if key not in self._routes:
            self._routes[key] = self._kept.enter_context(self.new_route(via, specs, **settings))
        return self._routes[key]

    @contextmanager
    def new_route(
        self,
        via: str,
        specs: Mapping[str, str],
        fallback: str = "temporary-failure",
        hurried: Sequence[str] = (),
        on_tcp: bool = False,
        **postfix_settings: str,
    ) -> Iterator[Route]:
        """A port where children of these specs see the mail; a manager behind it ends with the context.

        fallback is what each of them counts as when it fails; the hurried have one second for everything. Both ways
        mean the same: Postfix's own settings per milter there, the child's keys here. on_tcp is for the manager's
        socket; postfix_settings are further parameters of the port.
        """
        if via == DIRECT:
            milters = [postfix_milter(spec, fallback, name in hurried) for name, spec in specs.items()]
            yield Route(self.postfix.add_port(milters, **postfix_settings))
        else:
            spec = f"inet:{free_port()}@127.0.0.1" if on_tcp else ""
            children = {name: child_keys(spec, fallback, name in hurried) for name, spec in specs.items()}
            self.managers.append(Manager(self.subdirectory("manager"), children, spec=spec))
            with self.managers[-1] as manager:
                yield Route(self.postfix.add_port([as_postfix_writes(manager.spec)], **postfix_settings), manager)


def child_keys(spec: str, fallback: str, is_hurried: bool) -> dict[str, str]:
    """The section of a child in the manager's configuration."""
    timeouts = dict.fromkeys(TIMEOUTS, "1") if is_hurried else {}
    return {"connection_spec": spec, "fallback_status": fallback, **timeouts}


def postfix_milter(spec: str, fallback: str, is_hurried: bool) -> str:
    """The same child as an entry of smtpd_milters."""
    timeouts = ", connect_timeout=1s, command_timeout=1s, content_timeout=1s" if is_hurried else ""
    return f"{{ {as_postfix_writes(spec)}, default_action={POSTFIX_ACTIONS[fallback]}{timeouts} }}"


def as_postfix_writes(spec: str) -> str:
    """``inet:PORT@HOST`` in Postfix's order; a unix spec is the same in both."""
    scheme, _, address = spec.partition(":")
    port, _, host = address.partition("@")
    return f"inet:{host}:{port}" if scheme == "inet" else spec


def make_spamass(lab: Lab, name: str) -> SpamassMilter:
    spamd = Spamd(lab.subdirectory("spamd"))
    lab.run(spamd)
    return SpamassMilter(lab.subdirectory(name), spamd)


def make_clamav(lab: Lab, name: str) -> ClamavMilter:
    clamd = Clamd(lab.subdirectory("clamd"))
    lab.run(clamd)
    return ClamavMilter(lab.subdirectory(name), clamd)


def pymilter_factory(header: str, *options: str, on_tcp: bool = False) -> Callable[[Lab, str], MilterDaemon]:
    return lambda lab, name: PymilterChild(lab.subdirectory(name), name, header, options, on_tcp)


def declining(*callbacks: str) -> list[str]:
    """The options of a pymilter child that negotiates these steps away."""
    return [f"--decline={callback}" for callback in callbacks]


CHILDREN: Mapping[str, Callable[[Lab, str], MilterDaemon]] = {
    "opendkim": lambda lab, name: Opendkim(lab.subdirectory(name)),
    "spamass": make_spamass,
    "clamav": make_clamav,
    "pymilter": pymilter_factory("X-Py-Milter"),
    "second": pymilter_factory("X-Py-Second"),
    "spaced": pymilter_factory("X-Py-Spaced", "--leading-space"),
    "silent": pymilter_factory("X-Py-Silent", "--no-reply"),
    "picky": pymilter_factory("X-Py-Picky", "--own-macros"),
    "content": pymilter_factory(
        "X-Py-Content", *declining("connect", "hello", "envfrom", "envrcpt", "data", "eoh", "unknown")
    ),
    "envelope": pymilter_factory("X-Py-Envelope", *declining("header", "eoh", "body", "data", "unknown")),
    "no_data": pymilter_factory("X-Py-No-Data", *declining("data")),
    "tcp": pymilter_factory("X-Py-Tcp", on_tcp=True),
}

ROUTES: tuple[str, ...] = (DIRECT, MANAGER)
