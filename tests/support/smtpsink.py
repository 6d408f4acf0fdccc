"""An SMTP server that keeps what it is sent and answers what a test wants, for tests of what sends mail."""

from __future__ import annotations

import base64
import io
import socketserver
import ssl
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kept:
    """One mail as it came: HELO name, envelope as it was written, content with its dots unstuffed, who logged in."""

    helo: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    user: str
    xclient: str
    is_encrypted: bool


@dataclass
class Behaviour:
    """answers maps a recipient, or ``connect`` and ``end``, to what is answered; "" closes the connection."""

    answers: dict[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ("8BITMIME", "XCLIENT NAME ADDR", "AUTH PLAIN LOGIN")
    waits_for: threading.Event | None = None
    """Held back at the end of each mail until this is set."""

    certificate: tuple[str, str] | None = None
    """Files of a certificate and its key: STARTTLS is offered."""


class SmtpSink:
    """A context manager: it listens on 127.0.0.1, ``port``, until its end; ``mails`` are those that it took."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.mails: list[Kept] = []
        self.most_at_a_time = 0
        """Mails between DATA and the answer to their ends."""
        self._now = 0
        self._lock = threading.Lock()
        sink = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    _Conversation(self, sink).run()
                except ConnectionError:
                    pass  # whoever connected has gone, which tests do on purpose

        class Listener(socketserver.ThreadingTCPServer):
            request_queue_size = 200
            daemon_threads = True

        self._listener = Listener(("127.0.0.1", 0), Connection)
        self.port = self._listener.server_address[1]
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> SmtpSink:
        self._thread.start()
        return self

    def begin_mail(self) -> None:
        with self._lock:
            self._now += 1
            self.most_at_a_time = max(self.most_at_a_time, self._now)

    def end_mail(self, kept: Kept) -> None:
        with self._lock:
            self._now -= 1
            self.mails.append(kept)

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


class _Unbuffered(io.BufferedIOBase):
    """Writes straight into an encrypted connection."""

    def __init__(self, encrypted: ssl.SSLSocket) -> None:
        self._encrypted = encrypted

    def write(self, data: object) -> int:
        self._encrypted.sendall(data)  # type: ignore[arg-type]
        return len(data)  # type: ignore[arg-type]


class _Conversation:
    """One connection."""

    def __init__(self, connection: socketserver.StreamRequestHandler, sink: SmtpSink) -> None:
        self._connection = connection
        self._sink = sink
        self._answers = sink.behaviour.answers
        self._helo = self._sender = self._user = self._xclient = ""
        self._recipients: list[str] = []
        self._is_encrypted = False

    def run(self) -> None:
        if not self._say(self._answers.get("connect", "220 sink ESMTP")):
            return
        while True:
            line = self._connection.rfile.readline()
            if not line or not self._answer(line.rstrip(b"\r\n").decode("latin-1")):
                return

    def _answer(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        method = getattr(self, f"do_{word.lower()}", None)
        return self._say("500 what?") if method is None else bool(method(rest))

    def _say(self, text: str) -> bool:
        if text:
            self._connection.wfile.write(text.encode("latin-1") + b"\r\n")
        return bool(text) and not text.startswith("421")

    def do_ehlo(self, rest: str) -> bool:
        self._helo = rest
        offers_tls = self._sink.behaviour.certificate is not None and not self._is_encrypted
        lines = ["sink", *self._sink.behaviour.features, *(["STARTTLS"] if offers_tls else [])]
        return self._say("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def do_xclient(self, rest: str) -> bool:
        self._xclient = rest
        return self._say("220 as you like")

    def do_starttls(self, rest: str) -> bool:
        assert self._sink.behaviour.certificate is not None
        self._say("220 go ahead")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._sink.behaviour.certificate)
        encrypted = context.wrap_socket(self._connection.connection, server_side=True)
        self._connection.rfile, self._connection.wfile = encrypted.makefile("rb"), _Unbuffered(encrypted)
        self._is_encrypted = True
        return True

    def do_auth(self, rest: str) -> bool:
        mechanism, _, first = rest.partition(" ")
        if mechanism == "LOGIN":
            self._user = base64.b64decode(first).decode()
            self._say("334 UGFzc3dvcmQ6")
            self._user += "/" + base64.b64decode(self._connection.rfile.readline()).decode()
        elif mechanism == "CRAM-MD5":
            self._say("334 " + base64.b64encode(b"<challenge@sink>").decode())
            self._user = base64.b64decode(self._connection.rfile.readline()).decode()
        else:
            self._user = "/".join(base64.b64decode(first).decode().split("\0")[1:])
        return self._say(self._answers.get("auth", "235 welcome"))

    def do_mail(self, rest: str) -> bool:
        self._sender, self._recipients = rest, []
        return self._say("250 ok")

    def do_rcpt(self, rest: str) -> bool:
        self._recipients.append(rest)
        return self._say(self._answers.get(rest.partition("<")[2].rstrip(">"), "250 ok"))

    def do_data(self, rest: str) -> bool:
        self._sink.begin_mail()
        self._say("354 go on")
        lines = []
        while (line := self._connection.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        if self._sink.behaviour.waits_for is not None:
            self._sink.behaviour.waits_for.wait()
        recipients, content = tuple(self._recipients), b"".join(lines)
        kept = Kept(self._helo, self._sender, recipients, content, self._user, self._xclient, self._is_encrypted)
        self._sink.end_mail(kept)
        return self._say(self._answers.get("end", "250 taken"))

    def do_quit(self, rest: str) -> bool:
        self._say("221 bye")
        return False
